"""Timers in memory: a command to oneself, later; cancelled, it is as if it had never been."""

from dataclasses import dataclass

import trio

from greenroom.runtime import Actor, Command, Kind, handles, open_system
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


async def ask(ref, command):
    return await ref.ask(command, deadline=trio.current_time() + 5)


async def test_a_timer_that_is_moved_often_is_kept_once():
    async with open_system([Kind("mover", lambda _: Mover())], committer=MemoryCommitter()) as system:
        assert {await ask(system.ref("mover", 1), Move()) for _ in range(50)} == {1}


async def test_an_actor_whose_timer_was_cancelled_is_idle():
    async with open_system([Kind("mover", lambda _: Mover())], committer=MemoryCommitter()) as system:
        await ask(system.ref("mover", 1), Move())
        assert await ask(system.ref("mover", 1), Stop()) is False
