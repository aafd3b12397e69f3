"""The other end, octet by octet: a raw client that can break every rule, over TCP and over TLS.

    async with open_peer(server, secure=True, offers=OFFER) as peer:
        await peer.send(frame(b"hello"))
        assert await peer.end() == (1002, ...)

Nothing here is shared with the server: frames are built and parsed by hand, TLS is trio's stream, and what comes
compressed is inflated with a fresh window of the agreed size for each message. A peer never sends by itself.
"""

import base64
import hashlib
import json
import os
import ssl
import struct
import zlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

V1 = "greenroom.v1"
USER = 1
ROOM = 1 << 40
OFFER = "permessage-deflate; client_max_window_bits"
SECONDS_MAX = 10.0
TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10
TAIL = b"\x00\x00\xff\xff"
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3


@dataclass(frozen=True)
class Frame:
    """What the server sent."""

    opcode: int
    payload: bytes
    rsv: int = 0
    fin: bool = True


class Refused(Exception):
    """The upgrade was not answered with 101."""

    def __init__(self, status: int, head: bytes) -> None:
        super().__init__(head[:300])
        self.status = status


class Gone(Exception):
    """The connection ended where a frame was expected."""


def frame(
    payload: bytes | str = b"",
    opcode: int = TEXT,
    *,
    fin: bool = True,
    rsv: int = 0,
    masked: bool = True,
    width: int | None = None,
    declared: int | None = None,
) -> bytes:
    """A frame from client to server. width: bytes of the length, 0, 2 or 8; declared: another length than it has."""
    data = payload.encode() if isinstance(payload, str) else payload
    size = len(data) if declared is None else declared
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    head = bytes([fin << 7 | rsv << 4 | opcode])
    head += bytes([masked << 7 | {0: size, 2: 126, 8: 127}[width]]) + (size.to_bytes(width, "big") if width else b"")
    if not masked:
        return head + data
    mask = os.urandom(4)
    whole = mask * (len(data) // 4 + 1)
    return head + mask + bytes(a ^ b for a, b in zip(data, whole, strict=False))


def close(code: int | None = 1000, reason: bytes = b"") -> bytes:
    """A close frame."""
    return frame(b"" if code is None else struct.pack("!H", code) + reason, CLOSE)


def fragments(payload: bytes, sizes: Iterable[int], opcode: int = TEXT) -> list[bytes]:
    """The frames of a message that is cut at these sizes; what is left is the last."""
    parts, at = [], 0
    for size in sizes:
        parts.append(payload[at : at + size])
        at += size
    parts.append(payload[at:])
    return [
        frame(part, opcode if number == 0 else CONTINUATION, fin=number == len(parts) - 1)
        for number, part in enumerate(parts)
    ]


def ping_command(command_id: str, size: int = 0) -> bytes:
    """A command that is answered with `pong` and the same id, *size* bytes long: white space is no part of JSON."""
    text = json.dumps({"type": "ping", "id": command_id})
    return text.ljust(size).encode()


def deflate(payload: bytes, *, bits: int = 12, level: int = 9) -> bytes:
    """As RFC 7692 section 7.2.1 has it, without a context."""
    stream = zlib.compressobj(level, zlib.DEFLATED, -bits)
    return (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]


class Peer:
    """One WebSocket."""

    def __init__(self, stream: trio.SocketStream | trio.SSLStream[trio.SocketStream], head: bytes, rest: bytes) -> None:
        self.stream = stream
        self.head = head
        self._buffer = bytearray(rest)
        self._serial = 0
        self.received: list[Frame] = []

    @property
    def agreed(self) -> str | None:
        """What the answer says of extensions."""
        return _header(self.head, "sec-websocket-extensions")

    async def send(self, *parts: bytes, every: int | None = None) -> None:
        """These bytes, each part in a segment of its own; every: in pieces of so many bytes."""
        for part in parts:
            for at in range(0, len(part), every or len(part) or 1):
                await self.stream.send_all(part[at : at + (every or len(part))])

    async def frame(self) -> Frame:
        """The next frame. Raises Gone at the end."""
        with trio.fail_after(SECONDS_MAX):
            while (found := self._take()) is None:
                data = await self.stream.receive_some()
                if not data:
                    raise Gone(f"after {self.received[-3:]}, left over {bytes(self._buffer)!r}")
                self._buffer += data
        self.received.append(found)
        return found

    def _take(self) -> Frame | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        assert not buffer[1] & 0x80, "the server masked a frame (RFC 6455 section 5.1)"
        size, start = buffer[1], 2
        if size >= 126:
            width = 2 if size == 126 else 8
            if len(buffer) < 2 + width:
                return None
            size, start = int.from_bytes(buffer[2 : 2 + width], "big"), 2 + width
            assert size >= (126 if width == 2 else 65536), "not the shortest form of a length (section 5.2)"
        if len(buffer) < start + size:
            return None
        found = Frame(buffer[0] & 0x0F, bytes(buffer[start : start + size]), buffer[0] >> 4 & 7, bool(buffer[0] & 0x80))
        del buffer[: start + size]
        assert found.fin, "the server sends no fragments"
        assert not found.rsv & 3, "RSV2 and RSV3 mean nothing here"
        assert found.rsv == 0 or (self.agreed is not None and found.opcode == TEXT), "RSV1 without an agreement"
        return found

    async def text(self) -> str:
        """The next text message; what is in between is in `received`."""
        while True:
            found = await self.frame()
            if found.opcode == TEXT:
                return text_of(found)
            assert found.opcode in (PING, PONG), found

    async def event(self, *kinds: str, **fields: Any) -> dict[str, Any]:
        """The next JSON object of these types with these fields."""
        while True:
            found: dict[str, Any] = json.loads(await self.text())
            if (not kinds or found["type"] in kinds) and all(found.get(name) == fields[name] for name in fields):
                return found

    async def control(self, opcode: int) -> bytes:
        """The payload of the next control frame of this kind."""
        while True:
            found = await self.frame()
            if found.opcode == opcode:
                return found.payload
            assert found.opcode != CLOSE, found

    async def is_alive(self) -> bool:
        """Whether a command is still answered, after everything that was said before."""
        self._serial += 1
        await self.send(frame(ping_command(f"alive-{self._serial}")))
        await self.event("pong", id=f"alive-{self._serial}")
        return True

    async def start(self, *rooms: int) -> None:
        """Begin a session in these rooms."""
        await self.command("start", rooms=[{"r": room} for room in rooms])
        await self.event("ready")

    async def command(self, kind: str, room: int | None = None, **data: Any) -> str:
        """Say a command; its id."""
        self._serial += 1
        command_id = f"c{self._serial}"
        where = {} if room is None else {"room": room}
        await self.send(frame(json.dumps({"type": kind, "id": command_id, "data": data, **where}, ensure_ascii=False)))
        return command_id

    async def end(self) -> tuple[int, str]:
        """Code and reason of the close frame, which must come and be the last; then the end, by an orderly close."""
        while (found := await self.frame()).opcode != CLOSE:
            pass
        try:
            late = await self.frame()
        except Gone:
            assert not self._buffer, "half a frame after the close frame"
        else:
            raise AssertionError(f"after the close frame came {late}")
        if not found.payload:
            return 1005, ""
        assert 2 <= len(found.payload) <= 125
        return int.from_bytes(found.payload[:2], "big"), found.payload[2:].decode()


def text_of(found: Frame) -> str:
    """The text of a frame, inflated with a window of 12 bits and no context if it must be."""
    data = found.payload
    if found.rsv & 4:
        data = zlib.decompressobj(-12).decompress(data + TAIL)
    return data.decode()


def _header(head: bytes, name: str) -> str | None:
    lines = [line.partition(":") for line in head.decode("latin-1").split("\r\n")[1:]]
    values = [value.strip() for key, _, value in lines if key.lower() == name]
    assert len(values) <= 1, f"{name} stands {len(values)} times in the answer"
    return values[0] if values else None


async def connect(
    port: int, context: ssl.SSLContext | None, receive_buffer: int | None = None
) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
    """A stream to the server, over TLS with a context. receive_buffer: what the kernel takes while nobody reads."""
    sock = trio.socket.socket()
    if receive_buffer is not None:
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, receive_buffer)
    await sock.connect(("127.0.0.1", port))
    stream = trio.SocketStream(sock)
    if context is None:
        return stream
    secure = trio.SSLStream(stream, context, server_hostname="127.0.0.1")
    await secure.do_handshake()
    return secure


@asynccontextmanager
async def open_peer(
    port: int,
    context: ssl.SSLContext | None = None,
    *,
    token: str | None = None,
    offers: str | Iterable[str] | None = None,
    protocol: str | None = V1,
    early: bytes = b"",
    receive_buffer: int | None = None,
) -> AsyncIterator[Peer]:
    """A WebSocket that has read its `hello`. early: sent with the request. Raises Refused."""
    key = base64.b64encode(os.urandom(16)).decode()
    headers = [
        "GET /ws HTTP/1.1",
        "Host: 127.0.0.1",
        "Upgrade: websocket",
        "Connection: keep-alive, Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
    ]
    headers += [f"Sec-WebSocket-Protocol: {protocol}"] if protocol else []
    headers += [f"Authorization: Bearer {token}"] if token else []
    headers += [
        f"Sec-WebSocket-Extensions: {offer}" for offer in ([offers] if isinstance(offers, str) else offers or ())
    ]
    with trio.fail_after(SECONDS_MAX):
        stream = await connect(port, context, receive_buffer)
        try:
            await stream.send_all(("\r\n".join(headers) + "\r\n\r\n").encode("latin-1") + early)
            answer = b""
            while b"\r\n\r\n" not in answer:
                part = await stream.receive_some()
                if not part:
                    raise Gone(f"during the upgrade: {answer!r}")
                answer += part
            head, _, rest = answer.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 101 "):
                raise Refused(int(head[9:12]), head)
        except BaseException:
            await trio.aclose_forcefully(stream)
            raise
    digest = hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()
    assert _header(head, "sec-websocket-accept") == base64.b64encode(digest).decode()
    peer = Peer(stream, head, rest)
    try:
        await peer.event("hello" if protocol else "connected")
        yield peer
    finally:
        await trio.aclose_forcefully(stream)
