"""What waits for peers that do not read: one budget of bytes for all connections of the process.

A connection may hold OUTBOX_BYTES_MAX for ten seconds. Of 20,000 that never read that would be twenty gigabytes; here
they share OUTBOXES_BYTES_MAX. When it is spent, whoever has taken nothing for longest is closed as a slow consumer,
with its code, and may come back and resume. A peer that reads takes something all the time, and is among the last. Who
holds less than half an average share stays: closing it would free next to nothing, and all such hold less than half.

    the sum of what waits for each ──over half the budget──▶ a look at what exists ──over the budget──▶ some are closed
                                             ▲ once a second, or sooner when the budget seems to be spent

A frame that many wait for is one object, and in the sum for each of them: a megabyte said to a thousand readers is a
gigabyte there. So the sum, which costs next to nothing, only says when to look, and nobody is closed but for what a
look has found. Between two looks the part of the sum that exists is taken to be what it was. From half of the budget on
a replay goes on only where all is taken (`replay.wait_drained`), so that a storm of resumes fits in.
"""

from heapq import nlargest
from time import perf_counter
from typing import TYPE_CHECKING, Final

import trio

from greenroom.http.ws.codes import SLOW_CONSUMER
from greenroom.http.ws.contract import Behind, OutboxStatistics
from greenroom.http.ws.patience import Patience

if TYPE_CHECKING:
    from greenroom.http.ws.connection import Connection
    from greenroom.http.ws.engine import SocketEngine

OUTBOXES_BYTES_MAX: Final = 256 * 1024 * 1024
ENTRY_BYTES: Final = 16  # of its queue, for a frame that waits, whoever else waits for it
LOOK_SECONDS: Final = 1.0
LOOK_SLICE_SECONDS_MAX: Final = 0.0005
WORST_MAX: Final = 10  # shown to whoever looks
VAIN_REST: Final = 9.0  # times as long as it took, after a look for what was not spent: a tenth of the loop at most


class Outboxes:
    """Of the engine. Costs nothing while the kernel takes everything at once. bytes: the sum.

    closed: how many were as slow consumers, whatever it was that was too much. patience: who waits for a peer.
    """

    def __init__(self, engine: "SocketEngine") -> None:
        self._engine = engine
        self.bytes = self.closed = 0
        self.patience = Patience()
        self._part = 1.0  # of it that exists
        self._waiting: dict[Connection, None] = {}  # who has taken nothing for longest first
        self._is_watched = False
        self._seems_spent = trio.Event()

    @property
    def is_crowded(self) -> bool:
        """What may wait elsewhere should."""
        return self._existing_bytes * 2 > OUTBOXES_BYTES_MAX

    @property
    def _existing_bytes(self) -> float:
        return self.bytes * self._part

    @property
    def _is_spent(self) -> bool:
        return self._existing_bytes > OUTBOXES_BYTES_MAX

    def note(self, connection: "Connection", held: int, holds: int) -> None:
        """The outbox of *connection* held so many bytes, and holds so many now: fewer when its peer has taken some."""
        self.bytes += holds - held
        if not holds or (holds < held and not connection.is_closing):
            self._waiting.pop(connection, None)
        if holds < held or connection.is_closing:
            self.patience.shrank(connection, holds)
        if holds:
            self._waiting.setdefault(connection)
        if self.bytes * 2 > OUTBOXES_BYTES_MAX:
            # Not here: whoever writes goes through those who hear the same, and the one to be closed may be among them.
            if not self._is_watched:
                self._is_watched = True
                self._engine.spawn(self._watch)
            elif self._is_spent:
                self._seems_spent.set()

    def statistics(self) -> OutboxStatistics:
        """What waits now, and for whom most. For who looks: it goes through all who are behind."""
        now = trio.current_time()
        worst = nlargest(WORST_MAX, self._waiting, key=lambda connection: connection.queued_bytes)
        return OutboxStatistics(
            sockets=len(self._waiting),
            bytes=self.bytes,
            limit=OUTBOXES_BYTES_MAX,
            closed=self.closed,
            worst=tuple(_behind(connection, now) for connection in worst),
        )

    async def _watch(self) -> None:
        """Look and make room, for as long as the sum says that there may be need of it."""
        try:
            while self.bytes * 2 > OUTBOXES_BYTES_MAX:
                began, seemed_spent = perf_counter(), self._is_spent
                holders = await self._look()
                if not self.is_crowded:
                    self.patience.crowd_is_over()
                if self._is_spent and await self._make_room(holders):
                    continue  # how much, another look tells: of what is shared nothing may be free
                if seemed_spent:
                    await trio.sleep(min(VAIN_REST * (perf_counter() - began), LOOK_SECONDS))
                self._seems_spent = trio.Event()
                if not self._is_spent:
                    with trio.move_on_after(LOOK_SECONDS):
                        await self._seems_spent.wait()
        finally:
            self._part = 1.0
            self._is_watched = False
            self.patience.crowd_is_over()

    async def _look(self) -> dict[int, int]:
        """Find the part of the sum that exists. Returns how many wait for each frame, by its id."""
        holders: dict[int, int] = {}
        listed = existing = 0
        slice_ends = perf_counter() + LOOK_SLICE_SECONDS_MAX
        for connection in list(self._waiting):
            listed += connection.queued_bytes
            for frame in connection.queued():
                existing += ENTRY_BYTES
                if (key := id(frame)) in holders:
                    holders[key] += 1
                else:
                    holders[key] = 1
                    existing += len(frame)
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + LOOK_SLICE_SECONDS_MAX
        self._part = existing / listed if listed else 1.0
        await trio.lowlevel.checkpoint()
        return holders

    async def _make_room(self, holders: dict[int, int]) -> bool:
        """Close as many as a look has shown to be too many. Returns whether there was one.

        A frame is shared out among its *holders*: who waits for nothing but what others wait for too holds little.
        """
        excess = self._existing_bytes - OUTBOXES_BYTES_MAX
        least = OUTBOXES_BYTES_MAX / (2 * max(1, len(self._waiting)))
        has_made_room = False
        slice_ends = perf_counter() + LOOK_SLICE_SECONDS_MAX
        for connection in list(self._waiting):
            if excess <= 0:
                break
            holds = sum(ENTRY_BYTES + len(frame) / holders.get(id(frame), 1) for frame in connection.queued())
            if holds >= least:
                _close(connection)
                excess -= holds
                has_made_room = True
            if perf_counter() > slice_ends:
                await trio.lowlevel.checkpoint()
                slice_ends = perf_counter() + LOOK_SLICE_SECONDS_MAX
        await trio.lowlevel.checkpoint()
        return has_made_room


def _behind(connection: "Connection", now: float) -> Behind:
    session = connection.session
    return Behind(
        user=session.user_id,
        connection=f"{connection.number:x}",
        address=connection.address,
        protocol="greenroom.v1" if session.is_v1 else "compat",
        bytes=connection.queued_bytes,
        seconds=round(connection.stuck_seconds(now), 1),
    )


def _close(connection: "Connection") -> None:
    if connection.is_closing:  # the kernel did not even take its last word
        connection.abort()
    else:
        connection.end(SLOW_CONSUMER)
