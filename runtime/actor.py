"""Actors as their authors see them: a class, its handlers, and the context of a turn.

    class Counter(Actor):
        async def start(self) -> None:              # load; the mailbox holds meanwhile
            self.count = 0

        @handles(Add)
        def add(self, command: Add) -> int:         # plain `def`: waits for nothing, costs no task
            self.ctx.write(CountAdded(command.by))  # staged: stored with this turn or not at all
            self.count += command.by                # memory last, after everything that may raise
            return self.count                       # leaves when the write is stored

Turns are serial. A handler that raises answers its asker with `ActorFailed` and its draft is dropped; when the
draft held something already, memory is loaded again from storage. A handler that raises on a tell is a crash: the
restart policy of its kind decides.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from greenroom.runtime.address import Address
from greenroom.runtime.deadlines import Entry
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import StashFull
from greenroom.runtime.gate import Effect
from greenroom.runtime.handlers import Handler, handlers_of
from greenroom.runtime.lifecycle import StopReason
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.overflow import Meter, Overflow
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.restarts import RestartPolicy
from greenroom.runtime.turn import Turn, current_turn, put_aside

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.ref import Ref

R = TypeVar("R")


class Command(Generic[R]):
    """What an actor is told. *R* is the type of its reply. Subclasses are frozen slotted dataclasses."""

    __slots__ = ()


class Stream(Generic[R]):
    """What an actor is asked to answer with many values, one after the other. *R* is the type of each.

    Its handler is an async generator. Subclasses are frozen slotted dataclasses.
    """

    __slots__ = ()


class Context:
    """What a turn may do besides thinking. One per activation; the draft is emptied before each turn."""

    __slots__ = (
        "_activation",
        "_timers",
        "_watched",
        "address",
        "awake_for",
        "broken_by",
        "effects",
        "is_reading",
        "is_redo",
        "owns",
        "token",
        "writes",
    )

    def __init__(self, activation: "Activation", token: int | None) -> None:
        self.address = activation.address
        self.token = token  # of the ownership row; None when there is none to own
        self.owns = token is not None
        self.is_redo = False  # the command was decided before, on a draft that was not stored
        self.is_reading = False  # the handler is @reads
        self.broken_by: CommitOutcome | None = None  # what broke the gate, when that ends the activation
        self._activation = activation
        self.writes: list[object] | None = None
        self.effects: list[Effect] | None = None
        self._timers: set[Entry] | None = None
        self._watched: set[Address] | None = None
        self.awake_for: Sequence[str] = ()  # why the actor stays in memory, for who looks

    def write(self, write: object) -> None:
        """Stage a write. Shape: whatever the committer of the system encodes. Raises: RuntimeError in a @reads turn."""
        assert self.owns, f"{self.address} wrote without owning its address"
        turn = self._waiting_turn()
        if turn.handler.is_reads if turn is not None else self.is_reading:
            raise RuntimeError(f"{self.address}: a handler that is @reads must not write; take the mark away")
        draft = turn if turn is not None else self
        if draft.writes is None:
            draft.writes = [write]
        else:
            draft.writes.append(write)

    def after_commit(self, effect: Effect) -> None:
        """Run *effect* when everything written so far is stored, after the reply. It must not wait."""
        draft = self._waiting_turn() or self
        if draft.effects is None:
            draft.effects = [effect]
        else:
            draft.effects.append(effect)

    def stash(self) -> None:
        """Put the command of this turn aside: it is handled after `unstash`, before all that waits then.

        The turn must let nothing out; what its handler returns is dropped. Commands that are aside keep an actor awake,
        and go back to the mailbox when it crashes. Raises: StashFull.
        """
        held = self._activation.stash
        if held is not None and len(held) >= self._activation.kind.stash_envelopes_max:
            raise StashFull(self.address, len(held))
        self.after_commit(put_aside)

    def unstash(self) -> None:
        """Put what was put aside back in front, in its old order."""
        self._activation.unstash()

    async def flushed(self) -> None:
        """Store what this turn has written so far, and wait until it is stored.

        The turn is then stored in parts. If storage breaks the gate meanwhile, the turn is cancelled; one that was
        stored in part is not redone, and who asked is told `CommitUnknown`.
        """
        turn = self._waiting_turn()
        assert turn is not None, f"{self.address}: only a handler that is async can wait for its writes"
        assert self._activation.waiting is not None
        await self._activation.waiting.flush(turn)

    def tell(self, ref: "Ref", command: "Command[Any]") -> None:
        """Tell another actor when everything written so far is stored. A full mailbox is a dead letter."""
        self.after_commit(lambda: self._activation.system.tell_or_bury(ref.address, command))

    def tell_self_after(self, delay_seconds: float, command: Command[Any]) -> Entry:
        """Tell this actor *command* later, unless its activation ends before. Kept in memory only."""
        # An entry that was cancelled is dropped here: an actor that moves its one timer often would keep them all.
        self._timers = timers = {timer for timer in self._timers or () if timer.action is not None}

        def fire() -> None:
            timers.discard(entry)
            self._activation.system.deliver_system(Envelope(self.address, command))

        entry = self._activation.system.deadlines.after(delay_seconds, fire)
        timers.add(entry)
        return entry

    def tell_next_activation(self, command: Command[Any]) -> None:
        """Of an actor that is stopping: have the address woken again, with *command* behind what waits already."""
        self._activation.system.tell_or_bury(self.address, command)

    def now_ms(self) -> int:
        """Wall time, milliseconds since 1970."""
        return self._activation.system.clock.wall_milliseconds()

    def ref(self, kind: str, key: int | str) -> "Ref":
        """The ref of another actor."""
        return self._activation.system.ref(kind, key)

    def take_draft(self) -> tuple[list[object] | None, list[Effect] | None]:
        """Of the runtime: empty the draft and return it."""
        draft = self.writes, self.effects
        self.writes = self.effects = None
        return draft

    def _waiting_turn(self) -> Turn | None:
        """The turn of this actor that the running code is part of, if it is one that waits."""
        if self._activation.waiting is None:
            return None
        turn = current_turn()
        return turn if turn is not None and turn.activation is self._activation else None

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
        """Be told `Down` once, when the activation of *ref* that runs now ends; at once when none does."""
        if not self._activation.system.watch(ref.address, self.address):
            return
        self._watched = {*(self._watched or ()), ref.address}

    def unwatch(self, ref: "Ref") -> None:
        """Be told nothing more of *ref*; a `Down` that is under way still comes."""
        self._activation.system.unwatch(ref.address, self.address)

    @property
    def is_needed(self) -> bool:
        """A timer runs, or something keeps the actor awake: it is not idle."""
        return bool(self.awake_for) or any(timer.action is not None for timer in self._timers or ())

    def end(self) -> None:
        """Of the runtime: the activation ends, and with it its timers and what it watches."""
        for entry in self._timers or ():
            entry.cancel()
        for address in self._watched or ():
            self._activation.system.unwatch(address, self.address)
        self._timers = self._watched = None


class Actor:
    """Base of all actors. Made by the factory of its kind, one instance for each activation."""

    ctx: Context
    handlers: ClassVar[dict[type[Command[Any]] | type[Stream[Any]], Handler]] = {}

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        for hook in ("stopping", "may_passivate"):
            if inspect.iscoroutinefunction(vars(cls).get(hook)):
                raise TypeError(f"{cls.__name__}.{hook} is plain def: nothing can be waited for there")
        cls.handlers = {**cls.handlers, **handlers_of(cls)}

    async def start(self) -> None:
        """Load. Commands wait in the mailbox until it returns; raising is a crash.

        A kind without ownership whose actors do not override this needs no task to wake.
        """

    def stopping(self, reason: StopReason) -> None:
        """The activation ends. Nothing can be asked or waited for here. Not called when the process dies."""

    @property
    def may_passivate(self) -> bool:
        """False keeps an idle actor in memory."""
        return True


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of actor, declared once.

    name: the first half of its addresses.
    factory: makes the instance of one activation, from the key.
    ownership: ``existing`` claims a row that must be there, ``create`` makes it, ``none`` has no durable state.
    mailbox_envelopes_max: commands that may wait; what happens to more of them, *overflow* says.
    meter: further bounds, in bytes and in age, and which commands replace each other.
    stash_envelopes_max: commands that an actor may put aside at a time.
    idle_seconds_max: without a command for so long, the activation is passivated.
    start_seconds_max: a start that takes longer is a crash.
    stop_order: kinds stop from the highest to the lowest.
    """

    name: str
    factory: Callable[[int | str], Actor]
    ownership: str = "none"
    mailbox_envelopes_max: int = 1024
    overflow: Overflow = Overflow.REFUSE
    meter: Meter | None = None
    stash_envelopes_max: int = 256
    idle_seconds_max: float = 60.0
    start_seconds_max: float = 30.0
    stop_order: int = 0
    restart: RestartPolicy = field(default_factory=RestartPolicy)

    def __post_init__(self) -> None:
        if self.ownership not in ("none", "existing", "create"):
            raise ValueError(f"kind {self.name}: ownership is none, existing or create, not {self.ownership!r}")
        if self.stash_envelopes_max < 0:
            raise ValueError(f"kind {self.name}: stash_envelopes_max is 0 or more, not {self.stash_envelopes_max}")
        if self.mailbox_envelopes_max < 1 or self.idle_seconds_max <= 0 or self.start_seconds_max <= 0:
            raise ValueError(
                f"kind {self.name}: mailbox_envelopes_max, idle_seconds_max, start_seconds_max are above 0"
            )

    def make_mailbox(self) -> Mailbox:
        """Of the runtime: the mailbox of one address."""
        if self.meter is None:
            return Mailbox(self.mailbox_envelopes_max)
        return MeteredMailbox(self.mailbox_envelopes_max, self.meter)
