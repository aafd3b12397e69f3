"""The gate: what need not be confirmed, and what may be on its way to storage at a time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorSystem,
    AskTimeout,
    Command,
    CommitOutcome,
    CommitUnknown,
    Kind,
    MailboxFull,
    handles,
    open_system,
)
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Note(Command[str]):
    text: str
    unconfirmed: bool = False
    then: str | None = None  # a second write, confirmed


@dataclass(frozen=True, slots=True)
class Look(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Flush(Command[str]):
    text: str


@dataclass(frozen=True, slots=True)
class DoAtOnce(Command[None]):
    what: Callable[[Any], None]


@dataclass(frozen=True, slots=True)
class Do(Command[object]):
    """Call `what` in a turn, and await what it gives back."""

    what: Callable[[Any], Awaitable[object] | None]


class Notes(Actor):
    """It keeps what it is told."""

    def __init__(self) -> None:
        self.count = 0

    @handles(Note)
    def note(self, command: Note) -> str:
        self.ctx.write(command.text, unconfirmed=command.unconfirmed)
        if command.then is not None:
            self.ctx.write(command.then)
        self.count += 1
        return f"noted {command.text[:8]}"

    @handles(Look)
    def look(self, _: Look) -> int:
        return self.count

    @handles(Flush)
    async def flush(self, command: Flush) -> str:
        self.ctx.write(command.text, unconfirmed=True)
        await self.ctx.flushed()
        return "flushed"

    @handles(Do)
    async def do(self, command: Do) -> object:
        given = command.what(self)
        return given if given is None else await given

    @handles(DoAtOnce)
    def do_at_once(self, command: DoAtOnce) -> None:
        command.what(self)


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter

    def __post_init__(self) -> None:
        self.answers: list[object] = []

    async def ask(self, command: Command[Any], key: int = 1) -> None:
        try:
            answer = await self.system.ref("notes", key).ask(command, deadline=trio.current_time() + 50)
        except Exception as error:
            answer = error
        self.answers.append(answer)

    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]


@asynccontextmanager
async def open_house(pending_bytes_max: int = 2**20, **limits: Any) -> AsyncIterator[House]:
    committer = MemoryCommitter()
    kind = Kind("notes", lambda _: Notes(), ownership="create", **limits)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([kind], committer=committer, pending_bytes_max=pending_bytes_max) as system:
            house = House(system, committer)
            await house.ask(Look())
            house.answers.clear()
            yield house
        nursery.cancel_scope.cancel()


# -- unconfirmed ------------------------------------------------------------------------------------------------------


async def test_an_unconfirmed_write_is_stored_and_nobody_waits_for_it(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        await house.ask(Note("seen", unconfirmed=True))
        await house.ask(Look())
        assert house.answers == ["noted seen", 1]
        assert house.stored() == []
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert house.stored() == ["seen"]


@pytest.mark.parametrize("first", ["unconfirmed", "confirmed"])
async def test_a_turn_that_writes_something_else_too_waits_for_all(autojump_clock: MockClock, first: str) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.committer.hold()
        nursery.start_soon(house.ask, Note("a", unconfirmed=first == "unconfirmed", then="b"))
        await wait_all_tasks_blocked(0.01)
        assert house.answers == []
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert house.answers == ["noted a"]
        assert house.stored() == ["a", "b"]


async def test_what_follows_an_unconfirmed_write_waits_for_the_confirmed_one_before_it(
    autojump_clock: MockClock,
) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.committer.hold()
        for command in (Note("sure"), Note("maybe", unconfirmed=True), Look()):
            nursery.start_soon(house.ask, command)
            await wait_all_tasks_blocked(0.01)
        assert house.answers == []
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert set(house.answers) == {"noted sure", "noted maybe", 2}


async def test_an_unconfirmed_write_that_is_lost_breaks_the_gate_all_the_same(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.committer.hold()
        await house.ask(Note("maybe", unconfirmed=True))
        nursery.start_soon(house.ask, Note("on top"))
        await wait_all_tasks_blocked(0.01)
        house.committer.fault = lambda _: CommitOutcome.UNKNOWN
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        await house.ask(Look())
        told, lost, count = house.answers
        assert told == "noted maybe"
        assert isinstance(lost, CommitUnknown)
        assert count == 0, "its memory was ahead of storage and is gone"


async def test_flushed_waits_for_unconfirmed_writes_too(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.committer.hold()
        nursery.start_soon(house.ask, Flush("x"))
        await wait_all_tasks_blocked(0.01)
        assert house.answers == []
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert house.answers == ["flushed"]
        assert house.stored() == ["x"]


async def test_flushed_waits_for_what_its_own_turn_wrote_behind_what_is_on_its_way(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.committer.commit_seconds = 1
        for command in (Note("first"), Flush("own")):
            nursery.start_soon(house.ask, command)
            await trio.sleep(0.6)
        assert (house.stored(), house.answers) == (["first"], ["noted first"])
        await trio.sleep(1)
        assert (house.stored(), house.answers) == (["first", "own"], ["noted first", "flushed"])


async def test_a_reply_that_comes_after_its_deadline_is_counted_and_dropped(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.hold()
        await house.ask(Note("slow"))
        assert isinstance(house.answers[0], AskTimeout)
        assert house.system.statistics().late_replies == 0
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert house.system.statistics().late_replies == 1
        await house.ask(Look())
        assert house.answers[1:] == [1]


# -- what waits, and for what ------------------------------------------------------------------------------------------


async def test_who_has_seen_what_is_on_its_way_waits_for_the_newest_of_it(autojump_clock: MockClock) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        house.committer.commit_seconds = 1
        for command in (Note("first"), Note("second"), Look()):
            nursery.start_soon(house.ask, command)
            await trio.sleep(0.6)
        assert (house.stored(), house.answers) == (["first"], ["noted first"])
        await trio.sleep(1)
        assert house.stored() == ["first", "second"]
        assert set(house.answers[1:]) == {"noted second", 2}, "both left at once"


async def test_an_effect_that_raises_keeps_back_none_of_those_behind_it(autojump_clock: MockClock) -> None:
    done: list[str] = []

    def fails() -> None:
        done.append("fails")
        raise ValueError("a bug")

    def write(actor: Notes) -> None:
        actor.ctx.write("x")
        actor.ctx.after_commit(fails)
        actor.ctx.after_commit(lambda: done.append("goes on"))

    async with open_house() as house:
        await house.ask(DoAtOnce(write))
        assert (done, house.answers) == (["fails", "goes on"], [None])


# -- bounds -----------------------------------------------------------------------------------------------------------


async def test_an_actor_that_has_written_as_much_as_it_may_takes_no_turn_until_storage_took_some(
    autojump_clock: MockClock,
) -> None:
    async with open_house(pending_bytes_max=10**9, mailbox_envelopes_max=2) as house, trio.open_nursery() as nursery:
        notes = house.system.ref("notes", 1)
        cell = house.system.activations[notes.address]
        house.committer.hold()
        size = cell.kind.pending_bytes_max // 2
        for _ in range(2):
            nursery.start_soon(house.ask, Note("x" * size))
            await wait_all_tasks_blocked(0.01)
        nursery.start_soon(house.ask, Look())
        await wait_all_tasks_blocked(0.01)
        notes.tell(Note("y"))
        with pytest.raises(MailboxFull):
            notes.tell(Note("z"))
        assert cell.turns == 3, "the first Look and the two notes"
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert sorted(map(str, house.answers)) == ["2", "noted xxxxxxxx", "noted xxxxxxxx"]
        await house.ask(Look())
        assert house.answers[-1] == 3
        assert house.system.pending.bytes == 0


async def test_with_too_much_of_all_on_its_way_those_that_write_wait_and_those_that_only_read_do_not(
    autojump_clock: MockClock,
) -> None:
    async with open_house(pending_bytes_max=1000) as house, trio.open_nursery() as nursery:
        await house.ask(Look(), key=2)
        await house.ask(Look(), key=3)
        house.answers.clear()
        house.committer.hold()
        nursery.start_soon(house.ask, Note("a" * 600), 1)
        nursery.start_soon(house.ask, Note("b" * 600), 2)
        await wait_all_tasks_blocked(0.01)
        house.system.ref("notes", 2).tell(Note("c"))  # 1 or 2 crossed the bound: both write, one of them waits
        house.system.ref("notes", 1).tell(Note("c"))
        await wait_all_tasks_blocked(0.01)
        turns = [cell.turns for cell in house.system.activations.values()]
        assert sorted(turns) == [1, 2, 3] or sorted(turns) == [1, 2, 2], turns
        await house.ask(Look(), key=3)
        assert house.answers == [0], "it has nothing pending and is answered"
        house.committer.release()
        await wait_all_tasks_blocked(0.01)
        assert len(house.stored()) == 4
        assert house.system.pending.bytes == 0


async def test_what_a_broken_gate_had_pending_is_not_counted_any_more(autojump_clock: MockClock) -> None:
    async with open_house() as house:
        house.committer.fault = lambda _: CommitOutcome.REFUSED
        await house.ask(Note("x" * 100))
        await house.ask(Note("x" * 100))
        assert house.system.pending.bytes == 0


# -- what would leave too early ---------------------------------------------------------------------------------------


def request(actor: Notes) -> None:
    actor.ctx.write("first")
    actor.ctx.ref("notes", 2).request(Look(), lambda value, error: None, deadline=trio.current_time() + 5)


def offer(actor: Notes) -> Awaitable[None]:
    actor.ctx.write("first")
    return actor.ctx.ref("notes", 2).offer(Look())


@pytest.mark.parametrize(
    ("command", "what"), [(DoAtOnce(request), "a request"), (Do(request), "a request"), (Do(offer), "an offer")]
)
async def test_what_only_edges_may_do_is_refused_in_a_turn(
    autojump_clock: MockClock, command: Command[Any], what: str
) -> None:
    async with open_house() as house:
        await house.ask(command)
        assert f"{what} to notes/2 in a turn: it would leave before what the turn has written" in str(house.answers[0])
        assert (house.stored(), house.system.statistics().kinds["notes"].turns) == ([], 2)


async def test_an_effect_is_in_no_turn_although_its_own_goes_on(autojump_clock: MockClock) -> None:
    heard: list[object] = []

    async def let_out_a_part(actor: Notes) -> str:
        ref, deadline = actor.ctx.ref("notes", 2), trio.current_time() + 5
        actor.ctx.after_commit(lambda: ref.request(Look(), lambda value, _: heard.append(value), deadline=deadline))
        await actor.ctx.flushed()
        await trio.sleep(1)
        return f"heard {heard}"

    async with open_house() as house:
        await house.ask(Do(let_out_a_part))
        assert house.answers == ["heard [0]"]


@pytest.mark.parametrize("late", ["write", "tell", "after_commit"])
async def test_what_is_done_outside_of_turns_is_smuggled_into_none(autojump_clock: MockClock, late: str) -> None:
    async with open_house() as house, trio.open_nursery() as nursery:
        errors: list[str] = []

        def do_late(actor: Notes) -> None:
            try:
                if late == "write":
                    actor.ctx.write("smuggled")
                elif late == "tell":
                    actor.ctx.tell(actor.ctx.ref("notes", 2), Note("smuggled"))
                else:
                    actor.ctx.after_commit(lambda: errors.append("smuggled"))
            except RuntimeError as error:
                errors.append(str(error))

        async def leave_a_task_behind(actor: Notes) -> None:
            async def later() -> None:
                await trio.sleep(1)
                do_late(actor)

            await trio.lowlevel.checkpoint()
            nursery.start_soon(later)

        await house.ask(DoAtOnce(lambda actor: actor.ctx.after_commit(lambda: do_late(actor))))
        await house.ask(Do(leave_a_task_behind))
        await trio.sleep(2)
        await house.ask(Note("another turn"))
        assert len(errors) == 2
        assert all("notes/1: no turn of it runs here, in an effect or a task" in error for error in errors)
        assert house.stored() == ["another turn"]
