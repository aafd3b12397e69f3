"""Ids that greenroom makes, taken from PostgreSQL in blocks of 1,024.

Every nextval is a block that no other process gets; what is left of it when a process ends is lost, which costs
nothing: there are 2^53 - 2^40 of them. Ids say nothing about order across processes.

A room decides without waiting, so `take_nowait` serves from memory, and `keep_filled` runs beside it and fetches more
whenever fewer than `low` are left. `take` is for everybody else.
"""

from collections import deque
from typing import Final

import structlog
import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.postgres.pool import Postgres

log = structlog.get_logger()

BLOCK_IDS: Final = 1024
REFILL_PAUSE_SECONDS: Final = 0.25


class NoIdsLeft(StorageUnavailable):
    """The ids in memory are used up and PostgreSQL has not given new ones yet: try again soon."""

    def __init__(self) -> None:
        super().__init__("the ids in memory are used up, and PostgreSQL has not given new ones yet")


class Ids:
    """Gives out each id once. `blocks` are fetched at a time; see `user_ids` and `object_ids`."""

    def __init__(self, postgres: Postgres, *, query: str, blocks: int) -> None:
        self._postgres = postgres
        self._query = query
        self._blocks = blocks
        self._low = BLOCK_IDS * blocks // 2
        self._ranges: deque[list[int]] = deque()  # [first, last], both still to be given
        self._left = 0
        self._lock = trio.Lock()
        self._is_low = trio.Event()

    @property
    def left(self) -> int:
        """How many ids are in memory."""
        return self._left

    def take_nowait(self) -> int:
        """An id that nobody else has or will have. Raises NoIdsLeft."""
        if not self._ranges:
            raise NoIdsLeft
        first = self._ranges[0]
        taken = first[0]
        if taken == first[1]:
            self._ranges.popleft()
        else:
            first[0] += 1
        self._left -= 1
        if self._left < self._low:
            self._is_low.set()
        return taken

    async def take(self) -> int:
        """An id, fetched when none is left. Raises StorageUnavailable."""
        await trio.lowlevel.checkpoint_if_cancelled()
        while True:
            try:
                return self.take_nowait()
            except NoIdsLeft:
                await self.fill()

    async def fill(self) -> None:
        """Fetch blocks unless enough ids are left; concurrent callers share one query. Raises StorageUnavailable."""
        async with self._lock:
            if self._left < self._low or self._left == 0:
                arguments = (self._blocks,) if self._blocks > 1 else ()
                for row in await self._postgres.fetch(self._query, *arguments):
                    self._ranges.append([row[0], row[0] + BLOCK_IDS - 1])
                    self._left += BLOCK_IDS

    async def keep_filled(self) -> None:
        """Fetch whenever few ids are left, until cancelled. PostgreSQL away: try again, quietly; takers are told."""
        while True:
            if self._left >= self._low:
                self._is_low = trio.Event()
                await self._is_low.wait()
            try:
                await self.fill()
            except StorageUnavailable:
                await trio.sleep(REFILL_PAUSE_SECONDS)
            except Exception:  # a fault here must not end every room; nor may it go unseen
                log.exception("ids.not_filled", left=self._left)
                await trio.sleep(REFILL_PAUSE_SECONDS)


def user_ids(postgres: Postgres) -> Ids:
    """Ids for users whose subject is a string. They are rare: one block lasts long."""
    return Ids(postgres, query="next_user_id_block", blocks=1)


def object_ids(postgres: Postgres) -> Ids:
    """Ids for conversations and messages. Eight blocks are 0.2 s of the committer at full speed."""
    return Ids(postgres, query="next_object_id_blocks", blocks=8)
