"""A kit for tests of actors: ports kept in memory, with faults on demand."""

from greenroom.runtime.testing.memory_committer import MemoryCommitter
from greenroom.runtime.testing.memory_tables import (
    MemoryAlarmStore,
    MemoryOwnership,
    MemoryStateStore,
    MemoryTables,
)

__all__ = ["MemoryAlarmStore", "MemoryCommitter", "MemoryOwnership", "MemoryStateStore", "MemoryTables"]
