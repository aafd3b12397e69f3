"""Storage is away, and an actor finds out: in its start, in a turn, in a nursery of its own. It is no crash of its."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock

from greenroom.runtime import Actor, Command, Kind, RestartPolicy, StorageUnavailable, handles, open_system
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Look(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class LookLater(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Count(Command[int]):
    pass


Query = Callable[[], Awaitable[None]]


class Reader(Actor):
    """Reads somewhere that may be away. Memory: how often it was told to look since its start."""

    def __init__(self, query: Query, in_start: Query | None) -> None:
        self.query, self.in_start, self.looked = query, in_start, 0

    async def start(self) -> None:
        await (self.in_start or trio.lowlevel.checkpoint)()

    @handles(Look)
    def look(self, _: Look) -> None:
        self.looked += 1
        raise StorageUnavailable("planned")

    @handles(LookLater)
    async def look_later(self, _: LookLater) -> None:
        self.looked += 1
        await self.query()

    @handles(Count)
    def count(self, _: Count) -> int:
        return self.looked


class Away:
    """Raises so often that storage is away, then no more."""

    def __init__(self, times: int, wrap: bool) -> None:
        self.times, self.wrap = times, wrap

    async def __call__(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.times == 0:
            return
        self.times -= 1
        if not self.wrap:
            raise StorageUnavailable("planned")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.sleep_forever)
            nursery.start_soon(self._fail)

    async def _fail(self) -> None:
        raise StorageUnavailable("planned, inside")


def never_again() -> RestartPolicy:
    return RestartPolicy(intensity=0, period_seconds=3600)


@pytest.mark.parametrize("wrap", [False, True])
async def test_a_start_that_finds_storage_away_waits_for_it(autojump_clock: MockClock, wrap: bool) -> None:
    away = Away(4, wrap)
    kind = Kind("reader", lambda _: Reader(away, away), restart=never_again())
    async with open_system([kind], committer=MemoryCommitter()) as system:
        assert await system.ref("reader", 1).ask(Count(), deadline=trio.current_time() + 30) == 0
        assert away.times == 0
        assert system.statistics().crashes == 0


@pytest.mark.parametrize("command", [Look(), LookLater()])
@pytest.mark.parametrize("wrap", [False, True])
async def test_a_turn_that_finds_storage_away_spends_no_intensity_and_its_memory_is_dropped(
    autojump_clock: MockClock, command: Command[None], wrap: bool
) -> None:
    kind = Kind("reader", lambda _: Reader(Away(99, wrap), None), restart=never_again())
    events: list[str] = []
    async with open_system([kind], committer=MemoryCommitter(), event=lambda name, **_: events.append(name)) as system:
        reader = system.ref("reader", 1)
        for _ in range(3):
            reader.tell(command)
            assert await reader.ask(Count(), deadline=trio.current_time() + 30) == 0
        assert system.statistics().crashes == 0
        assert events.count("storage.lost") == events.count("storage.found") == 3
        with pytest.raises(StorageUnavailable):
            await reader.ask(command, deadline=trio.current_time() + 30)


async def test_an_outage_beside_another_fault_is_a_fault(autojump_clock: MockClock) -> None:
    async def both() -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("two", [StorageUnavailable("planned"), KeyError("mine")])

    async with open_system([Kind("reader", lambda _: Reader(both, None))], committer=MemoryCommitter()) as system:
        reader = system.ref("reader", 1)
        reader.tell(LookLater())
        assert await reader.ask(Count(), deadline=trio.current_time() + 30) == 0
        assert system.statistics().crashes == 1
