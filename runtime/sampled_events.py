"""Events of what may happen very often: the shell around the decisions of `sampling.py`.

The first *tellings_max* of a key within *window_seconds* are events as any other. Of more there is one event at the
end, named *summed_as*, with the key and the count.
"""

from collections.abc import Callable

import trio

from greenroom.runtime.deadlines import DeadlineHeap
from greenroom.runtime.sampling import Sampling


class SampledEvents:
    """Of one system. Shape of the sum: ``event(summed_as, **{key_as: key}, count=n)``."""

    def __init__(
        self,
        event: Callable[..., None],
        deadlines: DeadlineHeap,
        *,
        summed_as: str,
        key_as: str,
        tellings_max: int,
        window_seconds: float,
    ) -> None:
        self._event = event
        self._deadlines = deadlines
        self._summed_as = summed_as
        self._key_as = key_as
        self._sampling = Sampling(tellings_max, window_seconds)

    def tell(self, key: str, name: str, facts: Callable[[], dict[str, object]]) -> None:
        """Have an event, or have it counted. *facts* are gathered only for one that is told."""
        had_untold = self._sampling.has_untold(key)
        if self._sampling.is_told(key, trio.current_time()):
            self._event(name, **facts())
        elif not had_untold:
            self._deadlines.after(self._sampling.window_seconds, lambda: self._sum_up(key))

    @property
    def sums_to_come(self) -> int:
        """Keys of which a sum is told at the end of its window."""
        return len(self._sampling.untold_keys())

    def close(self) -> None:
        """The system ends: tell the sums now."""
        for key in self._sampling.untold_keys():
            self._sum_up(key)

    def _sum_up(self, key: str) -> None:
        count = self._sampling.close(key)
        if count:
            self._event(self._summed_as, **{self._key_as: key, "count": count})
