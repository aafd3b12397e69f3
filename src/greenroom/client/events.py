"""What the client tells."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Connected:
    """The server has said `ready`. is_again: after a loss."""

    user_id: int
    name: str
    is_again: bool


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection is lost; the next try comes in retry_seconds."""

    why: str
    retry_seconds: float


@dataclass(frozen=True, slots=True)
class Said:
    """A message. is_own: by this user, from whatever device."""

    room_id: int
    seq: int
    sender_id: int
    sender: str
    body: str
    at_ms: int
    client_id: str | None
    is_own: bool


@dataclass(frozen=True, slots=True)
class Replaced:
    """The log of the room is another one than before: seqs begin anew."""

    room_id: int


@dataclass(frozen=True, slots=True)
class Typing:
    """Who types now, by id; it replaces what was told before. One's own typing is left out."""

    room_id: int
    names: dict[int, str]


@dataclass(frozen=True, slots=True)
class Presence:
    """Who is here and who is gone, by id. is_all: nobody else is here."""

    room_id: int
    here: dict[int, str]
    gone: dict[int, str]
    is_all: bool


@dataclass(frozen=True, slots=True)
class Member:
    """Somebody became a member, or is none any more."""

    room_id: int
    user_id: int
    is_active: bool


@dataclass(frozen=True, slots=True)
class Undelivered:
    """The server refuses this line for good."""

    room_id: int
    body: str
    why: str


@dataclass(frozen=True, slots=True)
class RoomRefused:
    """The server does not let us into the room (any more)."""

    room_id: int
    why: str


Event = Connected | Disconnected | Said | Replaced | Typing | Presence | Member | Undelivered | RoomRefused
