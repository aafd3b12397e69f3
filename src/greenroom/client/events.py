"""What the client tells. The JavaScript client tells the same under the same names (docs/clients.md)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

DETAILS: Final = frozenset(("kind", "format", "replyTo", "thread", "mentions"))


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has said `ready`. is_again: after a loss."""

    user_id: int
    name: str
    is_again: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is lost; the next try comes in retry_seconds. code: of the close, 1006 when there was none.

    is_expected: the server has asked for it lately, as it does when it restarts: nothing to trouble anybody with.
    """

    code: int
    why: str
    retry_seconds: float
    is_expected: bool


@dataclass(frozen=True, slots=True)
class Entered:
    """The server has let us into the room, as it does on each connection. read: up to where this user has."""

    room_id: int
    top: int
    read: int
    unread: int
    members: int


@dataclass(frozen=True, slots=True)
class Said:
    """A message, as it stands when it is told. is_own: by this user, from whatever device. is_deleted: it is empty.

    attachments: its files. details: what else is said of it, some of DETAILS. Both as docs/wire-protocol.md says.
    edited_at_ms: when it was edited last, None: never.
    reactions, pinned_at_ms: only of what `Client.history` answers; of what is told `Reacted` and `Pinned` tell.
    """

    room_id: int
    seq: int
    sender_id: int
    sender: str
    body: str
    at_ms: int
    client_id: str | None
    is_own: bool
    message_id: int = 0
    is_deleted: bool = False
    attachments: tuple[dict[str, Any], ...] = ()
    edited_at_ms: int | None = None
    details: Mapping[str, Any] = field(default_factory=dict)
    reactions: tuple[dict[str, Any], ...] = ()
    pinned_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Changed:
    """A message that was told, or would have been, says *body* from here on; None: it was deleted.

    of: the seq of the message. seq: of the change, which has a place in the log of its own.
    """

    room_id: int
    seq: int
    of: int
    message_id: int
    body: str | None
    at_ms: int


@dataclass(frozen=True, slots=True)
class Reacted:
    """Somebody reacts to the message at seq *of*, or does so no more (not is_on). reaction: "" of one deleted since."""

    room_id: int
    seq: int
    of: int
    message_id: int
    user_id: int
    reaction: str
    is_on: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class Pinned:
    """The message at seq *of* was pinned in its room, or let go (not is_on)."""

    room_id: int
    seq: int
    of: int
    message_id: int
    by_id: int
    is_on: bool
    at_ms: int


@dataclass(frozen=True, slots=True)
class CaughtUp:
    """What was there in the room when the server let us in is told, as it is on each connection: the rest is new."""

    room_id: int


@dataclass(frozen=True, slots=True)
class Confirmed:
    """A line of ours is stored, at this seq."""

    room_id: int
    client_id: str
    seq: int


@dataclass(frozen=True, slots=True)
class Delayed:
    """The server asks to wait with a line of ours; it is sent again in so many seconds."""

    room_id: int
    client_id: str
    retry_seconds: float
    why: str


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The server refuses a line of ours for good. code: the number of the error. attachments: the keys of its files."""

    room_id: int
    client_id: str
    body: str
    code: int
    why: str
    attachments: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Replaced:
    """The log of the room is another one than before: throw away what was told of it; seqs begin anew."""

    room_id: int


@dataclass(frozen=True, slots=True)
class Typing:
    """Who types now, by id; it replaces what was told before. One's own typing is left out."""

    room_id: int
    names: dict[int, str]


@dataclass(frozen=True, slots=True)
class Receipts:
    """Up to which seq some people have read, by id.

    counts: of a large room in their place, how many members have read up to which seq or further, the newest first.
    """

    room_id: int
    marks: dict[int, int]
    counts: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who is here, or was. status: online, away, busy, dnd; of who went: offline.

    last_seen_ms: of who is offline, where the server tells it.
    """

    user_id: int
    name: str
    status: str
    activity: str
    last_seen_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """Who came or appears otherwise now, and who went. `Client.here` has everybody."""

    room_id: int
    here: tuple[Person, ...]
    gone: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class Watched:
    """All who are watched by name (`Client.watch`), as they are now; it replaces what was told before.

    Whoever may not be seen is not among them.
    """

    people: tuple[Person, ...]


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody became a member, or has another role, or is none any more (not is_active).

    seq, at_ms: None of the first members of a conversation. role: admin or member; from here on, or until then.
    """

    room_id: int
    user_id: int
    is_active: bool
    seq: int | None = None
    at_ms: int | None = None
    role: str | None = None


@dataclass(frozen=True, slots=True)
class RoomRefused:
    """The server does not let us into the room any more. code: the number of the error."""

    room_id: int
    code: int
    why: str


@dataclass(frozen=True, slots=True)
class Personal:
    """Something of this user, told to all their devices in the order of useq.

    what: read_sync, membership, block, notification, notification_read, notification_deleted, and what later servers
    have. data: as docs/wire-protocol.md says.
    """

    useq: int
    what: str
    room_id: int | None
    data: dict[str, Any]
    at_ms: int


@dataclass(frozen=True, slots=True)
class Missed:
    """Events of this user that are not told any more: look anew at what they told of. is_reset: seqs begin anew."""

    first_useq: int
    last_useq: int
    is_reset: bool


@dataclass(frozen=True, slots=True)
class Other:
    """What the server says that is nothing of the above, such as `room_summary`, or `error` without an id.

    what: the type of the frame. data: as docs/wire-protocol.md says.
    """

    what: str
    room_id: int | None
    data: dict[str, Any]
    at_ms: int | None


Event = (
    Connected
    | Disconnected
    | Entered
    | CaughtUp
    | Said
    | Changed
    | Reacted
    | Pinned
    | Confirmed
    | Delayed
    | Undelivered
    | Replaced
    | Typing
    | Receipts
    | Presence
    | Watched
    | Member
    | RoomRefused
    | Personal
    | Missed
    | Other
)
