"""One HTTP/1.1 connection: Hypercorn's protocol object under our own reading, limits and end.

Hypercorn's `H11Protocol` parses and writes HTTP and calls the application; what stands around it in
`hypercorn.trio.tcp_server` is replaced here, because it has faults that a client can trigger (all measured on 0.18):
sends that cannot be cancelled, a keep-alive timer that never fires under Quart-Trio, tasks and descriptors kept for
ever when an application ends before the request's body does, HTTP/2 in clear text.

Guarantees: an idle connection costs one task. After an upgrade request's head not one byte reaches Hypercorn
(`http/adoption.py`). A 101 goes out only for an adopted connection, and with no extension but what the engine
agreed to. HTTP/2 is refused: prior knowledge with 505, `Upgrade: h2c` by answering in HTTP/1.1 (RFC 9110 section 7.8:
an upgrade may be ignored). What is in doubt about a head is 400, and nothing behind it is read (`http/heads.py`). What
Hypercorn answers with an empty body has the JSON envelope. `overdue()` says which limit the connection has passed; one
sweeper asks all of them (`http/server.py`): no task and no timer per connection. TLS is the socket's business
(`http/tls.py`); its handshake has a limit like the rest.
"""

import json
import logging
import sys
import uuid
from dataclasses import dataclass, replace
from enum import StrEnum
from http import HTTPStatus
from typing import Final, cast

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.events import Event as StreamEvent
from hypercorn.protocol.events import Response, StreamClosed
from hypercorn.protocol.h11 import H11Protocol, H11WSConnection
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import AppWrapper, ConnectionState
from hypercorn.typing import WorkerContext as WorkerContextPort

from greenroom.http.adoption import HAND_KEY, Hand, Stage
from greenroom.http.application_tasks import ApplicationTasks
from greenroom.http.errors import CODE_OF, failure
from greenroom.http.handshake import Handshake, scope_of
from greenroom.http.heads import (
    Headers,
    StrictHeads,
    asks_for_stream,
    asks_for_websocket,
    refusal_of,
    without_extensions,
)
from greenroom.http.turnstile import Turnstile

log = structlog.get_logger()

DISCARDED_BYTES_MAX: Final = 256 * 1024
DISCARD_SECONDS_MAX: Final = 1.0
REFUSAL_SECONDS_MAX: Final = 1.0
_CLOSING_HEADERS: Final = {
    HTTPStatus.UPGRADE_REQUIRED: (
        (b"connection", b"close, upgrade"),
        (b"upgrade", b"websocket"),
        (b"sec-websocket-version", b"13"),
    )
}
LAST_REQUEST_SECONDS_MAX: Final = 1.0  # while draining: for a request that is on its way


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """What one connection may cost. At each limit the connection ends; a slow head is answered with 408 first."""

    handshake_seconds_max: float = 10.0  # of TLS, from accept() on
    idle_seconds_max: float = 15.0  # between requests, and before the first byte of the first
    head_seconds_max: float = 10.0  # from the first byte of a request to the end of its header (slowloris)
    # A body that does not arrive: no byte for so long. An answer that is not read: no 64 KiB, or less if that is all.
    stalled_seconds_max: float = 30.0
    upgrade_seconds_max: float = 60.0  # from an upgrade request to the end of its view
    head_bytes_max: int = 16 * 1024
    connections_max: int = 10_000  # HTTP connections; at the limit new ones wait in the backlog
    descriptors_max: int = sys.maxsize  # of the process, whatever they are of; from there on new ones wait likewise


class Overdue(StrEnum):
    """The limit that a connection has passed."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    HEAD = "head"
    STALLED = "stalled"
    UPGRADE = "upgrade"


class Connection:
    """From accept() to the socket's end or adoption. One task owns it and calls run(); the server calls the rest."""

    def __init__(
        self,
        hand: Hand,
        app: AppWrapper,
        config: Config,
        context: WorkerContext,
        state: ConnectionState,
        limits: HttpLimits,
        turnstile: Turnstile,
    ) -> None:
        self.hand = hand
        self.scope = trio.CancelScope()
        self._app = app
        self._config = config
        self._context = context
        self._state = ConnectionState({**state, HAND_KEY: hand})
        self._limits = limits
        self._turnstile = turnstile
        self._is_queueing = self._has_place = False
        self._reading = trio.CancelScope()
        self._send_lock = trio.Lock()
        self._idle_since = trio.current_time()
        self._head_since: float | None = None
        self._expired: Overdue | None = None
        self._has_asked = False
        self._is_shaking_hands = False
        self._protocol: FrontProtocol | None = None

    async def run(self, server: tuple[str, int] | None) -> None:
        """Serve until the connection ends. May raise what Hypercorn or the application raises; closes nothing then."""
        if self.hand.is_secure and not await self._shake_hands():
            return
        async with trio.open_nursery() as nursery:
            self._protocol = FrontProtocol(self, ApplicationTasks(nursery), server)
            with self._reading:
                await self._read(self._protocol)
            if self._expired is Overdue.HEAD:
                await self._refuse_head(self._protocol)
            await self._protocol.handle(Closed())
        if self._protocol.has_unread_input and self.hand.stage is not Stage.ADOPTED:
            self.hand.half_close()
            with trio.move_on_after(DISCARD_SECONDS_MAX):
                await self.hand.discard(DISCARDED_BYTES_MAX)
        self._protocol = None  # breaks the cycle of bound methods: the memory goes now, not at a collection

    def overdue(self, now: float) -> Overdue | None:
        """Say which limit has passed at `now` (trio time). An application that works on an answer has none."""
        limits, progressed = self._limits, self.hand.progressed_at
        if self._is_queueing:
            return None
        if self._is_shaking_hands:
            return Overdue.HANDSHAKE if now - self._idle_since > limits.handshake_seconds_max else None
        if self._protocol is None or self._expired is not None:
            return None
        if self.hand.sending:
            return Overdue.STALLED if now - self.hand.taken_at > limits.stalled_seconds_max else None
        if self.hand.held:
            return Overdue.UPGRADE if now - progressed > limits.upgrade_seconds_max else None
        if self._protocol.is_between_requests:
            if self._head_since is not None:
                return Overdue.HEAD if now - self._head_since > limits.head_seconds_max else None
            idle_seconds_max = LAST_REQUEST_SECONDS_MAX if self.draining else limits.idle_seconds_max
            is_late = now - self._idle_since > idle_seconds_max and not self.hand.has_input
            return Overdue.IDLE if is_late else None
        if self._protocol.is_receiving_body and now - progressed > limits.stalled_seconds_max:
            return Overdue.STALLED
        return None

    def expire(self, why: Overdue) -> None:
        """End the connection for a limit it has passed."""
        self._expired = why
        if why is Overdue.HEAD:
            self._reading.cancel()
        else:
            self.scope.cancel()

    def finish_soon(self) -> None:
        """End now if idle; otherwise Hypercorn ends it after the answer that is being made (the context says so).

        One that has asked nothing yet was accepted a moment ago, and its request may be here: the sweeper ends it.
        """
        if self._is_idle and self._has_asked:
            self._reading.cancel()

    @property
    def _is_idle(self) -> bool:
        between = self._protocol is not None and not self.hand.held and self._protocol.is_between_requests
        return between and self._head_since is None

    async def _shake_hands(self) -> bool:
        """Begin TLS. False when the peer could not: it has heard why, and nobody else wants to know."""
        self._is_shaking_hands, is_done = True, False
        try:
            while not is_done:
                try:
                    is_done = await self._take_step()
                except BlockingIOError:
                    await self.hand.wait_readable()
        except (OSError, trio.ClosedResourceError) as fault:
            log.debug("http.handshake_failed", peer=self.hand.peer, why=str(fault))
            return False
        finally:
            self._is_shaking_hands = False
        self._idle_since = trio.current_time()
        return True

    async def _take_step(self) -> bool:
        """Take one step of the handshake, in a place: an RSA key takes a millisecond. True when it was the last."""
        await self._take_place()
        try:
            return self.hand.shake_hands()
        finally:
            self.leave_place()

    async def _read(self, protocol: "FrontProtocol") -> None:
        is_first = True
        while True:
            try:
                data = await self.hand.receive(at_once=is_first)
            except (OSError, trio.ClosedResourceError):
                return
            is_first = False
            if data and protocol.is_between_requests:
                await self._take_place()
                if self._head_since is None:
                    self._head_since = trio.current_time()
            try:
                await protocol.handle(RawData(data))
            finally:
                self.leave_place()
            if protocol.is_over:
                return
            if not data:
                await self._finish_last_answer(protocol)
                return

    async def _take_place(self) -> None:
        """Pass the turnstile. The peer is not blamed for the time that it takes."""
        queued_at = trio.current_time()
        self._is_queueing = True
        try:
            await self._turnstile.enter()
        finally:
            self._is_queueing = False
        self._has_place = True
        queued_seconds = trio.current_time() - queued_at
        self._idle_since += queued_seconds
        if self._head_since is not None:
            self._head_since += queued_seconds

    def leave_place(self) -> None:
        """The head is read, or is not whole yet: let the next one pass. Nothing when that was done already."""
        if self._has_place:
            self._has_place = False
            self._turnstile.leave()

    async def _finish_last_answer(self, protocol: "FrontProtocol") -> None:
        """Let a client that has half-closed have its answer (stock Hypercorn cuts it, even in the middle).

        A client that has gone cannot be told from it before something is written to it.
        """
        if protocol.stream is not None:
            await trio.sleep_forever()  # the end of the answer cancels the reading

    async def _refuse_head(self, protocol: "FrontProtocol") -> None:
        with trio.move_on_after(REFUSAL_SECONDS_MAX):
            await protocol.refuse(HTTPStatus.REQUEST_TIMEOUT, "the request's header did not arrive in time")

    async def protocol_send(self, event: Event) -> None:
        """What Hypercorn calls to write, to close, and to tell that a request began or that the next may come."""
        if isinstance(event, RawData):
            await self._write(event.data)
        elif isinstance(event, Closed):
            self._end()
        elif isinstance(event, Updated):
            self._note_request(idle=event.idle)

    async def _write(self, data: bytes) -> None:
        async with self._send_lock:
            try:
                await self.hand.send(data)
            except (OSError, trio.ClosedResourceError):
                self._reading.cancel()

    def _end(self) -> None:
        """End the reading; run() does the rest, in the task that owns the socket."""
        self.hand.half_close()
        self._reading.cancel()

    def _note_request(self, *, idle: bool) -> None:
        assert self._protocol is not None
        self._has_asked = True
        self._idle_since = trio.current_time()
        self._head_since = self._idle_since if idle and self._protocol.has_buffered_head else None

    # What FrontProtocol needs to know.

    def for_protocol(self) -> tuple[AppWrapper, Config, WorkerContext, ConnectionState]:
        """Return the application, its configuration, the server's context and the state of the scope."""
        return self._app, self._config, self._context, self._state

    @property
    def draining(self) -> bool:
        """Whether the server is about to stop, so that this answer is the last one."""
        return self._context.terminated.is_set()


class FrontProtocol(H11Protocol):
    """Hypercorn's HTTP/1.1 state machine with our refusals, our error bodies and the way out for upgrades."""

    def __init__(self, connection: Connection, tasks: ApplicationTasks, server: tuple[str, int] | None) -> None:
        app, config, context, state = connection.for_protocol()
        self._owner = connection
        self._refused = False
        self._asked_for_head = False
        super().__init__(
            app,
            config,
            cast("WorkerContextPort", context),
            tasks,  # type: ignore[arg-type]  # the port demands `async with`, which no one here uses
            state,
            connection.hand.is_secure,
            connection.hand.peer,
            server,
            connection.protocol_send,
        )
        self.connection: StrictHeads | H11WSConnection = StrictHeads(config.h11_max_incomplete_size)

    @property
    def is_between_requests(self) -> bool:
        """Whether the next thing to come is a request's head."""
        return self.connection.their_state is h11.IDLE

    @property
    def is_receiving_body(self) -> bool:
        """Whether more of the request's body has to come."""
        return self.connection.their_state is h11.SEND_BODY

    @property
    def has_buffered_head(self) -> bool:
        """Whether a part of the next request is here already."""
        return bool(self.connection.trailing_data[0])

    @property
    def has_unread_input(self) -> bool:
        """Whether the peer may be sending what no one reads, so that closing would reset the connection."""
        return self._owner.hand.held or self._refused or self.connection.their_state in {h11.SEND_BODY, h11.ERROR}

    @property
    def is_over(self) -> bool:
        """Whether an upgrade was answered, one way or the other: then nothing more is read here."""
        return isinstance(self.connection, H11WSConnection)

    async def refuse(self, status: HTTPStatus, message: str) -> None:
        """Answer with an error in the JSON envelope and end the connection. Nothing else is sent on it."""
        self._refused = True
        self._owner.leave_place()
        request_id = uuid.uuid4().hex
        body = _error_body(status, message, request_id)
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"x-request-id", request_id.encode()),
            *_CLOSING_HEADERS.get(status, ((b"connection", b"close"),)),
            *self.config.response_headers("h11"),
        ]
        with_body = not (self._asked_for_head and self.connection.our_state is h11.SEND_RESPONSE)
        await self._send_h11_event(h11.Response(status_code=status, reason=status.phrase.encode(), headers=headers))
        if with_body:
            await self._send_h11_event(h11.Data(data=body))
        await self._send_h11_event(h11.EndOfMessage())
        await self.send(Closed())

    async def stream_send(self, event: StreamEvent) -> None:
        """Write one event of the application's answer: overridden where Hypercorn's way is not ours."""
        if self._refused and not isinstance(event, StreamClosed):
            await trio.lowlevel.checkpoint()  # our refusal is the last thing on this connection
        elif isinstance(event, Response):
            await self._send_response(event)
        else:
            await super().stream_send(event)

    async def _send_response(self, event: Response) -> None:
        if event.headers == [(b"content-length", b"0"), (b"connection", b"close")]:  # Hypercorn's own words
            await self.refuse(HTTPStatus(event.status_code), HTTPStatus(event.status_code).phrase)
        elif self._owner.draining or self._owner.hand.held or self.is_receiving_body:
            # The last answer here, the latter because the rest of the body will not be read: say so, or the client's
            # next request meets the end.
            await super().stream_send(replace(event, headers=[*event.headers, (b"connection", b"close")]))
        else:
            await super().stream_send(event)

    async def _check_protocol(self, event: h11.Request) -> None:
        """Never switch to HTTP/2 (Hypercorn would, in clear text): _create_stream refuses what is not HTTP/1."""

    async def _create_stream(self, request: h11.Request) -> None:
        self._asked_for_head = request.method == b"HEAD"
        assert isinstance(self.connection, StrictHeads)
        headers = list(request.headers)  # once: h11 makes each pair anew, and several look at them
        upgrade = asks_for_websocket(request, headers)
        refusal = self.connection.fault or refusal_of(request, headers, upgrade=upgrade)
        if refusal is not None:
            await self.refuse(*refusal)
            return
        if upgrade or asks_for_stream(request):
            # Before the application hears of it: it may adopt as soon as it runs.
            self._owner.hand.hold(self.connection.trailing_data[0])
        if upgrade:
            self._owner.leave_place()  # its application may wait at the door
            await self._answer_upgrade(request.target, headers)
        else:
            await super()._create_stream(request)
            self._owner.leave_place()
            assert not self.is_over, "Hypercorn's notion of an upgrade has changed: see asks_for_websocket"

    async def _answer_upgrade(self, target: bytes, headers: Headers) -> None:
        """Here and now: until it is answered there is nothing to read."""
        hand = self._owner.hand
        self.connection = H11WSConnection(cast("h11.Connection", self.connection))  # writes refusals, reads nothing
        self.connection.buffer.clear()
        headers, hand.offers = without_extensions(headers)
        scope, key = scope_of(
            target,
            headers,
            scheme="wss" if hand.is_secure else "ws",
            client=self.client,
            server=self.server,
            state=self.connection_state,
        )
        await Handshake(hand, self, scope, key).run(self.app)

    async def _send_error_response(self, status_code: int) -> None:
        """Answer what h11 could not parse."""
        # 501 is what h11 says of every transfer coding but chunked alone. If chunked is not the last one, 400 is a must
        # (RFC 9112 section 6.3); if it is, 501 is no more than advised (section 6.1).
        status = HTTPStatus(400 if status_code == HTTPStatus.NOT_IMPLEMENTED else status_code)
        await self.refuse(status, f"the request could not be understood: {status.phrase}")


def _error_body(status: HTTPStatus, message: str, request_id: str) -> bytes:
    code = CODE_OF.get(status, "BAD_REQUEST" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "INTERNAL")
    return json.dumps(failure(code, message, request_id)).encode()


def hypercorn_config(limits: HttpLimits) -> Config:
    """Return Hypercorn's configuration as far as it matters here: what is not set is decided in this module."""
    config = Config()
    config.h11_max_incomplete_size = limits.head_bytes_max
    config.alpn_protocols = ["http/1.1"]
    config.include_server_header = False
    config.accesslog = None
    config.errorlog = logging.getLogger("greenroom.http.hypercorn")
    return config
