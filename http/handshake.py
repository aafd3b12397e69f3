"""The WebSocket handshake: an upgrade request as ASGI, answered once, in the task that read its head.

    connect ──▶ accept ────────────────▶ 101, which the engine sends with its first frames (http/adoption.py)
           ├──▶ http.response ─────────▶ that answer, and the end of the connection
           ├──▶ close ─────────────────▶ 403
           └──▶ nothing, or it raises ─▶ 500, also when it accepted and then gave the socket to nobody

What Hypercorn and Quart-Trio have for this keeps a WebSocket for its whole life: five tasks, two nurseries, three
channels, a frame parser, an h11 response. Here it ends with the answer, and frames are none of its business. So the
view runs in the reading task, which has nothing to read until then, and the 101 is a few lines of bytes: of 870 µs for
a connect all that was a third. The view is a Quart view like any other: routed, with its hooks and its error handlers.

The head was judged before (http/heads.py): version, key and fields of a handshake are right when this begins.
"""

import base64
import hashlib
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final, Protocol, cast
from urllib.parse import unquote, urlsplit

import structlog
import trio
from hypercorn.protocol.events import Body, EndBody, Response
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.typing import AppWrapper, ASGIReceiveCallable, ASGISendCallable, ConnectionState, WebsocketScope
from quart import Websocket
from quart.asgi import ASGIWebsocketConnection
from quart_trio import QuartTrio
from quart_trio.asgi import TrioASGIWebsocketConnection
from quart_trio.wrappers import TrioWebsocket
from werkzeug.datastructures import Headers

from greenroom.http.adoption import Hand, Stage

log = structlog.get_logger()

STREAM_ID: Final = 1
_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_SWITCHING: Final = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"


class Answering(Protocol):
    """How an upgrade is refused: as any other request is."""

    async def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer with an error in the envelope and end the connection."""
        ...

    async def stream_send(self, event: StreamEvent) -> None:
        """Write an event of the application's own answer."""
        ...


class Handshake:
    """One upgrade request, from its head to its answer."""

    def __init__(self, hand: Hand, answering: Answering, scope: WebsocketScope, key: bytes) -> None:
        self._hand = hand
        self._answering = answering
        self._scope = scope
        self._key = key
        self._is_connected = False
        self._is_answered = self._is_streaming = False
        self._start: Any = None

    async def run(self, app: AppWrapper) -> None:
        """Have the application answer; log what it raises, and answer for it what it did not."""
        try:
            send = cast("Any", self._send)
            await app(self._scope, self._receive, send, trio.to_thread.run_sync, trio.from_thread.run)
        except* Exception as fault:
            log.exception("http.application_failed", path=self._scope["path"], exc_info=fault)
        if self._hand.take_back():
            log.error("http.adopted_not_taken", peer=self._hand.peer)
            self._is_answered = False
        if not self._is_answered:
            await self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal Server Error")

    async def _receive(self) -> Any:
        if self._is_connected:
            await trio.sleep_forever()  # not one byte is read before the answer
        self._is_connected = True
        await trio.lowlevel.checkpoint()
        return {"type": "websocket.connect"}

    async def _send(self, message: Any) -> None:
        kind = message["type"]
        if self._is_streaming and kind == "websocket.http.response.body":
            await self._go_on(message)
        elif self._is_answered:
            await trio.lowlevel.checkpoint()  # frames are the engine's, and so is the close
        elif kind == "websocket.accept":
            await self._accept(message.get("subprotocol"), message.get("headers", ()))
        elif kind == "websocket.http.response.start":
            self._start = message
            await trio.lowlevel.checkpoint()
        elif kind == "websocket.http.response.body" and self._start is not None:
            await self._answer(message)
        elif kind == "websocket.close":
            await self._refuse(HTTPStatus.FORBIDDEN, HTTPStatus.FORBIDDEN.phrase)
        else:
            raise ValueError(f"{kind} before the answer to an upgrade")

    async def _accept(self, subprotocol: str | None, headers: Sequence[tuple[bytes, bytes]]) -> None:
        if self._hand.stage is not Stage.ARMED:
            log.error("http.upgrade_not_adopted", peer=self._hand.peer)
            await self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "this path has no WebSocket engine")
            return
        await trio.lowlevel.checkpoint_if_cancelled()  # nothing is sent here: no pass of the loop is spent on it
        try:
            self._hand.accept(switching_protocols(self._key, subprotocol, headers))
        except ValueError:
            await self._refuse(HTTPStatus.INTERNAL_SERVER_ERROR, HTTPStatus.INTERNAL_SERVER_ERROR.phrase)
            raise
        self._is_answered = True

    async def _answer(self, message: Any) -> None:
        self._is_answered = self._is_streaming = True
        status, headers = int(self._start["status"]), list(self._start["headers"])
        await self._answering.stream_send(Response(stream_id=STREAM_ID, status_code=status, headers=headers))
        await self._go_on(message)

    async def _go_on(self, message: Any) -> None:
        await self._answering.stream_send(Body(stream_id=STREAM_ID, data=bytes(message.get("body", b""))))
        if not message.get("more_body", False):
            self._is_streaming = False
            await self._answering.stream_send(EndBody(stream_id=STREAM_ID))

    async def _refuse(self, status: HTTPStatus, message: str) -> None:
        self._is_answered = True
        await self._answering.refuse(status, message)


def scope_of(
    target: bytes,
    headers: list[tuple[bytes, bytes]],
    *,
    scheme: str,
    client: tuple[str, int] | None,
    server: tuple[str, int] | None,
    state: ConnectionState,
) -> tuple[WebsocketScope, bytes]:
    """The ASGI scope of an upgrade request whose head was found good, and its key."""
    path, _, query = target.partition(b"?")
    key, subprotocols = b"", list[str]()
    for name, value in headers:
        if name == b"sec-websocket-key":
            key = value
        elif name == b"sec-websocket-protocol":
            subprotocols += filter(None, (part.strip() for part in value.decode("ascii").split(",")))
    scope: WebsocketScope = {
        "type": "websocket",
        "asgi": {"spec_version": "2.3", "version": "3.0"},
        "scheme": scheme,
        "http_version": "1.1",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": query,
        "root_path": "",
        "headers": headers,
        "client": client,
        "server": server,
        "subprotocols": subprotocols,
        "state": state,
        "extensions": {"websocket.http.response": {}},
    }
    return scope, key


def switching_protocols(key: bytes, subprotocol: str | None, headers: Sequence[tuple[bytes, bytes]]) -> bytes:
    """The head of the 101 (RFC 6455 section 4.2.2). Raises ValueError for a header that is none."""
    lines = [_SWITCHING, b"sec-websocket-accept: ", base64.b64encode(hashlib.sha1(key + _GUID).digest()), b"\r\n"]
    if subprotocol is not None:
        lines += (b"sec-websocket-protocol: ", subprotocol.encode("ascii"), b"\r\n")
    for name, value in headers:
        if b"\r" in name + value or b"\n" in name + value or b":" in name:
            raise ValueError(f"{name!r}: {value!r} is no header")
        lines += (name, b": ", value, b"\r\n")
    lines.append(b"\r\n")
    return b"".join(lines)


class HandshakeOnly(TrioASGIWebsocketConnection):
    """Quart's end of it. Quart-Trio's own starts two tasks that wait for frames; here the view is called, no more."""

    def __init__(self, app: QuartTrio, scope: WebsocketScope) -> None:
        self.app = app
        self.scope = scope
        self._accepted = self._closed = False

    async def __call__(self, _receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        """Run the view and send its answer."""
        await ASGIWebsocketConnection.handle_websocket(self, self._create_websocket_from_scope(send), send)

    def _create_websocket_from_scope(self, send: ASGISendCallable) -> Websocket:
        scope = self.scope
        client, path = scope.get("client"), scope["path"]  # what ASGI leaves optional may be missing
        headers = Headers()
        # Past add(), which looks for line ends in each value: 8 µs, and h11 lets none in.
        headers._list = [("Remote-Addr", client[0] if client else "<local>")]
        headers._list += [(name.decode("latin1"), value.decode("latin1")) for name, value in scope["headers"]]

        async def accept(headers: Headers, subprotocol: str | None) -> None:
            await self.accept_connection(send, headers, subprotocol)
            self._closed = True  # so far as Quart goes: the engine closes it

        async def close(code: int, reason: str) -> None:
            await self.close_connection(send, code, reason)

        return self.app.websocket_class(
            path if path.startswith("/") else urlsplit(path).path,
            scope["query_string"],
            scope["scheme"],
            headers,
            scope.get("root_path", ""),
            scope.get("http_version", "1.1"),
            list(scope.get("subprotocols", ())),
            _has_no_frames,
            _has_no_frames,
            accept,
            close,
            scope=scope,
        )


class WithoutBlueprints(TrioWebsocket):
    """Nothing here is in one. Quart asks each upgrade, and imports a module and cuts a name for the answer."""

    @property
    def blueprints(self) -> list[str]:
        """None."""
        return []


async def _has_no_frames(*_: object) -> Any:
    await trio.lowlevel.checkpoint()
    raise RuntimeError("frames are not Quart's: adopt() the connection (http/adoption.py)")
