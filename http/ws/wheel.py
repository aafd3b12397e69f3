"""The timing wheel: one slot a second, in which stand the connections whose session is to be called then.

    call_within(30 s) ──▶ slot of the turn in 30 s ──turn()──▶ who stands there and was not given another

To put a connection on it, to move it and to take it off cost the same however many there are.
"""

from typing import Final

from greenroom.http.ws.connection import NEVER, Connection

WHEEL_SLOTS: Final = 64
TICK_SECONDS: Final = 1.0  # from one slot to the next


class Wheel:
    """Made by the engine, which turns it."""

    def __init__(self) -> None:
        self._slots: list[set[Connection]] = [set() for _ in range(WHEEL_SLOTS)]
        self._turn = 0

    def call_within(self, connection: Connection, wait_seconds: float) -> None:
        """Give it a turn in so many seconds, at most a round, unless it has an earlier one."""
        beats_at = self._turn + int(min(max(wait_seconds, 1), WHEEL_SLOTS - 1))
        if beats_at < connection.beats_at and connection.is_open:
            self.take_off(connection)
            connection.beats_at = beats_at
            self._slots[beats_at % WHEEL_SLOTS].add(connection)

    def take_off(self, connection: Connection) -> None:
        """It is over, or is given another turn."""
        if connection.beats_at != NEVER:
            self._slots[connection.beats_at % WHEEL_SLOTS].discard(connection)

    def turn(self) -> set[Connection]:
        """A second is over: who stood in its slot, of whom those count that are due."""
        self._turn += 1
        at = self._turn % WHEEL_SLOTS
        slot, self._slots[at] = self._slots[at], set()
        return slot

    def is_due(self, connection: Connection) -> bool:
        """Whether it is still there, and was not given another turn since."""
        return not connection.is_closing and connection.beats_at <= self._turn
