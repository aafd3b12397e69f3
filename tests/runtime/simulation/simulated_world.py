"""The world of the simulation: actors that keep a journal, and what must hold of them after every step.

Every write is an *op*, a text of its own in the whole run: `t1:14` was sent by t1 as number 14, `t1:14>0` was caused by
it, through another actor. An op is stored once or never, at the address it was sent to.

`INVARIANTS` says what must hold.
"""

from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import trio
from simulated_invariants import INVARIANTS, Violation

from greenroom.runtime import (
    Actor,
    Address,
    Command,
    Down,
    StopReason,
    Stream,
    Tick,
    encodable,
    handles,
    reads,
    reentrant,
    shielded,
)
from greenroom.runtime.testing import (
    ActorFaults,
    InjectedFault,
    MemoryTables,
    SeededRun,
)

if TYPE_CHECKING:
    from simulated_node import Node


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
class SetBeat(Command[None]):
    """Written, and an alarm of that name is set that comes again and again."""

    op: str
    every_seconds: float


@encodable("tests.simulation.beat")
@dataclass(frozen=True, slots=True)
class Beat(Command[None]):
    """What such an alarm tells each time."""

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

    def __init__(self, key: int | str, node: "Node") -> None:
        self.node = node
        self.world = node.world
        self.seen: list[str] = []
        self.is_open = False
        self.began_at = 0.0

    async def start(self) -> None:
        await trio.sleep(self.world.start_seconds)
        self.seen = list(self.world.journal(self.ctx.address))
        self.node.activated(self)
        self.began_at = trio.current_time()

    def stopping(self, reason: StopReason) -> None:
        self.node.deactivated(self)
        is_first = self.node in self.world.nodes and self.ctx.address not in self.node.last_words
        if reason is StopReason.PASSIVATED and is_first:
            op = f"wake:{self.node.number}.{len(self.node.last_words)}"
            self.node.last_words[self.ctx.address] = op
            self.ctx.tell_next_activation(Put(op))

    def put(self, op: str, *, unconfirmed: bool = False) -> None:
        """Write *op*, unless it is a double."""
        self.node.handling(self, op)
        if op not in self.seen:
            self._write(op, unconfirmed=unconfirmed)

    def _write(self, op: str, *, unconfirmed: bool = False) -> None:
        self.ctx.write(f"{op} {self.ctx.token} {len(self.seen)}", unconfirmed=unconfirmed)
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
        self.world.spreads.add(command.op)
        for number, key in enumerate(command.to):
            self.node.account_of(key).tell(Put(f"{command.op}>{number}"))
        self.ctx.after_commit(lambda: self.node.spread.append(command))

    @handles(Pass)
    async def pass_on(self, command: Pass) -> str:
        self.put(command.op)
        if command.rest:
            first, *rest = command.rest
            onward = Pass(f"{command.op}>0", tuple(rest))
            await self.node.account_of(first).ask(onward, deadline=trio.current_time() + 5)
        self.put(f"{command.op}!")
        return command.op

    @handles(Bounce)
    async def bounce(self, command: Bounce) -> int:
        self.put(command.op)
        look = LookAt(f"{command.op}>0", str(self.ctx.address.key))
        return await self.node.account_of(command.via).ask(look, deadline=trio.current_time() + 5)

    @handles(LookAt)
    async def look_at(self, command: LookAt) -> int:
        self.put(command.op)
        return await self.node.account_of(command.key).ask(Peek(), deadline=trio.current_time() + 5)

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
        self.world.ringing(self, command.op)
        self._write(command.op)

    @handles(SetBeat)
    def set_beat(self, command: SetBeat) -> None:
        self.put(command.op)
        self.ctx.set_alarm(command.op, Beat(command.op), every_seconds=command.every_seconds)
        self.world.beats[command.op] = command.every_seconds, self.ctx.alarms()[command.op]

    @handles(Beat)
    def beat(self, command: Beat) -> None:
        tick = self.ctx.tick
        assert tick is not None
        self.world.ticking(self, command.op, tick)
        self._write(f"{command.op}~{tick.scheduled_ms}+{tick.missed}")

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
        self.node.told_edge(command.op, str(self.ctx.address))
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
        self.node.watches += 1
        self.ctx.watch(self.node.account_of(command.key))

    @handles(Down)
    def down(self, command: Down) -> None:
        self.node.downs += 1
        self.node.redone_downs += self.ctx.is_redo
        self.put(f"down:{self.node.number}.{self.node.downs}")


class Board(Actor):
    """Owns nothing, and is told more than it can hold."""

    def __init__(self, key: int | str, node: "Node") -> None:
        self.world = node.world

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

LATE_MS_MAX = 2000  # of a beat, when nothing fails: the wall clock is looked at once a second


@dataclass
class World:
    """The whole of one run: its storage, and the nodes that use it, the one that serves last."""

    run: SeededRun
    tables: MemoryTables = field(default_factory=MemoryTables)
    faults: ActorFaults = field(default_factory=ActorFaults)
    nodes: "list[Node]" = field(default_factory=list)
    posted: dict[Address, list[str]] = field(default_factory=lambda: defaultdict(list))
    acknowledged: dict[str, str] = field(default_factory=dict)  # op: address
    violations: list[str] = field(default_factory=list)
    events: Counter[str] = field(default_factory=Counter)
    start_seconds: float = 0.0
    cancelled: set[str] = field(default_factory=set)  # alarms that were, or may have been
    given_up_unheard: set[str] = field(default_factory=set)  # alarms: by a node that died as it did it
    beats: dict[str, tuple[float, int]] = field(default_factory=dict)  # op: how often, and when first
    sent_by: dict[str, int] = field(default_factory=dict)  # op: the number of the node where it was sent
    spreads: set[str] = field(default_factory=set)  # ops that tell others

    def __post_init__(self) -> None:
        self._rows: list[tuple[Address, object]] = []  # what was read of what is stored
        self._acknowledged_at: Counter[str] = Counter()
        self._journals: dict[Address, list[str]] = defaultdict(list)
        self._places: dict[str, Address] = {}
        self._numbers: dict[str, int] = {}  # op: its number at its place
        self._epochs: dict[Address, int] = {}
        self._next_beats: dict[str, int] = {}  # op: when it is to come next, of those that came

    @property
    def node(self) -> "Node":
        """The one that serves."""
        return self.nodes[-1]

    def event(self, name: str, **facts: Any) -> None:
        """Of any node."""
        self.events[name] += 1
        if name in ("actor.ended", "dead_letter.buried", "gate.broken"):
            self.events[f"{name}: {facts.get('reason', facts.get('outcome'))}"] += 1
        error = facts.get("error")
        self.run.note(name, facts.get("address"), type(error).__name__)
        if name in ("deadline.failed", "effect.failed") and not isinstance(error, InjectedFault):
            self.violate("faults of the runtime", f"{name}: {error!r}")

    def violate(self, invariant: str, what: str) -> None:
        """Note that *invariant* does not hold; whoever looks at the world next raises."""
        assert invariant in INVARIANTS, f"{invariant} is the name of no invariant"
        self.violations.append(f"{invariant}: {what}")

    def journal(self, address: Address) -> list[str]:
        """The ops stored at *address*, as of now."""
        self.read_storage()
        return self._journals[address]

    def is_stored(self, op: str) -> bool:
        self.read_storage()
        return op in self._places

    def read_storage(self) -> None:
        """Look at what was stored since the last time, as each of it is, and that what was stored before is there."""
        if self.tables.stored[: len(self._rows)] != self._rows:
            self._read_anew()
        new = self.tables.stored[len(self._rows) :]
        self._rows += new
        for address, write in new:
            op, epoch, number = str(write).split(" ")
            journal = self._journals[address]
            if op in self._places:
                invariant = "alarms" if "~" in op else "account"
                self.violate(invariant, f"{op} is stored twice, at {self._places[op]} and {address}")
            if int(epoch) < self._epochs.get(address, 0):
                self.violate("activations", f"{address} of epoch {epoch} wrote {op} after {self._epochs[address]}")
            if int(number) != len(journal):
                self.violate("sequence", f"{address} stored {op} as number {number} behind {len(journal)} others")
            self._places[op], self._numbers[op], self._epochs[address] = address, int(number), int(epoch)
            self._check_order(address, op, journal)
            self._check_told_order(address, op, journal)
            self._check_beat(op)
            journal.append(op)

    def _read_anew(self) -> None:
        """What was stored is stored no more, or is something else now: whoever loads finds that."""
        self._rows = list(self.tables.stored)
        self._journals.clear()
        self._places.clear()
        for address, write in self._rows:
            op, _, _ = str(write).split(" ")
            self._journals[address].append(op)
            self._places[op] = address
        gone = [op for op, place in self.acknowledged.items() if str(self._places.get(op)) != place]
        if gone:
            self.violate("acknowledged writes", f"{gone} were told to be done, and are stored no more where they were")

    def posted_on(self, address: Address, op: str) -> None:
        """A board was handed *op*."""
        self._check_order(address, op, self.posted[address])
        self.posted[address].append(op)

    def ringing(self, actor: Actor, op: str) -> None:
        """An alarm has come. It may be on its way to storage still: then what its handler does is behind it."""
        row = self.tables.alarms.get((actor.ctx.address, op[:-1]))
        now_ms = actor.ctx.now_ms()
        if row is not None and now_ms < row.due_ms and self.is_owner(actor):
            self.violate("alarms", f"{op} came {row.due_ms - now_ms} ms early")

    def ticking(self, actor: Actor, op: str, tick: Tick) -> None:
        """A beat has come. One that is tried again was due, whatever the wall clock was set to since."""
        every_ms, late_ms = round(self.beats[op][0] * 1000), actor.ctx.now_ms() - tick.scheduled_ms
        late_ms = max(late_ms, 0) if tick.tries else late_ms
        if late_ms < 0:
            self.violate("beats", f"{op} came {-late_ms} ms early")
        if tick.missed != late_ms // every_ms:
            self.violate("beats", f"{op} came {late_ms} ms late and says that it missed {tick.missed}")

    def is_owner(self, actor: Any) -> bool:
        """Whether what it writes would be stored: an actor that was displaced may be behind storage."""
        return bool(self.tables.tokens.get(actor.ctx.address) == actor.ctx.token)

    def told_edge(self, op: str, address: str) -> None:
        """Somebody outside learns that *op* is done."""
        if not self.is_stored(op):
            self.violate("reply before commit", f"{op} was acknowledged by {address} and is not stored")
        self._acknowledged_at[address] += op not in self.acknowledged
        self.acknowledged[op] = address

    # -- the invariants -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """After every step. Raises: Violation."""
        self.read_storage()
        self._check_kept_state()
        for node in self.nodes:
            node.check()
        self.raise_what_was_violated()

    def check_at_rest(self) -> None:
        """When everything that was begun must be over."""
        self.check()
        self.node.check_at_rest()
        self._check_alarms()
        self.raise_what_was_violated()

    def check_beats(self) -> None:
        """When there was no fault for a while: each goes on, and in time."""
        self.read_storage()
        now_ms = self.run.clock.wall_milliseconds()
        for op, (address, every_seconds) in self.beats_that_go_on().items():
            next_ms = self._next_beats.get(op, self.beats[op][1])
            if (address, op) not in self.tables.alarms:
                self.violate("beats", f"{op} is not to come again")
            elif now_ms - next_ms > every_seconds * 1000 + LATE_MS_MAX:
                self.violate("beats", f"{op} did not come for {now_ms - next_ms} ms, of {every_seconds} s")
        self.raise_what_was_violated()

    def beats_that_go_on(self) -> dict[str, tuple[Address, float]]:
        """Of each that was stored and not cancelled: whose it is, and how often it comes."""
        stored = {op: (self._places[op], every) for op, (every, _) in self.beats.items() if self.is_stored(op)}
        return {
            op: found
            for op, found in stored.items()
            if op not in self.cancelled and not self.node.has_ended(str(found[0]))
        }

    def raise_what_was_violated(self) -> None:
        if self.violations:
            raise Violation(self.violations[0])

    def check_memory(self, address: Address, actor: Any) -> None:
        """Of an actor at rest. Who was displaced and does not know it is behind, and at odds with nothing."""
        journal = self._journals[address]
        if not isinstance(actor, Account):
            return
        is_owner = self.is_owner(actor)
        if actor.seen != (journal if is_owner else journal[: len(actor.seen)]):
            self.violate("memory", f"{address} remembers {actor.seen} and {journal} are stored")
        count, confirmed = actor.ctx.state.get("count", 0), [op for op in journal if not op.startswith("loose:")]
        stored = int(self.tables.values.get((address, "count"), "0"))
        if is_owner and not count == stored == len(confirmed):
            self.violate("memory", f"the state of {address} says {count}, {stored} is stored, and {confirmed} are")

    def _check_kept_state(self) -> None:
        """The state of each address counts at least what its callers were told is done."""
        for place, told in self._acknowledged_at.items():
            kind, _, key = place.partition("/")
            stored = int(self.tables.values.get((Address(kind, key), "count"), "0"))
            if stored < told:
                self.violate(
                    "acknowledged writes", f"{told} writes of {place} were told to be done, its state {stored}"
                )

    def _check_order(self, address: Address, op: str, journal: list[str]) -> None:
        """Ops of one sender, which are told or requested one after the other.

        What was sent on one node and what was sent on another have no order.
        """
        sender, _, number = op.partition(":")
        if not sender.startswith("t") or not number.isdecimal():
            return
        for earlier in reversed(journal):
            other, _, its = earlier.partition(":")
            if other == sender and its.isdecimal() and self.sent_by.get(earlier) == self.sent_by.get(op):
                if int(its) > int(number):
                    self.violate("order", f"{address} took {op} after {earlier}")
                return

    def _check_told_order(self, address: Address, op: str, journal: list[str]) -> None:
        """What one actor told another, in one turn or in several, whatever the network did in between."""
        told = self._told(op)
        if told is None:
            return
        for earlier in reversed(journal):
            other = self._told(earlier)
            if other is not None and other[0] == told[0]:
                if other[1] > told[1]:
                    self.violate("order", f"{address} was told {op} after {earlier}")
                return

    def _told(self, op: str) -> tuple[tuple[Address, int], tuple[int, int]] | None:
        """Of what a `Spread` told: by whom, on which node, and which of all that it told."""
        cause, _, number = op.rpartition(">")
        if cause not in self.spreads or cause not in self._places:
            return None
        return (self._places[cause], self.sent_by[cause]), (self._numbers[cause], int(number))

    def _check_beat(self, stored: str) -> None:
        """What came is the next time, or one behind times that were given up."""
        op, _, tick = stored.partition("~")
        if not tick or op not in self.beats:
            return
        every_seconds, first_ms = self.beats[op]
        scheduled_ms, missed = map(int, tick.split("+"))
        every_ms = round(every_seconds * 1000)
        left_out, off = divmod(scheduled_ms - self._next_beats.get(op, first_ms), every_ms)
        if off or left_out < 0 or (left_out and not self.events["alarm.gave_up"] and op not in self.given_up_unheard):
            self.violate("beats", f"{stored} came, and {self._next_beats.get(op, first_ms)} was to come")
        self._next_beats[op] = scheduled_ms + (missed + 1) * every_ms

    def _check_alarms(self) -> None:
        """Each that was stored has come, unless it was cancelled: what is done twice is seen where it is stored."""
        left = [key for key in self.tables.alarms if not self.node.has_ended(str(key[0]))]
        if left:
            self.violate("alarms", f"{left} have not come")
        silent = []
        for op, address in self._places.items():
            is_set = op.startswith("alarm:") and op[-1] != "~" and op not in self.cancelled
            is_heard = self.is_stored(f"{op}~") or op in self.given_up_unheard
            if is_set and not is_heard and not self.node.has_ended(str(address)):
                silent.append(op)
        if len(silent) > self.events["alarm.gave_up"]:
            self.violate("alarms", f"{silent} were set and never came")
