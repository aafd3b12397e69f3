"""The network between actors: what it loses, doubles and delays, and that it changes no order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorSystem, Command, Kind, handles, open_system
from greenroom.runtime.testing import MemoryCommitter, Probe, SeededRandomness, UnreliableNetwork


@dataclass(frozen=True, slots=True)
class Add(Command[None]):
    by: int


@dataclass(frozen=True, slots=True)
class Send(Command[None]):
    numbers: tuple[int, ...]


class Sender(Actor):
    @handles(Send)
    def send(self, command: Send) -> None:
        for number in command.numbers:
            self.ctx.tell(self.ctx.ref("user", 1), Add(number))


@dataclass
class House:
    system: ActorSystem
    probe: Probe

    async def send(self, numbers: tuple[int, ...]) -> None:
        await self.system.ref("sender", 1).ask(Send(numbers), deadline=trio.current_time() + 5)


@asynccontextmanager
async def house() -> AsyncIterator[House]:
    probe = Probe()
    kinds = [Kind("sender", lambda _: Sender()), probe.kind("user", mailbox_envelopes_max=6)]
    async with open_system(kinds, committer=MemoryCommitter()) as system:
        yield House(system, probe)


def heard(it: House) -> list[int]:
    return [told.command.by for told in it.probe.told]


async def test_a_network_is_perfect_until_it_is_told_otherwise(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        await it.send((1, 2))
        await wait_all_tasks_blocked()
        assert (heard(it), dict(network.counts)) == ([1, 2], {"carried": 2})


async def test_a_network_loses_and_doubles(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.lost = 1.0
        await it.send((1,))
        network.lost, network.doubled = 0.0, 1.0
        await it.send((2,))
        network.remove()
        await it.send((3,))
        await wait_all_tasks_blocked()
        assert heard(it) == [2, 2, 3]
        assert dict(network.counts) == {"lost": 1, "doubled": 1, "carried": 2}


async def test_what_is_late_keeps_its_order_and_overtakes_nothing(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.delay_seconds_max = 2.0
        for numbers in ((1, 2), (3,), (4,)):
            await it.send(numbers)
        network.delay_seconds_max = 0.0
        await it.send((5,))
        await wait_all_tasks_blocked()
        assert (heard(it), network.under_way) == ([], 5)
        await trio.sleep(20)
        assert (heard(it), network.under_way) == ([1, 2, 3, 4, 5], 0)


async def test_what_arrives_at_a_full_mailbox_is_a_dead_letter(autojump_clock: MockClock) -> None:
    gate = trio.Event()

    async def wait(_: object) -> None:
        await gate.wait()

    async with house() as it:
        it.probe.answer = wait
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.delay_seconds_max = 0.001
        await it.send(tuple(range(1, 9)))
        await trio.sleep(1)
        assert it.system.dead_letters.counts == {"mailbox_full": 1}
        gate.set()
        await trio.sleep(1)
        assert heard(it) == list(range(1, 8))


async def test_what_an_edge_tells_does_not_pass_the_network(autojump_clock: MockClock) -> None:
    async with house() as it:
        UnreliableNetwork(it.system, SeededRandomness(1)).lost = 1.0
        it.system.ref("user", 1).tell(Add(9))
        await it.probe.next(Add)
