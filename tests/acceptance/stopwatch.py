"""A stopwatch that stands still while the machine gives its time to others: what took so long is then the product's.

Taken off is how long this thread waited for a CPU, as the kernel counts it; where it does not count, nothing is.
Whatever else holds the thread up counts in full, whoever's code it is: what it computes, or a lock or a file that it
waits for while it keeps the loop. A task naps over and over, so that a machine that lets none of us run shows in this
thread too, while it waits for another process. With a server the waits of its processes are taken off as well: what is
measured goes from one to the next.

    async with open_stopwatch() as watch:
        ...
        assert watch.seconds < 1

    assert await closed_within(1.0, sock, server) == 4003
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Protocol

import trio

NAP_SECONDS = 0.02
_SCHEDSTAT = Path("/proc/thread-self/schedstat")  # nanoseconds on a CPU, those of waiting for one, and how many times


class Server(Protocol):
    """A ServerProcess."""

    def processes(self) -> list[int]: ...


class Stopwatch:
    """Made by `open_stopwatch`, and read in the same thread."""

    def __init__(self, server: Server | None) -> None:
        self._server = server
        self._began, self._before = trio.current_time(), _waited_nanoseconds(server)
        self._waited = dict(self._before)

    @property
    def seconds(self) -> float:
        """Since it was opened, without those that this thread did not get."""
        lost = self.lost_seconds  # read first: what is lost from here on counts
        return trio.current_time() - self._began - lost

    @property
    def lost_seconds(self) -> float:
        """Those that this thread did not get."""
        self.look()
        return sum(waited - self._before.get(thread, 0) for thread, waited in self._waited.items()) / 1e9

    def look(self) -> None:
        """At what threads have waited, of which those that have ended tell nothing any more."""
        self._waited |= _waited_nanoseconds(self._server)


def _waited_nanoseconds(server: Server | None) -> dict[Path, int]:
    """Of this thread, and of each of the server's that there is now."""
    files = [_SCHEDSTAT]
    for pid in () if server is None else server.processes():
        files += Path(f"/proc/{pid}/task").glob("*/schedstat")
    waited = {}
    for file in files:
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended; or a system that does not count
            waited[file] = int(file.read_text().split()[1])
    return waited


async def _nap(watch: Stopwatch) -> None:
    while True:  # there is no event: it is there to wake
        await trio.sleep(NAP_SECONDS)
        watch.look()


@asynccontextmanager
async def open_stopwatch(server: Server | None = None) -> AsyncIterator[Stopwatch]:
    """It runs from now on, until the block ends."""
    watch = Stopwatch(server)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_nap, watch)
        yield watch
        nursery.cancel_scope.cancel()


async def closed_within(seconds: float, sock: Any, server: Server | None = None) -> int:
    """Wait for the end of a Socket or Stream; its close code. Raises AssertionError when that took so long."""
    async with open_stopwatch(server) as watch:
        code: int = await sock.wait_closed()
        assert watch.seconds < seconds, f"closed with {code} after {watch.seconds:.2f} s"
        return code
