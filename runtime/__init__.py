"""The actor runtime: knows trio and nothing of the product. These are its public names."""

from greenroom.runtime.actor import Actor, Command, Context, Kind, Stream
from greenroom.runtime.address import Address
from greenroom.runtime.dead_letters import DeadLetter, DeadLetters
from greenroom.runtime.errors import (
    ActorError,
    ActorFailed,
    ActorGone,
    AskTimeout,
    CallCycle,
    CommitUnknown,
    MailboxFull,
    StorageUnavailable,
    UnknownCommand,
    UnknownKind,
    WrongKindOfAnswer,
)
from greenroom.runtime.handlers import handles, reads, reentrant, shielded
from greenroom.runtime.lifecycle import StopReason
from greenroom.runtime.ports import (
    Clock,
    CommitOutcome,
    Committer,
    CommitUnit,
    Randomness,
    SystemClock,
    SystemRandomness,
)
from greenroom.runtime.ref import Items, Ref
from greenroom.runtime.restarts import RestartPolicy
from greenroom.runtime.system import ActorSystem, KindStatistics, SystemStatistics, open_system

__all__ = [
    "Actor",
    "ActorError",
    "ActorFailed",
    "ActorGone",
    "ActorSystem",
    "Address",
    "AskTimeout",
    "CallCycle",
    "Clock",
    "Command",
    "CommitOutcome",
    "CommitUnit",
    "CommitUnknown",
    "Committer",
    "Context",
    "DeadLetter",
    "DeadLetters",
    "Items",
    "Kind",
    "KindStatistics",
    "MailboxFull",
    "Randomness",
    "Ref",
    "RestartPolicy",
    "StopReason",
    "StorageUnavailable",
    "Stream",
    "SystemClock",
    "SystemRandomness",
    "SystemStatistics",
    "UnknownCommand",
    "UnknownKind",
    "WrongKindOfAnswer",
    "handles",
    "open_system",
    "reads",
    "reentrant",
    "shielded",
]
