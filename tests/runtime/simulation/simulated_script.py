"""The script of the simulation: what is done to the world, and what befalls it. One seed makes one script.

A step has a `repr` that makes it again, so a plan that fails can be written down: `Plan(seed=3, steps=(Do(...), ...))`.
Two stages, as in TigerBeetle's: first anything may fail, then the faults end and everything must come to rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from simulated_node import Asked, Node
from simulated_world import (
    ACCOUNTS,
    BOARDS,
    BUGS,
    PLACES,
    Bounce,
    CancelAlarm,
    Fail,
    Flush,
    Follow,
    Hold,
    Knock,
    Later,
    Look,
    OpenDoor,
    Pass,
    Pay,
    Put,
    PutLoosely,
    PutMany,
    Quit,
    QuitSlowly,
    SetAlarm,
    SetBeat,
    Spread,
    Watch,
    World,
)

from greenroom.runtime import ActorError, Address
from greenroom.runtime.testing import CommitFault, Plan, SeededRandomness, SeededRun, passivate, run_seeded

SEEDS = 40  # whose plans run with every `make test`
STEPS = 60
OVERLAPS = 0.03  # of the steps: two of a plan
SETTLE_SECONDS = 40.0  # longer than any wait of the runtime and than the rest after too many crashes
RUN_SECONDS_MAX = 3600.0
HEALED_WALL_SECONDS = 2e9  # later than any fault of the wall clock has set it: every alarm is due
IDLE_SECONDS = 10.0  # longer than any kind may be idle, and than the sweeper takes


@dataclass(frozen=True, slots=True)
class Do:
    """Something is sent to *to*. how: tell, request (an ask without a task), ask, follow or taste (a stream
    to its end, or its first item); patience in seconds.
    """

    how: str
    to: str
    command: Any
    patience: float = 8.0


@dataclass(frozen=True, slots=True)
class Burst:
    """So many are told at once, numbered from *first*."""

    to: str
    sender: str
    first: int
    count: int
    is_batch: bool

    def simpler(self) -> Sequence[object]:
        less = [Burst(self.to, self.sender, self.first, self.count // 2, self.is_batch)] if self.count > 2 else []
        return [*less, Do("tell", self.to, Put(f"{self.sender}:{self.first}"))]


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Some task that asks is cancelled."""

    number: int


@dataclass(frozen=True, slots=True)
class Yield:
    """The tasks of the world run for so many rounds."""

    rounds: int

    def simpler(self) -> Sequence[object]:
        return [Yield(self.rounds // 2), Yield(self.rounds - 1)] if self.rounds > 1 else []


@dataclass(frozen=True, slots=True)
class Wait:
    """Time passes."""

    seconds: float

    def simpler(self) -> Sequence[object]:
        return [Wait(round(self.seconds))] if self.seconds != round(self.seconds) else []


@dataclass(frozen=True, slots=True)
class Actors:
    """A fault of actors: crash_at_command, crash_in_start, crash_in_stop, crash_while_cancelled."""

    plan: str
    count: int

    def simpler(self) -> Sequence[object]:
        return [Actors(self.plan, self.count - 1)] if self.count > 1 else []


@dataclass(frozen=True, slots=True)
class Commit:
    """A unit ends with a fault: a number from now, and the name of the fault."""

    number: int
    fault: str

    def simpler(self) -> Sequence[object]:
        return [Commit(self.number - 1, self.fault)] if self.number > 1 else []


@dataclass(frozen=True, slots=True)
class Storage:
    """Storage takes so long from the statement to the commit, or is away."""

    seconds: float
    is_away: bool = False


@dataclass(frozen=True, slots=True)
class Starts:
    """Every start takes so long; more than two seconds are too much."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Steal:
    """Another owner claims an address."""

    place: str


@dataclass(frozen=True, slots=True)
class Crash:
    """The node dies, and another takes over. is_stored: what was on its way to storage is stored."""

    is_stored: bool


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Another node takes over, and the one before it lives on for so long, or thaws at the end of that, and dies."""

    seconds: float
    is_frozen: bool

    def simpler(self) -> Sequence[object]:
        return [Crash(is_stored=False), *([] if self.seconds in (0, 1) else [TakeOver(1, self.is_frozen)])]


@dataclass(frozen=True, slots=True)
class Network:
    """What actors tell each other is lost, doubled and late, and what several tell one is reordered."""

    lost: float
    doubled: float
    delay_seconds_max: float
    reorders: bool = False


@dataclass(frozen=True, slots=True)
class Cut:
    """What some tell others is lost, one way or both. Nobody at all: everybody reaches everybody again."""

    some: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    one_way: bool = False

    def simpler(self) -> Sequence[object]:
        return [Cut(self.some[:1], self.others[:1], self.one_way)] if len(self.some) + len(self.others) > 2 else []


@dataclass(frozen=True, slots=True)
class Passivate:
    """All who can be are passivated now."""


@dataclass(frozen=True, slots=True)
class PassivateAlways:
    """Of the whole run: actors forget everything after each command."""


@dataclass(frozen=True, slots=True)
class CloseBusy:
    """Of the whole run: the system is closed after the last step, whatever is under way and broken then."""


@dataclass(frozen=True, slots=True)
class Wall:
    """The wall clock is stepped, and its rate changes."""

    seconds: float
    rate: float


# -- making one ------------------------------------------------------------------------------------------------------


def plan_of(seed: int, steps: int = STEPS) -> Plan[Any]:
    """The plan that *seed* stands for."""
    chance = SeededRandomness(f"{seed} script")
    made: list[Any] = [flag for flag in (PassivateAlways(), CloseBusy()) if chance.random() < 0.2]
    heat = chance.choice([0.0, 0.1, 0.25, 0.5])  # how often something goes wrong
    for number in range(steps):
        if chance.random() < OVERLAPS:
            made += _overlap(chance, number)
            continue
        made.append(_fault(chance) if chance.random() < heat else _work(chance, number))
        if chance.random() < 0.5:
            made.append(Yield(chance.randint(1, 8)) if chance.random() < 0.7 else Wait(round(chance.uniform(0, 2), 2)))
    return Plan(seed, tuple(made))


def _work(chance: SeededRandomness, number: int) -> Any:
    place = chance.choice(PLACES)
    sender = f"t{chance.randint(0, 2)}"
    ordered, other, streamed = f"{sender}:{number * 100}", f"q:{number}", f"s:{number}"
    some = tuple(f"account/{key}" for key in chance.choices(ACCOUNTS, k=chance.randint(0, 3)))
    seconds = round(chance.uniform(0, 3), 2)
    patience = chance.choice([0.0, 0.05, 1.0, 8.0])
    writes: list[tuple[float, Callable[[], Any]]] = [
        (8, lambda: Do("tell", place, Put(ordered))),
        (6, lambda: Do("request", place, Put(ordered), patience)),
        (3, lambda: Do("tell", place, PutMany(ordered))),
        (2, lambda: Do("request", place, PutMany(ordered), patience)),
        (1, lambda: Do("tell", chance.choice(BOARDS), Put(ordered))),
        (2, lambda: Burst(chance.choice(BOARDS), sender, number * 100, chance.randint(2, 8), is_batch=False)),
        (3, lambda: Burst(place, sender, number * 100, chance.randint(2, 30), is_batch=chance.random() < 0.4)),
        (1, lambda: Do("ask", chance.choice(BOARDS), Hold(other, seconds), patience)),
        (3, lambda: Do("ask", place, Put(other), patience)),
        (2, lambda: Do(chance.choice(["tell", "ask"]), place, PutLoosely(f"loose:{number}"), patience)),
        (3, lambda: Do(chance.choice(["tell", "ask"]), place, Spread(other, some), patience)),
        (3, lambda: Do("ask", place, Pass(other, some), patience)),
        (2, lambda: Do("ask", place, Bounce(other, chance.choice(PLACES)), patience)),
        (3, lambda: Do("ask", place, Look(seconds / 10), patience)),
        (2, lambda: Do("follow", place, Follow(streamed, chance.randint(1, 5)), patience)),
        (2, lambda: Do(chance.choice(["tell", "ask"]), place, Knock(other), patience)),
        (1, lambda: Do("tell", place, OpenDoor())),
        (1, lambda: Do("tell", place, Later(other, seconds))),
        (4, lambda: Do(chance.choice(["tell", "ask"]), place, SetAlarm(f"alarm:{number}", seconds * 3), patience)),
        (1, lambda: Do("ask", place, CancelAlarm(other, _some_alarm(chance, number)), patience)),
        (1, lambda: Do(chance.choice(["tell", "ask"]), place, SetBeat(f"beat:{number}", 1 + seconds), patience)),
        (2, lambda: Do(chance.choice(["tell", "ask"]), place, Hold(other, seconds), patience)),
        (1, lambda: Do("ask", place, Pay(other, seconds), patience)),
        (1, lambda: Do("taste", place, Follow(streamed, chance.randint(1, 40)), patience)),
        (2, lambda: Do(chance.choice(["tell", "ask"]), place, Flush(other), patience)),
        (1, lambda: Do(chance.choice(["tell", "ask"]), place, QuitSlowly(other, seconds), patience)),
        (1, lambda: Do(chance.choice(["tell", "ask"]), place, Quit(other), patience)),
        (2, lambda: Do(chance.choice(["tell", "ask"]), place, Fail(other, chance.choice(list(BUGS))), patience)),
        (1, lambda: Do("tell", place, Watch(chance.choice(PLACES)))),
        (1, lambda: GiveUp(chance.randint(0, 9))),
    ]
    return chance.choices([make for _, make in writes], [weight for weight, _ in writes])[0]()


def _overlap(chance: SeededRandomness, number: int) -> list[Any]:
    """Somebody looks when the first of two batches of one actor is stored, and the second is on its way."""
    place, sender = chance.choice(PLACES), f"t{chance.randint(0, 2)}"
    first, second = f"{sender}:{number * 100}", f"q:{number}"
    seconds = chance.choice([0.1, 0.5, 1.0])
    return [
        Storage(seconds),
        Do("tell", place, Put(first)),
        Wait(seconds * 0.6),
        Do("ask", place, chance.choice([Put(second), Flush(second), Hold(second, 0.0), Pass(second, ())])),
        Wait(seconds * 0.6),
        Do("ask", place, Look(0.0)),
        Wait(seconds),
        *([Storage(0.0)] if chance.random() < 0.8 else []),
    ]


def _some_alarm(chance: SeededRandomness, number: int) -> str:
    """Of one that may have been set before."""
    return f"{chance.choice(['alarm', 'beat'])}:{chance.randint(0, number)}"


def _fault(chance: SeededRandomness) -> Any:
    makers: list[Callable[[], Any]] = [
        lambda: Actors("crash_at_command", chance.randint(1, 8)),
        lambda: Actors("crash_in_start", chance.randint(1, 2)),
        lambda: Actors("crash_in_stop", 1),
        lambda: Actors("crash_while_cancelled", 1),
        lambda: Commit(chance.randint(1, 4), chance.choice(list(CommitFault)).name),
        lambda: Commit(chance.randint(1, 4), chance.choice(list(CommitFault)).name),
        lambda: Storage(chance.choice([0.0, 0.0, 0.1, 1.0])),
        lambda: Storage(0.0, is_away=True),
        lambda: Storage(0.0),
        lambda: Starts(chance.choice([0.0, 0.0, 0.5, 3.0])),
        lambda: Steal(chance.choice(PLACES)),
        lambda: chance.choice(
            [Crash(False), Crash(True), TakeOver(0.5, False), TakeOver(3.0, False), TakeOver(3.0, True)]
        ),
        lambda: Network(
            chance.choice([0, 0.3]), chance.choice([0, 0.5]), chance.choice([0, 0.5]), chance.random() < 0.5
        ),
        lambda: _cut(chance),
        lambda: Passivate(),
        lambda: Wall(round(chance.uniform(-3600, 3600)), chance.choice([0.5, 1.0, 2.0])),
    ]
    return chance.choice(makers)()


def _cut(chance: SeededRandomness) -> Cut:
    if chance.random() < 0.5:
        return Cut()
    places = chance.sample(PLACES, len(PLACES))
    at = chance.randint(1, len(places) - 1)
    return Cut(tuple(places[:at]), tuple(places[at:]), one_way=chance.random() < 0.5)


# -- running one -----------------------------------------------------------------------------------------------------


REPLAY = "python -m greenroom.runtime.testing tests/runtime/simulation/simulated_script.py:by_seed {seed}"


def simulate(plan: Plan[Any]) -> World:
    """Run *plan*. Raises: Violation, and what the runtime itself raises."""

    async def seeded(run: SeededRun) -> World:
        return await _bounded(run, plan.steps)

    return run_seeded(seeded, plan.seed, replay=f"{REPLAY} (if the plan is that of its seed)")


async def by_seed(run: SeededRun) -> World:
    """The plan of the run's own seed: what REPLAY runs."""
    return await _bounded(run, plan_of(run.seed).steps)


async def _bounded(run: SeededRun, steps: Sequence[Any]) -> World:
    world = World(run)
    with trio.move_on_after(RUN_SECONDS_MAX) as scope:
        await _simulate(world, steps)
    if scope.cancelled_caught:
        world.violate("answers", f"somebody still waits after {RUN_SECONDS_MAX:g} s")
    world.raise_what_was_violated()
    return world


async def _simulate(world: World, steps: Sequence[Any]) -> None:
    async with trio.open_nursery() as nodes:
        script = Script(world, nodes, passivates_at_once=PassivateAlways() in steps)
        await script.begin_node()
        for step in steps:
            await script.take(step)
            world.check()
        await script.bury_displaced()
        if CloseBusy() not in steps:
            script.heal()
            await _come_to_rest(world)
        await world.node.close()
    world.node.check_closed()


async def _come_to_rest(world: World) -> None:
    """Everything that was begun ends, everybody can be asked, and who is idle is forgotten."""
    await trio.sleep(SETTLE_SECONDS)
    world.check_beats()
    for address, name in list(world.tables.alarms):  # beats would go on for ever
        if not world.node.has_ended(str(address)):
            world.node.account_of(str(address)).tell(CancelAlarm(f"end:{name}", name))
            await trio.sleep(0.1)  # a mailbox may have no more than four places
    there = [place for place in PLACES if not world.node.has_ended(place)]
    for turn in range(3):  # an actor that is fenced when it opens has forgotten that it is open
        for place in there:
            world.node.account_of(place).tell(Put(f"rest:{turn}.{place}"))  # who was displaced learns it by this
            world.node.account_of(place).tell(OpenDoor())
        await trio.sleep(SETTLE_SECONDS)
    world.check_at_rest()
    for place in there:
        seen = await world.node.account_of(place).ask(Look(), deadline=trio.current_time() + 5)
        kind, _, key = place.partition("/")
        if list(seen) != world.journal(Address(kind, key)):
            world.violate("memory", f"{place} answers {seen} and {world.journal(Address(kind, key))} are stored")
    await trio.sleep(IDLE_SECONDS)
    world.check_at_rest()
    world.node.check_forgotten()
    world.raise_what_was_violated()


class Script:
    """Takes steps. Each node is a task of *nodes*; those who ask die with the node that they ask."""

    def __init__(self, world: World, nodes: trio.Nursery, *, passivates_at_once: bool) -> None:
        self._world = world
        self._nodes = nodes
        self._passivates_at_once = passivates_at_once
        self._count = 0
        self._scopes: list[trio.CancelScope] = []

    async def begin_node(self) -> None:
        """Have another node serve."""
        self._count += 1
        await self._nodes.start(Node(self._world, self._count, self._passivates_at_once).run)

    async def bury_displaced(self) -> None:
        """Have those die that are not to serve any more."""
        for node in self._world.nodes[:-1]:
            await node.die(is_stored=False)

    async def take(self, step: Any) -> None:
        """Do what *step* says; it returns as soon as the world is to be looked at."""
        world = self._world
        match step:
            case Do():
                self._do(step)
            case GiveUp(number):
                if self._scopes:
                    self._scopes[number % len(self._scopes)].cancel()
            case Yield(rounds):
                for _ in range(rounds):
                    await trio.lowlevel.checkpoint()
                    world.check()
            case Wait(seconds):
                await trio.sleep(seconds)
            case Burst(to, sender, first, count, is_batch):
                for number in range(first, first + count):
                    op = f"{sender}:{number}"
                    self._do(Do("tell", to, PutMany(op) if is_batch else Put(op)))
            case Crash(is_stored):
                self._be_able_to_start()
                await world.node.die(is_stored=is_stored)
                await self.begin_node()
            case TakeOver(seconds, is_frozen):
                self._be_able_to_start()
                before = world.node
                await self.begin_node()
                self._nodes.start_soon(partial(before.live_on, seconds, is_frozen=is_frozen))
            case _:
                self._befall(step)

    def _be_able_to_start(self) -> None:
        """A node serves when its services have started: the script would wait for ever if they cannot."""
        self._world.tables.is_away, self._world.start_seconds = False, 0.0

    def heal(self) -> None:
        """No fault happens any more."""
        world = self._world
        world.node.committer.forget_faults()
        world.faults.forget()
        world.start_seconds = 0.0
        world.run.clock.skew_wall(1.0)
        world.run.clock.set_wall(HEALED_WALL_SECONDS)
        network = world.node.network
        network.lost = network.doubled = network.delay_seconds_max = 0.0
        network.reorders_senders = False
        network.heal()

    def _befall(self, step: Any) -> None:
        world = self._world
        match step:
            case Actors(plan, count):
                getattr(world.faults, plan)(count)
            case Commit(number, fault):
                world.node.committer.fail_unit(number, CommitFault[fault])
            case Storage(seconds, is_away):
                world.node.committer.commit_seconds, world.node.committer.is_away = seconds, is_away
            case Starts(seconds):
                world.start_seconds = seconds
            case Steal(place):
                kind, _, key = place.partition("/")
                world.node.committer.claim_elsewhere(Address(kind, key))
            case Network(lost, doubled, delay, reorders):
                network = world.node.network
                network.lost, network.doubled, network.delay_seconds_max = lost, doubled, delay
                network.reorders_senders = reorders
            case Cut(some, others, one_way):
                self._cut(some, others, one_way=one_way)
            case Passivate():
                passivate(world.node.system)
            case Wall(seconds, rate):
                world.run.clock.step_wall(seconds)
                world.run.clock.skew_wall(rate)
            case PassivateAlways() | CloseBusy():
                pass
            case _:
                raise TypeError(f"{step!r} is no step")

    def _cut(self, some: Sequence[str], others: Sequence[str], *, one_way: bool) -> None:
        node = self._world.node
        if not some or not others:
            node.network.heal()
            return
        node.network.cut(map(node.account_of, some), map(node.account_of, others), one_way=one_way)

    def _do(self, step: Do) -> None:
        world, node, deadline = self._world, self._world.node, trio.current_time() + step.patience
        ref, op = node.account_of(step.to), getattr(step.command, "op", "")
        world.sent_by[op] = node.number
        try:
            if step.how == "tell":
                ref.tell(step.command)
                if isinstance(step.command, Put | PutMany) and step.to not in BOARDS:
                    node.told.append(step.command)
            elif step.how == "request":
                asked = Asked(step.command)
                ref.request(
                    step.command, lambda value, error: self._heard(node, asked, step.to, error), deadline=deadline
                )
                node.asked.append(asked)
            else:
                run = self._ask if step.how == "ask" else self._follow
                node.clients.start_soon(run, node, ref, step, deadline)
        except ActorError as error:  # it was refused: that is told to the sender
            if world.is_stored(op):
                world.violate("answers", f"{step.command} is stored, and its sender was told {error!r}")

    def _heard(self, node: Node, asked: Asked, place: str, error: BaseException | None) -> None:
        asked.answers += 1
        asked.error = error
        is_vague = place in BOARDS or isinstance(asked.command, PutLoosely)
        if error is None and getattr(asked.command, "op", None) is not None and not is_vague:
            node.told_edge(asked.command.op, place)

    async def _ask(self, node: Node, ref: Any, step: Do, deadline: float) -> None:
        asked = Asked(step.command)
        with self._scope():
            acknowledged = {op for op, place in node.acknowledged.items() if place == step.to}
            try:
                value = await ref.ask(step.command, deadline=deadline)
            except ActorError as error:
                self._heard(node, asked, step.to, error)
            else:
                self._heard(node, asked, step.to, None)
                if isinstance(step.command, Look):
                    self._check_look(step.to, value, acknowledged)
            node.asked.append(asked)

    def _check_look(self, place: str, seen: tuple[str, ...], acknowledged: set[str]) -> None:
        for op in seen:
            if not self._world.is_stored(op) and not op.startswith("loose:"):
                self._world.violate("reply before commit", f"{op} is seen at {place} and is not stored")
        if not acknowledged <= set(seen):
            gone = sorted(acknowledged - set(seen))
            self._world.violate("acknowledged writes", f"{place} does not know {gone}")

    async def _follow(self, node: Node, ref: Any, step: Do, deadline: float) -> None:
        with self._scope():
            try:
                async with ref.stream(step.command, deadline=deadline) as items:
                    async for op in items:
                        node.told_edge(op, step.to)
                        if step.how == "taste":
                            break
            except ActorError:
                return

    def _scope(self) -> trio.CancelScope:
        scope = trio.CancelScope()
        self._scopes.append(scope)
        return scope
