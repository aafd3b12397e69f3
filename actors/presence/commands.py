"""What a user's presence can be told."""

from dataclasses import dataclass
from typing import Literal

from greenroom.runtime import Command

Status = Literal["online", "away", "busy", "dnd", "offline"]


@dataclass(frozen=True, slots=True)
class SocketOpened(Command[None]):
    """The user has one socket more. Which, the board knows: what a command says may be out of date when it is read."""


@dataclass(frozen=True, slots=True)
class SocketClosed(Command[None]):
    """One of the user's sockets is gone."""


@dataclass(frozen=True, slots=True)
class SetStatus(Command[None]):
    """What the user says of themselves."""

    status: Status
    activity: str


@dataclass(frozen=True, slots=True)
class Recall(Command[None]):
    """Of an actor that crashed to its next activation: show what is true now, and how the user wanted to appear."""

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
