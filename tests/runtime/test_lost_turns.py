"""Turns whose writes were not stored: which are decided again, how often, and when storage is held to be away."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorError,
    ActorFailed,
    ActorGone,
    ActorSystem,
    Command,
    CommitOutcome,
    CommitUnknown,
    Kind,
    StorageUnavailable,
    Stream,
    handles,
    open_system,
)
from greenroom.runtime.endings import hold, release
from greenroom.runtime.lost_turns import REDO_ATTEMPTS_MAX
from greenroom.runtime.testing import CommitFault, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Note(Command[int]):
    text: str


@dataclass(frozen=True, slots=True)
class Counted(Stream[int]):
    """Items 0, 1, 2 a second apart, and a note at the end."""


@dataclass(frozen=True, slots=True)
class NoteSlowly(Command[int]):
    text: str


@dataclass(frozen=True, slots=True)
class NoteInParts(Command[int]):
    """Each of *texts* is stored before the next one is written."""

    texts: tuple[str, ...]


class Notes(Actor):
    def __init__(self, redos: list[bool]) -> None:
        self.redos, self.count = redos, 0

    @handles(Note)
    def note(self, command: Note) -> int:
        self.redos.append(self.ctx.is_redo)
        self.ctx.write(command.text)
        self.count += 1
        return self.count

    @handles(NoteSlowly)
    async def note_slowly(self, command: NoteSlowly) -> int:
        await trio.sleep(1)
        return self.note(Note(command.text))

    @handles(NoteInParts)
    async def note_in_parts(self, command: NoteInParts) -> int:
        for text in command.texts:
            self.note(Note(text))
            await self.ctx.flushed()
        return self.count

    @handles(Counted)
    async def counted(self, _: Counted) -> AsyncIterator[int]:
        self.redos.append(self.ctx.is_redo)
        for item in range(3):
            await trio.sleep(1)
            yield item
        self.ctx.write("counted")


@dataclass
class House:
    """redos: of each turn, whether it said that it is decided again."""

    committer: MemoryCommitter = field(default_factory=MemoryCommitter)
    redos: list[bool] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    system: ActorSystem = field(init=False)

    async def note(self, text: str) -> int:
        return await self.system.ref("notes", 1).ask(Note(text), deadline=trio.current_time() + 50)

    async def note_in_parts(self, *texts: str) -> int:
        return await self.system.ref("notes", 1).ask(NoteInParts(texts), deadline=trio.current_time() + 50)

    async def restart(self) -> None:
        """As the supervisor of the notes, when another that it supervises has crashed."""
        cell = self.system.activation(self.system.ref("notes", 1).address)
        await hold(cell).wait()
        release(cell)

    async def follow(self, received: list[int]) -> None:
        async with self.system.ref("notes", 1).stream(Counted(), deadline=trio.current_time() + 50) as items:
            async for item in items:
                received.append(item)

    @property
    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    house = House()
    kind = Kind("notes", lambda _: Notes(house.redos), ownership="create")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.committer.run)
        async with open_system(
            [kind], committer=house.committer, event=lambda name, **_: house.events.append(name)
        ) as house.system:
            yield house
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("fault", [CommitFault.DUPLICATE, CommitFault.FENCED])
async def test_a_turn_that_is_decided_again_is_told_so_and_the_next_one_is_not(
    autojump_clock: MockClock, fault: CommitFault
) -> None:
    async with open_house() as house:
        house.committer.fail_unit(1, fault)
        assert await house.note("a") == 1
        assert await house.note("b") == 2
        assert house.redos == [False, True, False]
        assert house.stored == ["a", "b"]


async def test_a_turn_is_decided_again_so_often_and_no_oftener(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.fault = lambda _: CommitOutcome.DUPLICATE
        with pytest.raises(CommitUnknown, match="notes/1 could not store Note"):
            await house.note("a")
        assert house.redos == [False] + [True] * REDO_ATTEMPTS_MAX
        house.redos.clear()
        for number in range(REDO_ATTEMPTS_MAX):
            house.committer.fail_unit(number + 1, CommitFault.DUPLICATE)
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        assert await house.note("b") == 1
        assert len(house.redos) == 1 + REDO_ATTEMPTS_MAX


async def test_a_turn_that_others_end_with_them_is_decided_again_as_often_as_that_happens(
    autojump_clock: MockClock,
) -> None:
    answers: list[object] = []
    async with open_house() as house:
        for number in range(REDO_ATTEMPTS_MAX):
            house.committer.fail_unit(number + 1, CommitFault.DUPLICATE)
        asked = NoteSlowly("a"), lambda value, error: answers.append(value or error)
        house.system.ref("notes", 1).request(*asked, deadline=trio.current_time() + 99)
        for _ in range(REDO_ATTEMPTS_MAX + 2):
            await trio.sleep(0.5)
            await house.restart()
        await trio.sleep(REDO_ATTEMPTS_MAX + 2)
        assert answers == [1], "what storage lost, and no more, was within the bound"
        assert house.redos == [True] * (REDO_ATTEMPTS_MAX + 1)
        assert house.stored == ["a"]


@pytest.mark.parametrize("fault", [CommitFault.DUPLICATE, CommitFault.FENCED])
async def test_a_turn_whose_first_part_is_certainly_not_stored_is_decided_again(
    autojump_clock: MockClock, fault: CommitFault
) -> None:
    async with open_house() as house:
        house.committer.fail_unit(1, fault)
        assert await house.note_in_parts("a", "b") == 2
        assert house.redos == [False, True, True]
        assert house.stored == ["a", "b"]


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        (CommitFault.REFUSED, ActorFailed, "storage refuses a value of NoteInParts; nothing was stored"),
        (CommitFault.UNAVAILABLE, StorageUnavailable, "NoteInParts was not stored, send it again"),
        (CommitFault.UNKNOWN_LOST, CommitUnknown, "storage went away while NoteInParts was being stored"),
    ],
)
async def test_who_asked_a_turn_whose_first_part_is_lost_is_told_what_is_known(
    autojump_clock: MockClock, fault: CommitFault, error: type[Exception], words: str
) -> None:
    async with open_house() as house:
        house.committer.fail_unit(1, fault)
        with pytest.raises(error, match=words):
            await house.note_in_parts("a", "b")
        assert (house.redos, house.stored) == ([False], [])


@pytest.mark.parametrize("fault", list(CommitFault))
async def test_a_turn_whose_second_part_is_lost_is_not_decided_again(
    autojump_clock: MockClock, fault: CommitFault
) -> None:
    async with open_house() as house:
        house.committer.fail_unit(2, fault)
        with pytest.raises(CommitUnknown, match="lost storage in the middle of NoteInParts: a part of it is stored"):
            await house.note_in_parts("a", "b")
        assert house.redos == [False, False]
        assert house.stored == (["a", "b"] if fault.is_stored else ["a"])


async def test_a_turn_that_is_ended_while_a_part_is_on_its_way_is_not_decided_again(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        await house.note("before")
        house.committer.hold()

        async def restart() -> None:
            await trio.sleep(1)
            await house.restart()

        nursery.start_soon(restart)
        with pytest.raises(
            CommitUnknown, match=r"\(its supervisor restarts it\): a part of it is on its way to storage"
        ):
            await house.note_in_parts("a", "b")
        assert house.stored == ["before"]
        house.committer.release()
        await wait_all_tasks_blocked()
        assert (house.redos, house.stored) == ([False, False], ["before", "a"])


@pytest.mark.parametrize("fault", list(CommitFault))
async def test_nothing_is_loaded_before_storage_is_found_if_that_may_be_away(
    autojump_clock: MockClock, fault: CommitFault
) -> None:
    is_away = fault.outcome in (CommitOutcome.UNAVAILABLE, CommitOutcome.UNKNOWN)
    async with open_house() as house:
        house.committer.fail_unit(1, fault)
        try:
            await house.note("a")
        except ActorError:
            await wait_all_tasks_blocked()
        assert house.system.storage.is_away is is_away
        await house.note("b")
        assert (house.events.count("storage.lost"), house.events.count("storage.found")) == (is_away, is_away)


@pytest.mark.parametrize(("held_after", "items"), [(0.5, [0, 1, 2]), (2.5, [0, 1])])
async def test_a_stream_is_begun_again_until_it_has_handed_over_an_item(
    autojump_clock: MockClock, held_after: float, items: list[int]
) -> None:
    async with open_house() as house:
        received: list[int] = []

        async def restart() -> None:
            await trio.sleep(held_after)
            await house.restart()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart)
            if held_after < 1:
                await house.follow(received)
            else:
                with pytest.raises(ActorGone, match="Counted broke off after it had handed over items: follow it"):
                    await house.follow(received)
        assert received == items
        assert house.redos == ([False, True] if held_after < 1 else [False])


async def test_a_stream_whose_end_is_not_stored_is_not_begun_again_either(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        received: list[int] = []
        house.committer.fail_unit(1, CommitFault.DUPLICATE)
        with pytest.raises(ActorGone, match="Counted broke off"):
            await house.follow(received)
        assert (received, house.redos, house.stored) == ([0, 1, 2], [False], [])
