"""How an activation ends other than by a fault: by itself, by its supervisor, with the system.

stop_itself    `ctx.stop()`: normal, when the turns that wait have ended and everything written is stored
hold, release  its supervisor restarts it with others: ended when all of it is settled, and the mailbox is kept
kill           `system.kill`: its turns are cancelled, and the mailbox is kept
close          a service that is not restarted
stop_now       the end of the system: what still waits is told
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.errors import ActorGone
from greenroom.runtime.lifecycle import AWAKE, Phase, StopReason
from greenroom.runtime.lost_turns import tell_killed
from greenroom.runtime.mailbox import ClosedMailbox
from greenroom.runtime.settling import Weight

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


def hold(cell: "Activation") -> trio.Event:
    """End the activation and begin none until `release`. The event is set when it has ended; commands wait."""
    if cell.held is not None:
        return cell.held
    cell.held = trio.Event()
    if cell.phase is Phase.LOADING:
        if cell.starting is not None:  # else its task has not begun yet, and sees that it is held
            cell.starting.cancel(reason="its supervisor restarts it")
    elif cell.phase in AWAKE:
        if cell.waiting is not None:
            cell.waiting.cancel("its supervisor restarts it")
        cell.settle_then(lambda: cell.become_cold(StopReason.KILLED), Weight.KILL)
    elif cell.phase is not Phase.SETTLING:
        cell.rest_in(Phase.COLD)
    elif cell.waiting is not None:  # it stops when these have ended: not in order then
        cell.waiting.cancel("its supervisor restarts it")
    return cell.held


def release(cell: "Activation") -> None:
    """Commands may wake it again."""
    cell.held = None
    cell.system.rests.pop(cell.address, None)
    if cell.phase in (Phase.HELD, Phase.WAITING, Phase.ENDED):
        cell.phase = Phase.COLD
        if isinstance(cell.mailbox, ClosedMailbox):
            cell.mailbox = cell.kind.make_mailbox()
        cell.reschedule()


def stop_itself(cell: "Activation") -> None:
    """The actor ends, normally. It begins no other turn but those that one of its own, which waits, waits for."""
    if cell.phase in AWAKE:
        cell.settle_then(lambda: _ended(cell, StopReason.NORMAL, None), Weight.LEAVE)


def kill(cell: "Activation") -> bool:
    """End the activation without letting it finish, when what it gave to storage is settled. False when none runs.

    The turns that wait are not decided again: one of them may be the reason. One that ends in order while the rest is
    settled is told its true outcome, as what was over before. The next command makes another activation.
    Raises: RuntimeError in a turn of its own that does not wait.
    """
    if cell.system.acting is cell:
        raise RuntimeError(f"{cell.address} kills itself in its turn: it ends with `ctx.stop()`, or by raising")
    if cell.phase is Phase.LOADING and cell.starting is not None:
        cell.starting.cancel(reason="it is killed")
        return True
    is_stopping = cell.phase is Phase.SETTLING and cell.waiting is not None and bool(cell.waiting.turns)
    if not (cell.phase in AWAKE or is_stopping) or cell.system.stopping is cell:
        return False
    if cell.waiting is not None:
        for turn in cell.waiting.turns:
            turn.was_killed = True
        cell.waiting.cancel("it is killed")
    cell.settle_then(lambda: killed(cell), Weight.KILL)
    return True


def killed(cell: "Activation") -> None:
    """The activation is over, and its actor is not to blame: the next command, or its supervisor, begins another."""
    for turn in [] if cell.waiting is None else cell.waiting.turns:  # whatever they do from here on goes nowhere
        if turn.was_killed:
            tell_killed(cell, turn)
    _ended(cell, StopReason.KILLED, ActorGone(cell.address, StopReason.KILLED.value))


def _ended(cell: "Activation", reason: StopReason, error: ActorGone | None) -> None:
    cell.forget(reason)
    if cell.service is None:
        cell.rest_in(Phase.COLD)
        if reason is StopReason.NORMAL:
            cell.system.dispatcher.schedule(cell)  # to drain nothing, which drops the cell: here it is still in use
        return
    cell.rest_in(Phase.WAITING)
    if cell.phase is Phase.WAITING:
        cell.service.exited(cell, None, error)


def close(cell: "Activation", error: Exception | None) -> None:
    """Of a service that is not restarted: whoever waits or comes is told, and so is the *error* that ended it."""
    reason = "it is a service that has ended"
    cell.phase, cell.held = Phase.ENDED, None
    cell.fail_mailbox(reason, error)
    cell.mailbox = ClosedMailbox(lambda: ActorGone(cell.address, reason, error))


def stop_now(cell: "Activation", reason: StopReason) -> None:
    """End the activation now; commands that still wait are told."""
    if cell.starting is not None:
        cell.starting.cancel(reason=f"it stops: {reason}")
    if cell.waiting is not None:
        cell.waiting.cancel(f"it stops: {reason}")
        for turn in cell.waiting.turns:
            cell.fail_or_bury(turn.envelope, ActorGone(cell.address, reason.value), "actor_gone")
    if cell.gate is not None:
        for unit in cell.gate.pending:  # on their way to storage: nobody will hear how it ended
            for outputs in unit.turns:
                if outputs.envelope.command is None:  # what a turn flushed, or a start wrote: no command of its own
                    continue
                cell.fail_or_bury(outputs.envelope, ActorGone(cell.address, reason.value), "actor_gone")
    cell.forget(reason)
    cell.fail_mailbox(reason.value)
    cell.phase = Phase.WAITING
