"""Settling: what ends an activation waits until nothing of it is on its way to storage.

    it is to end ──▶ SETTLING ──all is stored──▶ done
                       │  ▲ └────the gate breaks──▶ done as well, and once (broken_gates.py)
                       └──┘ a turn that waits sends more, or fails worse: the heavier of two endings is done

What was sent to storage must not be overtaken by a reload, nor by `stopping`, which comes after all outputs. Nor what a
turn sends that is being cancelled and does not know it yet.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenroom.runtime.lifecycle import Phase

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.envelope import Envelope
    from greenroom.runtime.gate import Gate


class Weight(enum.IntEnum):
    """How much an ending is: what is to follow besides, which must not be forgotten. From KILL on whatever happens."""

    RELOAD = 0
    LEAVE = 1  # of a turn, so not if that turn is not stored; the turns that wait end in order before
    KILL = 2
    CRASH = 3
    STOP = 4
    ESCALATE = 5


@dataclass(frozen=True, slots=True)
class Ending:
    """What is to be done when all is settled. failed, error: the command whose turn failed, if one did, and on what."""

    action: Callable[[], None]
    weight: Weight
    failed: "Envelope | None" = None
    error: Exception | None = None


def settle_then(cell: "Activation", ending: Ending) -> None:
    """Do *ending* when no unit is pending, unless one of as much weight is to be done then."""
    before, lighter = cell.ending, None
    if before is None or before.weight < ending.weight:
        cell.ending, lighter = ending, before
    else:
        lighter = ending
    if lighter is not None and lighter.failed is not None and not lighter.failed.was_asked:  # else it is told already
        cell.system.event("turn.failed", error=lighter.error, address=str(cell.address))
    assert cell.gate is not None
    if cell.phase is not Phase.SETTLING:
        cell.phase = Phase.SETTLING
        _settled(cell, cell.gate)
    elif before is not None and before.weight is Weight.LEAVE:  # what waits beside it does not end in order any more
        _settled(cell, cell.gate, waits_for_turns=False)


def _settled(cell: "Activation", gate: "Gate", *, waits_for_turns: bool = True) -> None:
    ending = cell.ending
    if cell.phase is not Phase.SETTLING or cell.gate is not gate or ending is None:
        return
    waiting = cell.waiting if waits_for_turns and ending.weight is Weight.LEAVE else None
    if gate.pending:
        gate.run_after_pending(lambda: _settled(cell, gate, waits_for_turns=waits_for_turns))
    elif waiting is not None and waiting.turns:
        waiting.then = lambda: _settled(cell, gate)
    else:
        cell.ending = None
        ending.action()
