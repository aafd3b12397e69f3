"""Which classes of commands the server has asked to slow down, and for how long. Pure.

A send counts as a command, too, and so does typing: while `cmds` waits, all of them do. The limits are those of the
user, so they outlast a connection.
"""

from typing import Final

from greenroom.client.backoff import heeded

CLASSES: Final = ("send", "cmds", "typing")


class Pace:
    """Times are seconds of the caller's clock."""

    __slots__ = ("_until",)

    def __init__(self) -> None:
        self._until = dict.fromkeys(CLASSES, 0.0)

    def slow_down(self, kind: str, seconds: float, now: float) -> None:
        """The server has said so. A shorter wait does not end a longer one; a class of tomorrow changes nothing."""
        if kind in self._until:
            self._until[kind] = max(self._until[kind], now + heeded(seconds))

    def wait_seconds(self, kind: str, now: float) -> float:
        """Until one more of the class may go."""
        return max(0.0, self._until[kind] - now, self._until["cmds"] - now)
