"""Where asyncio is met: asyncpg speaks it, and who lends its connections; everything else here is trio.

A crossing costs about 3.6 times the native call, so callers cross once per batch, never once per row: what crosses
is a coroutine function that does a whole transaction.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, ParamSpec, TypeVar

import trio_asyncio

P = ParamSpec("P")
T = TypeVar("T")


class AsyncioBridge:
    """Runs asyncio coroutine functions from any trio task of the process."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop

    async def run(self, fn: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Await ``fn(*args)`` on the asyncio side.

        Cancelled: the asyncio task is cancelled and awaited. Raises: whatever *fn* raises.
        """
        result: T = await trio_asyncio.aio_as_trio(fn, loop=self._loop)(*args, **kwargs)
        return result


@asynccontextmanager
async def open_asyncio_bridge() -> AsyncIterator[AsyncioBridge]:
    """Run an asyncio loop as a guest of trio while the block lasts."""
    async with trio_asyncio.open_loop() as loop:
        yield AsyncioBridge(loop)
