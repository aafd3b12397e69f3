"""Pace: when a full mailbox may have room again, guessed from how fast its actor has been. Pure."""

from typing import Final

RETRY_SECONDS_MIN: Final = 0.01
RETRY_SECONDS_MAX: Final = 30.0


def retry_seconds(depth: int, turns: int, busy_seconds: float, waits_seconds: float) -> float:
    """In how many seconds half of *depth* commands may be handled.

    busy_seconds: of all *turns* so far, but for what they waited. waits_seconds: for how long the turn that waits now
    has done so, the least that is known of how long one waits. From RETRY_SECONDS_MIN to RETRY_SECONDS_MAX.
    """
    turn_seconds = max(busy_seconds / max(turns, 1), waits_seconds)
    return min(max(depth / 2 * turn_seconds, RETRY_SECONDS_MIN), RETRY_SECONDS_MAX)
