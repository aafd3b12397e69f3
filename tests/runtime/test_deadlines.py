"""The heap of deadlines, on the virtual clock."""

import math
import random
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from greenroom.runtime import Actor, ActorFailed, ActorSystem, AskTimeout, Command, Kind, Stream, handles, open_system
from greenroom.runtime.deadlines import REBUILD_ENTRIES_MIN, DeadlineHeap
from greenroom.runtime.testing import MemoryCommitter


async def test_actions_run_at_their_time_in_order(autojump_clock: MockClock) -> None:
    ran: list[tuple[str, float]] = []
    heap = DeadlineHeap(lambda error: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        start = trio.current_time()
        for name, after in (("late", 5.0), ("soon", 1.0), ("middle", 3.0)):
            heap.after(after, lambda name=name: ran.append((name, trio.current_time() - start)))  # type: ignore[misc]
        await trio.sleep(2)
        heap.after(0.5, lambda: ran.append(("new", trio.current_time() - start)))
        await trio.sleep(10)
        nursery.cancel_scope.cancel()
    assert ran == [("soon", 1.0), ("new", 2.5), ("middle", 3.0), ("late", 5.0)]


async def test_a_cancelled_action_never_runs_and_wakes_nobody(autojump_clock: MockClock) -> None:
    heap = DeadlineHeap(lambda error: None)
    ran: list[int] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        entries = [heap.after(10, lambda: ran.append(1)) for _ in range(100)]
        heap.after(1, lambda: ran.append(2))
        for entry in entries:
            entry.cancel()
            entry.cancel()
        assert len(heap) == 1
        await trio.sleep(2)
        await wait_all_tasks_blocked()
        assert heap._heap == [], "settled entries are gone with the next wake, not each with its own"
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    assert ran == [2]


async def test_settled_entries_do_not_pile_up(autojump_clock: MockClock) -> None:
    heap = DeadlineHeap(lambda error: None)
    for _ in range(3 * REBUILD_ENTRIES_MIN):
        heap.after(10, lambda: None).cancel()
    assert len(heap._heap) <= REBUILD_ENTRIES_MIN + 1


async def test_what_is_left_after_most_were_settled_still_comes_at_its_time(autojump_clock: MockClock) -> None:
    late: list[float] = []
    heap, chance = DeadlineHeap(lambda error: None), random.Random(1)

    def due(time: float) -> Callable[[], None]:
        return lambda: late.append(trio.current_time() - time)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        times = [trio.current_time() + chance.uniform(10, 1000) for _ in range(6 * REBUILD_ENTRIES_MIN)]
        entries = [heap.at(time, due(time)) for time in times]
        for entry in chance.sample(entries, 4 * REBUILD_ENTRIES_MIN):
            entry.cancel()
        assert len(heap._heap) < len(entries), "it was built again"
        await trio.sleep(1100)
        nursery.cancel_scope.cancel()
    assert len(late) == 2 * REBUILD_ENTRIES_MIN
    assert max(late) < 0.001


async def test_an_action_that_raises_stops_no_other(autojump_clock: MockClock) -> None:
    faults: list[str] = []
    ran: list[int] = []
    heap = DeadlineHeap(lambda error: faults.append(str(error)))

    def bad() -> None:
        raise ValueError("bad")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(heap.run)
        heap.after(1, bad)
        heap.after(1, lambda: ran.append(1))
        await trio.sleep(2)
        nursery.cancel_scope.cancel()
    assert (faults, ran) == (["bad"], [1])


@pytest.mark.parametrize("time", [math.nan, None, "5", -math.inf])
async def test_what_is_no_time_never_gets_into_the_heap(autojump_clock: MockClock, time: Any) -> None:
    heap = DeadlineHeap(lambda error: None)
    with pytest.raises((TypeError, ValueError)):
        heap.at(time, lambda: None)
    assert heap._heap == []


# -- deadlines that are given --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Add(Command[int]):
    by: int = 1


@dataclass(frozen=True, slots=True)
class Later(Command[None]):
    delay_seconds: Any


@dataclass(frozen=True, slots=True)
class WriteAndAsk(Command[float]):
    """Write, then ask for at most a second. When that was answered or given up."""

    is_stream: bool


@dataclass(frozen=True, slots=True)
class Count(Stream[int]):
    pass


class Counter(Actor):
    def __init__(self) -> None:
        self.total = 0

    @handles(Add)
    def add(self, command: Add) -> int:
        self.total += command.by
        return self.total

    @handles(Later)
    def later(self, command: Later) -> None:
        self.ctx.tell_self_after(command.delay_seconds, Add())

    @handles(Count)
    async def count(self, _: Count) -> AsyncGenerator[int, None]:
        yield 1

    @handles(WriteAndAsk)
    async def write_and_ask(self, command: WriteAndAsk) -> float:
        self.ctx.write("first")
        ref, deadline = self.ctx.ref("counter", 2), trio.current_time() + 1
        asked = (
            ref.stream(Count(), deadline=deadline).__aenter__()
            if command.is_stream
            else ref.ask(Add(), deadline=deadline)
        )
        with pytest.raises(AskTimeout, match=r"counter/2 did not answer .* before the deadline .it was queued"):
            await asked
        return trio.current_time()


@asynccontextmanager
async def open_counters(committer: MemoryCommitter) -> AsyncIterator[ActorSystem]:
    kinds = [Kind("counter", lambda _: Counter()), Kind("keeper", lambda _: Counter(), ownership="create")]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(committer.run)
        async with open_system(kinds, committer=committer) as system:
            yield system
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("deadline", "error"), [(None, TypeError), ("5", TypeError), (math.nan, ValueError)])
async def test_what_is_no_deadline_is_refused_before_anything_is_sent(
    autojump_clock: MockClock, deadline: Any, error: type[Exception]
) -> None:
    async with open_counters(MemoryCommitter()) as system:
        counter = system.ref("counter", 1)
        lesson = rf"a deadline is a trio time, such as trio.current_time\(\) \+ 5, and not {deadline!r}"
        with pytest.raises(error, match=lesson):
            await counter.ask(Add(10), deadline=deadline)
        with pytest.raises(error, match=lesson):
            counter.request(Add(10), lambda value, error: None, deadline=deadline)
        with pytest.raises(error, match=lesson):
            await counter.stream(Count(), deadline=deadline).__aenter__()
        assert await counter.ask(Add(), deadline=trio.current_time() + 1) == 1
        assert len(system.deadlines) == 0


async def test_a_deadline_that_is_over_is_refused_before_anything_is_sent(autojump_clock: MockClock) -> None:
    async with open_counters(MemoryCommitter()) as system:
        counter = system.ref("counter", 1)
        await trio.sleep(100)
        for deadline in (trio.current_time() - 1, trio.current_time(), 5, -math.inf):
            with pytest.raises(AskTimeout, match=r"that was over when it was asked. A deadline is a trio time"):
                await counter.ask(Add(10), deadline=deadline)
            with pytest.raises(AskTimeout):
                counter.request(Add(10), lambda value, error: None, deadline=deadline)
        assert await counter.ask(Add(), deadline=math.inf) == 1


@pytest.mark.parametrize("delay", [math.nan, -1, None, "1"])
async def test_a_timer_that_never_comes_is_refused(autojump_clock: MockClock, delay: Any) -> None:
    async with open_counters(MemoryCommitter()) as system:
        counter = system.ref("counter", 1)
        with pytest.raises(ActorFailed, match=r"a delay is .* and not "):
            await counter.ask(Later(delay), deadline=trio.current_time() + 1)
        await counter.ask(Later(1), deadline=trio.current_time() + 1)
        await trio.sleep(2)
        assert await counter.ask(Add(), deadline=trio.current_time() + 1) == 2


@pytest.mark.parametrize("is_stream", [False, True])
async def test_the_deadline_of_an_ask_in_a_turn_counts_while_storage_is_slow(
    autojump_clock: MockClock, is_stream: bool
) -> None:
    committer = MemoryCommitter()
    async with open_counters(committer) as system:
        committer.hold()
        began, given_up_at = trio.current_time(), []
        keeper = system.ref("keeper", 1)
        keeper.request(WriteAndAsk(is_stream), lambda value, _: given_up_at.append(value), deadline=began + 100)
        await trio.sleep(10)
        committer.release()
        await wait_all_tasks_blocked()
        assert given_up_at == [began + 1]
        assert committer.stored, "what was written before is of the turn, and is stored with it"
