"""A kit for tests of actors: ports kept in memory, with faults on demand."""

from greenroom.runtime.testing.memory_committer import MemoryCommitter

__all__ = ["MemoryCommitter"]
