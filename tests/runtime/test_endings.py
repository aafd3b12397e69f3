"""`ctx.stop()` beside turns that wait: they end in order, then the actor does; a supervisor and a kill do not wait."""

from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorGone,
    Address,
    Command,
    Kind,
    StopReason,
    handles,
    open_system,
    reads,
    reentrant,
)
from greenroom.runtime.endings import hold, release
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Outer(Command[str]):
    """Asks somebody who asks back, and sleeps."""

    seconds: float = 1.0


@dataclass(frozen=True, slots=True)
class AskBack(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class StopInside(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Look(Command[str]):
    seconds: float
    stops: bool = False
    cleans_up_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Note(Command[str]):
    pass


@dataclass
class Book:
    log: list[str] = field(default_factory=list)


class Person(Actor):
    def __init__(self, book: Book) -> None:
        self.book = book

    @handles(Outer)
    async def outer(self, command: Outer) -> str:
        self.book.log.append("outer begins")
        answer = await self.ctx.ref("other", 1).ask(AskBack(), deadline=trio.current_time() + 30)
        await trio.sleep(command.seconds)
        answer += await self.ctx.ref("other", 1).ask(Note(), deadline=trio.current_time() + 30)
        self.book.log.append("outer ends")
        return answer

    @reentrant
    @handles(StopInside)
    def stop_inside(self, _: StopInside) -> str:
        self.ctx.stop()
        return "inner, "

    @reads
    @handles(Look)
    async def look(self, command: Look) -> str:
        if command.stops:
            self.ctx.stop()
            return "stops"
        try:
            await trio.sleep(command.seconds)
        finally:
            if command.cleans_up_seconds:
                with trio.CancelScope(shield=True):
                    await trio.sleep(command.cleans_up_seconds)
        self.book.log.append("looked")
        return "looked"

    @handles(Note)
    def note(self, _: Note) -> str:
        self.book.log.append("noted")
        return "noted"

    def stopping(self, reason: StopReason) -> None:
        self.book.log.append(f"stopping, {reason}")


class Other(Actor):
    @handles(AskBack)
    async def ask_back(self, _: AskBack) -> str:
        return await self.ctx.ref("person", 1).ask(StopInside(), deadline=trio.current_time() + 30)

    @handles(Note)
    def note(self, _: Note) -> str:
        return "other"


def kinds(book: Book) -> list[Kind]:
    return [Kind("person", lambda _: Person(book)), Kind("other", lambda _: Other())]


async def test_a_turn_around_the_one_that_stops_its_actor_ends_in_order_before(autojump_clock: MockClock) -> None:
    book = Book()
    async with open_system(kinds(book), committer=MemoryCommitter()) as system:
        person, answers = system.ref("person", 1), list[str]()

        async def ask() -> None:
            answers.append(await person.ask(Outer(), deadline=trio.current_time() + 5))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
            person.tell(Note())
        await person.ask(Note(), deadline=trio.current_time() + 5)
        assert answers == ["inner, other"]
        assert book.log == ["outer begins", "outer ends", "stopping, normal", "noted", "noted"]


async def test_reads_beside_the_one_that_stops_their_actor_end_in_order_before(autojump_clock: MockClock) -> None:
    book = Book()
    async with open_system(kinds(book), committer=MemoryCommitter()) as system:
        person = system.ref("person", 1)
        person.tell(Look(2.0))
        person.tell(Look(0.0, stops=True))
        await wait_all_tasks_blocked()
        person.tell(Look(0.5))
        await trio.sleep(10)
    assert book.log == ["looked", "stopping, normal", "looked", "stopping, normal"]


async def test_a_supervisor_does_not_wait_for_a_turn_that_an_actor_which_stops_waits_for(
    autojump_clock: MockClock,
) -> None:
    book = Book()
    async with open_system(kinds(book), committer=MemoryCommitter()) as system:
        system.ref("person", 1).tell(Outer(seconds=1000.0))
        await trio.sleep(1)
        cell = system.activations[Address("person", 1)]
        held = hold(cell)
        with trio.fail_after(1):
            await held.wait()
        assert book.log == ["outer begins", "stopping, normal"]
        release(cell)
        await trio.sleep(1)
        assert book.log == ["outer begins", "stopping, normal", "outer begins"], "it is decided again"
        system.kill(system.ref("person", 1))


async def test_an_actor_that_waits_for_its_turns_to_stop_can_be_killed(autojump_clock: MockClock) -> None:
    book = Book()
    async with open_system(kinds(book), committer=MemoryCommitter()) as system:
        person = system.ref("person", 1)

        async def kill() -> None:
            await trio.sleep(1)
            assert system.kill(person)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill)
            with pytest.raises(ActorGone, match="killed"):
                await person.ask(Outer(seconds=1000.0), deadline=trio.current_time() + 2000)
        await trio.sleep(1)
    assert book.log == ["outer begins", "stopping, killed"]


async def test_it_is_killed_at_once_also_when_those_turns_clean_up_for_long(autojump_clock: MockClock) -> None:
    book = Book()
    async with open_system(kinds(book), committer=MemoryCommitter()) as system:
        person = system.ref("person", 1)
        person.tell(Look(60.0, cleans_up_seconds=5.0))
        await wait_all_tasks_blocked()
        person.tell(Look(0.0, stops=True))
        await wait_all_tasks_blocked()
        assert system.kill(person)
        await wait_all_tasks_blocked()
        assert book.log == ["stopping, killed"]
