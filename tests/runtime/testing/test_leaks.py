"""What a system at rest may not have: each is found, and what its actors mean to keep is not."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorSystem, Address, Command, Kind, handles, open_system
from greenroom.runtime.testing import LeakCheck, Leaked, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Do(Command[None]):
    what: Callable[["Worker"], Any]


@dataclass(frozen=True, slots=True)
class Wait(Command[None]):
    pass


class Worker(Actor):
    @handles(Do)
    def do(self, command: Do) -> None:
        command.what(self)

    @handles(Wait)
    async def wait(self, _: Wait) -> None:
        await trio.sleep(3)


@asynccontextmanager
async def opened() -> AsyncIterator[tuple[ActorSystem, LeakCheck]]:
    async with trio.open_nursery() as nursery:
        committer = MemoryCommitter()
        nursery.start_soon(committer.run)
        async with open_system([Kind("worker", lambda _: Worker(), ownership="create")], committer=committer) as system:
            yield system, LeakCheck(system)
        nursery.cancel_scope.cancel()


async def test_actors_that_are_idle_and_their_timers_are_no_leak(autojump_clock: MockClock) -> None:
    async with opened() as (system, leaks):
        leaks.check()
        system.ref("worker", 1).tell(Do(lambda it: it.ctx.tell_self_after(50, Wait())))
        system.ref("worker", 2).tell(Do(lambda it: it.ctx.watch(it.ctx.ref("worker", 1))))
        system.ref("worker", 3).tell(Do(lambda _: 1 / 0))
        await wait_all_tasks_blocked()
        leaks.check()
        await trio.sleep(10)
        leaks.check()


async def test_the_sum_of_many_dead_letters_that_is_still_to_be_told_is_no_leak(autojump_clock: MockClock) -> None:
    def fail(_: Worker) -> None:
        raise ZeroDivisionError

    async with opened() as (system, leaks):
        for key in range(40):
            system.ref("worker", key).tell(Do(fail))
        await trio.sleep(0.9)
        assert system.dead_letters.counts["crashed"] == 40
        assert system.dead_letters.sums_to_come == 1
        leaks.check()


async def test_a_turn_that_waits_is_found_with_its_task(autojump_clock: MockClock) -> None:
    async with opened() as (system, leaks):
        system.ref("worker", 1).tell(Wait())
        await wait_all_tasks_blocked()
        with pytest.raises(Leaked) as caught:
            leaks.check()
        assert str(caught.value).split("\n")[1:] == [
            "1 turns are said to wait, and none does",
            "worker/1 is turning",
            "worker/1 has 1 turns that wait",
        ]
        assert "a task still runs" in str(caught.value)
        await trio.sleep(5)
        leaks.check()


async def test_each_leak_has_its_line(autojump_clock: MockClock) -> None:
    async with opened() as (system, leaks):
        system.ref("worker", 1).tell(Do(lambda it: it.ctx.write("x")))
        await wait_all_tasks_blocked()
        cell = system.activations[Address("worker", 1)]
        assert cell.context is not None
        cell.context.awake_for = ["forgotten"]
        cell.watchers = {Address("worker", 9): None}
        cell.starting = trio.CancelScope()
        system.acting = cell
        system.deadlines.after(10, lambda: None)
        with pytest.raises(Leaked) as caught:
            leaks.check()
        assert len(str(caught.value).split("\n")) == 5
        for line in (
            "forgotten",
            "watched by worker/9, which has ended",
            "scope of a start",
            "said to act",
            "1 deadlines",
        ):
            assert line in str(caught.value)
        system.acting = None
