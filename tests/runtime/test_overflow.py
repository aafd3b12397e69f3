"""Full mailboxes: what counts as full, what is dropped, and what replaces what. Random histories against a model."""

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import (
    Actor,
    ActorBusy,
    ActorSystem,
    Address,
    AskTimeout,
    Command,
    CommandTooLarge,
    Kind,
    MailboxFull,
    Meter,
    Overflow,
    Ref,
    handles,
    open_system,
)
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.mailbox import MailboxStatistics
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.testing import MemoryCommitter

ADDRESS = Address("test", 1)
Item = tuple[str, int]


def tell(item: Item) -> Envelope:
    return Envelope(ADDRESS, item)


def size_of(command: object) -> int:
    assert isinstance(command, tuple)
    return int(command[1])


def key_of(command: object) -> str | None:
    assert isinstance(command, tuple)
    return None if command[0] == "-" else str(command[0])


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(["-", "a", "b"]), st.integers(0, 5)),
        st.tuples(st.just("pop"), st.just(""), st.just(0)),
        st.tuples(st.just("drop"), st.just(""), st.integers(0, 15)),
        st.tuples(st.just("back"), st.just(""), st.just(0)),
    ),
    max_size=60,
)


@given(STEPS, st.integers(1, 6), st.integers(0, 12))
def test_it_holds_what_a_plain_list_would(steps: list[tuple[str, str, int]], count_max: int, bytes_max: int) -> None:
    async def main() -> None:
        meter = Meter(size_of=size_of, bytes_max=bytes_max, coalesce_by=key_of)
        mailbox, model = MeteredMailbox(count_max, meter), list[Item]()
        popped: Item | None = None
        keyless = set[int]()  # indices counted from the end of the model: put back, so no longer replaced
        for kind, key, size in steps:
            if kind == "put":
                at = next(
                    (i for i, item in enumerate(model) if key != "-" and item[0] == key and i >= len(keyless)), None
                )
                used = sum(item[1] for item in model)
                accepted = mailbox.put_nowait(tell((key, size)))
                if at is not None:
                    assert accepted == (not bytes_max or used - model[at][1] + size <= bytes_max)
                    if accepted:
                        model[at] = (key, size)
                else:
                    assert accepted == (len(model) < count_max and not (bytes_max and used + size > bytes_max))
                    if accepted:
                        model.append((key, size))
            elif kind == "pop":
                envelope = mailbox.pop()
                popped = model.pop(0) if model else None
                keyless = set(range(max(len(keyless) - 1, 0)))
                assert (envelope.command if envelope else None) == popped
            elif kind == "drop" and not keyless:
                fits, used = not bytes_max or size <= bytes_max, sum(item[1] for item in model)
                expected = list[Item]()
                while fits and model and (len(model) >= count_max or (bytes_max and used + size > bytes_max)):
                    expected.append(model.pop(0))
                    used -= expected[-1][1]
                assert [victim.command for victim in mailbox.make_room(("-", size))] == expected
            elif kind == "back" and popped is not None:
                mailbox.put_back([tell(popped)])
                model.insert(0, popped)
                keyless = set(range(len(keyless) + 1))
                popped = None
            assert len(mailbox) == len(model)
            assert mailbox.bytes == sum(item[1] for item in model)
        assert [envelope.command for envelope in mailbox.drain()] == model
        assert mailbox.bytes == 0

    trio.run(main)


TIMED_STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["tell", "tell", "enveloped", "ask"]), st.integers(0, 5)),
        st.tuples(st.sampled_from(["pop", "drop", "back", "look", "look last", "walk", "system"]), st.just(0)),
        st.tuples(st.just("wait"), st.integers(1, 9)),
    ),
    max_size=80,
)


def room_in(model: list[tuple[Item, float, bool]], count_max: int, bytes_max: int, since_min: float) -> bool:
    """Whether one command of a byte more would be taken."""
    used = sum(size for (_, size), _, _ in model)
    is_late = bool(model) and model[0][1] < since_min
    return len(model) < count_max and not (bytes_max and used + 1 > bytes_max) and not is_late


def room_made_in(
    model: list[tuple[Item, float, bool]], count_max: int, bytes_max: int, since_min: float
) -> tuple[list[tuple[Item, float, bool]], list[Item]]:
    """What stays and what goes, the oldest tells first; all stays when that would not do."""
    left, gone = list(model), list[Item]()
    while not room_in(left, count_max, bytes_max, since_min):
        place = next((place for place, (_, _, is_ask) in enumerate(left) if not is_ask), None)
        if place is None:
            return model, []
        gone.append(left.pop(place)[0])
    return left, gone


@given(TIMED_STEPS, st.integers(1, 8), st.integers(0, 15), st.sampled_from([3.5, 8.5, math.inf]))
def test_a_tell_that_lies_bare_counts_as_one_in_an_envelope(
    steps: list[tuple[str, int]], count_max: int, bytes_max: int, head_seconds_max: float
) -> None:
    clock = MockClock()

    async def main() -> None:
        mailbox = MeteredMailbox(count_max, Meter(size_of, bytes_max, head_seconds_max))
        model, system, refused = list[tuple[Item, float, bool]](), list[Item](), 0
        popped: Item | None = None
        for number, (kind, amount) in enumerate(steps):
            item, now = (str(number), amount), clock.current_time()
            if kind == "wait":
                clock.jump(amount)
            elif kind in ("tell", "enveloped", "ask"):
                used = sum(size for (_, size), _, _ in model)
                fits = len(model) < count_max and not (bytes_max and used + amount > bytes_max)
                fits = fits and not (model and now - model[0][1] > head_seconds_max)
                if kind == "tell":
                    assert mailbox.put_tell(ADDRESS, item) is fits
                else:
                    is_ask = kind == "ask"
                    assert mailbox.put_nowait(Question(ADDRESS, item, print) if is_ask else tell(item)) is fits
                    refused += not fits
                if fits:
                    model.append((item, now, kind == "ask"))
            elif kind == "system":
                system.append(item)
                assert mailbox.put_system(tell(item))
            elif kind == "pop":
                envelope = mailbox.pop()
                expected = system.pop(0) if system else model.pop(0)[0] if model else None
                assert (envelope and envelope.command) == expected
                popped = expected or popped
            elif kind == "drop":
                model, gone = room_made_in(model, count_max, bytes_max, now - head_seconds_max)
                assert [victim.command for victim in mailbox.make_room(("-", 1))] == gone
            elif kind == "back" and popped is not None:
                mailbox.put_back([tell(popped)])
                model.insert(0, (popped, model[0][1] if model else now, False))
                popped = None
            elif kind == "look":
                head = mailbox.peek()
                assert (head and head.command) == (system[0] if system else model[0][0] if model else None)
                assert head is mailbox.peek()
            elif kind == "look last":
                last = mailbox.peek_last()
                assert (last and last.command) == (model[-1][0] if model else system[-1] if system else None)
                assert last is mailbox.peek_last()
            elif kind == "walk":
                assert [envelope.command for envelope in mailbox] == [*system, *(item for item, _, _ in model)]
                assert mailbox.bare() == 0
            assert len(mailbox) == len(system) + len(model)
            assert mailbox.bytes == sum(size for (_, size), _, _ in model)
        assert mailbox.refused == refused
        taken = mailbox.drain()
        assert [envelope.command for envelope in taken] == [*system, *(item for item, _, _ in model)]
        assert [envelope.is_ask for envelope in taken] == [False] * len(system) + [is_ask for _, _, is_ask in model]
        assert {envelope.to for envelope in taken} <= {ADDRESS}
        assert (mailbox.bytes, len(mailbox)) == (0, 0)

    trio.run(main, clock=clock)


async def test_nothing_is_taken_behind_a_command_that_waits_for_too_long(autojump_clock: MockClock) -> None:
    mailbox = MeteredMailbox(10, Meter(head_seconds_max=5))
    assert mailbox.put_nowait(tell(("-", 1)))
    await trio.sleep(4)
    assert mailbox.put_nowait(tell(("-", 2)))
    await trio.sleep(2)
    assert not mailbox.put_nowait(tell(("-", 3)))
    busy = mailbox.why_full(ADDRESS)
    assert isinstance(busy, ActorBusy)
    assert busy.head_seconds == pytest.approx(6)
    assert "test/1 holds a command that has waited for 6.0 s" in str(busy)
    mailbox.pop()
    assert mailbox.put_nowait(tell(("-", 3))), "the next head has waited for two seconds only"


async def test_its_statistics_say_what_waits_and_for_how_long(autojump_clock: MockClock) -> None:
    mailbox = MeteredMailbox(10, Meter(size_of=size_of, coalesce_by=key_of))
    assert mailbox.statistics() == MailboxStatistics(0, 0, 0, 0, 0, None)
    mailbox.put_nowait(tell(("a", 3)))
    await trio.sleep(4)
    mailbox.put_nowait(tell(("b", 2)))
    mailbox.put_nowait(tell(("b", 5)))
    assert mailbox.statistics() == MailboxStatistics(2, 2, 0, bytes=8, coalesced=1, head_seconds=4)
    last = tell(("-", 1))
    mailbox.put_nowait(last)
    mailbox.take_back(last)
    assert mailbox.statistics() == MailboxStatistics(2, 3, 0, bytes=8, coalesced=1, head_seconds=4)


async def test_an_ask_is_never_replaced_nor_dropped() -> None:
    mailbox = MeteredMailbox(2, Meter(coalesce_by=key_of))
    question = Question(ADDRESS, ("a", 1), lambda value, error: None)
    assert mailbox.put_nowait(question)
    assert mailbox.put_nowait(tell(("a", 2)))
    assert len(mailbox) == 2
    assert [victim.command for victim in mailbox.make_room(("b", 1))] == [("a", 2)]
    assert mailbox.put_nowait(Question(ADDRESS, ("a", 3), lambda value, error: None))
    assert mailbox.make_room(("b", 1)) == []
    assert len(mailbox) == 2


async def test_the_error_names_the_bound_that_was_reached() -> None:
    mailbox = MeteredMailbox(2, Meter(size_of=size_of, bytes_max=4))
    mailbox.put_nowait(tell(("-", 4)))
    assert not mailbox.put_nowait(tell(("-", 1)))
    full = mailbox.why_full(ADDRESS)
    assert type(full) is MailboxFull
    assert (
        str(full)
        == "test/1 holds 4 of 4 bytes (bytes_max of its meter): slow the sender or raise the limit of the kind"
    )


@pytest.mark.parametrize(
    "bad", [{"bytes_max": -1}, {"bytes_max": 5}, {"head_seconds_max": 0.0}, {"head_seconds_max": -math.inf}]
)
def test_a_meter_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"a meter: |size_of"):
        Meter(**bad)  # type: ignore[arg-type]


def test_the_policies_are_a_closed_set() -> None:
    assert {policy.value for policy in Overflow} == {"refuse", "drop_oldest", "drop_newest"}


# -- through the whole of the runtime ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Put(Command[int]):
    text: str
    key: str | None = None


@dataclass(frozen=True, slots=True)
class Hold(Command[None]):
    until: trio.Event


class Shelf(Actor):
    def __init__(self, seen: list[str]) -> None:
        self.seen = seen

    @handles(Put)
    def put(self, command: Put) -> int:
        self.seen.append(command.text)
        return len(self.seen)

    @handles(Hold)
    async def hold(self, command: Hold) -> None:
        await command.until.wait()


@dataclass
class House:
    system: ActorSystem
    ref: Ref
    seen: list[str]
    until: trio.Event

    @property
    def mailbox(self) -> Any:
        return self.system.activations[self.ref.address].mailbox


@asynccontextmanager
async def held_shelf(bytes_max: int = 10, head_seconds_max: float = math.inf, **options: Any) -> AsyncIterator[House]:
    """A shelf whose turn waits, so that what it is told waits too."""
    seen, until = list[str](), trio.Event()
    meter = Meter(
        size_of=lambda command: len(command.text) if isinstance(command, Put) else 0,
        bytes_max=bytes_max,
        head_seconds_max=head_seconds_max,
        coalesce_by=lambda command: getattr(command, "key", None),
    )
    kind = Kind("shelf", lambda _: Shelf(seen), **({"meter": meter} | options))
    async with open_system([kind], committer=MemoryCommitter()) as system:
        ref = system.ref("shelf", 1)
        ref.tell(Hold(until))
        await wait_all_tasks_blocked()
        yield House(system, ref, seen, until)
        until.set()


async def finish(house: House) -> list[str]:
    house.until.set()
    await wait_all_tasks_blocked()
    return house.seen


async def test_as_many_of_the_oldest_are_dropped_as_the_new_one_needs(autojump_clock: MockClock) -> None:
    async with held_shelf(overflow=Overflow.DROP_OLDEST) as house:
        for text in ("aaa", "bbb", "c", "d" * 9):
            house.ref.tell(Put(text))
        assert house.system.dead_letters.counts == {"dropped_oldest": 2}
        assert await finish(house) == ["c", "d" * 9]


async def test_nothing_is_dropped_for_what_would_never_fit(autojump_clock: MockClock) -> None:
    for policy in Overflow:
        async with held_shelf(overflow=policy) as house:
            house.ref.tell(Put("aaa"))
            with pytest.raises(CommandTooLarge, match=r"shelf/1 was told a Put of 11 bytes, and at most 10 may wait"):
                house.ref.tell(Put("d" * 11))
            with pytest.raises(CommandTooLarge):
                await house.ref.offer(Put("d" * 11))
            assert not house.system.dead_letters.counts
            assert await finish(house) == ["aaa"]


async def test_without_a_meter_an_ask_is_not_dropped_either(autojump_clock: MockClock) -> None:
    async with held_shelf(overflow=Overflow.DROP_OLDEST, meter=None, mailbox_envelopes_max=2) as house:
        heard = list[Any]()
        house.ref.request(Put("asked"), lambda *answer: heard.append(answer), deadline=trio.current_time() + 50)
        house.ref.tell(Put("oldest tell"))
        house.ref.tell(Put("newest tell"))
        assert house.system.dead_letters.counts == {"dropped_oldest": 1}
        assert await finish(house) == ["asked", "newest tell"]
        assert heard == [(1, None)]


async def test_nothing_is_dropped_when_asks_leave_no_room(autojump_clock: MockClock) -> None:
    async with held_shelf(overflow=Overflow.DROP_OLDEST) as house:
        house.ref.request(Put("a" * 8), lambda *_: None, deadline=trio.current_time() + 50)
        house.ref.tell(Put("bb"))
        with pytest.raises(MailboxFull):
            house.ref.tell(Put("ccc"))
        assert not house.system.dead_letters.counts
        assert await finish(house) == ["a" * 8, "bb"]


async def test_what_replaces_another_is_held_to_the_bytes_too(autojump_clock: MockClock) -> None:
    async with held_shelf() as house:
        house.ref.tell(Put("a", "k"))
        house.ref.tell(Put("b" * 5))
        with pytest.raises(MailboxFull, match="6 of 10 bytes"):
            house.ref.tell(Put("c" * 6, "k"))
        house.ref.tell(Put("c" * 5, "k"))
        assert house.mailbox.bytes == 10
        assert await finish(house) == ["c" * 5, "b" * 5]


async def test_what_replaces_another_drops_the_oldest_but_not_that_one(autojump_clock: MockClock) -> None:
    async with held_shelf(overflow=Overflow.DROP_OLDEST) as house:
        for put in (Put("a", "k"), Put("b" * 5), Put("c"), Put("d" * 6, "k")):
            house.ref.tell(put)
        assert house.system.dead_letters.counts == {"dropped_oldest": 1}
        assert await finish(house) == ["d" * 6, "c"]


@pytest.mark.parametrize(
    ("bounds", "first"), [({"bytes_max": 10}, "a" * 8), ({"bytes_max": 99, "head_seconds_max": 5}, "a")]
)
async def test_an_offer_waits_for_every_bound_without_trying_again_and_again(
    bounds: dict[str, Any], first: str, autojump_clock: MockClock
) -> None:
    async with held_shelf(**bounds) as house, trio.open_nursery() as nursery:
        house.ref.tell(Put(first))
        await trio.sleep(10)
        nursery.start_soon(house.ref.offer, Put("b" * 5))
        nursery.start_soon(house.ref.offer, Put("b" * 5))
        await wait_all_tasks_blocked()  # never, while they try
        assert len(nursery.child_tasks) == 2
        assert house.mailbox.refused == 0
        assert await finish(house) == [first, "b" * 5, "b" * 5]


@pytest.mark.parametrize("options", [{}, {"meter": None}])
async def test_who_has_given_up_takes_no_place_and_is_no_dead_letter(
    options: dict[str, Any], autojump_clock: MockClock
) -> None:
    for policy in (Overflow.REFUSE, Overflow.DROP_OLDEST):
        async with held_shelf(mailbox_envelopes_max=3, overflow=policy, **options) as house:
            house.ref.tell(Put("tell"))
            for _ in range(2):
                with pytest.raises(AskTimeout):
                    await house.ref.ask(Put("ask"), deadline=trio.current_time() + 1)
            assert len(house.mailbox) == 3
            house.ref.tell(Put("1"))
            house.ref.tell(Put("2"))
            assert not house.system.dead_letters.counts
            assert house.mailbox.refused == 0
            assert await finish(house) == ["tell", "1", "2"]


async def test_a_tell_from_a_thread_leaves_no_bytes_behind() -> None:
    async with held_shelf() as house:
        await finish(house)
        with pytest.raises(RuntimeError, match="from another thread"):
            await trio.to_thread.run_sync(lambda: house.ref.tell(Put("a")))
        assert (len(house.mailbox), house.mailbox.bytes) == (0, 0)
