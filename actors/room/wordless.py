"""Places of the log at which no message stands: edits, deletions, reactions and pins take places too. Pure.

    log     m m c c c m c m        runs   (3, 5) (7, 7)

They are held as runs, between which messages stand: a thousand reactions in a row cost as much as one, and whoever is
told how much is unread is told so of the newest RUNS_MAX messages at least.
"""

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from typing import Final

RUNS_MAX: Final = 4096


class WordlessPlaces:
    """Of one room. first, last: where its runs begin and end, the oldest first."""

    __slots__ = ("_before", "_first", "_last")

    def __init__(self, first: Iterable[int] = (), last: Iterable[int] = ()) -> None:
        self._first, self._last = array("q", first), array("q", last)
        self._before = array("q")  # how many places stand in the runs before each, counted from any of them
        places = 0
        for begin, end in zip(self._first, self._last, strict=True):
            self._before.append(places)
            places += end - begin + 1

    def __len__(self) -> int:
        """Runs."""
        return len(self._first)

    def add(self, seq: int) -> None:
        """The next place of the log is one."""
        if self._last and self._last[-1] == seq - 1:
            self._last[-1] = seq
            return
        self._before.append(self._up_to(seq))
        self._first.append(seq)
        self._last.append(seq)
        if len(self._first) > 2 * RUNS_MAX:
            del self._first[:RUNS_MAX], self._last[:RUNS_MAX], self._before[:RUNS_MAX]

    def between(self, after_seq: int, before_seq: int) -> int:
        """How many are known to stand between these two."""
        return max(self._up_to(before_seq - 1) - self._up_to(after_seq), 0)

    def _up_to(self, seq: int) -> int:
        index = bisect_right(self._first, seq) - 1
        if index < 0:
            return self._before[0] if self._before else 0
        return self._before[index] + min(seq, self._last[index]) - self._first[index] + 1
