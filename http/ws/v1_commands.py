"""What a v1 client says, as values: the parts of commands that `schemas/` has read, without I/O.

Everything here raises `BadCommand` with a sentence for the client, and knows no session.
"""

from typing import Any, Final, cast

from pydantic import ValidationError

from greenroom.actors.presence.commands import SetStatus, Wish
from greenroom.actors.room.commands import RoomView
from greenroom.http.ws.codes import BAD_FRAME, TOO_MANY_ROOMS, ErrorCode
from greenroom.http.ws.cursor import AT_TOP, BadCursor, read_cursor
from greenroom.http.ws.cursor import ROOMS_MAX as ROOMS_MAX  # a connection hears no more
from greenroom.http.ws.replay import REPLAY_MESSAGES_MAX
from greenroom.http.ws.schemas import reading
from greenroom.http.ws.schemas.v1_commands import MEMBERS_MAX as MEMBERS_MAX
from greenroom.http.ws.schemas.v1_commands import SUMMARIES_MAX as SUMMARIES_MAX
from greenroom.http.ws.user_streams import UserCursor

INFLIGHT_MAX: Final = 256
COMMANDS_MAX: Final = 16
LARGEST_ID: Final = 2**53 - 1


class BadCommand(Exception):
    """The command cannot be understood; *message* says what would be right."""

    def __init__(self, message: str, code: ErrorCode = BAD_FRAME) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def read(kind: str, frame: dict[str, Any]) -> dict[str, Any]:
    """The command of this type as its schema has it: ids as numbers, what it does not know left out."""
    try:
        return reading.V1[kind](frame)
    except ValidationError as fault:
        raise BadCommand(*reading.fault_in(fault)) from None


class WantedRooms:
    """The rooms of a `start`: after[r] is the last seq the client has, None for a room that it joins afresh."""

    __slots__ = ("after", "epochs", "is_resume", "summaries", "unheard", "user")

    def __init__(self) -> None:
        self.after: dict[int, int | None] = {}
        self.epochs: dict[int, int] = {}
        self.is_resume = False
        self.summaries: set[int] = set()  # of the rooms: those that are wanted as summaries only
        self.unheard: set[int] = set()  # of the rooms: those of which nothing is to be heard
        self.user: UserCursor | None = None

    def is_lost(self, view: RoomView) -> bool:
        """Not everything since the client was here will be replayed."""
        return gap_in(view, self.after[view.room_id], self.epochs.get(view.room_id)) is not None


def wanted_rooms(data: dict[str, Any]) -> WantedRooms:
    """The rooms that a `start` asks for, afresh and to be resumed."""
    wanted = WantedRooms()
    for item in data.get("rooms", ()):
        room = item if isinstance(item, dict) else {"r": item}
        wanted.after[room["r"]] = None
        for mode, rooms in (("summary", wanted.summaries), ("none", wanted.unheard)):
            (rooms.add if mode_in(room) == mode else rooms.discard)(room["r"])
    resume = data.get("resume")
    if resume is not None:
        _want_resume(wanted, resume)
    if len(wanted.after) - len(wanted.summaries) - len(wanted.unheard) > ROOMS_MAX:
        raise BadCommand(f"a connection joins at most {ROOMS_MAX} rooms", TOO_MANY_ROOMS)
    if len(wanted.summaries) > SUMMARIES_MAX:
        raise BadCommand(f"a connection has summaries of at most {SUMMARIES_MAX} rooms", TOO_MANY_ROOMS)
    return wanted


def _want_resume(wanted: WantedRooms, resume: dict[str, Any]) -> None:
    wanted.is_resume = True
    _want_cursor(wanted, resume.get("cursor"))
    epoch = resume.get("epoch")
    wanted.user = user_cursor(resume) or wanted.user
    for room_id, cursor in resume.get("rooms", {}).items():
        at = cursor if isinstance(cursor, dict) else {"seq": cursor}
        room_epoch = at.get("epoch")
        _want_from(wanted, room_id, at["seq"])
        if room_epoch is not None or epoch is not None:
            wanted.epochs[room_id] = cast("int", room_epoch if room_epoch is not None else epoch)


def _want_cursor(wanted: WantedRooms, cursor: str | None) -> None:
    """The places of a cursor, as an event stream or a poll gave it; what else `resume` says counts before it."""
    if cursor is None:
        return
    try:
        places = read_cursor(cursor)
    except BadCursor as fault:
        raise BadCommand(str(fault)) from None
    for room_id, place in places.rooms.items():
        if place == AT_TOP:
            wanted.after[room_id] = None
        else:
            _want_from(wanted, room_id, place.seq)
            wanted.epochs[room_id] = place.epoch
    if places.user is not None:
        wanted.user = UserCursor(places.user.seq, places.user.epoch)


def _want_from(wanted: WantedRooms, room_id: int, seq: int) -> None:
    """Who has a place in a room wants it whole, whatever they say of it besides."""
    wanted.after[room_id] = seq
    wanted.summaries.discard(room_id)
    wanted.unheard.discard(room_id)


def user_cursor(data: dict[str, Any]) -> UserCursor | None:
    """Where the client is in its user's stream, if it says so: a useq, or that and the epoch."""
    at = data.get("user")
    if at is None:
        return None
    given = at if isinstance(at, dict) else {"useq": at}
    return UserCursor(given["useq"], given.get("epoch"))


def cursor_in(view: RoomView, after_seq: int | None, epoch: int | None) -> int:
    """The seq after which a client is to be brought up: where it is, or the top when it is new or out of reach."""
    return view.top_seq if after_seq is None or gap_in(view, after_seq, epoch) is not None else after_seq


def gap_in(view: RoomView, after_seq: int | None, epoch: int | None) -> dict[str, Any] | None:
    """What will not be replayed to a client that is at *after_seq*: None when nothing is left out.

    reset: the log is not the one that the client knew: its epoch changed, or it is shorter.
    """
    if after_seq is None:
        return None
    top_seq = view.top_seq
    if epoch not in (None, view.epoch) or after_seq > top_seq:
        return {"from": 1, "to": top_seq, "top": top_seq, "reset": True}
    if top_seq - after_seq > REPLAY_MESSAGES_MAX:
        return {"from": after_seq + 1, "to": top_seq, "top": top_seq}
    return None


def mode_in(data: dict[str, Any]) -> str:
    """How a room is wanted: whole, as a summary now and then, or not to be heard of."""
    return str(data.get("mode", "full"))


def room_item(view: RoomView, mode: str = "full") -> dict[str, Any]:
    """A room in `ready`, and in the ack of `join`."""
    return {
        "r": view.room_id,
        "epoch": view.epoch,
        "top": view.top_seq,
        "read": view.read_seq,
        "unread": view.unread,
        "mention": view.mentions,
        "members": view.member_count,
        "mode": mode,
    }


def id_in(frame: dict[str, Any]) -> str | None:
    """The id of a command that no decoder has looked at; None when it cannot be sent back."""
    command_id = reading.id_of(frame)
    return command_id if command_id is not None and command_id.isprintable() else None


def message_in(data: dict[str, Any], command_id: str | None) -> tuple[str, str]:
    """The content and the client id of a send."""
    client_id = data.get("clientId", command_id)
    if client_id is None:
        raise BadCommand("send needs an id, or data.clientId")
    return data["body"], client_id


def room_of(frame: dict[str, Any]) -> int:
    """The room that a command is about."""
    return cast("int", frame["room"])


def wanted_presence(data: dict[str, Any]) -> tuple[SetStatus | None, bool | None]:
    """(how a user wants to appear, whether nobody sits at the device); None of what was not said."""
    status, is_idle = data.get("status"), data.get("idle")
    if status is None and is_idle is not None and "note" not in data:
        return None, is_idle
    if status is None:
        raise BadCommand("presence needs a room, data.idle, or data.status")
    return SetStatus(cast("Wish", status), data.get("note", "")), is_idle


def data_of(frame: dict[str, Any]) -> dict[str, Any]:
    """The data of a command; of one that needs none it may be absent."""
    return frame.get("data") or {}
