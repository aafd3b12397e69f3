"""The actor runtime: knows trio and nothing of the product. These are its public names."""

from greenroom.runtime.actor import Actor, Command, Context, Kind, handles
from greenroom.runtime.address import Address
from greenroom.runtime.dead_letters import DeadLetter, DeadLetters
from greenroom.runtime.errors import (
    ActorError,
    ActorFailed,
    ActorGone,
    AskTimeout,
    CommitUnknown,
    MailboxFull,
    StorageUnavailable,
    UnknownCommand,
    UnknownKind,
)
from greenroom.runtime.ports import (
    Clock,
    CommitOutcome,
    Committer,
    CommitUnit,
    Randomness,
    SystemClock,
    SystemRandomness,
)
from greenroom.runtime.restarts import RestartPolicy
from greenroom.runtime.system import ActorSystem, KindStatistics, Ref, SystemStatistics, open_system

__all__ = [
    "Actor",
    "ActorError",
    "ActorFailed",
    "ActorGone",
    "ActorSystem",
    "Address",
    "AskTimeout",
    "Clock",
    "Command",
    "CommitOutcome",
    "CommitUnit",
    "CommitUnknown",
    "Committer",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "Kind",
    "KindStatistics",
    "MailboxFull",
    "Randomness",
    "Ref",
    "RestartPolicy",
    "StorageUnavailable",
    "SystemClock",
    "SystemRandomness",
    "SystemStatistics",
    "UnknownCommand",
    "UnknownKind",
    "handles",
    "open_system",
]
