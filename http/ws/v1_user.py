"""Commands of greenroom.v1 about the session itself, and about who is in a room.

token_expiring ──WARNING_SECONDS──▶ the token's end ──GRACE_SECONDS──▶ 4002
       └──────────── refresh ────────────┴──▶ good until the new one ends
"""

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from greenroom.actors.room.commands import Enter, RoomView
from greenroom.http.auth import CREDENTIAL_CHARACTERS_MAX
from greenroom.http.decode import INTEGER_MAX
from greenroom.http.errors import ApiError
from greenroom.http.ws import events
from greenroom.http.ws.codes import BAD_FRAME, TOKEN_EXPIRED_ERROR, TOKEN_INVALID
from greenroom.http.ws.connection import CONTROL
from greenroom.http.ws.delivery import outcome_of
from greenroom.http.ws.services import Failure, failure_of
from greenroom.http.ws.user_streams import UserCursor, gap_in
from greenroom.http.ws.v1_commands import (
    BadCommand,
    data_of,
    room_item,
    room_of,
    user_cursor,
    wanted_rooms,
)
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.user_streams import Standing

if TYPE_CHECKING:
    from greenroom.http.ws.v1 import V1Session

WARNING_SECONDS: Final = 60.0
GRACE_SECONDS: Final = 30.0
MEMBERS_DEFAULT: Final = 200


def warn_of_end(session: "V1Session") -> None:
    """It is time to tell that the credential ends."""
    assert session.principal is not None
    assert session.principal.expires_at is not None
    session.warned_of = session.principal.expires_at
    session.connection.write(events.v1("token_expiring", {"at": math.floor(session.warned_of * 1000)}), CONTROL)


# -- refresh ----------------------------------------------------------------------------------------------------------


def refresh(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Another token of the same user. A wrong one changes nothing: the one before stays good until its end."""
    session.begin()
    token: str = data_of(frame)["token"]
    session.in_turn(_refresh, session, command_id, token[: CREDENTIAL_CHARACTERS_MAX + 1])  # too long stays too long


async def _refresh(session: "V1Session", command_id: str | None, token: str) -> None:
    changes = session.services.authenticator.changes
    try:
        principal = await session.services.authenticator.from_bearer(token)
    except ApiError as fault:
        number = TOKEN_EXPIRED_ERROR if fault.code == "TOKEN_EXPIRED" else TOKEN_INVALID
        session.error(command_id, number, fault.message)
        return
    except StorageUnavailable as error:
        session.failed(command_id, None, error)
        return
    finally:
        session.inflight -= 1
    if session.connection.is_closing:
        return
    if principal.user_id is None or principal.user_id != session.user_id:
        session.error(command_id, TOKEN_INVALID, "the token is not one of the user who opened the connection")
        return
    await session.go_on_as(principal, changes)
    ends_ms = math.inf if principal.expires_at is None else principal.expires_at * 1000
    session.ack(command_id, {"expires": math.floor(ends_ms) if ends_ms <= INTEGER_MAX else None}, None)


# -- sync -------------------------------------------------------------------------------------------------------------


class _Sync:
    """One `sync` under way: rooms that are joined, each again from where the client is; and the user's stream."""

    __slots__ = ("_command_id", "_items", "_left", "_refused", "_session")

    def __init__(self, session: "V1Session", command_id: str | None, left: int) -> None:
        self._session = session
        self._command_id = command_id
        self._left = left
        self._items: list[dict[str, Any]] = []
        self._refused: list[dict[str, Any]] = []

    def room(self, room_id: int, after_seq: int | None, epoch: int | None, value: object, error: Any) -> None:
        """A room answered."""
        session = self._session
        session.inflight -= 1
        if isinstance(value, RoomView) and session.rooms is not None and room_id in session.rooms:
            attachment = session.attach(value, after_seq, epoch)
            self._items.append(room_item(value))
            session.tell_gap(value, after_seq, epoch)
            session.replay([(room_id, attachment)])
        elif isinstance(value, RoomView):  # a join that came with it did not let it in, or for its summary alone
            self._refused.append({"r": room_id, "code": BAD_FRAME.number, "error": BAD_FRAME.name})
        else:
            failure = failure_of(value, error)
            assert isinstance(failure, Failure)
            self._refused.append({"r": room_id, "code": failure.code.number, "error": failure.code.name})
        if not isinstance(value, RoomView):
            session.resumed("refused")
        self._one_less()

    def stream(self, cursor: UserCursor, standing: Standing) -> None:
        """How far the user's stream is, is known. While it is being told, that goes on, from the lesser place."""
        session = self._session
        session.inflight -= 1
        session.resumed(outcome_of(gap_in(standing, cursor)))
        assert session.user_id is not None
        if session.useq is None:
            session.services.streams.begin_again(session.connection, standing, cursor)
        else:
            session.useq = None
            session.services.streams.attach(session.connection, session.user_id, standing, cursor)
        self._one_less()

    def _one_less(self) -> None:
        self._left -= 1
        if not self._left:
            refused = {"refused": self._refused} if self._refused else {}
            self._session.ack(self._command_id, {"rooms": self._items, **refused}, None)


def sync(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Tell again what follows the cursors of *data*, in rooms that are joined and in the user's stream."""
    data = data_of(frame)
    rooms, cursor = wanted_rooms({"resume": {"rooms": data.get("rooms", {})}}), user_cursor(data)
    joined = session.rooms or ()
    strange = [room_id for room_id in rooms.after if room_id not in joined and not session.is_joining(room_id)]
    if strange:
        raise BadCommand(f"sync is for rooms that are joined, and {strange[0]} is not: join it with data.after")
    count = len(rooms.after) + (cursor is not None)
    if not count:
        raise BadCommand("sync needs data.rooms, {room: seq}, or data.user, a useq")
    session.begin(count)
    under_way = _Sync(session, command_id, count)
    for room_id, after_seq in rooms.after.items():
        session.ask(
            session.services.room(room_id),
            session.enter(room_id),
            partial(under_way.room, room_id, after_seq, rooms.epochs.get(room_id)),
        )
    if cursor is not None:
        assert session.user_id is not None
        session.services.streams.standing(
            session.connection, session.user_id, lambda standing: under_way.stream(cursor, standing)
        )


# -- members ----------------------------------------------------------------------------------------------------------


def members(session: "V1Session", command_id: str | None, frame: dict[str, Any]) -> None:
    """Who is in a room, by id."""
    data = data_of(frame)
    after = data.get("after") or 0
    count = MEMBERS_DEFAULT if data.get("limit") is None else data["limit"]

    def entered(value: object, error: BaseException | None) -> None:
        if isinstance(value, RoomView):
            session.read_in_turn(_answer_members, session, command_id, value.room_id, after, count)
        else:
            session.inflight -= 1
            session.failed(command_id, value, error)

    assert session.user_id is not None
    session.ask_room(command_id, room_of(frame), Enter(session.user_id), entered)


async def _answer_members(session: "V1Session", command_id: str | None, room_id: int, after: int, count: int) -> None:
    assert session.user_id is not None
    try:
        rows = await session.services.conversations.participants(room_id, session.user_id, after, count + 1)
    except StorageUnavailable as error:
        session.failed(command_id, None, error)
        return
    finally:
        session.inflight -= 1
    people = [
        {"user": row["user_id"], "name": row["name"], "role": row["role"], "read": row["read_seq"]}
        for row in rows[:count]
    ]
    session.ack(command_id, {"members": people, **({"more": True} if len(rows) > count else {})}, room_id)
