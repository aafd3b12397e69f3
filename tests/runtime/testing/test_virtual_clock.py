"""Virtual time: the wall moves with trio's clock until it is set, stepped or skewed, and deadlines never notice."""

import pytest
import trio
from trio.testing import MockClock

from greenroom.runtime.testing import VirtualClock
from greenroom.runtime.testing.virtual_clock import WALL_SECONDS_AT_START

START_MS = round(WALL_SECONDS_AT_START * 1000)


async def test_the_wall_moves_with_trio_to_the_millisecond(autojump_clock: MockClock) -> None:
    clock = VirtualClock(autojump_clock)
    assert clock.wall_milliseconds() == START_MS
    await trio.sleep(600.25)
    assert clock.wall_milliseconds() == START_MS + 600_250


async def test_a_wall_that_is_set_back_moves_no_deadline(autojump_clock: MockClock) -> None:
    clock = VirtualClock(autojump_clock)
    with trio.move_on_after(10) as scope:
        await trio.sleep(4)
        clock.step_wall(-3600)
        assert clock.wall_milliseconds() == START_MS - 3_596_000
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert clock.wall_milliseconds() == START_MS - 3_590_000


async def test_a_wall_that_is_skewed_goes_on_from_where_it_was(autojump_clock: MockClock) -> None:
    clock = VirtualClock(autojump_clock)
    await trio.sleep(10)
    clock.skew_wall(2)
    await trio.sleep(10)
    clock.skew_wall(0)
    await trio.sleep(10)
    assert clock.wall_milliseconds() == START_MS + 30_000


async def test_a_wall_can_be_set_to_a_date(autojump_clock: MockClock) -> None:
    clock = VirtualClock(autojump_clock, wall_seconds=5)
    await trio.sleep(1)
    assert clock.wall_milliseconds() == 6000
    clock.set_wall(1000)
    await trio.sleep(1)
    assert clock.wall_milliseconds() == 1_001_000


async def test_time_jumps_for_trio_and_on_the_wall(mock_clock: MockClock) -> None:
    clock = VirtualClock(mock_clock)
    began = trio.current_time()
    clock.jump(60)
    assert (trio.current_time() - began, clock.wall_milliseconds()) == (60, START_MS + 60_000)


def test_each_look_at_the_busy_counter_costs_the_same() -> None:
    clock = VirtualClock(busy_seconds_step=0.5)
    assert [clock.busy_seconds() for _ in range(3)] == [0.5, 1.0, 1.5]


@pytest.mark.parametrize(
    "misuse",
    [
        lambda: VirtualClock(busy_seconds_step=0),
        lambda: VirtualClock(busy_seconds_step=float("inf")),
        lambda: VirtualClock().jump(-1),
        lambda: VirtualClock().skew_wall(-1),
    ],
)
def test_what_would_make_no_time_is_refused(misuse) -> None:
    with pytest.raises(ValueError, match=r"none|0 or more|above 0"):
        misuse()
