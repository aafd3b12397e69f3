"""Settling: what ends an activation waits until nothing of it is on its way to storage.

    it is to end ──▶ SETTLING ──all is stored──▶ done
                       │  ▲ └────the gate breaks──▶ done as well, and once (broken_gates.py)
                       └──┘ a turn that waits sends more, or fails worse: the heavier of two endings is done

What was sent to storage must not be overtaken by a reload. Nor what a turn sends that is being cancelled and does not
know it yet.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenroom.runtime.lifecycle import Phase

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.gate import Gate


class Weight(enum.IntEnum):
    """How much an ending is: what is to follow besides, which must not be forgotten. From KILL on whatever happens."""

    RELOAD = 0
    LEAVE = 1  # of a turn, so not if that turn is not stored
    KILL = 2
    CRASH = 3
    STOP = 4
    ESCALATE = 5


@dataclass(frozen=True, slots=True)
class Ending:
    """What is to be done when all is settled."""

    action: Callable[[], None]
    weight: Weight


def settle_then(cell: "Activation", action: Callable[[], None], weight: Weight) -> None:
    """Run *action* when no unit is pending, unless one of as much weight is to be run then."""
    ending = cell.ending
    if ending is None or ending.weight < weight:
        cell.ending = Ending(action, weight)
    if cell.phase is not Phase.SETTLING:
        assert cell.gate is not None
        cell.phase = Phase.SETTLING
        _settled(cell, cell.gate)


def _settled(cell: "Activation", gate: "Gate") -> None:
    if cell.phase is not Phase.SETTLING or cell.gate is not gate:
        return
    if gate.pending:
        gate.run_after_pending(lambda: _settled(cell, gate))
    else:
        ending, cell.ending = cell.ending, None
        assert ending is not None
        ending.action()
