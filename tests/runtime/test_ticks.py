"""Who sleeps to a tick wakes at it, whoever else slept to it, came late or was cancelled."""

import math
from collections import Counter
from collections.abc import Iterator

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from greenroom.runtime import sleep_to_tick, sleep_together

SLEEPERS = st.lists(
    st.tuples(
        st.floats(0, 6),  # comes at
        st.sampled_from([0.25, 1.0, 2.0, 5.0]),  # sleeps to a multiple of
        st.none() | st.floats(0, 8),  # is cancelled at
    ),
    min_size=1,
    max_size=12,
)


@given(SLEEPERS)
def test_everybody_wakes_at_the_tick_and_not_before(
    sleepers: list[tuple[float, float, float | None]],
) -> None:
    woke = Counter[str]()

    async def sleep(comes_at: float, period: float, cancelled_at: float | None) -> None:
        began = trio.current_time()
        await trio.sleep_until(began + comes_at)
        came_at = trio.current_time()
        with trio.CancelScope() as scope:
            if cancelled_at is not None:
                scope.deadline = began + cancelled_at
            await sleep_to_tick(period)
        now = trio.current_time()
        tick_at = (came_at // period + 1) * period
        if scope.cancelled_caught:
            assert cancelled_at is not None
            assert now == max(came_at, began + cancelled_at)
            woke["cancelled"] += 1
        else:
            assert now == tick_at
            woke["at the tick"] += 1

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            for sleeper in sleepers:
                nursery.start_soon(sleep, *sleeper)

    trio.run(main, clock=MockClock(autojump_threshold=0))
    assert woke.total() == len(sleepers)


async def test_one_timer_serves_all_who_sleep_to_the_same_moment(autojump_clock: MockClock) -> None:
    until = trio.current_time() + 3
    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(sleep_together, until)
        await trio.testing.wait_all_tasks_blocked()
        assert _timers() == 1
    assert trio.current_time() == until


async def test_when_the_one_with_the_timer_is_cancelled_another_takes_its_place(autojump_clock: MockClock) -> None:
    until = trio.current_time() + 3
    woke_at = []

    async def sleep() -> None:
        await sleep_together(until)
        woke_at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as first:
            async with trio.open_nursery() as of_first:
                of_first.start_soon(sleep)
                await trio.testing.wait_all_tasks_blocked()
                for _ in range(3):
                    nursery.start_soon(sleep)
                await trio.testing.wait_all_tasks_blocked()
                first.cancel()
        await trio.testing.wait_all_tasks_blocked()
        assert woke_at == []
        assert _timers() == 1
    assert woke_at == [until] * 3


async def test_a_moment_that_is_over_is_slept_to_at_once(autojump_clock: MockClock) -> None:
    before = trio.current_time()
    await trio.sleep(1)
    await sleep_together(before)
    assert trio.current_time() == before + 1


def _timers() -> int:
    """How many tasks sleep inside a cancel scope with a deadline."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    return sum(task._cancel_status._scope.deadline < math.inf for task in _all_below(root))


def _all_below(task: trio.lowlevel.Task) -> Iterator[trio.lowlevel.Task]:
    for nursery in task.child_nurseries:
        for child in nursery.child_tasks:
            yield child
            yield from _all_below(child)
