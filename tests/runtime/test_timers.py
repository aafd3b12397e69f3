"""Timers in memory: a command to oneself, later; cancelled, it is as if it had never been."""

from dataclasses import dataclass

import trio
from trio.testing import MockClock

from greenroom.runtime import Actor, Command, Kind, StopReason, StorageUnavailable, handles, open_system
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Move(Command[int]):
    """Put the one timer off again; answers how many the context keeps."""


@dataclass(frozen=True, slots=True)
class Stop(Command[bool]):
    """Cancel it; answers whether the actor still has a timer."""


class Mover(Actor):
    timer = None

    @handles(Move)
    def move(self, _):
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.ctx.tell_self_after(60, Move())
        return len(self.ctx._timers)

    @handles(Stop)
    def stop(self, _):
        self.timer.cancel()
        return self.ctx.is_needed


class Clinging(Actor):
    """It tries to have itself told, and to watch, when it is over already."""

    def __init__(self, log: list[str]):
        self.log = log

    def stopping(self, reason: StopReason) -> None:
        self.cling("stopping")

    @handles(Move)
    async def leave_a_task_behind(self, _):
        trio.lowlevel.spawn_system_task(self.cling_later)

    @handles(Stop)
    def moved(self, _):
        self.log.append(f"woken at {trio.current_time():g}")

    async def cling_later(self):
        await trio.sleep(200)
        self.cling("task")

    def cling(self, who):
        for what in (lambda: self.ctx.tell_self_after(100, Stop()), lambda: self.ctx.watch(self.ctx.ref("mover", 1))):
            try:
                what()
            except RuntimeError as error:
                self.log.append(f"{who}: {error}")


class StartsTwice(Actor):
    """Storage is away when it has set its timer for the first time."""

    starts = 0

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ctx.tell_self_after(60, Stop())
        StartsTwice.starts += 1
        if StartsTwice.starts == 1:
            raise StorageUnavailable("planned")

    def __init__(self, log: list[str]):
        self.log = log

    @handles(Move)
    def answer(self, _):
        return 1

    @handles(Stop)
    def told(self, _):
        self.log.append(f"told at {trio.current_time():.0f}")


async def ask(ref, command):
    return await ref.ask(command, deadline=trio.current_time() + 5)


async def test_a_timer_that_is_moved_often_is_kept_once():
    async with open_system([Kind("mover", lambda _: Mover())], committer=MemoryCommitter()) as system:
        assert {await ask(system.ref("mover", 1), Move()) for _ in range(50)} == {1}


async def test_an_actor_whose_timer_was_cancelled_is_idle():
    async with open_system([Kind("mover", lambda _: Mover())], committer=MemoryCommitter()) as system:
        await ask(system.ref("mover", 1), Move())
        assert await ask(system.ref("mover", 1), Stop()) is False


async def test_neither_stopping_nor_a_task_that_was_left_behind_sets_a_timer_or_watches(autojump_clock: MockClock):
    log: list[str] = []
    kinds = [Kind("mover", lambda _: Clinging(log), idle_seconds_max=10.0)]
    async with open_system(kinds, committer=MemoryCommitter()) as system:
        await ask(system.ref("mover", 1), Move())
        await trio.sleep(1000)
    assert [line.split(": ")[0] for line in log] == ["stopping", "stopping", "task", "task"]
    assert "tell_next_activation" in log[0]
    assert "watch in a turn" in log[1]


async def test_a_start_that_is_tried_again_leaves_no_timer_of_the_first_try(autojump_clock: MockClock):
    log: list[str] = []
    StartsTwice.starts = 0
    async with open_system([Kind("twice", lambda _: StartsTwice(log))], committer=MemoryCommitter()) as system:
        assert await ask(system.ref("twice", 1), Move()) == 1
        await trio.sleep(100)
    assert StartsTwice.starts == 2
    assert len(log) == 1
