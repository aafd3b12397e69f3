"""Adoption: how a socket leaves Hypercorn and becomes the engine's.

Hypercorn and Quart do the handshake, as for any view; then the socket, with its TLS if it has any, changes owner, and
Hypercorn's tasks and memory for the connection are gone. One `Hand` owns the socket from accept() until that moment, so
that there is always exactly one owner and no byte is lost in between:

    SERVING --an upgrade request's head was read--> HELD --arm()--> ARMED --accept()--> ACCEPTED --detach()--> ADOPTED
    HELD --release()--> ADOPTED             a response without end
    ADOPTED --take_back()--> HELD           nobody took it
    any but ADOPTED --close()--> CLOSED

SERVING is ordinary HTTP: bytes flow to Hypercorn. From HELD on not one byte does: what had been read past the head is
kept as `early`, everything later stays in the kernel until the engine reads it. So a frame that comes in the same
segment as the upgrade request (forbidden by RFC 6455 section 4.1, but sent by hostile and by eager clients) reaches
the engine first and in order, and wsproto never sees a frame at all. ARMED says that the view wants this connection
adopted; without it no 101 is ever made (`http/handshake.py` answers 500), so neither h2c nor a view that calls
accept() itself can leave a socket upgraded and unowned. Whoever takes the socket sends the `answer`, the 101 or the
head of a stream: it goes out with the first frames, and nobody has it from a server that does not serve it then.

After ADOPTED Hypercorn's side is deaf and dumb: its close frame goes nowhere and its close closes nothing.
"""

import select
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
TAKEN_BYTES_MIN: Final = 64 * 1024  # by the peer; less is no progress, or who trickles would be served for ever
T = TypeVar("T")


class Stage(Enum):
    """How far a connection is on its way from Hypercorn to the engine; drawn in the module's docstring."""

    SERVING = auto()
    HELD = auto()
    ARMED = auto()
    ACCEPTED = auto()
    ADOPTED = auto()
    CLOSED = auto()


class NotAdoptable(RuntimeError):
    """adopt() was called for a connection that is not an HTTP/1.1 upgrade accepted by our own server: our fault."""


class Adopted:
    """A connection that leaves Hypercorn: the socket, for one taker, and what was and what is to be said on it.

    Whoever calls take() owns the socket, sends `answer` before all else, and reads `early` before the socket. If nobody
    has when the view of an upgrade ends, the peer is answered 500 and it is logged.
    """

    __slots__ = ("_sock", "answer", "early", "peer", "subprotocol")

    def __init__(
        self, sock: Transport, early: bytes, peer: tuple[str, int], subprotocol: str | None, answer: bytes = b""
    ) -> None:
        self._sock: Transport | None = sock
        self.early = early
        self.peer = peer
        self.subprotocol = subprotocol
        self.answer = answer

    @property
    def taken(self) -> bool:
        """Whether someone owns the socket (or it was closed)."""
        return self._sock is None

    def take(self) -> Transport:
        """Hand over the socket, once: of TCP, or TLS over one."""
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
) -> Adopted:
    """Accept the upgrade and take the connection from Hypercorn, with the 101 that its taker sends.

    For a WebSocket view, after authentication and admission. The view should take() the socket and return soon: what it
    does afterwards is no longer watched by Hypercorn. Cancelled before: the connection is closed by its server.
    Raises NotAdoptable (without having accepted) for anything but an HTTP/1.1 upgrade under our own server, and
    ValueError for a subprotocol that the client did not ask for, or a header that is none.
    """
    hand = _hand_of(websocket)
    if subprotocol is not None and subprotocol not in websocket.requested_subprotocols:
        raise ValueError(
            f"subprotocol {subprotocol!r} was not asked for by {hand.peer}: {websocket.requested_subprotocols}"
        )
    hand.arm()
    await websocket.accept(headers=dict(headers) if headers else None, subprotocol=subprotocol)
    return hand.detach(subprotocol)


def take_over(request: Request) -> Adopted:
    """Take the connection of an HTTP request from Hypercorn: nothing was answered yet, and the taker does.

    For a view of one of `heads.STREAM_PATHS`, after authentication and admission; what it returns goes nowhere. Raises
    NotAdoptable for any other request.
    """
    return _hand_in(request.scope).release()


def offered_extensions(websocket: Websocket) -> str:
    """What the upgrade request says in Sec-WebSocket-Extensions, empty if nothing. Raises NotAdoptable as adopt()."""
    return _hand_of(websocket).offers


def is_gone(shown: Websocket | Request) -> bool:
    """Whether the peer of a request that was held has gone; False where that cannot be known."""
    hand = (shown.scope or {}).get("state", {}).get(HAND_KEY)
    return isinstance(hand, Hand) and hand.is_gone()


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
    """The one owner of an accepted socket until the engine takes it. One task receives; senders take turns outside.

    progressed_at: when something last came, or went. taken_at: when something last went, or was to go.
    """

    __slots__ = (
        "_answer",
        "_early",
        "_sock",
        "adopted",
        "broken",
        "offers",
        "peer",
        "progressed_at",
        "sending",
        "stage",
        "taken_at",
    )

    def __init__(self, sock: Transport, peer: tuple[str, int]) -> None:
        self._sock = sock
        self._early = self._answer = b""
        self.offers = ""  # the extensions that an upgrade request offers: the engine's to agree to
        self.peer = peer
        self.stage = Stage.SERVING
        self.adopted: Adopted | None = None
        self.broken = False
        self.sending = False
        self.progressed_at = self.taken_at = trio.current_time()

    @property
    def held(self) -> bool:
        """Whether Hypercorn gets no more bytes: an upgrade was asked for, whatever came of it."""
        return self.stage is not Stage.SERVING

    @property
    def has_input(self) -> bool:
        """Whether something of the peer is here that was not read: it is not the peer who is late."""
        poll = select.poll()
        poll.register(self._sock.fileno(), select.POLLIN)
        return bool(poll.poll(0))

    @property
    def is_secure(self) -> bool:
        """Whether it is TLS, which begins with `shake_hands`."""
        return type(self._sock) is TlsTransport  # isinstance() of a protocol costs 3 µs, and each upgrade asks thrice

    def shake_hands(self) -> bool:
        """Take the next step of the handshake of TLS; True when it was the last.

        Raises BlockingIOError until there is more to read, another OSError when the peer cannot, or goes.
        """
        assert isinstance(self._sock, TlsTransport)
        return self._sock.shake_hands()

    async def wait_readable(self) -> None:
        """Return when there is more to read. Raises trio.ClosedResourceError."""
        await trio.lowlevel.wait_readable(self._sock)

    async def receive(self, *, at_once: bool = False) -> bytes:
        """Return what the peer sent, empty at its end. From HELD on: wait until cancelled. Raises OSError.

        at_once: no pass of the loop for what is here already, for a task that has just begun.
        """
        if self.held:
            await trio.sleep_forever()
        if at_once:
            await trio.lowlevel.checkpoint_if_cancelled()
            with suppress(BlockingIOError):
                return self._sock.recv(RECEIVE_BYTES_MAX)  # progress is counted from when the task was made
        data = await self._when(trio.lowlevel.wait_readable, self._sock.recv, RECEIVE_BYTES_MAX)
        self.progressed_at = trio.current_time()
        return data

    async def send(self, data: bytes) -> None:
        """Send all of it; raises OSError. A broken peer is remembered in `broken`. Cancelled: a part may be out.

        Progress is to take all of it, or TAKEN_BYTES_MIN.
        """
        if self.stage is Stage.ADOPTED:
            await trio.lowlevel.checkpoint()
            return
        self.sending = True
        self.progressed_at = self.taken_at = trio.current_time()
        try:
            rest, taken = memoryview(data), 0
            while rest:
                sent = await self._when(trio.lowlevel.wait_writable, self._sock.send, rest)
                rest, taken = rest[sent:], taken + sent
                if taken >= TAKEN_BYTES_MIN:
                    self.progressed_at = self.taken_at = trio.current_time()
                    taken = 0
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

    def is_gone(self) -> bool:
        """Whether the peer has closed or reset the connection, with nothing read; False where that cannot be known."""
        if self.stage is not Stage.HELD or not hasattr(select, "POLLRDHUP"):
            return False
        ends = select.poll()
        ends.register(self._sock.fileno(), select.POLLRDHUP)  # of an error and a reset it tells anyway: poll(2)
        return bool(ends.poll(0))

    def arm(self) -> None:
        """Allow the 101. Raises NotAdoptable unless an upgrade is waiting for its answer."""
        if self.stage is not Stage.HELD:
            raise NotAdoptable(
                f"the connection of {self.peer} is {self.stage.name}: an upgrade is adopted once, when asked for"
            )
        self.stage = Stage.ARMED

    def accept(self, answer: bytes) -> None:
        """The upgrade is accepted, with this 101."""
        assert self.stage is Stage.ARMED, self.stage
        self._answer = answer
        self.stage = Stage.ACCEPTED

    def detach(self, subprotocol: str | None) -> Adopted:
        """Let the socket go. Nothing waits on it here: no read is ever begun after hold()."""
        assert self.stage is Stage.ACCEPTED, self.stage
        return self._let_go(subprotocol)

    def release(self) -> Adopted:
        """The same for a request that was held, and not answered. Raises NotAdoptable for any other."""
        if self.stage is not Stage.HELD:
            raise NotAdoptable(f"the connection of {self.peer} is {self.stage.name}: its request was not held back")
        return self._let_go(None)

    def _let_go(self, subprotocol: str | None) -> Adopted:
        self.stage = Stage.ADOPTED
        self.adopted = Adopted(self._sock, self._early, self.peer, subprotocol, self._answer)
        self._early = self._answer = b""
        return self.adopted

    def take_back(self) -> bool:
        """Own the socket again, which was let go and taken by nobody: the peer has had no answer. False if it was."""
        if self.adopted is None or self.adopted.taken:
            return False
        self.adopted.take()
        self.adopted, self.stage = None, Stage.HELD
        return True

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
