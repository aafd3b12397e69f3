"""Turns: what is done for a connection one after the other, in the order in which it was asked.

    put ──▶ the line ──▶ one task, which lives as long as there is something to do

What waits in it is a few hundred bytes, so nothing is found out before its turn. As a task of its own it would be five
thousand, and those that read storage would hold their pages meanwhile: 330 clients with 224 `history` each took 550 MB,
in pieces that the allocator of Python cannot give back.

A fault in one ends the session: its answer will never come, and who waits for it would not ask again.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.http.ws.connection import Connection

Job = tuple[Callable[..., Awaitable[None]], tuple[object, ...]]


class Turns:
    """Of one connection. Also what was asked before it ended is done: whoever must not looks."""

    __slots__ = ("_connection", "_jobs")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self._jobs: deque[Job] | None = None

    def put(self, do: Callable[..., Awaitable[None]], *args: object) -> None:
        """Have *do* called after whatever was put here before it."""
        if self._jobs is not None:
            self._jobs.append((do, args))
        else:
            self._jobs = deque([(do, args)])
            self._connection.engine.spawn(self._run, of=self._connection)

    async def _run(self) -> None:
        jobs = self._jobs
        assert jobs is not None
        try:
            while jobs:
                do, args = jobs.popleft()
                await do(*args)
        except Exception:
            self._jobs = None
            for do, args in jobs:  # a fault ended one: not the others
                self.put(do, *args)
            raise
        self._jobs = None
