"""What a shield holds against: an asker that gives up, and a stop for as long as it is patient; not its end."""

from dataclasses import dataclass

import trio
from trio.testing import MockClock

from greenroom.runtime import Actor, Command, Kind, handles, open_system, shielded
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Shield(Command[None]):
    """Wait for so long, under a shield of one sort."""

    seconds: float
    sort: str = "own"


class Stubborn(Actor):
    def __init__(self, log: list[str]):
        self.log = log

    @shielded
    @handles(Shield)
    async def shield(self, command: Shield) -> None:
        try:
            if command.sort == "nested":
                await self.nested(command.seconds)
            else:
                await self.own(command.seconds)
        finally:
            self.log.append(f"over at {trio.current_time():.0f}")

    async def own(self, seconds: float) -> None:
        with trio.CancelScope(shield=True), trio.CancelScope(), trio.CancelScope(shield=True):
            await trio.sleep(seconds)

    async def nested(self, seconds: float) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.own, seconds)
            await self.own(seconds)


class SlowStart(Stubborn):
    async def start(self) -> None:
        await self.own(1000)


async def stop(
    log: list[str], seconds: float, sort: str = "own", actor: type[Stubborn] = Stubborn
) -> dict[str, object]:
    """Tell an actor to shield itself, and stop its system at once, within 5 s; the facts of `system.stopped_busy`."""
    told: dict[str, object] = {}

    def event(name: str, **facts: object) -> None:
        if name == "system.stopped_busy":
            told.update(facts)

    kinds = [Kind("stubborn", lambda _: actor(log))]
    async with open_system(kinds, committer=MemoryCommitter(), event=event, stop_seconds_max=5) as system:
        system.ref("stubborn", 1).tell(Shield(seconds, sort))
        await trio.sleep(1)
    return told


async def test_a_shield_holds_for_as_long_as_the_stop_is_patient(autojump_clock: MockClock) -> None:
    log: list[str] = []
    assert await stop(log, 4) == {}
    assert log == ["over at 4"]


async def test_the_end_of_a_stop_goes_through_every_shield_and_says_where_the_turn_waited(
    autojump_clock: MockClock,
) -> None:
    for sort in ("own", "nested"):
        began, log = trio.current_time(), list[str]()
        told = await stop(log, 1000, sort)
        assert trio.current_time() - began == 6
        assert log == [f"over at {began + 6:.0f}"]
        [(turn, stack)] = told["stacks"].items()  # type: ignore[attr-defined]
        assert turn == "stubborn/1.Shield"
        assert any("Stubborn.own" in line for line in stack)


async def test_it_goes_through_that_of_a_start_too(autojump_clock: MockClock) -> None:
    await stop([], 0, actor=SlowStart)
    assert trio.current_time() == 6


async def test_a_turn_whose_activation_is_over_may_clean_up_for_as_long(autojump_clock: MockClock) -> None:
    log: list[str] = []
    kinds = [Kind("stubborn", lambda _: Stubborn(log))]
    async with open_system(kinds, committer=MemoryCommitter(), stop_seconds_max=5) as system:
        system.ref("stubborn", 1).tell(Shield(4))
        await trio.sleep(1)
        assert system.kill(system.ref("stubborn", 1))
    assert log == ["over at 4"]
