"""One address at run time: its mailbox, and while it is awake its actor, gate and context.

    COLD ──command──▶ LOADING ──started──▶ READY ◀──turn ends── TURNING (a handler that waits)
      ▲                 │ crashed            │  └◀─────────────── READING (only @reads handlers wait)
      │                 ▼                    │ crashed · draft lost · told to stop
      ├──delay over── WAITING                ▼
      ├───────────────────────────────── SETTLING (until the gate has no pending unit)
      └──released── HELD ◀── from anywhere, when its supervisor restarts it with others

COLD costs no task and no memory but the cell; READY no task. A gate that storage broke is the world's fault: the
actor goes to COLD and spends no restart intensity. Nothing here raises into the nursery: a bug of an actor ends its
activation, never the process. It never restarts inside a cancelled scope: an error raised while being cancelled
replaces `Cancelled`, and a restart there would swallow the cancellation and spin.
"""

from collections.abc import AsyncGenerator, Awaitable, Callable
from types import CoroutineType
from typing import TYPE_CHECKING, cast

import trio

from greenroom.runtime.actor import Actor
from greenroom.runtime.address import Address
from greenroom.runtime.batches import Batch, gather
from greenroom.runtime.broken_gates import gate_broke
from greenroom.runtime.context import Context
from greenroom.runtime.endings import stop_itself
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorGone, UnknownCommand, WrongKindOfAnswer
from greenroom.runtime.faults import crashed, fault_in, turn_failed
from greenroom.runtime.gate import Effect, Gate, Outputs
from greenroom.runtime.gauges import Gauges
from greenroom.runtime.handlers import Handler
from greenroom.runtime.kind import Kind
from greenroom.runtime.lifecycle import AWAKE, CONTINUES, DRAINED, Phase, StopReason
from greenroom.runtime.lost_turns import turn_lost
from greenroom.runtime.passivation import drop_if_cold, passivate_if_idle
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.replies import misfit
from greenroom.runtime.restarts import CrashHistory
from greenroom.runtime.settling import Ending, Weight, settle_then
from greenroom.runtime.stash import put_turn_aside
from greenroom.runtime.turn import Turn, leave, put_aside
from greenroom.runtime.unfinished import Unfinished, activation_ended, finish_if_over
from greenroom.runtime.waiting_turns import WaitingTurns, batch_max_of
from greenroom.runtime.waking import load

if TYPE_CHECKING:
    from greenroom.runtime.supervisor import Leaf
    from greenroom.runtime.system import ActorSystem


class Activation:
    """The cell of one address. Only the runtime touches it."""

    __slots__ = (
        "active_at",
        "actor",
        "address",
        "context",
        "ending",
        "gate",
        "gauges",
        "held",
        "history",
        "is_scheduled",
        "kind",
        "mailbox",
        "phase",
        "restarts",
        "service",
        "starting",
        "stash",
        "system",
        "turns",
        "unfinished",
        "waiting",
        "watchers",
    )

    def __init__(self, system: "ActorSystem", kind: Kind, address: Address) -> None:
        self.system = system
        self.kind = kind
        self.address = address
        self.mailbox = kind.make_mailbox()
        self.phase = Phase.COLD
        self.actor: Actor | None = None
        self.gate: Gate | None = None
        self.context: Context | None = None
        self.is_scheduled = False
        self.gauges = Gauges()
        self.active_at = 0.0
        self.turns = 0
        self.restarts = 0
        self.history: CrashHistory | None = None
        self.waiting: WaitingTurns | None = None
        self.stash: dict[Envelope, int] | None = None  # put aside by the actor, in which turn; oldest first
        self.unfinished: Unfinished | None = None  # of the activation before, or of this one that ends
        self.watchers: dict[Address, None] | None = None  # in the order in which they came
        self.service: Leaf | None = None  # that it is, if it is one
        self.starting: trio.CancelScope | None = None
        self.ending: Ending | None = None  # what is to be done when it has settled
        self.held: trio.Event | None = None  # set when it has ended for its supervisor; there until it is released

    # -- the drain, from the dispatcher -------------------------------------------------------------------------

    def drain(self, until: float) -> None:
        """Run turns until the mailbox is empty, the clock passes *until*, or a handler has to wait."""
        busy_seconds, mailbox = self.system.clock.busy_seconds, self.mailbox
        if self.phase is Phase.COLD:
            if not len(mailbox):
                drop_if_cold(self)
                return
            if not self._wake_at_once():
                self.wake()
            elif busy_seconds() > until:  # to make it took that long: its first turn is not to blame
                self._go_on()
                return
        if self.waiting is not None:
            self._begin_nested(self.waiting)
        while True:
            if self.phase is Phase.READY:
                envelope = mailbox.pop()
                if envelope is None:
                    self._rest()
                    return
            elif self.phase is Phase.READING and self._may_read(mailbox.peek()):
                envelope = cast("Envelope", mailbox.pop())
            else:
                return
            if envelope.state == "settled":  # its deadline passed while it waited
                continue
            self._begin(envelope)
            if busy_seconds() > until:
                self.gauges.last_begun = type(envelope.command)
                break
        self._go_on()

    def nest(self, envelope: Envelope) -> None:
        """Take a command that one of this activation's own waiting turns waits for."""
        if self.waiting is None:
            self.fail_or_bury(envelope, ActorGone(self.address, "the turn that asked is over"), "actor_gone")
            return
        self.waiting.nested.append(envelope)
        self.system.dispatcher.schedule(self)

    def _begin_nested(self, waiting: WaitingTurns) -> None:
        while waiting.nested and not waiting.is_over:
            envelope = waiting.nested.popleft()
            if envelope.state == "queued":
                self._begin(envelope, is_nested=True)

    def _may_read(self, envelope: Envelope | None) -> bool:
        """Whether the head of the mailbox may run beside the reads that wait."""
        assert self.actor is not None
        if envelope is None:
            return False
        handler = self.actor.handlers.get(type(envelope.command))  # type: ignore[arg-type]
        return envelope.state == "settled" or handler is None or handler.is_reads

    def _begin(self, envelope: Envelope, *, is_nested: bool = False) -> None:
        """Run one turn. The most frequent one first: a plain handler that is told something and lets nothing out."""
        context, system = self.context, self.system
        assert context is not None
        handler = self.actor.handlers.get(type(envelope.command))  # type: ignore[union-attr, arg-type]
        if handler is None or handler.is_stream is not (envelope.stream is not None):
            self._refuse(envelope, handler)
            return
        command = envelope.command
        if handler.batch_max:
            envelope = gather(envelope, None if is_nested else self.mailbox, batch_max_of(self, handler))
            command = cast("Batch", envelope.command).commands
        envelope.state = "running"
        context.is_redo = envelope.attempts > 0
        context.is_reading = handler.is_reads
        self.turns += 1
        method, system.acting = handler.method, self  # a local is called twice as fast as an attribute in CPython 3.11
        try:
            value = method(self.actor, command)
        except Exception as error:
            system.acting = None
            turn_failed(self, envelope, error, self.turns, memory_is_ahead=context.drop_draft(self.turns))
            return
        except BaseException as raised:
            system.acting = None
            fault_in(self, raised, type(envelope.command).__name__)
            raise
        system.acting = None
        if value is not None and handler.may_wait and (handler.is_stream or hasattr(type(value), "__await__")):
            turn = Turn(self, envelope, handler)
            self._wait_for(turn, value)  # type: ignore[arg-type]
        elif context.writes is None and context.effects is None and envelope.reply_to is None:
            envelope.state = "settled"
        else:
            self._turn_done(envelope, value, *context.take_draft(), self.turns)

    def _turn_done(
        self, envelope: Envelope, value: object, writes: list[object] | None, effects: list[Effect] | None, number: int
    ) -> None:
        assert self.gate is not None
        if effects is not None and put_aside in effects:
            put_turn_aside(self, envelope, writes, effects, number)
            return
        if (type(value) is CoroutineType or envelope.parts) and (wrong := misfit(envelope, value)) is not None:
            turn_failed(self, envelope, wrong, number, memory_is_ahead=True)
            return
        is_last = effects is not None and leave in effects
        try:
            self.gate.close_turn(envelope, value, writes, effects, number)
        except ValueError as error:
            turn_failed(self, envelope, error, number, memory_is_ahead=True)
        else:
            if is_last:
                stop_itself(self)
            elif writes and self.phase is Phase.READY and self.system.pending.is_too_much(self):
                self.phase = Phase.FULL

    # -- turns that wait ----------------------------------------------------------------------------------------

    def _wait_for(self, turn: Turn, value: Awaitable[object] | AsyncGenerator[object, None]) -> None:
        """Let the turn wait. What its handler staged before it gave back something to wait for is part of it."""
        assert self.context is not None
        turn.writes, turn.effects = self.context.take_draft()
        if self.waiting is None:
            self.waiting = WaitingTurns(self)
        self.waiting.begin(turn, value)
        self._set_phase()

    def waiting_turn_ended(
        self, waiting: WaitingTurns, turn: Turn, value: object, error: Exception | None, *, is_done: bool
    ) -> None:
        """Of `WaitingTurns`: the handler of *turn* gave back *value*, raised *error*, or was cancelled."""
        envelope, (writes, effects) = turn.envelope, turn.take_draft()
        if waiting.is_over or (turn.cut_because and not is_done):
            turn_lost(self, turn)
            finish_if_over(self)
        else:
            self._set_phase()
            if is_done:
                self._turn_done(envelope, value, writes, effects, turn.number)
            elif error is not None:
                is_ahead, in_part = bool(writes or effects), turn.was_flushed
                turn_failed(self, envelope, error, turn.number, memory_is_ahead=is_ahead, was_stored_in_part=in_part)
            elif self.held is not None:  # its supervisor restarts it, when all is settled
                turn_lost(self, turn)
            else:  # cancelled with its ask; memory may be ahead of the draft
                self.fail_or_bury(envelope, ActorGone(self.address, "its turn was cancelled"), "cancelled")
                if writes or effects:
                    self.settle_then(lambda: self.become_cold(StopReason.RELOADED))
        self._go_on()

    def _set_phase(self) -> None:
        """From the turns that wait and the writes that are pending, unless something else is under way."""
        if self.phase not in AWAKE:
            return
        if self.waiting is not None and not self.waiting.turns:
            self.waiting = None
        if self.waiting is None:
            self.phase = Phase.FULL if self.system.pending.is_too_much(self) else Phase.READY
        else:
            self.phase = Phase.READING if self.waiting.takes_reads else Phase.TURNING

    # -- waking and resting -------------------------------------------------------------------------------------

    def _wake_at_once(self) -> bool:
        """Wake an actor that owns nothing and loads nothing, without a task. False when it must be loaded.

        It is made already when only its `start` is left.
        """
        if self.kind.ownership != "none" or self.unfinished is not None:
            return False
        try:
            actor = self.make_actor(None)
        except Exception as error:
            self.forget(StopReason.START_FAILED, error)
            crashed(self, error, "start")
            return True
        if type(actor).start is not Actor.start:
            return False
        self.phase = Phase.READY
        return True

    def loaded(self) -> None:
        """Of `waking`: the actor is ready."""
        self.phase = Phase.READY
        self.active_at = trio.current_time()
        if self.service is not None:
            self.service.is_ready()
        self.reschedule()

    def make_actor(self, token: int | None) -> Actor:
        """Begin a new activation: gate, context and actor."""
        system = self.system
        self.gate = Gate(
            self.address,
            token or 0,
            system.committer,
            system.pending,
            self._gate_broken,
            self.unit_settled,
            self._effect_failed,
        )
        self.context = Context(self, token)
        self.actor = self.kind.make_actor(self.address.key)
        self.actor.ctx = self.context
        return self.actor

    def _go_on(self) -> None:
        """A turn is over, or there is room for one: take the next command, or rest."""
        if len(self.mailbox):
            self.reschedule()
        elif self.phase is Phase.READY:
            self.mailbox.drop_lanes()
            self._rest()

    def _rest(self) -> None:
        """The mailbox is empty."""
        self.active_at = trio.current_time()
        if self.system.passivates_at_once:
            passivate_if_idle(self)

    def forget(self, reason: StopReason, cause: Exception | None = None) -> None:
        """Drop everything that belongs to one activation. *cause*: what it died of."""
        if self.context is not None:
            self.context.end(goes_on=reason in CONTINUES)
        if self.gate is not None or cause is not None:  # it had begun, or died of that before
            self.system.event("actor.ended", address=str(self.address), reason=reason.value)
        if self.actor is not None:
            self.system.stopping = self
            try:
                self.actor.stopping(reason)
            except BaseException as raised:
                self._effect_failed(fault_in(self, raised, "stopping") or RuntimeError("it raised `Cancelled`"))
            finally:
                self.system.stopping = None
        if self.waiting is not None:
            self.waiting.cancel(f"its activation has ended ({reason})")
            for envelope in self.waiting.nested:
                self.fail_or_bury(envelope, ActorGone(self.address, reason.value), "actor_gone")
        activation_ended(self)
        self.system.watches.tell_end(self, reason, cause)
        if self.gate is not None:
            self.system.late_replies += self.gate.late_replies
        self.actor = self.gate = self.context = self.waiting = self.ending = None

    def reschedule(self) -> None:
        """Have the dispatcher drain the mailbox, if that could do anything now."""
        if len(self.mailbox) and self.phase in DRAINED:
            self.system.dispatcher.schedule(self)

    # -- faults -------------------------------------------------------------------------------------------------

    def _refuse(self, envelope: Envelope, handler: Handler | None) -> None:
        if handler is None:
            self.fail_or_bury(envelope, UnknownCommand(self.address, envelope.command, self.actor), "unknown_command")
        else:
            misuse = WrongKindOfAnswer(self.address, envelope.command, handler.is_stream)
            self.fail_or_bury(envelope, misuse, "misused")

    def wait_over(self) -> None:
        """Of `faults`: the wait before a restart, or the rest after too many, is over."""
        if self.phase is Phase.WAITING:
            self.rest_in(Phase.COLD)

    def fail_mailbox(self, reason: str, cause: Exception | None = None) -> None:
        """Tell all whose commands wait here that nobody will handle them, and what the actor died of."""
        again = [] if self.unfinished is None else self.unfinished.take()
        for envelope in [*again, *self.mailbox.drain()]:
            self.fail_or_bury(envelope, ActorGone(self.address, reason, cause), "actor_gone")

    def fail_or_bury(self, envelope: Envelope, error: Exception, reason: str) -> None:
        """Tell whoever asked; a tell becomes a dead letter; one that was settled already stays so."""
        if envelope.state == "settled":
            return
        if envelope.parts:
            envelope.state = "settled"
            for part in envelope.parts:
                self.fail_or_bury(part, error, reason)
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

    def settle_then(
        self,
        action: Callable[[], None],
        weight: Weight = Weight.RELOAD,
        failed: Envelope | None = None,
        error: Exception | None = None,
    ) -> None:
        """Run *action*, which ends the activation, when no unit is pending (settling.py)."""
        settle_then(self, Ending(action, weight, failed, error))

    def unit_settled(self) -> None:
        """Of the gate, and of `PendingBytes`: there is less on its way to storage."""
        if self.phase is Phase.FULL:
            self._set_phase()
            self._go_on()
        elif self.system.passivates_at_once and self.phase is Phase.READY:
            passivate_if_idle(self)

    def become_cold(self, reason: StopReason) -> None:
        """End the activation; the next command, or one that waits, begins another."""
        self.forget(reason)
        self.rest_in(Phase.COLD)

    def _gate_broken(self, outcome: CommitOutcome, turns: list[Outputs]) -> None:
        if not self.system.is_stopped:  # then everybody has been told, and nothing may be begun
            gate_broke(self, outcome, turns)

    def rest_in(self, phase: Phase) -> None:
        """The activation is over: be COLD or WAITING, unless the supervisor holds it."""
        if self.held is not None:
            self.phase = Phase.HELD
            self.held.set()
            return
        self.phase = phase
        if phase is Phase.COLD and self.service is not None:
            self.wake()
        else:
            self.reschedule()

    def wake(self) -> None:
        """Begin an activation, of a service also though nobody has told it anything."""
        if self.phase is Phase.COLD:
            self.phase = Phase.LOADING
            self.system.spawn(load, self)

    # -- the end ------------------------------------------------------------------------------------------------

    @property
    def is_quiet(self) -> bool:
        """Nothing waits, runs or is on its way to storage."""
        if len(self.mailbox) or self.waiting is not None or self.unfinished is not None:
            return False
        if self.phase in (Phase.LOADING, Phase.SETTLING):
            return False
        return self.gate is None or not self.gate.pending
