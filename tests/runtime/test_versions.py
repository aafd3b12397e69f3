"""An older and a newer version of the same code on one storage: what each finds of the other, and leaves to it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, Command, Kind, NotDecodable, encodable, handles, open_system
from greenroom.runtime.codec import decode_command, encode_command
from greenroom.runtime.testing import MemoryCommitter, MemoryTables, VirtualClock


@dataclass(frozen=True)
class OldRing(Command[None]):
    note: str


@dataclass(frozen=True)
class NewRing(Command[None]):
    note: str
    loudness: int = 1


@dataclass(frozen=True, slots=True)
class SetRing(Command[None]):
    note: str


@dataclass(frozen=True, slots=True)
class Count(Command[dict[str, Any]]):
    """Counts, and returns all that is kept."""


def deployed(version: type[Command[None]]) -> type[Command[None]]:
    """*version* is what this process knows by the name that is stored, as if its module had been imported."""
    version.__qualname__ = "Ring"
    return encodable("tests.versions.ring")(version)


class OldBell(Actor):
    def __init__(self, house: "House") -> None:
        self.house = house

    @handles(SetRing)
    def set(self, command: SetRing) -> None:
        self.ctx.set_alarm("a", OldRing(command.note), after_seconds=5)

    @handles(OldRing)
    def ring(self, command: OldRing) -> None:
        self.ctx.write(command)

    @handles(Count)
    def count(self, _: Count) -> dict[str, Any]:
        self.ctx.state.put("count", self.ctx.state.get("count", 0) + 1)
        return dict(self.ctx.state.items())


class NewBell(Actor):
    def __init__(self, house: "House") -> None:
        self.house = house

    @handles(SetRing)
    def set(self, command: SetRing) -> None:
        self.ctx.set_alarm("a", NewRing(command.note, loudness=9), after_seconds=5)

    @handles(NewRing)
    def ring(self, command: NewRing) -> None:
        self.ctx.write(command)

    @handles(Count)
    def count(self, _: Count) -> dict[str, Any]:
        self.ctx.state.put("count", self.ctx.state.get("count", 0) + 1)
        self.ctx.state.put("limit", self.ctx.state.get("limit", 100) - 1)
        return dict(self.ctx.state.items())


@dataclass
class House:
    committer: MemoryCommitter
    system: Any = None
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    async def ask(self, command: Command[Any]) -> Any:
        return await self.system.ref("bell", 1).ask(command, deadline=trio.current_time() + 5)

    @property
    def stored(self) -> list[object]:
        return [write for _, write in self.committer.stored]


@asynccontextmanager
async def running(bell: type[OldBell | NewBell], tables: MemoryTables, clock: VirtualClock) -> AsyncIterator[House]:
    """A process of one version, which is killed in the end."""
    deployed(OldRing if bell is OldBell else NewRing)
    house = House(MemoryCommitter(tables))
    kind = Kind("bell", lambda _: bell(house), ownership="create", keeps_alarms=True, keeps_state=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.committer.run)
        async with open_system(
            [kind],
            committer=house.committer,
            alarms=house.committer.alarms,
            states=house.committer.states,
            clock=clock,
            event=lambda name, **facts: house.events.append((name, facts)),
            stop_seconds_max=0,
        ) as house.system:
            yield house
            nursery.cancel_scope.cancel()


async def test_an_alarm_that_the_older_version_has_set_is_done_by_the_newer_with_its_defaults(
    autojump_clock: MockClock,
) -> None:
    tables, clock = MemoryTables(), VirtualClock(autojump_clock)
    async with running(OldBell, tables, clock) as house:
        await house.ask(SetRing("x"))
    async with running(NewBell, tables, clock) as house:
        await trio.sleep(10)
        assert house.stored == [NewRing("x", loudness=1)]
        assert tables.alarms == {}


async def test_an_alarm_that_the_older_version_cannot_read_is_kept_and_done_once_by_the_newer(
    autojump_clock: MockClock,
) -> None:
    tables, clock = MemoryTables(), VirtualClock(autojump_clock)
    async with running(NewBell, tables, clock) as house:
        await house.ask(SetRing("x"))
    async with running(OldBell, tables, clock) as house:
        await trio.sleep(14)
        (row,) = tables.alarms.values()
        assert (house.stored, row.tries) == ([], 3)
        why = next(facts["why"] for name, facts in house.events if name == "alarm.failed")
        assert "loudness" in why, "it names the field that this version does not know"
        assert await house.ask(Count()) == {"count": 1}, "the actor serves all the same"
    async with running(NewBell, tables, clock) as house:
        await trio.sleep(60)
        assert house.stored == [NewRing("x", loudness=9)]
        assert tables.alarms == {}


async def test_state_that_the_older_version_does_not_know_outlives_its_writes(autojump_clock: MockClock) -> None:
    tables, clock, seen = MemoryTables(), VirtualClock(autojump_clock), list[dict[str, Any]]()
    for bell in (OldBell, NewBell, OldBell, NewBell):
        async with running(bell, tables, clock) as house:
            seen.append(await house.ask(Count()))
            await wait_all_tasks_blocked()
    assert seen == [{"count": 1}, {"count": 2, "limit": 99}, {"count": 3, "limit": 99}, {"count": 4, "limit": 98}]


def test_a_text_is_read_by_the_newer_version_and_refused_by_the_older() -> None:
    old = encode_command(cast("Any", deployed(OldRing))("x"))
    new = encode_command(cast("Any", deployed(NewRing))("x", 9))
    assert (decode_command(old), decode_command(new)) == (NewRing("x", 1), NewRing("x", 9))
    deployed(OldRing)
    assert decode_command(old) == OldRing("x")
    with pytest.raises(NotDecodable, match="loudness"):
        decode_command(new)
