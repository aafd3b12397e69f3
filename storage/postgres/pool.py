"""The pool: named queries against PostgreSQL, from trio.

What PostgreSQL refuses is raised as asyncpg raises it; what means "PostgreSQL is not there" is always
`StorageUnavailable`, so that callers tell the world's fault from their own.

Time limits are trio's, never asyncpg's: under trio-asyncio each of those leaves a timer behind that wakes the loop
when it would have been due, as often as there were queries (measured: a quarter of an idle server's CPU).
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

import asyncpg
import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.asyncio_bridge import AsyncioBridge
from greenroom.storage.postgres.connection import Connection, connect
from greenroom.storage.postgres.connections import Connections
from greenroom.storage.postgres.queries import query

T = TypeVar("T")

CONNECT_SECONDS_MAX = 5.0
QUERY_SECONDS_MAX = 15.0

# What asyncpg raises when the server is gone, going, or was never there.
AWAY_ERRORS: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.exceptions.InsufficientResourcesError,
    asyncpg.exceptions.InternalClientError,
    trio.TooSlowError,
)


@dataclass(frozen=True, slots=True)
class PoolStatistics:
    """Connections of the pool: made, of those idle now, and the most it may make."""

    size: int
    idle: int
    connections_max: int


class Postgres:
    """Queries by name. Made by `open_postgres`."""

    def __init__(
        self, pool: Connections[Connection], connect: Callable[..., Awaitable[Connection]], *, is_pooled: bool
    ) -> None:
        self.is_pooled = is_pooled  # a transaction pooler stands between: nothing may be set for a session
        self._pool = pool
        self._connect = connect

    async def fetch(self, name: str, *args: object) -> list[Any]:
        """All rows of the named query."""
        rows: list[Any] = await self._call("fetch", query(name), args)
        return rows

    async def fetch_row(self, name: str, *args: object) -> Any | None:
        """The first row of the named query, or None."""
        return await self._call("fetchrow", query(name), args)

    async def fetch_value(self, name: str, *args: object) -> Any | None:
        """The first column of the first row, or None."""
        return await self._call("fetchval", query(name), args)

    async def execute(self, name: str, *args: object) -> int:
        """Run the named query; the count of rows it touched."""
        status: str = await self._call("execute", query(name), args)
        count = status.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def transaction(self, fn: Callable[[Any], Awaitable[T]]) -> T:
        """Run *fn*, a coroutine function that takes a connection, inside one transaction.

        Raises: StorageUnavailable; what *fn* raises, after rolling back.
        """

        async def run(connection: Connection) -> T:
            async with connection.transaction():
                return await fn(connection)

        return await self.lend(run)

    async def lend(self, fn: Callable[[Connection], Awaitable[T]]) -> T:
        """Run *fn* with a connection that nobody else uses meanwhile. Raises: StorageUnavailable; what *fn* raises."""
        await trio.lowlevel.checkpoint_if_cancelled()  # a question that is sent is done, whoever hears the answer
        with answered_within(QUERY_SECONDS_MAX):
            connection = await self._pool.acquire()
            try:
                return await fn(connection)
            finally:
                self._pool.release(connection)

    async def connect(self, *, listens: bool = False) -> Connection:
        """Open a connection of one's own, outside the pool. listens: to hear what is notified.

        Raises: StorageUnavailable.
        """
        with answered_within(CONNECT_SECONDS_MAX):
            return await self._connect(listens=listens)

    def statistics(self) -> PoolStatistics:
        """Sizes of the pool now."""
        return PoolStatistics(self._pool.size, self._pool.idle, self._pool.connections_max)

    async def _call(self, method: str, sql: str, args: tuple[object, ...]) -> Any:
        return await self.lend(lambda connection: getattr(connection, method)(sql, *args))


class answered_within:  # noqa: N801 - reads as a clause of the `with` it stands in
    """Turn every way of saying "the server is away", saying nothing included, into `StorageUnavailable`."""

    __slots__ = ("_scope", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        """The time begins."""
        self._scope = trio.move_on_after(self._seconds)
        self._scope.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Raise StorageUnavailable in place of what asyncpg raised, or when the time is over."""
        self._scope.__exit__(kind, error, traceback)
        if self._scope.cancelled_caught:
            raise StorageUnavailable(f"{_AWAY}: no answer within {self._seconds:g} s") from None
        if isinstance(error, AWAY_ERRORS):
            raise StorageUnavailable(f"{_AWAY}: {str(error) or type(error).__name__}") from error


_AWAY: Final = "PostgreSQL cannot be reached"


@asynccontextmanager
async def open_postgres(
    bridge: AsyncioBridge, connect_arguments: dict[str, Any], *, connections_max: int = 8, is_pooled: bool = False
) -> AsyncIterator[Postgres]:
    """Open a pool on the server that *connect_arguments* of asyncpg name.

    is_pooled: a transaction pooler stands before the server, so nothing may be prepared for later.
    Raises: StorageUnavailable when not even one connection can be made.
    """
    arguments = {
        **connect_arguments,
        "statement_cache_size": 0 if is_pooled else 256,
        "server_settings": {"application_name": "greenroom", **connect_arguments.get("server_settings", {})},
    }

    open_one = partial(connect, bridge, arguments)
    pool = Connections(open_one, connections_max)
    with answered_within(CONNECT_SECONDS_MAX):
        pool.release(await pool.acquire())
    try:
        yield Postgres(pool, open_one, is_pooled=is_pooled)
    finally:
        with trio.move_on_after(3, shield=True):
            await pool.close()
        pool.terminate()
