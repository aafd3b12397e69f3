"""What the runtime keeps for actors: one contract, held by memory and by PostgreSQL alike.

Ownership, alarms and small state, written through the committer of each and read through their ports.
"""

import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greenroom.runtime import (
    Actor,
    Address,
    Command,
    CommitOutcome,
    Kind,
    StorageUnavailable,
    encodable,
    handles,
    open_system,
)
from greenroom.runtime.ports import DeleteAlarm, DeleteValue, DueAlarm, StoredAlarm, StoredValue
from greenroom.runtime.testing import MemoryCommitter
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.actor_state import PostgresStateStore
from greenroom.storage.postgres.alarms import PostgresAlarmStore
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.new_conversation import NewConversation
from greenroom.storage.postgres.pool import open_postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.together import REST_SECONDS_MAX, Rest, Together
from greenroom.storage.postgres.users import UserChange, Users
from greenroom.storage.writes import InsertMessage

COMMITTED, FENCED, REFUSED = CommitOutcome.COMMITTED, CommitOutcome.FENCED, CommitOutcome.REFUSED
ONE, TWO, NAMED = Address("bell", 1), Address("bell", 2), Address("bell", "ein Wörterbuch")
YEAR_9999 = 253_402_300_799_999


@dataclass
class Unit:
    """A commit unit that remembers what became of it."""

    address: Address
    token: int
    writes: list
    outcome: CommitOutcome | None = None
    is_void: bool = False
    settled: trio.Event = field(default_factory=trio.Event)

    def settle(self, outcome):
        assert self.outcome is None, "settled twice"
        self.outcome = outcome
        self.settled.set()


@dataclass
class Storage:
    """The ports of one storage."""

    committer: Any
    alarms: Any
    states: Any

    async def own(self, address):
        return await self.committer.ownership.claim(address, create=True)

    async def commit(self, *units):
        """All in one batch; the outcomes."""
        for unit in units:
            self.committer.submit(unit)
        with trio.fail_after(10):
            for unit in units:
                await unit.settled.wait()
        return [unit.outcome for unit in units]

    async def put(self, address, *writes):
        assert await self.commit(Unit(address, await self.own(address), list(writes))) == [COMMITTED]

    async def alarms_of(self, address):
        return {alarm.name: alarm for alarm in await self.alarms.of(address)}


@asynccontextmanager
async def open_memory(_):
    committer = MemoryCommitter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        yield Storage(committer, committer.alarms, committer.states)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def open_real(database):
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, dict(database.connect_arguments())) as postgres,
        trio.open_nursery() as nursery,
    ):
        committer = PostgresCommitter(postgres)
        nursery.start_soon(committer.run)
        yield Storage(committer, PostgresAlarmStore(postgres), PostgresStateStore(postgres))
        nursery.cancel_scope.cancel()


both = pytest.mark.parametrize("open_storage", [open_memory, open_real])


def alarm(name="a", at_ms=1000, **changes):
    return StoredAlarm(
        **({"name": name, "scheduled_ms": at_ms, "due_ms": at_ms, "every_ms": None, "command": "{}"} | changes)
    )


# -- ownership --------------------------------------------------------------------------------------------------------


@both
async def test_each_claim_has_a_greater_token_and_what_is_not_there_has_none(database, open_storage):
    async with open_storage(database) as storage:
        claim = storage.committer.ownership.claim
        assert await claim(ONE, create=False) is None
        assert await claim(ONE, create=True) == 1
        assert await claim(ONE, create=True) == 2
        assert await claim(ONE, create=False) == 3
        assert await claim(TWO, create=True) == 1


@both
async def test_an_older_owner_keeps_nothing_and_takes_nothing_away(database, open_storage):
    async with open_storage(database) as storage:
        old = await storage.own(ONE)
        await storage.put(ONE, alarm("a"), StoredValue("k", "1"))
        writes = [alarm("a", 5), alarm("b"), DeleteAlarm("a"), StoredValue("k", "2"), DeleteValue("k")]
        token = await storage.own(TWO)
        outcomes = await storage.commit(
            *(Unit(ONE, old, [write]) for write in writes), Unit(TWO, token, [alarm("c"), StoredValue("k", "3")])
        )
        assert outcomes == [FENCED] * 5 + [COMMITTED]
        assert await storage.alarms_of(ONE) == {"a": alarm("a")}
        assert await storage.states.of(ONE) == {"k": "1"}
        assert await storage.alarms_of(TWO) == {"c": alarm("c")}
        assert await storage.states.of(TWO) == {"k": "3"}


# -- alarms -----------------------------------------------------------------------------------------------------------

STORED = [
    alarm("plain"),
    alarm("again", every_ms=1),
    alarm("failed", 7, due_ms=YEAR_9999, tries=5),
    alarm("at the beginning", 0),
    alarm("at the end", YEAR_9999, every_ms=10 * 366 * 86_400_000),
    alarm("with words", command='{"$":"x","words":"\\u00fc\\u0000\\ud800"}'),
    alarm("ü" * 64, 1_763_912_345_679, command="x" * 16_384),
]


@both
async def test_alarms_come_back_as_they_were_staged(database, open_storage):
    async with open_storage(database) as storage:
        for address in (ONE, NAMED):
            await storage.put(address, *STORED)
            assert await storage.alarms_of(address) == {stored.name: stored for stored in STORED}
        assert await storage.alarms_of(TWO) == {}


@both
async def test_the_last_word_of_a_batch_stands(database, open_storage):
    async with open_storage(database) as storage:
        token = await storage.own(ONE)
        units = [
            [alarm("a", 1), alarm("b", 1), alarm("c", 1)],
            [DeleteAlarm("a"), alarm("b", 2), StoredValue("x", "1"), StoredValue("y", "1")],
            [alarm("a", 3), DeleteAlarm("c"), DeleteAlarm("never"), StoredValue("x", "2"), DeleteValue("y")],
        ]
        assert await storage.commit(*(Unit(ONE, token, writes) for writes in units)) == [COMMITTED] * 3
        assert await storage.alarms_of(ONE) == {"a": alarm("a", 3), "b": alarm("b", 2)}
        assert await storage.states.of(ONE) == {"x": "2"}


@both
async def test_what_is_due_comes_in_pages_in_the_order_of_time(database, open_storage):
    async with open_storage(database) as storage:
        names = ["b", "a", "Z", "ä"]
        for address in (TWO, ONE, NAMED, Address("Zimbel", 1)):
            await storage.put(address, *(alarm(name, at_ms) for at_ms, name in enumerate(names, 10)), alarm("same", 12))
        everything = await storage.alarms.due_before(1000, None, 1000)
        assert [due.due_ms for due in everything] == [10] * 4 + [11] * 4 + [12] * 8 + [13] * 4
        assert {due.address for due in everything} == {ONE, TWO, NAMED, Address("Zimbel", 1)}
        assert everything == sorted(
            everything, key=lambda due: (due[0], due.address.kind, str(due.address.key), due.name)
        )
        assert await storage.alarms.due_before(13, None, 1000) == everything[:16]
        paged, after = [], None
        while page := await storage.alarms.due_before(1000, after, 3):
            paged += page
            after = page[-1]
        assert paged == everything
        assert await storage.alarms.due_before(13, everything[14], 10) == everything[15:16]


@both
async def test_a_key_that_is_a_number_comes_back_as_one(database, open_storage):
    async with open_storage(database) as storage:
        await storage.put(Address("bell", 42), alarm("a", 1))
        await storage.put(Address("bell", "43"), alarm("a", 2))
        assert await storage.alarms.due_before(10, None, 10) == [
            DueAlarm(1, Address("bell", 42), "a"),
            DueAlarm(2, Address("bell", "43"), "a"),
        ]


ALIKE = [Address("bell", key) for key in (42, "42", "'42", "''42", -42, "-42", "٤٢", "42a", "'", "", "--1")]


@both
async def test_keys_that_print_alike_are_two_actors(database, open_storage):
    async with open_storage(database) as storage:
        tokens = {address: await storage.own(address) for address in ALIKE}
        assert list(tokens.values()) == [1] * len(ALIKE)
        outcomes = await storage.commit(
            *(
                Unit(address, 1, [alarm("a", number), StoredValue("key", str(number))])
                for number, address in enumerate(ALIKE)
            )
        )
        assert outcomes == [COMMITTED] * len(ALIKE)
        for number, address in enumerate(ALIKE):
            assert await storage.alarms_of(address) == {"a": alarm("a", number)}
            assert await storage.states.of(address) == {"key": str(number)}
        due = await storage.alarms.due_before(100, None, 100)
        assert [one.address for one in due] == ALIKE
        assert await storage.own(ALIKE[0]) == 2
        assert await storage.commit(Unit(ALIKE[1], 1, [alarm("b")]), Unit(ALIKE[0], 1, [alarm("b")])) == [
            COMMITTED,
            FENCED,
        ]


UNSTORABLE = [
    alarm(""), alarm("a\0b"), alarm("\ud800"), alarm("x" * 129), alarm(at_ms=-1), alarm(at_ms=YEAR_9999 + 1),
    alarm(due_ms=2**70), alarm(every_ms=0), alarm(every_ms=2**63), alarm(command="ü"), alarm(command="x" * 16_385),
    alarm(tries=-1), alarm(tries=2**15), DeleteAlarm("\0"), StoredValue("", "1"), StoredValue("k\0", "1"),
    StoredValue("k", "ü"), StoredValue("k", "x" * 16_385), StoredValue("k" * 129, "1"), DeleteValue("\ud800"),
]  # fmt: skip


@both
async def test_what_cannot_be_kept_never_joins_a_batch(database, open_storage):
    async with open_storage(database) as storage:
        token = await storage.own(ONE)
        for write in UNSTORABLE:
            with pytest.raises(ValueError, match=r"alarm|state|surrogates"):
                storage.committer.submit(Unit(ONE, token, [StoredValue("beside", "1"), write]))
        assert await storage.commit(Unit(ONE, token, [StoredValue("k", "1")])) == [COMMITTED]
        assert await storage.states.of(ONE) == {"k": "1"}


NAMES = st.sampled_from(["a", "b"])
WRITES = (
    st.builds(
        alarm, NAMES, st.integers(0, YEAR_9999), tries=st.integers(0, 5), every_ms=st.none() | st.integers(1, 10**9)
    )
    | st.builds(DeleteAlarm, NAMES)
    | st.builds(StoredValue, NAMES, st.sampled_from(["1", "null", '"x"']))
    | st.builds(DeleteValue, NAMES)
)
UNITS = st.lists(st.tuples(st.sampled_from([ONE, TWO, NAMED]), st.lists(WRITES, min_size=1, max_size=4)), max_size=8)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(UNITS, max_size=3), stale=st.sampled_from([None, ONE, TWO]))
def test_postgresql_keeps_what_memory_keeps(database, batches, stale):
    """The same units through both; what is stored afterwards is the same."""

    async def kept(open_storage):
        async with open_storage(database) as storage:
            outcomes = []
            for units in batches:
                tokens = {address: await storage.own(address) for address in (ONE, TWO, NAMED)}
                if stale is not None:
                    await storage.own(stale)
                outcomes += await storage.commit(*(Unit(address, tokens[address], writes) for address, writes in units))
            left = [(await storage.alarms_of(one), await storage.states.of(one)) for one in (ONE, TWO, NAMED)]
            for address in (ONE, TWO, NAMED):  # one database serves all examples
                await storage.put(address, *map(DeleteAlarm, "ab"), *map(DeleteValue, "ab"))
            return outcomes, left

    assert trio.run(kept, open_real) == trio.run(kept, open_memory)


# -- of PostgreSQL alone ----------------------------------------------------------------------------------------------


async def test_batches_of_messages_alone_are_one_statement_still(database, monkeypatch):
    statements = []
    for method in ("fetch", "execute"):
        sent = getattr(asyncpg.Connection, method)

        async def counted(self, query, *args, _sent=sent, **kwargs):
            statements.append(query.split()[:2])
            return await _sent(self, query, *args, **kwargs)

        monkeypatch.setattr(asyncpg.Connection, method, counted)
    async with open_real(database) as storage:
        postgres = storage.alarms._postgres
        await Users(postgres, user_ids(postgres)).put(1, UserChange(name="1"))
        await Users(postgres, user_ids(postgres)).put(2, UserChange(name="2"))
        await Conversations(postgres).create(NewConversation(1, 1, (2,), True, False, "", 0))
        room = Address("room", 1)
        token = await storage.own(room)

        def message(seq):
            return InsertMessage(seq, 1, seq, 1, None, "hello", b"x" * 16, 1000)

        await storage.commit(Unit(room, token, [message(1)]))
        statements.clear()
        await storage.commit(Unit(room, token, [message(2)]), Unit(room, token, [message(3)]))
        plans = [words for words in statements if words != ["--", "Plan"]]
        assert len(plans) == 1, plans
        statements.clear()
        await storage.commit(Unit(room, token, [message(4), alarm("a"), StoredValue("k", "1"), DeleteAlarm("b")]))
        assert len([words for words in statements if words != ["--", "Plan"]]) == 6  # begin, four writes, commit
        assert await storage.alarms_of(room) == {"a": alarm("a")}


async def test_a_message_and_an_alarm_of_one_turn_are_stored_together_or_not_at_all(database):
    async with open_real(database) as storage:
        postgres = storage.alarms._postgres
        await Users(postgres, user_ids(postgres)).put(1, UserChange(name="1"))
        await Users(postgres, user_ids(postgres)).put(2, UserChange(name="2"))
        await Conversations(postgres).create(NewConversation(1, 1, (2,), True, False, "", 0))
        room = Address("room", 1)
        token = await storage.own(room)
        refused = InsertMessage(1, 1, 0, 1, None, "hello", b"x" * 16, 1000)  # no message is the zeroth
        other = await storage.own(TWO)
        outcomes = await storage.commit(
            Unit(room, token, [alarm("a"), StoredValue("k", "1")]), Unit(room, token, [refused, alarm("b")]),
            Unit(TWO, other, [alarm("c")]),
        )  # fmt: skip
        assert outcomes == [REFUSED, REFUSED, COMMITTED]
        assert (await storage.alarms_of(room), await storage.states.of(room)) == ({}, {})
        assert await storage.alarms_of(TWO) == {"c": alarm("c")}


async def test_a_page_of_a_large_table_is_read_from_the_index_alone(database):
    async with open_real(database) as storage:
        postgres = storage.alarms._postgres

        async def fill(connection):
            await connection.execute(
                "insert into alarms select 'bell', n::text, true, 'a', to_timestamp(n), to_timestamp(n), null, '{}', 0"
                " from generate_series(1, 100000) n"
            )
            await connection.execute("analyze alarms")

        await postgres.transaction(fill)
        page = await storage.alarms.due_before(60_000, None, 10_000)
        assert [due.address.key for due in page] == list(range(1, 60))

        async def plan(connection):
            await connection.execute(
                "prepare due (bigint, bigint, text, text, text, int) as " + query("select_due_alarms")
            )
            await connection.execute("set plan_cache_mode = force_generic_plan")
            explain = "explain (analyze, costs off) execute due (50060000, 50000000, 'bell', '50000', 'a', 10000)"
            return "\n".join(row[0] for row in await connection.fetch(explain))

        explained = await postgres.transaction(plan)
        assert "alarms_by_time" in explained
        assert "Seq Scan" not in explained
        assert "Rows Removed" not in explained
        assert re.search(r"rows=59(\.00)? ", explained)


async def test_many_that_wake_at_once_share_their_statements(database):
    async with open_real(database) as storage:
        for number in range(20):
            await storage.put(Address("bell", number), alarm("a", number), StoredValue("k", str(number)))
        postgres, asked = storage.alarms._postgres, []
        fetch = postgres.fetch

        async def counted(name, *args):
            asked.append(name)
            await trio.testing.wait_all_tasks_blocked()  # whoever wakes now asks
            return await fetch(name, *args)

        postgres.fetch = counted
        found = {number: [] for number in range(20)}

        async def ask(number, question):
            found[number].append(await question(Address("bell", number)))

        for question in (storage.own, storage.alarms_of, storage.states.of):  # all at once: answers do not come so
            async with trio.open_nursery() as nursery:
                for number in range(20):
                    nursery.start_soon(ask, number, question)
        assert found == {n: [2, {"a": alarm("a", n)}, {"k": str(n)}] for n in range(20)}
        assert len(asked) <= 3 * 2, asked


async def test_who_is_cancelled_while_all_ask_together_takes_nobody_with_it(autojump_clock):
    asked = []

    async def ask(keys):
        asked.append(keys)
        await trio.sleep(1)
        return dict.fromkeys(keys, len(asked))

    together, found = Together(ask), {}

    async def get(key, patience=100):
        with trio.move_on_after(patience):
            found[key] = await together.get(key)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(get, "a", 0.5)
        await trio.testing.wait_all_tasks_blocked()
        for key in "bcd":
            nursery.start_soon(get, key)
    assert sorted(asked[1]) == ["b", "c", "d"]
    assert found == {"b": 2, "c": 2, "d": 2}


async def test_a_crowd_that_comes_for_seconds_asks_for_many_at_a_time_and_who_comes_alone_does_not_wait(autojump_clock):
    asked, waited = [], []

    async def ask(keys):
        asked.append(len(keys))
        await trio.sleep(0.001)  # a fast database
        return dict.fromkeys(keys, True)

    together = Together(ask, Rest())

    async def get(key):
        began = trio.current_time()
        assert await together.get(key)
        waited.append(trio.current_time() - began)

    async with trio.open_nursery() as nursery:
        for key in range(5000):
            nursery.start_soon(get, key)
            await trio.sleep(1 / 500)
    assert len(asked) <= 10 / REST_SECONDS_MAX + 10, "or it would be a thousand"
    assert max(waited) < REST_SECONDS_MAX + 0.1
    waited.clear()
    await trio.sleep(REST_SECONDS_MAX)
    for key in range(5000, 5003):
        await get(key)
    assert max(waited) < 0.01


async def test_storage_that_is_away_is_told_to_all_who_ask_together(autojump_clock):
    async def ask(_):
        await trio.sleep(1)
        raise StorageUnavailable("away")

    together, told = Together(ask), []

    async def get(key):
        try:
            await together.get(key)
        except StorageUnavailable as error:
            told.append(str(error))

    async with trio.open_nursery() as nursery:
        for key in "abc":
            nursery.start_soon(get, key)
    assert told == ["away"] * 3


# -- the whole of it, on PostgreSQL -----------------------------------------------------------------------------------


@encodable("tests.kept.ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class SetRing(Command[None]):
    after_seconds: float


class Bell(Actor):
    """Counts its rings in its state."""

    rung = None

    @handles(SetRing)
    def set(self, command: SetRing) -> None:
        self.ctx.set_alarm("a", Ring(), after_seconds=command.after_seconds)

    @handles(Ring)
    def ring(self, _: Ring) -> None:
        self.ctx.state.put("rings", self.ctx.state.get("rings", 0) + 1)
        if self.rung is not None:
            self.ctx.after_commit(self.rung.set)


@asynccontextmanager
async def open_bells(storage, rung):
    def make(_):
        bell = Bell()
        bell.rung = rung
        return bell

    kind = Kind("bell", make, ownership="create", keeps_alarms=True, keeps_state=True)
    with trio.CancelScope() as scope:
        async with open_system(
            [kind], committer=storage.committer, alarms=storage.alarms, states=storage.states, stop_seconds_max=0
        ) as system:
            yield system
            scope.cancel()


async def test_an_alarm_outlives_the_process_and_its_effect_is_stored_once(database):
    deadline = trio.current_time() + 20
    async with open_real(database) as storage:
        async with open_bells(storage, None) as system:
            await system.ref("bell", 1).ask(SetRing(1.5), deadline=deadline)
            await system.ref("bell", "text").ask(SetRing(1.5), deadline=deadline)
        await trio.sleep(1.6)
        rung = trio.Event()
        async with open_bells(storage, rung):
            with trio.fail_after(10):
                await rung.wait()
                while await storage.alarms.due_before(YEAR_9999, None, 10):  # noqa: ASYNC110
                    await trio.sleep(0.01)
        async with open_bells(storage, None):
            await trio.sleep(0.3)
        for key in (1, "text"):
            assert await storage.states.of(Address("bell", key)) == {"rings": "1"}
