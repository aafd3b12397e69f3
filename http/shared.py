"""One answer for all who ask at the same time, or within a second: for addresses that are open to all.

However many ask, what they ask for is found out once in SHARED_SECONDS. What is raised is not shared: who is next asks
again, after the one before.
"""

from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

import trio

T = TypeVar("T")

SHARED_SECONDS: Final = 1.0


class Shared(Generic[T]):
    """What `find_out` says, to share."""

    def __init__(self, find_out: Callable[[], Awaitable[T]]) -> None:
        self._find_out = find_out
        self._lock = trio.Lock()
        self._found: tuple[float, T] | None = None

    async def result(self) -> T:
        """What was found out at most SHARED_SECONDS ago, or is now. Raises: as `find_out`."""
        async with self._lock:
            if self._found is None or trio.current_time() - self._found[0] >= SHARED_SECONDS:
                found = await self._find_out()
                self._found = (trio.current_time(), found)
            return self._found[1]
