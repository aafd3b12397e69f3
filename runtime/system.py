"""The actor system: the registry of activations and the few tasks that serve all of them.

    async with open_system([Kind("room", RoomActor)], committer=committer) as system:
        room = system.ref("room", 42)
        sent = await room.ask(Send(...), deadline=trio.current_time() + 5)

Two concurrent first commands make one activation. The supervision tree is data over one flat nursery: a cell per
address, a policy per kind. While storage is away nothing is loaded, and commands wait up to their deadline.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import trio

from greenroom.runtime.activation import Activation
from greenroom.runtime.actor import Command
from greenroom.runtime.address import Address
from greenroom.runtime.alarms import AlarmClock
from greenroom.runtime.call_cycles import refuse_late_ask, waits_for_itself
from greenroom.runtime.closing import finish
from greenroom.runtime.context import Context
from greenroom.runtime.counts import Retired, SystemStatistics, kind_statistics
from greenroom.runtime.dead_letters import DeadLetters
from greenroom.runtime.deadlines import DeadlineHeap
from greenroom.runtime.dispatcher import Dispatcher
from greenroom.runtime.endings import hold, kill
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.errors import (
    ActorGone,
    Escalated,
    MailboxFull,
    StaticName,
    StorageUnavailable,
    UnknownKind,
)
from greenroom.runtime.event_log import log_event
from greenroom.runtime.gate import Effect
from greenroom.runtime.kind import Kind, need_stores
from greenroom.runtime.lifecycle import DRAINED
from greenroom.runtime.limits import need_key
from greenroom.runtime.metered_activation import MeteredActivation
from greenroom.runtime.misuse import address_of_ref
from greenroom.runtime.nursery import open_nurseries
from greenroom.runtime.opening import check_ports
from greenroom.runtime.overflow import overflow
from greenroom.runtime.passivation import MemoryLimit, sweep
from greenroom.runtime.patience import Patience
from greenroom.runtime.pending import PendingBytes
from greenroom.runtime.ports import AlarmStore, Clock, Committer, Randomness, StateStore, SystemClock, SystemRandomness
from greenroom.runtime.ref import Ref, running_system
from greenroom.runtime.rests import Rest, refuse_at_rest
from greenroom.runtime.shields import lift_shields
from greenroom.runtime.storage_watch import StorageWatch
from greenroom.runtime.supervisor import Branch, Leaf
from greenroom.runtime.tracing import Trace, start_trace
from greenroom.runtime.tree import SERVICE_KEY, Child, Supervisor, kinds_of, root_of
from greenroom.runtime.turn import Turn, current_turn, senders_of
from greenroom.runtime.watch import Watches
from greenroom.runtime.watchdog import Watchdog

EventHook = Callable[..., None]


class ActorSystem:
    """All actors of a process. Made by `open_system`."""

    def __init__(
        self,
        tree: Supervisor,
        kinds: dict[str, Kind],
        committer: Committer,
        nursery: trio.Nursery,
        clock: Clock,
        randomness: Randomness,
        event: EventHook,
        *,
        patience: Patience,
        passivates_at_once: bool,
        memory: MemoryLimit | None,
        pending_bytes_max: int,
        alarms: AlarmStore | None,
        states: StateStore | None,
    ) -> None:
        self.kinds = kinds
        self.committer = committer
        self.clock = clock
        self.randomness = randomness
        self.event = event
        self.passivates_at_once = passivates_at_once
        self.memory = memory
        self.pending = PendingBytes(pending_bytes_max)
        self.dispatcher = Dispatcher(clock)
        self.alarms = None if alarms is None else AlarmClock(self, alarms)
        self.states = states
        self.deadlines = DeadlineHeap(lambda error: event("deadline.failed", error=error))
        self.dead_letters = DeadLetters(self.deadlines, event)
        self.activations: dict[Address, Activation] = {}
        self.rests: dict[Address, Rest] = {}
        self.crashes = 0
        self.passivated = 0
        self.late_replies = 0  # of activations that have ended
        self.retired = {name: Retired() for name in self.kinds}
        self.carry: Callable[[Envelope], None] = self.deliver  # between actors: where a network would stand
        self._nursery = nursery
        self.is_closing = self.is_stopped = False  # closing: nothing new from outside; stopped: nothing at all
        self.storage = StorageWatch(self)
        self.watchdog = Watchdog(self, patience)
        self.watches = Watches(self)
        self.acting: Activation | None = None  # whose plain `def` handler runs right now
        self.stopping: Activation | None = None  # whose `stopping` runs right now
        self.lets_out = False  # what an actor gave to `after_commit` runs right now
        self.waiting_turns: dict[Turn, None] = {}  # oldest first
        self.has_escalated = trio.Event()
        self.escalated: Escalated | None = None
        self.tree = Branch(self, tree)
        self._leaves = {leaf.name: leaf for leaf in self.tree.leaves()}

    def ref(self, kind: str, key: int | str) -> Ref:
        """The ref of an address. Raises: UnknownKind, TypeError for a key that is none, StaticName as `check`."""
        address = Address(kind, key)
        self.check(address)
        need_key(kind, key)
        return Ref(address, self)

    def service(self, name: str) -> Ref:
        """The ref of a service. Raises: UnknownKind, StaticName for a kind that has many actors."""
        leaf = self._leaves.get(name)
        if leaf is not None and not leaf.is_service:
            raise StaticName(f"{name} is no service, it has an actor for each key: say ref({name!r}, key)")
        return self.ref(name, SERVICE_KEY)

    def check(self, address: Address) -> None:
        """See that an actor of that kind can be there. Raises: UnknownKind, StaticName for a second of a service."""
        leaf = self._leaves.get(address.kind)
        if leaf is None:
            raise UnknownKind(address.kind, list(self.kinds))
        if leaf.is_service and address.key != SERVICE_KEY:
            raise StaticName(
                f"{leaf.name} is a service: there is one, `system.service({leaf.name!r})`, and no {address}"
            )

    def leaf_of(self, cell: Activation) -> Leaf:
        """Where *cell* stands in the tree."""
        return self._leaves[cell.kind.name]

    def activation(self, address: Address) -> Activation:
        """The cell of *address*, made if there is none."""
        cell = self.activations.get(address)
        if cell is None:
            self.check(address)
            need_key(*address)  # of a ref that was unpickled too
            leaf = self._leaves[address.kind]
            of_kind = Activation if leaf.kind.meter is None else MeteredActivation
            cell = self.activations[address] = of_kind(self, leaf.kind, address)
            if leaf.is_held:
                hold(cell)
        return cell

    # -- delivery -----------------------------------------------------------------------------------------------

    def deliver(self, envelope: Envelope) -> None:
        """Queue an envelope. Raises: MailboxFull, UnknownKind, ActorGone."""
        if self.is_stopped:
            raise ActorGone(envelope.to, "the system stops")
        cell = self.activations.get(envelope.to) or self.activation(envelope.to)
        if not cell.mailbox.put_nowait(envelope):
            overflow(cell, envelope)
            return
        if not cell.is_scheduled and cell.phase in DRAINED:
            self.dispatcher.schedule(cell)

    def deliver_system(self, envelope: Envelope) -> None:
        """Queue a command of the runtime itself: a timer, a `Down`. It goes ahead of the users' commands."""
        cell = self.activation(envelope.to)
        if self.is_stopped or not cell.mailbox.put_system(envelope):
            self.bury(envelope, "stopped" if self.is_stopped else "mailbox_full")
            return
        cell.reschedule()

    def tell(self, address: Address, command: Command[Any]) -> None:
        """As `Ref.tell`: inside a turn it leaves with the turn's outputs."""
        turn: Context | Turn | None = None
        if self.acting is not None:
            turn = self.acting.context
        elif self.waiting_turns:
            turn = current_turn()
        if turn is None:
            self.deliver(Envelope(address, command))
            return
        self.check(address)
        if turn.effects is None:
            turn.effects = []  # the turn's own until it is taken: what runs the effects of a draft has taken it
        turn.effects.append(lambda: self.tell_or_bury(address, command, turn))

    async def deliver_from(self, caller: Turn, envelope: Envelope, deadline: float) -> None:
        """Queue what the turn *caller* asks. Raises: CallCycle, AskTimeout, and as `deliver`."""
        nests_in = waits_for_itself(caller, envelope)
        if caller.waiting is not None:
            await caller.waiting.flush_until(deadline, caller, envelope)
        else:
            refuse_late_ask(caller, envelope)
        await trio.lowlevel.checkpoint_if_cancelled()
        if nests_in is None:
            self.deliver(envelope)
        else:
            if nests_in.gauges.trace is not None:
                nests_in.gauges.trace.follow(envelope)
            nests_in.nest(envelope)

    async def deliver_when_room(self, envelope: Envelope) -> None:
        """Queue an envelope, waiting for room in the mailbox. Raises: CommandTooLarge, ActorGone."""
        never = self.activation(envelope.to).mailbox.why_never(envelope.to, envelope.command)
        if never is not None:
            raise never
        while True:
            mailbox = self.activation(envelope.to).mailbox
            await mailbox.wait_room(envelope.command)
            try:
                self.deliver(envelope)
            except MailboxFull:
                continue
            finally:
                mailbox.pass_room_on()
            return

    def let_out(self, effect: Effect) -> None:
        """Run what an actor gave to `after_commit`. It is of that actor, not of the outside: what it tells is taken."""
        self.lets_out, outer = True, self.lets_out
        try:
            return effect()
        finally:
            self.lets_out = outer

    def tell_or_bury(self, address: Address, command: Command[Any], sender: Turn | Context | None = None) -> None:
        """A tell between actors: it never waits and never raises; what cannot be queued is a dead letter."""
        envelope = Envelope(address, command)
        try:
            self.carry(envelope)
        except MailboxFull:
            self.bury(envelope, "mailbox_full", sender)
        except ActorGone:
            self.bury(envelope, "stopped", sender)
        except Exception:  # of what the receiver measures its commands with
            self.bury(envelope, "not_measured", sender)
            raise

    def expire_at(self, envelope: Question, deadline: float) -> None:
        """Settle *envelope* with an error at trio time *deadline* unless it was answered before."""
        envelope.ends_at = deadline
        if self.rests:
            refuse_at_rest(self, envelope, deadline)
        if envelope.state != "settled":
            envelope.deadline = self.deadlines.at(deadline, lambda: self._expire(envelope))

    def _expire(self, envelope: Question) -> None:
        if envelope.state == "queued" and self.storage.is_away:
            envelope.fail(StorageUnavailable(f"{envelope.to} waits for storage; send the command again"))
        else:
            envelope.expire()

    def escalate(self, report: Escalated, error: Exception) -> None:
        """End the system: `open_system` raises *report*, with *error* as its cause."""
        if self.escalated is None:
            self.escalated = report
            self.escalated.__cause__ = error
            self.event("system.escalated", error=error, path=report.path, why=str(report))
            self.has_escalated.set()

    async def watch_escalation(self) -> None:
        """Raise what was escalated, into the block: here alone may a task of the runtime raise."""
        await self.has_escalated.wait()
        assert self.escalated is not None
        raise self.escalated

    def refuse_in_turn(self, what: str, address: Address) -> None:
        """See to it that no turn runs here: *what* would leave before what that has written. Raises: RuntimeError."""
        if self.acting is not None or (self.waiting_turns and current_turn() is not None):
            raise RuntimeError(
                f"{what} {address} in a turn: it would leave before what the turn has written is stored. Only edges do "
                "so; in a turn use `tell`, or `await ref.ask(...)`"
            )

    def bury(self, envelope: Envelope, reason: str, sender: Turn | Context | None = None) -> None:
        """Make a dead letter of a command that will not be handled. sender: the turn that told it, if that is known."""
        senders = senders_of(sender or envelope.caller)
        self.dead_letters.add(envelope.to, envelope.command, reason, self.clock.wall_milliseconds(), senders)

    # -- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task of the runtime. *fn* raises nothing but `Cancelled`."""
        self._nursery.start_soon(fn, *args)

    def forget(self, cell: Activation) -> None:
        """Of `passivation`: drop a cell that is cold; what it counted stays."""
        del self.activations[cell.address]
        self.retired[cell.kind.name].add(cell)

    def kill(self, ref: Ref) -> bool:
        """End the activation that runs at *ref* without letting it finish; False when none does.

        Its turns that wait are cancelled, their askers told, tells of them dead letters, but for one that ends in order
        all the same. What it gave to storage is settled first. The mailbox stays, for the activation that the next
        command makes; of a service its supervisor decides, as after a crash. Raises: UnknownKind; RuntimeError in a
        plain handler of that very actor.
        """
        address = address_of_ref(ref)
        self.check(address)
        cell = self.activations.get(address)
        return cell is not None and kill(cell)

    async def stop(self) -> None:
        """Let every actor finish what it has, then end them in the reverse of the start order.

        Nothing new is accepted from now on, except by actors from each other: who comes from outside gets ActorGone.
        The caller's scope is the deadline: Cancelled, what is left is ended at once and listed in an event, with where
        its turns wait.
        """
        self.is_closing = True
        if self.alarms is not None:
            self.alarms.stop()
        await finish(self)

    @property
    def has_lost_tasks(self) -> bool:
        """SystemExit in one of its tasks has ended them all: nothing becomes quiet any more."""
        return self._nursery.cancel_scope.cancel_called

    def trace(self, ref: Ref, *, seconds: float, events_max: int = 256) -> Trace:
        """Keep of each command that the actor of *ref* is told what became of it, for *seconds*. It wakes nobody.

        events_max: the newest that are kept. Raises: ValueError, UnknownKind, TracedAlready.
        """
        return start_trace(self, address_of_ref(ref), seconds, events_max)

    def statistics(self) -> SystemStatistics:
        """Counts by kind and of the whole. O(activations)."""
        by_kind: dict[str, list[Activation]] = {name: [] for name in self.kinds}
        for cell in self.activations.values():
            by_kind[cell.address.kind].append(cell)
        return SystemStatistics(
            kinds={name: kind_statistics(cells, self.retired[name]) for name, cells in by_kind.items()},
            crashes=self.crashes,
            passivated=self.passivated,
            dead_letters=self.dead_letters.counts.total(),
            asks_pending=len(self.deadlines),
            late_replies=self.late_replies
            + sum(cell.gate.late_replies for cell in self.activations.values() if cell.gate is not None),
            storage_is_away=self.storage.is_away,
            alarms=None if self.alarms is None else self.alarms.statistics(),
        )


@asynccontextmanager
async def open_system(
    children: Iterable[Child] | Supervisor,
    *,
    committer: Committer,
    clock: Clock | None = None,
    randomness: Randomness | None = None,
    event: EventHook = log_event,
    stop_seconds_max: float = 10.0,
    patience: Patience | None = None,
    passivates_at_once: bool = False,
    memory: MemoryLimit | None = None,
    pending_bytes_max: int = 64 * 1024 * 1024,
    alarms: AlarmStore | None = None,
    states: StateStore | None = None,
) -> AsyncIterator[ActorSystem]:
    """Run a system of actors; at the end of the block its actors finish, within *stop_seconds_max*: cancelled too.

    After that time no shield holds any more, `@shielded` or trio's own.

    children: kinds, services and supervisors in start order, or the root of the tree. The block begins when every
    service has started.
    event(name, **facts): told of everything that happens outside the ordinary; must not raise. Without one it is
    logged. `loop.held` comes from a thread of its own, because the loop cannot tell it.
    patience: how long turns and commands may take before that is an event.
    passivates_at_once: a test mode in which every actor forgets everything after each command.
    memory: passivate idle actors early when the process uses most of what it may.
    pending_bytes_max: of all that is on its way to storage; with more, actors that write wait.
    alarms, states: where kinds that keep alarms and state keep them.
    Raises: as the block, and none of it in a group; Escalated when the root cannot bear a failure, or a group of both;
    ValueError, TypeError and StaticName for arguments that make no sense, before anything runs.
    """
    check_ports(
        committer=committer,
        clock=clock,
        event=event,
        patience=patience,
        memory=memory,
        stop_seconds_max=stop_seconds_max,
        pending_bytes_max=pending_bytes_max,
    )
    root = root_of(children)
    kinds = kinds_of(root)
    need_stores(kinds.values(), alarms=alarms, states=states)
    async with open_nurseries() as (block, nursery):
        system = ActorSystem(
            root,
            kinds,
            committer,
            nursery,
            clock or SystemClock(),
            randomness or SystemRandomness(),
            event,
            patience=patience or Patience(),
            passivates_at_once=passivates_at_once,
            memory=memory,
            pending_bytes_max=pending_bytes_max,
            alarms=alarms,
            states=states,
        )
        outer = running_system.get()
        running_system.set(
            system
        )  # of the tasks that are begun below too: a ref that is unpickled in an actor leads here
        for service in (system.dispatcher.run, system.deadlines.run, system.watchdog.run):
            nursery.start_soon(service)
        block.start_soon(system.watch_escalation)
        nursery.start_soon(sweep, system)
        try:
            await system.tree.start()
            if any(kind.keeps_alarms for kind in kinds.values()):  # what is overdue may need each of the services
                assert system.alarms is not None
                nursery.start_soon(system.alarms.run)
            yield system
        finally:
            running_system.set(outer)
            with trio.CancelScope(shield=True, deadline=trio.current_time() + stop_seconds_max):
                await system.stop()
            lift_shields(nursery)
            block.cancel_scope.cancel(reason="the actor system was closed")
