"""The supervision tree as it is declared: one list in start order, which is the reverse of the stop order.

    open_system([
        Service(Kind("clock", ClockActor)),              one actor, clock/main, there as long as the system
        Supervisor("messaging", [                        fails and starts again as a whole
            Service(Kind("ids", IdsActor)),
            Kind("room", RoomActor),                     one actor for each address, made by its first command
        ], strategy=Strategy.ONE_FOR_ALL),
    ])

An actor that crashes is first a matter of its kind's own policy. What that cannot bear is a failure of the supervisor:
it stops all its children, and its own supervisor decides. What the root cannot bear ends the system.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from greenroom.runtime.errors import StaticName
from greenroom.runtime.kind import Kind
from greenroom.runtime.limits import need_member, need_name
from greenroom.runtime.restarts import RestartPolicy
from greenroom.runtime.strategies import Strategy

SERVICE_KEY = "main"


@dataclass(frozen=True, slots=True)
class Service:
    """One actor that runs from the start of the system to its end, at the address ``<name of its kind>/main``.

    It is started before what is declared after it, and never passivated. The mode of its kind's restart policy says
    what follows when it ends; when its intensity is exhausted, its supervisor has failed. Whatever happens meanwhile,
    what is declared after it begins when it is ready, and overdue alarms come when all services are.
    """

    kind: Kind

    def __post_init__(self) -> None:
        if not isinstance(self.kind, Kind):
            raise TypeError(f"a Service is made of a Kind, as in Service(Kind('ids', IdsActor)), not of {self.kind!r}")


@dataclass(frozen=True, slots=True)
class Supervisor:
    """A part of the tree that is restarted together, as *strategy* says.

    intensity: restarts of its services and supervisors within period_seconds; with one more it has failed itself. The
    actors of its kinds have each their own policy and count only when that escalates.
    """

    name: str
    children: "Sequence[Child]"
    strategy: Strategy = Strategy.ONE_FOR_ONE
    intensity: int = 5
    period_seconds: float = 30.0

    @property
    def policy(self) -> RestartPolicy:
        """What the wait before each restart and the end of its patience are decided by."""
        return RestartPolicy(mode="permanent", intensity=self.intensity, period_seconds=self.period_seconds)

    def __post_init__(self) -> None:
        need_name("a supervisor", self.name)
        if not isinstance(self.children, Sequence):
            raise TypeError(f"supervisor {self.name}: its children are a list, in start order, not {self.children!r}")
        if not self.children:
            raise ValueError(f"supervisor {self.name} has no children: give it what it is to restart, or leave it out")
        for child in self.children:
            if not isinstance(child, Child):
                raise TypeError(
                    f"{child!r} is no child: a tree is made of Kind, Service and Supervisor, as in "
                    "Kind('room', RoomActor)"
                )
        need_member(f"supervisor {self.name}: strategy", self.strategy, Strategy)
        self.policy  # noqa: B018 (raises for a limit that is none)

    def leaves(self) -> "Iterator[Kind | Service]":
        """Everything below it that is not a supervisor, in start order."""
        for child in self.children:
            if isinstance(child, Supervisor):
                yield from child.leaves()
            else:
                yield child

    def supervisors(self) -> "Iterator[Supervisor]":
        """Itself, and every supervisor below it."""
        yield self
        for child in self.children:
            if isinstance(child, Supervisor):
                yield from child.supervisors()


Child = Kind | Service | Supervisor


def root_of(children: object) -> Supervisor:
    """The root of the tree that `open_system` is given, or is given the children of. Raises: TypeError, ValueError."""
    if isinstance(children, Supervisor):
        return children
    if isinstance(children, Kind | Service) or not isinstance(children, Iterable):
        raise TypeError(
            f"open_system takes the children of the tree as a list, in start order, as in [Kind('room', RoomActor)]: "
            f"not {children!r}"
        )
    return Supervisor("system", list(children))


def kinds_of(root: Supervisor) -> dict[str, Kind]:
    """Every kind of the tree by its name, in start order. Raises: StaticName when a name stands twice."""
    names = [supervisor.name for supervisor in root.supervisors()]
    for name in names:
        if names.count(name) > 1:
            raise StaticName(f"two supervisors of this system are named {name!r}: give each a name of its own")
    kinds: dict[str, Kind] = {}
    for leaf in root.leaves():
        kind = leaf.kind if isinstance(leaf, Service) else leaf
        if kind.name in kinds:
            raise StaticName(f"two children of this system are named {kind.name!r}: give each a name of its own")
        kinds[kind.name] = kind
    return kinds
