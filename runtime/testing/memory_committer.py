"""A committer that keeps everything in memory and can be told to fail, to be slow, or to wait.

It obeys the contract of `Committer`: batches, order, tokens, all or nothing for each actor. A second one on the same
tables is the same storage after the process was killed, or seen from another node.
"""

from collections import deque
from collections.abc import Callable

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.ports import CommitOutcome, Committer, CommitUnit, KeptWrite, StorageUnavailable
from greenroom.runtime.testing.memory_tables import MemoryAlarmStore, MemoryOwnership, MemoryStateStore, MemoryTables

Fault = Callable[[CommitUnit], CommitOutcome]


def _commits(_: CommitUnit) -> CommitOutcome:
    return CommitOutcome.COMMITTED


class MemoryCommitter(Committer):
    """Run `run` in a nursery. `stored` holds (address, write) in the order committed, without alarms and state.

    ownership, alarms, states: the other ports on the same tables.
    fault: decides the outcome of each unit. hold(): no batch is committed until release().
    is_away: claims, reads, probes and commits find no storage.
    """

    def __init__(self, tables: MemoryTables | None = None) -> None:
        self.tables = tables or MemoryTables()
        self.stored = self.tables.stored
        self.tokens = self.tables.tokens
        self.ownership = MemoryOwnership(self.tables)
        self.alarms = MemoryAlarmStore(self.tables)
        self.states = MemoryStateStore(self.tables)
        self.batches = 0
        self.fault: Fault = _commits
        self._pending: deque[CommitUnit] = deque()
        self._wake = trio.Event()
        self._open = trio.Event()
        self._open.set()

    @property
    def is_away(self) -> bool:
        """Nobody finds the storage."""
        return self.tables.is_away

    @is_away.setter
    def is_away(self, is_away: bool) -> None:
        self.tables.is_away = is_away

    def submit(self, unit: CommitUnit) -> int:
        """Queue a unit. A write that is a ValueError cannot be encoded; text takes its length, all else nothing."""
        for write in unit.writes:
            if isinstance(write, ValueError):
                raise write
            if isinstance(write, KeptWrite):
                write.check()
        self._pending.append(unit)
        self._wake.set()
        return sum(len(write) for write in unit.writes if isinstance(write, str | bytes))

    async def probe(self) -> None:
        """Storage answers unless it is away."""
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable("memory storage is away")

    def hold(self) -> None:
        """Commit nothing until `release`."""
        if self._open.is_set():
            self._open = trio.Event()

    def release(self) -> None:
        """Go on committing."""
        self._open.set()

    async def run(self) -> None:
        """Commit batch after batch."""
        while True:
            await self._wake.wait()
            await self._open.wait()
            await trio.lowlevel.checkpoint()
            self._wake = trio.Event()
            batch = [unit for unit in self._pending if not unit.is_void]
            self._pending.clear()
            self._commit(batch)

    def _commit(self, batch: list[CommitUnit]) -> None:
        self.batches += bool(batch)
        outcomes: dict[Address, CommitOutcome] = {}
        for unit in batch:  # the worst unit of an actor decides for all of them
            outcome = self._outcome(unit)
            if outcomes.get(unit.address, CommitOutcome.COMMITTED) is CommitOutcome.COMMITTED:
                outcomes[unit.address] = outcome
        for unit in batch:
            if outcomes[unit.address] is CommitOutcome.COMMITTED:
                self.tables.store(unit.address, unit.writes)
        for unit in batch:
            if not unit.is_void:
                unit.settle(outcomes[unit.address])

    def _outcome(self, unit: CommitUnit) -> CommitOutcome:
        if self.is_away:
            return CommitOutcome.UNAVAILABLE
        if self.tokens.get(unit.address) != unit.token:
            return CommitOutcome.FENCED
        return self.fault(unit)
