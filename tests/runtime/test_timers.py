"""Timers in memory: a command to oneself, later; cancelled, it is as if it had never been. How much may be to come."""

from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

import pytest
import trio
import trio.lowlevel
from trio.testing import MockClock

from greenroom.runtime import (
    Actor,
    ActorFailed,
    AskTimeout,
    Command,
    Down,
    Kind,
    StopReason,
    StorageUnavailable,
    handles,
    open_system,
)
from greenroom.runtime.testing import Ledger, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Move(Command[int]):
    """Put the one timer off again; answers how many the context keeps."""


@dataclass(frozen=True, slots=True)
class Stop(Command[bool]):
    """Cancel it; answers whether the actor still has a timer."""


class Mover(Actor):
    timer = None

    @handles(Move)
    def move(self, _):
        if self.timer is not None:
            self.timer.cancel()
        self.timer = self.ctx.tell_self_after(60, Move())
        return len(self.ctx._timers)

    @handles(Stop)
    def stop(self, _):
        self.timer.cancel()
        return self.ctx.is_needed


class Clinging(Actor):
    """It tries to have itself told, and to watch, when it is over already."""

    def __init__(self, log: list[str]):
        self.log = log

    def stopping(self, reason: StopReason) -> None:
        self.cling("stopping")

    @handles(Move)
    async def leave_a_task_behind(self, _):
        trio.lowlevel.spawn_system_task(self.cling_later)

    @handles(Stop)
    def moved(self, _):
        self.log.append(f"woken at {trio.current_time():g}")

    async def cling_later(self):
        await trio.sleep(200)
        self.cling("task")

    def cling(self, who):
        for what in (lambda: self.ctx.tell_self_after(100, Stop()), lambda: self.ctx.watch(self.ctx.ref("mover", 1))):
            try:
                what()
            except RuntimeError as error:
                self.log.append(f"{who}: {error}")


class StartsTwice(Actor):
    """Storage is away when it has set its timer for the first time."""

    starts = 0

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        self.ctx.tell_self_after(60, Stop())
        StartsTwice.starts += 1
        if StartsTwice.starts == 1:
            raise StorageUnavailable("planned")

    def __init__(self, log: list[str]):
        self.log = log

    @handles(Move)
    def answer(self, _):
        return 1

    @handles(Stop)
    def told(self, _):
        self.log.append(f"told at {trio.current_time():.0f}")


async def ask(ref, command):
    return await ref.ask(command, deadline=trio.current_time() + 5)


async def test_a_timer_that_is_moved_often_is_kept_once():
    async with open_system([Kind("mover", lambda _: Mover())], committer=MemoryCommitter()) as system:
        assert {await ask(system.ref("mover", 1), Move()) for _ in range(50)} == {1}


async def test_an_actor_whose_timer_was_cancelled_is_idle():
    async with open_system([Kind("mover", lambda _: Mover())], committer=MemoryCommitter()) as system:
        await ask(system.ref("mover", 1), Move())
        assert await ask(system.ref("mover", 1), Stop()) is False


async def test_neither_stopping_nor_a_task_that_was_left_behind_sets_a_timer_or_watches(autojump_clock: MockClock):
    log: list[str] = []
    kinds = [Kind("mover", lambda _: Clinging(log), idle_seconds_max=10.0)]
    async with open_system(kinds, committer=MemoryCommitter()) as system:
        await ask(system.ref("mover", 1), Move())
        await trio.sleep(1000)
    assert [line.split(": ")[0] for line in log] == ["stopping", "stopping", "task", "task"]
    assert "tell_next_activation" in log[0]
    assert "watch in a turn" in log[1]


async def test_a_start_that_is_tried_again_leaves_no_timer_of_the_first_try(autojump_clock: MockClock):
    log: list[str] = []
    StartsTwice.starts = 0
    async with open_system([Kind("twice", lambda _: StartsTwice(log))], committer=MemoryCommitter()) as system:
        assert await ask(system.ref("twice", 1), Move()) == 1
        await trio.sleep(100)
    assert StartsTwice.starts == 2
    assert len(log) == 1


@dataclass(frozen=True, slots=True)
class Many(Command[int]):
    count: int


@dataclass(frozen=True, slots=True)
class Came(Command[None]):
    number: int


@dataclass(frozen=True, slots=True)
class WatchMany(Command[None]):
    count: int


class Busy(Actor):
    """Has much to come at one moment."""

    def __init__(self, came):
        self.came = came

    @handles(Many)
    def many(self, command):
        for number in range(command.count):
            self.ctx.tell_self_after(1, Came(number))
        return command.count

    @handles(WatchMany)
    def watch_many(self, command):
        for number in range(command.count):
            self.ctx.watch(self.ctx.ref("mover", number))

    @handles(Came)
    def timer_came(self, command):
        self.came.append(command.number)

    @handles(Down)
    def down(self, command):
        self.came.append(command.address.key)


@asynccontextmanager
async def busy():
    came = []
    kinds = [Kind("busy", lambda _: Busy(came)), Kind("mover", lambda _: Mover(), idle_seconds_max=5)]
    async with open_system(kinds, committer=MemoryCommitter()) as system:
        yield system, came


async def test_every_timer_arrives_however_many_end_at_once(autojump_clock):
    async with busy() as (system, came):
        await ask(system.ref("busy", 1), Many(3000))
        await trio.sleep(2)
        assert sorted(came) == list(range(3000))
        assert not system.dead_letters.counts


async def test_every_down_arrives_however_many_end_at_once(autojump_clock):
    async with busy() as (system, came):
        await ask(system.ref("busy", 1), WatchMany(1500))  # of whom none is there
        for number in range(1500):
            await ask(system.ref("mover", number), Move())
            await ask(system.ref("mover", number), Stop())
        await ask(system.ref("busy", 1), WatchMany(1500))
        await trio.sleep(30)
        assert came == [*range(1500), *range(1500)]
        assert not system.dead_letters.counts


async def test_too_many_timers_and_watches_are_refused_where_they_are_made(autojump_clock, monkeypatch):
    monkeypatch.setattr("greenroom.runtime.context.SYSTEM_ENVELOPES_MAX", 10)
    async with busy() as (system, _came):
        ref = system.ref("busy", 1)
        with pytest.raises(ActorFailed, match="busy/1 cannot have one more timer: 10 timers run, 0 actors are watched"):
            await ask(ref, Many(11))
        await trio.sleep(2)
        await ask(system.ref("mover", 0), Move())
        await ask(system.ref("mover", 1), Move())
        await ask(ref, Many(9))
        with pytest.raises(ActorFailed, match="cannot have one more watch: 9 timers run, 1 actors are watched"):
            await ask(ref, WatchMany(2))


async def test_what_was_watched_and_has_ended_counts_no_more(autojump_clock, monkeypatch):
    monkeypatch.setattr("greenroom.runtime.context.SYSTEM_ENVELOPES_MAX", 4)
    async with busy() as (system, came):
        for _ in range(5):
            for number in range(3):
                await ask(system.ref("mover", number), Move())
                await ask(system.ref("mover", number), Stop())
            await ask(system.ref("busy", 1), WatchMany(3))
            await trio.sleep(30)
        assert came == [0, 1, 2] * 5


@dataclass(frozen=True, slots=True)
class Tick(Command[None]):
    of: int


@dataclass(frozen=True, slots=True)
class Occupy(Command[None]):
    """Set a timer that comes while this turn waits, and then..."""

    does: str


class Counted(Actor):
    """Knows how many there were before it."""

    def __init__(self, log: list[str]):
        log.append("made")
        self.number, self.log = log.count("made"), log

    @handles(Occupy)
    async def occupy(self, command):
        timer = self.ctx.tell_self_after(1, Tick(self.number))
        if self.number > 1:
            return
        await trio.sleep(2)
        if command.does == "crash":
            raise ZeroDivisionError("planned")
        if command.does == "stop":
            self.ctx.stop()
        if command.does == "cancel":
            timer.cancel()
            timer.cancel()
        if command.does == "hang":
            await trio.sleep_forever()

    @handles(Tick)
    def tick(self, command):
        self.log.append(f"{self.number} hears {command.of}")
        if "put aside" in self.log and command.of == self.number == 1:
            self.log.remove("put aside")
            self.ctx.stash()


@asynccontextmanager
async def counted(log):
    ledger = Ledger()
    kind = Kind("counted", lambda _: Counted(log))
    async with open_system([ledger.on(kind)], committer=MemoryCommitter()) as system:
        ledger.follow_dead_letters(system)
        yield system, system.ref("counted", 1)
        ledger.check(system)
        assert ledger.waiting == 0


@pytest.mark.parametrize("ends", ["crash", "kill", "stop"])
async def test_a_timer_that_has_come_and_was_not_begun_ends_with_its_activation(ends, autojump_clock):
    log = []
    async with counted(log) as (system, ref):
        ref.tell(Occupy("hang" if ends == "kill" else ends))
        await trio.sleep(3)
        if ends == "kill":
            assert system.kill(ref)
        await trio.sleep(10)
        ref.tell(Tick(0))
        await trio.sleep(10)
        assert log == ["made", "made", "2 hears 0"]


async def test_a_timer_that_is_cancelled_after_its_time_and_before_its_turn_is_taken_back(autojump_clock):
    log = []
    async with counted(log) as (_, ref):
        ref.tell(Occupy("cancel"))
        await trio.sleep(10)
        assert log == ["made"]


async def test_a_timer_that_was_begun_and_put_aside_is_a_command_like_any_other(autojump_clock):
    log = []
    async with counted(log) as (system, ref):
        ref.tell(Occupy("nothing"))
        log.append("put aside")
        await trio.sleep(5)
        assert system.kill(ref)
        await trio.sleep(5)
        assert log == ["made", "1 hears 1", "made", "2 hears 1"]


@dataclass(frozen=True, slots=True)
class Remind(Command[int]):
    """Set a timer; then end as it says."""

    text: str
    ends: str
    waits: bool = False
    flushes: bool = False


@dataclass(frozen=True, slots=True)
class Reminder(Command[None]):
    text: str


class Forgetful(Actor):
    def __init__(self, log: list[str]):
        self.log = log

    @handles(Remind)
    def remind(self, command):
        self.ctx.tell_self_after(60, Reminder(command.text))
        if command.waits:
            return self.go_on(command)
        if command.ends == "fails":
            raise ValueError("planned")
        return 1

    async def go_on(self, command):
        self.ctx.tell_self_after(61, Reminder(f"{command.text}, later"))
        if command.flushes:
            self.ctx.write("a part")
            await self.ctx.flushed()
            self.ctx.tell_self_after(62, Reminder(f"{command.text}, after the flush"))
        await trio.sleep(1)
        if command.ends == "fails":
            raise ValueError("planned")
        if command.ends == "is cancelled":
            await trio.sleep_forever()
        return 1

    @handles(Reminder)
    def told(self, command):
        self.log.append(command.text)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (Remind("a", "well"), ["a"]),
        (Remind("a", "fails"), []),
        (Remind("a", "well", waits=True), ["a", "a, later"]),
        (Remind("a", "fails", waits=True), []),
        (Remind("a", "is cancelled", waits=True), []),
        (Remind("a", "fails", waits=True, flushes=True), ["a", "a, later"]),
    ],
)
async def test_the_timers_of_a_turn_that_fails_are_taken_back_with_it_and_no_others(command, told, autojump_clock):
    log: list[str] = []
    committer = MemoryCommitter()
    async with trio.open_nursery() as outside:
        outside.start_soon(committer.run)
        kind = Kind("forgetful", lambda _: Forgetful(log), ownership="create")
        async with open_system([kind], committer=committer) as system:
            forgetful = system.ref("forgetful", 1)
            await ask(forgetful, Remind("before", "well"))
            with suppress(ActorFailed, AskTimeout):
                await ask(forgetful, command)
            await ask(forgetful, Remind("after", "well"))
            await trio.sleep(100)
        outside.cancel_scope.cancel()
    assert sorted(log) == sorted(["before", *told, "after"])
