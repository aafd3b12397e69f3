"""Refs: the way to one actor, as a value.

Making one does no I/O; the first command activates. It knows no place: pickled, it is its address, and where it is
unpickled it leads to the actor of that address there.

Inside a turn nothing leaves an actor before what it depends on is stored: a tell waits for the commit of the turn, and
an ask has everything stored first that was written until then, its own turn's writes too. So a turn that asks is stored
in parts, split where it asks.
"""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar, cast

import trio

from greenroom.runtime.actor import Command, Stream
from greenroom.runtime.address import Address
from greenroom.runtime.codec import add_form, address_of
from greenroom.runtime.deadlines import check_deadline
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.errors import ActorGone, AskInStop, NoSystem
from greenroom.runtime.lifecycle import DRAINED
from greenroom.runtime.misuse import no_command, refuse_coroutine
from greenroom.runtime.turn import current_turn

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem
    from greenroom.runtime.turn import Turn

R = TypeVar("R")

STREAM_ITEMS_MAX: Final = 16

running_system: ContextVar["ActorSystem | None"] = ContextVar("greenroom_system", default=None)


class Ref:
    """The way to one actor: equal, hashed and printed by its address, `room/42`."""

    __slots__ = ("_address", "_system")

    def __init__(self, address: Address, system: "ActorSystem") -> None:
        self._address = address
        self._system = system

    @property
    def address(self) -> Address:
        """Whose ref it is; it never changes."""
        return self._address

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and other._address == self._address

    def __hash__(self) -> int:
        return hash(self._address)

    def __repr__(self) -> str:
        return f"Ref({self._address})"

    def __str__(self) -> str:
        return str(self._address)

    def __reduce__(self) -> "tuple[Callable[[Address], Ref], tuple[Address]]":
        return ref_here, (self._address,)

    def tell(self, command: Command[Any]) -> None:
        """Queue *command*. Never waits; inside a turn it leaves when everything written so far is stored.

        A ref of another system of the process knows nothing of that turn: there use `ctx.tell(ref, command)`.
        Order: commands of one sender to one address arrive in the order told.
        Raises: MailboxFull, UnknownKind, ActorGone (the system stops). Inside a turn only UnknownKind: what cannot be
        queued later is a dead letter. TypeError for what is no command.
        """
        system, address = self._system, self._address
        if not isinstance(command, Command):
            no_command(address, command)
        if system.acting is not None or (system.waiting_turns and current_turn() is not None):
            system.tell(address, command)
            return
        cell = system.activations.get(address)
        if cell is None or system.is_closing or not cell.mailbox.put_tell(address, command):
            self._refuse_when_closing()
            system.deliver(Envelope(address, command))
        elif not cell.is_scheduled and cell.phase in DRAINED:
            system.dispatcher.schedule(cell)

    def request(
        self, command: Command[R], reply_to: Callable[[R | None, BaseException | None], None], *, deadline: float
    ) -> None:
        """Queue *command* and have *reply_to* called with (reply, None) or (None, error), exactly once.

        An ask without a task: for edges that serve thousands of callers. *reply_to* must not wait; what it raises is
        logged. deadline: absolute trio time. Raises as `tell`, AskTimeout when the deadline is over, TypeError and
        ValueError when it is no time, TypeError for a coroutine, RuntimeError in a turn, because it would leave before
        what that turn has written; then *reply_to* is not called.
        """
        refuse_coroutine("the reply_to of a request", reply_to)
        self._refuse_in_stop(command)
        self._system.refuse_in_turn("a request to", self._address)
        check_deadline(deadline, self._address, command)
        envelope = Question(self._address, command, reply_to)
        self._refuse_when_closing()
        self._system.deliver(envelope)
        self._system.expire_at(envelope, deadline)

    def _refuse_in_stop(self, command: object) -> None:
        if self._system.stopping is not None:
            raise AskInStop(self._address, command)

    def _refuse_when_closing(self) -> None:
        """Of what comes from no turn. Raises: ActorGone when the system stops, unless `stopping` or an effect runs."""
        if self._system.is_closing and self._system.stopping is None and not self._system.lets_out:
            raise ActorGone(self._address, "the system stops")

    def ask(self, command: Command[R], *, deadline: float) -> Coroutine[Any, Any, R]:
        """Queue *command* and wait for the reply.

        deadline: absolute trio time; the caller's own scope counts too, and inside a turn that turn's deadline, unless
        it is @shielded. One that is over is AskTimeout, and nothing is sent; what is no time is a TypeError or
        ValueError.
        Cancelled, or the deadline passed: a turn that waits for something is cancelled too unless its handler is
        @shielded; what it wrote is dropped. One that was finished already may still take effect.
        Raises: AskTimeout, ActorFailed, ActorGone, CallCycle, StorageUnavailable, CommitUnknown, and as `tell`; when
        called, before anything is awaited, AskInStop.
        """
        self._refuse_in_stop(command)
        return self._ask(command, deadline)

    async def _ask(self, command: Command[R], deadline: float) -> R:
        check_deadline(deadline, self._address, command)
        caller = current_turn()
        task = trio.lowlevel.current_task()
        answer: list[Any] = []
        is_waiting = False

        def reply_to(value: object, error: BaseException | None) -> None:
            answer.extend((value, error))
            if is_waiting:
                trio.lowlevel.reschedule(task)

        envelope = Question(self._address, command, reply_to, caller)
        if caller is None:
            self._refuse_when_closing()
            self._system.deliver(envelope)
        else:
            deadline = min(deadline, caller.ends_at)
            await self._system.deliver_from(caller, envelope, deadline)
            caller.asks = envelope
        self._system.expire_at(envelope, deadline)
        if not answer:
            is_waiting = True
            await trio.lowlevel.wait_task_rescheduled(lambda _: _abandon(envelope))
        else:
            await trio.lowlevel.checkpoint()
        value, error = answer
        if error is not None:
            raise error
        return cast("R", value)

    @asynccontextmanager
    async def stream(self, command: Stream[R], *, deadline: float) -> AsyncIterator["Items[R]"]:
        """Queue *command* and receive what its handler yields, in order.

            async with ref.stream(Follow(), deadline=deadline) as items:
                async for item in items: ...

        The handler runs at most STREAM_ITEMS_MAX items ahead of who follows. Leaving the block ends it, and so does the
        deadline. Raises as `ask`: on entering what `tell` raises, the rest where the next item is waited for.
        """
        self._refuse_in_stop(command)
        check_deadline(deadline, self._address, command)
        caller = current_turn()
        sender, receiver = trio.open_memory_channel[R](STREAM_ITEMS_MAX)
        items = Items(receiver, caller)

        def reply_to(value: object, error: BaseException | None) -> None:
            items.error = error
            sender.close()

        items.asked = envelope = Question(self._address, command, reply_to, caller)
        envelope.stream = sender
        if caller is None:
            self._refuse_when_closing()
            self._system.deliver(envelope)
        else:
            deadline = min(deadline, caller.ends_at)
            await self._system.deliver_from(caller, envelope, deadline)
        self._system.expire_at(envelope, deadline)
        try:
            yield items
        finally:
            receiver.close()
            envelope.abandon()

    async def offer(self, command: Command[Any]) -> None:
        """Queue *command*, waiting for room. Only for edges: it is the backpressure to TCP.

        Cancelled: the command was not queued. Raises: UnknownKind, ActorGone; RuntimeError in a turn, because it would
        leave before what that turn has written; AskInStop; TypeError for what is no command.
        """
        self._refuse_in_stop(command)
        if not isinstance(command, Command):
            no_command(self._address, command)
        self._system.refuse_in_turn("an offer to", self._address)
        self._refuse_when_closing()
        envelope = Envelope(self._address, command)
        await self._system.deliver_when_room(envelope)

    async def wait_room(self) -> None:
        """Wait until the mailbox could take a command. Another sender may be quicker."""
        mailbox = self._system.activation(self._address).mailbox
        await mailbox.wait_room()
        # Whoever called us may use the room in this step of its task; then it is the turn of the next.
        trio.lowlevel.current_trio_token().run_sync_soon(mailbox.pass_room_on)


class Items(Generic[R]):
    """What a stream yields, to be iterated once."""

    __slots__ = ("_caller", "_receiver", "asked", "error")

    def __init__(self, receiver: trio.MemoryReceiveChannel[R], caller: "Turn | None") -> None:
        self._receiver = receiver
        self._caller = caller
        self.asked: Question | None = None
        self.error: BaseException | None = None

    def __aiter__(self) -> "Items[R]":
        return self

    async def __anext__(self) -> R:
        if self._caller is None:
            return await self._next()
        asks, self._caller.asks = self._caller.asks, self.asked
        try:
            return await self._next()
        finally:
            self._caller.asks = asks  # while it does something else, it does not wait for the stream

    async def _next(self) -> R:
        try:
            return await self._receiver.receive()
        except trio.EndOfChannel:
            if self.error is not None:
                raise self.error from None
            raise StopAsyncIteration from None


def ref_here(address: Address) -> Ref:
    """The ref of *address* in the system that the running code is part of: what a pickled ref becomes.

    Outside of any system it is a value still, and whoever sends something to it gets NoSystem.
    """
    return Ref(address, running_system.get() or cast("ActorSystem", _Nowhere(address)))


add_form(Ref, "$ref", lambda ref: list(ref.address), lambda parts: ref_here(address_of(parts)))


class _Nowhere:
    """Stands for the system that is not there."""

    __slots__ = ("_address",)

    def __init__(self, address: Address) -> None:
        self._address = address

    def __getattr__(self, _: str) -> object:
        raise NoSystem(self._address)


def _abandon(envelope: Question) -> trio.lowlevel.Abort:
    envelope.abandon()
    return trio.lowlevel.Abort.SUCCEEDED
