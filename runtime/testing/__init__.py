"""A kit for tests of actors: ports kept in memory, virtual time, probes, faults, seeds that repeat, and shrinking.

docs/testing-actors.md shows how they are used.
"""

from greenroom.runtime.testing.commit_fault import CommitFault
from greenroom.runtime.testing.faults import ActorFaults, InjectedFault, passivate
from greenroom.runtime.testing.interposition import Interposition
from greenroom.runtime.testing.leaks import LeakCheck, Leaked
from greenroom.runtime.testing.ledger import CommandLost, Ledger
from greenroom.runtime.testing.memory_committer import MemoryCommitter
from greenroom.runtime.testing.memory_tables import (
    MemoryAlarmStore,
    MemoryOwnership,
    MemoryStateStore,
    MemoryTables,
)
from greenroom.runtime.testing.probe import Probe, Told, UnexpectedCommand
from greenroom.runtime.testing.seeded import (
    CannotSeed,
    NeverEnds,
    SeededClock,
    SeededRandomness,
    SeededRun,
    ThreadRefused,
    run_seeded,
)
from greenroom.runtime.testing.shrink import DoesNotFail, Plan, Simplifiable, shrink
from greenroom.runtime.testing.unreliable_network import UnreliableNetwork
from greenroom.runtime.testing.virtual_clock import VirtualClock

__all__ = [
    "ActorFaults",
    "CannotSeed",
    "CommandLost",
    "CommitFault",
    "DoesNotFail",
    "InjectedFault",
    "Interposition",
    "LeakCheck",
    "Leaked",
    "Ledger",
    "MemoryAlarmStore",
    "MemoryCommitter",
    "MemoryOwnership",
    "MemoryStateStore",
    "MemoryTables",
    "NeverEnds",
    "Plan",
    "Probe",
    "SeededClock",
    "SeededRandomness",
    "SeededRun",
    "Simplifiable",
    "ThreadRefused",
    "Told",
    "UnexpectedCommand",
    "UnreliableNetwork",
    "VirtualClock",
    "passivate",
    "run_seeded",
    "shrink",
]
