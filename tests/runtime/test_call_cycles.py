"""Asks of different requests that wait for each other end in `CallCycle` within a second, and nothing else does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorSystem,
    CallCycle,
    Command,
    Kind,
    Stream,
    handles,
    open_system,
    reads,
    reentrant,
)
from greenroom.runtime.call_cycles import end_cycles
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Look(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Read(Command[str]):
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class ReadOf(Command[str]):
    """A read that asks another one after a while."""

    key: int


@dataclass(frozen=True, slots=True)
class AskRead(Command[str]):
    """No read, and asks one after a while."""

    key: int


@dataclass(frozen=True, slots=True)
class AskAlong(Command[str]):
    """Ask the first of *way* after a while, with what remains of it; the last is looked at."""

    way: tuple[int, ...]
    seconds: float = 0.1


@dataclass(frozen=True, slots=True)
class Follow(Stream[str]):
    pass


@dataclass(frozen=True, slots=True)
class FollowAfter(Command[str]):
    """Follow *key* after a while."""

    key: int


@dataclass(frozen=True, slots=True)
class OpenAndSleep(Command[str]):
    """Opens a stream of *key*, and does not wait for its items."""

    key: int


@dataclass(frozen=True, slots=True)
class FollowAsker(Command[str]):
    """Asks *key*, which follows this one."""

    key: int


@dataclass(frozen=True, slots=True)
class Glance(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class AskGlancer(Command[str]):
    """Asks *key*, which glances back while this one waits."""

    key: int


@dataclass(frozen=True, slots=True)
class GlanceBack(Command[str]):
    key: int


class Person(Actor):
    def __init__(self, key: int | str) -> None:
        self.key = str(key)

    @handles(Look)
    def look(self, _: Look) -> str:
        return self.key

    @handles(AskAlong)
    async def ask_along(self, command: AskAlong) -> str:
        await trio.sleep(command.seconds)
        key, *rest = command.way
        inner: Command[str] = AskAlong(tuple(rest), command.seconds) if rest else Look()
        return self.key + await self.ctx.ref("person", key).ask(inner, deadline=trio.current_time() + 50)

    @handles(Follow)
    async def follow(self, _: Follow) -> AsyncIterator[str]:
        yield self.key
        await trio.sleep(2)
        yield self.key

    @handles(FollowAfter)
    async def follow_after(self, command: FollowAfter) -> str:
        await trio.sleep(0.1)
        found = ""
        async with self.ctx.ref("person", command.key).stream(Follow(), deadline=trio.current_time() + 50) as items:
            async for item in items:
                found += item
        return found

    @handles(OpenAndSleep)
    async def open_and_sleep(self, command: OpenAndSleep) -> str:
        async with self.ctx.ref("person", command.key).stream(Follow(), deadline=trio.current_time() + 50):
            await trio.sleep(4)
        return "slept"

    @handles(FollowAsker)
    async def follow_asker(self, command: FollowAsker) -> str:
        asked = FollowAfter(int(self.key))
        return await self.ctx.ref("person", command.key).ask(asked, deadline=trio.current_time() + 50)

    @handles(AskGlancer)
    async def ask_glancer(self, command: AskGlancer) -> str:
        back = GlanceBack(int(self.key))
        return self.key + await self.ctx.ref("person", command.key).ask(back, deadline=trio.current_time() + 50)

    @handles(GlanceBack)
    async def glance_back(self, command: GlanceBack) -> str:
        await trio.sleep(1)
        return self.key + await self.ctx.ref("person", command.key).ask(Glance(), deadline=trio.current_time() + 50)

    @reentrant
    @handles(Glance)
    def glance(self, _: Glance) -> str:
        return self.key

    @handles(AskRead)
    async def ask_read(self, command: AskRead) -> str:
        await trio.sleep(0.1)
        return self.key + await self.ctx.ref("person", command.key).ask(Read(), deadline=trio.current_time() + 50)

    @reads
    @handles(Read)
    async def read(self, command: Read) -> str:
        await trio.sleep(command.seconds)
        return self.key

    @reads
    @handles(ReadOf)
    async def read_of(self, command: ReadOf) -> str:
        await trio.sleep(0.999)
        return self.key + await self.ctx.ref("person", command.key).ask(Read(0.01), deadline=trio.current_time() + 50)


@asynccontextmanager
async def open_people(reads_at_once_max: int | None = None) -> AsyncIterator[ActorSystem]:
    kind = Kind("person", Person, reads_at_once_max=reads_at_once_max)
    async with open_system([kind], committer=MemoryCommitter()) as system:
        yield system


async def answers_to(system: ActorSystem, **commands: Command[str]) -> dict[str, object]:
    """What each `p<key>` answers or raises, asked in that order and at once."""
    answers: dict[str, object] = {}

    async def ask(name: str, command: Command[str]) -> None:
        deadline = trio.current_time() + 100
        try:
            answers[name] = await system.ref("person", int(name[1:])).ask(command, deadline=deadline)
        except ActorFailed as failed:
            answers[name] = failed.__cause__

    async with trio.open_nursery() as nursery:
        for name, command in commands.items():
            nursery.start_soon(ask, name, command)
            await wait_all_tasks_blocked()
    return answers


def hops_of(cycle: object) -> list[str]:
    while cycle is not None and not isinstance(cycle, CallCycle):
        assert isinstance(cycle, BaseException)
        cycle = cycle.__cause__
    assert isinstance(cycle, CallCycle)
    return [f"{address}.{command}" for address, command in cycle.hops]


async def test_two_that_ask_each_other_are_told_within_a_second(autojump_clock: MockClock) -> None:
    async with open_people() as system:
        began = trio.current_time()
        answers = await answers_to(system, p1=AskAlong((2,)), p2=AskAlong((1,)))
        assert trio.current_time() - began <= 1
        assert answers["p1"] == "12", "the elder one has its answer"
        assert hops_of(answers["p2"]) == ["person/1.AskAlong", "person/2.AskAlong", "person/1.Look"]
        assert "the last would wait for the first" in str(answers["p2"])


async def test_a_cycle_over_several_hops_is_seen_whole_and_others_are_left_alone(autojump_clock: MockClock) -> None:
    async with open_people() as system:
        answers = await answers_to(
            system, p1=AskAlong((2, 3)), p3=AskAlong((1,), 0.25), p7=AskAlong((1,)), p8=AskAlong((9,))
        )
        assert answers["p8"] == "89"
        assert answers["p3"] == "31"
        assert answers["p7"] == "71", "it waits for the cycle and is no part of it"
        assert hops_of(answers["p1"]) == [
            "person/3.AskAlong",
            "person/1.AskAlong",
            "person/2.AskAlong",
            "person/3.Look",
        ], "the youngest turn of it is told"


async def test_reads_that_ask_each_other_are_no_cycle(autojump_clock: MockClock) -> None:
    async with open_people() as system:
        await trio.sleep(1 - trio.current_time() % 1)
        assert await answers_to(system, p1=ReadOf(2), p2=ReadOf(1)) == {"p1": "12", "p2": "21"}


@pytest.mark.parametrize("bound", [1, None])
async def test_a_read_that_may_not_begin_beside_the_one_under_way_is_part_of_a_cycle(
    autojump_clock: MockClock, bound: int | None
) -> None:
    async with open_people(reads_at_once_max=bound) as system:

        async def write_between() -> None:
            await trio.sleep(0.05)
            system.ref("person", 1).tell(Look())

        async with trio.open_nursery() as nursery:
            if bound is None:
                nursery.start_soon(write_between)
            answers = await answers_to(system, p1=ReadOf(2), p2=AskRead(1))
        assert hops_of(answers["p2"]) == ["person/1.ReadOf", "person/2.AskRead", "person/1.Read"]
        assert answers["p1"] == "12"
        assert trio.current_time() <= 3


async def test_reads_that_fill_their_bound_make_room_for_one_that_waits(autojump_clock: MockClock) -> None:
    async with open_people(reads_at_once_max=2) as system, trio.open_nursery() as nursery:

        async def another() -> None:
            await system.ref("person", 1).ask(Read(4), deadline=trio.current_time() + 50)

        nursery.start_soon(another)
        await wait_all_tasks_blocked()
        assert await answers_to(system, p1=ReadOf(2), p2=AskRead(1)) == {"p1": "12", "p2": "21"}


@pytest.mark.parametrize("bound", [2, 3])
async def test_reads_that_fill_their_bound_and_all_wait_for_the_next_read_are_a_cycle(
    autojump_clock: MockClock, bound: int
) -> None:
    """Each of them might make room, and none of them will."""
    async with open_people(reads_at_once_max=bound) as system:
        await trio.sleep(1 - trio.current_time() % 1)
        others = range(2, bound + 2)
        answers: dict[int, object] = {}

        async def ask_one_and_have_it_ask_back(key: int) -> None:
            both = await answers_to(system, **{"p1": ReadOf(key), f"p{key}": AskRead(1)})
            answers[key] = both[f"p{key}"]

        async with trio.open_nursery() as nursery:
            for key in others:
                nursery.start_soon(ask_one_and_have_it_ask_back, key)
        told = [key for key, answer in answers.items() if isinstance(answer, CallCycle)]
        assert len(told) == 1, "one makes room, the others have their answers"
        assert hops_of(answers[told[0]])[1:] == [f"person/{told[0]}.AskRead", "person/1.Read"]
        assert {key: answer for key, answer in answers.items() if key not in told} == {
            key: f"{key}1" for key in others if key not in told
        }
        assert trio.current_time() <= 4


async def test_reads_that_fill_their_bound_are_no_cycle_when_one_of_them_will_end(autojump_clock: MockClock) -> None:
    """The older one waits in a ring with who asks next; the younger one makes room."""
    async with open_people(reads_at_once_max=2) as system:
        answers: dict[str, object] = {}

        async def ring() -> None:
            answers.update(await answers_to(system, p1=ReadOf(2), p2=AskRead(1)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ring)
            await trio.sleep(0.05)
            assert await system.ref("person", 1).ask(Read(6), deadline=trio.current_time() + 50) == "1"
        assert answers == {"p1": "12", "p2": "21"}


async def test_who_waits_for_somebody_slow_is_no_cycle(autojump_clock: MockClock) -> None:
    async with open_people() as system:
        answers = await answers_to(system, p1=AskAlong((2,), 5), p2=AskAlong((3,), 8), p3=Read(20))
        assert answers == {"p1": "12", "p2": "23", "p3": "3"}


@pytest.mark.parametrize("pairs", [1, 50])
async def test_every_cycle_is_ended_at_one_look(autojump_clock: MockClock, pairs: int) -> None:
    async with open_people() as system:
        began = trio.current_time()
        commands = {f"p{key}": AskAlong((key + 1 if key % 2 else key - 1,)) for key in range(1, 2 * pairs + 1)}
        answers = await answers_to(system, **commands)
        assert trio.current_time() - began <= 1
        assert sum(isinstance(answer, CallCycle) for answer in answers.values()) == pairs


async def test_two_that_follow_each_other_are_told_within_a_second(autojump_clock: MockClock) -> None:
    async with open_people() as system:
        began = trio.current_time()
        answers = await answers_to(system, p1=FollowAfter(2), p2=FollowAfter(1))
        assert answers["p1"] == "22", "the elder one has its items"
        assert hops_of(answers["p2"]) == ["person/1.FollowAfter", "person/2.FollowAfter", "person/1.Follow"]
        assert trio.current_time() - began <= 1 + 2


async def test_who_follows_his_own_asker_is_told_at_once(autojump_clock: MockClock) -> None:
    async with open_people() as system:
        began = trio.current_time()
        answers = await answers_to(system, p1=FollowAsker(2))
        assert hops_of(answers["p1"]) == ["person/1.FollowAsker", "person/2.FollowAfter", "person/1.Follow"]
        assert trio.current_time() - began == pytest.approx(0.1)


async def test_who_has_a_stream_open_and_does_something_else_waits_for_nobody(autojump_clock: MockClock) -> None:
    """Person 2, which is to answer 1 with a stream, asks it before: 1 comes to its end without that stream."""
    async with open_people() as system:
        answers = await answers_to(system, p2=AskAlong((1,)), p1=OpenAndSleep(2))
        assert answers == {"p1": "slept", "p2": "21"}


async def test_a_look_between_an_ask_and_its_turn_inside_of_one_that_waits_sees_no_cycle(
    autojump_clock: MockClock,
) -> None:
    async with open_people() as system:
        trio.lowlevel.add_instrument(LooksAtEachStep(system))
        answers = await answers_to(system, p1=AskGlancer(2))
        assert answers == {"p1": "121"}


class LooksAtEachStep(trio.abc.Instrument):
    def __init__(self, system: ActorSystem) -> None:
        self._system = system

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        end_cycles(self._system.waiting_turns)
