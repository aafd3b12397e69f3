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
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar

from greenroom.runtime.deadlines import Entry
from greenroom.runtime.gate import Effect
from greenroom.runtime.handlers import Handler, handlers_of
from greenroom.runtime.lifecycle import StopReason
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.restarts import RestartPolicy
from greenroom.runtime.turn import Turn, current_turn

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
        "address",
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
            self._activation.system.tell_or_bury(self.address, command)

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

    @property
    def has_timers(self) -> bool:
        """A timer is running: the actor is not idle."""
        return any(timer.action is not None for timer in self._timers or ())

    def cancel_timers(self) -> None:
        """Of the runtime: the activation ends."""
        for entry in self._timers or ():
            entry.cancel()
        self._timers = None


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
    mailbox_envelopes_max: commands that may wait; more are refused with `MailboxFull`.
    idle_seconds_max: without a command for so long, the activation is passivated.
    start_seconds_max: a start that takes longer is a crash.
    stop_order: kinds stop from the highest to the lowest.
    """

    name: str
    factory: Callable[[int | str], Actor]
    ownership: str = "none"
    mailbox_envelopes_max: int = 1024
    idle_seconds_max: float = 60.0
    start_seconds_max: float = 30.0
    stop_order: int = 0
    restart: RestartPolicy = field(default_factory=RestartPolicy)

    def __post_init__(self) -> None:
        if self.ownership not in ("none", "existing", "create"):
            raise ValueError(f"kind {self.name}: ownership is none, existing or create, not {self.ownership!r}")
        if self.mailbox_envelopes_max < 1 or self.idle_seconds_max <= 0 or self.start_seconds_max <= 0:
            raise ValueError(
                f"kind {self.name}: mailbox_envelopes_max, idle_seconds_max, start_seconds_max are above 0"
            )
