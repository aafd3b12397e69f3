"""Adoption: how a socket leaves Hypercorn and becomes the engine's.

Hypercorn and Quart do the handshake, as for any view; then the socket, with its TLS if it has any, changes owner, and
Hypercorn's tasks and memory for the connection are gone. One `Hand` owns the socket from accept() until that moment, so
that there is always exactly one owner and no byte is lost in between:

    SERVING --an upgrade request's head was read--> HELD --arm()--> ARMED --the 101 is out--> UPGRADED
    UPGRADED --detach()--> ADOPTED          any but ADOPTED --close()--> CLOSED
    HELD --release()--> ADOPTED             a response without end: whoever takes the socket answers

SERVING is ordinary HTTP: bytes flow to Hypercorn. From HELD on not one byte does: what had been read past the head is
kept as `early`, everything later stays in the kernel until the engine reads it. So a frame that comes in the same
segment as the upgrade request (forbidden by RFC 6455 section 4.1, but sent by hostile and by eager clients) reaches
the engine first and in order, and wsproto never sees a frame at all. ARMED says that the view wants this connection
adopted; without it no 101 is ever sent (`http/connection.py` answers 500), so neither h2c nor a view that calls
accept() itself can leave a socket upgraded and unowned.

After ADOPTED Hypercorn's side is deaf and dumb: its close frame goes nowhere and its close closes nothing.
"""

import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from enum import Enum, auto
from typing import Any, Final, TypeVar

import trio
from quart import Request, Websocket

from greenroom.http.tls import TlsTransport
from greenroom.http.transport import Transport

HAND_KEY: Final = "greenroom.hand"
RECEIVE_BYTES_MAX: Final = 64 * 1024
T = TypeVar("T")


class Stage(Enum):
    """How far a connection is on its way from Hypercorn to the engine; drawn in the module's docstring."""

    SERVING = auto()
    HELD = auto()
    ARMED = auto()
    UPGRADED = auto()
    ADOPTED = auto()
    CLOSED = auto()


class NotAdoptable(RuntimeError):
    """adopt() was called for a connection that is not an HTTP/1.1 upgrade accepted by our own server: our fault."""


class Adopted:
    """A WebSocket connection after its 101: the socket, for one taker, and what it had already said.

    Whoever calls take() owns the socket. If nobody has when the view ends, the connection is closed and logged.
    """

    __slots__ = ("_sock", "early", "peer", "subprotocol")

    def __init__(self, sock: Transport, early: bytes, peer: tuple[str, int], subprotocol: str | None) -> None:
        self._sock: Transport | None = sock
        self.early = early
        self.peer = peer
        self.subprotocol = subprotocol

    @property
    def taken(self) -> bool:
        """Whether someone owns the socket (or it was closed)."""
        return self._sock is None

    def take(self) -> Transport:
        """Hand over the socket, once: of TCP, or TLS over one. Feed `early` to the parser before the first read."""
        if self._sock is None:
            raise NotAdoptable(f"the socket of {self.peer} was taken before, or closed")
        sock, self._sock = self._sock, None
        return sock

    def close(self) -> None:
        """Close the socket if nobody has taken it."""
        if self._sock is not None:
            self.take().close()


async def adopt(
    websocket: Websocket, *, subprotocol: str | None = None, headers: Mapping[str, str] | None = None
) -> Adopted | None:
    """Accept the upgrade and take the connection from Hypercorn; None if the peer left before its 101 was out.

    For a WebSocket view, after authentication and admission. The view should take() the socket and return soon: what it
    does afterwards is no longer watched by Hypercorn. Cancelled before the 101: the connection is closed by its server.
    Raises NotAdoptable (without having accepted) for anything but an HTTP/1.1 upgrade under our own server, and
    ValueError for a subprotocol that the client did not ask for.
    """
    hand = _hand_of(websocket)
    if subprotocol is not None and subprotocol not in websocket.requested_subprotocols:
        raise ValueError(
            f"subprotocol {subprotocol!r} was not asked for by {hand.peer}: {websocket.requested_subprotocols}"
        )
    hand.arm()
    await websocket.accept(headers=dict(headers) if headers else None, subprotocol=subprotocol)
    if hand.stage is not Stage.UPGRADED:
        return None
    return hand.detach(subprotocol)  # no await since the 101: nothing can come between


def take_over(request: Request) -> Adopted:
    """Take the connection of an HTTP request from Hypercorn: nothing was answered yet, and the taker does.

    For a view of one of `heads.STREAM_PATHS`, after authentication and admission; what it returns goes nowhere. Raises
    NotAdoptable for any other request.
    """
    return _hand_in(request.scope).release()


def offered_extensions(websocket: Websocket) -> str:
    """What the upgrade request says in Sec-WebSocket-Extensions, empty if nothing. Raises NotAdoptable as adopt()."""
    return _hand_of(websocket).offers


def _hand_in(scope: Any) -> "Hand":
    hand = (scope or {}).get("state", {}).get(HAND_KEY)
    if not isinstance(hand, Hand):
        raise NotAdoptable("this connection was not accepted by greenroom.http.server")
    return hand


def _hand_of(websocket: Websocket) -> "Hand":
    hand = _hand_in(websocket.scope)
    if websocket.http_version != "1.1":
        raise NotAdoptable(f"HTTP/{websocket.http_version} cannot be adopted: only HTTP/1.1 upgrades own their socket")
    return hand


class Hand:
    """The one owner of an accepted socket until the engine takes it. One task receives; senders take turns outside."""

    __slots__ = ("_early", "_sock", "adopted", "broken", "offers", "peer", "progressed_at", "sending", "stage")

    def __init__(self, sock: Transport, peer: tuple[str, int]) -> None:
        self._sock = sock
        self._early = b""
        self.offers = ""  # the extensions that an upgrade request offers: the engine's to agree to
        self.peer = peer
        self.stage = Stage.SERVING
        self.adopted: Adopted | None = None
        self.broken = False
        self.sending = False
        self.progressed_at = trio.current_time()

    @property
    def held(self) -> bool:
        """Whether Hypercorn gets no more bytes: an upgrade was asked for, whatever came of it."""
        return self.stage is not Stage.SERVING

    @property
    def is_secure(self) -> bool:
        """Whether it is TLS, which begins with `shake_hands`."""
        return isinstance(self._sock, TlsTransport)

    def shake_hands(self) -> bool:
        """Take the next step of the handshake of TLS; True when it was the last.

        Raises BlockingIOError until there is more to read, another OSError when the peer cannot, or goes.
        """
        assert isinstance(self._sock, TlsTransport)
        return self._sock.shake_hands()

    async def wait_readable(self) -> None:
        """Return when there is more to read. Raises trio.ClosedResourceError."""
        await trio.lowlevel.wait_readable(self._sock)

    async def receive(self) -> bytes:
        """Return what the peer sent, empty at its end. From HELD on: wait until cancelled. Raises OSError."""
        if self.held:
            await trio.sleep_forever()
        data = await self._when(trio.lowlevel.wait_readable, self._sock.recv, RECEIVE_BYTES_MAX)
        self.progressed_at = trio.current_time()
        return data

    async def send(self, data: bytes) -> None:
        """Send all of it; raises OSError. A broken peer is remembered in `broken`. Cancelled: a part may be out."""
        if self.stage is Stage.ADOPTED:
            await trio.lowlevel.checkpoint()
            return
        self.sending, self.progressed_at = True, trio.current_time()
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[await self._when(trio.lowlevel.wait_writable, self._sock.send, rest) :]
                self.progressed_at = trio.current_time()
        except BaseException:
            self.broken = True
            raise
        finally:
            self.sending = False

    def hold(self, early: bytes) -> None:
        """Keep the rest of the input for the engine: called before the application hears of an upgrade request."""
        assert self.stage is Stage.SERVING, self.stage
        self._early = early
        self.stage = Stage.HELD
        self.progressed_at = trio.current_time()

    def arm(self) -> None:
        """Allow the 101. Raises NotAdoptable unless an upgrade is waiting for its answer."""
        if self.stage is not Stage.HELD:
            raise NotAdoptable(
                f"the connection of {self.peer} is {self.stage.name}: an upgrade is adopted once, when asked for"
            )
        self.stage = Stage.ARMED

    def note_upgraded(self) -> None:
        """Record that the whole 101 is with the kernel."""
        assert self.stage is Stage.ARMED, self.stage
        self.stage = Stage.UPGRADED

    def detach(self, subprotocol: str | None) -> Adopted:
        """Take the socket away from trio. Nothing waits on it here: no read is ever begun after hold()."""
        assert self.stage is Stage.UPGRADED, self.stage
        return self._let_go(subprotocol)

    def release(self) -> Adopted:
        """The same for a request that was held, and not answered. Raises NotAdoptable for any other."""
        if self.stage is not Stage.HELD:
            raise NotAdoptable(f"the connection of {self.peer} is {self.stage.name}: its request was not held back")
        return self._let_go(None)

    def _let_go(self, subprotocol: str | None) -> Adopted:
        self.stage = Stage.ADOPTED
        self.adopted = Adopted(self._sock, self._early, self.peer, subprotocol)
        self._early = b""
        return self.adopted

    def half_close(self) -> None:
        """Tell the peer that nothing more comes; what it still sends is not answered with a reset."""
        if self.stage is not Stage.ADOPTED:
            try:
                self._sock.shutdown(socket.SHUT_WR)
            except OSError:
                self.broken = True

    async def discard(self, bytes_max: int) -> None:
        """Read and forget until the peer's end, at most so many bytes (RFC 9112 section 9.6). Never raises OSError.

        Closing over unread input sends a reset, and a reset takes back an answer that the peer has not read yet.
        """
        while bytes_max > 0 and not self.broken and self.stage is not Stage.ADOPTED:
            try:
                data = await self._when(trio.lowlevel.wait_readable, self._sock.recv, RECEIVE_BYTES_MAX)
            except (OSError, trio.ClosedResourceError):
                return
            if not data:
                return
            bytes_max -= len(data)

    def close(self) -> None:
        """Close the socket, whatever the stage, unless it was taken. May be called again."""
        if self.stage is Stage.ADOPTED:
            assert self.adopted is not None
            self.adopted.close()
        else:
            self.stage = Stage.CLOSED
            if self._sock.fileno() >= 0:
                trio.lowlevel.notify_closing(self._sock)
            self._sock.close()

    async def _when(self, ready: Callable[[Transport], Awaitable[None]], step: Callable[..., T], *args: object) -> T:
        """What *step* returns, as soon as it does not say that it would block."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            value = step(*args)
        except BlockingIOError:
            pass
        else:
            await trio.lowlevel.cancel_shielded_checkpoint()
            return value
        while True:
            await ready(self._sock)
            with suppress(BlockingIOError):
                return step(*args)
