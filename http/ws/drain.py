"""Moving sockets away: in evenly spaced slots over a window, each told in its own words, so that nobody sees 1006.

    SERVING ──begin──▶ DRAINING ──all were moved──▶ DRAINED
       ▲                  │ give_up                    │ serve_again
       └──────────────────┴────────────────────────────┘
    any ──stop──▶ STOPPING, for good

Of N sockets the i-th has the slot i/N × window. greenroom.v1 hears at once `reconnect {after, deadline, reason,
resume}`: it leaves by itself at `after`, or is closed with 4200 at `deadline`. A stream, and a poll that waits, hear
nothing before, and end with 4200 at their slot; so does compat, with 1012. That client comes back 20 to 60 ms later,
once, and is stuck when that fails, as it is when a socket ends within 2 s of its attempt (existing-system.md section
2.7). So:

* a drain leaves the door open: whoever comes, comes in, and is not moved by this drain again. Where they come back to
  is for whoever stands in front: `/api/health` says `draining`;
* a stop takes nobody new, and leaves them in the backlog of the listener for the process that has it next;
* no compat socket is closed younger than YOUNG_SECONDS: a slot that comes too early for one waits for it.
"""

import heapq
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

import trio

from greenroom.http.ws import events
from greenroom.http.ws.codes import DRAINING
from greenroom.http.ws.connection import CONTROL, Connection

if TYPE_CHECKING:
    from greenroom.http.ws.engine import SocketEngine

Reason = Literal["drain", "rebalance", "upgrade"]

GRACE_SECONDS: Final = 5.0  # of a drain: between `after` and `deadline`
YOUNG_SECONDS: Final = 2.1
STEP_SECONDS: Final = 0.01  # slots closer together than this share a turn of the loop
TOLD_AT_ONCE: Final = 64
# Of a stop, which has 2.5 s for all sockets: few are not made to wait for the sake of an even spacing.
STOP_WINDOW_SECONDS_MAX: Final = 1.2
STOP_SOCKETS_PER_SECOND: Final = 1000
STOP_LOOK_SECONDS: Final = 0.02


class DrainState(StrEnum):
    """Where the sockets of this process stand; drawn in the docstring of the module."""

    SERVING = "serving"
    DRAINING = "draining"
    DRAINED = "drained"
    STOPPING = "stopping"


@dataclass(frozen=True, slots=True)
class DrainStatistics:
    """Of the drain under way, or the last one: `moved` of `total` sockets. sockets: that are open now, of all."""

    state: DrainState
    sockets: int
    moved: int
    total: int
    seconds_left: float


class Drain:
    """The one drain of a process. `begin` and `give_up` for an operator, `stop` for the end."""

    def __init__(self, engine: "SocketEngine") -> None:
        self._engine = engine
        self._scope = trio.CancelScope()
        self._moved = self._total = 0
        self._ends_at = 0.0
        self.state = DrainState.SERVING
        self.is_stopping = trio.Event()
        self.is_over = False  # everybody was moved, and whoever is still adopted must be told at once

    def statistics(self) -> DrainStatistics:
        """How far it is."""
        left = max(0.0, self._ends_at - trio.current_time()) if self.state is DrainState.DRAINING else 0.0
        return DrainStatistics(self.state, self._engine.total, self._moved, self._total, left)

    def is_moving(self) -> bool:
        """Whether whoever sends clients here should send them elsewhere."""
        return self.state is not DrainState.SERVING

    def begin(self, window_seconds: float, reason: Reason = "drain") -> None:
        """Move every socket that is open now. Raises: ValueError when a drain, or the end, is under way.

        reason: as v1 clients are told.
        """
        if self.state in (DrainState.DRAINING, DrainState.STOPPING):
            raise ValueError(f"this greenroom is {self.state} already")
        self.state, self._scope = DrainState.DRAINING, trio.CancelScope()
        connections = self._engine.open_connections()
        self._total, self._moved = len(connections), 0
        self._ends_at = trio.current_time() + window_seconds
        self._engine.spawn(self._drain, connections, window_seconds, reason)

    def give_up(self) -> None:
        """End a drain that is under way: who was moved is, the others stay. Nothing, when none is."""
        if self.state is DrainState.DRAINING:
            self.state = DrainState.SERVING
            self._scope.cancel(reason="the drain was given up")

    def serve_again(self) -> None:
        """Be as before a drain, whether it is under way or over. Nothing, when the process stops."""
        self.give_up()
        if self.state is DrainState.DRAINED:
            self.state = DrainState.SERVING

    async def stop(self) -> None:
        """Move everybody and wait until they have heard it. Cancelled: the rest is told at once, and cut."""
        self.state = DrainState.STOPPING
        self.is_stopping.set()
        self._scope.cancel(reason="the process stops")
        connections = self._engine.open_connections()
        self._total, self._moved = len(connections), 0
        window_seconds = min(STOP_WINDOW_SECONDS_MAX, len(connections) / STOP_SOCKETS_PER_SECOND)
        try:
            await self._move(connections, window_seconds, 0.0)
            while self._engine.total:
                # Whose handshake was under way when the end began.
                await self._move(self._engine.open_connections(), 0.0, 0.0)
                await trio.sleep(STOP_LOOK_SECONDS)
        finally:
            self.is_over = True
            for connection in self._engine.all_connections():
                connection.end(DRAINING)
                connection.abort()

    async def _drain(self, connections: list[Connection], window_seconds: float, reason: Reason) -> None:
        with self._scope:
            await self._move(connections, window_seconds, GRACE_SECONDS, reason)
            if self.state is DrainState.DRAINING:
                self.state = DrainState.DRAINED

    async def _move(
        self, connections: list[Connection], window_seconds: float, grace_seconds: float, reason: Reason = "drain"
    ) -> None:
        """Tell all and close each in its slot; returns when the last was closed."""
        began = trio.current_time()
        spacing = window_seconds / len(connections) if connections else 0.0
        due = []
        for index, connection in enumerate(connections):
            slot = began + index * spacing
            if connection.session.is_v1 and connection.can_be_told:
                _advise(connection, slot, slot + grace_seconds, reason)
                slot += grace_seconds
            due.append((slot, index))
            if index % TOLD_AT_ONCE == TOLD_AT_ONCE - 1:
                await trio.lowlevel.checkpoint()
        heapq.heapify(due)
        self._ends_at = max((slot for slot, _ in due), default=began)
        await trio.lowlevel.checkpoint()
        while due:
            await trio.sleep_until(due[0][0])
            now = trio.current_time()
            for _ in range(TOLD_AT_ONCE):
                if not due or due[0][0] > now + STEP_SECONDS:
                    break
                _, index = heapq.heappop(due)
                wait_until = _moves_at(connections[index])
                if wait_until > now:
                    heapq.heappush(due, (wait_until, index))
                else:
                    connections[index].end(DRAINING)
                    self._moved += 1


def _advise(connection: Connection, after: float, deadline: float, reason: Reason) -> None:
    """Tell a v1 socket when to go, in whole milliseconds from now."""
    now = trio.current_time()
    data = {
        "after": max(0, round((after - now) * 1000)),
        "deadline": max(0, round((deadline - now) * 1000)),
        "reason": reason,
        "resume": True,
    }
    connection.write(events.v1("reconnect", data), CONTROL)


def _moves_at(connection: Connection) -> float:
    """The earliest time to close it: what is over already, at any."""
    if connection.session.is_v1 or connection.is_closing:
        return 0.0
    return connection.opened_at + YOUNG_SECONDS
