"""The actor runtime: knows trio and nothing of the product. These are its public names."""

from greenroom.runtime.actor import Actor, Command, Context, Kind, Stream
from greenroom.runtime.address import Address
from greenroom.runtime.dead_letters import DeadLetter, DeadLetters
from greenroom.runtime.errors import (
    ActorBusy,
    ActorError,
    ActorFailed,
    ActorGone,
    AskTimeout,
    CallCycle,
    CommitUnknown,
    Escalated,
    MailboxFull,
    StashFull,
    StorageUnavailable,
    UnknownCommand,
    UnknownKind,
    WrongKindOfAnswer,
)
from greenroom.runtime.handlers import handles, reads, reentrant, shielded
from greenroom.runtime.lifecycle import StopReason
from greenroom.runtime.overflow import Meter, Overflow
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
from greenroom.runtime.restarts import Directive, RestartPolicy
from greenroom.runtime.system import ActorSystem, KindStatistics, SystemStatistics, open_system
from greenroom.runtime.watch import Down

__all__ = [
    "Actor",
    "ActorBusy",
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
    "Directive",
    "Down",
    "Escalated",
    "Items",
    "Kind",
    "KindStatistics",
    "MailboxFull",
    "Meter",
    "Overflow",
    "Randomness",
    "Ref",
    "RestartPolicy",
    "StashFull",
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
