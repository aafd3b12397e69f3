"""The socket engine: every adopted connection of the process, three tasks in all.

    reader   waits on one epoll descriptor; reads, parses and hands text to sessions, half a millisecond at a time
    flusher  sends what connections collected, one send each; woken once for a whole commit
    ticker   turns the wheel (`wheel.py`) by a slot a second: heartbeats, stuck and lingering sockets

No task, no nursery and no trio stream per connection: 4.5-8 µs of CPU per delivered frame and under 1 KB per idle bare
connection, against 150 µs, five tasks and 40 KB of the stock path. A fault of one session ends that session alone.
"""

import contextlib
from collections import Counter
from collections.abc import Awaitable, Callable
from time import perf_counter, thread_time
from typing import Final

import structlog
import trio

from greenroom.http.adoption import Adopted
from greenroom.http.transport import Transport
from greenroom.http.ws.codes import DRAINING, HEARTBEAT_TIMEOUT, INTERNAL, SLOW_CONSUMER
from greenroom.http.ws.connection import LINGER_BYTES_MAX, Connection
from greenroom.http.ws.contract import EngineStatistics, Session, SessionOver
from greenroom.http.ws.credentials import Credentials
from greenroom.http.ws.deflate import SharedDeflater
from greenroom.http.ws.drain import Drain
from greenroom.http.ws.frames import BinaryFrame, CloseFrame, Fault, TextFrame
from greenroom.http.ws.outboxes import Outboxes
from greenroom.http.ws.put_aside import AsideBudget
from greenroom.http.ws.readiness import BROKEN, READABLE, WRITABLE, open_readiness
from greenroom.http.ws.unfinished import Unfinished
from greenroom.http.ws.wheel import TICK_SECONDS, WHEEL_SLOTS, Wheel
from greenroom.runtime import sleep_together

log = structlog.get_logger()

READ_BYTES: Final = 8 * 1024  # so few, because a byte can cost a microsecond: empty frames are 6 bytes long
# Where a crowd is ready, so few of each: of a thousand that flood one who says something would wait four seconds.
CROWD: Final = 64
READ_CROWD_BYTES: Final = 1024
READ_REST_BYTES: Final = 64 * 1024  # of a frame whose beginning is here, with what comes behind it
# Of reading and of sending, before everything else gets its turn. Four passes of the loop lie between PostgreSQL's word
# that a batch is stored and the acks: with 2 ms each instead, one busy room stored a tenth less (15 thousand a second).
SLICE_SECONDS_MAX: Final = 0.0005
# A connection that used the processor for so long rests this many times as long: it has at most a tenth, whatever it
# says, also where nothing is counted (pings, frames that carry nothing, a client that has not said who it is).
TURN_SECONDS_MAX: Final = 0.001
REST: Final = 9.0
REST_SECONDS_MAX: Final = 1.0
SATED_REST_SECONDS: Final = 0.02  # after what inflated to as much as a message may hold, which takes 2 ms to act on


class SocketEngine:
    """Made by compose; `run` in a nursery."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._readiness = open_readiness()
        self._connections: dict[int, Connection] = {}
        self._by_user: dict[int, list[Connection]] = {}
        self._by_address: Counter[str] = Counter()
        self._unauthenticated: Counter[str] = Counter()
        self.credentials = Credentials()
        self.deflater = SharedDeflater()
        self.unfinished = Unfinished()
        self.outboxes, self.aside = Outboxes(self), AsideBudget()
        self._dirty: list[Connection] = []
        self._flusher: trio.lowlevel.Task | None = None
        self.wheel = Wheel()
        self._lingering, self._blocked = set[Connection](), set[Connection]()
        self._adopted = self._frames_in = self._faults = 0
        self._closed: Counter[int] = Counter()
        self.dropped_ephemeral = 0
        self._read_bytes = READ_BYTES
        self.now = self._polled_at = trio.current_time()
        self.drain = Drain(self)

    # -- who is here (read by admission) ------------------------------------------------------------------------

    @property
    def total(self) -> int:
        """Connections now."""
        return len(self._connections)

    @property
    def unauthenticated(self) -> int:
        """Connections that have not said who they are."""
        return self._unauthenticated.total()

    def unauthenticated_from(self, address: str) -> int:
        """Of those, from one address."""
        return self._unauthenticated[address]

    def from_address(self, address: str) -> int:
        """Connections of one address."""
        return self._by_address[address]

    def of_user(self, user_id: int) -> int:
        """Connections of one user."""
        return len(self._by_user.get(user_id, ()))

    def connections_of(self, user_id: int) -> list[Connection]:
        """The user's connections, oldest first."""
        return self._by_user.get(user_id, [])

    def users(self) -> list[int]:
        """Everybody who has a connection."""
        return list(self._by_user)

    def connection_at(self, fd: int) -> Connection | None:
        """The connection that a descriptor belongs to now."""
        return self._connections.get(fd)

    def all_connections(self) -> list[Connection]:
        """Every connection, oldest first, also those that have said their last word."""
        return list(self._connections.values())

    def open_connections(self) -> list[Connection]:
        """Those that have not."""
        return [connection for connection in self._connections.values() if not connection.is_closing]

    def connections_of_session(self, session_id: str) -> list[Connection]:
        """Connections that were opened under one session of the application."""
        return list(self.credentials.sessions.get(session_id, ()))

    # -- coming and going ---------------------------------------------------------------------------------------

    def adopt(
        self,
        adopted: Adopted,
        make_session: Callable[[Connection], Session],
        address: str,
        make_connection: Callable[["SocketEngine", Transport, str], Connection] = Connection,
    ) -> Connection:
        """Take the socket: it is the engine's. What *make_session* writes goes out at once, behind the answer."""
        connection = make_connection(self, adopted.take(), address)
        self._connections[connection.fd] = connection
        self._by_address[address] += 1
        self._adopted += 1
        if adopted.answer:
            connection.begin_with(adopted.answer)
        try:
            self._readiness.register(connection.fd, READABLE)  # first: a session may pause at once
            connection.session = session = make_session(connection)
            if session.user_id is None:
                self._unauthenticated[address] += 1
            else:
                self._by_user.setdefault(session.user_id, []).append(connection)
            self.credentials.add(connection, session.principal)
            self.beat_within(connection, min(session.first_beat_seconds, session.seconds_left()))
            if adopted.early:
                connection.reader.begin_with(adopted.early)
                self._feed_apart(connection, b"")
            if self.drain.is_over:
                connection.close(DRAINING)
        except BaseException:
            if not hasattr(connection, "session"):  # whoever has heard of the connection from it writes to nobody
                connection.session = SessionOver(None)
                self._unauthenticated[address] += 1
            connection.abort()
            raise
        if adopted.answer:
            connection.flush()
        return connection

    def authenticated(self, connection: Connection, user_id: int) -> None:
        """A connection that came without a credential has shown one."""
        self._unauthenticated[connection.address] -= 1
        self._unauthenticated += Counter()
        self._by_user.setdefault(user_id, []).append(connection)

    def forget(self, connection: Connection) -> None:
        """The connection is over; its socket is closed by the caller after this."""
        if self._connections.pop(connection.fd, None) is None:
            return
        with contextlib.suppress(OSError, ValueError, KeyError):
            self._readiness.unregister(connection.fd)
        self._lingering.discard(connection)
        self._blocked.discard(connection)
        self.credentials.discard(connection)
        self.unfinished.forget(connection)
        self.wheel.forget(connection)
        self._by_address[connection.address] -= 1
        if self._by_address[connection.address] <= 0:
            del self._by_address[connection.address]
        user_id = connection.session.user_id
        connection.session = SessionOver(connection.session)
        if user_id is None:
            self._unauthenticated[connection.address] -= 1
            self._unauthenticated += Counter()
        else:
            mine = self._by_user.get(user_id, [])
            if connection in mine:
                mine.remove(connection)
            if not mine:
                self._by_user.pop(user_id, None)

    def linger(self, connection: Connection) -> None:
        """The connection said its last word: give the peer a while to read it."""
        self._lingering.add(connection)

    def count_close(self, code: int) -> None:
        """For statistics: a connection ended with *code*."""
        self._closed[code] += 1

    # -- reading ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled."""
        async with trio.open_nursery() as nursery:
            for task in (self._read, self._flush, self._tick):
                nursery.start_soon(task)

    async def _read(self) -> None:
        descriptor = self._readiness.fileno()
        try:
            while True:
                await trio.lowlevel.wait_readable(descriptor)
                self.now = self._polled_at = trio.current_time()
                began, cpu_began = perf_counter(), thread_time()
                slice_ends = began + SLICE_SECONDS_MAX
                ready = self._readiness.poll()
                self._read_bytes = READ_BYTES if len(ready) < CROWD else READ_CROWD_BYTES
                for fd, events in ready:
                    if began > slice_ends:  # behind the last of them everything else gets its turn anyway
                        await trio.lowlevel.checkpoint()
                        self.now = trio.current_time()
                        began, cpu_began = perf_counter(), thread_time()
                        slice_ends = began + SLICE_SECONDS_MAX
                    if (connection := self._connections.get(fd)) is not None:
                        self._serve(connection, events)
                    ended = perf_counter()
                    if ended - began > TURN_SECONDS_MAX and connection is not None and not connection.is_closing:
                        self._let_rest(connection, min(ended - began, thread_time() - cpu_began))
                    began = ended
        finally:
            trio.lowlevel.notify_closing(descriptor)
            self._readiness.close()

    def _let_rest(self, connection: Connection, took: float) -> None:
        if took > TURN_SECONDS_MAX:
            connection.session.pause_for(min(REST * took, REST_SECONDS_MAX))

    def _serve(self, connection: Connection, events: int) -> None:
        try:
            if connection.is_paused and not connection.is_closing:  # what it said last is what may not be read now
                events &= ~READABLE
                if events & BROKEN and connection.opened_at <= self._polled_at:  # else it is of the descriptor's last
                    connection.abort()
            if events & WRITABLE:
                connection.writable()
            if events & READABLE and connection.is_open:
                self._receive(connection)
        except Exception as error:
            self.session_failed(connection, error)

    def _receive(self, connection: Connection) -> None:
        if (rest_bytes := connection.reader.rest_bytes) and not connection.session.takes_more():
            return
        try:
            data = connection.sock.recv(min(READ_REST_BYTES, rest_bytes + self._read_bytes))
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if not data:
            connection.abort()
        elif connection.is_closing:
            connection.linger_bytes += len(data)
            if connection.linger_bytes > LINGER_BYTES_MAX:
                connection.abort()
        else:
            connection.heard_at = self.now
            self._feed(connection, data)

    def _feed(self, connection: Connection, data: bytes) -> None:
        reader, session = connection.reader, connection.session
        for frame in reader.feed(data):
            if reader.replies:  # before what a later frame is answered with; it may be the end
                self._answer_pings(connection)
            if connection.is_closing:
                return
            self._frames_in += 1
            if type(frame) is TextFrame:
                session.receive(frame.text)
            elif isinstance(frame, CloseFrame):
                connection.answer_close(1000 if frame.code == 1005 else frame.code)
            elif isinstance(frame, Fault):
                connection.close_with(frame.code, frame.reason)
            elif isinstance(frame, BinaryFrame):
                session.refuse_binary()
        if reader.replies:
            self._answer_pings(connection)
        if reader.unfinished_bytes != reader.noted_bytes:
            self.unfinished.note(connection)
        if reader.is_sated:  # not read before `resume` has fed what is left
            session.pause_for(SATED_REST_SECONDS)

    def _answer_pings(self, connection: Connection) -> None:
        replies, connection.reader.replies = connection.reader.replies, b""
        if replies:
            connection.signal(replies)

    def session_failed(self, connection: Connection, error: Exception) -> None:
        """A fault of ours ends the session in which it came up, and it alone: nobody knows what it has left undone."""
        self._faults += 1
        log.error("session.failed", user=connection.session.user_id, exc_info=error)
        with contextlib.suppress(Exception):
            connection.close(INTERNAL)
        if connection not in self._lingering:  # it fails in the midst of its end
            connection.abort()

    def pause(self, connection: Connection) -> None:
        """Stop reading a connection: its commands wait in TCP."""
        if not connection.is_paused and connection.is_open:
            connection.is_paused = True
            self._watch(connection)

    def resume(self, connection: Connection) -> None:
        """Read it again."""
        if connection.is_paused and connection.is_open:
            connection.is_paused = False
            connection.heard_at = trio.current_time()
            self._watch(connection)
            if connection.reader.is_sated and not connection.is_closing:
                self._feed_apart(connection, b"")

    def _feed_apart(self, connection: Connection, data: bytes) -> None:
        """Not from a read: a fault of the session is not the caller's."""
        try:
            self._feed(connection, data)
        except Exception as error:
            self.session_failed(connection, error)

    # -- writing ------------------------------------------------------------------------------------------------

    def watch_writable(self, connection: Connection, is_wanted: bool) -> None:
        """The connection holds bytes that the kernel would not take, or no longer does."""
        (self._blocked.add if is_wanted else self._blocked.discard)(connection)
        self._watch(connection)

    def _watch(self, connection: Connection) -> None:
        events = 0 if connection.is_paused else READABLE
        self._readiness.modify(connection.fd, events | WRITABLE if connection in self._blocked else events)

    def flush_soon(self, connection: Connection) -> None:
        """Send what *connection* collects from now until the flusher runs."""
        self._dirty.append(connection)
        if self._flusher is not None:
            task, self._flusher = self._flusher, None
            trio.lowlevel.reschedule(task)

    async def _flush(self) -> None:
        while True:
            if not self._dirty:
                await self._park_flusher()
            dirty, self._dirty = self._dirty, []
            self.now = trio.current_time()
            slice_ends = perf_counter() + SLICE_SECONDS_MAX
            for connection in dirty:
                if perf_counter() > slice_ends:
                    await trio.lowlevel.checkpoint()
                    slice_ends = perf_counter() + SLICE_SECONDS_MAX
                try:
                    connection.flush()
                except Exception as error:
                    self.session_failed(connection, error)
            dirty.clear()  # else who has gone would stay until others are written to
            if self._dirty:  # else it parks, which is a checkpoint too
                await trio.lowlevel.checkpoint()

    async def _park_flusher(self) -> None:
        self._flusher = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._flusher = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    # -- time ---------------------------------------------------------------------------------------------------

    def spawn(self, fn: Callable[..., Awaitable[None]], *args: object, of: Connection | None = None) -> None:
        """Run a task. What it raises ends nothing but itself, and the session of *of*, which cannot go on without."""
        self._nursery.start_soon(self._guarded, of, fn, *args)

    async def _guarded(self, of: Connection | None, fn: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await fn(*args)
        except Exception as error:
            if of is not None:
                self.session_failed(of, error)
                return
            self._faults += 1
            log.exception("session.task_failed")

    async def _tick(self) -> None:
        """Turn the wheel by one slot a second."""
        due_at = trio.current_time() // TICK_SECONDS * TICK_SECONDS  # with all else that recurs
        while True:
            due_at += TICK_SECONDS
            await sleep_together(due_at)
            self.now = now = trio.current_time()
            due_at = max(due_at, (now - WHEEL_SLOTS) // TICK_SECONDS * TICK_SECONDS)
            await self._beat_those_due(now)
            self._end_stuck(now)

    async def _beat_those_due(self, now: float) -> None:
        for count, connection in enumerate(self.wheel.turn()):
            if self.wheel.is_due(connection, now):
                self._beat(connection, now)
            if count % 64 == 63:
                await trio.lowlevel.checkpoint()

    def _beat(self, connection: Connection, now: float) -> None:
        try:
            wait_seconds = connection.session.beat(now)
            if wait_seconds is None:
                connection.close(HEARTBEAT_TIMEOUT)
            else:
                self.beat_within(connection, wait_seconds)
        except Exception as error:
            self.session_failed(connection, error)

    def beat_within(self, connection: Connection, wait_seconds: float) -> None:
        """Have the session's `beat` called in so many seconds, unless its turn comes earlier anyway."""
        self.wheel.call_within(connection, wait_seconds)

    def _end_stuck(self, now: float) -> None:
        for connection in list(self._blocked):
            if not connection.is_closing and connection.is_stuck(now):
                connection.end(SLOW_CONSUMER)
        for connection in list(self._lingering):
            if now > connection.lingers_until:
                connection.abort()

    def statistics(self) -> EngineStatistics:
        """Counts now and since the start."""
        return EngineStatistics(
            connections=len(self._connections),
            unauthenticated=self.unauthenticated,
            users=len(self._by_user),
            adopted=self._adopted,
            frames_in=self._frames_in,
            dropped_ephemeral=self.dropped_ephemeral,
            closed=dict(self._closed),
            outboxes=self.outboxes.statistics(),
            faults=self._faults,
        )
