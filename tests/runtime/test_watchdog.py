"""The watchdog: slow turns, stuck turns and old mailboxes under a virtual clock, and bounded telling."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorSystem, Clock, Command, Kind, Patience, handles, open_system
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Compute(Command[None]):
    seconds: float


@dataclass(frozen=True, slots=True)
class Nap(Command[None]):
    seconds: float


@dataclass(frozen=True, slots=True)
class Hire(Command[None]):
    """Wait for a task."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Note(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class PutAside(Command[None]):
    pass


class HandClock(Clock):
    """Time that passes only while a handler says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def wall_milliseconds(self) -> int:
        return 0

    def busy_seconds(self) -> float:
        return self.now


class Worker(Actor):
    def __init__(self, clock: HandClock) -> None:
        self.clock = clock

    @handles(Compute)
    def compute(self, command: Compute) -> None:
        self.clock.now += command.seconds

    @handles(Nap)
    async def nap(self, command: Nap) -> None:
        await self.rest(command.seconds)

    @handles(Hire)
    async def hire(self, command: Hire) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.rest, command.seconds)

    async def rest(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @handles(Note)
    def note(self, _: Note) -> None:
        pass

    @handles(PutAside)
    def put_aside(self, _: PutAside) -> None:
        self.ctx.stash()


@dataclass
class House:
    system: ActorSystem
    clock: HandClock
    committer: MemoryCommitter
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [facts for event, facts in self.events if event == name]


@asynccontextmanager
async def open_house(**patience: Any) -> AsyncIterator[House]:
    clock, committer, events = HandClock(), MemoryCommitter(), []
    kinds = [
        Kind("worker", lambda _: Worker(clock), idle_seconds_max=1e6),
        Kind("patient", lambda _: Worker(clock), waiting_turn_seconds_max=120.0),
        Kind("hasty", lambda _: Worker(clock), waiting_turn_seconds_max=2.0),
        Kind("owning", lambda _: Worker(clock), ownership="create"),
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            kinds,
            committer=committer,
            clock=clock,
            event=lambda name, **facts: events.append((name, facts)),
            patience=Patience(**patience),
            stop_seconds_max=0.1,
        ) as system:
            yield House(system, clock, committer, events)
        nursery.cancel_scope.cancel()


async def test_a_plain_turn_that_keeps_the_loop_is_told_with_its_handler(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("worker", 1).tell(Note())
        house.system.ref("worker", 1).tell(Compute(0.25))
        house.system.ref("worker", 1).tell(Note())
        await wait_all_tasks_blocked()
        assert house.of("turn.slow") == [
            {"address": "worker/1", "command": "Compute", "handler": "Worker.compute", "seconds": 0.25}
        ]


async def test_a_turn_within_the_limit_is_not_told(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("worker", 1).tell(Compute(0.09))
        house.system.ref("worker", 1).tell(Compute(0.09))
        await wait_all_tasks_blocked()
        assert house.of("turn.slow") == []


async def test_waiting_and_working_are_gauged_for_each_drain(autojump_clock: MockClock):
    async with open_house() as house:
        for number in (1, 2):
            house.system.ref("worker", number).tell(Compute(0.02))
        await wait_all_tasks_blocked()
        first, second = (house.system.activation(house.system.ref("worker", n).address).gauges for n in (1, 2))
        assert (first.drains, second.drains) == (1, 1)
        assert [first.waited_seconds, second.waited_seconds] == pytest.approx([0.0, 0.02])
        assert first.busy_seconds == second.busy_seconds == pytest.approx(0.02)
        house.system.ref("worker", 1).tell(Compute(0.01))
        await wait_all_tasks_blocked()
        assert first.busy_seconds == pytest.approx(0.03)
        assert first.drain_seconds_max == pytest.approx(0.02)


async def test_a_waiting_turn_that_takes_too_long_is_told_with_where_it_waits(autojump_clock: MockClock):
    async with open_house(waiting_turn_seconds_max=10.0) as house:
        house.system.ref("worker", 1).tell(Nap(100))
        await trio.sleep(9.9)
        assert house.of("turn.stuck") == []
        await trio.sleep(1.5)
        [told] = house.of("turn.stuck")
        assert (told["address"], told["command"], told["handler"]) == ("worker/1", "Nap", "Worker.nap")
        assert 10 <= told["seconds"] < 11.5
        assert told["calls"][0].startswith("Worker.nap (runtime/test_watchdog.py:")
        assert told["calls"][1].startswith("Worker.rest (runtime/test_watchdog.py:")
        assert told["calls"][2].startswith("sleep (trio/")


async def test_it_is_told_where_the_tasks_wait_that_a_handler_waits_for(autojump_clock: MockClock):
    async with open_house(waiting_turn_seconds_max=10.0) as house:
        house.system.ref("worker", 1).tell(Hire(15))
        await trio.sleep(11.5)
        [told] = house.of("turn.stuck")
        calls = told["calls"]
        assert calls[0].startswith("Worker.hire ")
        started = next(place for place, line in enumerate(calls) if "in a task that it started" in line)
        assert calls[started + 1].startswith("  Worker.rest (runtime/test_watchdog.py:")
        assert calls[started + 2].startswith("  sleep (trio/")


async def test_it_is_told_again_only_when_it_has_taken_twice_as_long(autojump_clock: MockClock):
    async with open_house(waiting_turn_seconds_max=10.0) as house:
        house.system.ref("worker", 1).tell(Nap(100))
        await trio.sleep(99)
        assert [round(told["seconds"]) for told in house.of("turn.stuck")] == [10, 20, 40, 80]
        await trio.sleep(10)
        assert not house.system.waiting_turns
        await trio.sleep(100)
        assert len(house.of("turn.stuck")) == 4


async def test_a_kind_has_its_own_patience_whatever_else_waits_longer(autojump_clock: MockClock):
    async with open_house(waiting_turn_seconds_max=10.0) as house:
        house.system.ref("patient", 1).tell(Nap(60))
        await trio.sleep(5)
        house.system.ref("hasty", 1).tell(Nap(3.5))
        await trio.sleep(50)
        assert [told["address"] for told in house.of("turn.stuck")] == ["hasty/1"]


async def test_commands_that_wait_too_long_are_told_with_what_they_wait_for(autojump_clock: MockClock):
    async with open_house() as house:
        worker = house.system.ref("worker", 1)
        worker.tell(Nap(3.5))
        await wait_all_tasks_blocked()
        worker.tell(Note())
        await trio.sleep(2.5)
        [told] = house.of("mailbox.old")
        assert told["address"] == "worker/1"
        assert (told["command"], told["depth"], told["phase"]) == ("Note", 1, "turning")
        assert 1.0 <= told["seconds_min"] <= 2.5
        assert (told["turn"], told["handler"]) == ("Nap", "Worker.nap")
        assert told["calls"][0].startswith("Worker.nap ")


async def test_a_mailbox_that_moves_is_not_old_however_full_it_always_is(autojump_clock: MockClock):
    async with open_house() as house:
        worker = house.system.ref("worker", 1)
        for _ in range(100):
            worker.tell(Nap(0.15))
            worker.tell(Nap(0.15))
            await trio.sleep(0.3)
            assert len(house.system.activation(worker.address).mailbox) <= 2
        assert house.of("mailbox.old") == []


async def test_commands_that_are_put_aside_do_not_make_the_mailbox_old(autojump_clock: MockClock):
    async with open_house() as house:
        worker = house.system.ref("worker", 1)
        worker.tell(Nap(1.5))
        await wait_all_tasks_blocked()
        worker.tell(PutAside())
        await trio.sleep(1.2)
        for _ in range(20):
            worker.tell(Nap(0.4))
            await trio.sleep(0.4)
        assert house.of("mailbox.old") == []


async def test_what_waits_for_storage_is_no_fault_of_the_actor(autojump_clock: MockClock):
    async with open_house() as house:
        house.committer.is_away = True
        house.system.ref("owning", 1).tell(Note())
        await trio.sleep(5)
        assert len(house.of("storage.lost")) == 1
        assert house.of("mailbox.old") == []


async def test_warnings_are_bounded_and_the_rest_is_one_sum(autojump_clock: MockClock):
    async with open_house(tellings_max=3) as house:
        for number in range(20):
            house.system.ref("worker", number).tell(Compute(0.5))
        await wait_all_tasks_blocked()
        assert len(house.of("turn.slow")) == 3
        await trio.sleep(61)
        assert house.of("watchdog.summed") == [{"what": "turn.slow", "count": 17}]


async def test_a_virtual_clock_has_no_thread(autojump_clock: MockClock):
    import threading

    before = set(threading.enumerate())  # and not how many: trio's workers of earlier tests end when they were idle
    async with open_house():
        await wait_all_tasks_blocked()
        assert not set(threading.enumerate()) - before


@pytest.mark.parametrize("bad", [{"loop_seconds_max": 0}, {"plain_turn_seconds_max": -1}, {"tellings_max": 0}])
def test_patience_without_measure_is_refused(bad: dict[str, float]):
    with pytest.raises(ValueError, match=r"patience: .* is above 0"):
        Patience(**bad)
    with pytest.raises(ValueError, match="kind room: waiting_turn_seconds_max is above 0"):
        Kind("room", lambda _: Actor(), waiting_turn_seconds_max=0)
