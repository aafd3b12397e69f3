"""Turns that wait: which may overlap, who waits for whom, what is stored when they ask, and how they are given up."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorGone,
    ActorSystem,
    Address,
    AskTimeout,
    CallCycle,
    Command,
    CommitOutcome,
    CommitUnknown,
    Directive,
    Kind,
    Ref,
    RestartPolicy,
    Stream,
    WrongKindOfAnswer,
    handles,
    open_system,
    reads,
    reentrant,
    shielded,
)
from greenroom.runtime.context import Context
from greenroom.runtime.envelope import Question
from greenroom.runtime.testing import MemoryCommitter
from greenroom.runtime.turn import Turn, current_turn


@dataclass(frozen=True, slots=True)
class Look(Command[str]):
    name: str
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Change(Command[str]):
    name: str
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Pay(Command[str]):
    until: trio.Event


@dataclass(frozen=True, slots=True)
class AskNext(Command[object]):
    """Asks the first of the rest with what remains of it."""

    rest: tuple[tuple[str, Command[object]], ...]
    seconds: float = 100.0
    write: str = ""


@dataclass(frozen=True, slots=True)
class Note(Command[list[str]]):
    text: str


@dataclass(frozen=True, slots=True)
class WriteWhileReading(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Count(Stream[int]):
    to: int
    writes: bool = False
    fails_at: int = -1


@dataclass(frozen=True, slots=True)
class InParts(Command[str]):
    until: trio.Event


@dataclass(frozen=True, slots=True)
class Leave(Command[None]):
    """Tells another actor from a plain handler."""

    to: str
    text: str


@dataclass
class Book:
    log: list[str] = field(default_factory=list)
    yielded: int = 0
    ended: list[str] = field(default_factory=list)


class Person(Actor):
    def __init__(self, key: int | str, book: Book) -> None:
        self.key = str(key)
        self.book = book
        self.notes: list[str] = []

    @reads
    @handles(Look)
    async def look(self, command: Look) -> str:
        self.book.log.append(f"begins {command.name}")
        await command.until.wait()
        self.book.log.append(f"ends {command.name}")
        return command.name

    @handles(Change)
    async def change(self, command: Change) -> str:
        self.book.log.append(f"begins {command.name}")
        self.ctx.write(command.name)
        try:
            await command.until.wait()
        finally:
            self.book.ended.append(command.name)
        self.book.log.append(f"ends {command.name}")
        return command.name

    @shielded
    @handles(Pay)
    async def pay(self, command: Pay) -> str:
        await command.until.wait()
        self.ctx.write("paid")
        self.book.log.append("paid")
        return "paid"

    @handles(AskNext)
    async def ask_next(self, command: AskNext) -> object:
        if command.write:
            self.ctx.write(command.write)
        (key, inner), *rest = command.rest
        if isinstance(inner, AskNext) and rest:
            inner = AskNext(tuple(rest), inner.seconds, inner.write)
        return await self.ctx.ref("person", key).ask(inner, deadline=trio.current_time() + command.seconds)

    @reentrant
    @handles(Note)
    def note(self, command: Note) -> list[str]:
        self.ctx.write(command.text)
        self.notes = [*self.notes, command.text]
        return self.notes

    @reads
    @handles(WriteWhileReading)
    def write_while_reading(self, _: WriteWhileReading) -> None:
        self.ctx.write("no")

    @reads
    @handles(Count)
    async def count(self, command: Count) -> AsyncGenerator[int, None]:
        try:
            for number in range(command.to):
                if number == command.fails_at:
                    raise ValueError("counted too far")
                self.book.yielded += 1
                yield number
        finally:
            self.book.ended.append("count")

    @handles(InParts)
    async def in_parts(self, command: InParts) -> str:
        self.book.log.append("begins in parts")
        self.ctx.write("first")
        await self.ctx.flushed()
        self.ctx.write("second")
        await command.until.wait()
        return "whole"

    @handles(Leave)
    def leave(self, command: Leave) -> None:
        self.ctx.write("left")
        self.ctx.ref("person", command.to).tell(Note(command.text))


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    book: Book

    def person(self, key: str = "a") -> Ref:
        return self.system.ref("person", key)

    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    book, committer = Book(), MemoryCommitter()
    kinds = [Kind("person", lambda key: Person(key, book), ownership="create")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(kinds, committer=committer) as system:
            yield House(system, committer, book)
        nursery.cancel_scope.cancel()


def soon() -> float:
    return trio.current_time() + 50


# -- which turns overlap ----------------------------------------------------------------------------------------------


async def test_reads_overlap_and_a_change_waits_for_them_and_holds_later_reads(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        gates = {name: trio.Event() for name in ("r1", "r2", "w", "r3")}

        async def ask(command: Command[str]) -> None:
            await house.person().ask(command, deadline=soon())

        for command in (
            Look("r1", gates["r1"]),
            Look("r2", gates["r2"]),
            Change("w", gates["w"]),
            Look("r3", gates["r3"]),
        ):
            nursery.start_soon(ask, command)
            await wait_all_tasks_blocked()
        assert house.book.log == ["begins r1", "begins r2"]
        gates["r2"].set()
        await wait_all_tasks_blocked()
        assert house.book.log[2:] == ["ends r2"]
        gates["r1"].set()
        await wait_all_tasks_blocked()
        assert house.book.log[3:] == ["ends r1", "begins w"]
        for name in ("w", "r3"):
            gates[name].set()
        await wait_all_tasks_blocked()
        assert house.book.log[5:] == ["ends w", "begins r3", "ends r3"]


async def test_a_read_that_writes_is_told_so(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(ActorFailed, match="person/a: a handler that is @reads must not write"):
            await house.person().ask(WriteWhileReading(), deadline=soon())


# -- cycles -----------------------------------------------------------------------------------------------------------


async def test_a_cycle_is_told_at_once_and_names_every_hop(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        never = trio.Event()
        around = AskNext((("b", AskNext(())), ("c", AskNext(())), ("a", Change("x", never))))
        began = trio.current_time()
        with pytest.raises(ActorFailed) as failed:
            await house.person("a").ask(around, deadline=soon())
        assert trio.current_time() == began
        cause: BaseException | None = failed.value
        while cause is not None and not isinstance(cause, CallCycle):
            cause = cause.__cause__
        assert isinstance(cause, CallCycle)
        assert [(str(address), command) for address, command in cause.hops] == [
            ("person/a", "AskNext"),
            ("person/b", "AskNext"),
            ("person/c", "AskNext"),
            ("person/a", "Change"),
        ]
        assert "person/a.AskNext → person/b.AskNext → person/c.AskNext → person/a.Change" in str(cause)


async def test_an_actor_that_asks_itself_is_a_cycle(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(ActorFailed, match="would wait for"):
            await house.person().ask(AskNext((("a", Change("x", trio.Event())),)), deadline=soon())


async def test_a_reentrant_handler_runs_inside_the_turn_that_waits_for_it(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.person("a").tell(Note("before"))
        around = AskNext((("b", AskNext(())), ("a", Note("inside"))))
        assert await house.person("a").ask(around, deadline=soon()) == ["before", "inside"]
        assert house.stored() == ["before", "inside"]


async def test_an_ask_of_somebody_else_is_no_way_in(autojump_clock: MockClock) -> None:
    """Reentrant is only for who the waiting turn waits for: everybody else keeps their place in the mailbox."""
    async with open_house() as house, trio.open_nursery() as nursery:
        gate = trio.Event()
        answers: list[object] = []

        async def ask(command: Command[object]) -> None:
            answers.append(await house.person().ask(command, deadline=soon()))

        nursery.start_soon(ask, Change("w", gate))
        await wait_all_tasks_blocked()
        nursery.start_soon(ask, Note("other"))
        await wait_all_tasks_blocked()
        assert answers == []
        gate.set()
        await wait_all_tasks_blocked()
        assert house.stored() == ["w", "other"]
        assert ["other"] in answers


async def test_tasks_that_a_turn_leaves_behind_are_in_no_turn(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:

        @dataclass(frozen=True, slots=True)
        class Spawn(Command[None]):
            pass

        answers: list[object] = []

        class Spawner(Actor):
            @handles(Spawn)
            async def spawn(self, _: Spawn) -> None:
                await trio.lowlevel.checkpoint()
                nursery.start_soon(self.later, self.ctx.ref("spawner", 1))

            async def later(self, me: Ref) -> None:
                await trio.sleep(1)
                await me.ask(Spawn(), deadline=soon())
                answers.append("asked")
                nursery.cancel_scope.cancel()

        async with open_system([Kind("spawner", lambda _: Spawner())], committer=house.committer) as system:
            await system.ref("spawner", 1).ask(Spawn(), deadline=soon())
            await trio.sleep(5)
    assert answers[:1] == ["asked"]


# -- deadlines and cancellation ---------------------------------------------------------------------------------------


async def test_the_deadline_shrinks_along_the_chain(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        gate = trio.Event()
        began = trio.current_time()
        with pytest.raises(AskTimeout):
            await house.person("a").ask(AskNext((("b", Change("x", gate)),), seconds=1000), deadline=began + 3)
        await wait_all_tasks_blocked()
        assert trio.current_time() == began + 3
        assert house.book.ended == ["x"], "the turn at the end of the chain was given up too"


async def test_a_turn_that_nobody_waits_for_is_cancelled_and_its_draft_is_dropped(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with trio.move_on_after(1):
            await house.person().ask(Change("x", trio.Event()), deadline=soon())
        await wait_all_tasks_blocked()
        assert house.book.ended == ["x"]
        assert await house.person().ask(Note("y"), deadline=soon()) == ["y"]
        assert house.stored() == ["y"]


async def test_a_shielded_turn_ends_although_nobody_waits(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        gate = trio.Event()
        with pytest.raises(AskTimeout):
            await house.person().ask(Pay(gate), deadline=trio.current_time() + 1)
        assert house.book.log == []
        gate.set()
        await wait_all_tasks_blocked()
        assert house.stored() == ["paid"]


@dataclass(frozen=True, slots=True)
class PayLater(Command[None]):
    after_seconds: float
    until: trio.Event


class Cashier(Actor):
    """Everything of it is shielded."""

    def __init__(self, book: Book) -> None:
        self.book = book

    @shielded
    @handles(PayLater)
    async def pay(self, command: PayLater) -> None:
        await trio.sleep(command.after_seconds)
        answer = await self.ctx.ref("cashier", "bank").ask(Pay(command.until), deadline=soon())
        self.book.log.append(answer)

    @handles(Pay)
    async def wait(self, command: Pay) -> str:
        await command.until.wait()
        return "paid"

    @shielded
    @handles(Change)
    async def fail(self, command: Change) -> str:
        await command.until.wait()
        raise ValueError("too late")

    @shielded
    @handles(Count)
    async def count(self, command: Count) -> AsyncGenerator[int, None]:
        for number in range(command.to):
            yield number
        self.book.log.append("counted")


@asynccontextmanager
async def open_shop(events: list[str]) -> AsyncIterator[tuple[ActorSystem, Book]]:
    book = Book()
    kind = Kind("cashier", lambda _: Cashier(book))

    def note(name: str, **_: object) -> None:
        if name != "turn.slow":  # of a slow machine
            events.append(name)

    async with open_system([kind], committer=MemoryCommitter(), event=note) as system:
        yield system, book


@pytest.mark.parametrize("after_seconds", [0, 2])
async def test_what_a_shielded_turn_asks_has_a_deadline_of_its_own(
    autojump_clock: MockClock, after_seconds: float
) -> None:
    async with open_shop([]) as (system, book):
        gate = trio.Event()
        with pytest.raises(AskTimeout):
            await system.ref("cashier", "a").ask(PayLater(after_seconds, gate), deadline=trio.current_time() + 1)
        await trio.sleep(5)
        gate.set()
        await wait_all_tasks_blocked()
        assert book.log == ["paid"]


async def test_a_shielded_turn_that_fails_when_its_asker_has_given_up_is_a_failed_ask(
    autojump_clock: MockClock,
) -> None:
    events: list[str] = []
    async with open_shop(events) as (system, _):
        gate = trio.Event()
        with pytest.raises(AskTimeout):
            await system.ref("cashier", "a").ask(Change("x", gate), deadline=trio.current_time() + 1)
        gate.set()
        await wait_all_tasks_blocked()
        assert (events, system.crashes) == (["turn.failed"], 0)


async def test_a_shielded_stream_ends_when_its_deadline_passes(autojump_clock: MockClock) -> None:
    events: list[str] = []
    async with open_shop(events) as (system, _):
        async with system.ref("cashier", "a").stream(Count(1000), deadline=trio.current_time() + 1) as items:
            await trio.sleep(3)
            with pytest.raises(AskTimeout):
                assert [item async for item in items] == list(range(16))
        await wait_all_tasks_blocked()
        assert (events, system.crashes, len(system.waiting_turns)) == ([], 0, 0)


async def test_a_command_that_is_given_up_in_the_mailbox_is_never_run(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        gate = trio.Event()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: house.person().ask(Change("w", gate), deadline=soon()))
            await wait_all_tasks_blocked()
            with trio.move_on_after(1):
                await house.person().ask(Note("never"), deadline=soon())
            gate.set()
        assert house.stored() == ["w"]


# -- the gate ---------------------------------------------------------------------------------------------------------


async def test_an_ask_leaves_when_what_was_written_before_is_stored(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.person("b").tell(Note("awake"))
        await wait_all_tasks_blocked()
        house.committer.hold()
        around = AskNext((("b", Note("asked")),), write="written before")
        nursery.start_soon(lambda: house.person("a").ask(around, deadline=soon()))
        await trio.sleep(1)
        assert house.stored() == ["awake"]
        house.committer.release()
        await wait_all_tasks_blocked()
        assert house.stored() == ["awake", "written before", "asked"]


async def test_a_tell_from_a_turn_leaves_when_the_turn_is_stored(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.person("b").tell(Note("awake"))
        house.person("a").tell(Note("awake too"))
        await wait_all_tasks_blocked()
        house.committer.hold()
        house.person("a").tell(Leave("b", "after"))
        await trio.sleep(1)
        assert house.system.statistics().kinds["person"].turns == 3
        house.committer.release()
        await wait_all_tasks_blocked()
        assert house.stored()[2:] == ["left", "after"]


async def test_a_turn_stored_in_part_is_not_redone_when_the_gate_breaks(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        gate = trio.Event()

        async def ask() -> None:
            with pytest.raises(CommitUnknown, match="a part of it is stored"):
                await house.person().ask(InParts(gate), deadline=soon())

        nursery.start_soon(ask)
        await trio.sleep(1)
        assert house.stored() == ["first"]
        cell = house.system.activations[Address("person", "a")]
        cell._gate_broken(CommitOutcome.FENCED, [])
        await wait_all_tasks_blocked()
        assert house.book.log == ["begins in parts"]


# -- streams ----------------------------------------------------------------------------------------------------------


async def test_a_stream_brings_everything_in_order(autojump_clock: MockClock) -> None:
    async with open_house() as house, house.person().stream(Count(100), deadline=soon()) as items:
        assert [item async for item in items] == list(range(100))


async def test_a_stream_runs_no_further_ahead_than_its_credit(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        async with house.person().stream(Count(1000), deadline=soon()) as items:
            await trio.sleep(1)
            assert house.book.yielded == 17  # 16 wait, one is being handed over
            assert await items.__anext__() == 0
            await wait_all_tasks_blocked()
            assert house.book.yielded == 18
        await wait_all_tasks_blocked()
        assert house.book.ended == ["count"], "leaving the block ends the handler"
        assert not house.system.waiting_turns


async def test_a_stream_that_fails_or_takes_too_long_says_so_after_its_items(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        got: list[int] = []

        async def follow(command: Count, deadline: float) -> None:
            async with house.person().stream(command, deadline=deadline) as items:
                async for item in items:
                    got.append(item)
                    await trio.sleep(0.5)

        with pytest.raises(ActorFailed, match="counted too far"):
            await follow(Count(5, fails_at=3), soon())
        assert got == [0, 1, 2]
        with pytest.raises(AskTimeout):
            await follow(Count(1000), trio.current_time() + 1)


async def test_asking_a_stream_and_following_an_answer_are_told_apart(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        with pytest.raises(WrongKindOfAnswer, match="yields many answers"):
            await house.person().ask(Count(1), deadline=soon())  # type: ignore[arg-type]
        async with house.person().stream(Note("x"), deadline=soon()) as items:  # type: ignore[arg-type]
            with pytest.raises(WrongKindOfAnswer, match="answers once"):
                await items.__anext__()


# -- bad classes ------------------------------------------------------------------------------------------------------


def test_what_cannot_work_is_refused_when_the_class_is_made() -> None:
    with pytest.raises(TypeError, match="handles Note twice"):

        class Twice(Actor):
            @handles(Note)
            def one(self, _: Note) -> None: ...

            @handles(Note)
            def two(self, _: Note) -> None: ...

    with pytest.raises(TypeError, match="marked and handles nothing"):

        class Marked(Actor):
            @reads
            def look(self, _: Note) -> None: ...

    with pytest.raises(TypeError, match="stopping is plain def"):

        class Waits(Actor):
            async def stopping(self, reason: object) -> None: ...  # type: ignore[override]

    with pytest.raises(ValueError, match="batch is a number from 1"):
        handles(Note, batch=-1)


async def test_the_end_of_the_system_ends_waiting_turns_and_tells_who_waits() -> None:
    told: list[str] = []
    async with trio.open_nursery() as nursery:
        committer = MemoryCommitter()
        nursery.start_soon(committer.run)
        book = Book()
        kinds = [Kind("person", lambda key: Person(key, book), ownership="create")]
        async with open_system(kinds, committer=committer, stop_seconds_max=0.1) as system:

            async def ask() -> None:
                try:
                    await system.ref("person", "a").ask(Change("x", trio.Event()), deadline=soon())
                except ActorGone as gone:
                    told.append(gone.reason)

            nursery.start_soon(ask)
            await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert told == ["deadline"]


@dataclass(frozen=True, slots=True)
class TellMany(Command[int]):
    """Answered with how many lists of effects the turn has had."""

    count: int


@dataclass(frozen=True, slots=True)
class TellManySlowly(TellMany):
    """As that, in a turn that waits."""


@dataclass(frozen=True, slots=True)
class TellWhileStoring(Command[None]):
    """The effect of one part of the turn tells more, while the turn goes on."""


class Teller(Actor):
    heard: list[str]

    def __init__(self, heard: list[str]) -> None:
        self.heard = heard

    @handles(TellMany)
    def tell_many(self, command: TellMany) -> int:
        return self._tell(command.count, self.ctx)

    @handles(TellManySlowly)
    async def tell_many_slowly(self, command: TellManySlowly) -> int:
        await trio.lowlevel.checkpoint()
        turn = current_turn()
        assert turn is not None
        return self._tell(command.count, turn)

    def _tell(self, count: int, draft: Context | Turn) -> int:
        lists: dict[int, object] = {}  # kept, so that an id stays that of one list
        for number in range(count):
            self.ctx.ref("teller", "other").tell(Note(str(number)))
            lists[id(draft.effects)] = draft.effects
        return len(lists)

    @handles(TellWhileStoring)
    async def tell_while_storing(self, _: TellWhileStoring) -> None:
        other = self.ctx.ref("teller", "other")
        other.tell(Note("first"))
        self.ctx.after_commit(lambda: other.tell(Note("by an effect")))
        await self.ctx.flushed()
        other.tell(Note("last"))

    @handles(Note)
    def note(self, command: Note) -> list[str]:
        self.heard.append(command.text)
        return []


@pytest.mark.parametrize("command", [TellMany(500), TellManySlowly(500)])
async def test_what_a_turn_tells_is_put_into_one_list_however_much_it_is(command: TellMany) -> None:
    heard: list[str] = []
    async with open_system([Kind("teller", lambda _: Teller(heard))], committer=MemoryCommitter()) as system:
        assert await system.ref("teller", 1).ask(command, deadline=soon()) == 1
        await wait_all_tasks_blocked()
    assert heard == [str(number) for number in range(500)]


async def test_what_an_effect_tells_while_its_turn_goes_on_is_told_once() -> None:
    heard: list[str] = []
    async with open_system([Kind("teller", lambda _: Teller(heard))], committer=MemoryCommitter()) as system:
        await system.ref("teller", 1).ask(TellWhileStoring(), deadline=soon())
        await wait_all_tasks_blocked()
    assert sorted(heard) == ["by an effect", "first", "last"]


# -- the activation ends while turns wait ------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Break(Command[None]):
    """Fail, after having written something or not."""

    write: str = ""


@dataclass(frozen=True, slots=True)
class AskOneself(Command[str]):
    """Ask for what fails, and live with it."""

    write: str = ""


class Fragile(Actor):
    """Any failure restarts it. It notes when turns of it begin, and when they end in an actor that is over."""

    def __init__(self, book: Book) -> None:
        self.book = book

    @reads
    @handles(Look)
    async def look(self, command: Look) -> str:
        self.book.log.append(f"begins {command.name}")
        await command.until.wait()
        self.book.log.append(f"ends {command.name}" + ", as a ghost" * self.ctx.is_over)
        return command.name

    @reads
    @handles(WriteWhileReading)
    def fail(self, _: WriteWhileReading) -> None:
        raise ValueError("a bug")

    @reentrant
    @handles(Break)
    def fail_inside(self, command: Break) -> None:
        if command.write:
            self.ctx.write(command.write)
        raise ValueError("a bug")

    @handles(AskOneself)
    async def ask_oneself(self, command: AskOneself) -> str:
        self.book.log.append("begins")
        with suppress(ActorFailed):
            await self.ctx.ref("fragile", 1).ask(Break(command.write), deadline=soon())
        await trio.lowlevel.checkpoint()
        self.book.log.append("goes on")
        return "lives"


@asynccontextmanager
async def open_fragile(directive: Directive) -> AsyncIterator[tuple[ActorSystem, Book]]:
    book, committer = Book(), MemoryCommitter()
    policy = RestartPolicy(on_error={ValueError: directive})
    kind = Kind("fragile", lambda _: Fragile(book), ownership="create", restart=policy)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([kind], committer=committer) as system:
            yield system, book
        nursery.cancel_scope.cancel()


async def test_a_crash_ends_the_turns_beside_it_and_they_begin_again_in_the_next_activation(
    autojump_clock: MockClock,
) -> None:
    async with open_fragile(Directive.RESTART) as (system, book), trio.open_nursery() as nursery:
        fragile, gate, answers = system.ref("fragile", 1), trio.Event(), list[str]()

        async def ask() -> None:
            answers.append(await fragile.ask(Look("r", gate), deadline=soon()))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        fragile.tell(WriteWhileReading())
        await trio.sleep(1)
        assert len(system.waiting_turns) == 1
        gate.set()
        await wait_all_tasks_blocked()
        assert book.log == ["begins r", "begins r", "ends r"]
        assert (answers, system.crashes) == (["r"], 1)


@pytest.mark.parametrize(
    ("directive", "write", "crashes"), [(Directive.RESTART, "", 1), (Directive.STOP, "", 0), (Directive.RESUME, "w", 0)]
)
async def test_a_turn_whose_own_ask_ended_its_activation_is_told_and_not_begun_again(
    autojump_clock: MockClock, directive: Directive, write: str, crashes: int
) -> None:
    async with open_fragile(directive) as (system, book):
        with pytest.raises(ActorGone, match="what AskOneself asked for failed and ended its own activation"):
            await system.ref("fragile", 1).ask(AskOneself(write), deadline=soon())
        await trio.sleep(10)
        assert (book.log, system.crashes) == (["begins"], crashes)


async def test_a_failure_that_ends_nothing_leaves_the_turn_around_it(autojump_clock: MockClock) -> None:
    async with open_fragile(Directive.RESUME) as (system, book):
        assert await system.ref("fragile", 1).ask(AskOneself(), deadline=soon()) == "lives"
        assert book.log == ["begins", "goes on"]


async def test_what_would_run_inside_a_turn_is_told_when_the_activation_ends_before(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        heard: list[object] = []

        async def ask() -> None:
            with pytest.raises(ActorGone):
                await house.person().ask(Change("waits", trio.Event()), deadline=soon())

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        cell = house.system.activations[house.person().address]
        cell.nest(Question(cell.address, Note("inside"), lambda _, error: heard.append(error)))
        assert house.system.kill(house.person())
        await wait_all_tasks_blocked()
        assert [str(error) for error in heard] == ["person/a stopped before it answered: killed"]
