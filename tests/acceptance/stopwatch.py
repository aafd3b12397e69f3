"""A stopwatch that stands still while the machine gives its time to others: what took so long is then the product's.

Taken off is how long this thread waited for a CPU, as the kernel counts it; where it does not count, nothing is.
Whatever else holds the thread up counts in full, whoever's code it is: what it computes, or a lock or a file that it
waits for while it keeps the loop. A task naps over and over, so that a machine that lets none of us run shows in this
thread too, while it waits for another process.

    async with open_stopwatch() as watch:
        ...
        assert watch.seconds < 1

    assert await closed_within(1.0, sock) == 4003
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

NAP_SECONDS = 0.02
_SCHEDSTAT = Path("/proc/thread-self/schedstat")  # nanoseconds on a CPU, those of waiting for one, and how many times


class Stopwatch:
    """Made by `open_stopwatch`, and read in the same thread."""

    def __init__(self) -> None:
        self._began, self._waited_before = trio.current_time(), _waited_seconds()

    @property
    def seconds(self) -> float:
        """Since it was opened, without those that this thread did not get."""
        lost = self.lost_seconds  # read first: what is lost from here on counts
        return trio.current_time() - self._began - lost

    @property
    def lost_seconds(self) -> float:
        """Those that this thread did not get."""
        return _waited_seconds() - self._waited_before


def _waited_seconds() -> float:
    try:
        return int(_SCHEDSTAT.read_text().split()[1]) / 1e9
    except FileNotFoundError:  # another system, or a kernel that does not count
        return 0.0


async def _nap() -> None:
    while True:  # noqa: ASYNC110 - there is no event: it is there to wake
        await trio.sleep(NAP_SECONDS)


@asynccontextmanager
async def open_stopwatch() -> AsyncIterator[Stopwatch]:
    """It runs from now on, until the block ends."""
    watch = Stopwatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_nap)
        yield watch
        nursery.cancel_scope.cancel()


async def closed_within(seconds: float, sock: Any) -> int:
    """Wait for the end of a Socket or Stream; its close code. Raises AssertionError when that took so long."""
    async with open_stopwatch() as watch:
        code: int = await sock.wait_closed()
        assert watch.seconds < seconds, f"closed with {code} after {watch.seconds:.2f} s"
        return code
