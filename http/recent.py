"""What was read lately, so that it is not asked of storage again at once."""

from collections.abc import Callable
from typing import Final, Generic, TypeVar

CACHE_SECONDS: Final = 1.0
CACHE_ENTRIES_MAX: Final = 10_000

T = TypeVar("T")


class Recent(Generic[T]):
    """What was read less than *seconds* ago. Holds *entries_max*; full, it starts again empty."""

    def __init__(self, seconds: float = CACHE_SECONDS, entries_max: int = CACHE_ENTRIES_MAX) -> None:
        self._seconds = seconds
        self._entries_max = entries_max
        self._entries: dict[str, tuple[float, T]] = {}

    def get(self, key: str, now: float) -> T | None:
        """What was put under *key*, None when it is not there or too old. now: Unix seconds."""
        entry = self._entries.get(key)
        # A clock that was set back must not make an entry live longer.
        return entry[1] if entry is not None and 0 <= now - entry[0] < self._seconds else None

    def put(self, key: str, value: T, now: float) -> None:
        """Keep *value*, which storage was asked for at *now*."""
        if len(self._entries) >= self._entries_max:
            self._entries.clear()
        self._entries[key] = (now, value)

    def drop(self, key: str) -> None:
        """Forget *key*."""
        self._entries.pop(key, None)

    def drop_those(self, is_meant: Callable[[T], bool]) -> None:
        """Forget every value that *is_meant* says so of."""
        self._entries = {key: entry for key, entry in self._entries.items() if not is_meant(entry[1])}

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
