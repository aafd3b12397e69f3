"""What a provider queue and its senders are told."""

from dataclasses import dataclass

from greenroom.actors.provider_queue.state import Stand
from greenroom.actors.providers.provider import Outcome
from greenroom.runtime import Command
from greenroom.storage.postgres.outbox import Claimed


@dataclass(frozen=True, slots=True)
class Wake(Command[None]):
    """There may be mail: look now. Telling it twice, or for nothing, costs little."""


@dataclass(frozen=True, slots=True)
class Turn(Command[None]):
    """Of the queue to itself: write what is known and take what is due."""


@dataclass(frozen=True, slots=True)
class Finished(Command[None]):
    """Of a sender to its queue: a call ended."""

    slot: int
    claimed: Claimed
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class Stands(Command[None]):
    """Of a queue to the others: how its account stands now."""

    account: str
    stand: Stand


@dataclass(frozen=True, slots=True)
class Drain(Command[None]):
    """Claim nothing more: the process is about to stop. Calls under way end, and their results are written."""


@dataclass(frozen=True, slots=True)
class QueueHealth:
    """How a queue stands. parked_until_ms: 0 when it is open. since_ms: its account takes no mail since then.

    Counts of outcomes are since its activation.
    """

    account: str
    in_flight: int
    parked_until_ms: int
    since_ms: int | None
    reason: str
    is_fenced: bool
    opens_ms: int  # when the rate windows let the next mail start
    done: int
    retried: int
    held: int
    failed_over: int
    given_up: int
    unknown: int


@dataclass(frozen=True, slots=True)
class GetHealth(Command[QueueHealth]):
    """How does the queue stand?"""


@dataclass(frozen=True, slots=True)
class Transmit(Command[None]):
    """Of a queue to a sender: call the provider; the attempt row is committed."""

    slot: int
    claimed: Claimed
