"""Whether an answer of storage may be older than what has changed since it was asked."""

from typing import Final

IDS_KEPT: Final = 10_000


class Changed:
    """When something of each of many was changed last. version: counts the changes of all of them."""

    def __init__(self) -> None:
        self.version = 0
        self._changed_at: dict[int, int] = {}  # id → version, of changes since `_forgotten_at`
        self._forgotten_at = 0

    def note(self, of_id: int) -> None:
        """Something of this one was changed just now."""
        self.version += 1
        if len(self._changed_at) >= IDS_KEPT:
            self._changed_at, self._forgotten_at = {}, self.version
        self._changed_at[of_id] = self.version

    def since(self, of_id: int, version: int) -> bool:
        """Whether what was asked of storage at *version* may be older than a change of this one."""
        return self._changed_at.get(of_id, self._forgotten_at) > version
