"""One address at run time: its mailbox, and while it is awake its actor, gate and context.

    COLD ──command──▶ LOADING ──started──▶ READY ◀──turn ends── TURNING (a handler that waits)
      ▲                 │ crashed             │
      │                 ▼                     │ crashed · draft lost · told to stop
      ├──delay over── WAITING                 ▼
      └───────────────────────────────── SETTLING (until the gate has no pending unit)

COLD costs no task and no memory but the cell; READY no task. A gate that storage broke is the world's fault: the
actor goes to COLD and spends no restart intensity. Nothing here raises into the nursery: a bug of an actor ends its
activation, never the process. It never restarts inside a cancelled scope: an error raised while being cancelled
replaces `Cancelled`, and a restart there would swallow the cancellation and spin.
"""

import enum
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import trio

from greenroom.runtime.actor import Actor, Context, Kind
from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import (
    ActorFailed,
    ActorGone,
    CommitUnknown,
    StorageUnavailable,
    UnknownCommand,
)
from greenroom.runtime.gate import Gate, Turn
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.restarts import CrashHistory, GiveUp, decide

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem

REDO_ATTEMPTS_MAX = 5


class Phase(enum.Enum):
    """Where an activation stands; the module docstring draws the moves."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    TURNING = "turning"
    SETTLING = "settling"
    WAITING = "waiting"


class Activation:
    """The cell of one address. Only the runtime touches it."""

    __slots__ = (
        "_async_turn_scope",
        "_history",
        "_waiting_turn",
        "active_at",
        "actor",
        "address",
        "context",
        "gate",
        "is_scheduled",
        "kind",
        "mailbox",
        "phase",
        "restarts",
        "system",
        "turns",
    )

    def __init__(self, system: "ActorSystem", kind: Kind, address: Address) -> None:
        self.system = system
        self.kind = kind
        self.address = address
        self.mailbox = Mailbox(kind.mailbox_envelopes_max)
        self.phase = Phase.COLD
        self.actor: Actor | None = None
        self.gate: Gate | None = None
        self.context: Context | None = None
        self.is_scheduled = False
        self.active_at = 0.0
        self.turns = 0
        self.restarts = 0
        self._history: CrashHistory | None = None
        self._async_turn_scope: trio.CancelScope | None = None
        self._waiting_turn: Envelope | None = None

    # -- the drain, from the dispatcher -------------------------------------------------------------------------

    def drain(self, until: float) -> None:
        """Run turns until the mailbox is empty, the clock passes *until*, or a handler has to wait."""
        if self.phase is Phase.COLD and len(self.mailbox) and not self._wake_at_once():
            self.phase = Phase.LOADING
            self.system.spawn(self._load)
            return
        busy_seconds = self.system.clock.busy_seconds
        while self.phase is Phase.READY:
            envelope = self.mailbox.pop()
            if envelope is None:
                self._rest()
                return
            if envelope.state == "settled":  # its deadline passed while it waited
                continue
            self._begin(envelope)
            if busy_seconds() > until:
                break
        self._reschedule()

    def _begin(self, envelope: Envelope) -> None:
        actor = self.actor
        assert actor is not None
        handler = actor.handlers.get(type(envelope.command))  # type: ignore[arg-type]
        if handler is None:
            self._refuse(envelope)
            return
        assert self.context is not None
        envelope.state = "running"
        self.context.is_redo = envelope.attempts > 0
        self.turns += 1
        try:
            value = handler(actor, envelope.command)
        except Exception as error:
            self._turn_failed(envelope, error)
            return
        if hasattr(value, "__await__"):
            self.phase = Phase.TURNING
            self.system.spawn(self._finish_waiting_turn, envelope, cast("Awaitable[object]", value))
            return
        self._turn_done(envelope, value)

    def _turn_done(self, envelope: Envelope, value: object) -> None:
        assert self.context is not None
        assert self.gate is not None
        writes, effects = self.context.take_draft()
        try:
            self.gate.close_turn(envelope, value, writes, effects)
        except ValueError as error:
            self._fail_turn(envelope, error, memory_is_ahead=True)

    async def _finish_waiting_turn(self, envelope: Envelope, turn: Awaitable[object]) -> None:
        gate, self._waiting_turn = self.gate, envelope
        with trio.CancelScope() as self._async_turn_scope:
            try:
                value = await turn
            except Exception as error:
                if trio.current_effective_deadline() == float("-inf"):
                    self.system.event("actor.failed_while_cancelled", address=str(self.address), error=repr(error))
                    await trio.lowlevel.checkpoint()
                self._resume_ready(gate)
                if self._still(gate):
                    self._turn_failed(envelope, error)
                else:
                    self._redo([envelope])
            else:
                self._resume_ready(gate)
                if self._still(gate):
                    self._turn_done(envelope, value)
                else:  # the gate broke meanwhile: what the turn saw was never stored
                    self._redo([envelope])
        self._async_turn_scope = self._waiting_turn = None
        if envelope.state == "running":  # cancelled: the gate broke, or the system stops
            self._redo([envelope])
        self._reschedule()

    def _resume_ready(self, gate: Gate | None) -> None:
        if self.phase is Phase.TURNING and self._still(gate):
            self.phase = Phase.READY

    def _still(self, gate: Gate | None) -> bool:
        return gate is not None and gate is self.gate and not gate.is_broken

    # -- waking and resting -------------------------------------------------------------------------------------

    async def _load(self) -> None:
        """Become ready: own the address, make the actor, let it load. Total: never raises but `Cancelled`."""
        while True:
            await self.system.wait_storage()
            try:
                with trio.fail_after(self.kind.start_seconds_max):
                    await self._start_actor()
            except StorageUnavailable as error:
                self.system.storage_failed(str(error))
                await trio.lowlevel.checkpoint()
            except trio.TooSlowError as error:
                if not self.system.storage_is_away:  # its own slowness: a crash like any other
                    self._forget("start_failed")
                    self._crashed(error, "start")
                    return
            except Exception as error:
                if trio.current_effective_deadline() == float("-inf"):
                    await trio.lowlevel.checkpoint()
                self._forget("start_failed")
                self._crashed(error, "start")
                return
            else:
                self.phase = Phase.READY
                self.active_at = trio.current_time()
                self._reschedule()
                return

    def _wake_at_once(self) -> bool:
        """Wake an actor that owns nothing and loads nothing, without a task. False when it must be loaded."""
        if self.kind.ownership != "none":
            return False
        try:
            actor = self._make_actor(None)
        except Exception as error:
            self._crashed(error, "start")
            return True
        if type(actor).start is not Actor.start:
            self._forget("reloaded")
            return False
        self.phase = Phase.READY
        return True

    async def _start_actor(self) -> None:
        token: int | None = None
        if self.kind.ownership != "none":
            token = await self.system.committer.claim(self.address, create=self.kind.ownership == "create")
        await self._make_actor(token).start()

    def _make_actor(self, token: int | None) -> Actor:
        self.gate = Gate(
            self.address, token or 0, self.system.committer, self._gate_broken, self._gate_idle, self._effect_failed
        )
        self.context = Context(self, token)
        self.actor = self.kind.factory(self.address.key)
        self.actor.ctx = self.context
        return self.actor

    def _rest(self) -> None:
        """The mailbox is empty."""
        self.active_at = trio.current_time()
        if self.system.passivates_at_once:
            self.passivate_if_idle()

    def passivate_if_idle(self) -> bool:
        """Drop memory if nothing is under way; the final check and the drop share one step of the loop."""
        if self.phase is not Phase.READY or len(self.mailbox) or self.is_scheduled:
            return False
        assert self.gate is not None
        assert self.context is not None
        assert self.actor is not None
        if self.gate.pending or self.context.has_timers or not self.actor.may_passivate:
            return False
        self._forget("passivated")
        self.phase = Phase.COLD
        return True

    def _forget(self, reason: str) -> None:
        """Drop everything that belongs to one activation."""
        if self.context is not None:
            self.context.cancel_timers()
        if self.actor is not None:
            try:
                self.actor.stopping(reason)
            except Exception as error:
                self._effect_failed(error)
        self.actor = self.gate = self.context = None

    def _reschedule(self) -> None:
        if len(self.mailbox) and self.phase in (Phase.READY, Phase.COLD):
            self.system.dispatcher.schedule(self)

    # -- faults -------------------------------------------------------------------------------------------------

    def _refuse(self, envelope: Envelope) -> None:
        self._fail_or_bury(envelope, UnknownCommand(self.address, envelope.command), "unknown_command")

    def _turn_failed(self, envelope: Envelope, error: Exception) -> None:
        assert self.context is not None
        writes, effects = self.context.take_draft()
        self._fail_turn(envelope, error, memory_is_ahead=bool(writes or effects))

    def _fail_turn(self, envelope: Envelope, error: Exception, *, memory_is_ahead: bool) -> None:
        if envelope.is_ask:
            self._fail_or_bury(envelope, self._failure_of(envelope, error), "crashed")
            if memory_is_ahead:
                self._settle_then(lambda: self._become_cold("draft_lost"))
            return
        self.system.bury(envelope, "crashed")
        self._settle_then(lambda: self._crash(error))

    def _failure_of(self, envelope: Envelope, error: Exception) -> Exception:
        """What the asker is told: a storage that is away is nobody's bug and goes through as it is."""
        if isinstance(error, StorageUnavailable):
            return error
        what = type(envelope.command).__name__
        self.system.event("turn.failed", error=error, address=str(self.address), command=what)
        failure = ActorFailed(f"{self.address} failed on {what}: {error}")
        failure.__cause__ = error
        return failure

    def _crash(self, error: Exception) -> None:
        self._forget("crashed")
        self._crashed(error, "turn")

    def _crashed(self, error: Exception, where: str) -> None:
        """Apply the restart policy. The mailbox keeps its commands, without the poisoned one."""
        self._history = self._history or CrashHistory()
        plan = decide(self.kind.restart, self._history, trio.current_time(), self.system.randomness.uniform(0, 1))
        self.restarts += 1
        self.phase = Phase.WAITING
        self.system.crashes += 1
        if isinstance(plan, GiveUp):
            self.system.event("actor.gave_up", error=error, address=str(self.address), where=where, reason=plan.reason)
            self._fail_mailbox(plan.reason)
            self.system.deadlines.after(self.kind.restart.period_seconds, self._wait_over)
        else:
            self.system.event(
                "actor.crashed", error=error, address=str(self.address), where=where, restart_seconds=plan.delay_seconds
            )
            self.system.deadlines.after(plan.delay_seconds, self._wait_over)

    def _wait_over(self) -> None:
        if self.phase is Phase.WAITING:
            self.phase = Phase.COLD
            self._reschedule()

    def _fail_mailbox(self, reason: str) -> None:
        for envelope in self.mailbox.drain():
            self._fail_or_bury(envelope, ActorGone(self.address, reason), "actor_gone")

    def _fail_or_bury(self, envelope: Envelope, error: Exception, reason: str) -> None:
        """Tell whoever asked; a tell becomes a dead letter; one that was settled already stays so."""
        if envelope.state == "settled":
            return
        if not envelope.is_ask:
            self.system.bury(envelope, reason)
        try:
            envelope.fail(error)
        except Exception as fault:
            self._effect_failed(fault)

    def _effect_failed(self, error: Exception) -> None:
        self.system.event("effect.failed", error=error, address=str(self.address))

    # -- the gate -----------------------------------------------------------------------------------------------

    def _settle_then(self, action: Callable[[], None]) -> None:
        """Run *action* when no unit is pending: what was sent to storage must not be overtaken by a reload."""
        assert self.gate is not None
        if self.gate.pending:
            self.phase = Phase.SETTLING
            self._after_settling(action)
        else:
            action()

    def _after_settling(self, action: Callable[[], None]) -> None:
        assert self.gate is not None
        gate = self.gate

        def settled() -> None:
            if self.phase is Phase.SETTLING and self.gate is gate:
                action()

        gate.run_after_pending(settled)

    def _gate_idle(self) -> None:
        if self.system.passivates_at_once and self.phase is Phase.READY:
            self.passivate_if_idle()

    def _become_cold(self, reason: str) -> None:
        self._forget(reason)
        self.phase = Phase.COLD
        self._reschedule()

    def _gate_broken(self, outcome: CommitOutcome, turns: list[Turn]) -> None:
        """Nothing of *turns* was stored, or nobody knows. Memory is ahead of storage: drop it."""
        self.system.event("gate.broken", address=str(self.address), outcome=outcome.value, turns=len(turns))
        envelopes = [turn.envelope for turn in turns if turn.envelope.command is not None]
        if outcome in (CommitOutcome.DUPLICATE, CommitOutcome.FENCED):
            self._redo(envelopes)
        else:
            self._tell_not_stored(outcome, envelopes)
        if outcome in (CommitOutcome.UNAVAILABLE, CommitOutcome.UNKNOWN):
            self.system.storage_failed(outcome.value)
        if self._async_turn_scope is not None:
            self._async_turn_scope.cancel(reason=f"{self.address}: the gate broke ({outcome.value})")
        self._become_cold(f"gate_{outcome.value}")

    def _redo(self, envelopes: list[Envelope]) -> None:
        """Put turns that were certainly not stored back in front, in order, to be decided again after loading."""
        again: list[Envelope] = []
        for envelope in envelopes:
            envelope.attempts += 1
            if envelope.state == "settled":  # its caller was told that the outcome is unknown
                continue
            if envelope.attempts > REDO_ATTEMPTS_MAX:
                what = type(envelope.command).__name__
                self._fail_or_bury(envelope, CommitUnknown(f"{self.address} could not store {what}"), "redo_attempts")
                continue
            envelope.state = "queued"
            again.append(envelope)
        self.mailbox.put_back(again)

    def _tell_not_stored(self, outcome: CommitOutcome, envelopes: list[Envelope]) -> None:
        for envelope in envelopes:
            self._fail_or_bury(envelope, self._not_stored(outcome, envelope), f"gate_{outcome.value}")

    def _not_stored(self, outcome: CommitOutcome, envelope: Envelope) -> Exception:
        what = type(envelope.command).__name__
        if outcome is CommitOutcome.REFUSED:
            return ActorFailed(f"{self.address}: storage refuses a value of {what}; nothing was stored")
        if outcome is CommitOutcome.UNAVAILABLE:
            return StorageUnavailable(f"{self.address}: storage is away; {what} was not stored, send it again")
        return CommitUnknown(f"{self.address}: storage went away while {what} was being stored")

    # -- the end ------------------------------------------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Nothing waits, runs or is on its way to storage."""
        if len(self.mailbox) or self.phase in (Phase.LOADING, Phase.TURNING, Phase.SETTLING):
            return False
        return self.gate is None or not self.gate.pending

    def stop(self, reason: str) -> None:
        """End the activation now; commands that still wait are told."""
        if self._async_turn_scope is not None:
            self._async_turn_scope.cancel(reason=f"{self.address} stops: {reason}")
        if self._waiting_turn is not None:
            self._fail_or_bury(self._waiting_turn, ActorGone(self.address, reason), "actor_gone")
        if self.gate is not None:
            for unit in self.gate.pending:  # on their way to storage: nobody will hear how it ended
                for turn in unit.turns:
                    self._fail_or_bury(turn.envelope, ActorGone(self.address, reason), "actor_gone")
        self._fail_mailbox(reason)
        self._forget(reason)
        self.phase = Phase.WAITING


def stop_order(activation: Activation) -> int:
    """Sort key: kinds stop from the highest `stop_order` to the lowest."""
    return -activation.kind.stop_order
