"""What is on its way to storage, and what another node has done, is not overtaken by restarts, starts and alarms."""

from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, Address, Command, Kind, Service, StopReason, encodable, handles, open_system
from greenroom.runtime.endings import hold, release
from greenroom.runtime.testing import MemoryCommitter, VirtualClock


@dataclass(frozen=True, slots=True)
class Flush(Command[None]):
    what: str
    is_held_before: bool


@encodable("tests.takeover.ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class SetAlarm(Command[None]):
    after_seconds: float


@dataclass
class House:
    """What the actors of all nodes saw."""

    clock: VirtualClock
    loaded: list[list[object]] = field(default_factory=list)
    held: trio.Event = field(default_factory=trio.Event)
    writes_in_start: bool = False
    rings: int = 0
    ended: list[StopReason] = field(default_factory=list)


class Clerk(Actor):
    def __init__(self, key: int | str, house: House, committer: MemoryCommitter) -> None:
        self.house, self.committer = house, committer

    async def start(self) -> None:
        self.house.loaded.append([write for _, write in self.committer.stored])
        if self.house.writes_in_start and len(self.house.loaded) == 1:
            with trio.CancelScope(shield=True):
                self.hold()
                await trio.lowlevel.checkpoint()
            self.ctx.write("in start")

    def stopping(self, reason: StopReason) -> None:
        self.house.ended.append(reason)

    def hold(self) -> None:
        """Its supervisor restarts it."""
        self.house.held = hold(self.ctx._activation)

    @handles(Flush)
    async def flush(self, command: Flush) -> None:
        self.ctx.write(command.what)
        if command.is_held_before and len(self.house.loaded) == 1:
            self.hold()
        await self.ctx.flushed()

    @handles(SetAlarm)
    def set_alarm(self, command: SetAlarm) -> None:
        self.ctx.set_alarm("ring", Ring(), after_seconds=command.after_seconds)

    @handles(Ring)
    def ring(self, _: Ring) -> None:
        self.house.rings += 1


class Slow(Actor):
    """What is to start before the clerk."""

    def __init__(self, _: int | str) -> None:
        pass

    async def start(self) -> None:
        await trio.sleep(1)


CLERK = Address("clerk", "main")


def node(house: House, committer: MemoryCommitter, *, is_service: bool = False) -> Any:
    """Another node on the storage of *committer*."""
    kind = Kind("clerk", lambda key: Clerk(key, house, committer), ownership="create", keeps_alarms=True)
    children = [Service(Kind("slow", Slow)), Service(kind)] if is_service else [kind]
    return open_system(children, committer=committer, alarms=committer.alarms, clock=house.clock)


@pytest.mark.parametrize("is_held_before", [False, True])
async def test_what_a_turn_flushes_is_stored_before_its_actor_loads_again_or_with_the_next_try(
    is_held_before: bool, autojump_clock: MockClock
):
    house, committer = House(VirtualClock(autojump_clock)), MemoryCommitter()
    async with trio.open_nursery() as outside:
        outside.start_soon(committer.run)
        async with node(house, committer) as system:
            committer.commit_seconds = 1.0
            system.ref("clerk", "main").tell(SetAlarm(9.0))
            await trio.sleep(0.5)  # that is on its way, and what follows is not with it
            system.ref("clerk", "main").tell(Flush("late", is_held_before))
            await wait_all_tasks_blocked()
            if not is_held_before:
                house.held = hold(system.activation(CLERK))
            assert not house.held.is_set()
            await house.held.wait()
            release(system.activation(CLERK))
            system.ref("clerk", "main").tell(SetAlarm(9.0))
            await trio.sleep(5)
        outside.cancel_scope.cancel()
    assert house.loaded == [[], [] if is_held_before else ["late"]]
    assert [write for _, write in committer.stored] == ["late"]


async def test_what_an_actor_writes_in_its_start_is_stored_before_it_is_restarted(autojump_clock: MockClock):
    house, committer = House(VirtualClock(autojump_clock), writes_in_start=True), MemoryCommitter()
    async with trio.open_nursery() as outside:
        outside.start_soon(committer.run)
        async with node(house, committer) as system:
            committer.hold()
            system.ref("clerk", "main").tell(SetAlarm(9.0))
            await wait_all_tasks_blocked()
            assert house.ended == []
            committer.release()
            await house.held.wait()
            assert house.ended == [StopReason.KILLED]
            release(system.activation(CLERK))
            await trio.sleep(1)
        outside.cancel_scope.cancel()
    assert house.loaded == [[], ["in start"]]


async def test_a_service_starts_though_an_alarm_of_it_is_overdue(autojump_clock: MockClock):
    house, first = House(VirtualClock(autojump_clock)), MemoryCommitter()
    async with trio.open_nursery() as outside:
        outside.start_soon(first.run)
        async with node(house, first, is_service=True) as system:
            system.service("clerk").tell(SetAlarm(0.5))
            await wait_all_tasks_blocked()
            first.die()
        second = MemoryCommitter(first.tables)
        second.tables.is_away = False
        await trio.sleep(1)
        outside.start_soon(second.run)
        with trio.fail_after(5):
            async with node(house, second, is_service=True):
                await trio.sleep(1)
        outside.cancel_scope.cancel()
    assert house.rings == 1


async def test_who_was_displaced_learns_of_an_alarm_that_another_node_has_set(autojump_clock: MockClock):
    house, first = House(VirtualClock(autojump_clock)), MemoryCommitter()
    second = MemoryCommitter(first.tables)
    async with trio.open_nursery() as outside:
        outside.start_soon(first.run)
        outside.start_soon(second.run)
        async with node(house, first, is_service=True) as old, node(house, second, is_service=True) as new:
            old.service("clerk").tell(SetAlarm(60.0))  # fenced, and decided again: it owns the address then
            await wait_all_tasks_blocked()
            assert first.tables.alarms
            first.die()
            assert old.activation(CLERK).context.token > new.activation(CLERK).context.token
            await trio.sleep(70)
            assert house.rings == 1
            assert second.tables.alarms == {}
        outside.cancel_scope.cancel()


async def test_a_committer_that_has_died_stores_what_is_in_flight_or_not_and_nothing_more(autojump_clock: MockClock):
    for is_stored in (False, True):
        house, committer = House(VirtualClock(autojump_clock)), MemoryCommitter()
        committer.commit_seconds = 5.0
        async with trio.open_nursery() as outside:
            outside.start_soon(committer.run)
            async with node(house, committer) as system:
                system.ref("clerk", "main").tell(SetAlarm(9.0))
                await trio.sleep(1)
                rows = committer.tables.alarms
                committer.die(stores_in_flight=is_stored)
                system.ref("clerk", "other").tell(SetAlarm(9.0))
                await trio.sleep(20)
                assert [address for address, _ in rows] == [CLERK] * is_stored
            outside.cancel_scope.cancel()
