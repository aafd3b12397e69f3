"""What a user's presence can be told."""

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from greenroom.runtime import Command

Status = Literal["online", "away", "busy", "dnd", "offline"]
"""How a user appears."""

Wish = Literal["online", "away", "busy", "dnd", "offline", "invisible"]
"""How a user wants to appear. offline hides until their last device is gone, invisible until they say otherwise."""

HIDING: Final = frozenset(("offline", "invisible"))
ACTIVITY_CHARACTERS_MAX: Final = 140


class Device(NamedTuple):
    """Something that the user is here with: a socket, or a client that polls. is_idle: nobody seems to sit at it."""

    name: str
    is_idle: bool


@dataclass(frozen=True, slots=True)
class PresenceView:
    """A user's presence as they see it themselves. status: their word; shown: what the others see.

    devices: those of one name as one, idle when every socket of it is.
    """

    status: Wish
    shown: Status
    activity: str
    devices: tuple[Device, ...]


@dataclass(frozen=True, slots=True)
class Look(Command[None]):
    """The user's devices may have changed. How, the board knows: what a command says may be out of date when read."""


@dataclass(frozen=True, slots=True)
class SetStatus(Command[PresenceView]):
    """What the user says of themselves. The last word counts, from whatever device."""

    status: Wish
    activity: str


@dataclass(frozen=True, slots=True)
class Heartbeat(Command[PresenceView]):
    """Of a client without a socket, which polls: the user is here for HEARTBEAT_SECONDS more, and wants to appear so.

    session_id: what tells such clients of one user apart, and is told to nobody. While that session has a socket, the
    socket says when the user goes, and this ends with it. name: what the user is called. token_issued_at: of who showed
    a token or a key, Unix seconds: it ends with a sign-out everywhere since; None of a session.
    """

    session_id: str
    name: str
    status: Wish
    activity: str
    token_issued_at: float | None = None


@dataclass(frozen=True, slots=True)
class Describe(Command[PresenceView]):
    """Show the presence to the user themselves."""
