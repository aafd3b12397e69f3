"""The sweeper: passivates what has been idle for too long, and forgets cells that are cold and clean."""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.lifecycle import Phase

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem

SWEEP_SECONDS = 1.0
SWEEP_CELLS_MAX = 1000  # cells looked at between two checkpoints


async def sweep(system: "ActorSystem") -> None:
    """Serve for ever."""
    while True:
        await trio.sleep(SWEEP_SECONDS)
        for count, cell in enumerate(list(system.activations.values())):
            if count % SWEEP_CELLS_MAX == SWEEP_CELLS_MAX - 1:
                await trio.lowlevel.checkpoint()
            _sweep_one(system, cell)


def _sweep_one(system: "ActorSystem", cell: "Activation") -> None:
    if cell.phase is Phase.READY and trio.current_time() - cell.active_at >= cell.kind.idle_seconds_max:
        system.passivated += cell.passivate_if_idle()
    if cell.phase is Phase.COLD and not len(cell.mailbox) and not cell.is_scheduled and not _crashed_lately(cell):
        system.forget(cell)


def _crashed_lately(cell: "Activation") -> bool:
    """Its crashes still count: the cell that remembers them must stay."""
    history = cell.history
    return history is not None and trio.current_time() - history.times[-1] < cell.kind.restart.period_seconds
