"""What a v1 client says, as values: the parts of commands, read strictly and without I/O.

Everything here raises `BadCommand` with a sentence for the client, and knows no session.
"""

import json
from typing import Any, Final, cast

from greenroom.actors.presence.commands import ACTIVITY_CHARACTERS_MAX, SetStatus, Wish
from greenroom.actors.room.commands import RoomView
from greenroom.actors.room.state import CLIENT_ID_CHARACTERS_MAX
from greenroom.http.ws.codes import BAD_FRAME, TOO_MANY_ROOMS, ErrorCode
from greenroom.http.ws.cursor import ROOMS_MAX as ROOMS_MAX  # a connection hears no more
from greenroom.http.ws.cursor import BadCursor, read_cursor
from greenroom.http.ws.replay import REPLAY_MESSAGES_MAX
from greenroom.http.ws.user_streams import UserCursor

SUMMARIES_MAX: Final = 500
MEMBERS_MAX: Final = 1000  # in one answer
MODES: Final = ("full", "summary")
INFLIGHT_MAX: Final = 256
COMMANDS_MAX: Final = 16
STATUSES: Final = ("away", "busy", "dnd", "invisible", "online")
ID_CHARACTERS_MAX: Final = 64
LARGEST_ID: Final = 2**53 - 1


class BadCommand(Exception):
    """The command cannot be understood; *message* says what would be right."""

    def __init__(self, message: str, code: ErrorCode = BAD_FRAME) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


class WantedRooms:
    """The rooms of a `start`: after[r] is the last seq the client has, None for a room that it joins afresh."""

    __slots__ = ("after", "epochs", "is_resume", "summaries", "user")

    def __init__(self) -> None:
        self.after: dict[int, int | None] = {}
        self.epochs: dict[int, int] = {}
        self.is_resume = False
        self.summaries: set[int] = set()  # of the rooms: those that are wanted as summaries only
        self.user: UserCursor | None = None

    def is_lost(self, view: RoomView) -> bool:
        """Not everything since the client was here will be replayed."""
        return gap_in(view, self.after[view.room_id], self.epochs.get(view.room_id)) is not None


def wanted_rooms(data: dict[str, Any]) -> WantedRooms:
    """The rooms that a `start` asks for, afresh and to be resumed."""
    wanted = WantedRooms()
    rooms = data.get("rooms", [])
    if not isinstance(rooms, list):
        raise BadCommand('rooms of start is a list of {"r": room}')
    for item in rooms:
        room_id = _room_id(item.get("r") if isinstance(item, dict) else item)
        wanted.after[room_id] = None
        if isinstance(item, dict) and mode_in(item) == "summary":
            wanted.summaries.add(room_id)
    resume = data.get("resume")
    if resume is not None:
        _want_resume(wanted, resume)
    if len(wanted.after) - len(wanted.summaries) > ROOMS_MAX:
        raise BadCommand(f"a connection joins at most {ROOMS_MAX} rooms", TOO_MANY_ROOMS)
    if len(wanted.summaries) > SUMMARIES_MAX:
        raise BadCommand(f"a connection has summaries of at most {SUMMARIES_MAX} rooms", TOO_MANY_ROOMS)
    return wanted


def _want_resume(wanted: WantedRooms, resume: object) -> None:
    if not isinstance(resume, dict) or not isinstance(resume.get("rooms", {}), dict):
        raise BadCommand('resume of start is {"user": useq, "rooms": {room: seq}}')
    wanted.is_resume = True
    _want_cursor(wanted, resume.get("cursor"))
    epoch = optional_seq(resume, "epoch")
    wanted.user = user_cursor(resume)
    for room, cursor in resume.get("rooms", {}).items():
        room_id = _room_id(room)
        at = cursor if isinstance(cursor, dict) else {"seq": cursor}
        seq = optional_seq(at, "seq")
        if seq is None:
            raise BadCommand("a resumed room needs the seq of the last message that the client has")
        room_epoch = optional_seq(at, "epoch")
        wanted.after[room_id] = seq
        wanted.summaries.discard(room_id)  # who has a place in it wants it whole
        if room_epoch is not None or epoch is not None:
            wanted.epochs[room_id] = cast("int", room_epoch if room_epoch is not None else epoch)


def _want_cursor(wanted: WantedRooms, cursor: object) -> None:
    """The rooms of a cursor, as an event stream or a poll gave it; what `resume.rooms` says counts before it."""
    if cursor is None:
        return
    if not isinstance(cursor, str):
        raise BadCommand("resume.cursor is a text, as a stream or a poll gave it")
    try:
        places = read_cursor(cursor)
    except BadCursor as fault:
        raise BadCommand(str(fault)) from None
    wanted.after.update({room_id: place.seq for room_id, place in places.items()})
    wanted.epochs.update({room_id: place.epoch for room_id, place in places.items()})


def user_cursor(data: dict[str, Any]) -> UserCursor | None:
    """Where the client is in its user's stream, if it says so: a useq, or that and the epoch."""
    at = data.get("user")
    if at is None:
        return None
    given = at if isinstance(at, dict) else {"useq": at}
    useq = optional_seq(given, "useq")
    if useq is None:
        raise BadCommand('user of resume is the useq of the last event that the client has, or {"useq", "epoch"}')
    return UserCursor(useq, optional_seq(given, "epoch"))


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
    """How a room is wanted: whole, or as a summary now and then."""
    mode = data.get("mode", "full")
    if mode not in MODES:
        raise BadCommand(f"mode is one of {', '.join(MODES)}")
    return str(mode)


def room_item(view: RoomView, mode: str = "full") -> dict[str, Any]:
    """A room in `ready`, and in the ack of `join`."""
    return {
        "r": view.room_id,
        "epoch": view.epoch,
        "top": view.top_seq,
        "read": view.read_seq,
        "unread": view.unread,
        "members": view.member_count,
        "mode": mode,
    }


def command_id_of(frame: dict[str, Any]) -> str | None:
    """The id of a command, if it has one."""
    command_id = frame.get("id")
    if command_id is None:
        return None
    if isinstance(command_id, str) and 0 < len(command_id) <= ID_CHARACTERS_MAX:
        return command_id
    raise BadCommand("id is a text of 1 to 64 characters")


def message_in(data: dict[str, Any], command_id: str | None) -> tuple[str, str]:
    """The content and the client id of a send. Raises: BadCommand, also for what would be lost in silence."""
    content, client_id = data.get("body", data.get("content")), data.get("clientId", command_id)
    if not isinstance(content, str):
        raise BadCommand("send needs data.body, a text of 1 to 10,000 characters")
    if not isinstance(client_id, str) or not 0 < len(client_id) <= CLIENT_ID_CHARACTERS_MAX:
        raise BadCommand(f"send needs an id, or data.clientId of 1 to {CLIENT_ID_CHARACTERS_MAX} characters")
    if data.get("attachments") or data.get("replyTo") is not None:
        raise BadCommand("messages have no attachments and answer no other message yet: send the text alone")
    return content, client_id


def id_in(frame: dict[str, Any]) -> str | None:
    """The id of a command that is refused whatever it says; None when that cannot be sent back."""
    command_id = frame.get("id")
    if isinstance(command_id, str) and 0 < len(command_id) <= ID_CHARACTERS_MAX and command_id.isprintable():
        return command_id
    return None


def room_of(frame: dict[str, Any]) -> int:
    """The room that a command is about."""
    room = frame.get("room")
    if type(room) is int and 0 < room <= LARGEST_ID:
        return room
    return _room_id(room)


def _room_id(room: object) -> int:
    if isinstance(room, str) and room.isascii() and room.isdigit() and len(room) <= 16:
        room = int(room)
    if isinstance(room, bool) or not isinstance(room, int) or not 0 < room <= LARGEST_ID:
        raise BadCommand(f"room is the id of a conversation, not {json.dumps(room)[:40]}")
    return room


def wanted_presence(data: dict[str, Any]) -> tuple[SetStatus | None, bool | None]:
    """(how a user wants to appear, whether nobody sits at the device); None of what was not said."""
    status, note, is_idle = data.get("status"), data.get("note", ""), data.get("idle")
    if is_idle is not None and not isinstance(is_idle, bool):
        raise BadCommand("presence.idle is true or false")
    if status is None and is_idle is not None and "note" not in data:
        return None, is_idle
    if not isinstance(status, str) or status not in STATUSES:
        raise BadCommand(f"presence needs a room, data.idle, or data.status: one of {', '.join(STATUSES)}")
    if not isinstance(note, str) or len(note) > ACTIVITY_CHARACTERS_MAX:
        raise BadCommand(f"presence.note is a text of at most {ACTIVITY_CHARACTERS_MAX} characters")
    return SetStatus(cast("Wish", status), note), is_idle


def wanted_users(data: dict[str, Any], users_max: int) -> tuple[int, ...]:
    """The users that a `watch` is about, each once."""
    users = data.get("users")
    if not isinstance(users, list) or len(users) > users_max:
        raise BadCommand(f"watch needs data.users, a list of at most {users_max} ids of users; an empty one ends it")
    for user in users:
        if isinstance(user, bool) or not isinstance(user, int) or not 0 < user <= LARGEST_ID:
            raise BadCommand(f"users of watch are ids of users, not {json.dumps(user)[:40]}")
    return tuple(dict.fromkeys(users))


def data_of(frame: dict[str, Any]) -> dict[str, Any]:
    """The data of a command that needs some."""
    data = frame.get("data")
    if not isinstance(data, dict):
        raise BadCommand("data is an object")
    return data


def optional_seq(data: dict[str, Any], name: str) -> int | None:
    """A seq, or an epoch, that may be absent."""
    value = data.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= LARGEST_ID:
        raise BadCommand(f"{name} is a whole number from 0")
    return value
