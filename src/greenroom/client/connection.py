"""One WebSocket that is always being kept, until there is no use in it.

    connecting ──open──▶ open ──closed, silent, no answer to a probe──▶ waiting ──▶ connecting …
         │                 │                                              ▲
         └─────────────────┴────── the range of the close code says how long, or: ended

Knows frames only as far as they are about the line: ping, pong and reconnect end here, but for a pong with an id, which
answers what was asked.
"""

import random
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import h11
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, wrap_client_stream
from wsproto.utilities import ProtocolError

from greenroom.client.backoff import HEEDED_SECONDS_MAX, heeded, move_seconds, retry_seconds
from greenroom.client.door import Token, is_showable
from greenroom.client.errors import ClientRefused
from greenroom.client.frames import frames_of
from greenroom.client.requests import why_rejected

SUBPROTOCOL: Final = "greenroom.v1"
CONNECT_SECONDS_MAX: Final = 10.0
PROBE_SECONDS: Final = 4.0  # nothing heard so long while something is awaited: ask; and so long again: gone
CLOSE_SECONDS_MAX: Final = 2.0
SILENCE_SECONDS_DEFAULT: Final = 40.0
EXPECTED_SECONDS_MAX: Final = 10.0  # away for so long after the server has asked for it, nobody needs to be told
_TICK_SECONDS: Final = 0.5
_UNAUTHENTICATED: Final = 4001
_TOKEN_EXPIRED: Final = 4002
_DRAINING: Final = 4200
_RESTARTS: Final = (1012, _DRAINING)  # with which a server closes that is, or will be, elsewhere or anew
_ABNORMAL: Final = 1006  # no close frame came: RFC 6455 section 7.4.1


class OnLost(Protocol):
    """What is called when a connection is lost."""

    async def __call__(self, code: int, why: str, retry_seconds: float, *, is_expected: bool) -> None:
        """code: of the close. is_expected: the server has asked for it lately."""


@dataclass(frozen=True, slots=True)
class _End:
    """Why a connection is over. wait: seconds that the server has named, None when it has not."""

    code: int
    why: str
    reason: str = ""
    wait: float | None = None


class Connection:
    """See the top of this file. on_frame and on_lost (code, why, retry_seconds, is_expected) are awaited.

    connects: how many connections were begun. is_awaiting is asked.
    """

    def __init__(
        self,
        url: str,
        token: Token,
        *,
        on_frame: Callable[[dict[str, Any]], Awaitable[None]],
        on_lost: OnLost,
        is_awaiting: Callable[[], bool],
    ) -> None:
        self.silence_seconds = SILENCE_SECONDS_DEFAULT
        self.token = token if isinstance(token, str) else ""  # as it was last asked for
        self._url = url
        self._ask_token = None if isinstance(token, str) else token
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._is_awaiting = is_awaiting
        self._frames: trio.MemorySendChannel[str] | None = None  # None while there is nobody to write to
        self.connects = 0
        self._failures = 0
        self._was_renewed = False
        self._expected_until = float("-inf")
        self._is_hurried = False
        self._pause = trio.CancelScope()  # between two tries
        self._heard_at = 0.0
        self._probed_at: float | None = None
        self._is_busy = False  # with what was heard: it is we who do not listen
        self._end: _End | None = None  # of the conversation, when it is we who end it
        self._is_leaving = False
        self._scope = trio.CancelScope()  # around what need not end in order
        self._closing = trio.CancelScope()  # around what ends it in order
        self._close_seconds_max = CLOSE_SECONDS_MAX

    @property
    def is_token_renewable(self) -> bool:
        """There is somebody to ask for another token."""
        return self._ask_token is not None

    @property
    def is_open(self) -> bool:
        """There is somebody to write to."""
        return self._frames is not None

    async def fresh_token(self) -> str:
        """A token as it is now, of whatever kind. Raises what `token` raises.

        One that comes when another connection is begun already takes the place of none.
        """
        if self._ask_token is None:
            return self.token
        connects = self.connects
        token = await self._ask_token()
        if connects == self.connects:
            self.token = token
        return token

    def check_token(self, token: str) -> None:
        """The server would say the same of what cannot be shown to it. Raises: ClientRefused."""
        if not is_showable(token):
            what = "the token is no text, empty, or has characters that none has, such as a line break at its end"
            raise ClientRefused(_UNAUTHENTICATED, what)

    def live(self) -> None:
        """The session has caught up: the next failure waits little again."""
        self._failures, self._was_renewed = 0, False
        self._expected_until = float("-inf")

    def write(self, text: str) -> None:
        """Send a frame, if there is somebody to send it to."""
        if self._frames is not None:
            self._frames.send_nowait(text)

    def retry_now(self) -> None:
        """The network is back, or somebody is who does not want to wait."""
        if self._frames is None:
            self._is_hurried = True
            self._pause.cancel(reason="not to wait")
        elif self._probed_at is None and trio.current_time() - self._heard_at > PROBE_SECONDS:
            self._probe()

    def give_up(self, why: str, wait_seconds: float | None = None) -> None:
        """The server does not want this connection, and does not close it. wait_seconds: that it has named."""
        self._over(_End(_ABNORMAL, why, wait=wait_seconds))

    def refuse(self, code: int, why: str) -> None:
        """Trying again would not help: `keep` ends as if the server had closed with this code."""
        self._over(_End(code, why))

    def leave(self) -> None:
        """Close in order, and end `keep`."""
        self._is_leaving = True
        self._scope.cancel(reason="the client leaves")

    def leave_now(self) -> None:
        """As `leave`, and the server has no time to answer the close."""
        self._close_seconds_max = 0.0
        self._closing.cancel(reason="nobody waits for an answer")
        self.leave()

    async def keep(self) -> None:
        """Keep the connection until `leave`. Raises: ClientRefused."""
        while not self._is_leaving:
            end = await self._connect()
            if self._is_leaving:
                return
            seconds = self._wait(end)
            if seconds is None:
                raise ClientRefused(end.code, end.why)
            self._failures += 1
            now = trio.current_time()
            if end.code in _RESTARTS:
                self._expected_until = now + EXPECTED_SECONDS_MAX
            self._is_hurried = False
            with trio.CancelScope() as self._scope:
                await self._on_lost(end.code, end.why, seconds, is_expected=now < self._expected_until)
                with trio.move_on_after(0 if self._is_hurried else seconds) as self._pause:
                    await trio.sleep_forever()

    def _wait(self, end: _End) -> float | None:
        if end.code in (_TOKEN_EXPIRED, 401) and self.is_token_renewable and not self._was_renewed:
            self._was_renewed = True
            return 0.0
        if end.code in (401, 403):
            return None
        if end.code == _DRAINING and end.wait is not None:  # a moment of our own: no jitter on top
            return 0.0
        seconds = retry_seconds(end.code, end.reason, self._failures, random.random())
        return seconds if seconds is None or end.wait is None else heeded(end.wait) + seconds

    # -- one connection -----------------------------------------------------------------------------------------

    async def _connect(self) -> _End:
        """Hold one connection to its end. Raises: ClientRefused."""
        self._end = None
        self.connects += 1
        with trio.move_on_after(CONNECT_SECONDS_MAX) as self._scope:
            try:
                self.check_token(await self.fresh_token())
            except ClientRefused:
                raise
            except Exception as fault:  # theirs: it may go well next time
                return _End(_ABNORMAL, f"there is no token: {fault}")
        if self._scope.cancelled_caught:
            return _End(_ABNORMAL, "there is no token in time")
        end = _End(_ABNORMAL, f"{self._url} does not answer")
        try:
            async with (
                trio.open_nursery() as nursery
            ):  # of the task that reads the socket, which sees the close through
                end = await self._hold(nursery)
                nursery.cancel_scope.cancel(reason="the connection is over")
        except* ConnectionRejected as rejected:  # by that task
            end = _end_of(rejected.exceptions[0])
        except* (h11.ProtocolError, ProtocolError):  # by that task: what came is no HTTP, or no answer to a handshake
            end = _End(_ABNORMAL, f"what answers at {self._url} is no greenroom")
        self._frames = None
        return self._end or end

    async def _hold(self, nursery: trio.Nursery) -> _End:
        end, stream, socket = _End(_ABNORMAL, f"{self._url} does not answer"), None, None
        try:
            with trio.move_on_after(CONNECT_SECONDS_MAX) as self._scope:
                stream = await self._dial()
                socket = await self._shake_hands(nursery, _Line(stream, self._scope))
            if socket is not None and socket.subprotocol != SUBPROTOCOL:  # RFC 6455 section 4.1
                end = _End(_ABNORMAL, f"what answers at {self._url} is no greenroom")
            elif socket is not None and not self._is_leaving:
                with trio.CancelScope() as self._scope:
                    end = await self._converse(socket)
                if self._end is None or self._end.code != _ABNORMAL:  # else nobody is there to say goodbye to
                    with trio.move_on_after(self._close_seconds_max, shield=True) as self._closing:
                        await socket.aclose()
        except (OSError, trio.BrokenResourceError):
            return end
        finally:
            if stream is not None:
                await trio.aclose_forcefully(stream)
        return end

    async def _dial(self) -> trio.SocketStream | trio.SSLStream[trio.SocketStream]:
        parts = urlsplit(self._url)
        assert parts.hostname is not None
        if parts.scheme == "http":
            return await trio.open_tcp_stream(parts.hostname, parts.port or 80)
        stream = await trio.open_ssl_over_tcp_stream(
            parts.hostname, parts.port or 443, ssl_context=ssl.create_default_context()
        )
        await stream.do_handshake()
        return stream

    async def _shake_hands(self, nursery: trio.Nursery, line: Any) -> Any:
        parts = urlsplit(self._url)
        return await wrap_client_stream(
            nursery,
            line,
            parts.netloc.rpartition("@")[2],
            f"{parts.path.rstrip('/')}/ws",
            subprotocols=[SUBPROTOCOL],
            extra_headers=[(b"Authorization", f"Bearer {self.token}".encode())],
            message_queue_size=64,
        )

    async def _converse(self, socket: Any) -> _End:
        self._frames, frames = trio.open_memory_channel[str](float("inf"))  # bounded by outbox and replies
        self._heard_at, self._probed_at = trio.current_time(), None
        end = _End(_ABNORMAL, "the connection was lost")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_write_all, socket, frames)
            nursery.start_soon(self._watch)
            try:
                while True:
                    await self._heard(await socket.get_message(), nursery)
            except ConnectionClosed as closed:
                if closed.reason is not None and closed.reason.code != _ABNORMAL:
                    code, reason = closed.reason.code, closed.reason.reason or ""
                    end = _End(code, reason or f"closed with {code}", reason)
            nursery.cancel_scope.cancel(reason=end.why)
        return end

    async def _heard(self, text: str | bytes, nursery: trio.Nursery) -> None:
        if self._end is not None:  # it was decided in the moment in which this came: the next connection is told it
            return
        self._is_busy, self._probed_at = True, None
        for frame in frames_of(text):
            kind = frame.get("type")
            if kind == "ping":
                self.write('{"type":"pong"}')
            elif kind != "pong" or "id" in frame:
                await self._take(frame, nursery)
            if self._end is not None and self._end.code != _DRAINING:
                break
        self._is_busy, self._heard_at = False, trio.current_time()
        if self._end is not None:
            self._scope.cancel(reason=self._end.why)

    async def _take(self, frame: dict[str, Any], nursery: trio.Nursery) -> None:
        """Whoever says what no greenroom says is none: that costs a try, as other answers do."""
        try:
            if frame.get("type") == "reconnect":
                data = frame.get("data", {})
                seconds = move_seconds(data.get("after", 0), data.get("deadline"), random.random())
                nursery.start_soon(self._move_after, seconds)
            else:
                await self._on_frame(frame)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as fault:
            what = f"its {frame.get('type')!r:.40} cannot be read ({fault!r:.80})"
            self._over(_End(_ABNORMAL, f"what answers at {self._url} is no greenroom: {what}"))

    async def _move_after(self, seconds: float) -> None:
        """The server gave everybody a moment of their own, and some time after it."""
        await trio.sleep(seconds)
        self._over(_End(_DRAINING, "the server asks to connect again", wait=0.0))

    async def _watch(self) -> None:
        """A line that was cut does not say goodbye."""
        while True:
            await trio.sleep(_TICK_SECONDS)
            now = trio.current_time()
            if self._is_busy:
                continue
            if now - self._heard_at > self.silence_seconds:
                self._over(_End(_ABNORMAL, "nothing was heard for too long"))
            elif self._probed_at is not None and now - self._probed_at > PROBE_SECONDS:
                self._over(_End(_ABNORMAL, "nobody answers"))
            elif self._probed_at is None and self._is_awaiting() and now - self._heard_at > PROBE_SECONDS:
                self._probe()

    def _probe(self) -> None:
        self._probed_at = trio.current_time()
        self.write('{"type":"ping"}')

    def _over(self, end: _End) -> None:
        """End the conversation, behind what was heard: the room's log has taken it, so it must be told."""
        self._end = end
        if not self._is_busy:
            self._scope.cancel(reason=end.why)


class _Line(trio.abc.Stream):
    """A stream that ends *opening* when it ends itself: trio-websocket would go on waiting for the handshake."""

    def __init__(self, stream: trio.abc.Stream, opening: trio.CancelScope) -> None:
        self._stream = stream
        self._opening = opening

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._opening.cancel(reason="the line is broken")
            raise

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        data: bytes | bytearray = b""
        try:
            data = await self._stream.receive_some(max_bytes)
        finally:
            if not data:
                self._opening.cancel(reason="the line has ended")
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


def _end_of(rejected: BaseException) -> _End:
    """What an answer other than 101 means: 401 and 403 as they are, everything else may pass."""
    assert isinstance(rejected, ConnectionRejected)
    status = rejected.status_code
    headers = {name.lower(): value for name, value in rejected.headers or ()}
    retry_after = headers.get(b"retry-after", b"")
    wait = min(float(retry_after), HEEDED_SECONDS_MAX) if retry_after.isdigit() else None  # many digits are infinite
    why = why_rejected(status, rejected.body)
    return _End(status if status in (401, 403) else _ABNORMAL, why, wait=wait)


async def _write_all(socket: Any, frames: trio.MemoryReceiveChannel[str]) -> None:
    try:
        async for text in frames:
            await socket.send_message(text)
    except ConnectionClosed:
        return  # the reader is told as well, and ends the conversation
