"""What a full mailbox does, and what counts as full: declared per kind, never decided by a sender.

    REFUSE        the sender is told: `MailboxFull`, or `ActorBusy` when the oldest command waits for too long
    DROP_OLDEST   the oldest tells are dead letters, as many as must be, and the new command is taken
    DROP_NEWEST   the new tell is a dead letter, and its sender is told nothing

Somebody waits for the answer to an ask, so asks are refused under every policy and never dropped; one whose asker has
given up counts no more. A command that would not even fit into an empty mailbox is refused under every policy, and
nothing is dropped for it.
"""

import enum
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.limits import need_number, need_whole
from greenroom.runtime.misuse import refuse_coroutine
from greenroom.runtime.pace import retry_seconds

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.envelope import Envelope
    from greenroom.runtime.errors import MailboxFull


class Overflow(enum.Enum):
    """The module's docstring says what each does."""

    REFUSE = "refuse"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


@dataclass(frozen=True, slots=True)
class Meter:
    """Bounds of a mailbox besides its count, for kinds whose commands differ in size or in worth.

    bytes_max: the sum of *size_of* over what waits; 0 for no bound.
    head_seconds_max: nothing more is taken once the oldest command has waited for so long.
    coalesce_by: the key of a tell, None for one of its own; a newer tell takes the place of the one with its key that
    waits, in its turn, and the older is forgotten.
    """

    size_of: Callable[[object], int] | None = None
    bytes_max: int = 0
    head_seconds_max: float = math.inf
    coalesce_by: Callable[[object], Hashable | None] | None = None

    def __post_init__(self) -> None:
        need_whole("a meter: bytes_max", self.bytes_max, least=0)
        need_number("a meter: head_seconds_max", self.head_seconds_max)
        if self.bytes_max and self.size_of is None:
            raise ValueError("a bound in bytes needs size_of, which says how many a command has")
        for name, given in (("size_of", self.size_of), ("coalesce_by", self.coalesce_by)):
            if given is not None:
                refuse_coroutine(f"the {name} of a meter", given)


def overflow(cell: "Activation", envelope: "Envelope") -> None:
    """Do as the kind of *cell* declares: its mailbox has refused *envelope*. Raises: MailboxFull, CommandTooLarge."""
    mailbox, policy = cell.mailbox, cell.kind.overflow
    never = mailbox.why_never(envelope.to, envelope.command)
    if never is not None:
        raise never
    if mailbox.drop_settled() and mailbox.put_nowait(envelope):
        cell.reschedule()
    elif policy is Overflow.REFUSE or envelope.is_ask:
        raise _full(cell)
    else:
        mailbox.refused -= 1  # it is accepted, and one of all is a dead letter
        if policy is Overflow.DROP_NEWEST:
            cell.system.bury(envelope, "dropped_newest")
        else:
            _drop_oldest(cell, envelope)


def _drop_oldest(cell: "Activation", envelope: "Envelope") -> None:
    for victim in cell.mailbox.make_room(envelope.command):
        if victim.state != "settled":  # an ask whose asker has given up is nobody's loss
            victim.state = "settled"
            cell.system.bury(victim, "dropped_oldest")
    if not cell.mailbox.put_nowait(envelope):
        raise _full(cell)
    cell.reschedule()


def _full(cell: "Activation") -> "MailboxFull":
    """The error for whom the mailbox of *cell* refused just now."""
    error = cell.mailbox.why_full(cell.address)
    oldest = cell.waiting.turns[0].began_at if cell.waiting is not None and cell.waiting.turns else None
    waits_seconds = 0.0 if oldest is None else trio.current_time() - oldest
    error.retry_after_seconds = retry_seconds(len(cell.mailbox), cell.turns, cell.gauges.busy_seconds, waits_seconds)
    return error
