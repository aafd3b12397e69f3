"""Limits per user, counted at the edge before any mailbox. In memory, of this process.

A sliding window, not a calendar minute: N in any 60 seconds, never 2N around a boundary. `retry_after` is whole
seconds, as everywhere on the wire.
"""

import math
from collections import deque
from typing import Final

WINDOW_SECONDS: Final = 60.0
SWEEP_USERS_MIN: Final = 1024


class SlidingWindow:
    """At most *per_minute* in any minute for each user; 0 is no limit."""

    def __init__(self, per_minute: int) -> None:
        self.per_minute = per_minute
        self._taken: dict[int, deque[float]] = {}
        self._sweep_at = SWEEP_USERS_MIN

    def take(self, user_id: int, now: float) -> int | None:
        """Count one. None when it may pass, else the seconds until one may. now: trio time."""
        if not self.per_minute:
            return None
        taken = self._taken.get(user_id)
        if taken is None:
            if len(self._taken) >= self._sweep_at:
                self._sweep(now)
            taken = self._taken[user_id] = deque()
        while taken and taken[0] <= now - WINDOW_SECONDS:
            taken.popleft()
        if len(taken) >= self.per_minute:
            return max(1, math.ceil(taken[0] + WINDOW_SECONDS - now))
        taken.append(now)
        return None

    def give_back(self, user_id: int) -> None:
        """What was counted last turned out to be free: a duplicate."""
        taken = self._taken.get(user_id)
        if taken:
            taken.pop()

    def _sweep(self, now: float) -> None:
        self._taken = {
            user_id: taken for user_id, taken in self._taken.items() if taken and taken[-1] > now - WINDOW_SECONDS
        }
        self._sweep_at = max(SWEEP_USERS_MIN, 2 * len(self._taken))
