"""The actor system: the registry of activations and the few tasks that serve all of them.

    async with open_system(kinds, committer=committer) as system:
        room = system.ref("room", 42)
        sent = await room.ask(Send(...), deadline=trio.current_time() + 5)

Two concurrent first commands make one activation. The supervision tree is data over one flat nursery: a cell per
address, a policy per kind. While storage is away nothing is loaded and nobody spends restart intensity; one prober
(jittered, at most PROBE_SECONDS_MAX apart) finds out when it is back, and commands wait up to their deadline.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from greenroom.runtime.activation import Activation
from greenroom.runtime.actor import Command, Context, Kind
from greenroom.runtime.address import Address
from greenroom.runtime.dead_letters import DeadLetters
from greenroom.runtime.deadlines import DeadlineHeap
from greenroom.runtime.dispatcher import Dispatcher
from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.errors import ActorGone, CallCycle, Escalated, MailboxFull, StorageUnavailable, UnknownKind
from greenroom.runtime.lifecycle import DRAINED, Phase, StopReason
from greenroom.runtime.overflow import Overflow
from greenroom.runtime.ports import Clock, Committer, Randomness, SystemClock, SystemRandomness
from greenroom.runtime.ref import Ref
from greenroom.runtime.turn import Turn, current_turn
from greenroom.runtime.watch import Down

PROBE_SECONDS_MAX = 1.0
SWEEP_SECONDS = 1.0
STOP_POLL_SECONDS = 0.01
SWEEP_CELLS_MAX = 1000  # cells looked at between two checkpoints of the sweeper

EventHook = Callable[..., None]


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """Of one kind. Counts of activations by phase; depth in envelopes; turns and restarts since the start."""

    loaded: int
    cold: int
    depth: int
    depth_max: int
    turns: int
    restarts: int
    refused: int


@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """Of the whole system."""

    kinds: dict[str, KindStatistics]
    crashes: int
    passivated: int
    dead_letters: int
    asks_pending: int
    storage_is_away: bool


class ActorSystem:
    """All actors of a process. Made by `open_system`."""

    def __init__(
        self,
        kinds: Iterable[Kind],
        committer: Committer,
        nursery: trio.Nursery,
        clock: Clock,
        randomness: Randomness,
        event: EventHook,
        *,
        passivates_at_once: bool,
    ) -> None:
        self.kinds = {kind.name: kind for kind in kinds}
        self.committer = committer
        self.clock = clock
        self.randomness = randomness
        self.event = event
        self.passivates_at_once = passivates_at_once
        self.dispatcher = Dispatcher(clock)
        self.deadlines = DeadlineHeap(lambda error: event("deadline.failed", error=error))
        self.dead_letters = DeadLetters()
        self.activations: dict[Address, Activation] = {}
        self.crashes = 0
        self.passivated = 0
        self.retired: dict[str, list[int]] = {name: [0, 0, 0] for name in self.kinds}  # turns, restarts, refused
        self._nursery = nursery
        self._is_stopped = False
        self._storage_back: trio.Event | None = None  # set when storage is away: what loads wait for
        self.acting: Activation | None = None  # whose plain `def` handler runs right now
        self.waiting_turns = 0
        self.has_escalated = trio.Event()
        self._escalated: Escalated | None = None

    def ref(self, kind: str, key: int | str) -> Ref:
        """The ref of an address. Raises: UnknownKind."""
        if kind not in self.kinds:
            raise UnknownKind(kind, list(self.kinds))
        return Ref(Address(kind, key), self)

    def activation(self, address: Address) -> Activation:
        """The cell of *address*, made if there is none."""
        cell = self.activations.get(address)
        if cell is None:
            kind = self.kinds.get(address.kind)
            if kind is None:
                raise UnknownKind(address.kind, list(self.kinds))
            cell = self.activations[address] = Activation(self, kind, address)
        return cell

    # -- delivery -----------------------------------------------------------------------------------------------

    def deliver(self, envelope: Envelope) -> None:
        """Queue an envelope. Raises: MailboxFull, UnknownKind, ActorGone."""
        if self._is_stopped:
            raise ActorGone(envelope.to, "the system stops")
        cell = self.activations.get(envelope.to) or self.activation(envelope.to)
        if not cell.mailbox.put_nowait(envelope):
            self._overflow(cell, envelope)
            return
        if not cell.is_scheduled and cell.phase in DRAINED:
            self.dispatcher.schedule(cell)

    def _overflow(self, cell: Activation, envelope: Envelope) -> None:
        """As the kind declares it for a full mailbox. Raises: MailboxFull."""
        policy = cell.kind.overflow
        if policy is Overflow.REFUSE or envelope.is_ask:
            raise cell.mailbox.why_full(envelope.to)
        if policy is Overflow.DROP_NEWEST:
            self.bury(envelope, "dropped_newest")
            return
        victim = cell.mailbox.take_oldest_tell()
        if victim is None or not cell.mailbox.put_nowait(envelope):
            raise cell.mailbox.why_full(envelope.to)
        self.bury(victim, "dropped_oldest")

    def deliver_system(self, envelope: Envelope) -> None:
        """Queue a command of the runtime itself: a timer, a `Down`. It goes ahead of the users' commands."""
        cell = self.activation(envelope.to)
        if self._is_stopped or not cell.mailbox.put_system(envelope):
            self.bury(envelope, "stopped" if self._is_stopped else "mailbox_full")
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
        if address.kind not in self.kinds:
            raise UnknownKind(address.kind, list(self.kinds))
        turn.effects = [*(turn.effects or ()), lambda: self.tell_or_bury(address, command)]

    async def deliver_from(self, caller: Turn, envelope: Envelope) -> None:
        """Queue what the turn *caller* asks. Raises: CallCycle, and as `deliver`."""
        nests_in = _waits_for_itself(caller, envelope)
        if caller.activation.waiting is not None:  # else its activation is over, and it is being cancelled
            await caller.activation.waiting.flush(caller)
        await trio.lowlevel.checkpoint_if_cancelled()
        if nests_in is None:
            self.deliver(envelope)
        else:
            nests_in.nest(envelope)

    async def deliver_when_room(self, envelope: Envelope) -> None:
        """Queue an envelope, waiting for room in the mailbox."""
        while True:
            await self.activation(envelope.to).mailbox.wait_room()
            try:
                self.deliver(envelope)
            except MailboxFull:
                continue
            return

    def tell_or_bury(self, address: Address, command: Command[Any]) -> None:
        """A tell between actors: it never waits and never raises; what cannot be queued is a dead letter."""
        envelope = Envelope(address, command)
        try:
            self.deliver(envelope)
        except MailboxFull:
            self.bury(envelope, "mailbox_full")
        except ActorGone:
            self.bury(envelope, "stopped")

    def expire_at(self, envelope: Question, deadline: float) -> None:
        """Settle *envelope* with an error at trio time *deadline* unless it was answered before."""
        envelope.ends_at = deadline
        if envelope.state != "settled":
            envelope.deadline = self.deadlines.at(deadline, lambda: self._expire(envelope))

    def _expire(self, envelope: Question) -> None:
        if envelope.state == "queued" and self._storage_back is not None:
            envelope.fail(StorageUnavailable(f"{envelope.to} waits for storage; send the command again"))
        else:
            envelope.expire()

    def watch(self, address: Address, watcher: Address) -> bool:
        """Have *watcher* told when the activation of *address* ends. False when there is none: it was told at once."""
        cell = self.activation(address)
        if cell.actor is None:
            self.deliver_system(Envelope(watcher, Down(address, None)))
            return False
        cell.watchers = cell.watchers or set()
        cell.watchers.add(watcher)
        return True

    def unwatch(self, address: Address, watcher: Address) -> None:
        """Have *watcher* told nothing of *address*."""
        cell = self.activations.get(address)
        if cell is not None and cell.watchers is not None:
            cell.watchers.discard(watcher)

    def escalate(self, address: Address, error: Exception, why: str) -> None:
        """End the system: `open_system` raises *Escalated*, with *error* as its cause."""
        if self._escalated is None:
            self._escalated = Escalated(address, why)
            self._escalated.__cause__ = error
            self.event("system.escalated", error=error, address=str(address), why=why)
            self.has_escalated.set()

    async def watch_escalation(self) -> None:
        """Raise what was escalated, into the nursery: here alone may a task of the runtime raise."""
        await self.has_escalated.wait()
        assert self._escalated is not None
        raise self._escalated

    def bury(self, envelope: Envelope, reason: str) -> None:
        """Make a dead letter of a command that will not be handled."""
        self.dead_letters.add(envelope.to, envelope.command, reason, self.clock.wall_milliseconds())
        what = type(envelope.command).__name__
        self.event("dead_letter.buried", address=str(envelope.to), command=what, reason=reason)

    # -- storage ------------------------------------------------------------------------------------------------

    @property
    def storage_is_away(self) -> bool:
        """The last commit or load found no storage, and the prober has not yet found it back."""
        return self._storage_back is not None

    def storage_failed(self, why: str) -> None:
        """Somebody found storage away: hold all loading until the prober finds it back."""
        if self._storage_back is None and not self._is_stopped:
            self._storage_back = trio.Event()
            self.event("storage.lost", why=why)
            self.spawn(self._probe)

    async def wait_storage(self) -> None:
        """Wait until storage is there, as far as anybody knows."""
        while self._storage_back is not None:
            await self._storage_back.wait()
        await trio.lowlevel.checkpoint()

    async def _probe(self) -> None:
        back = self._storage_back
        assert back is not None
        while True:
            await trio.sleep(self.randomness.uniform(PROBE_SECONDS_MAX / 10, PROBE_SECONDS_MAX))
            try:
                await self.committer.probe()
            except StorageUnavailable:
                continue
            self._storage_back = None
            back.set()
            self.event("storage.found")
            return

    # -- tasks --------------------------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., Awaitable[None]], *args: object) -> None:
        """Start a task of the runtime. *fn* raises nothing but `Cancelled`."""
        self._nursery.start_soon(fn, *args)

    async def sweep(self) -> None:
        """Passivate what has been idle for too long, and forget cells that are cold and clean."""
        while True:
            await trio.sleep(SWEEP_SECONDS)
            for count, cell in enumerate(list(self.activations.values())):
                if count % SWEEP_CELLS_MAX == SWEEP_CELLS_MAX - 1:
                    await trio.lowlevel.checkpoint()
                self._sweep_one(cell)

    def _sweep_one(self, cell: Activation) -> None:
        if cell.phase is Phase.READY and trio.current_time() - cell.active_at >= cell.kind.idle_seconds_max:
            self.passivated += cell.passivate_if_idle()
        if (
            cell.phase is Phase.COLD
            and not len(cell.mailbox)
            and not cell.is_scheduled
            and not self._crashed_lately(cell)
        ):
            del self.activations[cell.address]
            retired = self.retired[cell.kind.name]
            retired[0] += cell.turns
            retired[1] += cell.restarts
            retired[2] += cell.mailbox.refused

    @staticmethod
    def _crashed_lately(cell: Activation) -> bool:
        """Its crashes still count: the cell that remembers them must stay."""
        history = cell.history
        return history is not None and trio.current_time() - history.times[-1] < cell.kind.restart.period_seconds

    async def stop(self) -> None:
        """Let every actor finish what it has, then end them, highest stop order first.

        Nothing new is accepted from now on, except by actors from each other. The caller's scope is the deadline:
        Cancelled, what is left is ended at once and listed in an event.
        """
        try:
            # Polled, because quiet is a fact about all actors at once, and only at the end of a process.
            while any(not cell.is_quiet for cell in self.activations.values()) and not self.storage_is_away:  # noqa: ASYNC110
                await trio.sleep(STOP_POLL_SECONDS)
        finally:
            self._is_stopped = True
            left = [str(cell.address) for cell in self.activations.values() if not cell.is_quiet]
            if left:
                self.event("system.stopped_busy", addresses=left[:20], count=len(left))
            reason = StopReason.DEADLINE if left else StopReason.NORMAL
            for cell in sorted(self.activations.values(), key=_stop_order):
                cell.stop(reason)

    def statistics(self) -> SystemStatistics:
        """Counts by kind and of the whole. O(activations)."""
        by_kind: dict[str, list[Activation]] = {name: [] for name in self.kinds}
        for cell in self.activations.values():
            by_kind[cell.address.kind].append(cell)
        return SystemStatistics(
            kinds={name: _kind_statistics(cells, *self.retired[name]) for name, cells in by_kind.items()},
            crashes=self.crashes,
            passivated=self.passivated,
            dead_letters=self.dead_letters.counts.total(),
            asks_pending=len(self.deadlines),
            storage_is_away=self.storage_is_away,
        )


def _waits_for_itself(caller: Turn, envelope: Envelope) -> Activation | None:
    """The activation inside of whose waiting turn *envelope* must run, or None. Raises: CallCycle."""
    hops = [(envelope.to, type(envelope.command).__name__)]
    for turn in caller.chain():
        hops.insert(0, (turn.envelope.to, type(turn.envelope.command).__name__))
        actor = turn.activation.actor
        if turn.envelope.to != envelope.to or actor is None:
            continue
        handler = actor.handlers.get(type(envelope.command))  # type: ignore[arg-type]
        if handler is not None and (handler.is_reentrant or (handler.is_reads and turn.handler.is_reads)):
            return turn.activation
        raise CallCycle(hops)
    return None


def _stop_order(activation: Activation) -> int:
    """Sort key: kinds stop from the highest `stop_order` to the lowest."""
    return -activation.kind.stop_order


def _kind_statistics(cells: list[Activation], turns: int, restarts: int, refused: int) -> KindStatistics:
    depths = [len(cell.mailbox) for cell in cells]
    return KindStatistics(
        loaded=sum(cell.actor is not None for cell in cells),
        cold=sum(cell.actor is None for cell in cells),
        depth=sum(depths),
        depth_max=max(depths, default=0),
        turns=turns + sum(cell.turns for cell in cells),
        restarts=restarts + sum(cell.restarts for cell in cells),
        refused=refused + sum(cell.mailbox.refused for cell in cells),
    )


def _no_event(name: str, **facts: object) -> None:
    """Where events go when nobody listens."""


@asynccontextmanager
async def open_system(
    kinds: Iterable[Kind],
    *,
    committer: Committer,
    clock: Clock | None = None,
    randomness: Randomness | None = None,
    event: EventHook = _no_event,
    stop_seconds_max: float = 10.0,
    passivates_at_once: bool = False,
) -> AsyncIterator[ActorSystem]:
    """Run a system of actors; at the end of the block its actors finish, within *stop_seconds_max*.

    event(name, **facts): told of everything that happens outside the ordinary; must not raise.
    passivates_at_once: a test mode in which every actor forgets everything after each command.
    """
    async with trio.open_nursery() as nursery:
        system = ActorSystem(
            kinds,
            committer,
            nursery,
            clock or SystemClock(),
            randomness or SystemRandomness(),
            event,
            passivates_at_once=passivates_at_once,
        )
        for service in (system.dispatcher.run, system.deadlines.run, system.sweep, system.watch_escalation):
            nursery.start_soon(service)
        try:
            yield system
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + stop_seconds_max):
                await system.stop()
            nursery.cancel_scope.cancel(reason="the actor system was closed")
