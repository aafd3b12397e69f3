"""Probes: what is told is written down, can be waited for, and is answered as the test says."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorFailed, ActorSystem, Address, Command, Down, Kind, handles, open_system
from greenroom.runtime.testing import MemoryCommitter, Probe, UnexpectedCommand


@dataclass(frozen=True, slots=True)
class Ping(Command[str]):
    number: int = 0


@dataclass(frozen=True, slots=True)
class Greet(Command[None]):
    key: str


class Greeter(Actor):
    @handles(Greet)
    def greet(self, command: Greet) -> None:
        self.ctx.tell(self.ctx.ref("user", command.key), Ping(1))


@asynccontextmanager
async def opened(*probes: Kind) -> AsyncIterator[ActorSystem]:
    async with open_system([Kind("greeter", lambda _: Greeter()), *probes], committer=MemoryCommitter()) as system:
        yield system


def soon() -> float:
    return trio.current_time() + 5


async def test_what_another_actor_tells_it_can_be_waited_for(autojump_clock: MockClock) -> None:
    probe = Probe()
    async with opened(probe.kind("user")) as system:
        system.ref("greeter", 1).tell(Greet("ann"))
        told = await probe.next(Ping)
        assert (told.to, told.command.number, told.at) == (Address("user", "ann"), 1, trio.current_time())
        assert probe.told == [told]
        probe.expect_nothing()


async def test_one_probe_stands_for_many_addresses_and_kinds_in_the_order_handled(autojump_clock: MockClock) -> None:
    probe = Probe()
    async with opened(probe.kind("user"), probe.kind("owner", ownership="create")) as system:
        for number, place in enumerate([("user", 1), ("owner", 1), ("user", 2)]):
            system.ref(*place).tell(Ping(number))
            assert (await probe.next()).to == Address(*place)
        assert [told.command.number for told in probe.told] == [0, 1, 2]


async def test_an_ask_is_answered_as_the_test_says(autojump_clock: MockClock) -> None:
    probe = Probe(lambda ping: f"pong {ping.number}")
    async with opened(probe.kind("user")) as system:
        assert await system.ref("user", 1).ask(Ping(7), deadline=soon()) == "pong 7"
        probe.answer = lambda _: "otherwise"
        assert await system.ref("user", 1).ask(Ping(7), deadline=soon()) == "otherwise"


async def test_an_answer_may_wait_and_may_raise(autojump_clock: MockClock) -> None:
    gate = trio.Event()

    async def later(ping: Any) -> str:
        await gate.wait()
        if ping.number:
            raise KeyError(ping.number)
        return "later"

    probe = Probe(later)
    async with opened(probe.kind("user")) as system, trio.open_nursery() as nursery:
        answers: list[object] = []

        async def ask() -> None:
            answers.append(await system.ref("user", 1).ask(Ping(), deadline=soon()))

        nursery.start_soon(ask)
        await probe.next(Ping)
        assert answers == []
        gate.set()
        with pytest.raises(ActorFailed, match="failed on Ping"):
            await system.ref("user", 1).ask(Ping(3), deadline=soon())
        assert answers == ["later"]


async def test_what_is_not_the_awaited_command_is_said(autojump_clock: MockClock) -> None:
    probe = Probe()
    async with opened(probe.kind("user")) as system:
        system.ref("user", 1).tell(Ping(2))
        with pytest.raises(UnexpectedCommand, match=r"user/1 was told Ping\(number=2\), and Down was awaited"):
            await probe.next(Down)
        system.ref("user", 1).tell(Ping(3))
        await wait_all_tasks_blocked()
        with pytest.raises(UnexpectedCommand, match=r"user/1 Ping\(number=3\)"):
            probe.expect_nothing()
        probe.forget()
        probe.expect_nothing()
        assert probe.told == []


async def test_two_who_wait_get_a_command_each(autojump_clock: MockClock) -> None:
    probe = Probe()
    seen: list[int] = []

    async def wait() -> None:
        seen.append((await probe.next(Ping)).command.number)

    async with opened(probe.kind("user")) as system, trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        system.ref("user", 1).tell(Ping(1))
        system.ref("user", 1).tell(Ping(2))
        await wait_all_tasks_blocked()
        assert sorted(seen) == [1, 2]


async def test_who_gives_up_takes_nothing(autojump_clock: MockClock) -> None:
    probe = Probe()
    with trio.move_on_after(1):
        await probe.next()
    probe.note(Address("user", 1), Ping())
    assert (await probe.next(Ping)).command == Ping()


async def test_who_is_woken_and_cancelled_at_once_leaves_the_command_to_the_next(autojump_clock: MockClock) -> None:
    probe = Probe()
    seen: list[str] = []
    scopes: dict[str, trio.CancelScope] = {}

    async def wait(name: str) -> None:
        with trio.CancelScope() as scopes[name]:
            await probe.next(Ping)
            seen.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait, "first")
        await wait_all_tasks_blocked()
        nursery.start_soon(wait, "second")
        await wait_all_tasks_blocked()
        scopes["first"].cancel()
        probe.note(Address("user", 1), Ping())
        await wait_all_tasks_blocked()
        assert seen == ["second"]
