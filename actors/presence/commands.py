"""What a user's presence can be told."""

from dataclasses import dataclass
from typing import Literal

from greenroom.runtime import Command

Status = Literal["online", "away", "busy", "dnd", "offline"]


@dataclass(frozen=True, slots=True)
class SocketOpened(Command[None]):
    """The user has one socket more. socket_id: unique in this process."""

    socket_id: int
    device: str


@dataclass(frozen=True, slots=True)
class SocketClosed(Command[None]):
    """One of the user's sockets is gone."""

    socket_id: int


@dataclass(frozen=True, slots=True)
class SetStatus(Command[None]):
    """What the user says of themselves."""

    status: Status
    activity: str


@dataclass(frozen=True, slots=True)
class PresenceView:
    """How a user appears. devices: names of those that have a socket."""

    status: Status
    activity: str
    devices: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Describe(Command[PresenceView]):
    """Show the presence."""
