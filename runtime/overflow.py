"""What a full mailbox does, and what counts as full: declared per kind, never decided by a sender.

    REFUSE        the sender is told: `MailboxFull`, or `ActorBusy` when the oldest command waits for too long
    DROP_OLDEST   the oldest tell is a dead letter, the new command is taken
    DROP_NEWEST   the new tell is a dead letter, and its sender is told nothing

Somebody waits for the answer to an ask, so asks are refused under every policy and never dropped.
"""

import enum
import math
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from greenroom.runtime.limits import need_number, need_whole
from greenroom.runtime.misuse import refuse_coroutine


class Overflow(enum.Enum):
    """The module's docstring says what each does."""

    REFUSE = "refuse"
    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"


@dataclass(frozen=True, slots=True)
class Meter:
    """Bounds of a mailbox besides its count, for kinds whose commands differ in size or in worth.

    bytes_max: the sum of *size_of* over what waits; 0 for no bound.
    head_seconds_max: nothing more is taken once the oldest command has waited for so long.
    coalesce_by: the key of a tell, None for one of its own; a newer tell takes the place of the one with its key that
    waits, in its turn, and the older is forgotten.
    """

    size_of: Callable[[object], int] | None = None
    bytes_max: int = 0
    head_seconds_max: float = math.inf
    coalesce_by: Callable[[object], Hashable | None] | None = None

    def __post_init__(self) -> None:
        need_whole("a meter: bytes_max", self.bytes_max, least=0)
        need_number("a meter: head_seconds_max", self.head_seconds_max)
        if self.bytes_max and self.size_of is None:
            raise ValueError("a bound in bytes needs size_of, which says how many a command has")
        for name, given in (("size_of", self.size_of), ("coalesce_by", self.coalesce_by)):
            if given is not None:
                refuse_coroutine(f"the {name} of a meter", given)
