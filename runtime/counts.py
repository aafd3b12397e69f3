"""What a running system counts, as frozen values for people, metrics and tests."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.alarms import AlarmStatistics


@dataclass(frozen=True, slots=True)
class KindStatistics:
    """Of one kind. Counts of activations by phase; depth in envelopes; all from turns on since the start.

    waited_seconds, busy_seconds: in the queue of those that have something to do, and at work, for all drains together:
    divided by drains and by turns they are the mean wait and the mean turn. Turns that wait are not in it.
    """

    loaded: int
    cold: int
    depth: int
    depth_max: int
    turns: int
    restarts: int
    refused: int
    drains: int
    waited_seconds: float
    busy_seconds: float
    drain_seconds_max: float


class Retired:
    """What the cells of one kind had counted that were forgotten."""

    __slots__ = ("busy_seconds", "drain_seconds_max", "drains", "refused", "restarts", "turns", "waited_seconds")

    def __init__(self) -> None:
        self.turns = self.restarts = self.refused = self.drains = 0
        self.waited_seconds = self.busy_seconds = self.drain_seconds_max = 0.0

    def add(self, cell: "Activation") -> None:
        """One more is forgotten."""
        gauges = cell.gauges
        self.turns += cell.turns
        self.restarts += cell.restarts
        self.refused += cell.mailbox.refused
        self.drains += gauges.drains
        self.waited_seconds += gauges.waited_seconds
        self.busy_seconds += gauges.busy_seconds
        self.drain_seconds_max = max(self.drain_seconds_max, gauges.drain_seconds_max)


@dataclass(frozen=True, slots=True)
class SystemStatistics:
    """Of the whole system. alarms: None when there is no store of them."""

    kinds: dict[str, KindStatistics]
    crashes: int
    passivated: int
    dead_letters: int
    asks_pending: int
    late_replies: int
    storage_is_away: bool
    alarms: "AlarmStatistics | None"


def kind_statistics(cells: "list[Activation]", retired: Retired) -> KindStatistics:
    """Of the *cells* of one kind, and of those that were forgotten."""
    depths = [len(cell.mailbox) for cell in cells]
    return KindStatistics(
        loaded=sum(cell.actor is not None for cell in cells),
        cold=sum(cell.actor is None for cell in cells),
        depth=sum(depths),
        depth_max=max(depths, default=0),
        turns=retired.turns + sum(cell.turns for cell in cells),
        restarts=retired.restarts + sum(cell.restarts for cell in cells),
        refused=retired.refused + sum(cell.mailbox.refused for cell in cells),
        drains=retired.drains + sum(cell.gauges.drains for cell in cells),
        waited_seconds=retired.waited_seconds + sum(cell.gauges.waited_seconds for cell in cells),
        busy_seconds=retired.busy_seconds + sum(cell.gauges.busy_seconds for cell in cells),
        drain_seconds_max=max([retired.drain_seconds_max, *(cell.gauges.drain_seconds_max for cell in cells)]),
    )
