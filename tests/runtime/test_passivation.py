"""The tiers: warm, cold, stored; what sends an actor down, what keeps it up, and that no command is lost on the way."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorSystem,
    Address,
    Command,
    Kind,
    MemoryLimit,
    RestartPolicy,
    StopReason,
    handles,
    open_system,
    passivation,
    reads,
)
from greenroom.runtime.passivation import passivate_if_idle, resident_bytes
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int


@dataclass(frozen=True, slots=True)
class Hold(Command[None]):
    until: trio.Event


@dataclass(frozen=True, slots=True)
class HoldBeside(Command[None]):
    reason: str
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Leave(Command[int]):
    """Adds one and stops, *waits* between."""

    waits: bool = False


class Counter(Actor):
    """It adds up what is stored. There is one of each key, or the assertions here fail."""

    awake: set[int | str]

    def __init__(self, key: int | str, committer: MemoryCommitter, log: list[str]) -> None:
        self.key, self.committer, self.log = key, committer, log

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.sum = sum(write for to, write in self.committer.stored if to.key == self.key)  # type: ignore[misc]
        self.log.append(f"+{self.key}")

    def stopping(self, reason: StopReason) -> None:
        self.log.append(f"-{self.key} {reason}")

    @handles(Add)
    def add(self, command: Add) -> int:
        self.ctx.write(command.by)
        self.sum += command.by
        return self.sum

    @handles(Leave)
    async def leave(self, command: Leave) -> int:
        self.ctx.write(1)
        self.sum += 1
        if command.waits:
            await self.ctx.flushed()
            await trio.sleep(5)
        self.ctx.stop()
        return self.sum

    @handles(Hold)
    async def hold(self, command: Hold) -> None:
        with self.ctx.keep_awake("it is held"):
            await command.until.wait()

    @reads
    @handles(HoldBeside)
    async def hold_beside(self, command: HoldBeside) -> None:
        with self.ctx.keep_awake(command.reason):
            await command.until.wait()

    @handles(Fail)
    def fail(self, _: Fail) -> None:
        raise ValueError("a bug")


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    log: list[str]
    events: list[tuple[str, dict[str, object]]]

    async def add(self, key: int, by: int = 1) -> int:
        return await self.system.ref("counter", key).ask(Add(by), deadline=trio.current_time() + 60)

    def tiers(self) -> tuple[int, int]:
        kind = self.system.statistics().kinds["counter"]
        return kind.loaded, kind.cold


@asynccontextmanager
async def open_house(memory: MemoryLimit | None = None, **limits: Any) -> AsyncIterator[House]:
    committer, log, events = MemoryCommitter(), list[str](), list[tuple[str, dict[str, object]]]()
    kind = Kind("counter", lambda key: Counter(key, committer, log), ownership="create", **limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)

        def event(name: str, **facts: object) -> None:
            events.append((name, facts))

        async with open_system([kind], committer=committer, memory=memory, event=event) as system:
            yield House(system, committer, log, events)
        nursery.cancel_scope.cancel()


async def test_an_idle_actor_goes_from_warm_to_cold_to_stored_and_wakes_from_each(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=10, cold_seconds_max=20) as house:
        assert await house.add(1) == 1
        assert house.tiers() == (1, 0)
        await trio.sleep(12)
        assert house.tiers() == (0, 1)
        assert await house.add(1) == 2
        await trio.sleep(12)
        assert house.tiers() == (0, 1), "its counts are still there"
        await trio.sleep(20)
        assert house.tiers() == (0, 0)
        assert await house.add(1) == 3
        assert house.system.statistics().kinds["counter"].turns == 3, "what a forgotten cell counted is not forgotten"


async def test_a_cell_is_kept_for_as_long_as_its_crashes_count(autojump_clock: MockClock) -> None:
    restart = RestartPolicy(intensity=1, period_seconds=1000)
    async with open_house(idle_seconds_max=10, cold_seconds_max=20, restart=restart) as house:
        house.system.ref("counter", 1).tell(Fail())
        await trio.sleep(900)
        assert house.tiers() == (0, 1)
        house.system.ref("counter", 1).tell(Fail())
        await trio.sleep(1)
        assert [name for name, _ in house.events].count("actor.gave_up") == 1, "it was the second crash of the period"
        await trio.sleep(1100)
        assert house.tiers() == (0, 0)


@pytest.mark.parametrize("waits", [False, True])
async def test_of_an_actor_that_stops_itself_nothing_stays(autojump_clock: MockClock, waits: bool) -> None:
    async with open_house(idle_seconds_max=10, cold_seconds_max=20) as house:
        counter = house.system.ref("counter", 1)
        for time in (1, 2):
            assert await counter.ask(Leave(waits), deadline=trio.current_time() + 60) == time
            await wait_all_tasks_blocked()
            assert house.tiers() == (0, 0)
        assert house.log == ["+1", "-1 normal", "+1", "-1 normal"]
        assert house.system.statistics().kinds["counter"].turns == 2, "what it counted is not forgotten"


async def test_what_waits_for_an_actor_that_stops_itself_is_for_the_next_and_that_stays(
    autojump_clock: MockClock,
) -> None:
    async with open_house(idle_seconds_max=10, cold_seconds_max=20) as house:
        house.system.ref("counter", 1).tell(Leave(waits=True))
        await trio.sleep(1)
        assert await house.add(1) == 2
        assert house.log == ["+1", "-1 normal", "+1"]
        await wait_all_tasks_blocked()
        assert house.tiers() == (1, 0)


class Passer(Actor):
    """Owns nothing, and stops when it is told to."""

    def __init__(self, log: list[str]) -> None:
        self.log = log

    def stopping(self, reason: StopReason) -> None:
        self.log.append(str(reason))

    @handles(Add)
    def add(self, _: Add) -> int:
        self.log.append("told")
        return 1

    @handles(Leave)
    def leave(self, _: Leave) -> int:
        self.ctx.stop()
        return 1


@pytest.mark.parametrize("is_told_again", [False, True])
async def test_the_sweep_does_not_drop_again_what_has_stopped_itself_while_it_looked_at_others(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, is_told_again: bool
) -> None:
    await trio.sleep(100)  # so that who has never rested seems to have been idle for long
    log = list[str]()
    kind = Kind("passer", lambda key: Passer(log), idle_seconds_max=10, cold_seconds_max=0)
    async with open_system([kind], committer=MemoryCommitter()) as system:
        early, late = system.ref("passer", 1), system.ref("passer", 2)

        async def checkpoint() -> None:
            """Of the sweep, between the two."""
            late.tell(Leave())
            await wait_all_tasks_blocked()
            assert late.address not in system.activations
            if is_told_again:
                late.tell(Add(1))
                await wait_all_tasks_blocked()
            patch.undo()

        early.tell(Add(1))
        await late.wait_room()  # there is a cell, which has never rested
        with monkeypatch.context() as patch:
            patch.setattr(passivation, "SWEEP_CELLS_MAX", 1)
            lowlevel = SimpleNamespace(checkpoint=checkpoint)  # not trio's own: others come by there too
            patch.setattr(passivation, "trio", SimpleNamespace(lowlevel=lowlevel, current_time=trio.current_time))
            await trio.sleep(2)
        assert log == ["told", "normal", *["told"] * is_told_again]
        assert (late.address in system.activations) is is_told_again
        assert system.statistics().kinds["passer"].turns == 2 + is_told_again


async def test_the_cell_of_an_actor_that_stops_itself_stays_while_its_crashes_count(autojump_clock: MockClock) -> None:
    restart = RestartPolicy(intensity=1, period_seconds=100)
    async with open_house(idle_seconds_max=10, cold_seconds_max=20, restart=restart) as house:
        counter = house.system.ref("counter", 1)
        for command in (Fail(), Leave(), Fail()):
            counter.tell(command)
            await trio.sleep(30)
        assert [name for name, _ in house.events].count("actor.gave_up") == 1, "it was the second crash of the period"


async def test_an_actor_at_rest_holds_no_lanes_whatever_its_turns_were(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        await house.add(1)
        cell = house.system.activations[Address("counter", 1)]
        until = trio.Event()
        house.system.ref("counter", 1).tell(Hold(until))
        await wait_all_tasks_blocked()
        until.set()
        await wait_all_tasks_blocked()
        assert (cell.mailbox._user, cell.mailbox._system) == (None, None)


async def test_what_keeps_an_actor_awake_is_taken_back_by_its_own_reason(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        first, second = trio.Event(), trio.Event()

        async def hold(reason: str, until: trio.Event) -> None:
            await house.system.ref("counter", 1).ask(HoldBeside(reason, until), deadline=trio.current_time() + 60)

        nursery.start_soon(hold, "first", first)
        await wait_all_tasks_blocked()
        nursery.start_soon(hold, "second", second)
        await wait_all_tasks_blocked()
        context = house.system.activations[Address("counter", 1)].context
        assert list(context.awake_for) == ["first", "second"]
        first.set()
        await wait_all_tasks_blocked()
        assert list(context.awake_for) == ["second"]
        second.set()
        await wait_all_tasks_blocked()
        assert list(context.awake_for) == []


async def test_every_end_is_an_event_with_its_reason(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=10) as house:
        await house.add(1)
        await trio.sleep(12)
        await house.add(2)
    ends = [facts for name, facts in house.events if name == "actor.ended"]
    assert ends == [
        {"address": "counter/1", "reason": "passivated"},
        {"address": "counter/2", "reason": "normal"},
    ]


async def test_of_more_idle_actors_than_a_kind_may_have_those_idle_for_longest_go(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=1000, warm_max=3) as house:
        for key in range(6):
            await house.add(key)
            await trio.sleep(0.1)
        await trio.sleep(2)
        assert house.tiers() == (3, 3)
        assert house.log[6:] == ["-0 passivated", "-1 passivated", "-2 passivated"]


async def test_when_memory_is_short_idle_actors_go_early_a_part_at_a_time_and_cold_cells_at_once(
    autojump_clock: MockClock,
) -> None:
    used = [100]
    memory = MemoryLimit(1000, used_bytes=lambda: used[0])
    async with open_house(memory, idle_seconds_max=1000, cold_seconds_max=1000) as house:
        for key in range(20):
            await house.add(key)
        await trio.sleep(5.5)  # between two sweeps
        assert house.tiers() == (20, 0), "there is enough"
        used[0] = 801
        await trio.sleep(1)
        assert house.tiers() == (18, 2)
        await trio.sleep(1)
        assert house.tiers() == (17, 1), "the two cells are gone, and a tenth of the rest is cold"
        used[0] = 700
        await trio.sleep(50)
        assert house.tiers() == (17, 1)
        assert [facts for name, facts in house.events if name == "memory.shed"] == [
            {"passivated": 2, "warm": 20},
            {"passivated": 1, "warm": 18},
        ]


async def test_an_actor_that_is_needed_stays_however_short_memory_is(autojump_clock: MockClock) -> None:
    async with open_house(MemoryLimit(1000, used_bytes=lambda: 1000), idle_seconds_max=5) as house:
        until = trio.Event()
        house.system.ref("counter", 1).tell(Hold(until))
        await trio.sleep(60)
        assert house.tiers() == (1, 0)
        context = house.system.activations[Address("counter", 1)].context
        assert context is not None
        assert list(context.awake_for) == ["it is held"]
        until.set()
        await trio.sleep(10)
        assert house.tiers() == (0, 0)


async def test_those_who_must_stay_do_not_keep_the_idle_ones_in_memory_that_is_short(autojump_clock: MockClock) -> None:
    """The oldest are a service and those who hold on; of the others a tenth of all goes at a time."""
    until = trio.Event()
    async with open_house(MemoryLimit(1000, used_bytes=lambda: 1000), idle_seconds_max=1000) as house:
        for key in range(20):
            house.system.ref("counter", f"holds {key}").tell(Hold(until))
        await trio.sleep(0.1)
        for key in range(20):
            await house.add(key)
        await trio.sleep(30)
        assert house.tiers() == (20, 0)
        until.set()


async def test_what_is_on_its_way_to_storage_keeps_an_actor_warm(autojump_clock: MockClock) -> None:
    async with open_house(idle_seconds_max=5) as house:
        await house.add(1)
        house.committer.hold()
        house.system.ref("counter", 1).tell(Add(1))
        await trio.sleep(60)
        assert house.tiers() == (1, 0)
        house.committer.release()
        assert await house.add(1) == 3


class Waiter(Actor):
    """Its handler waits, and writes nothing."""

    @handles(Hold)
    async def hold(self, command: Hold) -> None:
        await command.until.wait()


class Faulty(Waiter):
    @property
    def may_passivate(self) -> bool:
        raise ZeroDivisionError("planned")


async def test_an_actor_is_idle_from_the_end_of_a_turn_that_waited(autojump_clock: MockClock) -> None:
    kind = Kind("waiter", lambda _: Waiter(), idle_seconds_max=60.0)
    async with open_system([kind], committer=MemoryCommitter()) as system:
        until = trio.Event()
        system.ref("waiter", 1).tell(Hold(until))
        await trio.sleep(1000)
        until.set()
        await trio.sleep(58)
        assert system.statistics().passivated == 0
        await trio.sleep(4)
        assert system.statistics().passivated == 1


async def test_in_the_test_mode_an_actor_goes_after_a_turn_that_waited_and_wrote_nothing(
    autojump_clock: MockClock,
) -> None:
    kind = Kind("waiter", lambda _: Waiter())
    async with open_system([kind], committer=MemoryCommitter(), passivates_at_once=True) as system:
        until = trio.Event()
        system.ref("waiter", 1).tell(Hold(until))
        await wait_all_tasks_blocked()
        until.set()
        await wait_all_tasks_blocked()
        assert system.statistics().passivated == 1


async def test_an_actor_that_cannot_say_whether_it_may_go_stays_and_the_others_go(autojump_clock: MockClock) -> None:
    told: list[tuple[str, object]] = []

    def event(name: str, **facts: object) -> None:
        told.append((name, facts.get("address")))

    kinds = [Kind("faulty", lambda _: Faulty(), idle_seconds_max=10.0), Kind("waiter", lambda _: Waiter())]
    async with open_system(kinds, committer=MemoryCommitter(), event=event) as system:
        until = trio.Event()
        until.set()
        for name in ("faulty", "waiter"):
            system.ref(name, 1).tell(Hold(until))
        await trio.sleep(65)
        kept = system.statistics().kinds
        assert (kept["faulty"].loaded, kept["waiter"].loaded) == (1, 0)
    assert 5 <= told.count(("passivation.failed", "faulty/1")) <= 6  # once each time that it has been idle for long


async def test_a_memory_limit_that_cannot_be_read_is_told_once_and_sheds_nobody(autojump_clock: MockClock) -> None:
    faults = [ZeroDivisionError("planned")] * 20

    def used_bytes() -> int:
        if faults:
            raise faults.pop()
        return 90

    async with open_house(MemoryLimit(100, used_bytes), idle_seconds_max=1000.0) as house:
        await house.add(1)
        await trio.sleep(15)
        assert house.tiers() == (1, 0)
        assert [name for name, _ in house.events].count("memory.unknown") == 1
        await trio.sleep(10)
        assert house.tiers() == (0, 0)


def test_the_memory_of_this_process_is_known() -> None:
    assert resident_bytes() > 1_000_000
    with pytest.raises(TypeError, match="used_bytes of a memory limit is called and never awaited"):
        MemoryLimit(1000, used_bytes=trio.sleep_forever)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a memory limit: bytes_max is above 0, not 0"):
        MemoryLimit(0)


def test_the_memory_is_counted_in_pages_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    size = os.sysconf("SC_PAGE_SIZE")
    before = resident_bytes()
    monkeypatch.setattr(os, "sysconf", lambda name: {"SC_PAGE_SIZE": size * 16}[name])
    assert 12 < resident_bytes() / before < 20


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.integers(0, 2)),
        st.tuples(st.just("ask"), st.integers(0, 2)),
        st.tuples(st.just("passivate"), st.integers(0, 2)),
        st.tuples(st.just("checkpoints"), st.integers(1, 4)),
        st.tuples(st.just("hold"), st.just(0)),
        st.tuples(st.just("release"), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=200, deadline=None)
@given(steps=STEPS)
def test_whenever_actors_are_passivated_every_command_is_handled_once_and_in_order(
    steps: list[tuple[str, int]],
) -> None:
    """Passivation strikes at any step of the loop; what was told is stored once, in the order told."""
    told: dict[int, list[int]] = {0: [], 1: [], 2: []}
    answers: list[tuple[object, int]] = []

    def take(house: House, number: int, step: str, key: int) -> None:
        counter = house.system.ref("counter", key)
        if step == "passivate":
            cell = house.system.activations.get(counter.address)
            if cell is not None:
                passivate_if_idle(cell)
        elif step == "hold":
            house.committer.hold()
        elif step == "release":
            house.committer.release()
        else:
            told[key].append(number)
            expected = sum(told[key])
            if step == "tell":
                counter.tell(Add(number))
            else:
                counter.request(Add(number), lambda value, _: answers.append((value, expected)), deadline=1e6)

    async def main() -> None:
        async with open_house(idle_seconds_max=1000) as house:
            for number, (step, argument) in enumerate(steps, start=1):
                if step == "checkpoints":
                    for _ in range(argument):
                        await trio.lowlevel.checkpoint()
                else:
                    take(house, number, step, argument)
            house.committer.release()
            for key, sent in told.items():
                assert await house.add(key, 0) == sum(sent)
                assert [write for to, write in house.committer.stored if to.key == key] == [*sent, 0]
            assert len(answers) == sum(step == "ask" for step, _ in steps)
            assert all(value == expected for value, expected in answers)
            _assert_one_of_each_address(house.log)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def _assert_one_of_each_address(log: list[str]) -> None:
    alive: set[str] = set()
    for line in log:
        key = line[1:].split()[0]
        assert (line[0] == "+") == (key not in alive), f"two of {key}: {log}"
        alive.symmetric_difference_update({key})
