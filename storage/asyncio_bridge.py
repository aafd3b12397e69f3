"""Where asyncio is met: asyncpg speaks it while it makes a connection; everything else here is trio.

A crossing costs a task of asyncio and some turns of its loop, about 300 µs of CPU, so no query crosses:
storage/postgres/connection.py.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import trio_asyncio

P = ParamSpec("P")
T = TypeVar("T")


class AsyncioBridge:
    """Runs asyncio coroutine functions from any trio task of the process. loop: asyncio's, for who takes one."""

    def __init__(self, loop: Any) -> None:
        self.loop = loop

    async def run(self, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await ``fn(*args)`` on the asyncio side.

        Cancelled: the asyncio task is cancelled and awaited. Raises: whatever *fn* raises.
        """
        result: T = await trio_asyncio.aio_as_trio(fn, loop=self.loop)(*args, **kwargs)
        return result


@asynccontextmanager
async def open_asyncio_bridge() -> AsyncIterator[AsyncioBridge]:
    """Run an asyncio loop as a guest of trio while the block lasts."""
    async with trio_asyncio.open_loop() as loop:
        yield AsyncioBridge(loop)
