"""What a fault of an actor leads to: the shell around the decisions of `restarts.py`.

    a handler raised ──directive──▶ RESUME    the draft is dropped, the actor lives
                                    RESTART   it starts again from storage, after a wait, without the poisoned command
                                    STOP      it ends; who waits is told, and the next command makes a new one
                                    ESCALATE  its supervisor has failed, with all it supervises; the one above decides
    … that storage is away, or was during a commit of whom it asked ─RESTART─▶ it starts again, which is no crash of its

A batch that is to RESUME or RESTART is handed over again one command at a time, so that the poisoned one alone is lost.
Without a rule of its kind a failed ask is RESUME, and the asker is told; a failed tell is RESTART. Memory that may be
ahead of a dropped draft is always loaded again. A temporary actor that crashes ends as by STOP.

If the gate breaks before such an end, the handler raised on memory that was never stored: events name its error, and
nobody else is told it.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.actor_alarms import name_of
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorFailed, StorageUnavailable, is_outage, words_of
from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.lost_turns import try_apart
from greenroom.runtime.replies import command_of
from greenroom.runtime.restarts import CrashHistory, Directive, GiveUp, decide, directive_of
from greenroom.runtime.rests import rest
from greenroom.runtime.settling import Weight

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


def turn_failed(
    cell: "Activation",
    envelope: Envelope,
    error: Exception,
    number: int,
    *,
    memory_is_ahead: bool,
    was_stored_in_part: bool = False,
) -> None:
    """The turn of that *number* ended with *error*: tell its asker, and do as the kind says.

    A batch is first tried in its parts.
    """
    if len(envelope.parts) > 1 and not was_stored_in_part:
        directive = directive_of(cell.kind.restart, error, is_ask=envelope.was_asked)
        if directive in (Directive.RESUME, Directive.RESTART):
            try_apart(cell, envelope, number, memory_is_ahead=memory_is_ahead or directive is Directive.RESTART)
            return
    _tell_asker(cell, envelope, _failure_of(cell, envelope, error), number)
    directive = directive_of(cell.kind.restart, error, is_ask=envelope.was_asked)
    if envelope.callers and (directive is not Directive.RESUME or memory_is_ahead):
        for turn in {turn for caller in envelope.callers for turn in caller.chain()}:
            turn.has_ended_it = turn.has_ended_it or turn.activation is cell
    if directive is Directive.RESTART and is_outage(error):
        if isinstance(error, StorageUnavailable):  # the other sort was heard of where the commit was lost
            cell.system.storage.lost(words_of(error))
        cell.settle_then(lambda: cell.become_cold(StopReason.RELOADED))
    elif directive is Directive.RESTART:
        cell.settle_then(lambda: _crash(cell, error), Weight.CRASH, envelope, error)
    elif directive is Directive.STOP:
        cell.settle_then(lambda: _end(cell, error), Weight.STOP, envelope, error)
    elif directive is Directive.ESCALATE:
        why = f"{type(error).__name__} is escalated by its kind"
        cell.settle_then(lambda: _escalate(cell, error, why), Weight.ESCALATE, envelope, error)
    elif memory_is_ahead:
        cell.settle_then(lambda: cell.become_cold(StopReason.RELOADED))


def _tell_asker(cell: "Activation", envelope: Envelope, failure: Exception, number: int) -> None:
    """As every output, the error waits for what its actor wrote before: the handler may have seen that and told it."""
    for one in envelope.parts or (envelope,):
        if cell.gate is not None and one.is_ask and one.state != "settled":
            cell.gate.fail_turn(one, failure, number)
        else:
            cell.fail_or_bury(one, failure, "crashed")
    if envelope.parts:
        envelope.state = "settled"


def fault_in(cell: "Activation", raised: BaseException, where: str) -> Exception | None:
    """What of *raised* an actor must answer for; None when nothing is.

    A nursery in its code mixes errors with `Cancelled`, and with the `GeneratorExit` of a stream that is closed; those
    are of the runtime, which looks itself at whether it has cancelled. That storage is away, and nothing else, is said
    as if no nursery stood between. Raises: *raised*, when it is not for us to catch; SystemExit and its like end the
    process, with a word on where they came from.
    """
    if isinstance(raised, BaseExceptionGroup):
        rest = raised.split((trio.Cancelled, GeneratorExit))[1]
        if rest is None or isinstance(rest, Exception):
            return _outage_in(rest) or rest
    elif isinstance(raised, Exception):
        return raised
    if not isinstance(raised, trio.Cancelled | GeneratorExit):
        raised.add_note(f"raised by {cell.address} in {where}: what is no Exception ends the process")
        cell.system.event("system.ended_by_actor", address=str(cell.address), where=where, error=raised)
    raise raised


def _outage_in(error: Exception | None) -> Exception | None:
    """What says that storage is away, when a group says nothing else."""
    if isinstance(error, BaseExceptionGroup) and error.split(is_outage)[1] is None:
        return _outage_in(error.exceptions[0])
    return error if is_outage(error) else None


def failed_while_cancelled(cell: "Activation", error: Exception) -> None:
    """A handler or a `start` raised *error* instead of `Cancelled`: it is cancelled all the same."""
    cell.system.event("actor.failed_while_cancelled", address=str(cell.address), error=words_of(error, repr))


def crashed(cell: "Activation", error: Exception, where: str, told: Exception | None = None) -> None:
    """The activation is over: apply the restart policy. The mailbox keeps its commands, without the poisoned one.

    told: what others hear instead of *error*.
    """
    system, policy = cell.system, cell.kind.restart
    history = cell.history or CrashHistory()
    plan = decide(policy, history, trio.current_time(), system.randomness.uniform(0, 1))
    cell.history = history if history.times else None
    cell.restarts += 1
    system.crashes += 1
    cell.rest_in(Phase.WAITING)
    if cell.phase is Phase.HELD:  # its supervisor restarts it in any case
        system.event("actor.crashed", error=error, address=str(cell.address), where=where)
        return
    facts = {"error": error, "address": str(cell.address), "where": where}
    if not isinstance(plan, GiveUp):
        system.event("actor.crashed", **facts, restart_seconds=plan.delay_seconds)
    else:
        system.event("actor.crashed" if policy.mode == "temporary" else "actor.gave_up", **facts, reason=plan.reason)
    error = told or error
    if cell.service is not None:
        cell.service.exited(cell, plan, error)
        return
    if not isinstance(plan, GiveUp):
        _wait(cell, plan.delay_seconds)
        return
    cell.fail_mailbox(plan.reason, error)
    if policy.mode == "temporary":
        cell.rest_in(Phase.COLD)
    elif policy.when_exhausted == "escalate":
        system.leaf_of(cell).failed(path_of(cell), error, plan.reason)
        _wait(cell, policy.period_seconds)
    else:
        rest(cell, plan.reason, error)


def _wait(cell: "Activation", seconds: float) -> None:
    """Let it rest in WAITING. If a supervisor starts it earlier, the end of this wait is not that of a later one."""
    crash = cell.restarts
    cell.system.deadlines.after(seconds, lambda: cell.wait_over() if cell.restarts == crash else None)


def _failure_of(cell: "Activation", envelope: Envelope, error: Exception) -> Exception:
    """What the asker is told: a storage that is away is nobody's bug and goes through as it is."""
    if is_outage(error):
        return error
    what = name_of(command_of(envelope))
    if envelope.was_asked:
        cell.system.event("turn.failed", error=error, address=str(cell.address), command=what)
    failure = ActorFailed(f"{cell.address} failed on {what}: {words_of(error)}")
    failure.__cause__ = error
    return failure


def what_is_told(cell: "Activation", error: Exception) -> Exception:
    """What others hear of the *error* that ends the activation: not what it says of memory that was never stored."""
    if cell.gate is None or not cell.gate.is_broken:
        return error
    return ActorFailed(f"{cell.address} failed ({type(error).__name__}) on what was not stored")


def _crash(cell: "Activation", error: Exception) -> None:
    told = what_is_told(cell, error)
    cell.forget(StopReason.CRASHED, told)
    crashed(cell, error, "turn", told)


def _end(cell: "Activation", error: Exception) -> None:
    cell.system.event("actor.stopped", error=error, address=str(cell.address))
    told = what_is_told(cell, error)
    cell.forget(StopReason.CRASHED, told)
    if cell.held is not None:  # its supervisor restarts it in any case, with what waits
        cell.rest_in(Phase.COLD)
        return
    cell.fail_mailbox(StopReason.CRASHED.value, told)
    if cell.service is None:
        cell.rest_in(Phase.COLD)
    else:
        cell.rest_in(Phase.WAITING)
        cell.service.exited(cell, None, told)


def _escalate(cell: "Activation", error: Exception, why: str) -> None:
    told = what_is_told(cell, error)
    cell.forget(StopReason.CRASHED, told)
    if cell.held is not None or told is not error:  # else its supervisor names it
        cell.system.event("actor.crashed", error=error, address=str(cell.address), where="turn")
    if cell.held is not None:  # as in `_end`
        cell.rest_in(Phase.COLD)
        return
    cell.fail_mailbox(why, told)
    cell.rest_in(Phase.WAITING)
    cell.system.leaf_of(cell).failed(path_of(cell), told, why)


def path_of(cell: "Activation") -> list[str]:
    """Who failed, for a report."""
    return [str(cell.address)] if cell.service is not None else [str(cell.address), f"kind {cell.kind.name}"]
