"""The actor runtime: knows trio and nothing of the product. These are its public names."""

from greenroom.runtime.actor import Actor, Command, Stream
from greenroom.runtime.actor_state import ActorState
from greenroom.runtime.address import Address, address_in
from greenroom.runtime.alarm_rules import Tick
from greenroom.runtime.alarms import AlarmStatistics
from greenroom.runtime.codec import decode_command, encodable, encode_command
from greenroom.runtime.context import Context
from greenroom.runtime.counts import KindStatistics, SystemStatistics
from greenroom.runtime.dead_letters import DeadLetter, DeadLetters
from greenroom.runtime.errors import (
    ActorBusy,
    ActorError,
    ActorFailed,
    ActorGone,
    AskInStop,
    AskTimeout,
    CallCycle,
    CommandTooLarge,
    CommitUnknown,
    Escalated,
    MailboxFull,
    NoSystem,
    NotDecodable,
    NotEncodable,
    StashFull,
    StaticName,
    StorageUnavailable,
    TracedAlready,
    UnknownCommand,
    UnknownKind,
    WrongKindOfAnswer,
)
from greenroom.runtime.handlers import handles, reads, reentrant, shielded
from greenroom.runtime.inspection import (
    ActorNode,
    Inspection,
    KindNode,
    Page,
    ServiceNode,
    SupervisorNode,
    Top,
    TopLine,
    as_json,
)
from greenroom.runtime.kind import Kind
from greenroom.runtime.lifecycle import StopReason
from greenroom.runtime.overflow import Meter, Overflow
from greenroom.runtime.parcel import Parcel, decode_envelope, encode_envelope
from greenroom.runtime.passivation import MemoryLimit
from greenroom.runtime.patience import Patience
from greenroom.runtime.ports import (
    AlarmStore,
    Clock,
    CommitOutcome,
    Committer,
    CommitUnit,
    Ownership,
    Randomness,
    StateStore,
    SystemClock,
    SystemRandomness,
    sleep_to_tick,
    sleep_together,
)
from greenroom.runtime.ref import Items, Ref
from greenroom.runtime.restarts import Directive, RestartPolicy
from greenroom.runtime.strategies import Strategy
from greenroom.runtime.system import ActorSystem, open_system
from greenroom.runtime.timers import Timer
from greenroom.runtime.tracing import Trace, TraceEntry
from greenroom.runtime.tree import Child, Service, Supervisor
from greenroom.runtime.watch import Down

__all__ = [
    "Actor",
    "ActorBusy",
    "ActorError",
    "ActorFailed",
    "ActorGone",
    "ActorNode",
    "ActorState",
    "ActorSystem",
    "Address",
    "AlarmStatistics",
    "AlarmStore",
    "AskInStop",
    "AskTimeout",
    "CallCycle",
    "Child",
    "Clock",
    "Command",
    "CommandTooLarge",
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
    "Inspection",
    "Items",
    "Kind",
    "KindNode",
    "KindStatistics",
    "MailboxFull",
    "MemoryLimit",
    "Meter",
    "NoSystem",
    "NotDecodable",
    "NotEncodable",
    "Overflow",
    "Ownership",
    "Page",
    "Parcel",
    "Patience",
    "Randomness",
    "Ref",
    "RestartPolicy",
    "Service",
    "ServiceNode",
    "StashFull",
    "StateStore",
    "StaticName",
    "StopReason",
    "StorageUnavailable",
    "Strategy",
    "Stream",
    "Supervisor",
    "SupervisorNode",
    "SystemClock",
    "SystemRandomness",
    "SystemStatistics",
    "Tick",
    "Timer",
    "Top",
    "TopLine",
    "Trace",
    "TraceEntry",
    "TracedAlready",
    "UnknownCommand",
    "UnknownKind",
    "WrongKindOfAnswer",
    "address_in",
    "as_json",
    "decode_command",
    "decode_envelope",
    "encodable",
    "encode_command",
    "encode_envelope",
    "handles",
    "open_system",
    "reads",
    "reentrant",
    "shielded",
    "sleep_to_tick",
    "sleep_together",
]
