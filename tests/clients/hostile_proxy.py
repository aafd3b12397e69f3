"""A TCP proxy that knows where it cuts: between a client and the server, at chosen moments of the conversation.

    async with open_proxy(lambda: server.port) as proxy:
        ...  proxy.port ...
        proxy.cut_at(Moment.AFTER_COMMIT)     the next time, once; `proxy.cuts` counts what was done
        proxy.close()                         every connection is reset, and new ones are refused
        proxy.open()
        proxy.freeze()                        nothing passes, and nobody is told, until `thaw`
        proxy.tell_times(2, "message")        the next frame of that type comes twice, once; 0: never
        await proxy.say({"type": …})          to every client, as if the server had

It reads the frames of both directions and passes them on; what is not asked for here does not happen. The offer
of extensions is taken out of the upgrade, so that frames stay readable, as proxies do.
"""

import json
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Any, Final

import trio

RESET_ON_CLOSE: Final = struct.pack("ii", 1, 0)
HEAD_BYTES_MAX: Final = 16384


class Moment(Enum):
    """Where a connection can be cut, named after what is lost."""

    UPGRADE_UNANSWERED = "the upgrade was asked for, and is not passed on"
    UPGRADE_HALF_ANSWERED = "half of the 101 is passed on"
    NO_HELLO = "the handshake is done, and hello is not passed on"
    START_UNSENT = "start is not passed on"
    NO_READY = "ready is not passed on"
    NO_LIVE = "live is not passed on: the replay is whole, and nothing says so"
    SEND_UNSENT = "a send is not passed on: it was never stored"
    SEND_HALF = "half of a send is passed on"
    BEFORE_ACK = "a send is passed on and the line is cut at once: either outcome"
    AFTER_COMMIT = "the ack is not passed on: it was surely stored"
    NO_COPY = "a message is not passed on"
    MID_FRAME = "half of a message is passed on"
    HISTORY_UNANSWERED = "a history command is not passed on"
    HISTORY_HALF = "half of an answer is passed on that is larger than 1 KB"


TO_SERVER: Final = {
    Moment.START_UNSENT: "start",
    Moment.SEND_UNSENT: "send",
    Moment.SEND_HALF: "send",
    Moment.BEFORE_ACK: "send",
    Moment.HISTORY_UNANSWERED: "history",
}
TO_CLIENT: Final = {
    Moment.NO_HELLO: "hello",
    Moment.NO_READY: "ready",
    Moment.NO_LIVE: "live",
    Moment.AFTER_COMMIT: "ack of send",
    Moment.NO_COPY: "message",
    Moment.MID_FRAME: "message",
    Moment.HISTORY_HALF: "large ack",
}
HALF: Final = (Moment.SEND_HALF, Moment.MID_FRAME, Moment.HISTORY_HALF)


class Cut(Exception):
    """The moment has come. left: what is passed on before the line is cut."""

    def __init__(self, left: bytes = b"") -> None:
        super().__init__()
        self.left = left


class HostileProxy:
    """See the top of this file. Made by `open_proxy`."""

    def __init__(self, server_port: Callable[[], int], listener: trio.SocketListener) -> None:
        self.port: int = listener.socket.getsockname()[1]
        self.cuts: Counter[Moment] = Counter()
        self._server_port = server_port
        self._planned: list[list[Any]] = []  # [moment, how often it has to come before]
        self._copies: list[list[Any]] = []  # [type, how often it has to come before, how often it is told]
        self._streams: set[trio.SocketStream] = set()
        self.lines: set[_Line] = set()
        self._has_cut = trio.Event()
        self._is_closed = False
        self._flows = trio.Event()
        self._flows.set()

    def cut_at(self, moment: Moment, *, after: int = 0) -> None:
        """Cut the connection on which this moment comes, once, when it has come *after* times before."""
        self._planned.append([moment, after])

    def tell_times(self, times: int, kind: str, *, after: int = 0) -> None:
        """Pass a frame of this type on so many times, once, when it has come *after* times before."""
        self._copies.append([kind, after, times])

    async def say(self, told: dict[str, Any]) -> None:
        """Say something to every client that has been let in, between two frames of the server."""
        for line in list(self.lines):
            with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
                await line.say(_frame(json.dumps(told).encode()))

    @property
    def plans(self) -> list[str]:
        """What was asked for and has not come."""
        return [moment.name for moment, _ in self._planned] + [kind for kind, _, _ in self._copies]

    async def wait_cut(self) -> None:
        """Wait until everything that was asked for has come."""
        while self._planned or self._copies:
            await self._has_cut.wait()

    def forget_plans(self) -> None:
        """Cut no more."""
        self._planned.clear()
        self._copies.clear()

    def close(self) -> None:
        """Reset every connection, and every new one, until `open`."""
        self._is_closed = True
        for stream in list(self._streams):
            _reset(stream)

    def open(self) -> None:
        """Let them through again."""
        self._is_closed = False

    def freeze(self) -> None:
        """Pass nothing on any more, and tell nobody."""
        self._flows = trio.Event()

    def thaw(self) -> None:
        """Let it flow again, from where it was held."""
        self._flows.set()

    async def wait_flowing(self) -> None:
        """Wait while everything is held."""
        await self._flows.wait()

    def comes(self, *moments: Moment) -> Moment | None:
        """One of these is here now: the one for which the line is to be cut, if any is."""
        for plan in self._planned:
            if plan[0] in moments:
                if plan[1] == 0:
                    self._planned.remove(plan)
                    self.cuts[plan[0]] += 1
                    self._has_cut.set()
                    self._has_cut = trio.Event()
                    return plan[0]
                plan[1] -= 1
        return None

    def times(self, payload: bytes) -> int:
        """How often a frame of the server is passed on."""
        kind = next((told.get("type") for told in _objects(payload)), None) if self._copies else None
        for plan in self._copies:
            if plan[0] == kind:
                if plan[1] == 0:
                    self._copies.remove(plan)
                    self._has_cut.set()
                    self._has_cut = trio.Event()
                    return int(plan[2])
                plan[1] -= 1
        return 1

    async def serve(self, client: trio.SocketStream) -> None:
        """One connection."""
        if self._is_closed:
            _reset(client)
            return
        try:
            server = await trio.open_tcp_stream("127.0.0.1", self._server_port())
        except OSError:  # the server is away, and so are we
            _reset(client)
            return
        self._streams.update((client, server))
        try:
            await _Line(self, client, server).run()
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self._streams.difference_update((client, server))
            _reset(client)
            _reset(server)


class _Line:
    """One client and its connection to the server."""

    def __init__(self, proxy: HostileProxy, client: trio.SocketStream, server: trio.SocketStream) -> None:
        self.proxy = proxy
        self.client = client
        self.server = server
        self.sends: set[str] = set()  # ids of sends that were passed on
        self._to_client_alone = trio.Lock()

    async def say(self, frame: bytes) -> None:
        """Pass one on to the client, between others."""
        async with self._to_client_alone:
            await self.client.send_all(frame)

    async def run(self) -> None:
        try:
            head, rest = await _head(self.client)
            await self.proxy.wait_flowing()
            if self.proxy.comes(Moment.UPGRADE_UNANSWERED):
                raise Cut
            await self.server.send_all(re.sub(rb"(?i)\r\nsec-websocket-extensions:[^\r]*", b"", head) + rest)
            answer, first = await _head(self.server)
            if self.proxy.comes(Moment.UPGRADE_HALF_ANSWERED):
                raise Cut(answer[: len(answer) // 2])
        except Cut as cut:
            await _end_with(self.client, cut.left)
            return
        await self.client.send_all(answer)
        if not answer.startswith(b"HTTP/1.1 101"):  # no frames follow
            await self._refused(first)
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._pump, self.client, self.server, b"", self._to_server, nursery)
            nursery.start_soon(self._pump, self.server, self.client, first, self._to_client, nursery)
            nursery.start_soon(self._stand_by)

    async def _stand_by(self) -> None:
        """Be there for what is said to all, while this lasts."""
        self.proxy.lines.add(self)
        try:
            await trio.sleep_forever()
        finally:
            self.proxy.lines.discard(self)

    async def _refused(self, body: bytes) -> None:
        """Pass on what follows the head, to its end; what the client has to say to that is not of interest."""
        await self.client.send_all(body)
        while more := await self.server.receive_some(65536):
            await self.client.send_all(more)
        await self.client.send_eof()

    async def _pump(
        self,
        source: trio.SocketStream,
        sink: trio.SocketStream,
        buffer: bytes,
        look: Callable[[bytes, bytes], bool],
        nursery: trio.Nursery,
    ) -> None:
        """Pass frames on, one by one. *look* raises Cut; when it is True the line is cut behind the frame."""
        try:
            while True:
                while (size := _frame_size(buffer)) and len(buffer) >= size:
                    frame, buffer = buffer[:size], buffer[size:]
                    payload = _payload(frame)
                    is_last = look(frame, payload)
                    if sink is self.client:
                        await self.say(frame * self.proxy.times(payload))
                    else:
                        await sink.send_all(frame)
                    if is_last:
                        raise Cut
                data = await source.receive_some(65536)
                await self.proxy.wait_flowing()
                if not data:
                    await sink.send_eof()
                    return
                buffer += data
        except Cut as cut:
            await _end_with(sink, cut.left)
        except (OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel(reason="the line is cut")

    def _to_server(self, frame: bytes, payload: bytes) -> bool:
        for command in _objects(payload):
            kind = command.get("type")
            if kind == "send":
                self.sends.add(command.get("id", ""))
            moment = self.proxy.comes(*(moment for moment, its in TO_SERVER.items() if its == kind))
            if moment is Moment.BEFORE_ACK:
                return True
            if moment is not None:
                raise Cut(frame[: len(frame) // 2] if moment in HALF else b"")
        return False

    def _to_client(self, frame: bytes, payload: bytes) -> bool:
        for told in _objects(payload):
            kind = told.get("type")
            if kind == "ack":
                kind = "ack of send" if told["id"] in self.sends else "large ack" if len(payload) > 1024 else "ack"
            moment = self.proxy.comes(*(moment for moment, its in TO_CLIENT.items() if its == kind))
            if moment is not None:
                raise Cut(frame[: len(frame) // 2] if moment in HALF else b"")
        return False


@asynccontextmanager
async def open_proxy(server_port: Callable[[], int]) -> AsyncIterator[HostileProxy]:
    """A proxy on a free port of 127.0.0.1, to whatever port *server_port* names at the time."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    proxy = HostileProxy(server_port, listener)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, proxy.serve, [listener])
        yield proxy
        proxy.close()
        nursery.cancel_scope.cancel(reason="the proxy is not needed any more")


async def _head(stream: trio.SocketStream) -> tuple[bytes, bytes]:
    """(the head of a request or an answer, what was read beyond it)."""
    data = b""
    while b"\r\n\r\n" not in data:
        assert len(data) < HEAD_BYTES_MAX, "a head that does not end"
        more = await stream.receive_some(4096)
        if not more:
            raise trio.BrokenResourceError
        data += more
    head, rest = data.split(b"\r\n\r\n", 1)
    return head + b"\r\n\r\n", rest


def _frame_size(buffer: bytes) -> int:
    """Of the frame that begins here: RFC 6455 section 5.2. 0: not enough is here to know it."""
    if len(buffer) < 2:
        return 0
    length, at = buffer[1] & 0x7F, 2
    if length > 125:
        at += 2 if length == 126 else 8
        if len(buffer) < at:
            return 0
        length = int.from_bytes(buffer[2:at], "big")
    return at + (4 if buffer[1] & 0x80 else 0) + length


def _frame(payload: bytes) -> bytes:
    """A text as the server would send it. payload: of less than 64 KiB."""
    length = len(payload)
    head = bytes([length]) if length <= 125 else b"\x7e" + length.to_bytes(2, "big")
    return b"\x81" + head + payload


def _payload(frame: bytes) -> bytes:
    """Unmasked. Empty for what is not a whole text."""
    if frame[0] != 0x81:
        return b""
    length = frame[1] & 0x7F
    at = 2 + (0 if length <= 125 else 2 if length == 126 else 8)
    if not frame[1] & 0x80:
        return frame[at:]
    mask, masked = frame[at : at + 4], frame[at + 4 :]
    key = (mask * (len(masked) // 4 + 1))[: len(masked)]
    return (int.from_bytes(masked, "big") ^ int.from_bytes(key, "big")).to_bytes(len(masked), "big")


def _objects(payload: bytes) -> list[dict[str, Any]]:
    if not payload:
        return []
    value = json.loads(payload)
    return value if isinstance(value, list) else [value]


async def _end_with(stream: trio.SocketStream, left: bytes) -> None:
    """Pass on what is left, and go in the middle of it. The end comes behind the bytes: a reset would overtake them."""
    if left:
        await stream.send_all(left)
        await stream.send_eof()
        await trio.sleep(0.02)


def _reset(stream: trio.SocketStream) -> None:
    """Close with RST: the peer learns of it at once."""
    try:
        stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    except OSError:
        return  # it is closed already
    stream.socket.close()
