"""Deadlines: one heap and one task for every ask and every timer of the system.

A cancel scope per ask costs two thirds of the throughput of 100 callers (59-63 against 154-165 thousand asks/s);
a shared heap costs one tenth. Entries that were settled early stay until their time or until they are the
majority, when the heap is rebuilt.
"""

import heapq
import itertools
import math
from collections.abc import Callable

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.errors import AskTimeout

REBUILD_ENTRIES_MIN = 512


def check_deadline(deadline: float, to: Address, command: object) -> None:
    """See to it, before anything is sent, that *deadline* is still to come.

    Raises: AskTimeout when it is over, TypeError and ValueError when it is no time.
    """
    try:
        if deadline > trio.current_time():
            return
    except TypeError:
        raise TypeError(_no_time(deadline)) from None
    if math.isnan(deadline):
        raise ValueError(_no_time(deadline))
    raise AskTimeout(to, command, "queued", is_past=True)


def _no_time(deadline: object) -> str:
    return f"a deadline is a trio time, such as trio.current_time() + 5, and not {deadline!r}"


def check_delay(seconds: float) -> None:
    """See to it that *seconds* is a time to wait. Raises: TypeError, ValueError."""
    try:
        if seconds >= 0:
            return
    except TypeError:
        raise TypeError(f"a delay is a number of seconds, such as 0.5, and not {seconds!r}") from None
    raise ValueError(f"a delay is 0 seconds or more, and not {seconds!r}: what is late already takes max(delay, 0)")


class Entry:
    """Something to do at a time. `cancel` forgets it."""

    __slots__ = ("action", "heap")

    def __init__(self, heap: "DeadlineHeap", action: Callable[[], None]) -> None:
        self.heap = heap
        self.action: Callable[[], None] | None = action

    def cancel(self) -> None:
        """Forget the action. Doing it twice, or after it ran, is nothing."""
        if self.action is not None:
            self.action = None
            self.heap.cancelled_one()


class DeadlineHeap:
    """Times are trio times (seconds of the current clock), so the virtual clock drives them in tests."""

    def __init__(self, on_fault: Callable[[Exception], None]) -> None:
        self._on_fault = on_fault
        self._heap: list[tuple[float, int, Entry]] = []
        self._count = itertools.count()
        self._stale = 0
        self._sleeping_until = float("inf")
        self._scope: trio.CancelScope | None = None

    def __len__(self) -> int:
        return len(self._heap) - self._stale

    def at(self, time: float, action: Callable[[], None]) -> Entry:
        """Call *action* at trio time *time*, from the heap's own task. It must not raise and not wait.

        Raises: TypeError, ValueError for what is no number: one in the heap would put all others out of order.
        """
        if not time > -math.inf:
            raise ValueError(f"{time!r} is no time")
        entry = Entry(self, action)
        heapq.heappush(self._heap, (time, next(self._count), entry))
        if time < self._sleeping_until and self._scope is not None:
            self._sleeping_until = time
            self._scope.deadline = time
        return entry

    def cancelled_one(self) -> None:
        """Bookkeeping of `Entry.cancel`: rebuild when most entries are settled ones."""
        self._stale += 1
        if self._stale > REBUILD_ENTRIES_MIN and self._stale * 2 > len(self._heap):
            self._heap = [item for item in self._heap if item[2].action is not None]
            heapq.heapify(self._heap)
            self._stale = 0

    def after(self, delay_seconds: float, action: Callable[[], None]) -> Entry:
        """Call *action* in *delay_seconds*."""
        return self.at(trio.current_time() + delay_seconds, action)

    async def run(self) -> None:
        """Serve for ever. Cancelled: actions that are not due are not run."""
        while True:
            self._run_due()
            self._forget_settled()
            self._sleeping_until = self._heap[0][0] if self._heap else float("inf")
            with trio.CancelScope(deadline=self._sleeping_until) as self._scope:
                await trio.sleep_forever()
            self._scope = None

    def _forget_settled(self) -> None:
        """Drop settled entries from the top: each would wake the task for nothing when its time came."""
        while self._heap and self._heap[0][2].action is None:
            heapq.heappop(self._heap)
            self._stale -= 1

    def _run_due(self) -> None:
        now = trio.current_time()
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)[2]
            action, entry.action = entry.action, None
            if action is None:
                self._stale -= 1
            else:
                try:
                    action()
                except Exception as error:
                    self._on_fault(error)
