"""The first start: each child begins when all before it are up, whatever happens to those, and the block after them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio
from trio.testing import MockClock

from greenroom.runtime import (
    Actor,
    ActorSystem,
    Child,
    Command,
    Escalated,
    Kind,
    Service,
    StopReason,
    Strategy,
    Supervisor,
    encodable,
    handles,
    open_system,
)
from greenroom.runtime.restarts import RestartMode, RestartPolicy
from greenroom.runtime.testing import MemoryCommitter, VirtualClock


@dataclass(frozen=True, slots=True)
class SetAlarm(Command[None]):
    pass


@encodable("ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    pass


@dataclass
class House:
    """victims: whom a service ends when it has just started, once. seconds: how long each start takes."""

    victims: dict[str, str] = field(default_factory=dict)
    seconds: float = 0.1
    up: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)

    def service(self, name: str, mode: RestartMode = "permanent") -> Service:
        policy = RestartPolicy(mode, backoff_seconds_min=20, backoff_seconds_max=20)
        return Service(Kind(name, lambda _: Member(name, self), restart=policy))


class Member(Actor):
    def __init__(self, name: str, house: House) -> None:
        self.name, self.house = name, house

    async def start(self) -> None:
        self.house.log.append(f"{self.name} begins beside {''.join(sorted(self.house.up))}")
        await trio.sleep(self.house.seconds)
        self.house.up.add(self.name)
        victim = self.house.victims.pop(self.name, None)
        if victim is not None:  # it is down before anybody can see that this one is up
            system: ActorSystem = self.ctx._activation.system
            assert system.kill(system.service(victim))

    def stopping(self, reason: StopReason) -> None:
        self.house.up.discard(self.name)


@asynccontextmanager
async def opened(house: House, *children: Child, strategy: Strategy = Strategy.ONE_FOR_ONE) -> AsyncIterator[None]:
    async with open_system(Supervisor("root", children, strategy), committer=MemoryCommitter()):
        yield


@pytest.mark.parametrize("strategy", Strategy)
@pytest.mark.parametrize("victim", ["a", "b"])
async def test_a_service_that_ends_as_a_later_one_is_ready_is_restarted_before_the_next_begins(
    autojump_clock: MockClock, strategy: Strategy, victim: str
) -> None:
    house = House({"b" if victim == "a" else "c": victim})
    async with opened(house, *(house.service(name) for name in "abcd"), strategy=strategy):
        assert house.up == set("abcd")
        assert house.log.count("d begins beside abc") == 1
        assert house.log[-1] == "d begins beside abc"
        assert not [line for line in house.log if line.startswith("c") and line != "c begins beside ab"]


@pytest.mark.parametrize("strategy", Strategy)
async def test_the_block_begins_when_all_are_up_again(autojump_clock: MockClock, strategy: Strategy) -> None:
    house = House({"c": "a"})
    async with opened(house, *(house.service(name) for name in "abc"), strategy=strategy):
        assert house.up == set("abc")
        await trio.sleep(100)
        assert house.up == set("abc")


async def test_what_follows_a_supervisor_waits_for_all_below_it(autojump_clock: MockClock) -> None:
    house = House({"b": "a"})
    group = Supervisor("group", [house.service("a"), house.service("b")])
    async with opened(house, group, house.service("c")):
        assert house.log[-1] == "c begins beside ab"


async def test_those_that_ran_are_left_alone_and_a_transient_one_that_ended_stays_ended(
    autojump_clock: MockClock,
) -> None:
    class Brief(Member):
        async def start(self) -> None:
            await super().start()
            self.ctx.stop()

    house = House({"c": "b"})
    brief = Service(Kind("a", lambda _: Brief("a", house), restart=RestartPolicy("transient")))
    children = [brief, *(house.service(name) for name in "bcd")]
    async with opened(house, *children, strategy=Strategy.REST_FOR_ONE):
        assert [line[0] for line in house.log] == list("abcbcd")


async def test_a_start_that_its_supervisors_cannot_bear_never_begins_the_block(autojump_clock: MockClock) -> None:
    class Broken(Member):
        async def start(self) -> None:
            await super().start()
            raise OSError("planned")

    house = House()
    broken = Service(Kind("b", lambda _: Broken("b", house), restart=RestartPolicy(intensity=0)))
    inner = Supervisor("inner", [house.service("a"), broken], intensity=0)
    with pytest.raises(Escalated, match="→ the system ends"):
        async with opened(house, Supervisor("outer", [inner, house.service("c")], intensity=0)):
            raise AssertionError("the block began")
    assert not [line for line in house.log if line.startswith("c")]


async def test_a_block_that_is_cancelled_while_it_starts_stops_what_runs(autojump_clock: MockClock) -> None:
    house = House(seconds=5)
    with trio.move_on_after(7):
        async with opened(house, house.service("a"), house.service("b")):
            raise AssertionError("the block began")
    assert house.up == set()
    assert [line[0] for line in house.log] == list("ab")


class Ringer(Actor):
    def __init__(self, house: House) -> None:
        self.house = house

    @handles(SetAlarm)
    def set_alarm(self, _: SetAlarm) -> None:
        self.ctx.set_alarm("soon", Ring(), after_seconds=10)

    @handles(Ring)
    def ring(self, _: Ring) -> None:
        self.house.log.append(f"rings beside {''.join(sorted(self.house.up))}")


def test_an_alarm_that_is_overdue_waits_until_every_service_is_ready() -> None:
    house, committer, clock = House(seconds=5), MemoryCommitter(), VirtualClock()
    kind = Kind("ringer", lambda _: Ringer(house), "create", keeps_alarms=True)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(committer.run)
            async with open_system([kind], committer=committer, clock=clock, alarms=committer.alarms) as system:
                await system.ref("ringer", 1).ask(SetAlarm(), deadline=trio.current_time() + 5)
            await trio.sleep(100)
            tree = [house.service("a"), kind, house.service("b")]
            async with open_system(tree, committer=committer, clock=clock, alarms=committer.alarms):
                await trio.sleep(5)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=clock.trio_clock)
    assert house.log[-1] == "rings beside ab"
