"""Patience: whoever has more for a peer than it takes waits here until it has taken most of it.

    wait ──▶ one event of the connection ──its outbox shrinks to the mark, or it closes──▶ all who wait look again
                                         └─nothing waits for others any more (a crowd)─┘

Nobody looks by the clock: 2,000 slow peers that are looked at every 20 ms are 100,000 wake-ups a second.
"""

from typing import TYPE_CHECKING

import trio

if TYPE_CHECKING:
    from greenroom.http.ws.connection import Connection


class _Wait:
    """For one connection. mark: so many bytes may be left, the most that somebody who waits is content with."""

    __slots__ = ("event", "mark")

    def __init__(self) -> None:
        self.event = trio.Event()
        self.mark = 0


class Patience:
    """Of the engine. Costs nothing while nobody waits."""

    __slots__ = ("_waits",)

    def __init__(self) -> None:
        self._waits: dict[Connection, _Wait] = {}

    async def wait(self, connection: "Connection", mark: int) -> None:
        """Wait until at most *mark* bytes are left, or may be soon: the caller looks again.

        Something waits for the kernel, and the connection is not closing: else nobody would say so.
        """
        wait = self._waits.get(connection)
        if wait is None:
            wait = self._waits[connection] = _Wait()
        wait.mark = max(wait.mark, mark)
        await wait.event.wait()

    def shrank(self, connection: "Connection", left: int) -> None:
        """So many bytes are left of what waited, or the connection is closing."""
        wait = self._waits.get(connection)
        if wait is not None and (left <= wait.mark or connection.is_closing):
            del self._waits[connection]
            wait.event.set()

    def crowd_is_over(self) -> None:
        """Whoever waits until all is taken need not."""
        for connection, wait in list(self._waits.items()):
            if not wait.mark:
                del self._waits[connection]
                wait.event.set()
