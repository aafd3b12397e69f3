"""Dead letters: exact counts, rings by reason, sampled events, and who sent them."""

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorSystem, Command, Kind, Overflow, Ref, handles, open_system
from greenroom.runtime.dead_letters import EVENTS_MAX, RING_LETTERS_MAX, RING_OF_REASON_LETTERS_MAX
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Note(Command[None]):
    number: int = 0


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Forward(Command[None]):
    to: Ref
    times: int = 1
    waits: bool = False


class Full(Actor):
    """Takes nothing: its start does not end."""

    async def start(self) -> None:
        await trio.sleep_forever()


class Sender(Actor):
    @handles(Forward)
    async def forward(self, command: Forward) -> None:
        if command.waits:
            await trio.lowlevel.checkpoint()
        for _ in range(command.times):
            command.to.tell(Note())

    @handles(Fail)
    def fail(self, _: Fail) -> None:
        raise ValueError("on purpose")


@dataclass(frozen=True, slots=True)
class PlainForward(Command[None]):
    to: Ref


class PlainSender(Actor):
    @handles(PlainForward)
    def forward(self, command: PlainForward) -> None:
        self.ctx.tell(command.to, Note())


class Relay(Actor):
    @handles(Forward)
    async def forward(self, command: Forward) -> None:
        await self.ctx.ref("sender", 1).ask(command, deadline=trio.current_time() + 5)


@dataclass
class House:
    system: ActorSystem
    events: list[tuple[str, dict]] = field(default_factory=list)

    def of(self, name: str) -> list[dict]:
        return [facts for event, facts in self.events if event == name]


@asynccontextmanager
async def open_house() -> AsyncIterator[House]:
    committer, events = MemoryCommitter(), []
    small = {"mailbox_envelopes_max": 1, "start_seconds_max": 1e6}
    kinds = [
        Kind("full", lambda _: Full(), **small),
        Kind("dropping", lambda _: Full(), overflow=Overflow.DROP_NEWEST, **small),
        Kind("sender", lambda _: Sender()),
        Kind("plain", lambda _: PlainSender()),
        Kind("relay", lambda _: Relay()),
    ]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(
            kinds,
            committer=committer,
            event=lambda name, **facts: events.append((name, facts)),
            stop_seconds_max=0.1,
        ) as system:
            yield House(system, events)
        nursery.cancel_scope.cancel()


async def test_a_flood_is_a_few_events_and_one_sum_and_the_counts_stay_exact(autojump_clock: MockClock):
    async with open_house() as house:
        dropping = house.system.ref("dropping", 1)
        for number in range(1001):
            dropping.tell(Note(number))
        assert len(house.of("dead_letter.buried")) == EVENTS_MAX
        assert house.of("dead_letter.summed") == []
        await trio.sleep(1.5)
        assert house.of("dead_letter.summed") == [{"reason": "dropped_newest", "count": 1000 - EVENTS_MAX}]
        assert house.system.dead_letters.counts == Counter(dropped_newest=1000)
        dropping.tell(Note())
        assert len(house.of("dead_letter.buried")) == EVENTS_MAX + 1, "the next window has begun"


async def test_reasons_are_sampled_apart(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("sender", 1).tell(Fail())
        dropping = house.system.ref("dropping", 1)
        for _ in range(100):
            dropping.tell(Note())
        await wait_all_tasks_blocked()
        told = [(facts["command"], facts["reason"]) for facts in house.of("dead_letter.buried")]
        assert ("Fail", "crashed") in told
        assert len(told) == EVENTS_MAX + 1


async def test_a_flood_of_one_reason_leaves_the_letters_of_another_in_their_ring(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("sender", 1).tell(Fail())
        await wait_all_tasks_blocked()
        dropping = house.system.ref("dropping", 1)
        for _ in range(RING_LETTERS_MAX + 10):
            dropping.tell(Note())
        letters = house.system.dead_letters
        assert {letter.reason for letter in letters.newest} == {"dropped_newest"}
        assert [letter.command for letter in letters.by_reason["crashed"]] == ["Fail"]
        assert len(letters.by_reason["dropped_newest"]) == RING_OF_REASON_LETTERS_MAX


async def test_what_was_not_told_yet_is_summed_up_at_the_end(autojump_clock: MockClock):
    async with open_house() as house:
        dropping = house.system.ref("dropping", 1)
        for _ in range(EVENTS_MAX + 5):
            dropping.tell(Note())
    sums = house.of("dead_letter.summed")
    assert {"reason": "dropped_newest", "count": 4} in sums


async def test_a_letter_names_the_turns_that_led_to_it(autojump_clock: MockClock):
    async with open_house() as house:
        full = house.system.ref("full", 1)
        full.tell(Note())
        await house.system.ref("relay", 7).ask(Forward(full, waits=True), deadline=trio.current_time() + 5)
        [letter] = house.system.dead_letters.by_reason["mailbox_full"]
        assert letter.senders == ("relay/7.Forward", "sender/1.Forward")
        assert house.of("dead_letter.buried")[0]["senders"] == ["relay/7.Forward", "sender/1.Forward"]


async def test_of_a_plain_handler_the_actor_is_named(autojump_clock: MockClock):
    async with open_house() as house:
        full = house.system.ref("full", 1)
        full.tell(Note())
        await house.system.ref("plain", 3).ask(PlainForward(full), deadline=trio.current_time() + 5)
        [letter] = house.system.dead_letters.by_reason["mailbox_full"]
        assert letter.senders == ("plain/3",)


async def test_of_a_tell_from_outside_nobody_is_named(autojump_clock: MockClock):
    async with open_house() as house:
        house.system.ref("sender", 1).tell(Fail())
        await wait_all_tasks_blocked()
        assert [letter.senders for letter in house.system.dead_letters.newest] == [()]
        assert "senders" not in house.of("dead_letter.buried")[0]
