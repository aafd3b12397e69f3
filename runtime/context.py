"""The context of a turn: what an actor may do besides thinking.

A draft is what a turn has staged: writes, stored with the turn or not at all, and effects, run when they are stored. A
turn of a plain `def` handler keeps its draft here, one that waits in its `Turn`.
"""

from collections.abc import Coroutine, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from greenroom.runtime.actor_alarms import ActorAlarms, AlarmDue
from greenroom.runtime.actor_state import ActorState
from greenroom.runtime.alarm_rules import Tick
from greenroom.runtime.command import Command
from greenroom.runtime.deadlines import check_delay
from greenroom.runtime.gate import Effect, stage
from greenroom.runtime.mailbox import SYSTEM_ENVELOPES_MAX
from greenroom.runtime.misuse import address_of_ref, address_to_tell, no_command, refuse_coroutine
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.stash import refuse_if_full, take_up_again
from greenroom.runtime.timers import Timer, take_back, take_back_all
from greenroom.runtime.turn import Turn, current_turn, leave, put_aside

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.ref import Ref


class Context:
    """What a turn may do besides thinking. One per activation; the draft is emptied before each turn."""

    __slots__ = (
        "_activation",
        "_timers",
        "address",
        "awake_for",
        "broken_by",
        "effects",
        "has_stored_start",
        "is_over",
        "is_reading",
        "is_redo",
        "own_alarms",
        "own_state",
        "owns",
        "token",
        "writes",
    )

    def __init__(self, activation: "Activation", token: int | None) -> None:
        self.address = activation.address
        self.token = token  # of the ownership row; None when there is none to own
        self.owns = token is not None
        self.is_over = False
        self.is_redo = False  # the command was decided before, on a draft that was not stored
        self.is_reading = False  # the handler is @reads
        self.has_stored_start = True  # what it wrote in its `start`, if anything
        self.broken_by: CommitOutcome | None = None  # what broke the gate, when that ends the activation
        self._activation = activation
        self.writes: list[object] | None = None
        self.effects: list[Effect] | None = None
        self._timers: set[Timer] | None = None
        self.own_alarms: ActorAlarms | None = None  # of a kind that keeps them
        self.own_state: ActorState | None = None  # likewise
        self.awake_for: Sequence[str] = ()  # why the actor stays in memory, for who looks

    def write(self, write: object, *, unconfirmed: bool = False) -> None:
        """Stage a write. Shape: whatever the committer of the system encodes.

        unconfirmed: what this turn lets out need not wait for it; if it is not stored, the gate breaks all the same and
        the actor loads again. A turn that also writes something else waits for all. Raises: RuntimeError in a @reads
        turn, and outside of turns.
        """
        if not self.owns:
            raise RuntimeError(self._why_not_stored())
        draft = self._draft()
        if draft.handler.is_reads if isinstance(draft, Turn) else self.is_reading:
            raise RuntimeError(f"{self.address}: a handler that is @reads must not write; take the mark away")
        draft.writes = stage(draft.writes, write, unconfirmed=unconfirmed)

    def after_commit(self, effect: Effect) -> None:
        """Run *effect* when everything written so far is stored, after the reply. It must not wait.

        Raises: TypeError for a coroutine; RuntimeError when the activation has ended, as in `stopping`, and
        outside of turns.
        """
        refuse_coroutine("what `ctx.after_commit` is given", effect)
        self.add_effect(lambda: self._activation.system.let_out(effect))

    def add_effect(self, effect: Effect) -> None:
        """Of the runtime: as `after_commit`, of what is its own."""
        if self.is_over:
            raise RuntimeError(
                f"{self.address}: its activation has ended and lets nothing out any more; tell through a ref"
            )
        draft = self._draft()
        if draft.effects is None:
            draft.effects = [effect]
        else:
            draft.effects.append(effect)

    def stash(self) -> None:
        """Put the command of this turn aside: it is handled after `unstash`, before all that waits then.

        The turn must let nothing out; what its handler returns is dropped. Commands that are aside keep an actor awake,
        and go back to the mailbox when it crashes. Raises: StashFull.
        """
        turn = self._waiting_turn()
        if turn is not None and turn.is_start:
            raise RuntimeError(
                f"{self.address} has no command to put aside in its `start`: do it in the handler of one"
            )
        refuse_if_full(self._activation)
        self.add_effect(put_aside)

    @property
    def is_put_aside(self) -> bool:
        """Of the runtime: the command of this turn is put aside."""
        draft = self._waiting_turn() or self
        return put_aside in (draft.effects or ())

    def stop(self) -> None:
        """End this activation, normally: this turn is its last one.

        It ends when everything written so far is stored and let out. What waits in the mailbox stays there, for another
        activation; when nothing does, what is left of it in memory goes too, at once. Of a service the mode of its kind
        says whether there is one.
        """
        self.add_effect(leave)

    def unstash(self) -> None:
        """Put what was put aside back in front, in its old order."""
        take_up_again(self._activation)

    def flushed(self) -> Coroutine[Any, Any, None]:
        """Store what this turn has written so far, and wait until it is stored.

        The turn is then stored in parts. If storage breaks the gate meanwhile, the turn is cancelled; one that was
        stored in part is not redone, and who asked is told `CommitUnknown`. Raises: RuntimeError in a plain `def`
        handler, when called; ActorGone in a turn that cleans up after the end of its activation.
        """
        turn = self._waiting_turn()
        if turn is None or turn.waiting is None:
            raise RuntimeError(
                f"{self.address}: `flushed` waits, so it is for a handler that is `async def`, in its turn"
            )
        return turn.waiting.flush(turn)

    def tell(self, ref: "Ref", command: "Command[Any]") -> None:
        """Tell another actor when everything written so far is stored. A full mailbox is a dead letter.

        In `stopping` it leaves at once: what could be stored is stored by then. Raises: RuntimeError later than that,
        TypeError for what is no ref or no command.
        """
        address = address_to_tell(ref, command)
        sender = self._waiting_turn() or self
        if self._is_stopping:
            self._activation.system.tell_or_bury(address, command, sender)
            return
        self.add_effect(lambda: self._activation.system.tell_or_bury(address, command, sender))

    def tell_self_after(self, delay_seconds: float, command: "Command[Any]") -> Timer:
        """Tell this actor *command* later, unless its activation ends before it begins that, or this turn fails.

        Kept in memory only.

        `cancel` of what this returns forgets it, and takes the command back if it has come and was not begun.
        Raises: RuntimeError when the activation has ended, as in `stopping`, and when too much is to come: timers and
        watches, SYSTEM_ENVELOPES_MAX together; TypeError, ValueError for a delay that is below 0 or no number, and for
        what is no command.
        """
        if self.is_over:
            raise RuntimeError(
                f"{self.address}: its activation has ended, and its timers with it: `ctx.tell_next_activation` has the "
                "address woken again, and an alarm comes at a time"
            )
        check_delay(delay_seconds)
        if not isinstance(command, Command):
            no_command(self.address, command)
        # What was cancelled is dropped here: an actor that moves its one timer often would keep them all.
        self._timers = timers = self._timers or set()
        timers.difference_update([timer for timer in timers if not timer.is_to_come])
        self._refuse_too_many("timer")
        timer = Timer(self._activation, delay_seconds, command, timers, self._turn_mark())
        timers.add(timer)
        return timer

    def _turn_mark(self) -> "tuple[int, int] | None":
        """Of the turn that the running code is part of, since it was last stored; None when it is part of none."""
        turn = self._waiting_turn()
        if turn is not None:
            return turn.mark
        return (self._activation.turns, 0) if self._activation.system.acting is self._activation else None

    def drop_timers(self, mark: tuple[int, int]) -> None:
        """Of the runtime: the turn of that *mark* failed, so what it has set does not come."""
        if self._timers is not None:
            take_back(self._activation, self._timers, mark)

    @property
    def state(self) -> ActorState:
        """What a kind that keeps_state keeps of this actor. Raises: RuntimeError for another kind."""
        if self.own_state is None:
            raise RuntimeError(f"{self.address} keeps no state: declare its kind with keeps_state=True")
        return self.own_state

    def set_alarm(
        self,
        name: str,
        command: "Command[Any]",
        *,
        at_ms: int | None = None,
        after_seconds: float | None = None,
        every_seconds: float | None = None,
    ) -> None:
        """Tell this actor *command* at a time, whatever happens until then; one of that name is replaced.

        at_ms: milliseconds since 1970; in the past is at once. every_seconds: it comes again, in step with its first
        time, which without another is after that long. *command* is @encodable, and has a handler here. Stored with
        the turn or not at all. A handler that fails is tried again, six times (alarm_rules.py).
        Raises: ValueError, UnknownCommand, NotEncodable; RuntimeError in a @reads turn and for a kind that keeps none.
        """
        self._alarms().set(name, command, at_ms, after_seconds, every_seconds)

    def move_alarm(self, name: str, *, at_ms: int | None = None, after_seconds: float | None = None) -> None:
        """Have the alarm come at another time. Raises: ValueError when there is none; RuntimeError as `set_alarm`."""
        self._alarms().move(name, at_ms, after_seconds)

    def cancel_alarm(self, name: str) -> bool:
        """Forget the alarm. False when there is none. Raises: RuntimeError as `set_alarm`."""
        return self._alarms().cancel(name)

    def alarms(self) -> dict[str, int]:
        """When each alarm of this actor comes, milliseconds since 1970, by name. One that is under way is there too."""
        return self._alarms().times()

    @property
    def tick(self) -> Tick | None:
        """The coming of an alarm that this turn handles: how many were missed, how often it has failed."""
        turn = self._waiting_turn()
        if turn is None:
            return None if self.own_alarms is None else self.own_alarms.tick
        command = turn.envelope.command
        return command.tick if isinstance(command, AlarmDue) else None

    def _alarms(self) -> ActorAlarms:
        if self.own_alarms is None:
            raise RuntimeError(f"{self.address} keeps no alarms: declare its kind with keeps_alarms=True")
        return self.own_alarms

    def tell_next_activation(self, command: "Command[Any]") -> None:
        """Of an actor that is stopping: have the address woken again, with *command* behind what waits already.

        In a turn it is a `tell` to itself. Raises: as `tell`.
        """
        self.tell(self.ref(*self.address), command)

    def now_ms(self) -> int:
        """Wall time, milliseconds since 1970."""
        return self._activation.system.clock.wall_milliseconds()

    def ref(self, kind: str, key: int | str) -> "Ref":
        """The ref of another actor."""
        return self._activation.system.ref(kind, key)

    def service(self, name: str) -> "Ref":
        """The ref of a service."""
        return self._activation.system.service(name)

    def take_draft(self) -> tuple[list[object] | None, list[Effect] | None]:
        """Of the runtime: empty the draft and return it."""
        draft = self.writes, self.effects
        self.writes = self.effects = None
        return draft

    def drop_draft(self, number: int) -> bool:
        """Of the runtime: the plain turn of that *number* failed. Whether it had staged anything."""
        self.drop_timers((number, 0))
        return any(self.take_draft())

    def _why_not_stored(self) -> str:
        if self.is_over:
            return f"{self.address}: its activation has ended and stores nothing any more; write in a turn"
        kind = self._activation.kind
        if kind.ownership == "none":
            return f'{self.address} wrote and owns no row: declare its kind with ownership="create" or "existing"'
        return f"{self.address} wrote and there is no row of it to own: look at `ctx.owns`, or make the row first"

    def _draft(self) -> "Context | Turn":
        """That of the turn which the running code is part of. Raises: RuntimeError when it is part of none."""
        if self._activation.system.acting is self._activation:
            return self
        turn = self._waiting_turn()
        if turn is None:
            raise RuntimeError(
                f"{self.address}: no turn of it runs here, in an effect or a task that outlived its turn, so this "
                "would become part of another one: tell the actor a command through a ref, and do it there"
            )
        return turn

    def _waiting_turn(self) -> Turn | None:
        """The turn of this actor that the running code is part of, if it is one that waits."""
        turn = current_turn() if self._activation.system.waiting_turns else None
        return turn if turn is not None and turn.activation is self._activation else None

    @property
    def _is_stopping(self) -> bool:
        """The running code is the `stopping` of this activation."""
        return self._activation.system.stopping is self._activation and self._activation.context is self

    @contextmanager
    def keep_awake(self, reason: str) -> Iterator[None]:
        """Keep this activation in memory while the block lasts, however idle it is. *reason* is for who looks."""
        reasons = self.awake_for = [*self.awake_for, reason]
        try:
            yield
        finally:
            reasons = list(self.awake_for)
            reasons.remove(reason)
            self.awake_for = reasons

    def watch(self, ref: "Ref") -> None:
        """Be told `Down` once, when the activation of *ref* that runs now ends; at once when none does.

        Raises: RuntimeError as `tell_self_after`, TypeError for what is no ref.
        """
        if self.is_over:
            raise RuntimeError(f"{self.address}: its activation has ended and watches nobody any more; watch in a turn")
        address = address_of_ref(ref)
        self._refuse_too_many("watch")
        self._activation.system.watches.add(address, self.address)

    def unwatch(self, ref: "Ref") -> None:
        """Be told nothing more of *ref*; a `Down` that is under way still comes."""
        self._activation.system.watches.remove(address_of_ref(ref), self.address)

    def _refuse_too_many(self, what: str) -> None:
        """See that what is to come finds a place in the system lane, which refuses nothing. Raises: RuntimeError."""
        cell, timers = self._activation, len(self._timers or ())
        watched, waiting = len(cell.system.watches.of(self.address)), cell.mailbox.system_depth
        if timers + watched + waiting >= SYSTEM_ENVELOPES_MAX:
            raise RuntimeError(
                f"{self.address} cannot have one more {what}: {timers} timers run, {watched} actors are watched and "
                f"{waiting} commands of both wait, of {SYSTEM_ENVELOPES_MAX} (SYSTEM_ENVELOPES_MAX). Keep one timer "
                "for what comes next, or share the watching among several actors"
            )

    @property
    def is_needed(self) -> bool:
        """A timer runs, or something keeps the actor awake: it is not idle."""
        return bool(self.awake_for) or any(timer.is_to_come for timer in self._timers or ())

    def start_stored(self) -> None:
        """Of the runtime: what was written in `start` is stored."""
        self.has_stored_start = True
        assert self._activation.gate is not None
        self._activation.gate.has_stored = False  # of its turns

    def end(self, *, goes_on: bool = False) -> None:
        """Of the runtime: the activation ends, and with it its timers; and what it watches, unless the actor *goes_on*.

        Then a `Down` wakes its next activation.
        """
        self.is_over, self.owns = True, False
        for timer in self._timers or ():
            timer.cancel()
        if self._timers is not None:
            take_back_all(self._activation)
        if not goes_on:
            self._activation.system.watches.remove_all(self.address)
        self._timers = None
