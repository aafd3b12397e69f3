"""What the existing client asks about people: who is online, block, unblock; and `auth`, which its older page says."""

from collections.abc import Iterable
from heapq import nlargest
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from greenroom.actors.notifier.commands import Block
from greenroom.http.auth import CREDENTIAL_CHARACTERS_MAX
from greenroom.http.errors import ApiError
from greenroom.http.ws import events
from greenroom.http.ws.codes import BAD_FRAME, TOKEN_EXPIRED_ERROR, TOKEN_INVALID, USER_NOT_FOUND, ErrorCode
from greenroom.http.ws.compat_messages import request_id_of
from greenroom.http.ws.last_looked import ROOMS_PER_USER_MAX, Typist
from greenroom.http.ws.replay import wait_drained
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.last_seen import Seen

if TYPE_CHECKING:
    from greenroom.http.ws.compat import CompatSession

GONE_SECONDS: Final = 86_400
GONE_MAX: Final = 200
PEOPLE_AT_ONCE: Final = 100
LISTED_BYTES_MAX: Final = 128 * 1024  # of people in one answer, whose frame says them twice: it must fit well
# Of whom storage was not asked. The board knows their name while they are here, be it invisibly: that would tell it.
NAMELESS: Final = Seen("", None)

Json = dict[str, Any]

# -- who is online ----------------------------------------------------------------------------------------------------


def online_users(session: "CompatSession", fields: Json) -> None:
    """Those whom the page is told of anyway: not before it is known who they are."""
    session.online_is_due = not session.has_arrived
    if not session.online_is_due:
        session.read_in_turn(_answer_online, session)


async def _answer_online(session: "CompatSession") -> None:
    await trio.lowlevel.checkpoint()
    session.tell("online_users", {"users": online_companions(session)})


def online_companions(session: "CompatSession") -> list[Json]:
    """Who is online of those who share a small conversation with the user, as far as each may be seen.

    As many as an answer holds: some hundreds at least. The frames that the page reads are told of all.
    """
    presence, now_ms = session.services.presence, session.services.clock.wall_milliseconds()
    companions = session.services.hub.companions_of(session.connection)
    presence.note_asked(companions)
    online = presence.online_among(companions)
    return events.first_within((presence.compat_fields(user_id, now_ms) for user_id in online), LISTED_BYTES_MAX)


def believed_online(session: "CompatSession") -> set[int]:
    """Whom the page may show as online, but for its own user."""
    companions = session.services.hub.companions_of(session.connection)
    return {one for one in companions if session.services.presence.may_be_believed_online(one)} - {session.user_id}


async def tell_who_is_here(session: "CompatSession") -> None:
    """What `initial_data` says of people, by the frames that the page reads: of that one it reads notifications alone.

    The list of a page that comes back is not emptied, for however long its tab was hidden: of those who went within a
    day the GONE_MAX who went last are told to have gone, and whom it may see no more of those whom it may show.
    """
    services, connection, user_id = session.services, session.connection, session.user_id
    assert user_id is not None
    companions = services.hub.companions_of(connection)
    lost = set(services.hub.last_looked.online(user_id, trio.current_time())) - companions
    away = companions - services.presence.online_among(companions)
    since_ms = services.clock.wall_milliseconds() - GONE_SECONDS * 1000
    try:
        seen = await services.last_seen.of(sorted(away)) if away else {}
    except StorageUnavailable:
        seen = {}  # they are told when they come and go again
    went_ms = ((user.at_ms or 0, one) for one, user in seen.items())
    gone = nlargest(GONE_MAX, (went for went in went_ms if went[0] >= since_ms))
    people = sorted((companions - away).union(lost, (one for _, one in gone)))
    for start in range(0, len(people), PEOPLE_AT_ONCE):
        if connection.is_closing:
            return
        companions, some = services.hub.companions_of(connection), people[start : start + PEOPLE_AT_ONCE]
        services.presence.note_asked(companions.intersection(some))
        frames = [_frames_of(session, one, seen.get(one)) for one in some if one in companions]
        parted = [one for one in some if one in lost and one not in companions]
        frames += [services.presence.compat_parting(one, NAMELESS) for one in parted]
        connection.write(b"".join(frames))
        await wait_drained(connection)


def _frames_of(session: "CompatSession", user_id: int, seen: Seen | None) -> bytes:
    """seen: as stored, of who was away. Of those the board knows neither the name nor since when."""
    presence = session.services.presence
    if presence.is_online(user_id):
        return presence.compat_frames(user_id, is_turn=True)
    return presence.compat_parting(user_id, seen or NAMELESS)


# -- who types ---------------------------------------------------------------------------------------------------------


def typists_of(session: "CompatSession", room_ids: Iterable[int], now: float) -> dict[Typist, str]:
    """Whom the page may show as typing in these rooms, where it looks: who types, and who did a moment ago.

    Nobody before it is known whom its user blocks: it was told of nobody.
    """
    hub, user_id = session.services.hub, session.user_id
    assert user_id is not None
    if hub.coming.holds(session.connection, user_id):
        return {}
    apart = hub.blocks.apart_from(user_id)
    since = min(now - session.services.limits.compat_silence_seconds, session.connection.heard_at)
    shown: dict[Typist, str] = {}
    for room_id in room_ids:
        channel = hub.channels.get(room_id)
        if channel is not None and session.connection in channel.compat_typing:
            typists = {one: name for one, (name, at) in (channel.typed or {}).items() if at >= since}
            typists.update(hub.typists.get(room_id, {}))
            shown.update({(room_id, one): typists[one] for one in typists.keys() - apart - {user_id}})
    return shown


def on_pages_before(session: "CompatSession", now: float) -> tuple[dict[Typist, str], list[int]]:
    """(Whom the user's pages of before may show as typing, the rooms at which they look).

    Also of those that are open: the line of one may have broken, and this is the same page again.
    """
    hub, user_id = session.services.hub, session.user_id
    assert user_id is not None
    shown, rooms = dict(hub.last_looked.shown(user_id, now)), dict.fromkeys(hub.last_looked.of(user_id, now))
    for connection in hub.compat.get(user_id, ()):
        other = cast("CompatSession", connection.session)
        shown.update(typists_of(other, other.typing_in, now))
        rooms.update(dict.fromkeys([*other.typing_in][-1:]))
    return shown, list(rooms)[-ROOMS_PER_USER_MAX:]


def stopped(typists: dict[Typist, str], now_ms: int) -> bytes:
    """The frames that take these from the page's list, which it empties in no other way."""
    frames = (
        events.compat_typing(room_id, user_id, name, now_ms, is_typing=False)
        for (room_id, user_id), name in typists.items()
    )
    return b"".join(frames)


# -- blocks -----------------------------------------------------------------------------------------------------------


def block_user(session: "CompatSession", fields: Json) -> None:
    """Hear nothing more of somebody."""
    other_id = _other(session, fields)
    if other_id is not None:
        command = Block(other_id, True, fields.get("reason"))
        session.in_turn(_block, session, command, request_id_of(fields))


def unblock_user(session: "CompatSession", fields: Json) -> None:
    """Hear of them again."""
    other_id = _other(session, fields)
    if other_id is not None:
        session.in_turn(_unblock, session, Block(other_id, False), request_id_of(fields))


def _other(session: "CompatSession", fields: Json) -> int | None:
    """`targetUserId` first: a page may say in `userId` who it is itself."""
    other_id: int | None = fields.get("targetUserId", fields.get("userId"))
    if other_id == session.user_id:
        session.error(BAD_FRAME, "nobody blocks oneself", request_id_of(fields))
        return None
    return other_id


async def _block(session: "CompatSession", command: Block, request_id: str | None) -> None:
    try:
        exists = await session.services.users.exists((command.user_id,))
    except StorageUnavailable as error:
        session.failed(None, error, request_id)
        return
    if exists:
        _ask(session, command, request_id)
    else:
        session.error(USER_NOT_FOUND, "there is no such user", request_id)


async def _unblock(session: "CompatSession", command: Block, request_id: str | None) -> None:
    await trio.lowlevel.checkpoint()
    _ask(session, command, request_id)


def _ask(session: "CompatSession", command: Block, request_id: str | None) -> None:
    """The answer means stored."""

    def changed(value: object, error: BaseException | None) -> None:
        if error is not None:
            session.failed(None, error, request_id)
            return
        named = {} if request_id is None else {"requestId": request_id}
        session.tell("user_blocked" if command.is_blocked else "user_unblocked", {"userId": command.user_id, **named})

    assert session.user_id is not None
    session.ask(session.services.notifier(session.user_id), command, changed)


# -- auth -------------------------------------------------------------------------------------------------------------


def auth(session: "CompatSession", fields: Json) -> None:
    """Another token of the same user. A wrong one changes nothing: who opened the socket is known by its upgrade."""
    token = fields.get("token")
    if token is None:
        _not_authenticated(session, TOKEN_INVALID, "auth needs a token")
    else:
        token = token[: CREDENTIAL_CHARACTERS_MAX + 1]  # what is too long stays too long
        session.in_turn(_auth, session, token, request_id_of(fields))


async def _auth(session: "CompatSession", token: str, request_id: str | None) -> None:
    changes = session.services.authenticator.changes
    try:
        principal = await session.services.authenticator.from_bearer(token)
    except ApiError as fault:
        number = TOKEN_EXPIRED_ERROR if fault.code == "TOKEN_EXPIRED" else TOKEN_INVALID
        _not_authenticated(session, number, fault.message)
        return
    except StorageUnavailable as error:
        session.failed(None, error, request_id)
        return
    if principal.user_id is None or principal.user_id != session.user_id:
        _not_authenticated(session, TOKEN_INVALID, "the token is not one of the user who opened the connection")
    elif not session.connection.is_closing:
        await session.go_on_as(principal, changes)
        session.tell("auth_success", {"userId": principal.user_id, "username": principal.name})


def _not_authenticated(session: "CompatSession", code: ErrorCode, message: str) -> None:
    session.tell("auth_error", {"error": message, "message": message, "code": code.number})
