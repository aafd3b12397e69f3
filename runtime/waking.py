"""Waking: an address that was told something becomes an actor that is ready.

    own the address, make the actor, give it what its kind keeps ──▶ its `start` ──▶ ready
       ▲  storage is away, or takes longer than start_seconds_max       │  ├── raises, or takes longer: a crash
       └────────────────────────────────────────────────────────────────┘  └── given up by its supervisor, or `kill`
                             storage is away: another instance, later

What the runtime itself waits for is storage's slowness, and an event; the actor answers for its `start` alone, which is
a crash like any other when it fails, and never loops. While storage is away nobody spends restart intensity.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.actor_alarms import ActorAlarms
from greenroom.runtime.actor_state import ActorState
from greenroom.runtime.endings import killed, stop_itself
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import StorageUnavailable, is_outage, words_of
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
        if cell.unfinished is not None:
            await cell.unfinished.over.wait()
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
        is_slow = False
        try:
            is_prepared = await _prepare(cell)
            if is_prepared:
                with trio.move_on_after(cell.kind.start_seconds_max) as starting:
                    await _start_actor(cell)
                is_slow = starting.cancelled_caught
        except BaseException as raised:
            fault = fault_in(cell, raised, "start")
            if trio.current_effective_deadline() == float("-inf"):  # see the docstring of activation.py
                if fault is not None:
                    failed_while_cancelled(cell, fault)
                await trio.lowlevel.checkpoint()
            if is_outage(fault):
                if isinstance(fault, StorageUnavailable):
                    system.storage.lost(words_of(fault))
                _drop(cell)
                await trio.lowlevel.checkpoint()
                continue
            cause = fault or RuntimeError(f"{cell.address} was cancelled by itself in its start")
            cell.forget(StopReason.START_FAILED, cause)
            crashed(cell, cause, "start")
            return
        if not is_prepared or (is_slow and system.storage.is_away):
            _drop(cell)
        elif is_slow:
            cause = trio.TooSlowError(f"its start took {cell.kind.start_seconds_max:g} s (start_seconds_max)")
            cell.forget(StopReason.DEADLINE, cause)
            crashed(cell, cause, "start")
            return
        else:
            _has_started(cell)
            return


def _drop(cell: "Activation") -> None:
    """Its start found no storage in time: what it has loaded so far may be stale when that is back.

    It goes on loading, so whom it watches it still does.
    """
    if cell.gate is not None:  # else there is no actor yet
        cell.forget(StopReason.RELOADED)


async def _prepare(cell: "Activation") -> bool:
    """Have an actor that may start. False when storage took too long: nobody knows whether that will end."""
    kind, system = cell.kind, cell.system
    if kind.ownership == "none":  # no checkpoint: the start is one
        if cell.actor is None:
            cell.make_actor(None)
        return True
    with trio.move_on_after(kind.start_seconds_max) as preparing:
        token = await system.committer.ownership.claim(cell.address, create=kind.ownership == "create")
        await trio.lowlevel.checkpoint_if_cancelled()  # given up meanwhile: nobody would tell the actor that it ends
        cell.make_actor(token)
        await _load_kept(cell)
    if preparing.cancelled_caught:
        system.event("storage.slow", address=str(cell.address), seconds=kind.start_seconds_max)
    return not preparing.cancelled_caught


async def _start_actor(cell: "Activation") -> None:
    actor = cell.actor
    assert actor is not None
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
