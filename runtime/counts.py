"""What a running system counts, as frozen values for people, metrics and tests."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


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
    late_replies: int
    storage_is_away: bool


def kind_statistics(cells: "list[Activation]", turns: int, restarts: int, refused: int) -> KindStatistics:
    """Of the *cells* of one kind, and of those that were forgotten."""
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
