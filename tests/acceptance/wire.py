"""The other end of the wire: clients over raw sockets that record everything and can misbehave on purpose.

A `server` is a ServerProcess, or the `live_house` of tests/house_fixture.py: what has a port and makes tokens. What
has a `tls` too, the context of a client, is spoken to over TLS (secure.py). `Socket` offers compression if asked.
`Socket` is one WebSocket: it keeps every event it was sent and how it ended, can stop reading, half-close, and cut
(RST). `Member` is what a good v1 client is: it comes back with `resume`, keeps a log per room, and sends a message
again under the same client id until it is acknowledged. `check_rooms` lays the logs beside PostgreSQL.

Waiting has one way: `wait_until(missing, seconds)`, where `missing()` returns nothing when all is well and otherwise
what is still missing, which is what a failure then reports.
"""

import base64
import errno
import json
import os
import random
import socket
import struct
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from itertools import islice
from typing import Any, TypeAlias

import trio
from frames_seen import FramesSeen  # type: ignore[import-not-found]
from secure import secured  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]

V1 = "greenroom.v1"
OFFER = "permessage-deflate; client_max_window_bits"
DEFLATE_TAIL = b"\x00\x00\xff\xff"
AnySocket: TypeAlias = Any  # a socket, or a SecureSocket
CONNECT_SECONDS_MAX = 30.0
EVENTS_KEPT = 200_000
POLL_SECONDS = 0.005


async def wait_until(missing: Callable[[], object], seconds: float = 10.0, *, every: float = POLL_SECONDS) -> None:
    """Wait until *missing* returns nothing. Raises AssertionError with what it returned last.

    every: seconds between two looks, where a look is work for the server or for the machine.
    Beware of `condition and value`: a value that is empty says that nothing is missing.
    """
    deadline = trio.current_time() + seconds
    while left := missing():
        assert trio.current_time() < deadline, f"after {seconds:g} s still missing: {str(left)[:3000]}"
        await trio.sleep(every)


class Refused(Exception):
    """The upgrade was answered with something else than 101."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(f"{status} {body[:300]!r}")
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)


class Gone(Exception):
    """The connection is over."""


# -- bytes ------------------------------------------------------------------------------------------------------------


def frame(payload: bytes | str, opcode: int = 1, *, final: bool = True, masked: bool = True) -> bytes:
    """A frame from client to server. The mask is zero, which is as good a random number as any."""
    data = payload.encode() if isinstance(payload, str) else payload
    head = bytes([(0x80 if final else 0) | opcode])
    mask = 0x80 if masked else 0
    if len(data) < 126:
        head += bytes([mask | len(data)])
    elif len(data) < 65536:
        head += bytes([mask | 126]) + struct.pack("!H", len(data))
    else:
        head += bytes([mask | 127]) + struct.pack("!Q", len(data))
    return head + (b"\0\0\0\0" if masked else b"") + data


def upgrade_request(path: str = "/ws", headers: Iterable[tuple[str, str]] = (), port: int = 0) -> bytes:
    """The bytes of an upgrade request."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}",
        "Sec-WebSocket-Version: 13",
        *(f"{name}: {value}" for name, value in headers),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


async def connect_tcp(
    port: int, *, receive_buffer: int | None = None, nodelay: bool = True, source: str | None = None
) -> socket.socket:
    """A connected non-blocking socket. source: our own address; on Linux all of 127.0.0.0/8 are. Raises OSError."""
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    if nodelay:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        if source is not None:
            sock.bind((source, 0))
        code = sock.connect_ex(("127.0.0.1", port))
        if code == errno.EINPROGRESS:
            await trio.lowlevel.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock


async def connect(server: Any, *, receive_buffer: int | None = None, source: str | None = None) -> AnySocket:
    """Connected to *server* as it wants to be spoken to. Raises OSError."""
    sock = await connect_tcp(server.port, receive_buffer=receive_buffer, source=source)
    context = getattr(server, "tls", None)
    return sock if context is None else await secured(sock, context)


async def send_all(sock: AnySocket, data: bytes) -> None:
    """All of it. Raises OSError."""
    view = memoryview(data)
    while view:
        try:
            view = view[sock.send(view) :]
        except BlockingIOError:
            try:
                await trio.lowlevel.wait_writable(sock)
            except trio.ClosedResourceError as error:
                raise OSError("the connection ended") from error


async def receive_some(sock: AnySocket, size: int = 65536) -> bytes:
    """What is there, at least one byte, or nothing at the end. Raises OSError."""
    while True:
        try:
            return sock.recv(size)
        except BlockingIOError:
            await trio.lowlevel.wait_readable(sock)


def cut(sock: AnySocket) -> None:
    """End with a reset."""
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


# -- HTTP -------------------------------------------------------------------------------------------------------------


class Answer:
    """An HTTP answer."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    def json(self) -> Any:
        """The body."""
        return json.loads(self.body)

    def __repr__(self) -> str:
        return f"<{self.status} {self.body[:400]!r}>"


async def http(
    server: ServerProcess,
    method: str,
    path: str,
    body: object = None,
    *,
    user: int | None = None,
    headers: dict[str, str] | None = None,
    seconds: float = 20.0,
) -> Answer:
    """Ask over HTTP, on a connection of its own. body: JSON, or bytes as they are."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    given = {"Host": f"127.0.0.1:{server.port}", "Connection": "close", "Content-Length": str(len(data))}
    if body is not None:
        given["Content-Type"] = "application/json"
    if user is not None:
        given["Authorization"] = f"Bearer {server.token(user)}"
    given |= headers or {}
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items())
    with trio.fail_after(seconds):
        sock = await connect(server)
        return await _exchange(sock, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + data)


async def streams_of(server: ServerProcess, users: list[int]) -> dict[int, list[tuple[int, str, int | None, Any]]]:
    """What is stored in the stream of each of *users*: useq, kind, room, data; when no note waits to be folded in."""
    stored = {}
    for user in users:
        deadline = trio.current_time() + 10
        while notes := await server.query("select * from user_notes where user_id = $1", user):
            assert trio.current_time() < deadline, notes
            await trio.sleep(0.1)
        rows = await server.query(
            "select useq, kind, conversation_id, data from user_events where user_id = $1 order by useq", user
        )
        stored[user] = [(row["useq"], row["kind"], row["conversation_id"], json.loads(row["data"])) for row in rows]
    return stored


async def raw_http(port: int, request: bytes) -> Answer:
    """Send these bytes, read to the end."""
    return await _exchange(await connect_tcp(port), request)


async def _exchange(sock: AnySocket, request: bytes) -> Answer:
    try:
        received = b""
        with suppress(ConnectionResetError, BrokenPipeError):  # refused before it was read to the end
            await send_all(sock, request)
        with suppress(ConnectionResetError):
            while part := await receive_some(sock):
                received += part
    finally:
        sock.close()
    return answer_of(received)


async def head_of_answer(sock: socket.socket, status: int) -> bytes:
    """The head of an answer whose body has no end, and what came with it. Raises Gone, Refused when it is another."""
    received = b""
    while b"\r\n\r\n" not in received:
        part = await receive_some(sock)
        if not part:
            raise Gone(f"closed before the answer: {received!r}")
        received += part
    if not received.startswith(b"HTTP/1.1 %d " % status):
        with suppress(OSError):
            while part := await receive_some(sock):
                received += part
        answer = answer_of(received)
        raise Refused(answer.status, answer.headers, answer.body)
    return received


def answer_of(received: bytes) -> Answer:
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    if not lines[0].startswith("HTTP/1.1 "):
        raise Gone(f"no answer: {received[:100]!r}")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    if headers.get("transfer-encoding") == "chunked":
        body = _unchunked(body)
    elif len(body) < int(headers.get("content-length", 0)) and lines[0][9:12] not in ("204", "304"):
        raise Gone(f"cut in the answer: {received[:100]!r}")
    return Answer(int(lines[0].split()[1]), headers, body)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            break
        whole, body = whole + rest[:length], rest[length + 2 :]
    return whole


# -- one WebSocket ----------------------------------------------------------------------------------------------------


class Socket:
    """One WebSocket, as far as the client sees it. Made by `Socket.open`; a task of the nursery reads it.

    events: every JSON object received, in order. close_code: 1006 when the connection ended without a close frame.
    """

    def __init__(self, sock: AnySocket, protocol: str | None = V1) -> None:
        self.sock = sock
        self.seen = FramesSeen("v1" if protocol == V1 else "compat")
        self.is_deflating = False
        self.deflated = 0  # messages that came compressed
        self.events: list[dict[str, Any]] = []
        self.binary = 0
        self.bytes_received = 0
        self.close_code: int | None = None
        self.close_reason = ""
        self.head = b""  # of the answer to the upgrade
        self.was_reset = False
        self.answers_close = True
        self.answers_ping = True
        self.on_event: Callable[[dict[str, Any]], None] | None = None
        self.replies: dict[str, dict[str, Any]] = {}
        self._buffer = bytearray()
        self._serial = 0
        self._is_reading = trio.Event()
        self._is_reading.set()
        self._sending = trio.Lock()
        self.is_over = trio.Event()

    @classmethod
    async def open(
        cls,
        nursery: trio.Nursery,
        server: ServerProcess,
        user: int | None = None,
        *,
        protocol: str | None = V1,
        path: str = "/ws",
        headers: Iterable[tuple[str, str]] = (),
        early: bytes = b"",
        receive_buffer: int | None = None,
        token: str | None = None,
        source: str | None = None,
        deflate: bool = False,
    ) -> "Socket":
        """Connect and upgrade. early: sent in the same segment as the request. Raises Refused, OSError, Gone."""
        given = [*headers, *([("Sec-WebSocket-Extensions", OFFER)] if deflate else [])]
        if user is not None or token is not None:
            given.append(("Authorization", f"Bearer {token or server.token(user)}"))
        if protocol is not None:
            given.append(("Sec-WebSocket-Protocol", protocol))
        with trio.fail_after(CONNECT_SECONDS_MAX):
            sock = await connect(server, receive_buffer=receive_buffer, source=source)
            try:
                await send_all(sock, upgrade_request(path, given, server.port) + early)
                head = await head_of_answer(sock, 101)
            except BaseException:
                sock.close()
                raise
        self = cls(sock, protocol)
        self.head, _, rest = head.partition(b"\r\n\r\n")
        self._buffer += rest
        self.is_deflating = b"permessage-deflate" in self.head
        nursery.start_soon(self._read)
        return self

    # -- sending --

    async def send_bytes(self, data: bytes) -> None:
        """As they are. Raises Gone."""
        try:
            async with self._sending:
                await send_all(self.sock, data)
        except OSError as error:
            raise Gone(str(error)) from error

    async def send(self, value: object) -> None:
        """One JSON text frame."""
        self.seen.sent(value)
        await self.send_bytes(frame(json.dumps(value, ensure_ascii=False, separators=(",", ":"))))

    async def ask(self, kind: str, /, room: int | None = None, seconds: float = 10.0, **data: Any) -> dict[str, Any]:
        """A v1 command; its reply, whatever it is."""
        command_id = await self.command(kind, room, **data)
        await wait_until(
            lambda: (
                None
                if command_id in self.replies
                else f"reply to {kind} {data} (close code {self.close_code}; last {self.events[-3:]})"
            ),
            seconds,
        )
        return self.replies[command_id]

    async def command(self, kind: str, /, room: int | None = None, **data: Any) -> str:
        """A v1 command; its id."""
        self._serial += 1
        command_id = f"c{self._serial}"
        value: dict[str, Any] = {"type": kind, "id": command_id, "data": data}
        if room is not None:
            value["room"] = room
        await self.send(value)
        return command_id

    async def start(self, *rooms: int, seconds: float = 10.0, **data: Any) -> dict[str, Any]:
        """`start` a v1 session in these rooms, and wait until they are live; the `ready`."""
        if rooms:
            data["rooms"] = [{"r": room} for room in rooms]
        ready = await self.ask("start", seconds=seconds, **data)
        assert ready["type"] == "ready", ready
        await self.expect("live", seconds=seconds)
        return ready

    async def close(self, code: int = 1000) -> None:
        """Close in order and wait for the end."""
        self.answers_close = False
        with suppress(Gone):
            await self.send_bytes(frame(struct.pack("!H", code), 8))
        with trio.move_on_after(10):
            await self.is_over.wait()

    def half_close(self) -> None:
        """Say that nothing more comes, without a close frame."""
        self.sock.shutdown(socket.SHUT_WR)

    def cut(self) -> None:
        """End with a reset, now."""
        if self.close_code is None:
            self.close_code = 1006
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            cut(self.sock)

    # -- reading --

    def stop_reading(self) -> None:
        """From now on the kernel's buffer fills."""
        self._is_reading = trio.Event()

    def read_again(self) -> None:
        """Take what is there."""
        self._is_reading.set()

    def of(self, *kinds: str) -> list[dict[str, Any]]:
        """Events of these types."""
        return [event for event in self.events if event.get("type") in kinds]

    def position(self, event: dict[str, Any]) -> int:
        """Where this very event stands in `events`; others may equal it."""
        return next(at for at, one in enumerate(self.events) if one is event)

    async def expect(self, kind: str, seconds: float = 10.0, after: int = 0, **fields: Any) -> dict[str, Any]:
        """Wait for an event of this type with these fields (of it or of its data), not before position *after*."""

        found: list[dict[str, Any]] = []
        looked_at = after

        def missing() -> str | None:
            """Each event is looked at once: there may be thousands, and this is asked for each of them."""
            nonlocal looked_at
            for event in islice(self.events, looked_at, None):
                looked_at += 1
                if event.get("type") == kind and (not fields or _has(event, fields)):
                    found.append(event)
                    return None
            return f"{kind} {fields}; closed with {self.close_code}; last events {self.events[-5:]}"

        await wait_until(missing, seconds)
        return found[0]

    async def settle(self) -> int:
        """Everything that was said before is answered (v1 and compat answer a ping in order); the count of events."""
        before = len(self.of("pong"))
        await self.send({"type": "ping", "id": f"settle-{len(self.events)}"})
        await wait_until(
            lambda: None if len(self.of("pong")) > before or self.close_code is not None else "the pong", 10
        )
        return len(self.events)

    async def wait_closed(self, seconds: float = 10.0) -> int:
        """Wait for the end; the close code."""
        await wait_until(lambda: None if self.close_code is not None else f"the end; last {self.events[-3:]}", seconds)
        assert self.close_code is not None
        return self.close_code

    async def _read(self) -> None:
        try:
            self._take()
            while self.sock.fileno() >= 0:
                await trio.lowlevel.wait_readable(self.sock)
                await self._is_reading.wait()
                try:
                    data = self.sock.recv(262144)
                except BlockingIOError:
                    continue
                if not data:
                    break
                self.bytes_received += len(data)
                self._buffer += data
                self._take()
        except (OSError, trio.ClosedResourceError) as error:
            self.was_reset = isinstance(error, ConnectionResetError)
        finally:
            if self.close_code is None:
                self.close_code = 1006
            if self.sock.fileno() >= 0:
                trio.lowlevel.notify_closing(self.sock)  # somebody may wait to send
            self.sock.close()
            self.is_over.set()

    def _take(self) -> None:
        buffer, at = self._buffer, 0
        while len(buffer) - at >= 2:
            size, start = buffer[at + 1] & 0x7F, at + 2
            assert not buffer[at + 1] & 0x80, "the server masked a frame"
            if size == 126:
                if len(buffer) < at + 4:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 4]), at + 4
            elif size == 127:
                if len(buffer) < at + 10:
                    break
                size, start = int.from_bytes(buffer[at + 2 : at + 10]), at + 10
            if len(buffer) < start + size:
                break
            self._frame(buffer[at], bytes(buffer[start : start + size]))
            at = start + size
        del buffer[:at]

    def _frame(self, head: int, payload: bytes) -> None:
        assert head & 0x80, "the server sent a fragment"
        opcode = head & 0x0F
        if head & 0x40:
            assert self.is_deflating, "RSV1 without an agreement"
            payload = zlib.decompressobj(-12).decompress(payload + DEFLATE_TAIL)
            self.deflated += 1
        if opcode == 1:
            event = json.loads(payload)
            self.seen.received(event)
            if event.get("type") == "ping":
                self._answer_ping()
            if len(self.events) < EVENTS_KEPT:
                self.events.append(event)
            if isinstance(event.get("id"), str) and event["type"] in ("ack", "error", "ready", "pong"):
                self.replies[event["id"]] = event
            if self.on_event is not None:
                self.on_event(event)
        elif opcode == 8:
            self.close_code = int.from_bytes(payload[:2]) if len(payload) >= 2 else 1005
            self.close_reason = payload[2:].decode()
            if self.answers_close:
                with suppress(OSError):
                    self.sock.send(frame(payload[:2], 8))
        elif opcode == 10:
            self.events.append({"type": "(pong frame)", "data": payload})
        else:
            raise AssertionError(f"the server sent opcode {opcode}")

    def _answer_ping(self) -> None:
        if not self.answers_ping:
            return
        with suppress(OSError):
            self.sock.send(frame('{"type":"pong"}'))


def _has(event: dict[str, Any], fields: dict[str, Any]) -> bool:
    data = event.get("data")
    for name, value in fields.items():
        given = data.get(name) if name not in event and isinstance(data, dict) else event.get(name)
        if given != value:
            return False
    return True


async def open_in(
    nursery: trio.Nursery, server: Any, user: int, room: int, protocol: str | None = V1, **options: Any
) -> Socket:
    """A socket that looks at a room: ready there, or a page that has joined it. options: of `Socket.open`."""
    sock = await Socket.open(nursery, server, user, protocol=protocol, **options)
    if protocol is None:
        await sock.expect("connected")
        await sock.send({"type": "join_conversation", "conversationId": room})
        await sock.expect("conversation_joined")
    else:
        await sock.start(room)
    return sock


@asynccontextmanager
async def open_sockets() -> AsyncIterator[trio.Nursery]:
    """A nursery for the readers of sockets; all are cut at the end. An error of the block leaves it as it is.

    A task of it that talks may be about to when its socket is cut: that it is gone then is no news.
    """
    failure: Exception | None = None
    is_over = False  # and not because one of its tasks has failed
    try:
        async with trio.open_nursery() as nursery:
            try:
                yield nursery
            except Exception as error:
                failure = error
            is_over = not nursery.cancel_scope.cancel_called
            nursery.cancel_scope.cancel(reason="the block is over")
    except* Gone:
        if not is_over:
            raise
    if failure is not None:
        raise failure


# -- a good client ----------------------------------------------------------------------------------------------------


class RoomLog:
    """What one member has of one room. holes: (seq had, seq given) whenever something in between was left out.

    gap_to: the server does not replay up to there; what comes after it waits until `history` has filled it.
    """

    def __init__(self) -> None:
        self.gap_to = 0
        self._ahead: list[dict[str, Any]] = []
        self.messages: list[tuple[int, int, int, str]] = []  # seq, id, sender, content
        self.holes: list[tuple[int, int]] = []
        self.repeats = 0
        self.own: dict[str, int] = {}  # client id of an echo → seq

    @property
    def top(self) -> int:
        """The last seq."""
        return self.messages[-1][0] if self.messages else 0

    def add(self, event: dict[str, Any]) -> None:
        """A `message` event."""
        seq, data = event["seq"], event["data"]
        if self.gap_to and seq > self.gap_to:
            self._ahead.append(event)
            return
        if seq <= self.top:
            self.repeats += 1
            return
        if seq > self.top + 1:
            self.holes.append((self.top, seq))
        self.messages.append((seq, data["id"], data["sender"], data["body"]))
        if "clientId" in data:
            self.own[data["clientId"]] = seq

    def fill(self, messages: list[dict[str, Any]]) -> None:
        """Messages of `history`, oldest first."""
        for message in messages:
            self.add({"seq": message["seq"], "data": message})
        if self.top >= self.gap_to:
            ahead = self._ahead
            self.forget_gap()
            for event in ahead:
                self.add(event)

    def forget_gap(self) -> None:
        """It is filled, or a new session asks anew from `top` on."""
        self.gap_to, self._ahead = 0, []


class Member:
    """A v1 client that does not give up: resumes with its log, and sends again until it is acknowledged.

    Run `run` in a nursery. `say` queues a message; at most *window* wait for their ack at once.
    """

    def __init__(self, server: ServerProcess, user: int, rooms: list[int], *, window: int = 8, seed: int = 0) -> None:
        self.server = server
        self.user = user
        self.logs = {room: RoomLog() for room in rooms}
        self.acked: dict[tuple[int, str], tuple[int, int]] = {}  # (room, client id) → (message id, seq)
        self.contents: dict[tuple[int, str], str] = {}
        self.errors: Counter[str] = Counter()
        self.closes: Counter[int] = Counter()
        self.connects = self.refusals = self.gaps = 0
        self.resumed = 0
        self.is_live = False
        self.socket: Socket | None = None
        self.faults: list[str] = []
        self._waiting: dict[tuple[int, str], str] = {}
        self._sent: set[tuple[int, str]] = set()
        self._gaps: set[int] = set()  # rooms of which the next page of `history` is to be asked for
        self._again_at = 0.0
        self._window = window
        self._random = random.Random(seed * 1_000_003 + user)
        self._serial = 0
        self._wake = trio.Event()

    def say(self, room: int, text: str | None = None) -> str:
        """Queue a message; its client id."""
        self._serial += 1
        client_id = f"{self.user}-{self._serial}"
        content = text if text is not None else f"{self.user} says {self._serial}"
        self._waiting[room, client_id] = self.contents[room, client_id] = content
        self._wake.set()
        return client_id

    @property
    def unacked(self) -> int:
        """Messages that wait for their ack."""
        return len(self._waiting)

    async def run(self) -> None:
        """Be there, for ever."""
        while True:
            self.is_live = False
            try:
                async with open_sockets() as nursery:
                    self.socket = await Socket.open(nursery, self.server, self.user)
                    self.connects += 1
                    await self._session(self.socket)
                self.closes[self.socket.close_code or 0] += 1
            except Refused as refused:
                self.refusals += 1
                if refused.status not in (503, 429):
                    self.faults.append(f"upgrade {refused}")
            except (OSError, Gone, trio.TooSlowError):
                self.refusals += 1
            self.is_live = False
            await trio.sleep(self._random.uniform(0.02, 0.4))

    async def _session(self, sock: Socket) -> None:
        self._sent.clear()
        self._gaps.clear()
        for log in self.logs.values():
            log.forget_gap()
        sock.on_event = self._event
        rooms = {str(room): {"seq": log.top} for room, log in self.logs.items()}
        await sock.send({"type": "start", "id": "start", "data": {"device": "test", "resume": {"rooms": rooms}}})
        while sock.close_code is None:
            while self._gaps:
                room = self._gaps.pop()
                data = {"after": self.logs[room].top, "limit": 200}
                await sock.send({"type": "history", "id": f"history {room}", "room": room, "data": data})
            if self.is_live and trio.current_time() >= self._again_at:
                await self._send_some(sock)
            self._wake = trio.Event()
            with trio.move_on_after(0.1):
                await self._wake.wait()

    async def _send_some(self, sock: Socket) -> None:
        for (room, client_id), content in list(self._waiting.items()):
            if len(self._sent) >= self._window:
                return
            if (room, client_id) not in self._sent and (room, client_id) in self._waiting:
                self._sent.add((room, client_id))
                data = {"clientId": client_id, "body": content}
                await sock.send({"type": "send", "id": f"{room}/{client_id}", "room": room, "data": data})

    def _event(self, event: dict[str, Any]) -> None:
        kind = event["type"]
        if kind == "message":
            if event["room"] in self.logs:
                self.logs[event["room"]].add(event)
        elif kind == "ack":
            self._ack(event)
        elif kind == "error":
            self._error(event)
        elif kind == "ready":
            self.resumed += event["data"]["resumed"]
            if event["data"].get("refused"):
                self.errors.update(item["error"] for item in event["data"]["refused"])
                assert self.socket is not None
                self.socket.cut()
        elif kind == "live":
            self.is_live = True
        elif kind == "gap":
            self.gaps += 1
            self.logs[event["room"]].gap_to = event["data"]["to"]
            self._gaps.add(event["room"])
        self._wake.set()

    def _ack(self, event: dict[str, Any]) -> None:
        if event["id"].startswith("history "):
            self._filled(int(event["id"].removeprefix("history ")), event["data"]["messages"])
            return
        room, _, client_id = event["id"].partition("/")
        if not client_id:
            return
        key, data = (int(room), client_id), event["data"]
        self._sent.discard(key)
        self._waiting.pop(key, None)
        known = self.acked.setdefault(key, (data["messageId"], data["seq"]))
        if known != (data["messageId"], data["seq"]):
            self.faults.append(f"acknowledged twice, differently: {key} {known} {data}")
        log = self.logs[key[0]]
        if log.top >= data["seq"] and client_id not in log.own and not data.get("duplicate"):
            self.faults.append(f"the ack of {key} came after its broadcast copy, or its echo has no clientId")

    def _filled(self, room: int, messages: list[dict[str, Any]]) -> None:
        self.logs[room].fill(messages)
        if self.logs[room].gap_to:
            if not messages:
                self.faults.append(f"room {room}: `history` ends before its gap does, at {self.logs[room].gap_to}")
                return
            self._gaps.add(room)

    def _error(self, event: dict[str, Any]) -> None:
        data = event["data"]
        if str(event.get("id", "")).startswith("history "):
            self.faults.append(f"{event}")
        self.errors[data["error"]] += 1
        room, _, client_id = str(event.get("id", "")).partition("/")
        if client_id:
            self._sent.discard((int(room), client_id))
            self._again_at = trio.current_time() + 0.1
            if not data["recoverable"]:
                self.faults.append(f"{event}")
        elif event.get("id") == "start":
            assert self.socket is not None
            self.socket.cut()


def fellow_holes(members: Iterable[Member]) -> list[str]:
    """Whatever was left out of somebody's log at the moment it happened."""
    return [
        f"user {member.user} room {room}: {log.holes[:5]}"
        for member in members
        for room, log in member.logs.items()
        if log.holes
    ]


async def check_rooms(server: ServerProcess, members: list[Member], *, in_order: bool = True) -> int:
    """Every acknowledged message once, gapless, and everybody's log equal to the server's; the count of messages.

    in_order: the messages of one sender stand in the order in which they were said.
    """
    rooms = {room for member in members for room in member.logs}
    total = 0
    for room in sorted(rooms):
        stored = await server.log_of(room)
        total += len(stored)
        assert [row["seq"] for row in stored] == list(range(1, len(stored) + 1)), f"room {room}: seq has gaps"
        ids = Counter((row["sender_id"], row["client_id"]) for row in stored)
        assert max(ids.values(), default=1) == 1, f"room {room}: stored twice {ids.most_common(3)}"
        assert len({row["id"] for row in stored}) == len(stored)
        (top,) = await server.query("select top_seq, last_message_id from conversations where id = $1", room)
        assert top["top_seq"] == len(stored)
        assert not stored or top["last_message_id"] == stored[-1]["id"]
        by_client_id = {(row["sender_id"], row["client_id"]): row for row in stored}
        log = [(row["seq"], row["id"], row["sender_id"], row["content"]) for row in stored]
        for member in members:
            if room in member.logs:
                _check_acks(member, room, by_client_id)
                _check_log(member, room, log)
                own = {row["client_id"]: row["seq"] for row in stored if row["sender_id"] == member.user}
                assert member.logs[room].own == own, f"user {member.user}: clientId comes to its own devices, whole"
        if in_order:
            _check_order(room, stored)
    faults = [fault for member in members for fault in member.faults]
    assert not faults, f"{len(faults)}: {faults[:5]}"
    return total


def _check_acks(member: Member, room: int, stored: dict[tuple[int, str], Any]) -> None:
    for (acked_room, client_id), (message_id, seq) in member.acked.items():
        if acked_room == room:
            row = stored.get((member.user, client_id))
            assert row is not None, f"user {member.user}: {client_id} was acknowledged as {seq} and is not stored"
            assert (row["id"], row["seq"]) == (message_id, seq), f"{client_id}: acknowledged as {seq}, is {row['seq']}"
            assert row["content"] == member.contents[room, client_id]


def _check_log(member: Member, room: int, log: list[tuple[int, int, int, str]]) -> None:
    mine = member.logs[room].messages
    if mine != log:
        at = next((i for i, (a, b) in enumerate(zip(mine, log, strict=False)) if a != b), min(len(mine), len(log)))
        raise AssertionError(
            f"user {member.user} room {room}: the log differs from the server's at {at}: has {mine[at : at + 2]} of "
            f"{len(mine)}, stored is {log[at : at + 2]} of {len(log)}; holes {member.logs[room].holes[:5]}"
        )


def _check_order(room: int, stored: list[Any]) -> None:
    last: dict[int, int] = {}
    for row in stored:
        number = int(row["client_id"].rpartition("-")[2])
        assert number > last.get(row["sender_id"], 0), f"room {room}: {row['client_id']} stands after a later one"
        last[row["sender_id"]] = number
