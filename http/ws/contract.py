"""What a connection asks of those above it: the session that speaks on it, and whoever tells things past its outbox.

And what the engine says of all of them, in numbers.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from greenroom.http.auth import Principal
from greenroom.http.ws.codes import CloseCode


class Ranked(Protocol):
    """Somebody in a room who is told things past the outbox, while that is empty."""

    def fall_out(self) -> None:
        """The outbox is in use: nothing may pass it by."""
        ...


class Session(Protocol):
    """The protocol that a connection speaks. None of these may wait."""

    user_id: int | None
    principal: Principal | None
    is_v1: bool
    device: str
    is_present: bool
    useq: int | None
    is_idle: bool
    input_at: float

    def receive(self, text: str) -> None:
        """A text message came."""
        ...

    def refuse_binary(self) -> None:
        """A binary message came."""
        ...

    def beat(self, now: float) -> float | None:
        """The wheel came round: ping if it is time. Seconds until the next turn, or None when the peer is gone.

        The end of the credential is a turn too.
        """
        ...

    @property
    def first_beat_seconds(self) -> float:
        """When `beat` is called first."""
        ...

    def membership_changed(self, room_id: int, *, is_in: bool) -> None:
        """The user came into a room, has another role there, or is out of it; a peer of v1 was told so just now."""
        ...

    def user_stream_at(self, useq: int, *, is_live: bool) -> None:
        """Its peer has, or is written next, all of the user's stream up to *useq*. is_live: more as it happens."""
        ...

    def unsay(self, instead: Callable[[bytes], bytes | None]) -> None:
        """Let go of what is to be told to nobody any more, where it is kept.

        instead: the frame in the place of one of which the JSON is given; None: it stays as it is.
        """
        ...

    def seconds_left(self) -> float:
        """How long the credential is good for; without end when it does not end, or is looked at elsewhere."""
        ...

    def takes_more(self) -> bool:
        """Whether the rest of a frame that has begun may be read now; if not, the session pauses the connection."""
        ...

    def pause_for(self, seconds: float) -> None:
        """Stop reading the connection for a while: it takes more of the loop than its share."""
        ...

    def note_input(self) -> None:
        """The user did something here themselves."""
        ...

    def types_in(self, room_id: int) -> bool:
        """Whether the user types there, on this device."""
        ...

    def stop_typing_anywhere(self) -> None:
        """The user, who hides from now on, types nowhere."""
        ...

    def farewell(self, code: CloseCode) -> bytes:
        """Frames that go before the close frame. Of a page's alone: v1 has a code for everything."""
        ...

    def closed(self) -> None:
        """The connection is over; called once."""
        ...


class SessionOver:
    """Takes the place of the session when its connection is over: who comes late sees who it was, and nobody there.

    A session knows its connection. If that kept it, both would stay until Python looks for cycles among all that is
    old: a server whose crowd of 10,000 had left held them all for minutes.
    """

    __slots__ = ("is_v1", "user_id")

    principal: Principal | None = None  # that would be the next to stay
    device = ""
    is_present = False
    useq: int | None = None
    is_idle = False
    input_at = 0.0
    first_beat_seconds = math.inf

    def __init__(self, session: Session | None) -> None:
        """None: it could not be made."""
        self.user_id = None if session is None else session.user_id
        self.is_v1 = session is not None and session.is_v1

    def receive(self, text: str) -> None:
        """Nobody hears it."""

    def refuse_binary(self) -> None:
        """Nobody hears it."""

    def beat(self, now: float) -> float:
        """There is no next turn."""
        return math.inf

    def membership_changed(self, room_id: int, *, is_in: bool) -> None:
        """Nobody is told."""

    def user_stream_at(self, useq: int, *, is_live: bool) -> None:
        """Nobody is told."""

    def unsay(self, instead: Callable[[bytes], bytes | None]) -> None:
        """Nothing is kept."""

    def seconds_left(self) -> float:
        """Nothing ends any more."""
        return math.inf

    def takes_more(self) -> bool:
        """Nothing is read."""
        return False

    def pause_for(self, seconds: float) -> None:
        """Nothing is read."""

    def note_input(self) -> None:
        """Nobody sits there."""

    def types_in(self, room_id: int) -> bool:
        """Nobody types."""
        return False

    def stop_typing_anywhere(self) -> None:
        """Nobody types."""

    def farewell(self, code: CloseCode) -> bytes:
        """Nobody is told."""
        return b""

    def closed(self) -> None:
        """It is."""


@dataclass(frozen=True, slots=True)
class Behind:
    """A peer that takes less than there is for it. user: None before it has said who it is.

    connection: the number that clients are told, as they are; bytes: that wait for it; seconds: since it took some.
    """

    user: int | None
    connection: str
    address: str
    protocol: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class OutboxStatistics:
    """What waits for peers that take less than there is for them.

    sockets: such peers, some may be closing; bytes: for all of them, a frame counted for each who waits for it; limit:
    of those that exist; closed: as slow consumers, since the start; worst: those for whom most waits, most first.
    """

    sockets: int
    bytes: int
    limit: int
    closed: int
    worst: tuple[Behind, ...]


@dataclass(frozen=True, slots=True)
class EngineStatistics:
    """Connections now, and since the start: adopted, closed by code, frames in, ephemeral frames dropped."""

    connections: int
    unauthenticated: int
    users: int
    adopted: int
    frames_in: int
    dropped_ephemeral: int
    closed: dict[int, int]
    outboxes: OutboxStatistics
    faults: int
