"""Faults of actors: each is one line, happens where it was planned, and only there."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorSystem,
    Command,
    Kind,
    Ref,
    RestartPolicy,
    StopReason,
    Stream,
    handles,
    open_system,
)
from greenroom.runtime.testing import (
    ActorFaults,
    InjectedFault,
    Interposition,
    MemoryCommitter,
)


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int = 1


@dataclass(frozen=True, slots=True)
class AddMany(Command[int]):
    by: int = 1


@dataclass(frozen=True, slots=True)
class Slow(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Count(Stream[int]):
    pass


@dataclass(frozen=True, slots=True)
class CountSlowly(Stream[int]):
    """is_behind: it gives out more than anybody takes."""

    is_behind: bool


class Adder(Actor):
    def __init__(self, log: list[str]) -> None:
        self.log = log
        self.sum = 0

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.log.append("started")

    def stopping(self, reason: StopReason) -> None:
        self.log.append(f"stopping {reason}")

    @handles(Add)
    def add(self, command: Add) -> int:
        self.sum += command.by
        return self.sum

    @handles(AddMany, batch=8)
    def add_many(self, commands: list[AddMany]) -> list[int]:
        return [command.by for command in commands]

    @handles(Slow)
    async def slow(self, _: Slow) -> str:
        await trio.sleep(1)
        return "slow"

    @handles(Count)
    async def count(self, _: Count) -> Any:
        yield 1
        yield 2

    @handles(CountSlowly)
    async def count_slowly(self, command: CountSlowly) -> Any:
        for number in range(1, 100):
            yield number
            if not command.is_behind:
                await trio.sleep(10)


@dataclass
class House:
    system: ActorSystem
    faults: ActorFaults
    log: list[str]
    events: list[str] = field(default_factory=list)

    @property
    def adder(self) -> Ref:
        return self.system.ref("adder", 1)

    async def ask(self, command: Any, seconds: float = 10) -> Any:
        return await self.adder.ask(command, deadline=trio.current_time() + seconds)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    faults, log, events = ActorFaults(), [], []  # type: ignore[var-annotated]
    kind = Kind("adder", lambda _: Adder(log), restart=RestartPolicy(intensity=10))
    async with open_system(
        [faults.on(kind)],
        committer=MemoryCommitter(),
        event=lambda name, **_: events.append(name),
    ) as system:
        yield House(system, faults, log, events)


async def test_the_command_that_was_named_crashes_and_no_other(autojump_clock: MockClock) -> None:
    async with house() as it:
        assert await it.ask(Add()) == 1
        it.faults.crash_at_command(2)
        assert await it.ask(Add()) == 2
        with pytest.raises(ActorFailed) as caught:
            await it.ask(Add())
        assert isinstance(caught.value.__cause__, InjectedFault)
        assert it.faults.met == 1
        assert await it.ask(Add()) == 4  # it raised after the handler: what that did to memory is there


@pytest.mark.parametrize("command", [AddMany(), Slow()])
async def test_batches_and_handlers_that_wait_crash_too(command: Command[Any], autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_at_command(1)
        with pytest.raises(ActorFailed, match="planned for a command"):
            await it.ask(command)
        assert await it.ask(command) in (1, "slow")


async def test_a_stream_crashes_before_its_first_item(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_at_command(1)
        seen: list[int] = []
        with pytest.raises(ActorFailed, match="planned"):
            async with it.adder.stream(Count(), deadline=trio.current_time() + 5) as items:
                seen += [item async for item in items]
        async with it.adder.stream(Count(), deadline=trio.current_time() + 5) as items:
            seen += [item async for item in items]
        assert seen == [1, 2]


async def test_a_tell_that_crashes_has_the_actor_restarted(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_at_command(1)
        it.adder.tell(Add(10))
        assert await it.ask(Add(1)) == 1
        assert it.log == ["started", "stopping crashed", "started"]


async def test_starts_crash_as_often_as_planned(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_in_start(times=2)
        assert await it.ask(Add()) == 1
        assert it.log == ["started", "stopping start_failed"] * 2 + ["started"]
        assert it.events.count("actor.crashed") == 2


async def test_a_stop_that_raises_ends_all_the_same(autojump_clock: MockClock) -> None:
    async with house() as it:
        assert await it.ask(Add(5)) == 5
        it.faults.crash_in_stop()
        await trio.sleep(70)
        assert it.log == ["started", "stopping passivated"]
        assert "effect.failed" in it.events
        assert await it.ask(Add()) == 1


async def test_a_turn_raises_while_it_is_cancelled(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_while_cancelled()
        with trio.move_on_after(0.5):
            await it.ask(Slow())
        await wait_all_tasks_blocked()
        assert "actor.failed_while_cancelled" in it.events
        assert (it.faults.met, await it.ask(Slow())) == (1, "slow")


async def test_what_was_planned_can_be_forgotten(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_at_command(1)
        it.faults.crash_in_start()
        it.faults.crash_in_stop()
        it.faults.crash_while_cancelled()
        it.faults.forget()
        assert (await it.ask(Add()), it.faults.met) == (1, 0)


@pytest.mark.parametrize("is_behind", [False, True])
async def test_a_stream_raises_while_it_is_cancelled(is_behind: bool, autojump_clock: MockClock) -> None:
    """While its handler waits, and while it has given out what nobody takes."""
    async with house() as it:
        it.faults.crash_while_cancelled()
        with trio.move_on_after(0.5):
            async with it.adder.stream(CountSlowly(is_behind), deadline=trio.current_time() + 5) as items:
                assert await anext(aiter(items)) == 1
                await trio.sleep_forever()
        await wait_all_tasks_blocked()
        assert (it.faults.met, it.events.count("actor.failed_while_cancelled")) == (1, 1)
        assert await it.ask(Slow()) == "slow"


async def test_a_stream_that_is_followed_to_its_end_is_not_cancelled(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.faults.crash_while_cancelled()
        async with it.adder.stream(Count(), deadline=trio.current_time() + 5) as items:
            assert [item async for item in items] == [1, 2]
        await wait_all_tasks_blocked()
        assert it.faults.met == 0


@pytest.mark.parametrize("times", [0, -1, 1.5, True, "once"])
def test_a_fault_that_cannot_happen_is_refused_where_it_is_planned(times: Any) -> None:
    faults = ActorFaults()
    for plan in (faults.crash_in_start, faults.crash_in_stop, faults.crash_while_cancelled, faults.crash_at_command):
        with pytest.raises((ValueError, TypeError), match=r"above 0|whole number|counted from 1"):
            plan(times)


def test_a_command_before_the_next_is_none() -> None:
    with pytest.raises(ValueError, match="counted from 1"):
        ActorFaults().crash_at_command(0)


async def test_interpositions_lie_over_each_other(autojump_clock: MockClock) -> None:
    class Doubling(Interposition):
        def run(self, actor: Actor, handler: Any, command: Any) -> object:
            return super().run(actor, handler, command) * 2  # type: ignore[operator]

    faults, log = ActorFaults(), []  # type: ignore[var-annotated]
    kind = Doubling().on(Doubling().on(faults.on(Kind("adder", lambda _: Adder(log)))))
    async with open_system([kind], committer=MemoryCommitter()) as system:
        assert await system.ref("adder", 1).ask(Add(3), deadline=trio.current_time() + 5) == 12
        faults.crash_at_command(1)
        with pytest.raises(ActorFailed):
            await system.ref("adder", 1).ask(Add(3), deadline=trio.current_time() + 5)
    assert log == ["started", "stopping normal"]
