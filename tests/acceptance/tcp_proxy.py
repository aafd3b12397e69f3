"""A line that can be cut: a TCP proxy between a browser and the server, in a thread of its own.

    with TcpProxy(server.port) as proxy:
        ...  proxy.port ...
        proxy.cut()         every connection is reset, and new ones are refused
        proxy.freeze()      nothing passes any more and nobody is told, as on a train in a tunnel
        proxy.heal()        new connections pass; what was frozen goes on, nothing of it lost

A browser's own offline switch does not do: it leaves an open WebSocket alone.
"""

import socket
import struct
import threading
from types import TracebackType

import trio

RESET_ON_CLOSE = struct.pack("ii", 1, 0)
THREAD_SECONDS_MAX = 10.0


class TcpProxy:
    """Forwards 127.0.0.1:port to 127.0.0.1:target_port; target_port may be changed."""

    def __init__(self, target_port: int) -> None:
        self.target_port = target_port
        self.accepted = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=lambda: trio.run(self._run), name="tcp proxy", daemon=True)
        self._is_up = threading.Event()
        self._streams: set[trio.SocketStream] = set()
        self._is_cut = False

    # -- from the test's thread -----------------------------------------------------------------------------------

    def cut(self) -> None:
        """Reset every connection, now and until healed."""
        self._tell(self._cut)

    def freeze(self) -> None:
        """Hold back every byte in both directions. New connections are taken and held as well."""
        self._tell(self._freeze)

    def heal(self) -> None:
        """Let everything pass again."""
        self._tell(self._heal)

    @property
    def connections(self) -> int:
        """Connections that pass through here now."""
        return len(self._streams) // 2

    def __enter__(self) -> "TcpProxy":
        self._thread.start()
        assert self._is_up.wait(THREAD_SECONDS_MAX), "the proxy did not start"
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._tell(self._scope.cancel)
        self._thread.join(THREAD_SECONDS_MAX)
        self._listener.close()

    def _tell(self, act: object) -> None:
        trio.from_thread.run_sync(act, trio_token=self._token)  # type: ignore[arg-type]

    # -- in the proxy's thread --------------------------------------------------------------------------------------

    async def _run(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._flows = trio.Event()
        self._flows.set()
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(self._listener))
        with trio.CancelScope() as self._scope:
            self._is_up.set()
            await trio.serve_listeners(self._serve, [listener])

    def _cut(self) -> None:
        self._is_cut = True
        for stream in list(self._streams):
            _reset(stream)

    def _freeze(self) -> None:
        self._flows = trio.Event()

    def _heal(self) -> None:
        self._is_cut = False
        self._flows.set()

    async def _serve(self, client: trio.SocketStream) -> None:
        self.accepted += 1
        if self._is_cut:
            _reset(client)
            return
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self.target_port)
        except OSError:  # the server is away, and so are we
            _reset(client)
            return
        pair = (client, server)
        self._streams.update(pair)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._pump, client, server)
                nursery.start_soon(self._pump, server, client)
        finally:
            self._streams.difference_update(pair)
            for stream in pair:
                stream.socket.close()

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        try:
            while data := await source.receive_some(65536):
                await self._flows.wait()
                await sink.send_all(data)
            await self._flows.wait()
            await sink.send_eof()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            for stream in (source, sink):
                _reset(stream)


def _reset(stream: trio.SocketStream) -> None:
    """Close with RST: the peer learns of it at once, and whatever was on its way is gone."""
    try:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    except OSError:
        return  # it is closed already
    stream.socket.close()
