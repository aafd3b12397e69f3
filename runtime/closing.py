"""The end of a system: its actors finish what they have, in time, and then all are ended.

quiet? ──▶ ended, in the reverse of the start order ──▶ what still cleans up is waited for
  └─ not in time ──▶ ended at once, and listed with where its turns wait

While storage stays away only what owns nothing is waited for: nobody knows when an owner could finish. One commit that
went wrong is no such outage: a probe must have failed too, or hang.
"""

from typing import TYPE_CHECKING, Final

import trio

from greenroom.runtime.endings import stop_now
from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.rests import end_rests
from greenroom.runtime.stacks import await_stack

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem

POLL_SECONDS: Final = 0.01
ADDRESSES_TOLD_MAX: Final = 20
STACKS_TOLD_MAX: Final = 10


async def finish(system: "ActorSystem") -> None:
    """As `ActorSystem.stop`. Polled, because quiet is a fact about all actors at once, and only at the end of all."""
    try:
        end_rests(system)
        while _is_busy(system) and not system.has_lost_tasks:
            await trio.sleep(POLL_SECONDS)
            end_rests(system)
    finally:
        _end_all(system)
    while system.waiting_turns:  # noqa: ASYNC110  (they were cancelled, and may still clean up)
        await trio.sleep(POLL_SECONDS)


def _is_busy(system: "ActorSystem") -> bool:
    stays_away = system.storage.stays_away
    return any(not cell.is_quiet and not (stays_away and _needs_storage(cell)) for cell in system.activations.values())


def _needs_storage(cell: "Activation") -> bool:
    """It cannot go on while storage is away: what owns an address, and what is to be loaded, which waits likewise."""
    return cell.kind.ownership != "none" or cell.phase is Phase.LOADING


def _end_all(system: "ActorSystem") -> None:
    system.is_stopped = True
    left = {cell: str(cell.address) for cell in system.activations.values() if not cell.is_quiet}
    if left:
        turns = list(system.waiting_turns)[:STACKS_TOLD_MAX]
        stacks = {str(turn): await_stack(turn.task) for turn in turns if turn.task is not None}
        system.event(
            "system.stopped_busy", addresses=[*left.values()][:ADDRESSES_TOLD_MAX], count=len(left), stacks=stacks
        )
    for leaf in reversed(system.tree.leaves()):
        for cell in leaf.cells:
            stop_now(cell, StopReason.DEADLINE if cell in left else StopReason.NORMAL)
    system.dead_letters.close()
    system.watchdog.close()
