"""Waking: an address that was told something becomes an actor that is ready.

Own the address, make the actor, give it what its kind keeps, let it load. While storage is away nothing is tried and
nobody spends restart intensity; a start that raises or takes too long is a crash like any other, and never loops. A
supervisor, or `system.kill`, may have a start given up.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.actor_alarms import ActorAlarms
from greenroom.runtime.actor_state import ActorState
from greenroom.runtime.endings import killed, stop_itself
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import StorageUnavailable
from greenroom.runtime.faults import crashed, failed_while_cancelled, fault_in
from greenroom.runtime.handlers import Handler
from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.settling import Weight
from greenroom.runtime.turn import Start, Turn, leave

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


async def load(cell: "Activation") -> None:
    """Make *cell* ready, or have its crash dealt with. Total: raises nothing but `Cancelled`."""
    with trio.CancelScope() as scope:
        cell.starting = scope
        if cell.held is not None:
            scope.cancel(reason="its supervisor restarts it")
        elif cell.system.is_stopped:
            scope.cancel(reason="its system stops")
        await _load(cell)
    cell.starting = None
    if scope.cancel_called and cell.phase is Phase.LOADING:
        killed(cell)
    elif scope.cancel_called and cell.phase is Phase.READY:  # what it wrote in its start is on its way
        cell.settle_then(lambda: killed(cell), Weight.KILL)


async def _load(cell: "Activation") -> None:
    system = cell.system
    while True:
        await system.storage.wait()
        try:
            with trio.fail_after(cell.kind.start_seconds_max):
                await _start_actor(cell)
        except trio.TooSlowError as error:
            if not system.storage.is_away:  # its own slowness
                cell.forget(StopReason.DEADLINE)
                crashed(cell, error, "start")
                return
        except BaseException as raised:
            fault = fault_in(cell, raised, "start")
            if trio.current_effective_deadline() == float("-inf"):  # see the docstring of activation.py
                if fault is not None:
                    failed_while_cancelled(cell, fault)
                await trio.lowlevel.checkpoint()
            if isinstance(fault, StorageUnavailable):
                _wait_for_storage(cell, fault)
                await trio.lowlevel.checkpoint()
                continue
            cause = fault or RuntimeError(f"{cell.address} was cancelled by itself in its start")
            cell.forget(StopReason.START_FAILED, cause)
            crashed(cell, cause, "start")
            return
        else:
            _has_started(cell)
            return


def _wait_for_storage(cell: "Activation", outage: StorageUnavailable) -> None:
    """Its start found storage away: what it has loaded so far may be stale when that is back."""
    cell.actor = None
    if cell.context is not None:
        cell.context.end()
    cell.system.storage.lost(str(outage))


async def _start_actor(cell: "Activation") -> None:
    if cell.kind.ownership != "none":
        token = await cell.system.committer.ownership.claim(cell.address, create=cell.kind.ownership == "create")
        await trio.lowlevel.checkpoint_if_cancelled()  # given up meanwhile: nobody would tell the actor that it ends
        cell.make_actor(token)
        await _load_kept(cell)
    actor = cell.actor or cell.make_actor(None)
    turn = Turn(cell, Envelope(cell.address, Start()), Handler(type(actor).start))
    turn.enter()
    cell.system.waiting_turns[turn] = None
    try:
        await actor.start()
    finally:
        turn.leave()
        del cell.system.waiting_turns[turn]
    _store_draft(cell, turn)


async def _load_kept(cell: "Activation") -> None:
    context, system = cell.context, cell.system
    assert context is not None
    if cell.kind.keeps_state:
        assert system.states is not None
        context.own_state = ActorState(await system.states.of(cell.address), context.write)
    if cell.kind.keeps_alarms:
        assert system.alarms is not None
        context.own_alarms = ActorAlarms(cell, await system.alarms.store.of(cell.address))


def _store_draft(cell: "Activation", turn: Turn) -> None:
    """What the actor staged while it started leaves as of a turn. Raises: ValueError."""
    assert cell.context is not None
    assert cell.gate is not None
    writes, effects = turn.take_draft()
    if effects and leave in effects:  # its next turn is the last one
        effects = [effect for effect in effects if effect is not leave]
        cell.context.effects = [leave]
    if writes or effects:
        cell.gate.close_turn(Envelope(cell.address, None), None, writes, effects)
    if writes:
        cell.context.has_stored_start = False
        cell.gate.run_after_pending(cell.context.start_stored)


def _has_started(cell: "Activation") -> None:
    """It is ready. One that stops in its `start` still handles what woke it; a service was woken by nothing."""
    cell.loaded()
    assert cell.context is not None
    if cell.service is not None and cell.context.effects:
        stop_itself(cell)
