"""The network between actors: what it loses, doubles, delays and cuts, and whose order it changes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorSystem, Address, Command, Kind, UnknownKind, handles, open_system
from greenroom.runtime.testing import MemoryCommitter, Probe, SeededRandomness, UnreliableNetwork


@dataclass(frozen=True, slots=True)
class Add(Command[None]):
    by: int


@dataclass(frozen=True, slots=True)
class Send(Command[None]):
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SendLater(Command[None]):
    numbers: tuple[int, ...]


class Sender(Actor):
    @handles(Send)
    def send(self, command: Send) -> None:
        for number in command.numbers:
            self.ctx.tell(self.ctx.ref("user", 1), Add(number))

    @handles(SendLater)
    async def send_later(self, command: SendLater) -> None:
        await trio.lowlevel.checkpoint()
        self.ctx.ref("user", 1).tell(Add(*command.numbers))


@dataclass
class House:
    system: ActorSystem
    probe: Probe

    async def send(self, numbers: tuple[int, ...], key: int = 1) -> None:
        await self.system.ref("sender", key).ask(Send(numbers), deadline=trio.current_time() + 5)


@asynccontextmanager
async def house(mailbox_envelopes_max: int = 6) -> AsyncIterator[House]:
    probe = Probe()
    kinds = [Kind("sender", lambda _: Sender()), probe.kind("user", mailbox_envelopes_max=mailbox_envelopes_max)]
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


def whose(numbers: list[int], sender: int) -> list[int]:
    return [number for number in numbers if number // 100 == sender]


async def test_each_sender_can_have_an_order_of_its_own(autojump_clock: MockClock) -> None:
    orders: set[tuple[int, ...]] = set()
    for seed in range(20):
        async with house(mailbox_envelopes_max=99) as it:
            network = UnreliableNetwork(it.system, SeededRandomness(seed))
            network.delay_seconds_max, network.reorders_senders = 2.0, True
            for number in range(3):
                for sender in (1, 2, 3):
                    await it.send((sender * 100 + number,), sender)
            await trio.sleep(20)
            assert all(whose(heard(it), sender) == [sender * 100 + n for n in range(3)] for sender in (1, 2, 3))
            orders.add(tuple(heard(it)))
    assert len(orders) > 15


async def test_whenever_it_begins_or_ends_to_reorder_each_sender_keeps_its_order(autojump_clock: MockClock) -> None:
    for seed in range(20):
        async with house(mailbox_envelopes_max=99) as it:
            chance = SeededRandomness(seed)
            network = UnreliableNetwork(it.system, chance)
            for number in range(20):
                network.reorders_senders, network.delay_seconds_max = chance.random() < 0.5, chance.choice([0.0, 2.0])
                await it.send((100 + number,), 1)
                await it.send((200 + number,), 2)
                await trio.sleep(chance.choice([0.0, 0.5]))
            await trio.sleep(60)
            assert all(whose(heard(it), sender) == [sender * 100 + n for n in range(20)] for sender in (1, 2))


async def test_a_cut_parts_two_sides_until_it_is_healed(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.cut("user", "sender")
        await it.send((1, 2))
        await wait_all_tasks_blocked()
        assert (heard(it), network.counts["cut off"]) == ([], 2)
        network.heal()
        await it.send((3,))
        await wait_all_tasks_blocked()
        assert heard(it) == [3], "what was cut off is gone"


async def test_a_cut_of_one_way_leaves_the_other(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.cut("user", "sender", one_way=True)
        await it.send((1,))
        await wait_all_tasks_blocked()
        assert heard(it) == [1]
        network.cut("sender", "user", one_way=True)
        await it.send((2,))
        await wait_all_tasks_blocked()
        assert heard(it) == [1]


async def test_a_cut_may_part_some_actors_of_a_kind_from_the_others(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.cut([it.system.ref("sender", 1), Address("sender", 2)], it.system.ref("user", 1))
        for sender in (1, 2, 3):
            await it.send((sender,), sender)
        await wait_all_tasks_blocked()
        assert heard(it) == [3]


async def test_what_is_under_way_is_cut_off_too(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.delay_seconds_max = 2.0
        await it.send((1,))
        await it.send((2,), 2)
        network.cut(it.system.ref("sender", 1), "user")
        await trio.sleep(10)
        assert (heard(it), network.under_way, network.counts["cut off"]) == ([2], 0, 1)


async def test_what_a_turn_that_waits_has_told_comes_from_its_actor_too(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        network.cut(it.system.ref("sender", 1), "user")
        for sender in (1, 2):
            await it.system.ref("sender", sender).ask(SendLater((sender,)), deadline=trio.current_time() + 5)
        await wait_all_tasks_blocked()
        assert heard(it) == [2]


async def test_a_cut_between_nobody_is_refused(autojump_clock: MockClock) -> None:
    async with house() as it:
        network = UnreliableNetwork(it.system, SeededRandomness(1))
        with pytest.raises(ValueError, match="somebody on each of its sides"):
            network.cut([], "user")
        with pytest.raises(UnknownKind):
            network.cut("user", "sendr")
        with pytest.raises(TypeError, match="made of names of kinds, refs and addresses, not of 1"):
            network.cut("user", [1])  # type: ignore[list-item]


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
