"""The small state of an actor: with its turn or not at all, and there again when it wakes."""

from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    Address,
    Command,
    CommitOutcome,
    CommitUnknown,
    Kind,
    StorageUnavailable,
    handles,
    open_system,
    reads,
    reentrant,
)
from greenroom.runtime.actor_state import ActorState
from greenroom.runtime.ports import DeleteValue, StoredValue
from greenroom.runtime.testing import MemoryCommitter, MemoryTables

ONE = Address("memo", 1)


@dataclass(frozen=True, slots=True)
class Put(Command[Any]):
    key: str
    value: Any
    then_fails: bool = False


@dataclass(frozen=True, slots=True)
class PutSlowly(Command[None]):
    key: str
    value: Any
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Delete(Command[bool]):
    key: str


@dataclass(frozen=True, slots=True)
class Get(Command[Any]):
    key: str


@dataclass(frozen=True, slots=True)
class Items(Command[dict]):
    pass


@dataclass(frozen=True, slots=True)
class PutInRead(Command[None]):
    pass


class Memo(Actor):
    async def start(self) -> None:
        self.at_start = dict(self.ctx.state.items())
        if "starts" in self.ctx.state:
            self.ctx.state.put("starts", self.ctx.state.get("starts") + 1)

    @handles(Put)
    def put(self, command: Put) -> Any:
        self.ctx.state.put(command.key, command.value)
        if command.then_fails:
            raise KeyError("broken on purpose")
        return self.ctx.state.get(command.key)

    @handles(PutSlowly)
    async def put_slowly(self, command: PutSlowly) -> None:
        self.ctx.state.put(command.key, command.value)
        await command.until.wait()

    @handles(Delete)
    def delete(self, command: Delete) -> bool:
        return self.ctx.state.delete(command.key)

    @handles(Get)
    def get(self, command: Get) -> Any:
        return self.ctx.state.get(command.key, "none")

    @reentrant
    @handles(Items)
    def items(self, _: Items) -> dict:
        return dict(self.ctx.state.items())

    @reads
    @handles(PutInRead)
    def put_in_read(self, _: PutInRead) -> None:
        self.ctx.state.put("a", 1)


@dataclass
class House:
    committer: MemoryCommitter
    system: Any = None
    events: list = field(default_factory=list)

    @property
    def ref(self):
        return self.system.ref("memo", 1)

    @property
    def rows(self):
        return {key: text for (_, key), text in self.committer.tables.values.items()}

    async def ask(self, command):
        return await self.ref.ask(command, deadline=trio.current_time() + 5)


@asynccontextmanager
async def open_house(tables=None, **changes):
    at_once = changes.pop("passivates_at_once", False)
    house = House(MemoryCommitter(tables))
    kind = Kind("memo", lambda _: Memo(), **({"ownership": "create", "keeps_state": True} | changes))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.committer.run)
        async with open_system(
            [kind],
            committer=house.committer,
            states=house.committer.states,
            stop_seconds_max=0,
            passivates_at_once=at_once,
        ) as house.system:
            yield house
            nursery.cancel_scope.cancel()


@pytest.mark.parametrize("passivates", [False, True])
async def test_what_was_put_is_there_in_the_next_turn_and_the_next_life(autojump_clock: MockClock, passivates):
    tables = MemoryTables()
    async with open_house(tables, passivates_at_once=passivates) as house:
        assert await house.ask(Get("mode")) == "none"
        assert await house.ask(Put("mode", {"away": [1, 2.5, None, "ü\0\ud800"]})) == {
            "away": [1, 2.5, None, "ü\0\ud800"]
        }
        await house.ask(Put("other", 1))
        assert await house.ask(Delete("other")) is True
        assert await house.ask(Delete("other")) is False
    async with open_house(tables) as house:
        assert await house.ask(Items()) == {"mode": {"away": [1, 2.5, None, "ü\0\ud800"]}}


async def test_an_answer_leaves_when_what_was_put_is_stored(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Get("a"))
        house.committer.hold()
        answers = []
        for command in (Put("a", 1), Get("a")):
            house.ref.request(command, lambda value, _: answers.append(value), deadline=trio.current_time() + 5)
        await wait_all_tasks_blocked()
        assert (answers, house.rows) == ([], {})
        house.committer.release()
        await wait_all_tasks_blocked()
        assert (answers, house.rows) == ([1, 1], {"a": "1"})


async def test_a_turn_that_fails_has_put_nothing(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Put("a", 1))
        with pytest.raises(ActorFailed):
            await house.ask(Put("a", 2, then_fails=True))
        assert await house.ask(Items()) == {"a": 1}
        assert house.rows == {"a": "1"}


async def test_a_turn_that_is_cancelled_has_put_nothing(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Put("a", 1))
        with trio.move_on_after(1):
            await house.ask(PutSlowly("a", 2, trio.Event()))
        assert await house.ask(Items()) == {"a": 1}


@pytest.mark.parametrize(
    ("outcome", "error"),
    [(CommitOutcome.UNAVAILABLE, StorageUnavailable), (CommitOutcome.UNKNOWN, CommitUnknown),
     (CommitOutcome.REFUSED, ActorFailed)],
)  # fmt: skip
async def test_what_was_not_stored_is_not_there(autojump_clock: MockClock, outcome, error):
    async with open_house() as house:
        await house.ask(Put("a", 1))
        house.committer.fault = lambda _: outcome
        with pytest.raises(error):
            await house.ask(Put("a", 2))
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        assert await house.ask(Items()) == {"a": 1}


async def test_a_fenced_actor_loads_what_the_newer_owner_has_put(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Put("a", 1))
        house.committer.ownership.claimed_elsewhere(ONE)
        house.committer.tables.store(ONE, [StoredValue("a", "5"), StoredValue("b", "6")])
        assert await house.ask(Put("c", 7)) == 7  # decided again, on what is so now
        assert await house.ask(Items()) == {"a": 5, "b": 6, "c": 7}


async def test_what_start_puts_is_stored_without_a_turn(autojump_clock: MockClock):
    tables = MemoryTables()
    tables.store(ONE, [StoredValue("starts", "1")])
    async with open_house(tables) as house:
        assert await house.ask(Get("starts")) == 2
        assert house.rows == {"starts": "2"}


async def test_many_actors_have_each_their_own(autojump_clock: MockClock):
    async with open_house() as house:
        for key in (1, 2, "1"):
            await house.system.ref("memo", key).ask(Put("a", key), deadline=trio.current_time() + 5)
        for key in (1, 2, "1"):
            assert await house.system.ref("memo", key).ask(Get("a"), deadline=trio.current_time() + 5) == key


async def test_a_value_is_a_copy(autojump_clock: MockClock):
    staged = []
    state = ActorState({}, staged.append)
    given = {"list": [1]}
    state.put("a", given)
    given["list"].append(2)
    state.get("a")["list"].append(3)
    next(state.items())[1]["list"].append(4)
    assert state.get("a") == {"list": [1]}
    assert staged == [StoredValue("a", '{"list":[1]}')]


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("key", "value", "error", "words"),
    [
        ("a", (1, 2), TypeError, "state 'a': it would not come back as it is: JSON has lists and no tuples"),
        ("a", {1: 2}, TypeError, "keys that are texts"),
        ("a", Text("x"), TypeError, "would not come back"),
        ("a", {"a": object()}, TypeError, "dict is no JSON value"),
        ("a", float("nan"), TypeError, "float is no JSON value"),
        ("a", b"x", TypeError, "bytes is no JSON value"),
        ("a", [10**5000], TypeError, "list is no JSON value"),
        ("a", "x" * 17_000, ValueError, "17002 bytes of at most 16384"),
        ("", 1, ValueError, "at least one character"),
        ("a\0b", 1, ValueError, "without NUL"),
        ("\ud800", 1, ValueError, "surrogates not allowed"),
        ("ä" * 65, 1, ValueError, "at most 128 bytes"),
    ],
)
def test_what_cannot_be_kept_is_refused_and_changes_nothing(key, value, error, words):
    staged = []
    state = ActorState({"a": "1"}, staged.append)
    with pytest.raises(error) as refusal:
        state.put(key, value)
    assert words in str(refusal.value)
    assert (staged, dict(state.items())) == ([], {"a": 1})


def test_there_are_so_many_keys_and_no_more():
    state = ActorState({}, lambda _: None)
    for number in range(128):
        state.put(str(number), number)
    with pytest.raises(ValueError, match=r"128 keys already \(STATE_KEYS_MAX\)"):
        state.put("one more", 1)
    state.put("7", "again")
    state.delete("8")
    state.put("one more", 1)
    assert len(state) == 128


async def test_a_handler_that_reads_puts_nothing(autojump_clock: MockClock):
    async with open_house() as house:
        with pytest.raises(ActorFailed, match="@reads must not write"):
            await house.ask(PutInRead())
        assert await house.ask(Items()) == {}


async def test_a_kind_says_that_it_keeps_state_and_what_it_needs_for_that(autojump_clock: MockClock):
    with pytest.raises(ValueError, match='must own its address: ownership="create"'):
        Kind("memo", lambda _: Memo(), keeps_state=True)
    kind = Kind("memo", lambda _: Memo(), ownership="create", keeps_state=True)
    with pytest.raises(ValueError, match="kind memo keeps states: open the system with states="):
        async with open_system([kind], committer=MemoryCommitter()):
            pass


class Careless(Actor):
    @handles(Get)
    def get(self, command: Get) -> Any:
        return self.ctx.state.get(command.key)


async def test_an_actor_whose_kind_keeps_none_is_told_how_it_would():
    async with open_system([Kind("careless", lambda _: Careless())], committer=MemoryCommitter()) as system:
        with pytest.raises(ActorFailed, match="careless/1 keeps no state: declare its kind with keeps_state=True"):
            await system.ref("careless", 1).ask(Get("a"), deadline=trio.current_time() + 5)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["a", "b", "c"])
STEPS = st.lists(
    st.tuples(st.sampled_from(["put", "put", "put", "delete", "fail", "lose", "fence"]), KEYS, JSON), max_size=12
)


@settings(max_examples=50, deadline=None)
@given(steps=STEPS, passivates=st.booleans())
def test_whatever_happens_it_is_the_dict_of_what_was_acknowledged(steps, passivates):
    trio.run(acknowledged, steps, passivates, clock=MockClock(autojump_threshold=0))


async def acknowledged(steps, passivates):
    model, tables = {}, MemoryTables()
    async with open_house(tables, passivates_at_once=passivates) as house:
        for what, key, value in steps:
            if what == "put":
                await house.ask(Put(key, value))
                model[key] = value
            elif what == "delete":
                assert await house.ask(Delete(key)) is (model.pop(key, house) is not house)
            elif what == "fence":
                house.committer.ownership.claimed_elsewhere(ONE)
            else:
                if what == "lose":
                    house.committer.fault = lambda _: CommitOutcome.UNAVAILABLE
                with pytest.raises((ActorFailed, StorageUnavailable)):
                    await house.ask(Put(key, value, then_fails=what == "fail"))
                house.committer.fault = lambda _: CommitOutcome.COMMITTED
            assert await house.ask(Items()) == model
    async with open_house(tables) as house:
        assert await house.ask(Items()) == model


def test_a_key_that_is_not_there_is_deleted_by_nothing():
    staged = []
    state = ActorState({"a": "1"}, staged.append)
    assert state.delete("b") is False
    assert state.delete("a") is True
    assert staged == [DeleteValue("a")]
