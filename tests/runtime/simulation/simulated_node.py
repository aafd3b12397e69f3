"""One node of the simulated world: a system with its own committer on the storage that all nodes share.

    begin ──▶ serves ──displaced──▶ another serves, and this one does not know it ──▶ dies
                └── dies at once: what is on its way to storage then is stored or not, and nobody hears of it

What is asked and told on a node lives with it: who was promised something by a node that died was promised it by
nobody. What it has stored, and what it has acknowledged, is the world's.
"""

from dataclasses import dataclass, field
from typing import Any

import trio
from simulated_world import (
    SERVICES,
    Account,
    Board,
    Halt,
    Put,
    PutMany,
    Rise,
    Shrug,
    Spread,
    World,
)

from greenroom.runtime import (
    Actor,
    ActorError,
    ActorFailed,
    ActorSystem,
    Address,
    AskTimeout,
    Directive,
    Kind,
    MailboxFull,
    Meter,
    Overflow,
    RestartPolicy,
    Service,
    StorageUnavailable,
    Strategy,
    Supervisor,
    open_system,
)
from greenroom.runtime.lifecycle import Phase
from greenroom.runtime.restarts import RestartMode
from greenroom.runtime.testing import CommandLost, LeakCheck, Leaked, Ledger, MemoryCommitter, UnreliableNetwork

NOT_STORED = (StorageUnavailable, ActorFailed, MailboxFull)  # what says that nothing of a single write is stored
LATE_ROUNDS = 8  # in which storage judges what a frozen node sends when it thaws


@dataclass
class Asked:
    """One ask of the script: what became of it."""

    command: Any
    answers: int = 0
    error: BaseException | None = None


@dataclass(eq=False)
class Node:
    """Run `run` in a nursery. number: the first is 1."""

    world: World
    number: int
    passivates_at_once: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    active: dict[Address, Actor] = field(default_factory=dict)
    asked: list[Asked] = field(default_factory=list)
    told: list[Put | PutMany] = field(default_factory=list)
    spread: list[Spread] = field(default_factory=list)  # what they told has left
    last_words: dict[Address, str] = field(default_factory=dict)  # what was told on being passivated first
    acknowledged: dict[str, str] = field(default_factory=dict)  # here, and of those before this one all until then
    watches: int = 0
    downs: int = 0
    redone_downs: int = 0
    system: ActorSystem = field(init=False)
    clients: trio.Nursery = field(init=False)
    network: UnreliableNetwork = field(init=False)
    leaks: LeakCheck = field(init=False)

    def __post_init__(self) -> None:
        self.committer = MemoryCommitter(self.world.tables)
        self.is_dead = False
        self._scope = trio.CancelScope()
        self._ends = trio.Event()
        self._is_over = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Serve until `close` or `die`. It has started when its services have."""
        self.acknowledged.update(self.world.acknowledged)
        with self._scope:
            async with trio.open_nursery() as outside:
                outside.start_soon(self.committer.run)
                async with trio.open_nursery() as self.clients, self._open() as self.system:
                    self.network = UnreliableNetwork(self.system, self.world.run.randomness)
                    self.leaks = LeakCheck(self.system)
                    self.ledger.follow_dead_letters(self.system)
                    self.world.nodes.append(self)
                    task_status.started()
                    await self._ends.wait()
                outside.cancel_scope.cancel()
        self._is_over.set()

    async def close(self) -> None:
        """End in order."""
        self._ends.set()
        await self._is_over.wait()

    async def die(self, *, is_stored: bool) -> None:
        """End now. is_stored: what is on its way to storage is stored, as far as nobody has claimed what it is of."""
        if self.is_dead:
            return
        world, alarms = self.world, dict(self.world.tables.alarms)
        self.is_dead = True
        world.nodes.remove(self)
        self.committer.die(stores_in_flight=is_stored)
        changed = [key for key, row in alarms.items() if world.tables.alarms.get(key) is not row]
        world.given_up_unheard.update(name for _, name in changed)
        self.system.storage.lost("the node is dead")  # else its end waits for what can never be stored
        self._scope.cancel()
        await self._is_over.wait()

    async def live_on(self, seconds: float, *, is_frozen: bool) -> None:
        """Displaced, for so long, then die. is_frozen: what it stores it tries to store at the end of that."""
        if is_frozen:
            self.committer.hold()
        await trio.sleep(seconds)
        self.committer.release()
        for _ in range(LATE_ROUNDS):
            await trio.lowlevel.checkpoint()
        await self.die(is_stored=False)

    def _open(self) -> Any:
        run = self.world.run
        return open_system(
            self._tree(),
            committer=self.committer,
            alarms=self.committer.alarms,
            states=self.committer.states,
            clock=run.clock,
            randomness=run.randomness,
            event=self.world.event,
            stop_seconds_max=2.0,
            pending_bytes_max=120,
            passivates_at_once=self.passivates_at_once,
        )

    def _tree(self) -> Supervisor:
        """Everything that there is, in start order. Who fails here is restarted as often as the script likes."""
        core = [self._service("index"), self._service("relay"), self._kind("member", _policy(Directive.ESCALATE))]
        edge = [self._service("first"), self._service("second", "transient", mailbox_envelopes_max=4)]
        small = {"mailbox_envelopes_max": 12, "stash_envelopes_max": 3, "pending_bytes_max": 30, "warm_max": 2}
        rest = [
            self._kind("account", _policy(Directive.RESTART), **small),
            self._board("board", mailbox_envelopes_max=3, overflow=Overflow.DROP_OLDEST),
            self._board("wall", meter=Meter(coalesce_by=lambda command: getattr(command, "op", "")[:3])),
        ]
        groups = [
            Supervisor("core", core, Strategy.ONE_FOR_ALL, intensity=1000),
            Supervisor("edge", edge, Strategy.REST_FOR_ONE, intensity=1000),
        ]
        return Supervisor("root", [*groups, *rest], intensity=1000)

    def _kind(self, name: str, restart: RestartPolicy, **limits: Any) -> Kind:
        limits = {"ownership": "create", "idle_seconds_max": 3, "restart": restart, "start_seconds_max": 2} | limits
        limits |= {"keeps_alarms": True, "keeps_state": True}
        return self.ledger.on(self.world.faults.on(Kind(name, lambda key: Account(key, self), **limits)))

    def _service(self, name: str, mode: RestartMode = "permanent", **limits: Any) -> Service:
        return Service(self._kind(name, _policy(Directive.RESTART, mode, intensity=1000), **limits))

    def _board(self, name: str, **limits: Any) -> Kind:
        return self.ledger.on(Kind(name, lambda key: Board(key, self), idle_seconds_max=3, **limits))

    # -- what the actors and the script tell --------------------------------------------------------------------------

    def account_of(self, place: str) -> Any:
        kind, _, key = place.rpartition("/")
        return self.system.ref(kind or "account", key)

    def has_ended(self, place: str) -> bool:
        """It is a service that ended normally, and is transient."""
        kind, _, key = place.partition("/")
        cell = self.system.activations.get(Address(kind, key))
        return cell is not None and cell.phase is Phase.ENDED

    def told_edge(self, op: str, place: str) -> None:
        """Somebody outside learns from this node that *op* is done."""
        self.acknowledged[op] = place
        self.world.told_edge(op, place)

    def activated(self, actor: Actor) -> None:
        address = actor.ctx.address
        if address in self.active:
            self.world.violate("activations", f"{address} has two")
        self.active[address] = actor

    def deactivated(self, actor: Actor) -> None:
        if self.active.get(actor.ctx.address) is actor:
            del self.active[actor.ctx.address]

    def handling(self, actor: Actor, op: str) -> None:
        """An actor is about to write *op*. A turn that waits may be over and not know it yet: its draft is void."""
        acting = self.system.acting
        if acting is not None and not (acting.actor is actor is self.active.get(actor.ctx.address)):
            self.world.violate("activations", f"{actor.ctx.address} handles {op} after its end")
        cause = op.rpartition(">")[0]
        is_caused = cause and not op.startswith("s")  # what is streamed has its own actor as cause
        if is_caused and not self.world.is_stored(cause):
            self.world.violate("reply before commit", f"{op} arrived, and its cause is not stored")

    # -- the invariants -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Of `World.check`."""
        for address, cell in self.system.activations.items():
            if cell.phase is Phase.READY and cell.gate is not None and not cell.gate.pending:
                self.world.check_memory(address, cell.actor)
        waiting = {turn for cell in self.system.activations.values() if cell.waiting for turn in cell.waiting.turns}
        if not waiting <= set(self.system.waiting_turns):
            self.world.violate("leaks", f"{len(waiting)} turns wait and {len(self.system.waiting_turns)} are known")
        if self.downs > self.watches + self.redone_downs:
            self.world.violate("timers", f"{self.downs} ends were told, and {self.watches} were asked for")
        self._check_ledger()

    def check_at_rest(self) -> None:
        """Of `World.check_at_rest`."""
        if self.network.under_way:
            self.world.violate("account", "the network still carries something")
        try:
            self.leaks.check()
        except Leaked as error:
            self.world.violate("leaks", str(error))
        self._check_spread()
        self._check_accounts()

    def check_closed(self) -> None:
        """When its system is no more."""
        if self.active:
            self.world.violate("activations", f"{list(map(str, self.active))} have not been told that they end")
        self._check_ledger()
        self._check_accounts()
        self.world.raise_what_was_violated()

    def check_forgotten(self) -> None:
        """When everybody has been idle for long enough, only services are left."""
        kinds = {address.kind for address, cell in self.system.activations.items() if cell.actor is not None}
        if kinds - set(SERVICES):
            awake = sorted(kinds - set(SERVICES))
            self.world.violate("leaks", f"{awake} are awake, and nobody has told them anything")

    def _check_ledger(self) -> None:
        try:
            self.ledger.check(self.system)
        except CommandLost as error:
            self.world.violate("account", str(error))

    def _check_accounts(self) -> None:
        """When nobody will say anything any more."""
        if self.ledger.waiting:
            self.world.violate("account", f"{self.ledger.waiting} commands wait at rest")
        for asked in self.asked:
            self._check_answer(asked)
        self._check_told()

    def _check_answer(self, asked: Asked) -> None:
        if asked.answers != 1:
            self.world.violate("answers", f"{asked.command} was answered {asked.answers} times")
        op, error = getattr(asked.command, "op", ""), asked.error
        never_begun = isinstance(error, AskTimeout) and error.state == "queued"
        is_sure = isinstance(asked.command, Put | PutMany) and (isinstance(error, NOT_STORED) or never_begun)
        if is_sure and self.world.is_stored(op):
            self.world.violate("answers", f"{op} is stored, and its asker was told {error!r}")
        if error is not None and not isinstance(error, ActorError):
            self.world.violate("answers", f"{asked.command} was answered with {error!r}")

    def _check_spread(self) -> None:
        """What actors told each other is stored or dead, but for what the network has lost or cut off."""
        dead = {getattr(command, "op", "") for command in self.ledger.dead}
        told = {f"{spread.op}>{number}" for spread in self.spread for number in range(len(spread.to))}
        told.update(self.last_words.values())
        missing = {op for op in told - dead if not self.world.is_stored(op)}
        lost = self.network.counts["lost"] + self.network.counts["cut off"]
        if len(missing) > lost:
            self.world.violate("account", f"{sorted(missing)} were told, and the network lost {lost}")

    def _check_told(self) -> None:
        dead = {id(command) for command in self.ledger.dead}
        for command in self.told:
            if not self.world.is_stored(command.op) and id(command) not in dead:
                self.world.violate("account", f"{command.op} was accepted, and is neither stored nor a dead letter")


def _policy(rise: Directive, mode: RestartMode = "permanent", intensity: int = 3) -> RestartPolicy:
    rules = {Shrug: Directive.RESUME, Halt: Directive.STOP, Rise: rise}
    return RestartPolicy(mode, intensity, on_error=rules)
