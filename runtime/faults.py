"""What a fault of an actor leads to: the shell around the decisions of `restarts.py`.

    a handler raised ──directive──▶ RESUME    the draft is dropped, the actor lives
                                    RESTART   it starts again from storage, after a wait, without the poisoned command
                                    STOP      it ends; who waits is told, and the next command makes a new one
                                    ESCALATE  the system ends, with a report of who failed and why

Without a rule of its kind a failed ask is RESUME, and the asker is told; a failed tell is RESTART. Memory that may be
ahead of a dropped draft is always loaded again.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorFailed, StorageUnavailable
from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.restarts import CrashHistory, Directive, GiveUp, decide, directive_of

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


def turn_failed(cell: "Activation", envelope: Envelope, error: Exception, *, memory_is_ahead: bool) -> None:
    """A turn ended with *error*: tell its asker, and do as the kind says."""
    is_ask = envelope.is_ask
    cell.fail_or_bury(envelope, _failure_of(cell, envelope, error), "crashed")
    directive = directive_of(cell.kind.restart, error, is_ask=is_ask)
    if directive is Directive.RESTART:
        cell.settle_then(lambda: _crash(cell, error))
    elif directive is Directive.STOP:
        cell.settle_then(lambda: _end(cell, error))
    elif directive is Directive.ESCALATE:
        cell.settle_then(lambda: _escalate(cell, error, f"{type(error).__name__} is escalated by its kind"))
    elif memory_is_ahead:
        cell.settle_then(lambda: cell.become_cold(StopReason.RELOADED))


def crashed(cell: "Activation", error: Exception, where: str) -> None:
    """The activation is over: apply the restart policy. The mailbox keeps its commands, without the poisoned one."""
    system, policy = cell.system, cell.kind.restart
    cell.history = cell.history or CrashHistory()
    plan = decide(policy, cell.history, trio.current_time(), system.randomness.uniform(0, 1))
    cell.restarts += 1
    cell.phase = Phase.WAITING
    system.crashes += 1
    facts = {"error": error, "address": str(cell.address), "where": where}
    if not isinstance(plan, GiveUp):
        system.event("actor.crashed", **facts, restart_seconds=plan.delay_seconds)
        system.deadlines.after(plan.delay_seconds, cell.wait_over)
        return
    system.event("actor.gave_up", **facts, reason=plan.reason)
    cell.fail_mailbox(plan.reason)
    if policy.when_exhausted == "escalate":
        system.escalate(cell.address, error, plan.reason)
    system.deadlines.after(policy.period_seconds, cell.wait_over)


def _failure_of(cell: "Activation", envelope: Envelope, error: Exception) -> Exception:
    """What the asker is told: a storage that is away is nobody's bug and goes through as it is."""
    if isinstance(error, StorageUnavailable):
        return error
    what = type(envelope.command).__name__
    if envelope.is_ask:
        cell.system.event("turn.failed", error=error, address=str(cell.address), command=what)
    failure = ActorFailed(f"{cell.address} failed on {what}: {error}")
    failure.__cause__ = error
    return failure


def _crash(cell: "Activation", error: Exception) -> None:
    cell.forget(StopReason.CRASHED)
    crashed(cell, error, "turn")


def _end(cell: "Activation", error: Exception) -> None:
    cell.system.event("actor.stopped", error=error, address=str(cell.address))
    cell.forget(StopReason.CRASHED)
    cell.phase = Phase.COLD
    cell.fail_mailbox(StopReason.CRASHED.value)


def _escalate(cell: "Activation", error: Exception, why: str) -> None:
    cell.forget(StopReason.CRASHED)
    cell.phase = Phase.WAITING
    cell.fail_mailbox(why)
    cell.system.escalate(cell.address, error, why)
