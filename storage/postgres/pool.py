"""The pool: named queries against PostgreSQL, from trio.

Every call crosses to asyncio once. What PostgreSQL refuses is raised as asyncpg raises it; what means "PostgreSQL is
not there" is always `StorageUnavailable`, so that callers tell the world's fault from their own.

Time limits are trio's, never asyncpg's: under trio-asyncio each of asyncpg's leaves a timer behind that wakes the loop
when it would have been due, as often as there were queries (measured: a quarter of an idle server's CPU).
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import asyncpg
import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.asyncio_bridge import AsyncioBridge
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
        self, bridge: AsyncioBridge, pool: Connections, connect: Callable[[], Awaitable[Any]], *, is_pooled: bool
    ) -> None:
        self.bridge = bridge
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
        """Run *fn*, an asyncio coroutine function that takes a connection, inside one transaction.

        Raises: StorageUnavailable; what *fn* raises, after rolling back.
        """

        async def run(connection: Any) -> T:
            async with connection.transaction():
                return await fn(connection)

        return await self._with_connection(run)

    async def connect(self) -> Any:
        """Open a connection of one's own, outside the pool. Raises: StorageUnavailable."""
        with away_is_unavailable(CONNECT_SECONDS_MAX), trio.fail_after(CONNECT_SECONDS_MAX):
            return await self.bridge.run(self._connect)

    def statistics(self) -> PoolStatistics:
        """Sizes of the pool now."""
        return PoolStatistics(self._pool.size, self._pool.idle, self._pool.connections_max)

    async def _call(self, method: str, sql: str, args: tuple[object, ...]) -> Any:
        async def run(connection: Any) -> Any:
            return await getattr(connection, method)(sql, *args)

        return await self._with_connection(run)

    async def _with_connection(self, fn: Callable[[Any], Awaitable[T]]) -> T:
        """Run *fn* with a connection of the pool; one whose work was cut off is not used again."""

        async def run() -> T:
            connection = await self._pool.acquire()
            try:
                return await fn(connection)
            except BaseException as error:
                if not isinstance(error, Exception):  # cancelled: the server may be stuck, so do not wait for it
                    connection.terminate()
                raise
            finally:
                self._pool.release(connection)

        with away_is_unavailable(QUERY_SECONDS_MAX), trio.fail_after(QUERY_SECONDS_MAX):
            return await self.bridge.run(run)


class _Connection(asyncpg.Connection):  # type: ignore[misc]
    """Asks PostgreSQL once in a process, not on each connection, what an array of its own types is.

    asyncpg knows few arrays by itself, bigint[] not among them, and the question is the dearest a new connection has:
    15 ms of CPU in PostgreSQL. The types of PostgreSQL itself have the same numbers everywhere.
    """

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[Any, Any]:
        asked = frozenset(typeoids)
        if asked in _types_known:
            return _types_known[asked], _NothingAsked
        rows, statement = await super()._introspect_types(asked, timeout)
        if max(asked) < _OWN_TYPES_END:
            _types_known[asked] = rows
        return rows, statement


class _NothingAsked:
    """In place of the statement of that question: what was prepared before it stands."""

    name = "none"


_OWN_TYPES_END = 10_000  # PostgreSQL gives out numbers by hand below this one
_types_known: dict[frozenset[int], Any] = {}


class away_is_unavailable:  # noqa: N801 - reads as a clause of the `with` it stands in
    """Turn every way of saying "the server is away" into `StorageUnavailable`. seconds: how long the caller waits."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def __enter__(self) -> None:
        """Nothing."""

    def __exit__(self, _: type[BaseException] | None, error: BaseException | None, __: object) -> None:
        """Raise StorageUnavailable in place of what asyncpg raised."""
        if isinstance(error, AWAY_ERRORS):
            is_late = isinstance(error, trio.TooSlowError)
            why = f"no answer within {self._seconds:g} s" if is_late else str(error) or type(error).__name__
            raise StorageUnavailable(f"PostgreSQL cannot be reached: {why}") from error


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
        "connection_class": _Connection,
        "statement_cache_size": 0 if is_pooled else 256,
        "server_settings": {"application_name": "greenroom", **connect_arguments.get("server_settings", {})},
    }

    async def connect() -> Any:
        return await asyncpg.connect(**arguments)

    pool = Connections(connect, connections_max)

    async def begin() -> None:
        pool.release(await pool.acquire())

    with away_is_unavailable(CONNECT_SECONDS_MAX), trio.fail_after(CONNECT_SECONDS_MAX):
        await bridge.run(begin)
    try:
        yield Postgres(bridge, pool, connect, is_pooled=is_pooled)
    finally:
        with trio.move_on_after(3, shield=True) as scope:
            await bridge.run(pool.close)
        if scope.cancelled_caught:
            pool.terminate()
