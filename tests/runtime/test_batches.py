"""Batches in the rules of messaging: who waits for whom, until when, and what runs inside a turn that waits."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorSystem,
    AskTimeout,
    CallCycle,
    Command,
    Kind,
    handles,
    open_system,
    reentrant,
    shielded,
)
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Go(Command[str]):
    """Ask the clerk something that leads to *back*, which is a person."""

    back: int


@dataclass(frozen=True, slots=True)
class Fetch(Command[str]):
    back: int


@dataclass(frozen=True, slots=True)
class Hello(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Work(Command[str]):
    seconds: float = 50.0


@dataclass(frozen=True, slots=True)
class Finish(Command[str]):
    seconds: float = 50.0


@dataclass(frozen=True, slots=True)
class AskSlowly(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Outer(Command[str]):
    pass


@dataclass(frozen=True, slots=True)
class Inner(Command[str]):
    who: str


@dataclass
class Book:
    log: list[str] = field(default_factory=list)


class Person(Actor):
    def __init__(self, book: Book) -> None:
        self.book = book
        self.is_inside = False

    @handles(Go)
    async def go(self, command: Go) -> str:
        return await self.ctx.ref("clerk", 1).ask(Fetch(command.back), deadline=trio.current_time() + 30)

    @handles(Hello)
    def hello(self, _: Hello) -> str:
        return "hello"

    @handles(Outer)
    async def outer(self, _: Outer) -> str:
        self.is_inside = True
        answer = await self.ctx.ref("clerk", 1).ask(AskSlowly(), deadline=trio.current_time() + 30)
        self.is_inside = False
        return answer

    @reentrant
    @handles(Inner, batch=8)
    def inner(self, commands: list[Inner]) -> str:
        self.book.log += [f"{command.who}, {'inside' if self.is_inside else 'alone'}" for command in commands]
        return "inner"


class Clerk(Actor):
    def __init__(self, book: Book) -> None:
        self.book = book

    @handles(Fetch, batch=8)
    async def fetch(self, commands: list[Fetch]) -> list[str]:
        self.book.log.append(f"{len(commands)} to fetch")
        return [
            await self.ctx.ref("person", command.back).ask(Hello(), deadline=trio.current_time() + 300)
            for command in commands
        ]

    @handles(Work, batch=8)
    async def work(self, commands: list[Work]) -> str:
        return await self.sleep(len(commands))

    @shielded
    @handles(Finish, batch=8)
    async def finish(self, commands: list[Finish]) -> str:
        return await self.sleep(len(commands))

    @handles(AskSlowly)
    async def ask_slowly(self, _: AskSlowly) -> str:
        await trio.sleep(1)
        return await self.ctx.ref("person", 1).ask(Inner("the chain"), deadline=trio.current_time() + 30)

    async def sleep(self, count: int) -> str:
        self.book.log.append(f"{count} begin")
        try:
            await trio.sleep(50)
        except trio.Cancelled:
            self.book.log.append(f"cancelled at {trio.current_time() - START:g}")
            raise
        self.book.log.append(f"ended at {trio.current_time() - START:g}")
        return "done"


class Slow(Actor):
    """What the clerk is asked by others in a batch leads here."""

    @handles(Work, batch=8)
    async def work(self, _: list[Work]) -> str:
        try:
            return await self.ctx.ref("slower", 1).ask(Work(), deadline=trio.current_time() + 500)
        except AskTimeout:
            return f"gave up at {trio.current_time() - START:g}"


START = 0.0


@asynccontextmanager
async def open_house(book: Book) -> AsyncIterator[ActorSystem]:
    global START
    START = trio.current_time()
    kinds = [
        Kind("person", lambda _: Person(book)),
        Kind("clerk", lambda _: Clerk(book)),
        Kind("slow", lambda _: Slow()),
        Kind("slower", lambda _: Clerk(book)),
    ]
    async with open_system(kinds, committer=MemoryCommitter()) as system:
        yield system


async def ask(system: ActorSystem, kind: str, command: Command[str], *, seconds: float) -> None:
    with suppress(AskTimeout):
        await system.ref(kind, 1).ask(command, deadline=trio.current_time() + seconds)


async def test_a_cycle_through_a_batch_is_told_at_once_and_to_him_alone(autojump_clock: MockClock) -> None:
    book, answers = Book(), dict[int, object]()
    async with open_house(book) as system:

        async def go(key: int, back: int) -> None:
            try:
                answers[key] = await system.ref("person", key).ask(Go(back), deadline=trio.current_time() + 40)
            except ActorFailed as failed:
                answers[key] = failed

        async with trio.open_nursery() as nursery:
            for key, back in ((1, 1), (2, 3)):
                nursery.start_soon(go, key, back)
        assert trio.current_time() == START
    assert answers[2] == "hello"
    cause: BaseException | None = answers[1] if isinstance(answers[1], ActorFailed) else None
    while cause is not None and not isinstance(cause, CallCycle):
        cause = cause.__cause__
    assert isinstance(cause, CallCycle)
    hops = [f"{address}.{command}" for address, command in cause.hops]
    assert hops == ["person/1.Go", "clerk/1.Fetch", "person/1.Hello"]


@pytest.mark.parametrize(
    ("others", "shows"),
    [
        ((), ["1 begin", "cancelled at 2"]),
        ((7.0,), ["2 begin", "cancelled at 7"]),
        ((70.0,), ["2 begin", "ended at 50"]),
        ((None,), ["2 begin", "ended at 50"]),
    ],
    ids=["alone", "one who waits longer", "one who waits to its end", "a tell"],
)
async def test_a_batch_is_cancelled_when_all_who_asked_are_gone_and_nobody_told(
    others: tuple[float | None, ...], shows: list[str], autojump_clock: MockClock
) -> None:
    book = Book()
    async with open_house(book) as system:
        for seconds in (2.0, *others):  # without a task for each, so that they wait together
            if seconds is None:
                system.ref("clerk", 1).tell(Work())
            else:
                system.ref("clerk", 1).request(Work(), lambda *_: None, deadline=trio.current_time() + seconds)
        await trio.sleep(100)
    assert book.log == shows


async def test_a_shielded_batch_ends_although_all_are_gone(autojump_clock: MockClock) -> None:
    book = Book()
    async with open_house(book) as system:
        await ask(system, "clerk", Finish(), seconds=2.0)
        await trio.sleep(100)
    assert book.log == ["1 begin", "ended at 50"]


@pytest.mark.parametrize(("others", "at"), [((), 2.0), ((7.0, 5.0), 7.0)])
async def test_what_a_batch_asks_waits_no_longer_than_the_last_of_its_askers(
    others: tuple[float, ...], at: float, autojump_clock: MockClock
) -> None:
    book = Book()
    async with open_house(book) as system:
        for seconds in (2.0, *others):
            system.ref("slow", 1).request(Work(), lambda *_: None, deadline=trio.current_time() + seconds)
        await trio.sleep(100)
    assert book.log == ["1 begin", f"cancelled at {at:g}"]


async def test_what_runs_inside_a_turn_that_waits_takes_no_stranger_with_it(autojump_clock: MockClock) -> None:
    book = Book()
    async with open_house(book) as system, trio.open_nursery() as nursery:
        nursery.start_soon(lambda: ask(system, "person", Outer(), seconds=20.0))
        await wait_all_tasks_blocked()
        system.ref("person", 1).tell(Inner("a stranger"))
    assert book.log == ["the chain, inside", "a stranger, alone"]
