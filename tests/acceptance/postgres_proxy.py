"""The road to PostgreSQL, with holes: a proxy on a UNIX socket that can lose answers, lose questions, and be cut.

A commit whose answer is lost is stored and nobody knows; one whose question is lost is not stored and nobody knows.
Both look alike from greenroom's side, which is the point.
"""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import trio


class PostgresProxy:
    """Made by `open_proxy`. folder: give it to a client as its host."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder = folder
        self._target = target
        self._links: set[tuple[Any, Any]] = set()
        self._loses: str | None = None
        self._marker = b""
        self.lost = trio.Event()
        self.is_open = True
        self._passes = trio.Event()
        self._passes.set()

    def hold(self) -> None:
        """Let nothing through, and end nothing: a server that hangs. Until `release`."""
        self._passes = trio.Event()

    def release(self) -> None:
        """Let it through, with what was held."""
        self._passes.set()

    def lose_answer_to(self, marker: bytes) -> None:
        """Of the next question that contains *marker*: the server does it, its answer is lost and the link with it."""
        self._loses, self._marker, self.lost = "answer", marker, trio.Event()

    def lose_question(self, marker: bytes) -> None:
        """The next question that contains *marker* never arrives, and the link ends."""
        self._loses, self._marker, self.lost = "question", marker, trio.Event()

    def lose_nothing(self) -> None:
        """What was to be lost passes."""
        self._loses = None

    @property
    def is_losing(self) -> bool:
        """What is to be lost has not come yet."""
        return self._loses is not None

    async def cut_all(self) -> None:
        """End all links; new ones are refused until `open_again`."""
        self.is_open = False
        for link in list(self._links):
            for stream in link:
                await trio.aclose_forcefully(stream)

    def open_again(self) -> None:
        """Take new links."""
        self.is_open = True

    async def serve(self, client: trio.SocketStream) -> None:
        """One link."""
        if not self.is_open:
            await trio.aclose_forcefully(client)
            return
        server = await trio.open_unix_socket(f"{self._target}/.s.PGSQL.5432")
        link = (client, server)
        self._links.add(link)
        swallows = trio.Event()
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._up, client, server, swallows, nursery.cancel_scope)
                nursery.start_soon(self._down, client, server, swallows, nursery.cancel_scope)
        finally:
            self._links.discard(link)
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(client)
                await trio.aclose_forcefully(server)

    async def _up(self, client: Any, server: Any, swallows: trio.Event, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await client.receive_some():
                if self._loses is not None and self._marker in data:
                    how, self._loses = self._loses, None
                    if how == "question":
                        self.lost.set()
                        break
                    swallows.set()
                await self._passes.wait()
                await server.send_all(data)
        scope.cancel()

    async def _down(self, client: Any, server: Any, swallows: trio.Event, scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await server.receive_some():
                if swallows.is_set():
                    if data[-6:-1] == b"Z\0\0\0\5":  # ReadyForQuery: whatever it was is done
                        self.lost.set()
                        break
                    continue
                await client.send_all(data)
        scope.cancel()


@asynccontextmanager
async def open_proxy(target: str) -> AsyncIterator[PostgresProxy]:
    """A proxy before the server whose socket is in the folder *target*."""
    folder = Path(tempfile.mkdtemp(prefix="greenroom-proxy-"))
    try:
        with trio.socket.socket(trio.socket.AF_UNIX) as listener:
            await listener.bind(os.fspath(folder / ".s.PGSQL.5432"))
            listener.listen(64)
            proxy = PostgresProxy(folder, target)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.serve_listeners, proxy.serve, [trio.SocketListener(listener)])
                yield proxy
                nursery.cancel_scope.cancel(reason="the proxy is over")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
