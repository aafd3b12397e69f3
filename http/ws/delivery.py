"""What becomes of what is to be told: how resumes went, and how long what is stored takes to be queued for its sockets.

    resume   a place that a client has in a log ──▶ replayed, gap, reset or refused, by transport
    lag      the commit ──▶ the last socket of the room on this process was given it; of what is told together the first

Counts since the start. A room's log and a user's stream are a resume each. The lag ends where what is told is handed to
the kernel, or to an outbox when that takes no more.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from time import perf_counter
from typing import Any, Final, Literal

Via = Literal["websocket", "events", "poll"]
Outcome = Literal["replayed", "gap", "reset", "refused"]

LAG_MILLISECONDS: Final = (1, 2, 5, 10, 25, 50, 100, 250, 1000)


@dataclass(frozen=True, slots=True)
class DeliveryStatistics:
    """resumes: by transport and outcome, those that there were. told: how often a lag was taken.

    lag_within: of these, how many took at most so many milliseconds.
    """

    resumes: Mapping[str, Mapping[str, int]]
    told: int
    lag_seconds_mean: float
    lag_seconds_max: float
    lag_within: Mapping[str, int]


def outcome_of(gap: Mapping[str, Any] | None) -> Outcome:
    """What a resume came to, by what is not replayed."""
    if gap is None:
        return "replayed"
    return "reset" if gap.get("reset") else "gap"


class Delivery:
    """Of a hub. committed_at: when the commit was known whose outputs leave now (perf_counter); None: there is none."""

    def __init__(self) -> None:
        self.committed_at: Callable[[], float | None] = lambda: None
        self._resumes: Counter[tuple[Via, Outcome]] = Counter()
        self._lags = [0] * (len(LAG_MILLISECONDS) + 1)  # by the first of these that it did not go beyond
        self._seconds = self._seconds_max = 0.0

    def resumed(self, via: Via, outcome: Outcome) -> None:
        """A client has asked for what follows its place."""
        self._resumes[via, outcome] += 1

    def told(self, committed_at: float | None) -> None:
        """All who are to hear it have been given what was committed then."""
        if committed_at is None:
            return
        seconds = perf_counter() - committed_at
        self._lags[bisect_left(LAG_MILLISECONDS, seconds * 1000)] += 1
        self._seconds += seconds
        self._seconds_max = max(self._seconds_max, seconds)

    def statistics(self) -> DeliveryStatistics:
        """Since the start."""
        resumes: dict[str, dict[str, int]] = {}
        for (transport, outcome), count in sorted(self._resumes.items()):
            resumes.setdefault(transport, {})[outcome] = count
        told, within = sum(self._lags), accumulate(self._lags)
        return DeliveryStatistics(
            resumes=resumes,
            told=told,
            lag_seconds_mean=self._seconds / told if told else 0.0,
            lag_seconds_max=self._seconds_max,
            lag_within={str(limit): took for limit, took in zip(LAG_MILLISECONDS, within, strict=False)},
        )
