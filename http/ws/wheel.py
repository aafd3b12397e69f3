"""The timing wheel: one slot a second, in which stand the connections whose session is to be called then.

    call_within(30 s) ──▶ slot of the turn in 30 s ──turn()──▶ who stands there and was not given another
    look_within(11 s) ──▶ slot of the turn in 11 s ──turn()──▶ who was not heard since

To put a connection on it, to move it and to take it off cost the same however many there are.
"""

from typing import Final

from greenroom.http.ws.connection import NEVER, Connection

WHEEL_SLOTS: Final = 64
TICK_SECONDS: Final = 1.0  # from one slot to the next
HEARD_SECONDS_MAX: Final = 20.0  # ago, of who is not looked at: less than any silence that ends a connection


class Wheel:
    """Made by the engine, which turns it."""

    def __init__(self) -> None:
        self._slots: list[set[Connection]] = [set() for _ in range(WHEEL_SLOTS)]
        self._turn = 0

    def call_within(self, connection: Connection, wait_seconds: float) -> None:
        """Give it a turn in so many seconds, at most a round, unless it has an earlier one."""
        beats_at = self._turn + int(min(max(wait_seconds, 1), WHEEL_SLOTS - 1))
        if not self._turn < connection.beats_at <= beats_at and connection.is_open:
            if connection.beats_at not in (NEVER, connection.looks_at):
                self._slots[connection.beats_at % WHEEL_SLOTS].discard(connection)
            connection.beats_at = beats_at
            self._slots[beats_at % WHEEL_SLOTS].add(connection)

    def look_within(self, connection: Connection, wait_seconds: float) -> None:
        """Give it a turn besides in so many seconds, at most a round, unless it is heard shortly before.

        Who was asked for a sign of life gives it, as a rule: a turn to find that is one for nothing.
        """
        if connection.is_open:
            if connection.looks_at > self._turn and connection.looks_at not in (NEVER, connection.beats_at):
                self._slots[connection.looks_at % WHEEL_SLOTS].discard(connection)
            connection.looks_at = self._turn + int(min(max(wait_seconds, 1), WHEEL_SLOTS - 1))
            self._slots[connection.looks_at % WHEEL_SLOTS].add(connection)

    def forget(self, connection: Connection) -> None:
        """It is over."""
        for at in (connection.beats_at, connection.looks_at):
            self._slots[at % WHEEL_SLOTS].discard(connection)

    def turn(self) -> set[Connection]:
        """A second is over: who stood in its slot, of whom those count that are due."""
        self._turn += 1
        at = self._turn % WHEEL_SLOTS
        slot, self._slots[at] = self._slots[at], set()
        return slot

    def is_due(self, connection: Connection, now: float) -> bool:
        """Whether it is still there and was not given another turn since, or was not heard when it should have been."""
        if connection.is_closing:
            return False
        return connection.beats_at <= self._turn or (
            connection.looks_at <= self._turn and now - connection.heard_at >= HEARD_SECONDS_MAX
        )
