"""A connection to PostgreSQL whose answers trio tasks wait for themselves.

    trio task ── fetch() ──▶ asyncpg ── transport.write ──▶ socket
        ▲                       │ loop.create_future()         │
        └────── _Answer ◀───────┴─────── data_received ◀── os.read

asyncpg asks its loop for a future of each answer, and awaits it. While a connection is made, that is asyncio's future,
on its loop as a guest of trio. From then on it is an `_Answer`, and the trio task that asked reads the socket: a query
is no task of asyncio and takes no turn of its loop (a small one 411 µs of CPU with both, 105 µs without).

What comes as it is not meant (TLS) or unasked (LISTEN) asyncio reads on, and the task sleeps until it is told.

A query that is cut off ends its connection: the server may be stuck, so nobody waits for its word.
"""

import os
from collections.abc import AsyncIterator, Callable, Generator, Iterable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import asyncpg
import structlog
import trio

from greenroom.storage.asyncio_bridge import AsyncioBridge

log = structlog.get_logger()

READ_BYTES: Final = 65_536
_ERROR: Final = b"E"  # the type of an ErrorResponse


class Connection(asyncpg.Connection):  # type: ignore[misc]
    """Made by `connect`: `fetch`, `fetchrow`, `fetchval`, `execute`, `add_listener` and `transaction`, from trio."""

    _socket: int | None = None  # None: asyncio reads

    def meet_trio(self, loop: "_Loop", *, listens: bool) -> None:
        """From now on trio tasks wait. listens: asyncio reads on."""
        loop.connection = self
        if not listens and self._transport.get_extra_info("sslcontext") is None:
            self._transport.pause_reading()
            self._socket = self._transport.get_extra_info("socket").fileno()

    def is_there(self) -> bool:
        """Whether it may be used. What came while nobody waited is taken first; an error is the server's good-bye."""
        while self._socket is not None and not self.is_closed():
            data = self._received()
            if data is None:
                break
            self._take(b"" if data.startswith(_ERROR) else data)
        return not self.is_closed()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        """What is done inside stands as a whole, or not at all. Raises: what is raised inside, after rolling back."""
        assert not self.is_in_transaction()
        await self.execute("BEGIN")
        try:
            yield
            await trio.lowlevel.checkpoint_if_cancelled()  # else it would be stored, and nobody told so
        except BaseException:
            if not self.is_closed():
                await self.execute("ROLLBACK")
            raise
        await self.execute("COMMIT")

    async def wait_for(self, answer: "_Answer") -> None:
        """Until it is there. Cancelled: the connection is over."""
        try:
            while not answer.done():
                if self._socket is None:
                    await answer.sleep()
                elif await answer.is_to_be_read(self._socket):
                    data = self._received()
                    if data is not None:
                        self._take(data)
        except BaseException:
            self.terminate()
            raise

    def terminate(self) -> None:
        """End it, whoever waits."""
        # Who reads is told that the socket is closed, and so would be asyncio's writer, which takes it for a fault.
        if self._socket is not None and not self.is_closed() and self._transport.get_write_buffer_size():
            self._transport.abort()
        super().terminate()

    def _received(self) -> bytes | None:
        """What there is; None: nothing yet; nothing at all when the stream has ended."""
        assert self._socket is not None
        try:
            return os.read(self._socket, READ_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, data: bytes) -> None:
        """Have asyncpg take it. The end of the stream, and what asyncpg does not understand, end the connection."""
        try:
            if data:
                self._protocol.data_received(data)
                return
        except Exception as error:
            log.warning("storage.not_understood", why=str(error) or type(error).__name__)
        self.terminate()

    async def _introspect_types(self, typeoids: Iterable[int], timeout: float | None) -> tuple[Any, Any]:
        """Ask once in a process, not on each connection, what an array of PostgreSQL's own types is.

        asyncpg knows few arrays by itself, bigint[] not among them, and the question is the dearest a new connection
        has: 15 ms of CPU in PostgreSQL. The types of PostgreSQL itself have the same numbers everywhere.
        """
        asked = frozenset(typeoids)
        if asked in _types_known:
            return _types_known[asked], _NothingAsked
        rows, statement = await super()._introspect_types(asked, timeout)
        if max(asked) < _OWN_TYPES_END:
            _types_known[asked] = rows
        return rows, statement


async def connect(bridge: AsyncioBridge, arguments: dict[str, Any], *, listens: bool = False) -> Connection:
    """Open one with these *arguments* of asyncpg. listens: it is to hear of what others notify.

    Raises: what asyncpg raises.
    """
    loop = _Loop(bridge.loop)
    connection: Connection = await bridge.run(
        partial(asyncpg.connect, **arguments, loop=loop, connection_class=Connection)
    )
    connection.meet_trio(loop, listens=listens)
    return connection


class _NothingAsked:
    """In place of the statement of that question: what was prepared before it stands."""

    name = "none"


_OWN_TYPES_END: Final = 10_000  # PostgreSQL gives out numbers by hand below this one
_types_known: dict[frozenset[int], Any] = {}


class _Loop:
    """What a connection of asyncpg takes for its loop: asyncio's in all but the futures."""

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self.connection: Connection | None = None  # None: asyncio's too, it is being made

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def create_future(self) -> Any:
        """For the next answer."""
        return self._loop.create_future() if self.connection is None else _Answer(self.connection)


class _Answer:
    """A future as far as asyncpg uses one, for one trio task."""

    __slots__ = ("_connection", "_error", "_is_done", "_tell", "_then", "_value")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_done = False
        self._value: Any = None
        self._error: BaseException | None = None
        self._then: list[Callable[[_Answer], object]] = []
        self._tell: Callable[[], None] | None = None  # wakes the task while it waits

    def __await__(self) -> Generator[Any, Any, Any]:
        if not self._is_done:
            yield from self._connection.wait_for(self).__await__()
        if self._error is not None:
            raise self._error
        return self._value

    def done(self) -> bool:
        """Whether it is there."""
        return self._is_done

    def cancelled(self) -> bool:
        """Never: who is cancelled ends the connection."""
        return False

    def add_done_callback(self, fn: Callable[["_Answer"], object]) -> None:
        """Call *fn* when it is there."""
        self._then.append(fn)

    def set_result(self, value: Any) -> None:
        """It is this."""
        self._value = value
        self._finish()

    def set_exception(self, error: BaseException) -> None:
        """It is what *error* says."""
        self._error = error
        self._finish()

    def _finish(self) -> None:
        self._is_done = True
        for fn in self._then:
            fn(self)
        if self._tell is not None:
            self._tell()

    async def sleep(self) -> None:
        """Until it is there, which another task sees to."""
        told = trio.Event()
        self._tell = told.set
        await told.wait()

    async def is_to_be_read(self, socket: int) -> bool:
        """Until something can be read; False: it is there without, another task ended the connection."""
        self._tell = partial(trio.lowlevel.notify_closing, socket)
        try:
            await trio.lowlevel.wait_readable(socket)
        except trio.ClosedResourceError:
            if not self._is_done:
                raise
        finally:
            self._tell = None
        return not self._is_done
