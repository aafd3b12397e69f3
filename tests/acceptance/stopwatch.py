"""A stopwatch that stands still while the machine gives its time to others: what took so long is then the product's.

A task naps over and over. How much later than asked for it wakes, without having been busy itself, was time that this
thread did not get. Of what our own code does while it keeps the loop busy nothing is taken off, whoever's it is.

    async with open_stopwatch() as watch:
        ...
        assert watch.seconds < 1

    assert await closed_within(1.0, sock) == 4003
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio

NAP_SECONDS = 0.02
GRAIN_SECONDS = 0.003  # that a nap is late on a machine that has time


class Stopwatch:
    """Made by `open_stopwatch`."""

    def __init__(self) -> None:
        self._began = trio.current_time()
        self._lost = 0.0
        self._lie_down()

    @property
    def seconds(self) -> float:
        """Since it was opened, without those that this thread did not get."""
        return trio.current_time() - self._began - self.lost_seconds

    @property
    def lost_seconds(self) -> float:
        """Those that this thread did not get."""
        return self._lost + self._late()

    def _lie_down(self) -> None:
        self._due, self._busy = trio.current_time() + NAP_SECONDS, time.thread_time()

    def _late(self) -> float:
        late = trio.current_time() - self._due - (time.thread_time() - self._busy)
        return late if late > GRAIN_SECONDS else 0.0

    async def _nap(self) -> None:
        while True:
            self._lie_down()
            await trio.sleep_until(self._due)
            self._lost += self._late()


@asynccontextmanager
async def open_stopwatch() -> AsyncIterator[Stopwatch]:
    """It runs from now on, until the block ends."""
    watch = Stopwatch()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch._nap)
        yield watch
        nursery.cancel_scope.cancel()


async def closed_within(seconds: float, sock: Any) -> int:
    """Wait for the end of a Socket or Stream; its close code. Raises AssertionError when that took so long."""
    async with open_stopwatch() as watch:
        code: int = await sock.wait_closed()
        assert watch.seconds < seconds, f"closed with {code} after {watch.seconds:.2f} s"
        return code
