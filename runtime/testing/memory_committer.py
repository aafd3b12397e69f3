"""A committer that keeps everything in memory and can be told to fail, to be slow, or to wait.

It obeys the contract of `Committer`: batches, order, tokens, all or nothing for each actor.
"""

from collections import deque
from collections.abc import Callable

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.ports import CommitOutcome, Committer, CommitUnit, StorageUnavailable

Fault = Callable[[CommitUnit], CommitOutcome]


def _commits(_: CommitUnit) -> CommitOutcome:
    return CommitOutcome.COMMITTED


class MemoryCommitter(Committer):
    """Run `run` in a nursery. `stored` holds (address, write) in the order committed.

    fault: decides the outcome of each unit. hold(): no batch is committed until release().
    is_away: claims, probes and commits find no storage.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[Address, object]] = []
        self.tokens: dict[Address, int] = {}
        self.batches = 0
        self.fault: Fault = _commits
        self.is_away = False
        self._pending: deque[CommitUnit] = deque()
        self._wake = trio.Event()
        self._open = trio.Event()
        self._open.set()

    def submit(self, unit: CommitUnit) -> int:
        """Queue a unit. A write that is a ValueError cannot be encoded; text takes its length, all else nothing."""
        for write in unit.writes:
            if isinstance(write, ValueError):
                raise write
        self._pending.append(unit)
        self._wake.set()
        return sum(len(write) for write in unit.writes if isinstance(write, str | bytes))

    async def claim(self, address: Address, *, create: bool) -> int | None:
        """Bump the token of *address*."""
        await trio.lowlevel.checkpoint()
        if self.is_away:
            raise StorageUnavailable("memory storage is away")
        if address not in self.tokens and not create:
            return None
        self.tokens[address] = self.tokens.get(address, 0) + 1
        return self.tokens[address]

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
                self.stored.extend((unit.address, write) for write in unit.writes)
        for unit in batch:
            if not unit.is_void:
                unit.settle(outcomes[unit.address])

    def _outcome(self, unit: CommitUnit) -> CommitOutcome:
        if self.is_away:
            return CommitOutcome.UNAVAILABLE
        if self.tokens.get(unit.address) != unit.token:
            return CommitOutcome.FENCED
        return self.fault(unit)
