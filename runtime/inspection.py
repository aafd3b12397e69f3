"""Inspection: what runs, as frozen values for people and programs. Nothing here wakes, keeps awake or changes an actor.

    supervisor (strategy, restarts)
    ├── service   its one actor
    └── kind      counts, and a page of its actors in the order of their addresses

Each question walks over the cells in slices and lets the loop go on between them, so what it answers is not of one
instant: an actor that moves meanwhile is seen as it was when its turn came.
"""

import heapq
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final

import trio

from greenroom.runtime.activation import Activation
from greenroom.runtime.address import Address
from greenroom.runtime.counts import KindStatistics, Retired, kind_statistics
from greenroom.runtime.supervisor import Branch, Leaf
from greenroom.runtime.tree import SERVICE_KEY
from greenroom.runtime.unfinished import turns_under_way

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem

SLICE_CELLS_MAX: Final = 500  # looked at between two checkpoints, well under a millisecond
PAGE_ACTORS_MAX: Final = 1000
TOP_SECONDS_MAX: Final = 60.0

Sums = tuple[float, int, float, int]  # busy seconds, turns, waited seconds, drains
NOTHING: Final[Sums] = (0.0, 0, 0.0, 0)


@dataclass(frozen=True, slots=True)
class ActorNode:
    """One address that has a cell. Counts are of the cell: they begin again when a cold one was forgotten.

    awake_for: reasons of `keep_awake`. units_pending: on their way to storage. turns_waiting: handlers that wait now,
    the oldest since turn_seconds. waited_seconds, busy_seconds: in the queue of the dispatcher and in its drains, all
    together; drain_seconds_max: the longest drain. idle_seconds: since it last had nothing to do; None before that.
    bytes, coalesced, head_seconds: of `MailboxStatistics`, for a kind with a `Meter`.
    """

    address: Address
    phase: str
    depth: int
    depth_peak: int
    turns: int
    restarts: int
    refused: int
    awake_for: tuple[str, ...]
    units_pending: int
    turns_waiting: int
    turn_seconds: float | None
    drains: int
    waited_seconds: float
    busy_seconds: float
    drain_seconds_max: float
    idle_seconds: float | None
    is_traced: bool
    bytes: int
    coalesced: int
    head_seconds: float | None


@dataclass(frozen=True, slots=True)
class KindNode:
    """A kind, and the first page of its actors. has_more: there are more than stand here."""

    name: str
    is_held: bool
    counts: KindStatistics
    actors: tuple[ActorNode, ...]
    has_more: bool


@dataclass(frozen=True, slots=True)
class ServiceNode:
    """A service. mode: of its restarts. is_over: it has ended and is not restarted."""

    name: str
    mode: str
    is_held: bool
    is_over: bool
    actor: ActorNode | None


@dataclass(frozen=True, slots=True)
class SupervisorNode:
    """A supervisor. restarts: how often it restarted a child or all. children: in start order."""

    name: str
    strategy: str
    intensity: int
    period_seconds: float
    restarts: int
    children: "tuple[TreeNode, ...]"


TreeNode = SupervisorNode | ServiceNode | KindNode


@dataclass(frozen=True, slots=True)
class Page:
    """Actors in the order of their addresses. next_after: give it to get the next page; None when this is the last."""

    actors: tuple[ActorNode, ...]
    next_after: Address | None


@dataclass(frozen=True, slots=True)
class TopLine:
    """One actor over a while. busy_share: of the loop's time. wait_seconds: the mean, in the dispatcher's queue."""

    actor: ActorNode
    busy_share: float
    turns_per_second: float
    wait_seconds: float


@dataclass(frozen=True, slots=True)
class Top:
    """Those at the top, the first one first. seconds: how long they were looked at. cells: how many there are."""

    by: str
    seconds: float
    cells: int
    lines: tuple[TopLine, ...]


RANKS: Final[dict[str, Callable[[TopLine], tuple[float, ...]]]] = {
    "busy": lambda line: (line.busy_share, line.turns_per_second),
    "turns": lambda line: (line.turns_per_second, line.actor.turns),
    "depth": lambda line: (line.actor.depth, line.busy_share),
    "wait": lambda line: (line.wait_seconds, line.actor.depth),
    "restarts": lambda line: (line.actor.restarts, line.busy_share),
}


class Inspection:
    """Looks at one system."""

    def __init__(self, system: "ActorSystem") -> None:
        self._system = system

    async def tree(self, *, kind: str | None = None, actors_max: int = 20) -> SupervisorNode:
        """The whole tree, with at most *actors_max* actors of each kind, or with those of *kind* alone.

        Raises: ValueError, UnknownKind.
        """
        _check("actors_max", actors_max, PAGE_ACTORS_MAX)
        self._check_kind(kind)
        first: dict[str, list[Activation]] = defaultdict(list)
        counts = {name: kind_statistics([], retired) for name, retired in self._system.retired.items()}
        async for cells in self._slices():
            for name, of_kind in _by_kind(cells).items():
                counts[name] = _joined(counts[name], kind_statistics(of_kind, Retired()))
                if kind in (None, name):
                    first[name] = heapq.nsmallest(actors_max + 1, [*first[name], *of_kind], key=_place)
        return self._branch(self._system.tree, counts, first, actors_max)

    async def actors(self, kind: str, *, after: Address | None = None, limit: int = 100) -> Page:
        """A page of the actors of *kind* that have a cell. Raises: ValueError, UnknownKind."""
        _check("limit", limit, PAGE_ACTORS_MAX, minimum=1)
        self._check_kind(kind)
        first: list[Activation] = []
        async for cells in self._slices():
            behind = [cell for cell in cells if cell.address.kind == kind and _is_behind(cell.address, after)]
            first = heapq.nsmallest(limit + 1, [*first, *behind], key=_place)
        page = tuple(node_of(cell) for cell in first[:limit])
        return Page(page, page[-1].address if len(first) > limit else None)

    async def top(self, *, by: str = "busy", limit: int = 20, seconds: float = 1.0) -> Top:
        """Those that stand out over the next *seconds*: who did nothing, and has nothing to do, is not among them.

        by: a key of RANKS. Raises: ValueError.
        """
        _check("limit", limit, PAGE_ACTORS_MAX)
        if by not in RANKS:
            raise ValueError(f"the top is ranked by {', '.join(RANKS)}, not by {by!r}")
        if not 0 < seconds <= TOP_SECONDS_MAX:
            raise ValueError(f"the top is of more than 0 and at most {TOP_SECONDS_MAX:g} seconds, not {seconds}")
        before: dict[Activation, Sums] = {}
        async for cells in self._slices():
            before.update((cell, _sums(cell)) for cell in cells if cell.gauges.drains)
        began_at = trio.current_time()
        await trio.sleep(seconds)
        elapsed, best, count = trio.current_time() - began_at, list[TopLine](), 0
        async for cells in self._slices():
            count += len(cells)
            awake = [cell for cell in cells if _stands_out(cell, before.get(cell, NOTHING))]
            lines = [_line(cell, before.get(cell, NOTHING), elapsed) for cell in awake]
            best = heapq.nlargest(limit, [*best, *lines], key=RANKS[by])
        return Top(by, elapsed, count, tuple(best))

    async def _slices(self) -> AsyncIterator[list[Activation]]:
        cells = list(self._system.activations.values())
        for start in range(0, len(cells), SLICE_CELLS_MAX):
            yield cells[start : start + SLICE_CELLS_MAX]
            await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()

    def _check_kind(self, kind: str | None) -> None:
        if kind is not None:
            self._system.check(Address(kind, SERVICE_KEY))

    def _branch(
        self, branch: Branch, counts: dict[str, KindStatistics], first: dict[str, list[Activation]], actors_max: int
    ) -> SupervisorNode:
        children: list[TreeNode] = []
        for child in branch.children:
            if isinstance(child, Branch):
                children.append(self._branch(child, counts, first, actors_max))
            elif child.is_service:
                children.append(self._service(child))
            else:
                cells = first[child.name]
                page = tuple(node_of(cell) for cell in cells[:actors_max])
                counted = counts[child.name]
                has_more = counted.loaded + counted.cold > len(page)
                children.append(KindNode(child.name, child.is_held, counted, page, has_more))
        spec = branch.spec
        return SupervisorNode(
            branch.name, spec.strategy.value, spec.intensity, spec.period_seconds, branch.restarts, tuple(children)
        )

    def _service(self, leaf: Leaf) -> ServiceNode:
        cell = self._system.activations.get(Address(leaf.name, SERVICE_KEY))
        actor = None if cell is None else node_of(cell)
        return ServiceNode(leaf.name, leaf.mode, leaf.is_held, leaf.is_over, actor)


def node_of(cell: Activation) -> ActorNode:
    """One cell as it is now."""
    mailbox, gauges = cell.mailbox.statistics(), cell.gauges
    turns = turns_under_way(cell)
    now = trio.current_time()
    return ActorNode(
        cell.address,
        cell.phase.value,
        mailbox.depth,
        mailbox.depth_peak,
        cell.turns,
        cell.restarts,
        mailbox.refused,
        tuple(cell.context.awake_for) if cell.context is not None else (),
        len(cell.gate.pending) if cell.gate is not None else 0,
        len(turns),
        now - turns[0].began_at if turns else None,
        gauges.drains,
        gauges.waited_seconds,
        gauges.busy_seconds,
        gauges.drain_seconds_max,
        max(0.0, now - cell.active_at) if cell.active_at else None,
        gauges.trace is not None,
        mailbox.bytes,
        mailbox.coalesced,
        mailbox.head_seconds,
    )


def as_json(value: Any) -> Any:
    """What JSON can hold of a value of this module: addresses as text, nodes of the tree with their `type`."""
    if isinstance(value, Address):
        return str(value)
    if isinstance(value, Enum):
        return value.value
    if is_dataclass(value):
        plain = {field.name: as_json(getattr(value, field.name)) for field in fields(value)}
        sort = _SORTS.get(type(value))
        return plain if sort is None else {"type": sort, **plain}
    if isinstance(value, dict):
        return {str(name): as_json(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple):
        return [as_json(inner) for inner in value]
    return value


_SORTS: Final[dict[type, str]] = {SupervisorNode: "supervisor", ServiceNode: "service", KindNode: "kind"}


def _by_kind(cells: Iterable[Activation]) -> dict[str, list[Activation]]:
    found: dict[str, list[Activation]] = defaultdict(list)
    for cell in cells:
        found[cell.address.kind].append(cell)
    return found


def _joined(one: KindStatistics, other: KindStatistics) -> KindStatistics:
    """The counts of both: those that are a maximum say so in their name."""

    def joined(name: str) -> Any:
        numbers = getattr(one, name), getattr(other, name)
        return max(numbers) if name.endswith("_max") else sum(numbers)

    return KindStatistics(**{field.name: joined(field.name) for field in fields(KindStatistics)})


def _place(cell: Activation) -> tuple[bool, int | str]:
    """Where an actor stands in the pages of its kind: numbers first."""
    return isinstance(cell.address.key, str), cell.address.key


def _is_behind(address: Address, after: Address | None) -> bool:
    if after is None:
        return True
    return (isinstance(address.key, str), address.key) > (isinstance(after.key, str), after.key)


def _sums(cell: Activation) -> Sums:
    gauges = cell.gauges
    return gauges.busy_seconds, cell.turns, gauges.waited_seconds, gauges.drains


def _stands_out(cell: Activation, before: Sums) -> bool:
    return cell.gauges.drains > before[3] or bool(len(cell.mailbox)) or cell.waiting is not None or cell.restarts > 0


def _line(cell: Activation, before: Sums, elapsed: float) -> TopLine:
    busy, turns, waited, drains = (now - then for now, then in zip(_sums(cell), before, strict=True))
    return TopLine(node_of(cell), busy / elapsed, turns / elapsed, waited / drains if drains else 0.0)


def _check(name: str, number: int, maximum: int, minimum: int = 0) -> None:
    if not minimum <= number <= maximum:
        raise ValueError(f"{name} is a number from {minimum} to {maximum}, not {number}")
