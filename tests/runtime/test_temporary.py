"""Temporary actors: one that crashes is over, what waited for it is told, and nothing is counted or escalated."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorGone, ActorSystem, Command, Kind, RestartPolicy, handles, open_system
from greenroom.runtime.restarts import WhenExhausted
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Count(Command[int]):
    pass


class Guest(Actor):
    """Counts what it is asked."""

    def __init__(self, starts: list[str], fails_in_start: int) -> None:
        self.starts, self.fails_in_start, self.count = starts, fails_in_start, 0

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.starts.append("start")
        if len(self.starts) <= self.fails_in_start:
            raise OSError("planned")

    @handles(Fail)
    def fail(self, _: Fail) -> None:
        raise ZeroDivisionError("planned")

    @handles(Count)
    def counted(self, _: Count) -> int:
        self.count += 1
        return self.count


@dataclass
class House:
    system: ActorSystem
    starts: list[str]
    events: list[str]


@asynccontextmanager
async def opened(when_exhausted: WhenExhausted = "rest", fails_in_start: int = 0) -> AsyncIterator[House]:
    starts: list[str] = []
    events: list[str] = []
    policy = RestartPolicy(mode="temporary", when_exhausted=when_exhausted)
    kind = Kind("guest", lambda _: Guest(starts, fails_in_start), restart=policy)
    async with open_system([kind], committer=MemoryCommitter(), event=lambda name, **_: events.append(name)) as system:
        yield House(system, starts, events)


@pytest.mark.parametrize("when_exhausted", ["rest", "escalate"])
async def test_the_next_command_makes_a_new_actor_at_once_and_nothing_is_escalated(
    autojump_clock: MockClock, when_exhausted: WhenExhausted
) -> None:
    async with opened(when_exhausted) as house:
        guest, began = house.system.ref("guest", 1), trio.current_time()
        for number in range(20):
            guest.tell(Fail())
            await wait_all_tasks_blocked()
            assert len(house.starts) == 1 + number, "nobody told it anything"
            assert await guest.ask(Count(), deadline=began + 1) == 1
        assert trio.current_time() == began
        assert not house.system.rests
        assert not {"actor.gave_up", "system.escalated"} & set(house.events)
        assert house.events.count("actor.crashed") == 20


async def test_what_waited_when_it_crashed_is_told_what_it_died_of(autojump_clock: MockClock) -> None:
    async with opened() as house:
        guest = house.system.ref("guest", 1)
        guest.tell(Fail())
        guest.tell(Count())
        with pytest.raises(ActorGone, match=r"temporary actors .*ZeroDivisionError: planned") as caught:
            await guest.ask(Count(), deadline=trio.current_time() + 5)
        assert isinstance(caught.value.__cause__, ZeroDivisionError)
        assert house.system.dead_letters.counts == {"crashed": 1, "actor_gone": 1}
        assert house.starts == ["start"]


async def test_a_start_that_fails_ends_it_too_and_never_loops(autojump_clock: MockClock) -> None:
    async with opened(fails_in_start=2) as house:
        guest = house.system.ref("guest", 1)
        for _ in range(2):
            with pytest.raises(ActorGone, match="OSError: planned"):
                await guest.ask(Count(), deadline=trio.current_time() + 5)
        assert await guest.ask(Count(), deadline=trio.current_time() + 5) == 1
        assert len(house.starts) == 3


async def test_its_cell_is_forgotten_as_that_of_any_other(autojump_clock: MockClock) -> None:
    async with opened() as house:
        guest = house.system.ref("guest", 1)
        guest.tell(Fail())
        await trio.sleep(3600)  # who sweeps the cells looks for crashes that still count
        assert guest.address not in house.system.activations
        assert await guest.ask(Count(), deadline=trio.current_time() + 5) == 1
