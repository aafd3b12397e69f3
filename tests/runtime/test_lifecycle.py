"""Every reason for which an activation ends is reached, told to `stopping`, and in an event; one is reserved."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorSystem,
    Command,
    Kind,
    RestartPolicy,
    StopReason,
    handles,
    lifecycle,
    open_system,
)
from greenroom.runtime.address import Address
from greenroom.runtime.endings import hold
from greenroom.runtime.kind import RowOwnership
from greenroom.runtime.testing import MemoryCommitter, passivate


@dataclass(frozen=True, slots=True)
class Work(Command[None]):
    does: str = ""


@dataclass
class House:
    """ended: what was told to `stopping`; logged: what the events said."""

    committer: MemoryCommitter = field(default_factory=MemoryCommitter)
    start: str = ""
    ended: list[StopReason] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    system: ActorSystem = field(init=False)

    def event(self, name: str, **facts: Any) -> None:
        if name == "actor.ended":
            self.logged.append(facts["reason"])

    def tell(self, does: str = "") -> None:
        self.system.ref("worker", 1).tell(Work(does))


class Worker(Actor):
    def __init__(self, house: House) -> None:
        self.house = house

    async def start(self) -> None:
        await trio.lowlevel.checkpoint()
        how, self.house.start = self.house.start, ""
        if how == "fails":
            raise ValueError("on purpose")
        if how == "hangs":
            await trio.sleep_forever()

    def stopping(self, reason: StopReason) -> None:
        self.house.ended.append(reason)

    @handles(Work)
    def work(self, command: Work) -> None:
        self.ctx.write("work")
        if command.does == "stops":
            self.ctx.stop()
        elif command.does == "fails":
            raise ValueError("on purpose")


async def it_stops_itself(house: House) -> None:
    house.tell("stops")


async def it_is_passivated(house: House) -> None:
    passivate(house.system)


async def an_ask_fails_behind_a_write(house: House) -> None:
    with pytest.raises(ActorFailed):
        await house.system.ref("worker", 1).ask(Work("fails"), deadline=trio.current_time() + 5)


async def another_owner_claims(house: House) -> None:
    house.committer.claim_elsewhere(house.system.ref("worker", 1).address)
    house.tell()


async def a_tell_fails(house: House) -> None:
    house.tell("fails")


async def its_supervisor_restarts_it(house: House) -> None:
    hold(house.system.activation(house.system.ref("worker", 1).address))


async def its_start_fails(house: House) -> None:
    passivate(house.system)
    house.ended.clear()
    house.logged.clear()
    house.start = "fails"
    house.tell()


async def its_start_takes_too_long(house: House) -> None:
    passivate(house.system)
    house.ended.clear()
    house.logged.clear()
    house.start = "hangs"
    house.tell()
    await trio.sleep(2)


ENDS: dict[StopReason, Callable[[House], Awaitable[None]]] = {
    StopReason.NORMAL: it_stops_itself,
    StopReason.PASSIVATED: it_is_passivated,
    StopReason.RELOADED: an_ask_fails_behind_a_write,
    StopReason.FENCED: another_owner_claims,
    StopReason.CRASHED: a_tell_fails,
    StopReason.KILLED: its_supervisor_restarts_it,
    StopReason.START_FAILED: its_start_fails,
    StopReason.DEADLINE: its_start_takes_too_long,
}


@pytest.mark.parametrize("reason", ENDS, ids=str)
async def test_it_is_told_to_the_actor_and_in_an_event(reason: StopReason, autojump_clock: MockClock) -> None:
    house = House()
    kind = Kind("worker", lambda _: Worker(house), ownership="create", start_seconds_max=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.committer.run)
        async with open_system([kind], committer=house.committer, event=house.event) as house.system:
            house.tell()
            await wait_all_tasks_blocked()
            await ENDS[reason](house)
            await wait_all_tasks_blocked()
            assert (house.ended[:1], house.logged[:1]) == ([reason], [reason.value])
        nursery.cancel_scope.cancel()


def test_the_set_is_closed_and_what_nobody_reaches_yet_says_so() -> None:
    assert set(StopReason) - set(ENDS) == {StopReason.MOVED}
    assert lifecycle.__doc__ is not None
    meanings = {line.split()[0]: line for line in lifecycle.__doc__.splitlines() if line[:1].isalpha()}
    assert {reason.value for reason in StopReason} <= set(meanings)
    assert "reserved" in meanings["moved"]


def no_actor(_: int | str) -> Actor:
    raise OSError("no actor today")


async def no_claim(address: Address, *, create: bool) -> int | None:
    await trio.lowlevel.checkpoint()
    raise OSError("no claim today")


@pytest.mark.parametrize("ownership", ["none", "create"])
async def test_an_activation_that_had_no_actor_yet_has_its_end_logged_too(
    ownership: RowOwnership, autojump_clock: MockClock
) -> None:
    house = House()
    house.committer.ownership.claim = no_claim  # type: ignore[method-assign]
    kind = Kind("worker", no_actor, ownership, restart=RestartPolicy(intensity=0))
    async with open_system([kind], committer=house.committer, event=house.event) as house.system:
        house.tell()
        await trio.sleep(1)
    assert house.logged == ["start_failed"]
