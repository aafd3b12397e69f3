"""Waking: an address that was told something becomes an actor that is ready.

Own the address, make the actor, give it what its kind keeps, let it load. While storage is away nothing is tried and
nobody spends restart intensity; a start that raises or takes too long is a crash like any other, and never loops. A
supervisor, or `system.kill`, may have a start given up.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.actor_alarms import ActorAlarms
from greenroom.runtime.actor_state import ActorState
from greenroom.runtime.endings import killed
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import StorageUnavailable
from greenroom.runtime.faults import crashed
from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.turn import leave, put_aside

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


async def load(cell: "Activation") -> None:
    """Make *cell* ready, or have its crash dealt with. Total: raises nothing but `Cancelled`."""
    with trio.CancelScope() as scope:
        cell.starting = scope
        if cell.held is not None:
            scope.cancel(reason="its supervisor restarts it")
        await _load(cell)
    cell.starting = None
    if scope.cancel_called and cell.phase is Phase.LOADING:
        killed(cell)
    elif scope.cancel_called and cell.phase is Phase.READY:  # what it wrote in its start is on its way
        cell.settle_then(lambda: killed(cell))


async def _load(cell: "Activation") -> None:
    system = cell.system
    while True:
        await system.storage.wait()
        try:
            with trio.fail_after(cell.kind.start_seconds_max):
                await _start_actor(cell)
        except StorageUnavailable as error:
            cell.actor = None  # what it has loaded so far may be stale when storage is back
            if cell.context is not None:
                cell.context.end()
            system.storage.lost(str(error))
            await trio.lowlevel.checkpoint()
        except trio.TooSlowError as error:
            if not system.storage.is_away:  # its own slowness
                cell.forget(StopReason.DEADLINE)
                crashed(cell, error, "start")
                return
        except Exception as error:
            if trio.current_effective_deadline() == float("-inf"):  # see the docstring of activation.py
                await trio.lowlevel.checkpoint()
            cell.forget(StopReason.START_FAILED, error)
            crashed(cell, error, "start")
            return
        else:
            cell.loaded()
            return


async def _start_actor(cell: "Activation") -> None:
    if cell.kind.ownership != "none":
        token = await cell.system.committer.ownership.claim(cell.address, create=cell.kind.ownership == "create")
        cell.make_actor(token)
        await _load_kept(cell)
    await (cell.actor or cell.make_actor(None)).start()
    _store_draft(cell)


async def _load_kept(cell: "Activation") -> None:
    context, system = cell.context, cell.system
    assert context is not None
    if cell.kind.keeps_state:
        assert system.states is not None
        context.own_state = ActorState(await system.states.of(cell.address), context.write)
    if cell.kind.keeps_alarms:
        assert system.alarms is not None
        context.own_alarms = ActorAlarms(cell, await system.alarms.store.of(cell.address))


def _store_draft(cell: "Activation") -> None:
    """What the actor staged while it started leaves as of a turn. Marks for a turn stay for one. Raises: ValueError."""
    assert cell.context is not None
    assert cell.gate is not None
    effects = cell.context.effects or ()
    if (cell.context.writes or effects) and leave not in effects and put_aside not in effects:
        cell.gate.close_turn(Envelope(cell.address, None), None, *cell.context.take_draft())
