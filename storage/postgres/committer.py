"""The committer: the drafts of all actors, one transaction after the other.

    submit ──encoded──▶ queue ──▶ batch ──one statement──▶ settle every unit, in the order submitted
                                    │ a value is refused: halve the batch by actor until it stands alone
                                    └ the server is away: nothing stored (UNAVAILABLE), or nobody knows (UNKNOWN)

Measured on 2 cores: a commit per message gives 1-4 thousand writes/s at 40-180 ms, one group committer 39-56 thousand
at 3-5 ms. Batches form by themselves while the one before is being written; no timer. An actor's units of one batch
are committed together or not at all, because each was decided on top of the one before. Messages alone, the common
case, are one statement and its own transaction; membership, markers, alarms and state add their statements inside an
explicit one.
"""

from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import asyncpg
import trio

from greenroom.runtime.ports import (
    Address,
    CommitOutcome,
    Committer,
    CommitUnit,
    KeptWrite,
    StorageUnavailable,
    StoredAlarm,
    StoredValue,
)
from greenroom.storage.postgres.actor_state import write_state
from greenroom.storage.postgres.addresses import columns_of
from greenroom.storage.postgres.alarms import write_alarms
from greenroom.storage.postgres.changes import without_files, write_changes, write_details, write_files, write_marks
from greenroom.storage.postgres.ownership import PostgresOwnership
from greenroom.storage.postgres.pool import AWAY_ERRORS, CONNECT_SECONDS_MAX, Postgres, answered_within
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.user_streams import write_users
from greenroom.storage.user_writes import UserWrite
from greenroom.storage.writes import (
    AdvanceMarker,
    AttachFiles,
    ChangeMessage,
    DescribeMessage,
    InsertMessage,
    MarkMessage,
    PutParticipant,
)

BATCH_UNITS_MAX = 4096
BATCH_BYTES_MAX = 16 * 1024 * 1024
COMMIT_SECONDS_MAX = 15.0
PLAN_BATCHES_MAX = 1024
ID_MAX = 2**63 - 1
WRITE_BYTES = 500  # of a write besides its text: its objects here, and its row on the way

# What PostgreSQL says when a value of the batch, not the server, is at fault.
REFUSALS = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, asyncpg.exceptions.ProgramLimitExceededError)


@dataclass(frozen=True, slots=True)
class CommitterStatistics:
    """Since the start: batches and units committed, units not committed, units waiting, the largest batch."""

    batches: int
    committed: int
    not_committed: int
    waiting: int
    batch_units_peak: int


@dataclass(slots=True)
class Batch:
    """The units of one transaction, by actor, in the order submitted."""

    units: list[CommitUnit] = field(default_factory=list)
    by_actor: dict[Address, list[CommitUnit]] = field(default_factory=dict)

    def add(self, unit: CommitUnit) -> None:
        """Append one unit."""
        self.units.append(unit)
        self.by_actor.setdefault(unit.address, []).append(unit)

    def leave_out(self, actors: Collection[Address]) -> "Batch":
        """A batch of the units of all others."""
        left = Batch()
        for unit in self.units:
            if unit.address not in actors:
                left.add(unit)
        return left

    def halves(self) -> tuple["Batch", "Batch"]:
        """Two batches with half of the actors each."""
        actors = list(self.by_actor)
        first = set(actors[: len(actors) // 2])
        low, high = Batch(), Batch()
        for unit in self.units:
            (low if unit.address in first else high).add(unit)
        return low, high


class PostgresCommitter(Committer):
    """One per process. Run `run` in a nursery that outlives the actors'.

    committed_at: while the outputs of a batch leave, when storage said that it is committed (perf_counter).
    """

    def __init__(self, postgres: Postgres) -> None:
        self.committed_at: float | None = None
        self._answered_at = 0.0
        self.ownership = PostgresOwnership(postgres)
        self._postgres = postgres
        self._queue: deque[CommitUnit] = deque()
        self._wake: trio.lowlevel.Task | None = None
        self._connection: Any = None
        self._plan_batches_left = self._plan_batches = 1
        self._batches = self._committed = self._not_committed = self._batch_units_peak = 0

    # -- the port -----------------------------------------------------------------------------------------------

    def submit(self, unit: CommitUnit) -> int:
        """Check and queue one unit; its size. Raises: ValueError when a value cannot be encoded."""
        size = 0
        for write in unit.writes:
            size += _check(write)
        self._queue.append(unit)
        if self._wake is not None:
            task, self._wake = self._wake, None
            trio.lowlevel.reschedule(task)
        return size

    async def probe(self) -> None:
        """A round trip."""
        await self._postgres.fetch_value("probe")

    def statistics(self) -> CommitterStatistics:
        """Counts since the start."""
        return CommitterStatistics(
            self._batches, self._committed, self._not_committed, len(self._queue), self._batch_units_peak
        )

    async def run(self) -> None:
        """Commit batch after batch, for ever."""
        try:
            while True:
                if not self._queue:
                    await self._park()
                batch = self._take()
                if batch.units:
                    await self._commit(batch)
                else:
                    await trio.lowlevel.checkpoint()
        finally:
            self._drop_connection()

    # -- batches ------------------------------------------------------------------------------------------------

    def _take(self) -> Batch:
        batch, size = Batch(), 0
        while self._queue and len(batch.units) < BATCH_UNITS_MAX and size < BATCH_BYTES_MAX:
            unit = self._queue.popleft()
            if not unit.is_void:
                batch.add(unit)
                size += sum(map(_text_bytes, unit.writes))
        self._batch_units_peak = max(self._batch_units_peak, len(batch.units))
        return batch

    async def _commit(self, batch: Batch) -> None:
        try:
            if self._connection is None or not self._connection.is_there():
                self._connection = await self._open_connection()
        except (StorageUnavailable, asyncpg.PostgresError):
            self._settle_all(batch, CommitOutcome.UNAVAILABLE)
            return
        try:
            await self._renew_plans()
        except (*AWAY_ERRORS, asyncpg.PostgresError):
            self._drop_connection()
            self._settle_all(batch, CommitOutcome.UNAVAILABLE)
            return
        await trio.lowlevel.checkpoint_if_cancelled()  # what is sent is stored, whoever hears of it
        try:
            with trio.fail_after(COMMIT_SECONDS_MAX):
                outcomes = await self._write(self._connection, batch)
        except REFUSALS:
            await self._bisect(batch)
        except asyncpg.QueryCanceledError:  # by a timeout of the server's: it has rolled back, and says so
            self._settle_all(batch, CommitOutcome.UNAVAILABLE)
        except AWAY_ERRORS:
            self._drop_connection()
            self._settle_all(batch, CommitOutcome.UNKNOWN)
        except asyncpg.PostgresError:  # serialization, disk full, a bug of ours: rolled back, said so by the server
            self._settle_all(batch, CommitOutcome.UNAVAILABLE)
        else:
            self._batches += 1
            self.committed_at = self._answered_at
            try:
                self._settle_by_actor(batch, outcomes)
            finally:
                self.committed_at = None

    async def _write(self, connection: Any, batch: Batch) -> dict[Address, CommitOutcome] | None:
        """As the function, and when."""
        outcomes = await _write(connection, batch)
        self._answered_at = perf_counter()
        return outcomes

    async def _open_connection(self) -> Any:
        connection = await self._postgres.connect()
        self._plan_batches_left = self._plan_batches = 1
        try:
            if not self._postgres.is_pooled:
                with answered_within(CONNECT_SECONDS_MAX):
                    await connection.execute(query("settle_plans"))
        except BaseException:
            connection.terminate()
            raise
        return connection

    async def _renew_plans(self) -> None:
        """Plans are made once, and again after 1, 2, 4 … PLAN_BATCHES_MAX batches: tables grow from nothing.

        A plan that was good for an empty table reads all of a large one.
        """
        self._plan_batches_left -= 1
        if self._plan_batches_left or self._postgres.is_pooled:
            return
        self._plan_batches = min(self._plan_batches * 2, PLAN_BATCHES_MAX)
        self._plan_batches_left = self._plan_batches
        with trio.fail_after(CONNECT_SECONDS_MAX):
            await self._connection.execute(query("forget_plans"))

    async def _bisect(self, batch: Batch) -> None:
        if len(batch.by_actor) == 1:
            self._settle_all(batch, CommitOutcome.REFUSED)
            return
        for half in batch.halves():
            await self._commit(half)

    def _settle_by_actor(self, batch: Batch, outcomes: dict[Address, CommitOutcome] | None) -> None:
        if outcomes is None:
            self._settle_all(batch, CommitOutcome.COMMITTED)
            return
        for unit in batch.units:
            self._settle(unit, outcomes[unit.address])

    def _settle_all(self, batch: Batch, outcome: CommitOutcome) -> None:
        for unit in batch.units:
            self._settle(unit, outcome)

    def _settle(self, unit: CommitUnit, outcome: CommitOutcome) -> None:
        if outcome is CommitOutcome.COMMITTED:
            self._committed += 1
        else:
            self._not_committed += 1
        unit.settle(outcome)

    async def _park(self) -> None:
        self._wake = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._wake = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.terminate()
            self._connection = None


def _text_bytes(write: object) -> int:
    """Of a write, its text, about."""
    if isinstance(write, InsertMessage):
        return len(write.content)
    if isinstance(write, StoredAlarm):
        return len(write.command)
    if isinstance(write, UserWrite | ChangeMessage | MarkMessage | AttachFiles | DescribeMessage):
        return write.check()
    return len(write.json) if isinstance(write, StoredValue) else 0


def _check(write: object) -> int:
    """Refuse what PostgreSQL could not take, before it joins a batch; about its size. Raises: ValueError."""
    size = WRITE_BYTES
    if isinstance(write, InsertMessage):
        if "\0" in write.content or (write.client_id is not None and "\0" in write.client_id):
            raise ValueError("text with NUL cannot be stored")
        if not write.content.isascii():
            write.content.encode()  # a lone surrogate is a ValueError
        if write.client_id is not None:
            write.client_id.encode()
        size += len(write.content)
        numbers = (write.id, write.conversation_id, write.seq, write.sender_id, write.created_at_ms)
    elif isinstance(write, PutParticipant):
        numbers = (write.conversation_id, write.seq, write.user_id, write.at_ms, write.removed_by_id or 0)
    elif isinstance(write, AdvanceMarker):
        numbers = (write.conversation_id, write.user_id, write.read_seq, write.at_ms, write.shown_seq or 0)
    elif isinstance(write, UserWrite | ChangeMessage | MarkMessage | AttachFiles | DescribeMessage):
        return write.check()
    elif isinstance(write, KeptWrite):
        write.check()
        return WRITE_BYTES + _text_bytes(write)
    else:
        raise ValueError(f"the committer does not know how to store {type(write).__name__}")  # noqa: TRY004
    if min(numbers) < 0 or max(numbers) > ID_MAX:
        raise ValueError(f"a number of {type(write).__name__} does not fit a bigint")
    return size


# -- one batch --------------------------------------------------------------------------------------------------------


async def _write(connection: Any, batch: Batch) -> dict[Address, CommitOutcome] | None:
    """One transaction for the whole batch; what became of each actor, None: all committed."""
    writes = [write for unit in batch.units for write in unit.writes]
    messages = [write for write in writes if isinstance(write, InsertMessage)]
    if len(messages) == len(writes):
        return await _write_messages(connection, batch, messages)
    async with connection.transaction():
        without = await without_files(connection, batch.by_actor)
        if without:
            batch = batch.leave_out(without)
            messages = [write for unit in batch.units for write in unit.writes if isinstance(write, InsertMessage)]
        outcomes = await _write_messages(connection, batch, messages)
        if without:
            outcomes = outcomes or dict.fromkeys(batch.by_actor, CommitOutcome.COMMITTED)
            outcomes |= dict.fromkeys(without, CommitOutcome.DUPLICATE)
        units = batch.units
        if outcomes is not None:
            units = [unit for unit in units if outcomes[unit.address] is CommitOutcome.COMMITTED]
        accepted = [write for unit in units for write in unit.writes]
        await write_files(connection, [write for write in accepted if isinstance(write, AttachFiles)])
        await write_details(connection, [write for write in accepted if isinstance(write, DescribeMessage)])
        await write_marks(connection, [write for write in accepted if isinstance(write, MarkMessage)])
        await write_changes(connection, [write for write in accepted if isinstance(write, ChangeMessage)])
        await _write_participants(connection, [write for write in accepted if isinstance(write, PutParticipant)])
        await _write_markers(connection, [write for write in accepted if isinstance(write, AdvanceMarker)])
        await write_users(connection, [write for write in accepted if isinstance(write, UserWrite)])
        await write_alarms(connection, units)
        await write_state(connection, units)
    return outcomes


async def _write_messages(
    connection: Any, batch: Batch, messages: list[InsertMessage]
) -> dict[Address, CommitOutcome] | None:
    actors = batch.by_actor
    (row,) = await connection.fetch(
        query("commit_messages"),
        *columns_of(actors),
        [units[0].token for units in actors.values()],
        [message.id for message in messages],
        [message.conversation_id for message in messages],
        [message.seq for message in messages],
        [message.sender_id for message in messages],
        [message.client_id for message in messages],
        [message.content for message in messages],
        [message.digest for message in messages],
        [message.created_at_ms for message in messages],
    )
    committed = set(row["committed"])
    if len(committed) == len(actors):
        return None
    outcomes = {}
    for place, address in enumerate(actors, start=1):
        if place in committed:
            outcomes[address] = CommitOutcome.COMMITTED
        else:
            outcomes[address] = CommitOutcome.DUPLICATE if place in row["duplicates"] else CommitOutcome.FENCED
    return outcomes


async def _write_participants(connection: Any, puts: list[PutParticipant]) -> None:
    """Several puts of one person in one batch: the last one stands, and each has its place in the log."""
    last = {(put.conversation_id, put.user_id): put for put in puts}.values()
    if last:
        await connection.execute(
            query("commit_member_changes"),
            [put.conversation_id for put in puts],
            [put.seq for put in puts],
            ["joined" if put.is_active else "left" for put in puts],
            [put.user_id for put in puts],
            [put.role for put in puts],
            [put.at_ms for put in puts],
        )
        await connection.execute(
            query("commit_participants"),
            [put.conversation_id for put in last],
            [put.user_id for put in last],
            [put.role for put in last],
            [put.is_active for put in last],
            [put.at_ms for put in last],
            [put.removed_by_id for put in last],
        )


async def _write_markers(connection: Any, markers: list[AdvanceMarker]) -> None:
    """Several moves of one marker in one batch: the farthest stands, and the farthest that others are told."""
    farthest: dict[tuple[int, int], AdvanceMarker] = {}
    shown: dict[tuple[int, int], int] = {}
    for marker in markers:
        key = marker.conversation_id, marker.user_id
        if key not in farthest or farthest[key].read_seq < marker.read_seq:
            farthest[key] = marker
        shown_seq = marker.read_seq if marker.shown_seq is None else marker.shown_seq
        shown[key] = max(shown_seq, shown.get(key, 0))
    if farthest:
        await connection.execute(
            query("commit_markers"),
            [marker.conversation_id for marker in farthest.values()],
            [marker.user_id for marker in farthest.values()],
            [marker.read_seq for marker in farthest.values()],
            [marker.at_ms for marker in farthest.values()],
            [shown[key] for key in farthest],
        )
