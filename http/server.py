"""The HTTP server: accepts, attends, sweeps and stops. It runs in the caller's nursery, on the caller's listeners.

Guarantees: no exception of one connection can end the process or another connection: `_attend` is total. (Stock
Hypercorn on trio exits when an upgrade request and a frame come in one segment.) Out of descriptors, or of those that
HTTP may take, accepting pauses instead of spinning. One sweeper ends every connection that has passed a limit of
`HttpLimits`. The application's startup and shutdown hooks run, shutdown also when the server is cancelled.

Stopping goes in phases, from outside: `stop_accepting()` leaves the listeners open, so that clients of a port that
outlives us wait in its backlog instead of being refused; `drain()` lets the answers in progress end; `aclose()` cuts
what is left and runs the shutdown hooks. Adopted sockets belong to the engine: not counted, not closed here.
"""

import errno
import os
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import structlog
import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.trio.lifespan import Lifespan
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ConnectionState, LifespanState
from hypercorn.utils import LifespanFailureError

from greenroom.http.adoption import Hand
from greenroom.http.connection import Connection, HttpLimits, Overdue, hypercorn_config
from greenroom.http.tls import TlsTransport
from greenroom.http.turnstile import Turnstile
from greenroom.runtime import sleep_to_tick

log = structlog.get_logger()

# Taken in one pass of the loop, which is long where thousands come at once. What overflows the backlog meanwhile the
# kernel resets after some seconds, although its peer believes to be connected; each costs a tenth of a millisecond.
ACCEPTS_AT_ONCE: Final = 16
ACCEPT_PAUSE_SECONDS: Final = 0.1  # asyncio waits 1 s, trio 0.1 s
SHORTAGE_SECONDS: Final = 10.0  # without a pause, then a shortage is over: in a lasting one some come in now and then
SHUTDOWN_SECONDS_MAX: Final = 10.0
SWEEP_SECONDS: Final = 1.0

# accept(2) on Linux passes on what had already befallen the one connection it was to return: nothing to wait for.
_FAULTS_OF_ONE_PEER: Final = {
    errno.ECONNABORTED,
    errno.ECONNRESET,
    errno.EHOSTUNREACH,
    errno.ENETDOWN,
    errno.ENETUNREACH,
    errno.EPERM,
    errno.EPROTO,
    errno.ETIMEDOUT,
}


class HookFailed(Exception):
    """A startup or shutdown hook of the application failed; the message says which, and its words."""


@dataclass(frozen=True, slots=True)
class HttpStatistics:
    """Counts since the start, except `connections_open`."""

    connections_open: int
    accepted: int
    adopted: int
    faults_guarded: int
    accept_pauses: int
    swept: Mapping[Overdue, int]


async def serve(
    app: ASGIFramework,
    listeners: Sequence[trio.SocketListener],
    *,
    limits: HttpLimits | None = None,
    tls: ssl.SSLContext | None = None,
    task_status: trio.TaskStatus["HttpServer"] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until aclose(), or until cancelled; started(server) when the startup hooks have run and the port answers.

    tls: every connection is https. Raises HookFailed when a startup or shutdown hook does. Leaves the listeners open.
    """
    server = HttpServer(app, limits or HttpLimits(), tls)
    await server.run(listeners, lambda: task_status.started(server))


class HttpServer:
    """What serve() gives to its starter: statistics and the phases of stopping."""

    def __init__(self, app: ASGIFramework, limits: HttpLimits, tls: ssl.SSLContext | None = None) -> None:
        self._app = ASGIWrapper(app)
        self._tls = tls
        self._limits = limits
        self._config = hypercorn_config(limits)
        self._turnstile = Turnstile()
        self._context = WorkerContext(max_requests=None)
        self._state: LifespanState = {}
        self._accepting = trio.CancelScope()
        self._serving = trio.CancelScope()
        self._closed = trio.Event()
        self._hook_fault: ExceptionGroup[LifespanFailureError] | None = None
        self._connections: set[Connection] = set()
        self._one_ended = trio.Event()
        self._accepted = self._adopted = self._faults = self._accept_pauses = 0
        self._swept: Counter[Overdue] = Counter()

    def statistics(self) -> HttpStatistics:
        """Return the counts of this moment."""
        return HttpStatistics(
            connections_open=len(self._connections),
            accepted=self._accepted,
            adopted=self._adopted,
            faults_guarded=self._faults,
            accept_pauses=self._accept_pauses,
            swept=dict(self._swept),
        )

    def stop_accepting(self) -> None:
        """Take no more connections. The listeners stay open: clients wait in the backlog."""
        self._accepting.cancel()

    async def drain(self) -> None:
        """Wait until every answer in progress is out; idle connections end at once. Deadline: the caller's scope."""
        await self._context.terminated.set()
        for connection in tuple(self._connections):
            connection.finish_soon()
        while self._connections:
            await self._one_ended.wait()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Cut what is left, run the shutdown hooks, and wait until serve() is about to return."""
        self._serving.cancel()
        await self._closed.wait()

    async def run(self, listeners: Sequence[trio.SocketListener], on_ready: Callable[[], None]) -> None:
        """Do what serve() says; called by it, once."""
        lifespan = Lifespan(self._app, self._config, self._state)
        hooks = trio.CancelScope(shield=True)  # the shutdown hooks have their turn although we are cancelled
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._run_hooks, lifespan, hooks)
                try:
                    await lifespan.wait_for_startup()
                    # Hypercorn wakes us also when the startup hooks have failed; then both events are set.
                    if not (lifespan.supported and lifespan.shutdown.is_set()):
                        await self._serve_started(lifespan, listeners, on_ready)
                finally:
                    # It is about to end by itself if the hooks have run; a cancellation would hide what they raised.
                    hooks.deadline = trio.current_time() + (SHUTDOWN_SECONDS_MAX if lifespan.shutdown.is_set() else 0)
        finally:
            self._closed.set()
        if self._hook_fault is not None:
            raise HookFailed(str(self._hook_fault.exceptions[0])) from self._hook_fault

    async def _run_hooks(self, lifespan: Lifespan, scope: trio.CancelScope) -> None:
        try:
            with scope:
                await lifespan.handle_lifespan()
        except* LifespanFailureError as fault:
            self._hook_fault = fault

    async def _serve_started(
        self, lifespan: Lifespan, listeners: Sequence[trio.SocketListener], on_ready: Callable[[], None]
    ) -> None:
        try:
            with self._serving:
                await self._serve(listeners, on_ready)
        finally:
            with trio.move_on_after(SHUTDOWN_SECONDS_MAX, shield=True):
                if not lifespan.shutdown.is_set():
                    await lifespan.wait_for_shutdown()

    async def _serve(self, listeners: Sequence[trio.SocketListener], on_ready: Callable[[], None]) -> None:
        async with trio.open_nursery() as connections:
            connections.start_soon(self._sweep)
            with self._accepting:
                async with trio.open_nursery() as acceptors:
                    for listener in listeners:
                        acceptors.start_soon(self._accept, listener, connections)
                    on_ready()
            await trio.sleep_forever()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        # Past trio's socket: with it each connection was three Python objects in turn, and one accept() more.
        listening = socket.socket(fileno=listener.socket.fileno())
        listening.setblocking(False)
        try:
            await self._accept_from(listening, connections)
        finally:
            listening.detach()

    async def _accept_from(self, listening: socket.socket, connections: trio.Nursery) -> None:
        address = listening.getsockname()[:2]
        descriptors_max, highest, told_until = self._limits.descriptors_max, 0, 0.0
        while True:
            while len(self._connections) >= self._limits.connections_max:
                await self._one_ended.wait()
            try:
                await trio.lowlevel.wait_readable(listening)
                for _ in range(min(ACCEPTS_AT_ONCE, self._limits.connections_max - len(self._connections))):
                    if highest + 1 >= descriptors_max:  # once it was near, each is asked for
                        self._require_descriptor(listening)
                    sock, peer = listening.accept()
                    highest = max(highest, sock.fileno())
                    self._accepted += 1
                    connections.start_soon(self._attend, self._connection(sock, peer[:2]), address)
            except trio.ClosedResourceError:
                return
            except BlockingIOError:
                pass  # that was the last; or it went to another process, or is gone
            except OSError as fault:
                if fault.errno not in _FAULTS_OF_ONE_PEER:
                    now = trio.current_time()
                    if now >= told_until:  # once per shortage, not ten times a second
                        log.exception("http.accept_paused", connections_open=len(self._connections))
                    told_until = now + SHORTAGE_SECONDS
                    self._accept_pauses += 1
                    await trio.sleep(ACCEPT_PAUSE_SECONDS)

    def _require_descriptor(self, listening: socket.socket) -> None:
        """Raise OSError, as accept() does when there is none, where the next one is beyond what HTTP may take.

        POSIX gives the lowest that is free: so many are open, then, whatever they are of.
        """
        os.close(next_one := os.dup(listening.fileno()))
        if next_one >= self._limits.descriptors_max:
            raise OSError(errno.EMFILE, f"{next_one} descriptors are open, and the rest is not HTTP's")

    def _connection(self, sock: socket.socket, peer: tuple[str, int]) -> Connection:
        sock.setblocking(False)
        hand = Hand(sock if self._tls is None else TlsTransport(sock, self._tls), peer)
        connection = Connection(
            hand, self._app, self._config, self._context, ConnectionState(self._state), self._limits, self._turnstile
        )
        self._connections.add(connection)
        return connection

    async def _attend(self, connection: Connection, address: tuple[str, int]) -> None:
        """Run one connection to its end. Raises nothing but cancellation."""
        hand = connection.hand
        try:
            with connection.scope:
                await connection.run(address)
        except* Exception as fault:
            self._faults += 1
            log.exception("http.connection_failed", peer=hand.peer, exc_info=fault)
        finally:
            self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        hand = connection.hand
        if hand.adopted is not None and hand.adopted.taken:
            self._adopted += 1
        elif hand.adopted is not None:
            log.error("http.adopted_not_taken", peer=hand.peer)
        hand.close()
        self._connections.discard(connection)
        self._one_ended.set()
        self._one_ended = trio.Event()

    async def _sweep(self) -> None:
        limits = self._limits
        shortest = min(
            limits.handshake_seconds_max,
            limits.idle_seconds_max,
            limits.head_seconds_max,
            limits.stalled_seconds_max,
            limits.upgrade_seconds_max,
        )
        while True:
            await sleep_to_tick(min(SWEEP_SECONDS, shortest / 4))
            now = trio.current_time()
            for connection in tuple(self._connections):
                why = connection.overdue(now)
                if why is not None:
                    self._swept[why] += 1
                    connection.expire(why)
