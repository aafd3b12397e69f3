"""Between two activations: the next one begins after the last code of the one before, with everybody in his order."""

from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorGone,
    ActorSystem,
    Address,
    Command,
    CommitUnknown,
    Inspection,
    Kind,
    RestartPolicy,
    Service,
    Strategy,
    Supervisor,
    handles,
    open_system,
    reads,
)
from greenroom.runtime.endings import hold, release
from greenroom.runtime.testing import MemoryCommitter
from greenroom.runtime.unfinished import Unfinished


@dataclass(frozen=True, slots=True)
class Write(Command[None]):
    number: int


@dataclass(frozen=True, slots=True)
class Wait(Command[None]):
    """Waits, and when it is cancelled it cleans up behind a shield."""

    number: int
    clean_up_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Read(Command[None]):
    number: int


@dataclass(frozen=True, slots=True)
class Aside(Command[None]):
    """It is put aside until the desk is open."""

    number: int


@dataclass(frozen=True, slots=True)
class Break(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class TellAll(Command[str]):
    """Writes, flushes if it is told so, waits; and cleans up with a tell and an ask."""

    flushes: bool = False


@dataclass(frozen=True, slots=True)
class Note(Command[None]):
    text: str


@dataclass(frozen=True, slots=True)
class FlushBehindAShield(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class AskBehindAShield(Command[None]):
    pass


@dataclass
class Desk:
    is_open: bool = False
    activations: int = 0
    running: set[int] = field(default_factory=set)  # activations with code under way
    begun: list[int] = field(default_factory=list)
    log: list[str] = field(default_factory=list)


class Clerk(Actor):
    def __init__(self, desk: Desk) -> None:
        self.desk = desk
        desk.activations += 1
        self.number = desk.activations

    async def start(self) -> None:
        assert not self.desk.running, "the one before has ended"
        await trio.lowlevel.checkpoint()

    @handles(Write)
    def write(self, command: Write) -> None:
        self.desk.begun.append(command.number)
        self.ctx.write(command.number)

    @handles(Wait)
    async def wait(self, command: Wait) -> None:
        self.desk.begun.append(command.number)
        self.desk.running.add(self.number)
        try:
            await trio.sleep(1)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(command.clean_up_seconds)
            self.desk.running.discard(self.number)
        self.ctx.write(command.number)

    @reads
    @handles(Read)
    def read(self, command: Read) -> Awaitable[None]:
        self.desk.begun.append(command.number)  # here, because tasks that begin together do so in any order
        return self.sleep(0.5 + command.number % 2)

    async def sleep(self, seconds: float) -> None:
        await trio.sleep(seconds)

    @handles(Aside)
    def aside(self, command: Aside) -> None:
        if self.desk.is_open:
            self.desk.begun.append(command.number)
        else:
            self.ctx.stash()

    @handles(TellAll)
    async def tell_all(self, command: TellAll) -> str:
        self.ctx.write("a part")
        if command.flushes:
            await self.ctx.flushed()
        try:
            await trio.sleep(2)
        finally:
            with trio.CancelScope(shield=True):
                await trio.sleep(0.5)
                board = self.ctx.ref("board", 1)
                board.tell(Note(f"told by {self.number}"))
                try:
                    await board.ask(Note(f"asked by {self.number}"), deadline=trio.current_time() + 1)
                except ActorGone as gone:
                    self.desk.log.append(f"refused: {gone.reason.split('.')[0]}")
        return "done"

    @handles(FlushBehindAShield)
    async def flush_behind_a_shield(self, _: FlushBehindAShield) -> None:
        self.ctx.write("x")
        with trio.CancelScope(shield=True):
            try:
                await self.ctx.flushed()
            except ActorGone:
                self.desk.log.append("the flush ended")

    @handles(AskBehindAShield)
    async def ask_behind_a_shield(self, _: AskBehindAShield) -> None:
        with trio.CancelScope(shield=True):
            await self.ctx.ref("board", 1).ask(Note(f"asked by {self.number}"), deadline=trio.current_time() + 9)


class Partner(Actor):
    @handles(Break)
    def fail(self, _: Break) -> None:
        raise ValueError("planned")


class Board(Actor):
    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    @handles(Note)
    def note(self, command: Note) -> None:
        self.desk.log.append(command.text)


CLERK = Address("clerk", "main")


@asynccontextmanager
async def open_office(desk: Desk, **limits: Any) -> AsyncIterator[tuple[ActorSystem, MemoryCommitter]]:
    committer = MemoryCommitter()
    clerk = Kind("clerk", lambda _: Clerk(desk), ownership="create", **limits)
    together = [Service(clerk), Service(Kind("partner", lambda _: Partner()))]
    tree = Supervisor(
        "root",
        [Supervisor("office", together, strategy=Strategy.ONE_FOR_ALL), Kind("board", lambda _: Board(desk))],
    )
    async with trio.open_nursery() as outside:
        outside.start_soon(committer.run)
        async with open_system(tree, committer=committer) as system:
            yield system, committer
        outside.cancel_scope.cancel()


COMMANDS = st.sampled_from(
    [Write, Write, Read, Aside, lambda number: Wait(number), lambda number: Wait(number, clean_up_seconds=3.0)]
)


def order_of_the_last_tries(makers: list[Any], fault: str) -> list[int]:
    """Tell a clerk one command of each of *makers*, break what is under way, and say in which order all ended up."""
    desk = Desk()

    async def main() -> None:
        async with open_office(desk) as (system, committer):
            clerk = system.service("clerk")
            await clerk.ask(Write(-1), deadline=trio.current_time() + 5)
            committer.hold()
            for number, make in enumerate(makers):
                clerk.tell(make(number))
            await wait_all_tasks_blocked()
            desk.is_open = True
            if fault == "fenced":
                committer.claim_elsewhere(CLERK)
            elif fault == "partner":
                system.service("partner").tell(Break())
                await wait_all_tasks_blocked()
            else:
                held = hold(system.activation(CLERK))
            committer.release()
            if fault == "held":
                await held.wait()
                release(system.activation(CLERK))
                system.activation(CLERK).wake()
            await trio.sleep(60)
            assert dict(system.dead_letters.counts) == ({"crashed": 1} if fault == "partner" else {})

    trio.run(main, clock=MockClock(autojump_threshold=0))
    last = {number: place for place, number in enumerate(desk.begun)}
    return sorted(last, key=last.__getitem__)


@settings(max_examples=80, deadline=None)
@given(makers=st.lists(COMMANDS, min_size=2, max_size=7), fault=st.sampled_from(["fenced", "held", "partner"]))
def test_commands_of_one_sender_keep_their_order_whatever_becomes_of_their_turns(makers: Any, fault: str) -> None:
    makers = [Write, *makers]  # so that something is pending that the fault can break
    in_order = order_of_the_last_tries(makers, fault)
    assert sorted(in_order) == list(range(-1, len(makers)))
    asides = {number for number, make in enumerate(makers) if make is Aside}
    if fault == "fenced":  # everything is decided again; else what was stored came before what was put aside
        assert in_order == sorted(in_order)
    for some in (asides, set(in_order) - asides):
        assert [number for number in in_order if number in some] == sorted(some)


def test_an_order_in_which_turns_were_lost_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    makers = [Write, Aside, Write, Read, Wait]
    assert order_of_the_last_tries(makers, "fenced") == [-1, 0, 1, 2, 3, 4]
    as_lost = property(lambda unfinished: [envelope for _, envelope in unfinished._again])
    monkeypatch.setattr(Unfinished, "envelopes", as_lost)
    assert order_of_the_last_tries(makers, "fenced") != [-1, 0, 1, 2, 3, 4]


async def test_the_next_activation_begins_when_the_last_code_of_the_one_before_has_ended(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    async with open_office(desk) as (system, _):
        clerk = system.service("clerk")
        for command in (Wait(1, clean_up_seconds=50), Wait(2), Wait(3)):
            clerk.tell(command)
        await trio.sleep(0.5)
        system.service("partner").tell(Break())
        await trio.sleep(40)
        assert (desk.activations, desk.begun, desk.running) == (1, [1], {1})
        (node,) = (await Inspection(system).actors("clerk")).actors
        assert (node.phase, node.depth, node.turns_waiting) == ("loading", 2, 1)
        assert node.turn_seconds == pytest.approx(40.5)
        await trio.sleep(200)
    assert (desk.activations, desk.begun) == (2, [1, 1, 2, 3])


async def test_a_cell_whose_turn_still_cleans_up_is_not_forgotten(autojump_clock: MockClock) -> None:
    desk, committer = Desk(), MemoryCommitter()
    kind = Kind("clerk", lambda _: Clerk(desk), idle_seconds_max=1.0, cold_seconds_max=0.0)
    async with open_system([kind], committer=committer) as system:
        system.ref("clerk", 1).tell(Read(1))
        await trio.sleep(0.1)
        cell = system.activations[Address("clerk", 1)]
        assert cell.waiting is not None
        hold(cell)
        release(cell)
        system.ref("clerk", 1).tell(Wait(1, clean_up_seconds=50))
        await trio.sleep(2)
        hold(cell)
        release(cell)
        await trio.sleep(30)
        assert system.activations.get(Address("clerk", 1)) is cell


async def test_a_turn_that_cleans_up_after_its_end_tells_and_asks_nobody_and_its_next_try_does(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    async with open_office(desk) as (system, _):
        system.service("clerk").tell(TellAll())
        await trio.sleep(0.5)
        system.service("partner").tell(Break())
        await trio.sleep(20)
    assert desk.log == ["refused: its supervisor restarts it", "told by 2", "asked by 2"]


async def test_who_asked_a_turn_that_is_stored_in_part_is_told_what_ended_it(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with open_office(desk) as (system, _):

        async def fail_later() -> None:
            await trio.sleep(1)
            system.service("partner").tell(Break())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fail_later)
            with pytest.raises(CommitUnknown, match=r"ended in the middle of TellAll \(its supervisor restarts it\)"):
                await system.service("clerk").ask(TellAll(flushes=True), deadline=trio.current_time() + 20)


async def test_a_flush_behind_a_shield_ends_with_its_gate_and_does_not_hold_the_address(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    async with open_office(desk) as (system, committer):
        clerk = system.service("clerk")
        await clerk.ask(Write(0), deadline=trio.current_time() + 5)
        committer.hold()
        clerk.tell(FlushBehindAShield())
        await wait_all_tasks_blocked()
        committer.claim_elsewhere(CLERK)
        committer.release()
        await clerk.ask(Write(1), deadline=trio.current_time() + 5)
    assert desk.log == ["the flush ended"]


async def test_an_ask_that_waits_for_storage_as_its_activation_ends_leaves_with_the_next_try_alone(
    autojump_clock: MockClock,
) -> None:
    desk = Desk()
    async with open_office(desk) as (system, committer):
        clerk = system.service("clerk")
        await clerk.ask(Write(0), deadline=trio.current_time() + 5)
        committer.hold()
        clerk.tell(Write(1))
        clerk.tell(AskBehindAShield())
        await wait_all_tasks_blocked()
        system.service("partner").tell(Break())
        await wait_all_tasks_blocked()
        committer.release()
        await trio.sleep(20)
    assert desk.log == ["asked by 2"]


async def test_what_is_to_be_decided_again_is_told_when_its_service_has_ended(autojump_clock: MockClock) -> None:
    desk = Desk()
    async with open_office(desk, restart=RestartPolicy(mode="temporary")) as (system, _):
        clerk = system.service("clerk")
        clerk.tell(Wait(1, clean_up_seconds=5))
        clerk.tell(Wait(2))
        await trio.sleep(0.5)
        system.service("partner").tell(Break())
        await trio.sleep(60)
        assert dict(system.dead_letters.counts) == {"crashed": 1, "actor_gone": 2}
    assert desk.begun == [1]


async def test_the_end_of_the_system_tells_what_was_to_be_decided_again(autojump_clock: MockClock) -> None:
    desk, answers = Desk(), list[str]()
    async with trio.open_nursery() as nursery, open_office(desk) as (system, _):

        async def ask() -> None:
            try:
                await system.service("clerk").ask(Wait(1, clean_up_seconds=500), deadline=trio.current_time() + 900)
            except ActorGone as gone:
                answers.append(gone.reason)

        nursery.start_soon(ask)
        await trio.sleep(0.5)
        system.service("partner").tell(Break())
        await trio.sleep(5)
    assert answers == ["the system stops"]
