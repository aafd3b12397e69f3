"""When an alarm comes, comes again and is given up, without a clock or a system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.alarm_rules import (
    RETRY_SECONDS_MAX,
    TRIES_MAX,
    Tick,
    after_failure,
    after_success,
    retry_seconds,
    tick_of,
)
from greenroom.runtime.alarm_store import StoredAlarm

TIMES = st.integers(0, 10**12)
EVERY = st.integers(1, 10**9)


def alarm(at_ms=1000, every_ms=None, tries=0, due_ms=None):
    return StoredAlarm("a", at_ms, at_ms if due_ms is None else due_ms, every_ms, "{}", tries)


def test_what_comes_once_is_gone_after_it():
    assert tick_of(alarm(), 10**9) == Tick("a", 1000, 0, 0)
    assert after_success(alarm(), tick_of(alarm(), 10**9)) is None


@pytest.mark.parametrize(
    ("now_ms", "missed", "next_ms"),
    [(1000, 0, 1060), (1059, 0, 1060), (1060, 1, 1120), (1119, 1, 1120), (1600, 10, 1660), (900, 0, 1060)],
)
def test_what_comes_again_counts_what_it_missed_and_keeps_step(now_ms, missed, next_ms):
    beat = alarm(every_ms=60)
    tick = tick_of(beat, now_ms)
    assert tick.missed == missed
    assert after_success(beat, tick) == alarm(next_ms, 60)


@given(at_ms=TIMES, every_ms=EVERY, late_ms=st.integers(0, 10**12), tries=st.integers(0, 9))
def test_the_next_time_is_the_first_in_step_that_is_still_to_come(at_ms, every_ms, late_ms, tries):
    beat = alarm(at_ms, every_ms, tries)
    tick = tick_of(beat, at_ms + late_ms)
    following = after_success(beat, tick)
    assert at_ms + late_ms < following.due_ms <= at_ms + late_ms + every_ms
    assert (following.due_ms - at_ms) % every_ms == 0
    assert (following.due_ms - at_ms) // every_ms == tick.missed + 1
    assert (following.scheduled_ms, following.tries) == (following.due_ms, 0)


def test_the_waits_double_and_end_at_the_ceiling():
    waits = [retry_seconds(failures, 0) for failures in range(12)]
    assert waits == [2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 1024, 1024]
    assert retry_seconds(10**6, 0) == RETRY_SECONDS_MAX


@given(failures=st.integers(0, 1000), jitter=st.floats(-1, 1))
def test_jitter_moves_a_wait_by_a_quarter_and_not_past_the_ceiling(failures, jitter):
    plain, wait = retry_seconds(failures, 0), retry_seconds(failures, jitter)
    assert 0.75 * plain <= wait <= min(1.25 * plain, RETRY_SECONDS_MAX)
    assert retry_seconds(2, -1) == 6
    assert retry_seconds(2, 1) == 10


@given(now_ms=TIMES, every_ms=st.none() | EVERY, jitter=st.floats(-1, 1))
def test_so_many_tries_and_then_it_is_given_up(now_ms, every_ms, jitter):
    row, tries = alarm(0, every_ms), 0
    while True:
        verdict, tries = after_failure(row, now_ms, jitter), tries + 1
        if verdict.is_given_up:
            break
        assert (verdict.alarm.scheduled_ms, verdict.alarm.tries) == (0, tries)
        assert verdict.alarm.due_ms > now_ms
        row, now_ms = verdict.alarm, verdict.alarm.due_ms
    assert tries == TRIES_MAX == 6
    if every_ms is None:
        assert verdict.alarm is None
    else:
        assert verdict.alarm.due_ms > now_ms
        assert verdict.alarm.due_ms % every_ms == 0
        assert verdict.alarm.tries == 0
