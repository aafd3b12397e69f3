"""Sampling: of what happens very often the first few are told one by one, the rest as one sum. Pure.

    count ≤ tellings_max ──▶ told          until the window is over, window_seconds after its first
    more                 ──▶ counted ──▶ (key, count) when the window is closed

A flood of faults must be seen, and must not become a flood of log lines: those have cost more than the faults.
"""

from dataclasses import dataclass


@dataclass(slots=True)
class _Window:
    ends_at: float
    told: int = 0
    untold: int = 0


class Sampling:
    """By key. tellings_max: in each window of window_seconds. Times are of any clock that does not go back."""

    def __init__(self, tellings_max: int, window_seconds: float) -> None:
        if tellings_max < 1 or window_seconds <= 0:
            raise ValueError("sampling needs tellings_max >= 1 and window_seconds > 0")
        self.tellings_max = tellings_max
        self.window_seconds = window_seconds
        self._windows: dict[str, _Window] = {}

    def is_told(self, key: str, now: float) -> bool:
        """Whether to tell of one more of *key*; else it is counted, for `close`."""
        window = self._windows.get(key)
        if window is None or (now >= window.ends_at and not window.untold):
            window = self._windows[key] = _Window(now + self.window_seconds)
        if window.told < self.tellings_max:
            window.told += 1
            return True
        window.untold += 1
        return False

    def has_untold(self, key: str) -> bool:
        """Whether *key* has a sum that `close` will give."""
        window = self._windows.get(key)
        return window is not None and window.untold > 0

    def close(self, key: str) -> int:
        """End the window of *key*; how many were not told in it."""
        window = self._windows.pop(key, None)
        return 0 if window is None else window.untold

    def close_if_over(self, key: str, now: float) -> int:
        """End the window of *key* if its time is over; how many were not told in it. The next one is told."""
        window = self._windows.get(key)
        return self.close(key) if window is not None and now >= window.ends_at else 0

    def untold_keys(self) -> list[str]:
        """The keys that have a sum."""
        return [key for key, window in self._windows.items() if window.untold]
