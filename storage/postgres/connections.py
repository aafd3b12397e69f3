"""The connections of the pool: lent to one caller at a time, the one that came back last first."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, Protocol, TypeVar

import asyncpg
import trio


class Lent(Protocol):
    """What is lent: `connection.Connection`."""

    def is_there(self) -> bool:
        """Whether it may be used."""

    def terminate(self) -> None:
        """End it."""


C = TypeVar("C", bound=Lent)


class _Turn(Generic[C]):
    """Somebody who waits. connection: theirs once *came* is set; None: there is room for another."""

    __slots__ = ("came", "connection")

    def __init__(self) -> None:
        self.came = trio.Event()
        self.connection: C | None = None


class Connections(Generic[C]):
    """At most *connections_max* of them, made by *connect* when they are wanted."""

    def __init__(self, connect: Callable[[], Awaitable[C]], connections_max: int) -> None:
        self._connect = connect
        self.connections_max = connections_max
        self._idle: list[C] = []
        self._lent: set[C] = set()
        self._connecting = 0
        self._waiting: deque[_Turn[C]] = deque()
        self._is_closing = False
        self._all_back = trio.Event()  # set while it closes

    @property
    def size(self) -> int:
        """How many there are, those that are being made included."""
        return len(self._idle) + len(self._lent) + self._connecting

    @property
    def idle(self) -> int:
        """How many are not lent."""
        return len(self._idle)

    async def acquire(self) -> C:
        """One that no one else has until `release`. Raises: what *connect* raises; InterfaceError after `close`."""
        while True:
            if self._is_closing:
                raise asyncpg.InterfaceError("the pool is closed")
            while self._idle:
                connection = self._idle.pop()
                if connection.is_there():
                    self._lent.add(connection)
                    return connection
            if self.size < self.connections_max:
                return await self._make()
            given = await self._turn()
            if given is not None:
                return given

    async def _turn(self) -> C | None:
        """A connection that was given back, to the one who has waited longest; None: there is room for another."""
        turn = _Turn[C]()
        self._waiting.append(turn)
        try:
            await turn.came.wait()
        except BaseException:
            if turn.came.is_set():  # it was this one's turn: it is the next one's
                self._pass_on(turn.connection)
            else:
                self._waiting.remove(turn)
            raise
        return turn.connection

    async def _make(self) -> C:
        self._connecting += 1
        try:
            connection = await self._connect()
        except BaseException:
            self._connecting -= 1
            self._pass_on(None)
            raise
        self._connecting -= 1
        self._lent.add(connection)
        return connection

    def release(self, connection: C) -> None:
        """It is not used any more. One that is over makes room for another."""
        self._pass_on(connection)

    def _pass_on(self, connection: C | None) -> None:
        if connection is not None and not connection.is_there():
            self._lent.discard(connection)
            connection = None
        if self._waiting:
            turn = self._waiting.popleft()
            turn.connection = connection
            turn.came.set()
            return
        if connection is not None:
            self._lent.discard(connection)
            if self._is_closing:
                connection.terminate()
            else:
                self._idle.append(connection)
        if self._is_closing and not self._lent and not self._connecting:
            self._all_back.set()

    async def close(self) -> None:
        """Wait until all are given back, and end them. Cancelled: `terminate` ends what is left."""
        self._is_closing = True
        for _ in range(len(self._waiting) + 1):  # whoever waits hears that it closes
            self._pass_on(None)
        await self._all_back.wait()
        self.terminate()

    def terminate(self) -> None:
        """End all of them, whoever has them."""
        for connection in (*self._idle, *self._lent):
            connection.terminate()
        self._idle.clear()
