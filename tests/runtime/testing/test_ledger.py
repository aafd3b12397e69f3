"""The ledger: what was accepted is somewhere, or was handled, told of, or buried; what is not is named."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorFailed,
    ActorSystem,
    Command,
    Kind,
    MailboxFull,
    Meter,
    Overflow,
    Ref,
    handles,
    open_system,
)
from greenroom.runtime.testing import CommandLost, Ledger, MemoryCommitter


@dataclass(frozen=True, slots=True)
class Put(Command[int]):
    number: int


@dataclass(frozen=True, slots=True)
class Many(Command[int]):
    number: int


@dataclass(frozen=True, slots=True)
class Aside(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Wait(Command[None]):
    until: trio.Event


class Shelf(Actor):
    @handles(Put)
    def put(self, command: Put) -> int:
        if command.number < 0:
            raise ValueError("negative")
        self.ctx.write(command.number)
        return command.number

    @handles(Many, batch=10)
    def many(self, commands: list[Many]) -> int:
        return len(commands)

    @handles(Aside)
    def aside(self, _: Aside) -> None:
        self.ctx.stash()

    @handles(Wait)
    async def wait(self, command: Wait) -> None:
        await command.until.wait()


@dataclass
class House:
    system: ActorSystem
    ledger: Ledger
    committer: MemoryCommitter

    @property
    def shelf(self) -> Ref:
        return self.system.ref("shelf", 1)

    async def counts(self) -> dict[str, int]:
        await wait_all_tasks_blocked()
        self.ledger.check(self.system)
        return dict(self.ledger.counts)


@asynccontextmanager
async def house(**limits) -> AsyncIterator[House]:
    ledger, committer = Ledger(), MemoryCommitter()
    kind = ledger.on(Kind("shelf", lambda _: Shelf(), **{"ownership": "create"} | limits))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system([kind], committer=committer) as system:
            ledger.follow_dead_letters(system)
            yield House(system, ledger, committer)
        nursery.cancel_scope.cancel()


async def test_each_end_has_its_count(autojump_clock: MockClock) -> None:
    async with house() as it:
        for number in (1, 2, -3):
            it.shelf.tell(Put(number))
        assert await it.shelf.ask(Put(4), deadline=trio.current_time() + 5) == 4
        with pytest.raises(ActorFailed):
            await it.shelf.ask(Put(-5), deadline=trio.current_time() + 5)
        for number in range(5):
            it.shelf.tell(Many(number))
        assert await it.counts() == {"accepted": 10, "handled": 7, "dead": 1, "told": 2}
        assert (it.ledger.dead, it.ledger.waiting) == ([Put(-3)], 0)


async def test_what_waits_is_found_wherever_it_does(autojump_clock: MockClock) -> None:
    async with house() as it:
        gate = trio.Event()
        it.committer.hold()
        for command in (Put(1), Many(1), Many(2), Aside(), Wait(gate), Put(2)):
            it.shelf.tell(command)
        assert await it.counts() == {"accepted": 6}
        assert it.ledger.waiting == 6
        gate.set()
        it.committer.release()
        assert await it.counts() == {"accepted": 6, "handled": 5}
        assert it.ledger.waiting == 1


async def test_what_is_refused_was_not_accepted(autojump_clock: MockClock) -> None:
    async with house(mailbox_envelopes_max=2) as it:
        for number in (1, 2):
            it.shelf.tell(Put(number))
        with pytest.raises(MailboxFull):
            it.shelf.tell(Put(3))
        assert await it.counts() == {"accepted": 2, "refused": 1, "handled": 2}


async def test_what_is_dropped_or_coalesced_is_counted_so(autojump_clock: MockClock) -> None:
    async with house(mailbox_envelopes_max=2, overflow=Overflow.DROP_OLDEST) as it:
        for number in (1, 2, 3):
            it.shelf.tell(Put(number))
        assert await it.counts() == {"accepted": 3, "refused": 1, "handled": 2, "dead": 1}
    async with house(meter=Meter(coalesce_by=lambda _: "one")) as it:
        for number in (1, 2, 3):
            it.shelf.tell(Put(number))
        assert await it.counts() == {"accepted": 3, "coalesced": 2, "handled": 1}
        assert [write for _, write in it.committer.stored] == [3]


async def test_a_command_that_is_nowhere_is_named(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.shelf.tell(Put(7))
        it.system.activation(it.shelf.address).mailbox.drain()
        with pytest.raises(CommandLost, match=r"shelf/1 Put\(number=7\) was accepted, is queued, and is nowhere"):
            it.ledger.check(it.system)


async def test_a_command_that_ends_in_silence_is_named(autojump_clock: MockClock) -> None:
    async with house() as it:
        it.shelf.tell(Put(7))
        (envelope,) = it.system.activation(it.shelf.address).mailbox.drain()
        envelope.fail(ValueError())
        with pytest.raises(CommandLost, match=r"Put\(number=7\) is settled, was not handled, and is no dead letter"):
            it.ledger.check(it.system)
