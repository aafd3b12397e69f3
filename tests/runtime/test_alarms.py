"""Alarms: they come at their time, whatever happens until then, and what their handlers do is done once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from copy import copy
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    Address,
    Command,
    CommitOutcome,
    Directive,
    Kind,
    NotEncodable,
    Randomness,
    RestartPolicy,
    StopReason,
    Stream,
    SystemClock,
    UnknownCommand,
    WrongKindOfAnswer,
    encodable,
    handles,
    open_system,
    reads,
)
from greenroom.runtime import alarms as clock
from greenroom.runtime.actor_alarms import ActorAlarms
from greenroom.runtime.alarms import AlarmClock, AlarmStatistics
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.ports import DeleteAlarm, StoredAlarm
from greenroom.runtime.testing import CommitFault, MemoryCommitter, MemoryTables

START_MS = 1_700_000_000_000
ONE = Address("bell", 1)


@encodable("tests.alarms.ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    """The alarm's command. does: what its handler does besides writing."""

    note: str = ""
    does: str = ""


@encodable("tests.alarms.ring_slowly")
@dataclass(frozen=True, slots=True)
class RingSlowly(Command[None]):
    note: str = ""
    does: str = ""


@encodable("tests.alarms.ring_all")
@dataclass(frozen=True, slots=True)
class RingAll(Command[None]):
    note: str


@encodable("tests.alarms.follow")
@dataclass(frozen=True, slots=True)
class Follow(Stream[int]):
    pass


@encodable("tests.alarms.unheard")
@dataclass(frozen=True, slots=True)
class Unheard(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Nameless(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Set(Command[None]):
    """Set an alarm as `ctx.set_alarm` does; then fail, if told to."""

    name: str = "a"
    command: Any = Ring("rung")
    after_seconds: float | None = None
    at_ms: int | None = None
    every_seconds: float | None = None
    then_fails: bool = False


@dataclass(frozen=True, slots=True)
class Move(Command[None]):
    name: str
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Cancel(Command[bool]):
    name: str = "a"


@dataclass(frozen=True, slots=True)
class MoveIfThere(Command[None]):
    name: str
    after_seconds: float


@dataclass(frozen=True, slots=True)
class Times(Command[dict]):
    pass


@dataclass(frozen=True, slots=True)
class GoOn(Command[None]):
    """Take up again what was put aside."""


@dataclass(frozen=True, slots=True)
class SetInRead(Command[None]):
    pass


class Bell(Actor):
    """Writes what it is told, and tells the house when and how."""

    def __init__(self, house: "House") -> None:
        self.house = house

    async def start(self) -> None:
        self.house.starts += 1
        if self.house.sets_at_start and "a" not in self.ctx.alarms():
            self.ctx.set_alarm("a", Ring("rung"), after_seconds=5)

    def stopping(self, reason: StopReason) -> None:
        self.house.ends.append(reason)

    @handles(Set)
    def set(self, command: Set) -> None:
        self.ctx.set_alarm(
            command.name,
            command.command,
            at_ms=command.at_ms,
            after_seconds=command.after_seconds,
            every_seconds=command.every_seconds,
        )
        if command.then_fails:
            raise ValueError("broken on purpose")

    @handles(Move)
    def move(self, command: Move) -> None:
        self.ctx.move_alarm(command.name, after_seconds=command.after_seconds)

    @handles(MoveIfThere)
    def move_if_there(self, command: MoveIfThere) -> None:
        if command.name in self.ctx.alarms():
            self.ctx.move_alarm(command.name, after_seconds=command.after_seconds)

    @handles(Cancel)
    def cancel(self, command: Cancel) -> bool:
        return self.ctx.cancel_alarm(command.name)

    @handles(Times)
    def times(self, _: Times) -> dict[str, int]:
        return {name: at_ms - START_MS for name, at_ms in self.ctx.alarms().items()}

    @reads
    @handles(SetInRead)
    def set_in_read(self, _: SetInRead) -> None:
        self.ctx.set_alarm("a", Ring(), after_seconds=1)

    @handles(GoOn)
    def go_on(self, _: GoOn) -> None:
        self.house.may_go_on.set()
        self.ctx.unstash()

    @handles(Ring)
    def ring(self, command: Ring) -> None:
        if command.does == "puts aside" and not self.house.may_go_on.is_set():
            self.ctx.stash()
        else:
            self._ring(command)

    @handles(RingSlowly)
    async def ring_slowly(self, command: RingSlowly) -> None:
        if command.does == "puts aside" and not self.house.may_go_on.is_set():
            self.ctx.stash()
            return
        await self.house.may_go_on.wait()
        self._ring(command)
        if command.does == "flushes":
            await self.ctx.flushed()
            self.house.rings.append("flushed")
            await self.house.may_end.wait()
            self.ctx.write("after the flush")

    @handles(RingAll, batch=10)
    def ring_all(self, commands: list[RingAll]) -> None:
        self.ctx.write([command.note for command in commands])

    @handles(Follow)
    async def follow(self, _: Follow) -> AsyncIterator[int]:
        yield 1

    def _ring(self, command: Ring | RingSlowly) -> None:
        self.house.ring(self.ctx.tick)
        self.ctx.write(command.note)
        if command.does == "sets":
            self.ctx.set_alarm("a", Ring("again"), after_seconds=7)
        elif command.does == "moves":
            self.ctx.move_alarm("a", after_seconds=7)
        elif command.does == "cancels":
            self.ctx.cancel_alarm("a")
        elif command.does == "sets another":
            self.ctx.set_alarm("b", Ring("other"), after_seconds=7)
        elif self.house.fails:
            self.house.fails -= 1
            raise self.house.error


class WallClock(SystemClock):
    """The virtual clock as wall time, and it can be set."""

    skew_ms = 0

    def wall_milliseconds(self) -> int:
        return START_MS + round(trio.current_time() * 1000) + self.skew_ms


class Middle(Randomness):
    def uniform(self, low: float, high: float) -> float:
        return (low + high) / 2


@dataclass
class House:
    """A system of bells. rings: (seconds since the start, tick) of each call of a handler."""

    committer: MemoryCommitter
    clock: WallClock = field(default_factory=WallClock)
    rings: list = field(default_factory=list)
    events: list = field(default_factory=list)
    ends: list = field(default_factory=list)
    starts: int = 0
    fails: int = 0
    error: Exception = field(default_factory=lambda: KeyError("broken on purpose"))
    sets_at_start: bool = False
    may_go_on: trio.Event = field(default_factory=trio.Event)
    may_end: trio.Event = field(default_factory=trio.Event)
    system: Any = None
    scope: Any = None

    def ring(self, tick) -> None:
        self.rings.append((trio.current_time(), tick))

    @property
    def times(self):
        return [pytest.approx(time, abs=0.0005) for time, _ in self.rings]

    @property
    def stored(self):
        return [write for _, write in self.committer.stored]

    @property
    def rows(self):
        return {name: alarm.due_ms - START_MS for (_, name), alarm in self.committer.tables.alarms.items()}

    def named(self, name):
        return [facts for event, facts in self.events if event == name]

    def bell(self, key=1):
        return self.system.ref("bell", key)

    async def ask(self, command, key=1):
        return await self.bell(key).ask(command, deadline=trio.current_time() + 5)


@asynccontextmanager
async def open_house(tables=None, *, kind=None, **changes):
    """A house that ends as a process does that is killed: at once, with nothing stored or told."""
    house = House(MemoryCommitter(tables), **changes)
    options = {"ownership": "create", "keeps_alarms": True, "idle_seconds_max": 1000} | (kind or {})
    at_once = options.pop("passivates_at_once", False)
    with trio.CancelScope() as house.scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(house.committer.run)
            async with open_system(
                [Kind("bell", lambda _: Bell(house), **options)],
                committer=house.committer,
                clock=house.clock,
                randomness=Middle(),
                event=lambda name, **facts: house.events.append((name, facts)),
                stop_seconds_max=0,
                passivates_at_once=at_once,
                alarms=house.committer.alarms,
            ) as house.system:
                yield house
                nursery.cancel_scope.cancel()


async def at(seconds):
    """Sleep until a time, and until all that is due then has happened."""
    await trio.sleep_until(seconds)
    await wait_all_tasks_blocked()


# -- when it comes -----------------------------------------------------------------------------------------------------


async def test_an_alarm_comes_at_its_time_to_the_millisecond_and_once(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5.25))
        assert house.rows == {"a": 5250}
        await at(5.2495)
        assert house.rings == []
        await at(500)
        assert house.times == [5.25]
        assert (house.stored, house.rows) == (["rung"], {})


async def test_many_alarms_of_one_actor_come_by_name_each_at_its_time(autojump_clock: MockClock):
    async with open_house() as house:
        for name, seconds in (("c", 30), ("a", 10), ("b", 20), ("d", 100)):
            await house.ask(Set(name, Ring(name), after_seconds=seconds))
        assert await house.ask(Times()) == {"a": 10_000, "b": 20_000, "c": 30_000, "d": 100_000}
        assert await house.ask(Cancel("b")) is True
        assert await house.ask(Cancel("b")) is False
        await at(200)
        assert house.times == [10, 30, 100]
        assert house.stored == ["a", "c", "d"]


async def test_an_alarm_in_the_past_comes_at_once(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(at_ms=START_MS - 1000))
        await wait_all_tasks_blocked()
        assert house.times == [0]


async def test_one_of_the_same_name_replaces_it(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(command=Ring("first"), after_seconds=5))
        await house.ask(Set(command=Ring("second"), after_seconds=50))
        await at(100)
        assert (house.times, house.stored) == ([50], ["second"])


async def test_alarms_go_ahead_of_what_waits_in_a_full_mailbox(autojump_clock: MockClock):
    async with open_house(kind={"mailbox_envelopes_max": 3}) as house:
        house.committer.tables.alarms[ONE, "a"] = alarm(0)
        for number in range(3):
            house.bell().tell(Ring(str(number)))
        await wait_all_tasks_blocked()
        assert sorted(house.stored) == ["0", "1", "2", "rung"]


async def test_an_alarm_of_an_actor_that_is_passivated_wakes_it(autojump_clock: MockClock):
    async with open_house(kind={"idle_seconds_max": 2}) as house:
        await house.ask(Set(after_seconds=100))
        await at(50)
        assert house.ends == [StopReason.PASSIVATED]
        assert house.system.activations == {}
        await at(100)
        assert (house.times, house.starts) == ([100], 2)


async def test_all_of_it_holds_when_actors_forget_everything_after_each_command(autojump_clock: MockClock):
    async with open_house(kind={"passivates_at_once": True}, fails=2) as house:
        await house.ask(Set(every_seconds=60))
        await house.ask(Set("b", RingSlowly("slow"), after_seconds=30))
        house.may_go_on.set()
        await at(185)
        assert house.times == [30, 32, 36, 60, 120, 180]
        assert house.rows == {"a": 240_000}


async def test_an_alarm_that_was_set_in_start_is_stored_without_a_turn(autojump_clock: MockClock):
    async with open_house(sets_at_start=True) as house:
        house.bell().tell(Times())
        await wait_all_tasks_blocked()
        assert house.rows == {"a": 5000}
        await at(5)
        assert house.times == [5]


async def test_a_batch_handler_gets_a_list_of_one(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(command=RingAll("x"), after_seconds=1))
        await at(2)
        assert house.stored == [["x"]]


# -- its row and its handler ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [Ring, RingSlowly])
@pytest.mark.parametrize(
    ("does", "rows"),
    [("", {}), ("sets", {"a": 12_000}), ("moves", {"a": 12_000}), ("cancels", {}), ("sets another", {"b": 12_000})],
)
async def test_what_its_handler_does_to_an_alarm_wins_over_the_end_of_it(
    autojump_clock: MockClock, command, does, rows
):
    async with open_house() as house:
        house.may_go_on.set()
        await house.ask(Set(command=command("rung", does), after_seconds=5))
        await at(6)
        assert (house.rows, house.stored) == (rows, ["rung"])
        await at(13)
        again = {"sets": "again", "moves": "rung", "sets another": "other"}.get(does)
        assert house.stored == (["rung"] if again is None else ["rung", again])
        assert len(house.rings) == len(house.stored)


async def test_the_row_goes_with_the_commit_of_what_the_handler_wrote(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))
        house.committer.hold()
        await at(6)
        assert (len(house.rings), house.rows, house.stored) == (1, {"a": 5000}, [])
        house.committer.release()
        await wait_all_tasks_blocked()
        assert (len(house.rings), house.rows, house.stored) == (1, {}, ["rung"])
        await at(500)
        assert len(house.rings) == 1


async def test_killed_between_the_handler_and_the_commit_it_is_done_once(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables) as house:
        await house.ask(Set(after_seconds=5))
        house.committer.hold()
        await at(6)
        assert len(house.rings) == 1
    async with open_house(tables) as house:
        await at(7)
        assert (len(house.rings), house.rows, house.stored) == (1, {}, ["rung"])
    async with open_house(tables) as house:
        await at(100)
        assert (house.rings, house.stored) == ([], ["rung"])


async def test_an_alarm_of_a_process_that_was_killed_wakes_its_actor_in_the_next(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables) as house:
        await house.ask(Set(after_seconds=100), key="by text")
        await house.ask(Set(after_seconds=30), key=2)
    async with open_house(tables) as house:
        assert house.system.activations == {}
        await at(101)
        assert house.times == [30, 100]
        assert set(tables.tokens) == {Address("bell", "by text"), Address("bell", 2)}


async def test_a_turn_stored_in_parts_keeps_its_alarm_until_the_last(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables) as house:
        house.may_go_on.set()
        await house.ask(Set(command=RingSlowly("rung", "flushes"), after_seconds=5))
        await at(6)
        assert (house.stored, house.rows) == (["rung"], {"a": 5000})
    async with open_house(tables) as house:
        house.may_go_on.set()
        house.may_end.set()
        await at(7)
        assert (house.stored, house.rows) == (["rung", "rung", "after the flush"], {})


async def test_set_again_and_due_while_its_handler_is_still_at_work_it_comes_when_that_has_ended(
    autojump_clock: MockClock,
):
    """The clock is told of it by the flush, and must ask again at the end of the turn that stood in the way."""
    came: list[float] = []

    class Slow(Actor):
        @handles(Set)
        def set(self, command: Set) -> None:
            self.ctx.set_alarm("a", Ring(), after_seconds=1)

        @handles(Ring)
        async def ring(self, _: Ring) -> None:
            came.append(round(trio.current_time(), 3))
            if len(came) < 4:
                self.ctx.set_alarm("a", Ring(), after_seconds=0.1)
                await self.ctx.flushed()
                await trio.sleep(1)

    committer = MemoryCommitter()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        kinds = [Kind("slow", lambda _: Slow(), "create", keeps_alarms=True)]
        async with open_system(kinds, committer=committer, alarms=committer.alarms, clock=WallClock()) as system:
            await system.ref("slow", 1).ask(Set(), deadline=5)
            await trio.sleep(100)
        nursery.cancel_scope.cancel()
    assert came == [1, 2, 3, 4]


async def test_the_clock_is_never_later_than_the_earliest_time_that_may_be_stored(autojump_clock: MockClock):
    """Set to 50 s, and to 3 s while that is on its way; the outcome of the second is unknown, and it is stored."""
    async with open_house() as house:
        await house.ask(Set(after_seconds=100))
        await at(1)
        house.committer.commit_seconds = 0.5
        house.bell().tell(Set(after_seconds=50))
        await at(1.1)
        house.bell().tell(Set(after_seconds=3))
        house.committer.fail_unit(2, CommitFault.UNKNOWN_STORED)
        await at(200)
        assert len(house.rings) == 1
        assert house.rings[0][0] < 10, "and not with the next look at what is stored"


async def test_a_handler_sees_which_tick_it_is_and_no_other_turn_does(autojump_clock: MockClock):
    async with open_house() as house:
        house.may_go_on.set()
        await house.ask(Set("x", RingSlowly(), after_seconds=5))
        await house.ask(Set("y", Ring(), after_seconds=5))
        await at(6)
        await house.ask(Ring())
        await house.ask(RingSlowly())
        assert [tick and (tick.name, tick.scheduled_ms - START_MS) for _, tick in house.rings] == [
            ("x", 5000), ("y", 5000), None, None,
        ]  # fmt: skip


async def test_an_alarm_whose_turn_is_at_work_does_not_come_again(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(command=RingSlowly("slow"), after_seconds=5))
        await at(500)  # the window was loaded many times, and the row stands in it
        house.may_go_on.set()
        await wait_all_tasks_blocked()
        assert (len(house.rings), house.stored, house.rows) == (1, ["slow"], {})


@pytest.mark.parametrize("ring", [Ring, RingSlowly])
async def test_an_alarm_that_is_put_aside_is_kept_and_has_failed_nothing(autojump_clock: MockClock, ring: type):
    async with open_house() as house:
        await house.ask(Set(command=ring("later", "puts aside"), after_seconds=5))
        await at(500)
        assert (house.rings, house.rows, house.named("alarm.failed")) == ([], {"a": 5000}, [])
        await house.ask(GoOn())
        await wait_all_tasks_blocked()
        assert [tick.tries for _, tick in house.rings] == [0]
        assert (house.stored, house.rows) == (["later"], {})


async def test_a_slow_handler_holds_up_no_other_actor(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(command=RingSlowly(), after_seconds=5), key=1)
        await house.ask(Set(after_seconds=5.001), key=2)
        await at(6)
        assert house.times == [5.001]


# -- moved, and a commit that fails -----------------------------------------------------------------------------------


async def test_moved_earlier_it_is_armed_before_that_is_stored(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=50))
        house.committer.hold()
        house.bell().tell(Move("a", 10))
        await at(10)
        assert (house.rows, house.times) == (
            {"a": 50_000},
            [10],
        )  # its turn has begun; nothing leaves before the commit
        house.committer.release()
        await at(100)
        assert (house.times, house.rows, house.stored) == ([10], {}, ["rung"])


async def test_moved_later_it_is_armed_for_that_once_it_is_stored(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=10))
        house.committer.hold()
        house.bell().tell(Move("a", 50))
        await at(20)
        assert (house.rows, house.rings) == ({"a": 10_000}, [])
        house.committer.release()
        await at(100)
        assert (house.times, house.rows) == ([50], {})


@pytest.mark.parametrize("outcome", [CommitOutcome.UNAVAILABLE, CommitOutcome.REFUSED, CommitOutcome.UNKNOWN])
@pytest.mark.parametrize("change", [Move("a", 10), Move("a", 50), Cancel("a"), Set("a", Ring("new"), after_seconds=10)])
async def test_a_change_that_was_not_stored_leaves_the_alarm_where_it_was(autojump_clock: MockClock, change, outcome):
    async with open_house() as house:
        await house.ask(Set(after_seconds=20))
        house.committer.fault = lambda _: outcome
        with pytest.raises(Exception, match=r"bell/1"):
            await house.ask(change)
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        await at(100)
        assert (house.times, house.stored, house.rows) == ([20], ["rung"], {})


@pytest.mark.parametrize(("change", "times"), [(Move("a", 10), [10]), (Move("a", 50), [50]), (Cancel("a"), [])])
async def test_a_change_that_was_stored_though_nobody_knew_counts(autojump_clock: MockClock, change, times):
    async with open_house() as house:
        await house.ask(Set(after_seconds=30))

        def stored_and_lost(unit):
            house.committer.tables.store(unit.address, unit.writes)
            house.committer.fault = lambda _: CommitOutcome.COMMITTED
            return CommitOutcome.UNKNOWN

        house.committer.fault = stored_and_lost
        with pytest.raises(Exception, match="bell/1"):
            await house.ask(change)
        await at(100)
        assert (house.times, house.rows) == (times, {})


@pytest.mark.parametrize("outcome", [CommitOutcome.UNAVAILABLE, CommitOutcome.UNKNOWN, CommitOutcome.DUPLICATE])
async def test_a_tick_whose_commit_failed_comes_again_and_counts_no_try(autojump_clock: MockClock, outcome):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))
        left = [outcome] * 9
        house.committer.fault = lambda _: left.pop() if left else CommitOutcome.COMMITTED
        await at(5000)
        assert len(house.rings) == 10
        assert (house.stored, house.rows, house.system.dead_letters.counts) == (["rung"], {}, {})
        assert {tick.tries for _, tick in house.rings} == {0}


async def test_a_tick_whose_commit_was_stored_though_nobody_knew_is_done_once(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))

        def stored_and_lost(unit):
            house.committer.tables.store(unit.address, unit.writes)
            house.committer.fault = lambda _: CommitOutcome.COMMITTED
            return CommitOutcome.UNKNOWN

        house.committer.fault = stored_and_lost
        await at(500)
        assert (len(house.rings), house.stored, house.rows) == (1, ["rung"], {})
        assert house.system.statistics().alarms.postponed == 0, "it is done, as its actor has found out"


async def test_refused_together_with_the_tick_it_brought_a_move_leaves_the_alarm_where_it_was(
    autojump_clock: MockClock,
):
    async with open_house() as house:
        await house.ask(Set(after_seconds=20))
        left = [CommitOutcome.REFUSED]
        house.committer.fault = lambda _: left.pop() if left else CommitOutcome.COMMITTED
        house.committer.hold()
        house.bell().tell(Move("a", 0))
        await wait_all_tasks_blocked()
        assert len(house.rings) == 1
        house.committer.release()
        await at(100)
        assert (house.times, house.stored, house.rows) == ([0, 20], ["rung"], {})


async def test_an_alarm_set_in_a_turn_that_fails_was_never_set(autojump_clock: MockClock):
    async with open_house() as house:
        with pytest.raises(ActorFailed):
            await house.ask(Set(after_seconds=5, then_fails=True))
        assert await house.ask(Times()) == {}
        await at(100)
        assert (house.rings, house.rows) == ([], {})


async def test_while_storage_is_away_nothing_comes_and_then_all_of_it_does(autojump_clock: MockClock):
    async with open_house(kind={"idle_seconds_max": 2}) as house:
        await house.ask(Set(after_seconds=20))
        await at(15)
        house.committer.is_away = True
        await at(300)
        assert house.rings == []
        house.committer.is_away = False
        await at(310)
        assert (len(house.rings), house.stored, house.rows) == (1, ["rung"], {})


async def test_a_fenced_actor_leaves_its_alarm_to_the_newer_owner(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))

        def elsewhere(unit):
            token = house.committer.ownership.claimed_elsewhere(ONE)
            house.committer.tables.store(ONE, ["by the other node", DeleteAlarm("a")])
            house.committer.fault = lambda _: CommitOutcome.COMMITTED
            assert token > unit.token
            return CommitOutcome.FENCED

        house.committer.fault = elsewhere
        await at(500)
        assert len(house.rings) == 1  # and nothing of that was stored
        assert house.ends == [StopReason.FENCED]
        assert (house.stored, house.rows) == (["by the other node"], {})


async def test_fenced_by_an_owner_that_did_nothing_it_is_done_by_the_next_activation(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))
        house.committer.ownership.claimed_elsewhere(ONE)
        await at(6)
        assert (house.stored, house.rows, house.ends) == (["rung"], {}, [StopReason.FENCED])


# -- again and again --------------------------------------------------------------------------------------------------


async def test_one_that_comes_again_keeps_step(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=10, every_seconds=60))
        await at(200)
        assert house.times == [10, 70, 130, 190]
        assert house.rows == {"a": 250_000}
        assert {tick.missed for _, tick in house.rings} == {0}


async def test_after_downtime_one_tick_comes_with_the_count_of_the_missed(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables) as house:
        await house.ask(Set(every_seconds=60))
        await at(130)
        assert house.times == [60, 120]
    await at(130 + 600)
    async with open_house(tables) as house:
        await at(790)
        assert house.times == [730, 780]
        assert [(tick.missed, tick.scheduled_ms - START_MS) for _, tick in house.rings] == [(9, 180_000), (0, 780_000)]
        assert house.rows == {"a": 840_000}


# -- handlers that fail -----------------------------------------------------------------------------------------------


async def test_a_handler_that_fails_is_tried_again_ever_later_until_it_does_not(autojump_clock: MockClock):
    async with open_house(fails=3) as house:
        await house.ask(Set(after_seconds=5))
        await at(6)
        assert house.rows == {"a": 7000}
        assert house.committer.tables.alarms[ONE, "a"].tries == 1
        await at(500)
        assert house.times == [5, 7, 11, 19]
        assert [tick.tries for _, tick in house.rings] == [0, 1, 2, 3]
        assert (house.stored, house.rows) == (["rung"], {})
        assert [(facts["tries"], facts["why"]) for facts in house.named("alarm.failed")] == [
            (n, "KeyError: 'broken on purpose'") for n in (1, 2, 3)
        ]


async def test_after_six_tries_it_is_a_dead_letter_and_gone_and_said_so(autojump_clock: MockClock):
    async with open_house(fails=100) as house:
        await house.ask(Set(after_seconds=5))
        await at(5000)
        assert house.times == [5, 7, 11, 19, 35, 67]
        assert (house.stored, house.rows) == ([], {})
        assert house.system.dead_letters.counts == {"alarm_gave_up": 1}
        assert house.system.dead_letters.newest[0].command == "Ring"
        (gave_up,) = house.named("alarm.gave_up")
        assert (gave_up["address"], gave_up["alarm"], gave_up["tries"], gave_up["next_ms"]) == ("bell/1", "a", 6, None)


async def test_one_that_comes_again_gives_up_a_tick_and_goes_on(autojump_clock: MockClock):
    async with open_house(fails=6) as house:
        await house.ask(Set(after_seconds=5, every_seconds=100))
        await at(250)
        assert house.times == [5, 7, 11, 19, 35, 67, 105, 205]
        assert house.system.dead_letters.counts == {"alarm_gave_up": 1}
        assert house.named("alarm.gave_up")[0]["next_ms"] == START_MS + 105_000


async def test_tries_are_counted_across_a_killed_process(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables, fails=100) as house:
        await house.ask(Set(after_seconds=5))
        await at(20)
        assert house.times == [5, 7, 11, 19]
    async with open_house(tables, fails=100) as house:
        await at(5000)
        assert house.times == [35, 67]
        assert house.system.dead_letters.counts == {"alarm_gave_up": 1}


async def test_set_anew_it_has_all_its_tries(autojump_clock: MockClock):
    async with open_house(fails=5) as house:
        await house.ask(Set(after_seconds=5))
        await at(40)
        assert house.committer.tables.alarms[ONE, "a"].tries == 5
        await house.ask(Move("a", 100))
        assert house.committer.tables.alarms[ONE, "a"].tries == 0
        await at(500)
        assert house.stored == ["rung"]


@pytest.mark.parametrize("directive", [Directive.RESTART, Directive.STOP])
async def test_rules_of_the_kind_hold_for_its_alarms_and_tries_are_counted(autojump_clock: MockClock, directive):
    policy = RestartPolicy(on_error={KeyError: directive}, intensity=100)
    async with open_house(kind={"restart": policy}, fails=100) as house:
        await house.ask(Set(after_seconds=5))
        await at(5000)
        assert len(house.rings) == 6
        assert house.rows == {}
        assert house.system.dead_letters.counts["alarm_gave_up"] == 1
        assert house.ends.count(StopReason.CRASHED) == 6


async def test_a_failing_alarm_spends_no_restart_intensity(autojump_clock: MockClock):
    async with open_house(kind={"restart": RestartPolicy(intensity=0)}, fails=3) as house:
        await house.ask(Set(after_seconds=5))
        await at(100)
        assert (house.stored, house.system.crashes) == (["rung"], 0)


async def test_a_command_that_nothing_handles_any_more_is_a_dead_letter_in_the_end(autojump_clock: MockClock):
    async with open_house() as house:
        house.committer.tables.alarms[ONE, "a"] = alarm(1000, '{"$":"tests.alarms.unheard"}')
        house.committer.tables.alarms[ONE, "b"] = alarm(1000, '{"$":"tests.alarms.of an older version"}', "b")
        await at(500)
        assert house.rows == {}
        assert sorted(letter.command for letter in house.system.dead_letters.newest) == ["AlarmDue", "Unheard"]
        (why,) = {facts["why"] for facts in house.named("alarm.failed") if facts["alarm"] == "b"}
        assert "nothing is @encodable('tests.alarms.of an older version')" in why


async def test_an_alarm_of_a_kind_that_nobody_declares_stays_and_is_told_once(autojump_clock: MockClock):
    async with open_house() as house:
        house.committer.tables.alarms[Address("gone", 1), "a"] = alarm(1000)
        await house.ask(Set(after_seconds=100))
        await at(500)
        assert [facts["kind"] for facts in house.named("alarm.unknown_kind")] == ["gone"]
        assert house.times == [100]
        assert list(house.committer.tables.alarms) == [(Address("gone", 1), "a")]


# -- the wall clock ---------------------------------------------------------------------------------------------------


async def test_a_wall_clock_set_back_brings_no_alarm_early(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=20))
        await at(10)
        house.clock.skew_ms = -3600_000
        await at(3600)
        assert house.rings == []
        await at(3700)
        assert house.times == [3620]


async def test_a_wall_clock_set_forward_brings_what_is_due_within_a_second(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=20))
        await house.ask(Set("b", Ring("b"), after_seconds=3000))  # outside of the window that was loaded
        await at(10.1)
        house.clock.skew_ms = 3600_000
        await at(11.2)
        assert house.stored == ["rung", "b"]


async def test_a_beat_goes_on_in_step_when_the_wall_clock_jumps(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(every_seconds=60))
        await at(70)
        house.clock.skew_ms = 600_000
        await at(140)
        assert [tick.missed for _, tick in house.rings] == [0, 9, 0]
        assert house.rows["a"] % 60_000 == 0


# -- a database that was restored -------------------------------------------------------------------------------------

YEAR_SECONDS = 31_536_000


def copy_of(tables):
    rows = {name: copy(getattr(tables, name)) for name in ("stored", "tokens", "alarms", "values")}
    return MemoryTables(**rows)


async def test_what_was_done_after_the_copy_that_is_restored_is_done_again_and_once(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables) as house:
        await house.ask(Set(after_seconds=5))
        await house.ask(Set("b", Ring("beat"), after_seconds=10, every_seconds=60))
        backup = copy_of(tables)
        await at(100)
        assert house.stored == ["rung", "beat", "beat"]
    async with open_house(backup) as house:
        await at(120)
        assert [(tick.name, tick.missed) for _, tick in house.rings] == [("a", 0), ("b", 1)]
        assert (house.stored, house.rows) == (["rung", "beat"], {"b": 130_000})
        await at(140)
        assert house.stored == ["rung", "beat", "beat"]


async def test_a_time_that_is_long_past_comes_at_once_and_once(autojump_clock: MockClock):
    tables = MemoryTables()
    async with open_house(tables) as house:
        await house.ask(Set(after_seconds=5))
        await house.ask(Set("b", Ring("beat"), after_seconds=10, every_seconds=60))
    late = WallClock()
    late.skew_ms = 10 * YEAR_SECONDS * 1000
    async with open_house(copy_of(tables), clock=late) as house:
        await at(5)
        assert [(tick.name, tick.missed) for _, tick in house.rings] == [("a", 0), ("b", 10 * YEAR_SECONDS // 60 - 1)]
        assert (house.stored, list(house.rows)) == (["rung", "beat"], ["b"])
        await at(15)
        assert house.stored == ["rung", "beat", "beat"]


async def test_a_time_that_is_in_the_future_again_comes_then_and_once(autojump_clock: MockClock):
    """The clock was set back, or is that of another machine."""
    tables = MemoryTables()
    async with open_house(tables) as house:
        await house.ask(Set(after_seconds=5))
        await house.ask(Set("b", Ring("beat"), after_seconds=10, every_seconds=60))
    early = WallClock()
    early.skew_ms = -600_000
    async with open_house(copy_of(tables), clock=early) as house:
        await at(604)
        assert house.rings == []
        await at(620)
        assert house.times == [605, 610]
        assert {tick.missed for _, tick in house.rings} == {0}
        assert (house.stored, house.rows) == (["rung", "beat"], {"b": 70_000})


# -- who looks --------------------------------------------------------------------------------------------------------


async def test_who_looks_sees_what_is_armed_due_at_work_and_has_fired(autojump_clock: MockClock):
    async with open_house() as house:

        def counts() -> AlarmStatistics | None:
            return house.system.statistics().alarms

        await house.ask(Set(after_seconds=5))
        await house.ask(Set("slow", RingSlowly("slow"), after_seconds=8))
        await house.ask(Set("later", Ring("later"), after_seconds=3000))
        await at(2)
        assert counts() == AlarmStatistics(armed=2, due=0, asked=0, postponed=0, fired=0, failed=0, put_off=0)
        house.fails = 1
        await at(6)
        assert counts() == AlarmStatistics(armed=2, due=0, asked=0, postponed=0, fired=0, failed=1, put_off=0)
        await at(9)
        assert counts() == AlarmStatistics(armed=0, due=0, asked=1, postponed=0, fired=1, failed=1, put_off=0)
        house.may_go_on.set()
        await wait_all_tasks_blocked()
        assert counts() == AlarmStatistics(armed=0, due=0, asked=0, postponed=0, fired=2, failed=1, put_off=0)


async def test_a_storage_that_is_away_puts_off(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))
        house.committer.fail_unit(1, CommitFault.UNAVAILABLE)
        await at(6)
        found = house.system.statistics().alarms
        assert (found.postponed, found.put_off, found.fired, found.failed) == (1, 1, 0, 0)


async def test_what_is_not_stored_again_and_again_is_put_off_ever_longer(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))
        house.committer.fault = lambda _: CommitOutcome.UNAVAILABLE
        await at(34)
        assert [facts["seconds"] for facts in house.named("alarm.postponed")] == [2, 4, 8, 16]
        house.committer.fault = lambda _: CommitOutcome.COMMITTED
        await at(60)
        assert (house.stored, house.rows) == (["rung"], {})


async def test_one_that_is_put_off_does_not_come_earlier_because_its_actor_loads(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=5))
        house.committer.fail_unit(1, CommitFault.UNAVAILABLE)
        await at(6)
        assert await house.ask(Times()) == {"a": 5000}
        await at(6.9)
        assert (house.starts, house.times) == (2, [5])
        await at(8)
        assert len(house.times) == 2
        assert house.stored == ["rung"]


async def test_traces_and_events_name_the_alarm_and_what_it_tells(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set("tea", after_seconds=5))
        trace = house.system.trace(house.bell(), seconds=60)
        house.fails = 1
        await at(20)
        assert [entry.command for entry in trace.newest] == [
            "Ring (alarm tea)",
            "AlarmFailed (alarm tea)",
            "Ring (alarm tea)",
        ]
        assert [facts["command"] for facts in house.named("turn.failed")] == ["Ring (alarm tea)"]


# -- what they cost ---------------------------------------------------------------------------------------------------


def alarm(due_ms, command='{"$":"tests.alarms.ring","note":"rung","does":""}', name="a"):
    return StoredAlarm(name, START_MS + due_ms, START_MS + due_ms, None, command)


async def test_a_hundred_thousand_pending_alarms_cost_no_task_and_no_query_of_their_own(autojump_clock: MockClock):
    tables = MemoryTables()
    for key in range(100_000):  # one every 0.6 s from tomorrow on, and three within the next ten minutes
        tables.alarms[Address("bell", key), "a"] = alarm(86_400_000 + key * 600)
    for key, seconds in ((1, 100), (2, 200), (3, 599)):
        tables.alarms[Address("bell", key), "a"] = alarm(seconds * 1000)
    async with open_house(tables) as house:
        await wait_all_tasks_blocked()
        tasks = trio.lowlevel.current_statistics().tasks_living
        await at(600)
        assert house.times == [100, 200, 599]
        assert house.system.alarms.statistics() == AlarmStatistics(
            armed=0, due=0, asked=0, postponed=0, fired=3, failed=0, put_off=0
        )
        assert trio.lowlevel.current_statistics().tasks_living == tasks
        assert house.committer.alarms.queries <= 600 / 30 + 1 + 3  # the windows, and what three actors loaded
        assert len(house.system.activations) <= 3
        assert len(tables.alarms) == 99_997


async def test_what_is_overdue_at_the_start_comes_in_the_order_of_time_some_at_once(
    autojump_clock: MockClock, monkeypatch
):
    monkeypatch.setattr(clock, "PAGE_ALARMS_MAX", 70)
    monkeypatch.setattr(clock, "PASS_ALARMS_MAX", 20)
    tables = MemoryTables()
    for key in range(500):
        tables.alarms[Address("bell", key), "a"] = alarm(-key * 10)
    async with open_house(tables) as house:
        loading = []
        house.committer.alarms.of = count_loading(house.committer.alarms.of, loading)
        await at(100)
        assert len(house.rings) == 500
        assert house.rows == {}
        due = [tick.scheduled_ms for _, tick in house.rings]
        assert max(earlier - later for earlier, later in pairwise(due)) < 20 * 10
        assert max(loading) < 2 * 20


def count_loading(of, loading):
    """*of*, noting how many are under way at once."""
    under_way = 0

    async def counted(address):
        nonlocal under_way
        under_way += 1
        loading.append(under_way)
        try:
            return await of(address)
        finally:
            under_way -= 1

    return counted


async def test_actors_that_do_not_answer_hold_up_the_others_for_a_second_at_most(
    autojump_clock: MockClock, monkeypatch
):
    monkeypatch.setattr(clock, "PASS_ALARMS_MAX", 5)
    slow = '{"$":"tests.alarms.ring_slowly"}'
    tables = MemoryTables()
    for key in range(20):
        tables.alarms[Address("bell", key), "a"] = alarm(-1000 + key, slow if key < 15 else '{"$":"tests.alarms.ring"}')
    async with open_house(tables) as house:
        await at(3.5)
        assert len(house.rings) == 5


async def test_a_window_that_cannot_be_read_is_told_and_read_a_second_later(autojump_clock: MockClock):
    async with open_house() as house:
        due_before = house.committer.alarms.due_before

        async def broken(*_):
            house.committer.alarms.due_before = due_before
            raise KeyError("broken on purpose")

        await wait_all_tasks_blocked()
        house.committer.alarms.due_before = broken
        house.committer.tables.alarms[ONE, "a"] = alarm(30_500)
        await at(40)
        assert [type(facts["error"]) for facts in house.named("alarm.window_failed")] == [KeyError]
        assert house.times == [31]


async def test_no_alarm_waits_for_a_storage_that_is_slow_to_say_what_comes(autojump_clock: MockClock):
    async with open_house() as house:
        await house.ask(Set(after_seconds=35))
        due_before = house.committer.alarms.due_before

        async def slow(*arguments):
            await trio.sleep(20)
            return await due_before(*arguments)

        house.committer.alarms.due_before = slow
        await at(31)
        await house.ask(Set("b", Ring("b"), after_seconds=50))  # beyond the window that is known, within the next
        await at(100)
        assert house.times == [35, 81]


# -- what cannot be ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "error", "words"),
    [
        (Set(command=Unheard(), after_seconds=1), UnknownCommand, "has no handler for Unheard"),
        (Set(command=Nameless(), after_seconds=1), UnknownCommand, "Nameless"),
        (Set(command=Set(), after_seconds=1), NotEncodable, "Set has no name to be stored under: put @encodable"),
        (Set(command=Follow(), after_seconds=1), WrongKindOfAnswer, "yields many answers"),
        (Set(command=Ring("x" * 20_000), after_seconds=1), ValueError, "at most 16384"),
        (Set(command=Ring(), after_seconds=-1), ValueError, "after_seconds is 0 or more, not -1"),
        (Set(command=Ring(), after_seconds=float("nan")), ValueError, "after_seconds is 0 or more, not nan"),
        (Set(command=Ring()), ValueError, "give one of at_ms, in milliseconds since 1970, and after_seconds"),
        (Set(command=Ring(), after_seconds=1, at_ms=1), ValueError, "give one of"),
        (Set(command=Ring(), at_ms=10**18), ValueError, "up to the year 9999"),
        (Set(command=Ring(), every_seconds=0.01), ValueError, "every_seconds is 0.1 or more"),
        (Set(command=Ring(), every_seconds=float("nan")), ValueError, "every_seconds is 0.1 or more"),
        (Set(command=Ring(), every_seconds=float("inf"), at_ms=1), ValueError, "every_seconds is 0.1 or more"),
        (Set(command=Ring(), every_seconds=10**10), ValueError, "within ten years"),
        (Set(command=Ring(), at_ms=1.5), ValueError, "whole milliseconds since 1970"),
        (Set(5, Ring(), after_seconds=1), ValueError, "a text of at least one character"),
        (Set("", Ring(), after_seconds=1), ValueError, "a text of at least one character"),
        (Set("n" * 129, Ring(), after_seconds=1), ValueError, "at most 128 bytes"),
        (Move("a", 1), ValueError, "has no alarm 'a' to move: set it"),
        (SetInRead(), RuntimeError, "@reads must not write"),
    ],
)
async def test_bad_use_gets_an_error_that_teaches(autojump_clock: MockClock, command, error, words):
    async with open_house() as house:
        with pytest.raises(ActorFailed) as failure:
            await house.ask(command)
        assert isinstance(failure.value.__cause__, error)
        assert words in str(failure.value.__cause__)
        assert await house.ask(Times()) == {}
        await at(10)
        assert (house.rings, house.rows) == ([], {})


async def test_an_actor_has_so_many_alarms_and_no_more(autojump_clock: MockClock):
    async with open_house() as house:
        for number in range(256):
            await house.ask(Set(str(number), after_seconds=10))
        with pytest.raises(ActorFailed, match=r"bell/1 has 256 alarms already \(ALARMS_MAX\): cancel some"):
            await house.ask(Set("one more", after_seconds=10))
        await house.ask(Set("7", after_seconds=20))
        await at(30)
        assert len(house.stored) == 256


async def test_a_kind_says_that_it_keeps_alarms_and_what_it_needs_for_that():
    with pytest.raises(ValueError, match='must own its address: ownership="create"'):
        Kind("bell", lambda _: Bell(None), keeps_alarms=True)
    with pytest.raises(ValueError, match="kind bell keeps alarms: open the system with alarms="):
        async with open_system(
            [Kind("bell", lambda _: Bell(None), ownership="create", keeps_alarms=True)], committer=MemoryCommitter()
        ):
            pass


async def test_a_kind_that_keeps_none_says_how_it_would(autojump_clock: MockClock):
    async with open_house(kind={"keeps_alarms": False}) as house:
        with pytest.raises(ActorFailed, match="declare its kind with keeps_alarms=True"):
            await house.ask(Times())


# -- whatever happens -------------------------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["set", "set", "move", "cancel", "fail", "hold", "release", "fence", "kill", "skew"]),
        st.integers(0, 90),
        st.sampled_from([None, None, None, *CommitOutcome, "stored, and nobody knows"]),
        st.floats(0, 20),
    ),
    max_size=14,
)


@settings(max_examples=25, deadline=None)
@given(steps=STEPS, fails=st.integers(0, 3), passivates=st.booleans())
def test_whatever_happens_an_alarm_that_is_stored_comes_and_is_done_once(steps, fails, passivates):
    trio.run(whatever_happens, steps, fails, passivates, clock=MockClock(autojump_threshold=0))


@pytest.mark.slow(40)
@settings(max_examples=300, deadline=None)
@given(steps=STEPS, fails=st.integers(0, 3), passivates=st.booleans())
def test_whatever_happens_at_length(steps, fails, passivates):
    trio.run(whatever_happens, steps, fails, passivates, clock=MockClock(autojump_threshold=0))


async def whatever_happens(steps, fails, passivates):
    """Each set has a note of its own. At every time no alarm is armed for later than storage has it; in the end no row
    is left, and none went without its note or a reason.
    """
    tables, done, gave_up = Journal(), 0, 0
    while done <= len(steps):
        async with open_house(tables, fails=fails, kind={"passivates_at_once": passivates}) as house:
            fails = 0
            while done < len(steps):
                what, seconds, outcome, pause = steps[done]
                done += 1
                if what == "kill":
                    break
                await one_step(house, what, seconds, outcome, done)
                await trio.sleep(pause)
                await wait_all_tasks_blocked()
                assert armed_too_late(house) == []
            else:
                done += 1
                house.committer.fault = lambda _: CommitOutcome.COMMITTED
                house.committer.release()
                await trio.sleep(150)
                if tables.alarms:
                    await trio.sleep(1200)  # the longest wait there is, and what follows it
            gave_up += len(house.named("alarm.gave_up"))
    assert tables.alarms == {}
    assert tables.faults == []
    assert tables.gone_unrung <= gave_up + sum(what == "cancel" for what, *_ in steps)


def armed_too_late(house):
    """The alarms of the window that the clock has for later than storage, or not at all, and has not told either."""
    clock = house.system.alarms
    return [
        (key, row, clock._queue.due_of(key))
        for key, row in house.committer.tables.alarms.items()
        if row.due_ms < clock._window_ends_ms and key not in clock._asked and key not in clock._setbacks
        if (clock._queue.due_of(key) or row.due_ms + 1) > row.due_ms
    ]


async def one_step(house, what, seconds, outcome, number):
    left = [] if outcome is None else [outcome]

    def fault(unit):
        outcome = left.pop() if left else CommitOutcome.COMMITTED
        if isinstance(outcome, CommitOutcome):
            return outcome
        house.committer.tables.store(unit.address, unit.writes)
        return CommitOutcome.UNKNOWN

    house.committer.fault = fault
    if what == "set":
        house.bell().tell(Set(command=Ring(f"note {number}"), after_seconds=seconds))
    elif what == "move":
        house.bell().tell(MoveIfThere("a", seconds))
    elif what == "cancel":
        house.bell().tell(Cancel("a"))
    elif what == "fail":
        house.fails += 1
    elif what == "hold":
        house.committer.hold()
    elif what == "release":
        house.committer.release()
    elif what == "fence":
        house.committer.ownership.claimed_elsewhere(ONE)
    else:
        house.clock.skew_ms += (seconds - 45) * 1000


class Journal(MemoryTables):
    """Storage that watches: a note is stored only with the end of its row, so never twice."""

    def __init__(self) -> None:
        super().__init__()
        self.faults = []
        self.gone_unrung = 0

    def store(self, address, writes):
        notes = [write for write in writes if isinstance(write, str)]
        row = self.alarms.get((address, "a"))
        ends = any(isinstance(write, DeleteAlarm) for write in writes)
        for note in notes:
            if row is None or f'"{note}"' not in row.command or not ends:
                self.faults.append(f"{note} was stored beside {row} and {writes}")
        self.gone_unrung += ends and not notes and row is not None
        super().store(address, writes)


# -- that these tests would notice ------------------------------------------------------------------------------------


def _nothing(*_):
    """In the place of what should have been done."""


def _told_at_once(alarms, name):
    row = alarms._rows.get(name)
    if row is not None:
        alarms._cell.system.alarms.arm((alarms._cell.address, name), row.due_ms)


def _before_its_handler(alarms, name):
    """As `due`, and the row is gone with whatever is committed next."""
    row = alarms._rows.get(name)
    if row is not None and row.due_ms <= alarms._now_ms():
        alarms._cell.gate.close_turn(Envelope(ONE, None), None, [DeleteAlarm(name)], None)
    return row


PLANTED = {
    "the row stays when its handler is done": (
        ActorAlarms, "succeeded", _nothing, test_killed_between_the_handler_and_the_commit_it_is_done_once, (),
    ),
    "the row goes before its handler is done": (
        ActorAlarms, "due", _before_its_handler, test_a_turn_stored_in_parts_keeps_its_alarm_until_the_last, (),
    ),
    "an earlier time is armed once it is stored": (
        AlarmClock, "arm_earlier", _nothing, test_moved_earlier_it_is_armed_before_that_is_stored, (),
    ),
    "a later time is armed before it is stored": (
        ActorAlarms, "_tell_clock", _told_at_once, test_a_change_that_was_not_stored_leaves_the_alarm_where_it_was,
        (Move("a", 50), CommitOutcome.UNAVAILABLE),
    ),
    "nobody looks whether it is time": (
        ActorAlarms, "due", lambda alarms, name: alarms._rows.get(name),
        test_moved_later_it_is_armed_for_that_once_it_is_stored, (),
    ),
    "the handler does not win": (
        ActorAlarms, "succeeded", lambda alarms, row, _: alarms._put_or_delete(row.name, None),
        test_what_its_handler_does_to_an_alarm_wins_over_the_end_of_it, (Ring, "sets", {"a": 12_000}),
    ),
    "a try is not counted": (
        ActorAlarms, "failed", _nothing, test_after_six_tries_it_is_a_dead_letter_and_gone_and_said_so, (),
    ),
    "what storage is to blame for is counted": (
        clock, "ActorFailed", Exception, test_a_tick_whose_commit_failed_comes_again_and_counts_no_try,
        (CommitOutcome.UNAVAILABLE,),
    ),
    "one whose actor was asked is asked again": (
        AlarmClock, "_asked", property(lambda _: set(), _nothing),
        test_all_of_it_holds_when_actors_forget_everything_after_each_command, (),
    ),
    "the wall clock is not read again": (
        AlarmClock, "_now_ms", lambda _: START_MS + round(trio.current_time() * 1000),
        test_a_wall_clock_set_forward_brings_what_is_due_within_a_second, (),
    ),
    "what is overdue comes all at once": (
        AlarmClock, "_pass", property(lambda _: clock._Pass(), _nothing),
        test_what_is_overdue_at_the_start_comes_in_the_order_of_time_some_at_once, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", PLANTED)
async def test_a_planted_bug_is_noticed(autojump_clock: MockClock, monkeypatch, bug):
    where, name, planted, scenario, arguments = PLANTED[bug]
    monkeypatch.setattr(where, name, planted, raising=False)
    arguments = (monkeypatch,) if arguments is None else arguments
    with pytest.RaisesGroup(AssertionError, allow_unwrapped=True, flatten_subgroups=True):
        await scenario(autojump_clock, *arguments)
