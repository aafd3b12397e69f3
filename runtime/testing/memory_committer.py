"""A committer that keeps everything in memory and can be told to fail, to be slow, or to wait.

It obeys the contract of `Committer`: batches, order, tokens, all or nothing for each actor. A second one on the same
tables is the same storage after the process was killed, or seen from another node.

    statement ──commit_seconds──▶ commit ──▶ settled
                    └ claim_elsewhere, is_away: what happens here is seen by the commit, as in a real one
"""

from collections import deque
from collections.abc import Callable
from dataclasses import replace

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.limits import need_member, need_whole
from greenroom.runtime.ports import CommitOutcome, Committer, CommitUnit, KeptWrite, StorageUnavailable
from greenroom.runtime.testing.commit_fault import CommitFault
from greenroom.runtime.testing.memory_tables import MemoryAlarmStore, MemoryOwnership, MemoryStateStore, MemoryTables

Fault = Callable[[CommitUnit], CommitOutcome]
Ends = dict[Address, tuple[CommitOutcome, bool]]  # the outcome, and whether the writes are stored


def _commits(_: CommitUnit) -> CommitOutcome:
    return CommitOutcome.COMMITTED


class MemoryCommitter(Committer):
    """Run `run` in a nursery. `stored` holds (address, write) in the order committed, without alarms and state.

    ownership, alarms, states: the other ports on the same tables.
    fault: decides the outcome of each unit. fail_unit(3, CommitFault.REFUSED): so ends the third from now.
    commit_seconds: a batch takes so long between its statement and its commit. hold(): none is committed until
    release(). is_away: claims, reads, probes and commits find no storage.
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
        self.commit_seconds = 0.0
        self._planned: dict[int, CommitFault] = {}
        self._decided = 0  # units whose outcome was looked for
        self._pending: deque[CommitUnit] = deque()
        self._in_flight: list[CommitUnit] = []
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

    def claim_elsewhere(self, address: Address) -> int:
        """Have another owner claim *address* now: what the one before it sends from now on is fenced. The new token."""
        return self.ownership.claimed_elsewhere(address)

    def fail_unit(self, number: int, fault: CommitFault) -> None:
        """Have the unit *number* from now, 1 for the next, end with *fault*. Those of its actor in its batch end so
        too.

        Raises: ValueError for a number below 1, TypeError for what is no whole number or no fault.
        """
        if type(number) is int and number < 1:
            raise ValueError(f"units are counted from 1, the next one, so there is none of number {number}")
        need_whole("fail_unit: the number", number)
        need_member("fail_unit: the fault", fault, CommitFault)
        self._planned[self._decided + number] = fault

    def forget_faults(self) -> None:
        """Storage is well from now on: what was planned does not happen, nothing is held, slow or away."""
        self._planned.clear()
        self.fault, self.commit_seconds, self.is_away = _commits, 0.0, False
        self.release()

    def die(self, *, stores_in_flight: bool = False) -> None:
        """The process that uses this committer was killed: it stores nothing more, and its ports find no storage.

        stores_in_flight: what was on its way is stored first, as far as its tokens allow. In no case is anybody told.
        Others on the same tables go on.
        """
        batch, self._in_flight = self._in_flight, []
        self._pending.clear()
        if stores_in_flight:
            self._store(batch, self._ends_of(batch))
        self.tables = dead = replace(self.tables, is_away=True)  # the same rows, out of its reach
        for port in (self.ownership, self.alarms, self.states):
            port.tables = dead

    @property
    def is_idle(self) -> bool:
        """Nothing is queued or on its way to be stored."""
        return not self._in_flight and all(unit.is_void for unit in self._pending)

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
            self._in_flight = [unit for unit in self._pending if not unit.is_void]
            self._pending.clear()
            if self.commit_seconds > 0:
                await trio.sleep(self.commit_seconds)
            batch, self._in_flight = self._in_flight, []
            self._commit(batch)

    def _commit(self, batch: list[CommitUnit]) -> None:
        self.batches += bool(batch)
        ends = self._ends_of(batch)
        self._store(batch, ends)
        for unit in batch:
            if not unit.is_void:
                unit.settle(ends[unit.address][0])

    def _ends_of(self, batch: list[CommitUnit]) -> "Ends":
        """The worst unit of an actor decides for all of its units."""
        ends: Ends = {}
        for unit in batch:
            end = self._end_of(unit)
            if ends.get(unit.address, (CommitOutcome.COMMITTED,))[0] is CommitOutcome.COMMITTED:
                ends[unit.address] = end
        return ends

    def _store(self, batch: list[CommitUnit], ends: "Ends") -> None:
        for unit in batch:
            if ends[unit.address][1]:
                self.tables.store(unit.address, unit.writes)

    def _end_of(self, unit: CommitUnit) -> tuple[CommitOutcome, bool]:
        """The outcome, and whether the writes are stored."""
        self._decided += 1
        planned = self._planned.pop(self._decided, None)
        if self.is_away:
            return CommitOutcome.UNAVAILABLE, False
        if self.tokens.get(unit.address) != unit.token:
            return CommitOutcome.FENCED, False
        if planned is CommitFault.FENCED:
            self.claim_elsewhere(unit.address)
        if planned is not None:
            return planned.outcome, planned.is_stored
        outcome = self.fault(unit)
        return outcome, outcome is CommitOutcome.COMMITTED
