"""What follows for an activation whose gate broke: its memory is ahead of storage, so it is over in any case.

    it was to end already (settling.py)    so it ends: killed, crashed, stopped or escalated, and that counts once
    what its `start` wrote is not stored   it has not started: a failed start, which counts and waits; not in an outage
    it was told what storage refuses,      a crash when that comes again and again, so that it waits and counts
      and has stored nothing since `start`
    all else                               it loads again with the next command, as fenced or reloaded

Without the second line a `start` whose writes are refused would be begun again at once, for ever; without the third one
that tells its actor what is refused. Who asks is told that it was refused, and paces himself.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.errors import ActorFailed, ActorGone
from greenroom.runtime.faults import crashed, what_is_told
from greenroom.runtime.gate import Outputs
from greenroom.runtime.lifecycle import StopReason
from greenroom.runtime.lost_turns import turns_lost
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.restarts import CrashHistory, was_in_vain
from greenroom.runtime.settling import Weight
from greenroom.runtime.turn import leave

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


def gate_broke(cell: "Activation", outcome: CommitOutcome, turns: list[Outputs]) -> None:
    """The gate of *cell* broke: nothing of *turns* was stored, or nobody knows."""
    context, ending = cell.context, cell.ending
    assert context is not None
    assert cell.gate is not None
    has_stored = cell.gate.has_stored
    cell.ending, context.broken_by = None, outcome
    if cell.waiting is not None:
        cell.waiting.broken_by = outcome
    if ending is not None and ending.failed is not None:  # it ends for that: decided again, the command would end two
        told = None if ending.error is None else what_is_told(cell, ending.error)
        for asked in ending.failed.parts or (ending.failed,):
            cell.fail_or_bury(asked, ActorGone(cell.address, StopReason.CRASHED.value, told), "crashed")
    turns_lost(cell, outcome, turns)
    reason = StopReason.FENCED if outcome is CommitOutcome.FENCED else StopReason.RELOADED
    is_outage = outcome in (CommitOutcome.UNAVAILABLE, CommitOutcome.UNKNOWN)
    if ending is not None and ending.weight >= Weight.KILL:
        ending.action()
    elif not context.has_stored_start:
        if is_outage:
            cell.become_cold(reason)
        else:
            _start_failed(cell, outcome)
    elif ending is not None and ending.weight is Weight.LEAVE and not _is_to_leave(turns):
        ending.action()
    elif outcome in (CommitOutcome.REFUSED, CommitOutcome.DUPLICATE) and _is_in_vain(cell, has_stored, turns):
        error = ActorFailed(f"{cell.address} stores nothing: storage refuses what it is told ({outcome.value})")
        cell.forget(StopReason.CRASHED, error)
        crashed(cell, error, "commit")
    else:
        cell.become_cold(reason)


def _is_in_vain(cell: "Activation", has_stored: bool, turns: list[Outputs]) -> bool:
    """It only ever loads, is told what storage refuses, and loads again."""
    told = any(turn.envelope.command is not None and not turn.envelope.was_asked for turn in turns)
    if has_stored or not told:
        return False
    cell.history = cell.history or CrashHistory()
    return was_in_vain(cell.kind.restart, cell.history, trio.current_time())


def _is_to_leave(turns: list[Outputs]) -> bool:
    """One of *turns* is the one that was to be the last: it is not stored, and so that it ends is not either."""
    return any(leave in (turn.effects or ()) for turn in turns)


def _start_failed(cell: "Activation", outcome: CommitOutcome) -> None:
    error = ActorFailed(f"{cell.address}: what its `start` wrote is not stored ({outcome.value})")
    cell.forget(StopReason.FENCED if outcome is CommitOutcome.FENCED else StopReason.START_FAILED, error)
    crashed(cell, error, "start")
