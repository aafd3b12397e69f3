"""The world of the simulation: actors that keep a journal, and what must hold of them after every step.

Every write is an *op*, a text of its own in the whole run: `t1:14` was sent by t1 as number 14, `t1:14>0` was caused by
it, through another actor. An op is stored once or never, at the address it was sent to.

    reply before commit    nobody hears of an op that is not stored, in whatever way
    acknowledged writes    what somebody was told is done stays stored, and who looks later sees it
    memory                 an actor at rest remembers what is stored at its address, in that order
    order                  ops of one sender are stored in the order sent
    activations            one actor for each address, and one writable epoch
    alarms                 each that is stored comes, not early, and what its handler does is done once
    account                what was accepted is stored, told of, or a dead letter
    timers                 none outlives the activation that set it; nobody is told twice that another ended
    leaks                  at rest nothing is left of anybody
    answers                every ask has one answer, and an answer that says "not stored" is true
"""

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

import trio

from greenroom.runtime import (
    Actor,
    ActorError,
    ActorFailed,
    ActorSystem,
    Address,
    AskTimeout,
    Command,
    Directive,
    Down,
    Kind,
    MailboxFull,
    Meter,
    Overflow,
    RestartPolicy,
    Service,
    StopReason,
    StorageUnavailable,
    Strategy,
    Stream,
    Supervisor,
    encodable,
    handles,
    reads,
    reentrant,
    shielded,
)
from greenroom.runtime.lifecycle import Phase
from greenroom.runtime.restarts import RestartMode
from greenroom.runtime.testing import (
    ActorFaults,
    InjectedFault,
    LeakCheck,
    Ledger,
    MemoryCommitter,
    SeededRun,
    UnreliableNetwork,
)


class Violation(AssertionError):
    """What must hold does not. It begins with the name of the invariant and a colon."""


class Bug(Exception):
    """What a command of the script has an actor raise. One that is told has it restarted."""


class Shrug(Bug):
    """The actor lives on."""


class Halt(Bug):
    """The actor ends."""


class Rise(Bug):
    """A failure of its supervisor. Kinds without one of their own below the root just restart."""


BUGS = {error.__name__: error for error in (Bug, Shrug, Halt, Rise)}


@dataclass(frozen=True, slots=True)
class Put(Command[int]):
    op: str


@dataclass(frozen=True, slots=True)
class PutLoosely(Command[int]):
    """Written, and nobody waits until it is stored."""

    op: str


@dataclass(frozen=True, slots=True)
class PutMany(Command[int]):
    """Handled in batches."""

    op: str


@dataclass(frozen=True, slots=True)
class Spread(Command[None]):
    """Written here, and told to others afterwards."""

    op: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pass(Command[str]):
    """Written here, asked of the first of the rest, and written once more."""

    op: str
    rest: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Bounce(Command[int]):
    """Written here; *via* is asked to look at this actor, while this turn waits for it."""

    op: str
    via: str


@dataclass(frozen=True, slots=True)
class LookAt(Command[int]):
    op: str
    key: str


@dataclass(frozen=True, slots=True)
class Peek(Command[int]):
    pass


@dataclass(frozen=True, slots=True)
class Look(Command[tuple[str, ...]]):
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Follow(Stream[str]):
    op: str
    count: int


@dataclass(frozen=True, slots=True)
class Knock(Command[str]):
    """Written when the door is open, put aside until then."""

    op: str


@dataclass(frozen=True, slots=True)
class OpenDoor(Command[None]):
    pass


@dataclass(frozen=True, slots=True)
class Later(Command[None]):
    """A timer of the actor writes."""

    op: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Fired(Command[None]):
    """What that timer tells: *epoch* is that of the activation that set it, *at* the trio time it was set to."""

    op: str
    epoch: int | None
    at: float


@dataclass(frozen=True, slots=True)
class SetAlarm(Command[None]):
    """Written, and an alarm of that name is set."""

    op: str
    seconds: float


@dataclass(frozen=True, slots=True)
class CancelAlarm(Command[bool]):
    """Written; the alarm *name* does not come any more, if it has not come."""

    op: str
    name: str


@encodable("tests.simulation.ring")
@dataclass(frozen=True, slots=True)
class Ring(Command[None]):
    """What an alarm tells: written without looking whether it is a double."""

    op: str


@dataclass(frozen=True, slots=True)
class Hold(Command[str]):
    """Written, then the turn waits and keeps the actor awake, then written again."""

    op: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Pay(Command[str]):
    """As `Hold`, and its turn outlives its asker."""

    op: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Flush(Command[str]):
    """Written, stored in the middle of the turn, and written again."""

    op: str


@dataclass(frozen=True, slots=True)
class QuitSlowly(Command[str]):
    """Written; the actor ends with this turn, which waits."""

    op: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Quit(Command[str]):
    """Written, and the actor ends."""

    op: str


@dataclass(frozen=True, slots=True)
class Fail(Command[None]):
    """Raised, after a write that must not be stored."""

    op: str
    error: str = "Bug"


@dataclass(frozen=True, slots=True)
class Watch(Command[None]):
    key: str


class Account(Actor):
    """Its memory is the list of ops at its address."""

    def __init__(self, key: int | str, world: "World") -> None:
        self.world = world
        self.seen: list[str] = []
        self.is_open = False
        self.began_at = 0.0

    async def start(self) -> None:
        await trio.sleep(self.world.start_seconds)
        self.seen = list(self.world.journal(self.ctx.address))
        self.world.activated(self)
        self.began_at = trio.current_time()

    def stopping(self, reason: StopReason) -> None:
        self.world.deactivated(self)
        if reason is StopReason.PASSIVATED and self.ctx.address not in self.world.last_words:
            op = f"wake:{len(self.world.last_words)}"
            self.world.last_words[self.ctx.address] = op
            self.ctx.tell_next_activation(Put(op))

    def put(self, op: str, *, unconfirmed: bool = False) -> None:
        """Write *op*, unless it is a double."""
        self.world.handling(self, op)
        if op not in self.seen:
            self._write(op, unconfirmed=unconfirmed)

    def _write(self, op: str, *, unconfirmed: bool = False) -> None:
        self.ctx.write(f"{op} {self.ctx.token}", unconfirmed=unconfirmed)
        if not unconfirmed:  # what is kept for an actor is always confirmed
            self.ctx.state.put("count", self.ctx.state.get("count", 0) + 1)
        self.seen.append(op)

    @handles(Put)
    def one(self, command: Put) -> int:
        self.put(command.op)
        return len(self.seen)

    @handles(PutLoosely)
    def loosely(self, command: PutLoosely) -> int:
        self.put(command.op, unconfirmed=True)
        return len(self.seen)

    @handles(PutMany, batch=4)
    def many(self, commands: list[PutMany]) -> list[int]:
        for command in commands:
            self.put(command.op)
        return [len(self.seen)] * len(commands)

    @handles(Spread)
    def spread(self, command: Spread) -> None:
        self.put(command.op)
        for number, key in enumerate(command.to):
            self.world.account_of(key).tell(Put(f"{command.op}>{number}"))
        self.ctx.after_commit(lambda: self.world.spread.append(command))

    @handles(Pass)
    async def pass_on(self, command: Pass) -> str:
        self.put(command.op)
        if command.rest:
            first, *rest = command.rest
            onward = Pass(f"{command.op}>0", tuple(rest))
            await self.world.account_of(first).ask(onward, deadline=trio.current_time() + 5)
        self.put(f"{command.op}!")
        return command.op

    @handles(Bounce)
    async def bounce(self, command: Bounce) -> int:
        self.put(command.op)
        look = LookAt(f"{command.op}>0", str(self.ctx.address.key))
        return await self.world.account_of(command.via).ask(look, deadline=trio.current_time() + 5)

    @handles(LookAt)
    async def look_at(self, command: LookAt) -> int:
        self.put(command.op)
        return await self.world.account_of(command.key).ask(Peek(), deadline=trio.current_time() + 5)

    @reentrant
    @handles(Peek)
    def peek(self, _: Peek) -> int:
        return len(self.seen)

    @reads
    @handles(Look)
    async def look(self, command: Look) -> tuple[str, ...]:
        await trio.sleep(command.seconds)
        return tuple(self.seen)

    @handles(Follow)
    async def follow(self, command: Follow) -> AsyncGenerator[str, None]:
        for number in range(command.count):
            op = f"{command.op}>{number}"
            self.put(op)
            yield op

    @handles(Knock)
    def knock(self, command: Knock) -> str:
        if not self.is_open:
            self.ctx.stash()
            return ""
        self.put(command.op)
        return command.op

    @handles(OpenDoor)
    def open_door(self, _: OpenDoor) -> None:
        self.is_open = True
        self.ctx.unstash()

    @handles(Later)
    def later(self, command: Later) -> None:
        self.ctx.tell_self_after(
            command.seconds, Fired(command.op, self.ctx.token, trio.current_time() + command.seconds)
        )

    @handles(Fired)
    def fired(self, command: Fired) -> None:
        if command.epoch != self.ctx.token and self.began_at < command.at:  # else it waited here when this one began
            self.world.violate("timers", f"{command.op} outlived the activation that set it")
        self.put(command.op)

    @handles(SetAlarm)
    def set_alarm(self, command: SetAlarm) -> None:
        self.put(command.op)
        self.ctx.set_alarm(command.op, Ring(f"{command.op}~"), after_seconds=command.seconds)

    @handles(CancelAlarm)
    def cancel_alarm(self, command: CancelAlarm) -> bool:
        self.put(command.op)
        self.world.cancelled.add(command.name)
        return self.ctx.cancel_alarm(command.name)

    @handles(Ring)
    def ring(self, command: Ring) -> None:
        self.world.ringing(self.ctx.address, command.op, self.ctx.now_ms())
        self._write(command.op)

    @handles(Hold)
    async def hold(self, command: Hold) -> str:
        return await self._hold(command.op, command.seconds)

    @shielded
    @handles(Pay)
    async def pay(self, command: Pay) -> str:
        return await self._hold(command.op, command.seconds)

    async def _hold(self, op: str, seconds: float) -> str:
        with self.ctx.keep_awake(op):
            self.put(op)
            await trio.sleep(seconds)
            self.put(f"{op}!")
        return op

    @handles(Flush)
    async def flush(self, command: Flush) -> str:
        self.put(command.op)
        await self.ctx.flushed()
        self.world.told_edge(command.op, str(self.ctx.address))
        self.put(f"{command.op}!")
        return command.op

    @handles(QuitSlowly)
    async def quit_slowly(self, command: QuitSlowly) -> str:
        self.put(command.op)
        self.ctx.stop()
        return await self._hold(f"{command.op}?", command.seconds)

    @handles(Quit)
    def quit(self, command: Quit) -> str:
        self.put(command.op)
        self.ctx.stop()
        return command.op

    @handles(Fail)
    def fail(self, command: Fail) -> None:
        self.put(command.op)
        raise BUGS[command.error](command.op)

    @handles(Watch)
    def watch(self, command: Watch) -> None:
        self.world.watches += 1
        self.ctx.watch(self.world.account_of(command.key))

    @handles(Down)
    def down(self, command: Down) -> None:
        self.world.downs += 1
        self.world.redone_downs += self.ctx.is_redo
        self.put(f"down:{self.world.downs}")


class Board(Actor):
    """Owns nothing, and is told more than it can hold."""

    def __init__(self, key: int | str, world: "World") -> None:
        self.world = world

    @handles(Put)
    def one(self, command: Put) -> None:
        self.world.posted_on(self.ctx.address, command.op)

    @handles(Hold)
    async def hold(self, command: Hold) -> str:
        await trio.sleep(command.seconds)
        return command.op


ACCOUNTS = ("a", "b", "c")
SERVICES = ("index", "relay", "first", "second")
PLACES = (*(f"account/{key}" for key in ACCOUNTS), "member/m", *(f"{name}/main" for name in SERVICES))
BOARDS = ("board/x", "wall/x")

NOT_STORED = (StorageUnavailable, ActorFailed, MailboxFull)  # what says that nothing of a single write is stored


@dataclass
class Asked:
    """One ask of the script: what became of it."""

    command: Any
    answers: int = 0
    error: BaseException | None = None


@dataclass
class World:
    """The whole of one run."""

    run: SeededRun
    committer: MemoryCommitter = field(default_factory=MemoryCommitter)
    faults: ActorFaults = field(default_factory=ActorFaults)
    ledger: Ledger = field(default_factory=Ledger)
    active: dict[Address, Actor] = field(default_factory=dict)
    posted: dict[Address, list[str]] = field(default_factory=lambda: defaultdict(list))
    asked: list[Asked] = field(default_factory=list)
    told: list[Put] = field(default_factory=list)
    spread: list[Spread] = field(default_factory=list)  # what they told has left
    acknowledged: dict[str, str] = field(default_factory=dict)  # op: address
    violations: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    start_seconds: float = 0.0
    last_words: dict[Address, str] = field(default_factory=dict)  # what was told on being passivated first
    cancelled: set[str] = field(default_factory=set)  # alarms that were, or may have been
    watches: int = 0
    downs: int = 0
    redone_downs: int = 0
    system: ActorSystem = field(init=False)
    network: UnreliableNetwork = field(init=False)
    leaks: LeakCheck = field(init=False)

    def __post_init__(self) -> None:
        self._read = 0
        self._journals: dict[Address, list[str]] = defaultdict(list)
        self._places: dict[str, Address] = {}
        self._epochs: dict[Address, int] = {}

    def tree(self) -> Supervisor:
        """Everything that there is, in start order. Who fails here is restarted as often as the script likes."""
        core = [self.service("index"), self.service("relay"), self.kind("member", self.policy(Directive.ESCALATE))]
        edge = [self.service("first"), self.service("second", "transient", mailbox_envelopes_max=4)]
        small = {"mailbox_envelopes_max": 12, "stash_envelopes_max": 3, "pending_bytes_max": 30, "warm_max": 2}
        rest = [
            self.kind("account", self.policy(Directive.RESTART), **small),
            self.board("board", mailbox_envelopes_max=3, overflow=Overflow.DROP_OLDEST),
            self.board("wall", meter=Meter(coalesce_by=lambda command: getattr(command, "op", "")[:3])),
        ]
        groups = [
            Supervisor("core", core, Strategy.ONE_FOR_ALL, intensity=1000),
            Supervisor("edge", edge, Strategy.REST_FOR_ONE, intensity=1000),
        ]
        return Supervisor("root", [*groups, *rest], intensity=1000)

    def policy(self, rise: Directive, mode: RestartMode = "permanent", intensity: int = 3) -> RestartPolicy:
        rules = {Shrug: Directive.RESUME, Halt: Directive.STOP, Rise: rise}
        return RestartPolicy(mode, intensity, on_error=rules)

    def kind(self, name: str, restart: RestartPolicy, **limits: Any) -> Kind:
        limits = {"ownership": "create", "idle_seconds_max": 3, "restart": restart, "start_seconds_max": 2} | limits
        limits |= {"keeps_alarms": True, "keeps_state": True}
        return self.ledger.on(self.faults.on(Kind(name, lambda key: Account(key, self), **limits)))

    def service(self, name: str, mode: RestartMode = "permanent", **limits: Any) -> Service:
        return Service(self.kind(name, self.policy(Directive.RESTART, mode, intensity=1000), **limits))

    def board(self, name: str, **limits: Any) -> Kind:
        return self.ledger.on(Kind(name, lambda key: Board(key, self), idle_seconds_max=3, **limits))

    def begin(self, system: ActorSystem) -> None:
        self.system = system
        self.network = UnreliableNetwork(system, self.run.randomness)
        self.leaks = LeakCheck(system)
        self.ledger.follow_dead_letters(system)

    # -- what the actors and the script tell --------------------------------------------------------------------------

    def account_of(self, place: str) -> Any:
        kind, _, key = place.rpartition("/")
        return self.system.ref(kind or "account", key)

    def event(self, name: str, **facts: Any) -> None:
        self.events[name] += 1
        if name in ("actor.ended", "dead_letter.buried", "gate.broken"):
            self.events[f"{name}: {facts.get('reason', facts.get('outcome'))}"] += 1
        error = facts.get("error")
        self.run.note(name, facts.get("address"), type(error).__name__)
        if name in ("deadline.failed", "effect.failed") and not isinstance(error, InjectedFault):
            self.violate("faults of the runtime", f"{name}: {error!r}")

    def violate(self, invariant: str, what: str) -> None:
        self.violations.append(f"{invariant}: {what}")

    def has_ended(self, place: str) -> bool:
        """It is a service that ended normally, and is transient."""
        kind, _, key = place.partition("/")
        cell = self.system.activations.get(Address(kind, key))
        return cell is not None and cell.phase is Phase.ENDED

    def journal(self, address: Address) -> list[str]:
        """The ops stored at *address*, as of now."""
        self.read_storage()
        return self._journals[address]

    def is_stored(self, op: str) -> bool:
        self.read_storage()
        return op in self._places

    def read_storage(self) -> None:
        """Look at what was stored since the last time, as each of it is."""
        new, self._read = self.committer.stored[self._read :], len(self.committer.stored)
        for address, write in new:
            op, epoch = str(write).split(" ")
            if op in self._places:
                invariant = "alarms" if op.endswith("~") else "account"
                self.violate(invariant, f"{op} is stored twice, at {self._places[op]} and {address}")
            if int(epoch) < self._epochs.get(address, 0):
                self.violate("activations", f"{address} of epoch {epoch} wrote {op} after {self._epochs[address]}")
            self._places[op], self._epochs[address] = address, int(epoch)
            self._check_order(address, op, self._journals[address])
            self._journals[address].append(op)

    def posted_on(self, address: Address, op: str) -> None:
        """A board was handed *op*."""
        self._check_order(address, op, self.posted[address])
        self.posted[address].append(op)

    def activated(self, actor: Actor) -> None:
        address = actor.ctx.address
        if address in self.active:
            self.violate("activations", f"{address} has two")
        self.active[address] = actor

    def deactivated(self, actor: Actor) -> None:
        if self.active.get(actor.ctx.address) is actor:
            del self.active[actor.ctx.address]

    def handling(self, actor: Actor, op: str) -> None:
        """An actor is about to write *op*. A turn that waits may be over and not know it yet: its draft is void."""
        acting = self.system.acting
        if acting is not None and not (acting.actor is actor is self.active.get(actor.ctx.address)):
            self.violate("activations", f"{actor.ctx.address} handles {op} after its end")
        cause = op.rpartition(">")[0]
        if (
            cause and not op.startswith("s") and not self.is_stored(cause)
        ):  # what is streamed has its own actor as cause
            self.violate("reply before commit", f"{op} arrived, and its cause is not stored")

    def ringing(self, address: Address, op: str, now_ms: int) -> None:
        """An alarm has come. It may be on its way to storage still: then what its handler does is behind it."""
        row = self.committer.tables.alarms.get((address, op[:-1]))
        if row is not None and now_ms < row.due_ms:
            self.violate("alarms", f"{op} came {row.due_ms - now_ms} ms early")

    def told_edge(self, op: str, address: str) -> None:
        """Somebody outside learns that *op* is done."""
        if not self.is_stored(op):
            self.violate("reply before commit", f"{op} was acknowledged by {address} and is not stored")
        self.acknowledged[op] = address

    # -- the invariants -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every step. Raises: Violation, CommandLost."""
        self.read_storage()
        for address, cell in self.system.activations.items():
            if cell.phase is Phase.READY and cell.gate is not None and not cell.gate.pending:
                self._check_memory(address, cell.actor)
        waiting = {turn for cell in self.system.activations.values() if cell.waiting for turn in cell.waiting.turns}
        if not waiting <= set(self.system.waiting_turns):
            self.violate("leaks", f"{len(waiting)} turns wait and {len(self.system.waiting_turns)} are known")
        if self.downs > self.watches + self.redone_downs:
            self.violate("timers", f"{self.downs} ends were told, and {self.watches} were asked for")
        self.ledger.check(self.system)
        if self.violations:
            raise Violation(self.violations[0])

    def check_at_rest(self) -> None:
        """When everything that was begun must be over."""
        self.check()
        if self.network.under_way:
            self.violate("account", "the network still carries something")
        try:
            self.leaks.check()
        except AssertionError as error:
            raise Violation(f"leaks: {error}") from error
        self._check_spread()
        self._check_alarms()
        self.check_accounts()

    def check_accounts(self) -> None:
        """When nobody will say anything any more."""
        if self.ledger.waiting:
            self.violate("account", f"{self.ledger.waiting} commands wait at rest")
        for asked in self.asked:
            self._check_answer(asked)
        self._check_told()
        if self.violations:
            raise Violation(self.violations[0])

    def check_closed(self) -> None:
        """When the system is no more."""
        if self.active:
            self.violate("activations", f"{list(map(str, self.active))} have not been told that they end")
        self.ledger.check(self.system)
        self.check_accounts()

    def check_forgotten(self) -> None:
        """When everybody has been idle for long enough, only services are left."""
        kinds = {address.kind for address, cell in self.system.activations.items() if cell.actor is not None}
        if kinds - set(SERVICES):
            raise Violation(f"leaks: {sorted(kinds - set(SERVICES))} are awake, and nobody has told them anything")

    def _check_memory(self, address: Address, actor: Any) -> None:
        journal = self._journals[address]
        if not isinstance(actor, Account):
            return
        if actor.seen != journal:
            self.violate("memory", f"{address} remembers {actor.seen} and {journal} are stored")
        count, confirmed = actor.ctx.state.get("count", 0), [op for op in journal if not op.startswith("loose:")]
        stored = int(self.committer.tables.values.get((address, "count"), "0"))
        if not count == stored == len(confirmed):
            self.violate("memory", f"the state of {address} says {count}, {stored} is stored, and {confirmed} are")

    def _check_order(self, address: Address, op: str, journal: list[str]) -> None:
        """Ops of one sender, which are told or requested one after the other, and what one actor told another."""
        sender, _, number = op.partition(":")
        if not sender.startswith("t") or not number.isdecimal():
            return
        for earlier in reversed(journal):
            other, _, its = earlier.partition(":")
            if other == sender and its.isdecimal():
                if int(its) > int(number):
                    self.violate("order", f"{address} took {op} after {earlier}")
                return

    def _check_answer(self, asked: Asked) -> None:
        if asked.answers != 1:
            self.violate("answers", f"{asked.command} was answered {asked.answers} times")
        op, error = getattr(asked.command, "op", ""), asked.error
        never_begun = isinstance(error, AskTimeout) and error.state == "queued"
        is_sure = isinstance(asked.command, Put | PutMany) and (isinstance(error, NOT_STORED) or never_begun)
        if is_sure and self.is_stored(op):
            self.violate("answers", f"{op} is stored, and its asker was told {error!r}")
        if error is not None and not isinstance(error, ActorError):
            self.violate("answers", f"{asked.command} was answered with {error!r}")

    def _check_spread(self) -> None:
        """What actors told each other is stored or dead, but for what the network has lost."""
        dead = {getattr(command, "op", "") for command in self.ledger.dead}
        told = {f"{spread.op}>{number}" for spread in self.spread for number in range(len(spread.to))}
        told.update(self.last_words.values())
        missing = {op for op in told - dead if not self.is_stored(op)}
        if len(missing) > self.network.counts["lost"]:
            self.violate("account", f"{sorted(missing)} were told, and the network lost {self.network.counts['lost']}")

    def _check_alarms(self) -> None:
        """Each that was stored has come, unless it was cancelled: what is done twice is seen where it is stored."""
        left = [key for key in self.committer.tables.alarms if not self.has_ended(str(key[0]))]
        if left:
            self.violate("alarms", f"{left} have not come")
        silent = []
        for op, address in self._places.items():
            is_set = op.startswith("alarm:") and op[-1] != "~" and op not in self.cancelled
            if is_set and not self.is_stored(f"{op}~") and not self.has_ended(str(address)):
                silent.append(op)
        if len(silent) > self.events["alarm.gave_up"]:
            self.violate("alarms", f"{silent} were set and never came")

    def _check_told(self) -> None:
        dead = {id(command) for command in self.ledger.dead}
        for command in self.told:
            if not self.is_stored(command.op) and id(command) not in dead:
                self.violate("account", f"{command.op} was accepted, and is neither stored nor a dead letter")
