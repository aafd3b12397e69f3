"""Blocks over HTTP: somebody of whom one wants to hear nothing.

Whoever is blocked is not told. What they say in groups is hidden from who blocked them; neither sees when the other is
here or types; and between the two nothing is sent: 403 USER_BLOCKED, on a socket 3003. Each of these may be repeated.
"""

from typing import Annotated, Any, Final

import trio
from pydantic import AfterValidator, Field, StringConstraints

from greenroom.actors.notifier.commands import Block
from greenroom.http.errors import ApiError
from greenroom.http.models import Input, Output, one_line
from greenroom.http.rest.conversations import Page
from greenroom.http.rest.rooms import charge_command, require_users
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.ws.events import iso
from greenroom.http.ws.schemas.v1_commands import REASON_CHARACTERS_MAX
from greenroom.http.ws.services import COMMAND_SECONDS_MAX

operations = Operations("blocks")

Reason = Annotated[str, StringConstraints(max_length=REASON_CHARACTERS_MAX), AfterValidator(one_line)]
NAME: Final = "id"


class BlockWrite(Input):
    """Why, for oneself."""

    reason: Reason | None = None


class BlockAnswer(Output):
    """How it stands now."""

    blocked: bool
    user_id: int = Field(description="the other one")


class BlockedList(Output):
    """Whom one has blocked, the newest first, under both names that clients read. total: of all."""

    blocked_users: list[dict[str, Any]]
    users: list[dict[str, Any]]
    total: int
    has_more: bool


@operations.post("/api/users/{id}/block", body=BlockWrite, answer=BlockAnswer)
async def block_user(call: Call) -> Answer:
    """Hear nothing more of somebody. It counts as a command."""
    other_id = _other(call)
    charge_command(call)
    await require_users(call, (other_id,))
    await change_block(call, Block(other_id, True, call.body(BlockWrite).reason or None))
    return Answer({"blocked": True, "userId": other_id})


@operations.delete("/api/users/{id}/block", answer=BlockAnswer, also=["POST /api/users/{id}/unblock"])
async def unblock_user(call: Call) -> Answer:
    """Hear of them again. It counts as a command."""
    other_id = _other(call)
    charge_command(call)
    await change_block(call, Block(other_id, False))
    return Answer({"blocked": False, "userId": other_id})


@operations.get("/api/users/blocked", query=Page, answer=BlockedList)
async def list_blocked(call: Call) -> Answer:
    """Whom one has blocked."""
    page, blocks = call.query(Page), call.services.room_services.blocks
    rows = await blocks.blocked(call.user_id, page.limit + 1, page.offset)
    users = [_row(row) for row in rows[: page.limit]]
    total = await blocks.count(call.user_id)
    return Answer({"blockedUsers": users, "users": users, "total": total, "hasMore": len(rows) > page.limit})


async def change_block(call: Call, command: Block) -> None:
    """Have it stored and told. Raises: what an ask does."""
    notifier = call.services.room_services.system.ref("notifier", call.user_id)
    await notifier.ask(command, deadline=trio.current_time() + COMMAND_SECONDS_MAX)


def _other(call: Call) -> int:
    other_id = call.id(NAME)
    if other_id == call.user_id:
        raise ApiError("VALIDATION", "nobody blocks oneself")
    return other_id


def _row(row: Any) -> dict[str, Any]:
    blocked_at = iso(row["blocked_at_ms"])
    return {
        "id": row["user_id"],
        "userId": row["user_id"],
        "user_id": row["user_id"],
        "name": row["name"],
        "username": row["name"],
        "userType": row["user_type"],
        "user_type": row["user_type"],
        "reason": row["reason"],
        "blockedAt": blocked_at,
        "blocked_at": blocked_at,
    }
