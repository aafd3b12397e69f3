"""Turns whose writes were not stored: redone when that is certain and another try may succeed, else their callers told.

    DUPLICATE, FENCED       certainly not stored: decided again after loading, REDO_ATTEMPTS_MAX times at most.
                            What others, who crash, end with them does not count
    REFUSED                 a value of theirs is at fault: each caller is told
    UNAVAILABLE, UNKNOWN    each caller is told what is known; loading waits until storage is back

A stream of which an item was handed over is not decided again either: who follows it would get that item twice.
A batch on which a handler raised comes here too: apart, so that each of its commands is decided for itself.
Of a turn that waits all this is so too, until a part of it is stored: it is not decided again then, and is told so.
In every case memory is ahead of storage and is dropped. When and in which order they are redone: `unfinished.py`.
"""

from typing import TYPE_CHECKING

from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorGone, CommitUnknown
from greenroom.runtime.gate import Outputs, why_not_stored
from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.unfinished import put_back, unfinished_of

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.turn import Turn

REDO_ATTEMPTS_MAX = 5
_DECIDED_AGAIN = (CommitOutcome.DUPLICATE, CommitOutcome.FENCED)


def turns_lost(cell: "Activation", outcome: CommitOutcome, turns: list[Outputs]) -> None:
    """The gate of *cell* broke: nothing of *turns* was stored, or nobody knows."""
    cell.system.event("gate.broken", address=str(cell.address), outcome=outcome.value, turns=len(turns))
    lost = [(turn.number, turn.envelope) for turn in turns if turn.envelope.command is not None]
    if outcome in _DECIDED_AGAIN:
        redo(cell, lost, by_storage=True)
    else:
        for _, envelope in lost:
            cell.fail_or_bury(envelope, why_not_stored(outcome, cell.address, envelope), f"gate_{outcome.value}")
    if outcome in (CommitOutcome.UNAVAILABLE, CommitOutcome.UNKNOWN):
        cell.system.storage.lost(outcome.value)


def turn_lost(cell: "Activation", turn: "Turn") -> None:
    """The activation ended while *turn* waited: nothing of it was stored, unless it asked for that."""
    envelope, outcome = turn.envelope, turn.waiting.broken_by if turn.waiting is not None else None
    what = type(envelope.command).__name__
    if cell.system.is_stopped:  # it was cancelled before, and the end of the system did not see it
        cell.fail_or_bury(envelope, ActorGone(cell.address, "the system stops"), "stopped")
    elif turn.was_killed:
        tell_killed(cell, turn)
    elif turn.has_ended_it:  # decided again it would do so again
        why = f"what {what} asked for failed and ended its own activation"
        cell.fail_or_bury(envelope, ActorGone(cell.address, why), "crashed")
    elif turn.is_stored_in_part or (turn.was_flushed and outcome is None):
        how = "lost storage" if outcome is not None else "was ended"
        why = "" if outcome is not None else f" ({turn.cut_because})"
        became = "is stored" if turn.is_stored_in_part else "is on its way to storage"
        told = f"{cell.address} {how} in the middle of {what}{why}: a part of it {became}"
        error = CommitUnknown(told, is_outage=outcome in (CommitOutcome.UNKNOWN, CommitOutcome.UNAVAILABLE))
        cell.fail_or_bury(envelope, error, "stored_in_part")
    elif turn.was_flushed and outcome is not None and outcome not in _DECIDED_AGAIN:
        cell.fail_or_bury(envelope, why_not_stored(outcome, cell.address, envelope), f"gate_{outcome.value}")
    else:
        redo(cell, [(turn.number, envelope)], by_storage=outcome is not None)


def tell_killed(cell: "Activation", turn: "Turn") -> None:
    """*turn* was killed with its activation, and has not ended in order."""
    cell.fail_or_bury(turn.envelope, ActorGone(cell.address, StopReason.KILLED.value), "killed")


def try_apart(cell: "Activation", batch: Envelope, number: int, *, memory_is_ahead: bool) -> None:
    """A batch, the turn of that *number*, failed on one of its commands: decide them again, one by one.

    An actor that loads is loaded again before, because it may have taken part of the batch into its memory.
    """
    redo(cell, [(number, batch)])
    if memory_is_ahead or cell.kind.ownership != "none":
        cell.settle_then(lambda: cell.become_cold(StopReason.RELOADED))
    elif cell.phase is not Phase.SETTLING:  # else they wait for the next activation
        put_back(cell)


def redo(cell: "Activation", lost: list[tuple[int, Envelope]], *, by_storage: bool = False) -> None:
    """Have turns that were certainly not stored, each with its number, decided again after loading.

    by_storage: it is what lost them.
    """
    for number, envelope in [(number, part) for number, whole in lost for part in whole.parts or (whole,)]:
        envelope.attempts += 1
        if envelope.state == "settled":  # its caller was told that the outcome is unknown
            continue
        if envelope.has_handed_over:
            why = f"{type(envelope.command).__name__} broke off after it had handed over items: follow it again"
            cell.fail_or_bury(envelope, ActorGone(cell.address, why), "handed_over")
            continue
        if by_storage and _count_loss(envelope) > REDO_ATTEMPTS_MAX:
            what = type(envelope.command).__name__
            cell.fail_or_bury(envelope, CommitUnknown(f"{cell.address} could not store {what}"), "redo_attempts")
            continue
        envelope.state = "queued"
        unfinished_of(cell).add(number, envelope)


def _count_loss(envelope: Envelope) -> int:
    envelope.losses = getattr(envelope, "losses", 0) + 1
    return envelope.losses
