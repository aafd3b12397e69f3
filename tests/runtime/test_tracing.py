"""Tracing: every way that a command of a traced actor can take, and that who is not traced is left alone."""

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
    AskTimeout,
    Command,
    CommitOutcome,
    Kind,
    MailboxFull,
    Meter,
    Overflow,
    Ref,
    Trace,
    TracedAlready,
    UnknownKind,
    handles,
    open_system,
    reentrant,
)
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Note(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Look(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Store(Command[int]):
    value: object = 1


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Nap(Command[str]):
    seconds: float


@dataclass(frozen=True, slots=True)
class Gather(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Later(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Recall(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class AskYourself(Command[int]):
    pass


class Subject(Actor):
    def __init__(self) -> None:
        self.is_ready = False

    @handles(Note)
    def note(self, _: Note) -> None:
        pass

    @reentrant
    @handles(Look)
    def look(self, _: Look) -> int:
        return 7

    @handles(Store)
    def store(self, command: Store) -> int:
        self.ctx.write(command.value)
        return 1

    @handles(Fail)
    def fail(self, _: Fail) -> None:
        raise ValueError("on purpose")

    @handles(Nap)
    async def nap(self, command: Nap) -> str:
        await trio.sleep(command.seconds)
        return "rested"

    @handles(Gather, batch=10)
    def gather(self, commands: list[Gather]) -> int:
        self.ctx.write(len(commands))
        return len(commands)

    @handles(Later)
    def later(self, _: Later) -> None:
        if not self.is_ready:
            self.ctx.stash()

    @handles(Recall)
    def recall(self, _: Recall) -> None:
        self.is_ready = True
        self.ctx.unstash()

    @handles(AskYourself)
    async def ask_yourself(self, _: AskYourself) -> int:
        return await self.ctx.ref("subject", 1).ask(Look(), deadline=soon())


@dataclass
class House:
    system: ActorSystem
    committer: MemoryCommitter
    events: list[str] = field(default_factory=list)

    def ref(self, kind: str = "subject") -> Ref:
        return self.system.ref(kind, 1)

    def trace(self, kind: str = "subject", **limits: Any) -> Trace:
        return self.system.trace(self.ref(kind), **{"seconds": 60.0, **limits})


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    committer = MemoryCommitter()
    kinds = [
        Kind("subject", lambda _: Subject(), ownership="create"),
        Kind("small", lambda _: Subject(), ownership="create", mailbox_envelopes_max=1),
        Kind("losing", lambda _: Subject(), ownership="create", mailbox_envelopes_max=1, overflow=Overflow.DROP_OLDEST),
        Kind("newest", lambda _: Subject(), ownership="create", mailbox_envelopes_max=1, overflow=Overflow.DROP_NEWEST),
        Kind("coalescing", lambda _: Subject(), ownership="create", meter=Meter(coalesce_by=lambda _: "one")),
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(kinds, committer=committer) as system:
            yield House(system, committer)
        nursery.cancel_scope.cancel()


def soon() -> float:
    return trio.current_time() + 5


def outcomes(trace: Trace) -> list[tuple[str, str]]:
    return [(entry.command, entry.outcome) for entry in trace.newest]


async def test_it_wakes_nobody_and_sees_what_is_told_from_then_on(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace()
        await wait_all_tasks_blocked()
        assert house.system.activation(trace.address).actor is None
        house.ref().tell(Note())
        assert await house.ref().ask(Look(), deadline=soon()) == 7
        assert outcomes(trace) == [("Note", "handled"), ("Look", "handled")]
        assert [entry.number for entry in trace.newest] == [0, 1]
        assert trace.under_way == 0


async def test_wait_turn_and_commit_are_told_apart(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ref().ask(Look(), deadline=soon())
        trace = house.trace()
        house.ref().tell(Nap(2.0))
        house.committer.hold()
        answers: list[object] = []
        house.ref().request(Store(), lambda value, _: answers.append(value), deadline=trio.current_time() + 60)
        await trio.sleep(5.0)
        assert trace.under_way == 1
        house.committer.release()
        await wait_all_tasks_blocked()
        nap, store = trace.newest
        assert (nap.wait_seconds, nap.turn_seconds, nap.commit_seconds) == (0.0, 2.0, None)
        assert (store.wait_seconds, store.turn_seconds, store.commit_seconds) == (2.0, 0.0, 3.0)
        assert answers == [1]


async def test_an_answer_that_waits_for_earlier_writes_is_no_long_turn(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace()
        house.committer.hold()
        house.ref().tell(Store())
        house.ref().request(Look(), lambda *_: None, deadline=soon())
        await trio.sleep(3.0)
        house.committer.release()
        await wait_all_tasks_blocked()
        assert [(entry.turn_seconds, entry.commit_seconds) for entry in trace.newest] == [(0.0, 3.0), (0.0, 3.0)]


async def test_a_deadline_that_passes_behind_earlier_writes_says_so(autojump_clock: MockClock):
    async with open_house() as house:
        house.committer.hold()
        house.ref().tell(Store())
        with pytest.raises(AskTimeout) as caught:
            await house.ref().ask(Look(), deadline=soon())
        assert caught.value.state == "committing"
        house.committer.release()


async def test_failures_are_named_without_what_they_say(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace()
        with pytest.raises(ActorFailed):
            await house.ref().ask(Fail(), deadline=soon())
        with pytest.raises(AskTimeout):
            await house.ref().ask(Nap(60), deadline=soon())
        with trio.move_on_after(1):
            await house.ref().ask(Nap(60), deadline=trio.current_time() + 30)
        house.ref().tell(Fail())
        await wait_all_tasks_blocked()
        assert outcomes(trace) == [
            ("Fail", "ActorFailed: ValueError"),
            ("Nap", "AskTimeout"),
            ("Nap", "abandoned"),
            ("Fail", "ActorFailed: ValueError"),
        ]


async def test_what_is_refused_dropped_or_replaced_is_there_too(autojump_clock: MockClock):
    async with open_house() as house:
        kinds = ("small", "losing", "newest", "coalescing")
        small, losing, newest, coalescing = (house.trace(kind) for kind in kinds)
        house.ref("small").tell(Note())
        with pytest.raises(MailboxFull):
            house.ref("small").tell(Look())
        house.ref("losing").tell(Note())
        house.ref("losing").tell(Look())
        house.ref("newest").tell(Note())
        house.ref("newest").tell(Look())
        house.ref("coalescing").tell(Note())
        house.ref("coalescing").tell(Look())
        await wait_all_tasks_blocked()
        assert outcomes(small) == [("Look", "mailbox_full"), ("Note", "handled")]
        assert outcomes(losing) == [("Note", "dropped_oldest"), ("Look", "handled")]
        assert outcomes(newest) == [("Look", "dropped_newest"), ("Note", "handled")]
        assert outcomes(coalescing) == [("Look", "coalesced"), ("Look", "handled")]


async def test_what_is_redone_or_put_aside_has_an_entry_for_each_time(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace()
        outcome = iter([CommitOutcome.DUPLICATE])
        house.committer.fault = lambda _: next(outcome, CommitOutcome.COMMITTED)
        await house.ref().ask(Store(), deadline=soon())
        house.ref().tell(Later())
        house.ref().tell(Recall())
        await wait_all_tasks_blocked()
        assert outcomes(trace) == [
            ("Store", "redone"),
            ("Store", "handled"),
            ("Later", "put_aside"),
            ("Recall", "handled"),
            ("Later", "handled"),
        ]
        assert [entry.attempts for entry in trace.newest] == [0, 1, 0, 0, 0]


async def test_a_batch_is_seen_command_by_command(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ref().ask(Look(), deadline=soon())
        trace = house.trace()
        house.committer.hold()
        for _ in range(3):
            house.ref().tell(Gather())
        await trio.sleep(2.0)
        house.committer.release()
        await wait_all_tasks_blocked()
        assert outcomes(trace) == [("Gather", "handled")] * 3
        assert [(entry.turn_seconds, entry.commit_seconds) for entry in trace.newest] == [(0.0, 2.0)] * 3


async def test_a_nested_turn_is_seen_with_who_led_to_it(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace()
        assert await house.ref().ask(AskYourself(), deadline=soon()) == 7
        assert outcomes(trace) == [("Look", "handled"), ("AskYourself", "handled")]
        assert trace.newest[0].senders == ("subject/1.AskYourself",)


async def test_what_waits_already_is_seen_too(autojump_clock: MockClock):
    async with open_house() as house:
        house.ref().tell(Nap(3.0))
        await wait_all_tasks_blocked()
        house.ref().tell(Note())
        await trio.sleep(1.0)
        trace = house.trace()
        await trio.sleep(5.0)
        [note] = trace.newest
        assert (note.command, note.wait_seconds) == ("Note", 2.0)


async def test_the_ring_keeps_the_newest_and_counts_all(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace(events_max=2)
        for _ in range(5):
            house.ref().tell(Note())
        house.ref().tell(Look())
        await wait_all_tasks_blocked()
        assert trace.count == 6
        assert [(entry.number, entry.command) for entry in trace.newest] == [(4, "Note"), (5, "Look")]


async def test_when_it_is_over_the_actor_is_as_before(autojump_clock: MockClock):
    async with open_house() as house:
        cell = house.system.activation(house.ref().address)
        plain = type(cell.mailbox)
        trace = house.trace(seconds=2.0)
        assert type(cell.mailbox) is not plain
        assert trace.is_over is False
        house.ref().tell(Nap(60))
        await trio.sleep(2.1)
        assert trace.is_over
        assert type(cell.mailbox) is plain is Mailbox
        assert cell.gauges.trace is None
        house.ref().tell(Note())
        assert {type(envelope) for envelope in cell.mailbox} == {Envelope}
        await trio.sleep(90)
        assert trace.newest == trace.newest.__class__(), "nothing of it is followed any more"


async def test_who_is_not_traced_is_not_touched(autojump_clock: MockClock):
    async with open_house() as house:
        house.trace()
        other = house.system.activation(house.system.ref("subject", 2).address)
        house.system.ref("subject", 2).tell(Note())
        assert type(other.mailbox) is Mailbox
        assert [type(envelope) for envelope in other.mailbox] == [Envelope]
        metered = house.system.activation(house.ref("coalescing").address)
        assert type(metered.mailbox) is MeteredMailbox


async def test_entries_come_as_they_are_there_and_end_with_the_trace(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace(seconds=10.0)
        seen: list[str] = []

        async def follow() -> None:
            async for entry in trace.entries():
                seen.append(entry.command)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            house.ref().tell(Note())
            await wait_all_tasks_blocked()
            assert seen == ["Note"]
            house.ref().tell(Look())
            house.ref().tell(Look())
            await wait_all_tasks_blocked()
            assert seen == ["Note", "Look", "Look"]
        assert trace.is_over
        assert trio.current_time() - trace.ends_at < 0.01


async def test_a_cold_cell_that_is_traced_is_not_forgotten(autojump_clock: MockClock):
    async with open_house() as house:
        trace = house.trace(seconds=200)
        await trio.sleep(150)
        house.ref().tell(Note())
        await wait_all_tasks_blocked()
        assert outcomes(trace) == [("Note", "handled")]
        await trio.sleep(300)
        assert trace.address not in house.system.activations


async def test_bad_use_is_told(autojump_clock: MockClock):
    async with open_house() as house:
        house.trace(seconds=12)
        with pytest.raises(TracedAlready, match="subject/1 is traced already: wait 12 s"):
            house.trace()
        for seconds in (0, -1, float("nan"), 1e9):
            with pytest.raises(ValueError, match="a trace takes more than 0"):
                house.trace("small", seconds=seconds)
        with pytest.raises(ValueError, match="keeps 1 to 10000 events"):
            house.trace("small", events_max=0)
        with pytest.raises(UnknownKind):
            house.system.trace(Ref(house.ref().address._replace(kind="nobody"), house.system), seconds=1)


def test_the_classes_of_a_trace_have_the_layout_of_those_they_stand_for():
    for kind in (Envelope, Question, Mailbox, MeteredMailbox):
        assert type("Same", (kind,), {"__slots__": ()}).__basicsize__ == kind.__basicsize__
