"""How operations speak with rooms: ask, turn a refusal into an answer, do a thing once, know whose name is used.

`once` is the generic Idempotency-Key: what it wraps must be harmless to repeat (storage/postgres/idempotency.py says
why). Sends do not use it: for them the key is the client id, which the room itself keeps for ever. Making a
conversation does not either: there the key belongs to the transaction that makes it.
"""

import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, TypeVar

import trio
from pydantic import BaseModel

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.commands import Changed, Edit, Pin, React
from greenroom.http.errors import ApiError
from greenroom.http.route import Answer, Call
from greenroom.http.ws.services import COMMAND_SECONDS_MAX
from greenroom.runtime import AskTimeout, Command, CommitUnknown, StorageUnavailable
from greenroom.storage.postgres.idempotency import Earlier, IdempotencyClaim, KeptAnswer, KeyConflict

R = TypeVar("R")

KEY_HEADER: Final = "Idempotency-Key"
REPLAY_HEADER: Final = "Idempotency-Replay"  # on an answer that was kept
_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_CODE_OF: Final = {
    RefusalCode.CONVERSATION_NOT_FOUND: "CONVERSATION_NOT_FOUND",
    RefusalCode.NOT_MEMBER: "FORBIDDEN",
    RefusalCode.NOT_ADMIN: "FORBIDDEN",
    RefusalCode.NOT_SENDER: "FORBIDDEN",
    RefusalCode.NOT_OPEN: "FORBIDDEN",
    RefusalCode.INVALID_CONTENT: "VALIDATION",
    RefusalCode.CLIENT_ID_CONFLICT: "CONFLICT",
    RefusalCode.USER_BLOCKED: "USER_BLOCKED",
    RefusalCode.MESSAGE_NOT_FOUND: "MESSAGE_NOT_FOUND",
    RefusalCode.FILE_NOT_FOUND: "FILE_NOT_FOUND",
    RefusalCode.EDIT_WINDOW_CLOSED: "BAD_REQUEST",
    RefusalCode.TOO_MANY_MARKS: "QUOTA_EXCEEDED",
    RefusalCode.RATE_LIMITED: "RATE_LIMIT_EXCEEDED",
    RefusalCode.ROOM_FULL: "QUOTA_EXCEEDED",
}


async def ask_room(call: Call, room_id: int, command: Command[R | Refused], retry_after: int | None = None) -> R:
    """The room's answer. Raises: ApiError for a refusal, and as `Ref.ask`. retry_after: of who is over the limit."""
    deadline = trio.current_time() + COMMAND_SECONDS_MAX
    answer = await call.services.room_services.system.ref("room", room_id).ask(command, deadline=deadline)
    if isinstance(answer, Refused):
        raise refusal(answer, retry_after if answer.code is RefusalCode.RATE_LIMITED else None)
    return answer


async def charge_change(call: Call, room_id: int, command: Edit | React | Pin) -> Changed:
    """As `charge`."""
    return await charge(call, room_id, command, lambda changed: not changed.is_duplicate)


async def charge(
    call: Call,
    room_id: int,
    command: Command[R | Refused],
    is_new: Callable[[R], bool],
    over_limit: Command[R | Refused] | None = None,
) -> R:
    """The room's answer, as to a message: it stands in the log as one does. What changes nothing is not charged.

    is_new: whether it has changed something. over_limit: what the room is asked instead when the minute is used up; it
    changes nothing. Raises: ApiError for a refusal, and 429; and as `Ref.ask`.
    """
    messages, user_id = call.services.room_services.messages, call.user_id
    retry_after = messages.take(user_id, trio.current_time())
    if retry_after is not None and over_limit is not None:
        return await ask_room(call, room_id, over_limit, retry_after)
    if retry_after is not None:
        raise refusal(Refused.because(RefusalCode.RATE_LIMITED), retry_after)
    is_charged = False
    try:
        changed = await ask_room(call, room_id, command)
        is_charged = is_new(changed)
    except (AskTimeout, CommitUnknown, trio.Cancelled):
        is_charged = True  # it may be stored
        raise
    finally:
        if not is_charged:
            messages.give_back(user_id)
    return changed


def charge_command(call: Call) -> None:
    """Count the request as a command of its user, whatever comes of it. Raises: ApiError 429."""
    retry_after = call.services.room_services.commands.take(call.user_id, trio.current_time())
    if retry_after is not None:
        raise ApiError("RATE_LIMIT_EXCEEDED", "too many commands in a minute", retry_after=retry_after)


def refusal(refused: Refused, retry_after: int | None = None) -> ApiError:
    """What a client is told when a room refuses."""
    return ApiError(_CODE_OF[refused.code], refused.message, retry_after=retry_after)


def no_conversation() -> ApiError:
    """What is said of a conversation that is not there, and of one that the caller may not see."""
    return ApiError("CONVERSATION_NOT_FOUND", "there is no such conversation, or you are not in it")


async def require_users(call: Call, user_ids: tuple[int, ...]) -> None:
    """Raises: ApiError 404 when one of these users does not exist."""
    missing = sorted(set(user_ids) - await call.services.users.exists(user_ids))
    if missing:
        raise no_user(*missing[:20])


def no_user(*user_ids: int) -> ApiError:
    """What is said of users that do not exist."""
    return ApiError("USER_NOT_FOUND", "there is no such user", details={"userIds": list(user_ids)})


async def require_together(call: Call, other_id: int) -> None:
    """Raises: ApiError 403 when one of the two has blocked the other and they have no conversation yet."""
    if not await call.services.room_services.direct.may_meet(call.user_id, other_id):
        raise refusal(Refused.because(RefusalCode.USER_BLOCKED))


async def require_self(call: Call, claimed: int | str | None, name: str) -> None:
    """Field *name* may say who is signed in, by id or external id, and nobody else. Raises: ApiError 403."""
    if claimed is None or str(claimed) == str(call.user_id):
        return
    if isinstance(claimed, str) and not claimed.isdigit():
        user = await call.services.users.by_id(call.user_id)
        if user is not None and user.external_id == claimed:
            return
    raise ApiError("FORBIDDEN", f"{name} is not who is signed in: leave it out")


# -- doing a thing once -----------------------------------------------------------------------------------------------


def now_ms(call: Call) -> int:
    """Milliseconds since 1970, of the clock that rooms have."""
    return call.services.room_services.system.clock.wall_milliseconds()


def key_of(call: Call) -> str | None:
    """The Idempotency-Key of a request, or None. Raises: ApiError 400."""
    key = call.request.headers.get(KEY_HEADER)
    if key is not None and not _KEY.fullmatch(key):
        raise ApiError("VALIDATION", f"{KEY_HEADER}: 1 to 255 printable ASCII characters without spaces")
    return key


def claim_of(call: Call, route: str, body: BaseModel | bytes | None) -> IdempotencyClaim | None:
    """What a request with a key claims, or None. route: method and path with its ids. Raises: ApiError 400.

    body: of one that is no JSON, its SHA-256.
    """
    key = key_of(call)
    if key is None:
        return None
    principal = call.principal
    if not isinstance(body, bytes):
        text = "" if body is None else body.model_dump_json()
        body = hashlib.sha256(text.encode()).digest()
    name = f"key:{principal.key_id}" if principal.user_id is None else f"user:{principal.user_id}"
    return IdempotencyClaim(name, route, key, body)


def answer_of(kept: Earlier) -> Answer:
    """The answer that is kept. Raises: ApiError 409 when there is none for this request."""
    if isinstance(kept, KeptAnswer):
        headers = {REPLAY_HEADER: "true"} if kept.is_replay else {}
        return Answer(json.loads(kept.body), status=kept.status, headers=headers)
    if isinstance(kept, KeyConflict):
        raise ApiError("CONFLICT", f"this {KEY_HEADER} was used for another body; choose a new one")
    raise ApiError("CONFLICT", f"a request with this {KEY_HEADER} is under way", retry_after=1)


async def once(call: Call, route: str, body: BaseModel | bytes | None, work: Callable[[], Awaitable[Answer]]) -> Answer:
    """Do *work* and keep its answer, or give the answer that was kept. Raises: ApiError, and as *work*.

    route, body: as of `claim_of`.
    """
    claim = claim_of(call, route, body)
    if claim is None:
        return await work()
    keys = call.services.room_services.conversations.idempotency
    earlier = await keys.claim(claim, now_ms(call))
    if earlier is not None:
        return answer_of(earlier)
    try:
        answer = await work()
    except Exception:
        with suppress(StorageUnavailable):  # what it was refused for matters more; the claim is taken over later
            await keys.release(claim)
        raise
    await keys.keep(claim, KeptAnswer(answer.status or 200, json.dumps(answer.data)))
    return answer
