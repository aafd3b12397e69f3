"""Rests: an address that crashed too often, or is not restarted, takes no command before a time.

gave up ──▶ resting ──period_seconds, or its supervisor starts it anew──▶ the next command tries again
               ├── an ask that must be answered earlier: ActorGone, at once, with the crash as its cause
               ├── what may wait: it waits
               └── the system stops: what waits is told, at once
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.errors import ActorGone
from greenroom.runtime.lifecycle import Phase

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.envelope import Question
    from greenroom.runtime.system import ActorSystem


@dataclass(frozen=True, slots=True)
class Rest:
    """Of one address. until: trio time. error: the last crash."""

    until: float
    reason: str
    error: Exception


def rest(cell: "Activation", reason: str, error: Exception) -> None:
    """Let *cell*, which is WAITING, take nothing for the period of its policy."""
    seconds, rests = cell.kind.restart.period_seconds, cell.system.rests
    begun = rests[cell.address] = Rest(trio.current_time() + seconds, reason, error)

    def over() -> None:
        if rests.get(cell.address) is begun:
            del rests[cell.address]
            cell.wait_over()

    cell.system.deadlines.after(seconds, over)


def refuse_at_rest(system: "ActorSystem", envelope: "Question", deadline: float) -> None:
    """Tell at once who asked an address that rests until after *deadline*; the command has just been queued."""
    found = system.rests.get(envelope.to)
    if found is None or deadline >= found.until or envelope.state != "queued":
        return
    system.activation(envelope.to).mailbox.take_back(envelope)
    left = found.until - trio.current_time()
    reason = f"{found.reason}; it rests for {left:.1f} s more, until trio time {found.until:.1f}"
    envelope.fail(ActorGone(envelope.to, reason, found.error))


def end_rests(system: "ActorSystem") -> None:
    """Of a system that stops: nobody waits for the end of a rest, nor, when it stops by escalation, for a restart."""
    if (report := system.escalated) is not None:
        for cell in system.activations.values():
            if cell.phase in (Phase.WAITING, Phase.HELD):
                cause = report.__cause__
                cell.fail_mailbox(str(report), cause if isinstance(cause, Exception) else None)
    for address, found in system.rests.items():
        cell = system.activations[address]
        if cell.phase is Phase.WAITING:
            cell.fail_mailbox(found.reason, found.error)
