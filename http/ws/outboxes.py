"""What waits for peers that do not read: one budget of bytes for all connections of the process.

A connection may hold OUTBOX_BYTES_MAX for ten seconds. Of 20,000 that never read that would be twenty gigabytes; here
they share OUTBOXES_BYTES_MAX. When it is spent, whoever has taken nothing for longest is closed as a slow consumer,
with its code, and may come back and resume. A peer that reads takes something all the time, and is among the last.

A frame that many wait for is one object, and counted for each: what is really held is the same or less. From half of
the budget on a replay goes on only where all is taken (`replay.wait_drained`), so that a storm of resumes fits in.
"""

from typing import TYPE_CHECKING, Final

import trio.lowlevel

from greenroom.http.ws.codes import SLOW_CONSUMER

if TYPE_CHECKING:
    from greenroom.http.ws.connection import Connection
    from greenroom.http.ws.engine import SocketEngine

OUTBOXES_BYTES_MAX: Final = 256 * 1024 * 1024
CLOSES_WITHOUT_REST: Final = 16  # a millisecond


class Outboxes:
    """Of the engine. Costs nothing while the kernel takes everything at once."""

    def __init__(self, engine: "SocketEngine") -> None:
        self._engine = engine
        self.bytes = 0
        self._waiting: dict[Connection, None] = {}  # who has taken nothing for longest first
        self._is_making_room = False

    @property
    def is_crowded(self) -> bool:
        """What may wait elsewhere should."""
        return self.bytes * 2 > OUTBOXES_BYTES_MAX

    def note(self, connection: "Connection", held: int, holds: int) -> None:
        """The outbox of *connection* held so many bytes, and holds so many now: fewer when its peer has taken some."""
        self.bytes += holds - held
        if not holds or (holds < held and not connection.is_closing):
            self._waiting.pop(connection, None)
        if holds:
            self._waiting.setdefault(connection)
        if self.bytes > OUTBOXES_BYTES_MAX and not self._is_making_room:
            # Not here: whoever writes goes through those who hear the same, and the one to be closed may be among them.
            self._is_making_room = True
            self._engine.spawn(self._make_room)

    async def _make_room(self) -> None:
        try:
            count = 0
            while self.bytes > OUTBOXES_BYTES_MAX:
                count += 1
                longest = next(iter(self._waiting))
                if longest.is_closing:  # the kernel did not even take its last word
                    longest.abort()
                else:
                    longest.end(SLOW_CONSUMER)
                if count % CLOSES_WITHOUT_REST == 0:
                    await trio.lowlevel.checkpoint()
        finally:
            self._is_making_room = False
