"""Bare tells: an actor whose tells need no envelope does what one does whose every tell has one, in every history."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorSystem,
    Command,
    CommitOutcome,
    Directive,
    Kind,
    MailboxFull,
    Meter,
    Overflow,
    Ref,
    RestartPolicy,
    Trace,
    handles,
    open_system,
    reads,
)
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_activation import MeteredActivation
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.testing import MemoryCommitter, SeededRun, VirtualClock, run_seeded


@dataclass(frozen=True, slots=True)
class Step(Command[Any]):
    number: int


class Note(Step):
    __slots__ = ()


class Store(Step):
    __slots__ = ()


class Effect(Step):
    __slots__ = ()


class Fail(Step):
    __slots__ = ()


class Resume(Step):
    __slots__ = ()


class WriteAndFail(Step):
    __slots__ = ()


class Nap(Step):
    __slots__ = ()


class MayNap(Step):
    __slots__ = ()


class Read(Step):
    __slots__ = ()


class Gather(Step):
    __slots__ = ()


class Later(Step):
    __slots__ = ()


class Recall(Step):
    __slots__ = ()


class TellSelf(Step):
    __slots__ = ()


class Leave(Step):
    __slots__ = ()


class Unheard(Step):
    __slots__ = ()


class Harmless(Exception):
    """Its kind goes on after it."""


class Subject(Actor):
    """Everything that a turn can lead to. seen: what was handled, in order, with what was redone."""

    def __init__(self, seen: list[object]) -> None:
        self.seen = seen
        self.is_ready = False

    def _saw(self, step: Step) -> int:
        self.seen.append((type(step).__name__, step.number, self.ctx.is_redo, self.ctx.is_reading))
        return step.number

    @handles(Note)
    def note(self, step: Note) -> int:
        return self._saw(step)

    @handles(Store)
    def store(self, step: Store) -> None:
        self._saw(step)
        self.ctx.write(step.number)

    @handles(Effect)
    def effect(self, step: Effect) -> None:
        self._saw(step)
        self.ctx.after_commit(lambda: self.seen.append(("effect", step.number)))

    @handles(Fail)
    def fail(self, step: Fail) -> None:
        self._saw(step)
        raise ValueError(f"step {step.number}")

    @handles(Resume)
    def resume(self, step: Resume) -> None:
        self._saw(step)
        raise Harmless

    @handles(WriteAndFail)
    def write_and_fail(self, step: WriteAndFail) -> None:
        self._saw(step)
        self.ctx.write(step.number)
        raise Harmless

    @handles(Nap)
    async def nap(self, step: Nap) -> None:
        self._saw(step)
        await trio.sleep(0.01)
        self.ctx.write(step.number)

    @handles(MayNap)
    def may_nap(self, step: MayNap) -> Any:
        self._saw(step)
        return trio.sleep(0.01) if step.number % 2 else step.number  # noqa: ASYNC105 (the runtime awaits it)

    @reads
    @handles(Read)
    async def read(self, step: Read) -> None:
        self._saw(step)
        await trio.sleep(0.01)

    @handles(Gather, batch=3)
    def gather(self, steps: list[Gather]) -> int:
        self.seen.append([step.number for step in steps])
        return len(steps)

    @handles(Later)
    def later(self, step: Later) -> None:
        self._saw(step)
        if not self.is_ready:
            self.ctx.stash()

    @handles(Recall)
    def recall(self, step: Recall) -> None:
        self._saw(step)
        self.is_ready = True
        self.ctx.unstash()

    @handles(TellSelf)
    def tell_self(self, step: TellSelf) -> None:
        self._saw(step)
        self.ctx.ref("subject", 1).tell(Note(1000 + step.number))

    @handles(Leave)
    def leave(self, step: Leave) -> None:
        self._saw(step)
        self.ctx.stop()


STEPS: list[type[Step]] = [Note] * 4 + [Store, Effect, Fail, Resume, WriteAndFail, Nap, MayNap, Read, Gather, Gather]
STEPS += [Later, Recall, TellSelf, Leave, Unheard]


class _SealedMailbox(MeteredMailbox):
    """Takes nothing bare."""

    __slots__ = ()

    def put_tell(self, to: object, command: object) -> bool:
        return False


@dataclass(frozen=True, slots=True)
class _SealedKind(Kind):
    def make_mailbox(self) -> Mailbox:
        assert self.meter is not None
        return _SealedMailbox(self.mailbox_envelopes_max, self.meter)


@dataclass(frozen=True, slots=True)
class History:
    """What can be seen from outside."""

    seen: list[object]
    told: list[str]
    answers: list[object]
    stored: list[object]
    letters: list[object]
    entries: list[object]
    counted: object
    events: list[object]


KIND = Kind(
    "subject",
    lambda _: Subject([]),
    ownership="create",
    restart=RestartPolicy(on_error={Harmless: Directive.RESUME}),
    meter=Meter(size_of=lambda step: step.number % 5, bytes_max=10_000, head_seconds_max=60.0),  # type: ignore[attr-defined]
)
NARROW = replace(
    KIND,
    mailbox_envelopes_max=12,
    meter=Meter(size_of=lambda step: step.number % 5, bytes_max=18, head_seconds_max=0.03),  # type: ignore[attr-defined]
)


async def _live(run: SeededRun, kind: type[Kind], given: Kind) -> History:
    """The history of one actor that is told what the run draws, traced or not."""
    seen: list[object] = []
    told, answers, events = list[str](), list[object](), list[object]()
    fields = {name: getattr(given, name) for name in Kind.__slots__} | {"factory": lambda _: Subject(seen)}
    committer, trace = MemoryCommitter(), None
    committer.commit_seconds = run.choices.choice([0.0, 0.004])
    fates = [CommitOutcome.COMMITTED] * 9 + [CommitOutcome.DUPLICATE]
    committer.fault = lambda _: run.choices.choice(fates)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            [kind(**fields)],
            committer=committer,
            clock=run.clock,
            randomness=run.randomness,
            event=lambda name, **facts: events.append((name, facts.get("address"), facts.get("reason"))),
        ) as system:
            ref, number = system.ref("subject", 1), 0
            if run.seed % 2:
                trace = system.trace(ref, seconds=3000.0, events_max=1000)
            for _ in range(run.choices.randrange(5, 25)):
                for _ in range(run.choices.randrange(1, 12)):
                    number += 1
                    step = run.choices.choice(STEPS)(number)
                    try:
                        if run.choices.random() < 0.1 and not isinstance(step, Read):
                            ref.request(step, _note(answers, number), deadline=trio.current_time() + 1)
                        else:
                            ref.tell(step)
                    except MailboxFull as full:
                        told.append(f"{number}: {full}")
                await trio.sleep(run.choices.choice([0.0, 0.0, 0.02, 0.3]))
            await trio.sleep(100)
            counted = system.statistics().kinds["subject"]
            letters = list(system.dead_letters.newest)
        nursery.cancel_scope.cancel()
    entries = [] if trace is None else trace.newest
    return History(seen, told, answers, list(committer.stored), letters, list(entries), counted, events)


def _note(answers: list[object], number: int) -> Any:
    return lambda value, error: answers.append((number, value, repr(error)))


@pytest.mark.parametrize("overflow", list(Overflow))
@pytest.mark.parametrize("given", [KIND, NARROW], ids=["wide", "narrow"])
def test_in_every_history_it_is_as_if_each_tell_had_its_envelope(given: Kind, overflow: Overflow) -> None:
    given = replace(given, overflow=overflow)
    for seed in range(16):
        bare = run_seeded(lambda run: _live(run, Kind, given), seed)
        sealed = run_seeded(lambda run: _live(run, _SealedKind, given), seed)
        for part in History.__slots__:
            assert getattr(bare, part) == getattr(sealed, part), f"seed {seed}, {part}"
        assert len(bare.entries) > 0 or not seed % 2


# -- and by itself ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Work(Command[None]):
    """A turn that takes so long."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Call(Command[None]):
    """A turn in which *what* is called."""

    what: Callable[[], object]


class Worker(Actor):
    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock

    @handles(Work)
    def work(self, command: Work) -> None:
        self.clock.jump(command.seconds)

    @handles(Call)
    def call(self, command: Call) -> None:
        command.what()


@dataclass
class House:
    system: ActorSystem
    clock: VirtualClock

    @property
    def ref(self) -> Ref:
        return self.system.ref("worker", 1)

    @property
    def mailbox(self) -> MeteredMailbox:
        mailbox = self.system.activation(self.ref.address).mailbox
        assert isinstance(mailbox, MeteredMailbox)
        return mailbox

    def trace(self, **limits: Any) -> Trace:
        return self.system.trace(self.ref, **{"seconds": 60.0, **limits})

    async def told(self, *commands: Command[None]) -> None:
        for command in commands:
            self.ref.tell(command)
        await wait_all_tasks_blocked()


@asynccontextmanager
async def open_house(autojump_clock: MockClock, **bounds: float) -> AsyncIterator[House]:
    clock = VirtualClock(autojump_clock)
    meter = Meter(size_of=lambda _: 10, bytes_max=10_000, **bounds)
    kind = Kind("worker", lambda _: Worker(clock), meter=meter)
    async with open_system([kind], committer=MemoryCommitter(), clock=clock) as system:
        house = House(system, clock)
        await house.told(Work(0))
        yield house


async def test_a_plain_turn_that_lets_nothing_out_has_no_envelope(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("an envelope was made")

    async with open_house(autojump_clock) as house:
        monkeypatch.setattr(MeteredMailbox, "seal", refuse)
        monkeypatch.setattr(MeteredActivation, "_sealed", refuse)
        house.trace()
        house.ref.tell(Work(0))
        house.ref.tell(Work(0))
        assert (house.mailbox.bare(), house.mailbox.bytes, len(house.mailbox)) == (2, 20, 2)
        await wait_all_tasks_blocked()
        assert (house.mailbox.bare(), house.mailbox.bytes, len(house.mailbox)) == (0, 0, 0)
        assert house.system.statistics().kinds["worker"].turns == 3
        house.ref.tell(Work(0))
        with pytest.raises(AssertionError, match="an envelope was made"):
            list(house.mailbox)
        await wait_all_tasks_blocked()


async def test_a_trace_has_the_times_of_each_bare_tell(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        trace = house.trace()
        wall_ms = house.clock.wall_milliseconds()
        house.ref.tell(Work(0.002))
        autojump_clock.jump(0.004)
        house.ref.tell(Work(0.03))
        house.ref.tell(Work(0))
        assert (trace.count, trace.under_way) == (0, 3)
        await wait_all_tasks_blocked()
        entries = trace.newest
        assert (trace.count, trace.under_way) == (3, 0)
        assert [entry.number for entry in entries] == [0, 1, 2]
        assert [entry.wait_seconds for entry in entries] == pytest.approx([0.004, 0.002, 0.032])
        assert [entry.turn_seconds for entry in entries] == pytest.approx([0.002, 0.03, 0])
        assert [entry.at_ms - wall_ms for entry in entries] == [0, 4, 4]
        for entry in entries:
            assert (entry.command, entry.commit_seconds, entry.outcome) == ("Work", None, "handled")
            assert (entry.attempts, entry.senders) == (0, ())
        assert trace.newest == entries


async def test_a_wall_that_is_set_meanwhile_dates_no_earlier_entry_anew(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        trace, wall_ms = house.trace(), house.clock.wall_milliseconds()
        await house.told(Work(0))
        house.clock.step_wall(5000)
        await house.told(Work(0))
        assert [entry.at_ms - wall_ms for entry in trace.newest] == [0, 5_000_000]


async def test_the_ring_keeps_the_newest_of_both_sorts_in_order(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        trace = house.trace(events_max=3)
        await house.told(Work(0), Work(0), Work(0))
        await house.ref.ask(Work(0), deadline=trio.current_time() + 1)
        await house.told(Work(0))
        assert [(entry.number, entry.turn_seconds) for entry in trace.newest] == [(2, 0.0), (3, 0.0), (4, 0.0)]
        assert trace.count == 5


async def test_what_a_turn_sees_of_its_own_trace_is_all_before_it(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        trace, seen = house.trace(), list[int]()
        look = Call(lambda: seen.append(len(trace.newest) * 100 + trace.count * 10 + trace.under_way))
        await house.told(look, Work(0), look, Work(0))
        assert seen == [3, 221]


async def test_a_trace_that_a_turn_begins_or_ends_is_of_what_comes_after_or_before(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        traces = list[Trace]()
        await house.told(Work(0), Call(lambda: traces.append(house.trace())), Work(1), Work(2))
        assert [entry.turn_seconds for entry in traces[0].newest] == [1.0, 2.0]
        await house.told(Work(3), Call(lambda: traces[0].end()), Work(4))
        assert [entry.turn_seconds for entry in traces[0].newest] == [1.0, 2.0, 3.0]
        assert (traces[0].count, traces[0].under_way) == (3, 0)
        assert house.system.statistics().kinds["worker"].turns == 8


async def test_entries_come_after_each_drain(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        trace, seen = house.trace(seconds=10), list[int]()

        async def follow() -> None:
            async for entry in trace.entries():
                seen.append(entry.number)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(follow)
            await wait_all_tasks_blocked()
            await house.told(Work(0), Work(0))
            assert seen == [0, 1]
            await house.told(Work(0))
            assert seen == [0, 1, 2]


async def test_a_drain_of_bare_tells_ends_when_its_time_is_up_and_says_which_turn_used_it(
    autojump_clock: MockClock,
) -> None:
    async with open_house(autojump_clock) as house:
        gauges = house.system.activation(house.ref.address).gauges
        before = gauges.drains
        await house.told(*[Work(0)] * 40)  # each look at the busy clock is 5 µs, and 50 µs is a drain
        assert gauges.drains - before == 4
        assert gauges.last_begun is None
        await house.told(*[Work(0)] * 10)
        assert gauges.last_begun is Work


async def test_who_waits_for_room_is_woken_by_a_bare_turn(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        for _ in range(1000):
            house.ref.tell(Work(0))
        with pytest.raises(MailboxFull, match="10000 of 10000 bytes"):
            house.ref.tell(Work(0))
        assert house.mailbox.refused == 1
        house.mailbox.envelopes_max = 1000
        await house.ref.offer(Work(0))
        await wait_all_tasks_blocked()
        assert len(house.mailbox) == 0
        assert house.system.statistics().kinds["worker"].turns == 1002


async def test_the_watchdog_finds_an_old_bare_tell(autojump_clock: MockClock) -> None:
    async with open_house(autojump_clock) as house:
        house.ref.tell(Work(1))
        house.ref.tell(Work(2))
        last, first = house.mailbox.peek_last(), house.mailbox.peek()
        assert last is house.mailbox.peek_last()
        assert first is house.mailbox.peek()
        assert last is not None
        assert (last.state, last.command, last.to) == ("queued", Work(2), house.ref.address)
        await wait_all_tasks_blocked()
        assert last.state == "settled"
