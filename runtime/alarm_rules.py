"""When an alarm comes, comes again and is given up: pure decisions.

    due ──handled──▶ once: gone                    every: at its next time, the missed ones counted
        ──failed───▶ tried again after 2 s × 2^n   …TRIES_MAX times, then given up: a dead letter, and gone or,
                                                   of one that comes again, at its next time

Only what its author is to blame for is counted. When storage is away, or the process died, nobody is: that is tried
again after the same waits and never given up.
"""

from dataclasses import dataclass, replace

from greenroom.runtime.alarm_store import StoredAlarm

TRIES_MAX = 6
RETRY_SECONDS_MIN = 2.0
RETRY_SECONDS_MAX = 1024.0
RETRY_JITTER = 0.25


@dataclass(frozen=True, slots=True)
class Tick:
    """One coming of an alarm, as its handler sees it.

    scheduled_ms: when it should have come. missed: how often it should have come since, and did not; always 0 for one
    that comes once. tries: how often its handler has failed on this one.
    """

    name: str
    scheduled_ms: int
    missed: int
    tries: int


@dataclass(frozen=True, slots=True)
class Verdict:
    """What follows a failure. alarm: as it is now, None when it is gone. is_given_up: this tick is a dead letter."""

    alarm: StoredAlarm | None
    is_given_up: bool


def tick_of(alarm: StoredAlarm, now_ms: int) -> Tick:
    """What its handler is told at *now_ms*."""
    missed = 0 if alarm.every_ms is None else max(0, now_ms - alarm.scheduled_ms) // alarm.every_ms
    return Tick(alarm.name, alarm.scheduled_ms, missed, alarm.tries)


def after_success(alarm: StoredAlarm, tick: Tick) -> StoredAlarm | None:
    """The alarm when *tick* of it was handled: at its next time, in step with its first, or gone."""
    if alarm.every_ms is None:
        return None
    following = alarm.scheduled_ms + (tick.missed + 1) * alarm.every_ms
    return replace(alarm, scheduled_ms=following, due_ms=following, tries=0)


def after_failure(alarm: StoredAlarm, now_ms: int, jitter: float) -> Verdict:
    """The alarm when its handler failed at *now_ms*. *jitter* is a random number in [-1, 1]."""
    tries = alarm.tries + 1
    if tries >= TRIES_MAX:
        return Verdict(after_success(alarm, tick_of(alarm, now_ms)), is_given_up=True)
    due_ms = now_ms + int(retry_seconds(tries - 1, jitter) * 1000)
    return Verdict(replace(alarm, due_ms=due_ms, tries=tries), is_given_up=False)


def retry_seconds(failures: int, jitter: float) -> float:
    """How long to wait after so many earlier *failures*."""
    doubled: float = RETRY_SECONDS_MIN * 2 ** min(failures, 32)  # which passes the ceiling
    return min(doubled * (1 + RETRY_JITTER * jitter), RETRY_SECONDS_MAX)
