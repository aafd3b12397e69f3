"""Full mailboxes: what counts as full, what is dropped, and what replaces what. Random histories against a model."""

import math

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from greenroom.runtime import ActorBusy, Address, MailboxFull, Meter, Overflow
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.mailbox import MailboxStatistics
from greenroom.runtime.metered_mailbox import MeteredMailbox

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
        st.tuples(st.just("drop"), st.just(""), st.just(0)),
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
                    assert accepted
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
                victim = mailbox.take_oldest_tell()
                assert (victim.command if victim else None) == (model.pop(0) if model else None)
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
                place = next((place for place, (_, _, is_ask) in enumerate(model) if not is_ask), None)
                victim = mailbox.take_oldest_tell()
                assert (victim and victim.command) == (None if place is None else model.pop(place)[0])
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
    victim = mailbox.take_oldest_tell()
    assert victim is not None
    assert victim.command == ("a", 2)
    assert mailbox.take_oldest_tell() is None


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
