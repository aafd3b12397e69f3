"""Rate windows: how many mails may start now, and when the next may.

Sliding, not calendar: in no span of 60 s, however it lies, do more than the limit start (calendar windows let twice as
many through at their border). Starts are counted in 60 slices per window, so memory does not grow with the limit; a
slice counts until its *end* has left the window, so the count errs to the safe side, by one sixtieth. A start that
came to nothing because the account was not there is taken back: an outage uses no limit up.
"""

from collections import deque
from collections.abc import Iterable

SLICES = 60


class Window:
    """One limit. limit: starts in any span of *span_ms*; 0 for none."""

    __slots__ = ("_slices", "_total", "limit", "span_ms")

    def __init__(self, span_ms: int, limit: int) -> None:
        self.span_ms = span_ms
        self.limit = limit
        self._slices: deque[tuple[int, int]] = deque()  # (when it no longer counts, starts in it)
        self._total = 0

    def add(self, at_ms: int, starts: int) -> None:
        """Count *starts* at *at_ms*, which is never earlier than at the last call."""
        ends_ms = self._ends_ms(at_ms)
        if self._slices and self._slices[-1][0] >= ends_ms:
            ends_ms, counted = self._slices.pop()
            self._slices.append((ends_ms, counted + starts))
        else:
            self._slices.append((ends_ms, starts))
        self._total += starts

    def take_back(self, at_ms: int) -> None:
        """Forget one start of *at_ms*, if it still counts."""
        ends_ms = self._ends_ms(at_ms)
        for i in range(len(self._slices) - 1, -1, -1):
            if self._slices[i][0] == ends_ms and self._slices[i][1]:
                self._slices[i] = (ends_ms, self._slices[i][1] - 1)
                self._total -= 1
                return

    def shift(self, step_ms: int) -> None:
        """The clock jumped: what counted for a while longer still does."""
        self._slices = deque((ends_ms + step_ms, starts) for ends_ms, starts in self._slices)

    def used(self, now_ms: int) -> int:
        """Starts that count now."""
        while self._slices and self._slices[0][0] <= now_ms:
            self._total -= self._slices.popleft()[1]
        return self._total

    def room(self, now_ms: int) -> int | None:
        """How many may start now; None for no limit."""
        return max(0, self.limit - self.used(now_ms)) if self.limit else None

    def opens_ms(self, now_ms: int) -> int:
        """When the next may start: now, or when the oldest slices have left."""
        excess = self.used(now_ms) - self.limit
        if not self.limit or excess < 0:
            return now_ms
        for ends_ms, starts in self._slices:
            excess -= starts
            if excess < 0:
                return ends_ms
        return now_ms

    def _ends_ms(self, at_ms: int) -> int:
        slice_ms = self.span_ms // SLICES
        return (at_ms // slice_ms + 1) * slice_ms + self.span_ms


class Windows:
    """The limits of one account together."""

    def __init__(self, limits: Iterable[tuple[int, int]]) -> None:
        self.windows = [Window(span_ms, limit) for span_ms, limit in limits]

    def add(self, at_ms: int, starts: int) -> None:
        """Count *starts* at *at_ms*."""
        for window in self.windows:
            window.add(at_ms, starts)

    def take_back(self, at_ms: int) -> None:
        """Forget one start of *at_ms*."""
        for window in self.windows:
            window.take_back(at_ms)

    def shift(self, step_ms: int) -> None:
        """The clock jumped by *step_ms*."""
        for window in self.windows:
            window.shift(step_ms)

    def room(self, now_ms: int, most: int) -> int:
        """How many may start now, *most* at most."""
        rooms = (window.room(now_ms) for window in self.windows)
        return min([most, *(room for room in rooms if room is not None)])

    def opens_ms(self, now_ms: int) -> int:
        """When the next may start."""
        return max((window.opens_ms(now_ms) for window in self.windows), default=now_ms)

    @property
    def span_ms(self) -> int:
        """The longest window."""
        return max((window.span_ms for window in self.windows), default=0)
