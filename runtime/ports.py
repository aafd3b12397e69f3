"""What the runtime needs from outside: the committer, the clock and randomness, and what has a file of its own.

    ownership.py    who may write for an address
    alarm_store.py  alarms, read and written
    state_store.py  the small state of an actor, read and written

Everything that is not deterministic stands behind one of these, so that tests can replay a schedule.
"""

import enum
import random
import time
from collections.abc import Sequence
from typing import Final, Protocol

import trio

from greenroom.runtime.address import Address as Address
from greenroom.runtime.alarm_store import AlarmStore as AlarmStore
from greenroom.runtime.alarm_store import DeleteAlarm as DeleteAlarm
from greenroom.runtime.alarm_store import DueAlarm as DueAlarm
from greenroom.runtime.alarm_store import StoredAlarm as StoredAlarm
from greenroom.runtime.errors import StorageUnavailable as StorageUnavailable
from greenroom.runtime.ownership import Ownership as Ownership
from greenroom.runtime.state_store import DeleteValue as DeleteValue
from greenroom.runtime.state_store import StateStore as StateStore
from greenroom.runtime.state_store import StoredValue as StoredValue

KeptWrite = StoredAlarm | DeleteAlarm | StoredValue | DeleteValue
"""What the runtime itself stages; a committer stores these beside what actors write."""


class CommitOutcome(enum.Enum):
    """What became of a commit unit."""

    COMMITTED = "committed"
    DUPLICATE = "duplicate"  # a unique key of the unit exists already: nothing of this actor was stored
    FENCED = "fenced"  # another activation owns the address: nothing of this actor was stored
    REFUSED = "refused"  # storage refuses a value of the unit: nothing of this actor was stored
    UNAVAILABLE = "unavailable"  # storage could not be reached: nothing was stored
    UNKNOWN = "unknown"  # the connection was lost during the commit: stored or not, nobody knows yet


class CommitUnit(Protocol):
    """The writes of one turn, on their way to storage as a whole or not at all."""

    @property
    def address(self) -> Address:
        """Whose writes they are."""
        ...

    @property
    def token(self) -> int:
        """Of the ownership row, when the actor woke."""
        ...

    @property
    def writes(self) -> Sequence[object]:
        """In the order they were staged."""
        ...

    @property
    def is_void(self) -> bool:
        """An earlier unit of the same actor was not committed: this one must not be either."""
        ...

    def settle(self, outcome: CommitOutcome) -> None:
        """Tell the actor's gate. Units of one actor are settled in the order submitted. Never raises."""
        ...


class Committer(Protocol):
    """Group commit with fencing.

    Units of one actor that share a batch are committed together or not at all; an actor whose token is not the
    newest, one of whose unique keys exists, or one of whose values is refused is left out alone.
    ownership: whose tokens it checks where it stores.
    """

    ownership: Ownership

    def submit(self, unit: CommitUnit) -> int:
        """Encode *unit* and queue it for the next batch. Never waits. The bytes that it takes until it is settled.

        Raises: ValueError when a write cannot be encoded; nothing was queued.
        """
        ...

    async def probe(self) -> None:
        """Return when storage answers. Raises: StorageUnavailable."""
        ...


# What recurs happens at whole multiples of its period, all of it together, with one timer. A process that is woken for
# each such task by itself pays every time for caches that are cold, 0.15 ms and more; and a timer of trio's (a cancel
# scope, its deadline, an exception that ends it) costs five times what it takes to be woken by another task.
_Sleepers = dict[float, trio.lowlevel.ParkingLot]
_sleepers: Final = trio.lowlevel.RunVar[_Sleepers]("greenroom ticks")


async def sleep_to_tick(period_seconds: float) -> None:
    """Until trio's clock is next at a whole multiple of *period_seconds*."""
    now = trio.current_time()
    tick_at = (now // period_seconds + 1) * period_seconds
    await sleep_together(tick_at if tick_at > now else tick_at + period_seconds)


async def sleep_together(until: float) -> None:
    """Until trio's clock is at *until*: the first who comes has a timer, and wakes all who sleep to the same moment."""
    sleepers = _sleepers_here()
    while until in sleepers:
        await sleepers[until].park()
        if trio.current_time() >= until:
            return
        # the first was cancelled: somebody else takes its place
    lot = sleepers[until] = trio.lowlevel.ParkingLot()
    try:
        await trio.sleep_until(until)
    finally:
        del sleepers[until]
        lot.unpark_all()


def _sleepers_here() -> _Sleepers:
    try:
        return _sleepers.get()
    except LookupError:
        sleepers: _Sleepers = {}
        _sleepers.set(sleepers)
        return sleepers


class Clock(Protocol):
    """Wall time, for what is shown and stored. Deadlines use trio's clock, never this one."""

    def wall_milliseconds(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        ...

    def busy_seconds(self) -> float:
        """A counter that only measures how long a drain has been running."""
        ...


class Randomness(Protocol):
    """The one source of jitter."""

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        ...


class SystemClock(Clock):
    """The machine's clock."""

    def wall_milliseconds(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""
        return time.time_ns() // 1_000_000

    busy_seconds = staticmethod(time.perf_counter)  # itself: a method around it costs each turn as much again


class SystemRandomness(Randomness):
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def uniform(self, low: float, high: float) -> float:
        """A float in [low, high]."""
        return self._random.uniform(low, high)
