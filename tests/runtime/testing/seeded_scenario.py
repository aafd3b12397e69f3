"""What the tests of seeded runs run, here and in other processes: actors and tasks whose order is left to chance."""

from dataclasses import dataclass

import trio

from greenroom.runtime import Actor, Command, Kind, handles, open_system
from greenroom.runtime.testing import MemoryCommitter, SeededRun


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int


class Sum(Actor):
    def __init__(self, seen: list[int]) -> None:
        self.seen = seen

    @handles(Add)
    def add(self, command: Add) -> int:
        self.ctx.write(command.by)
        self.seen.append(command.by)
        return len(self.seen)


async def race(run: SeededRun) -> list[int]:
    """Ten tasks ask one of three actors, after waits that the run draws. The order in which they are handled."""
    seen: list[int] = []
    committer = MemoryCommitter()
    kind = Kind("sum", lambda _: Sum(seen), ownership="create")

    async def client(number: int) -> None:
        await trio.sleep(run.randomness.choice([0, 0.1]))
        await system.ref("sum", f"k{number % 3}").ask(Add(number), deadline=trio.current_time() + 5)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with (
            open_system([kind], committer=committer, clock=run.clock, randomness=run.randomness) as system,
            trio.open_nursery() as clients,
        ):
            for number in range(10):
                clients.start_soon(client, number)
        nursery.cancel_scope.cancel()
    run.note(seen)
    return seen


async def broken(run: SeededRun) -> None:
    await trio.sleep(1)
    raise ValueError("on purpose")
