"""A connection: one socket, and the one outbox that owns everything written to it.

    write ──▶ pending ──flush──▶ send() ──all taken──▶ nothing is held
                                   └─ the kernel is full ──▶ queue ──writable──▶ send() …
    queue over OUTBOX_BYTES_MAX, or taken too slowly (`pace.py`): its head is old ──▶ closed with 4201
    what all queues hold over its budget (`outboxes.py`) ──▶ whoever has taken nothing for longest, likewise
    closed while the kernel is full ──▶ its buffer is widened, so that it holds the last word also after we are gone

`write` collects what one pass of the loop has for the socket, so that an ack and the messages of one commit are one
send. Classes: CONTROL and DURABLE are never dropped from an open connection; EPHEMERAL is dropped first, as soon as
the queue is half full; its newest state is told later by whoever wrote it (`overdue.py`, `presence_news.py`). Pings
and pongs go ahead of whole frames that wait. Nothing here waits.
"""

import secrets
import socket
from collections import deque
from collections.abc import Callable, Iterable
from itertools import count, islice
from typing import TYPE_CHECKING, Final, TypeGuard

import trio

from greenroom.http.transport import Transport, begun_bytes_of
from greenroom.http.ws.codes import SLOW_CONSUMER, CloseCode
from greenroom.http.ws.contract import Ranked, Session
from greenroom.http.ws.frames import FrameReader, close_frame
from greenroom.http.ws.pace import Pace
from greenroom.http.ws.pieces import Piece, rest_of, take_some

if TYPE_CHECKING:
    from greenroom.http.ws.engine import SocketEngine

OUTBOX_BYTES_MAX: Final = 1024 * 1024
JOINED_BYTES_MAX: Final = 4096
LINGER_SECONDS: Final = 5.0  # how long a closed connection may take to read its close frame
# How much of what it still says is read and forgotten meanwhile. Beyond it comes a reset, which takes the code away: so
# it is more than whoever sends a frame that is too long has on the way, as a rule.
LINGER_BYTES_MAX: Final = 1024 * 1024
SEND_BYTES_MAX: Final = 256 * 1024  # handed to the kernel at once
LAST_WORD_SECONDS: Final = 60  # how long the kernel keeps the close frame of a peer who does not read

NEVER: Final = 2**62  # turns of the wheel

# What clients are told a connection is. It begins anywhere, so that it is another one after a restart.
_numbers: Final = count(secrets.randbits(48))

CONTROL: Final = 0
DURABLE: Final = 1
EPHEMERAL: Final = 2


class Connection:
    """One adopted socket. can_be_told: its peer leaves by itself at the moment that it is given."""

    __slots__ = (
        "_pace",
        "_queue",
        "_queued_bytes",
        "address",
        "beats_at",
        "engine",
        "fd",
        "heard_at",
        "is_clear",
        "is_closing",
        "is_open",
        "is_paused",
        "is_rankable",
        "linger_bytes",
        "lingers_until",
        "looks_at",
        "number",
        "opened_at",
        "pending",
        "ranked",
        "reader",
        "session",
        "sock",
        "spoken_at",
    )

    session: Session
    can_be_told = True

    def __init__(self, engine: "SocketEngine", sock: Transport, address: str) -> None:
        self.engine = engine
        self.sock = sock
        self.fd = sock.fileno()
        self.address = address
        self.reader = FrameReader()
        self.pending: list[bytes] | None = None
        self._queue: deque[Piece] | None = None
        self._queued_bytes = 0
        self._pace: Pace | None = None  # of what is queued
        self.is_open = True
        self.is_closing = False
        self.is_clear = True  # nothing waits and it may be written to: a frame may go straight to the kernel
        self.ranked: tuple[Ranked, ...] = ()  # only while it is clear
        self.is_paused = False
        self.is_rankable = type(sock) is socket.socket  # others are sent other bytes
        self.lingers_until, self.linger_bytes = 0.0, 0
        self.number = next(_numbers)
        self.beats_at = self.looks_at = NEVER  # the turns of the wheel at which its session is called
        self.opened_at = self.heard_at = self.spoken_at = trio.current_time()

    # -- writing ------------------------------------------------------------------------------------------------

    def write(self, frame: bytes, kind: int = DURABLE) -> None:
        """Send *frame* with whatever else this pass of the loop has for the socket. kind: the class of the frame."""
        if self.is_closing:
            return
        if self._queue is not None:
            self._enqueue(frame, kind)
        elif self.pending is None:
            self.pending = [frame]
            self._not_clear()
            self.engine.flush_soon(self)
        else:
            self.pending.append(frame)

    def begin_with(self, answer: bytes) -> None:
        """Begin with *answer*, which is no frame; whoever calls this flushes it, with what was written after it."""
        self.pending = [answer]
        self._not_clear()

    def retell(self, room_id: int, frame_at: Callable[[int, bytes], bytes | None]) -> None:
        """A message was changed: not here, what was handed to a socket is on its way."""

    def write_now(self, frame: bytes) -> None:
        """Send a durable *frame* at once, without waking anybody: the walk over a large room."""
        if self.is_clear:
            self._send(frame)
        else:
            self.write(frame)

    def signal(self, frame: bytes) -> None:
        """Send a ping or a pong, at once and for itself: who gets nothing else is not spoken to."""
        if self.is_clear:
            self._send(frame)
        else:
            self.write_ahead(frame)

    def write_ahead(self, frame: bytes) -> None:
        """Send a sign of life: ahead of all that waits, or it would come too late, behind what is out in part."""
        if self._queue is None or self._pace is None or self.is_closing:
            self.write(frame, CONTROL)
        elif self._has_room(frame):
            place = self._begun(self._queue)
            if len(self._queue) > place and _may_grow(next_one := self._queue[place]):
                next_one += frame
            else:
                self._queue.insert(place, bytearray(frame))
            self._pace.went_ahead(len(frame))
            self._holds(self._queued_bytes + len(frame))

    def _begun(self, queue: deque[Piece]) -> int:
        """How many entries nothing may overtake: the first may be the rest of a frame, others encrypted already."""
        count, size, begun_bytes = 1, len(queue[0]), 0 if self.is_rankable else begun_bytes_of(self.sock)
        while size < begun_bytes:
            size += len(queue[count])
            count += 1
        return count

    @property
    def may_fall_in(self) -> bool:
        """Whether a walk may tell it what all are told, past this object."""
        return self.is_clear and self.is_rankable

    def flush(self) -> None:
        """Send what was collected."""
        pending, self.pending = self.pending, None
        if pending is None or not self.is_open:
            return
        self.is_clear = not self.is_closing
        self.spoken_at = self.engine.now
        if len(pending) == 1:
            self._send(pending[0])
        else:
            self._send_all(pending)

    def _not_clear(self) -> None:
        self.is_clear = False
        for place in self.ranked:
            place.fall_out()

    def _send_all(self, frames: list[bytes]) -> None:
        """Send *frames* in few large pieces; what the kernel does not take is queued frame by frame, and bounded."""
        piece: list[bytes] = []
        size = 0
        for frame in frames:
            if piece and size + len(frame) > SEND_BYTES_MAX:
                self._send_piece(piece)
                piece, size = [], 0
            if self._queue is not None:
                self._enqueue(frame, DURABLE)
            if self.is_closing:
                return
            if self._queue is None:
                piece.append(frame)
                size += len(frame)
        if piece:
            self._send_piece(piece)

    def _send_piece(self, frames: list[bytes]) -> None:
        data = b"".join(frames)
        try:
            sent = self.sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            self.abort()
            return
        if sent < len(data):
            first, *rest = rest_of(frames, sent)
            self.block(bytes(first))
            for frame in rest:  # each for itself, so that a ping finds its place between them
                if not self.is_closing:
                    self._enqueue(bytes(frame), DURABLE)

    def _send(self, data: bytes) -> None:
        try:
            sent = self.sock.send(data)
        except OSError as error:
            self.send_failed(data, error)
            return
        if sent < len(data):
            self.block(data[sent:])

    def send_failed(self, data: bytes, error: OSError) -> None:
        """The kernel took nothing of *data*: it is full, or the peer is gone."""
        if isinstance(error, BlockingIOError | InterruptedError):
            self.block(data)
        else:
            self.abort()

    def block(self, rest: bytes) -> None:
        """The kernel takes no more: keep the rest and wait until it does."""
        self._not_clear()
        self._queue = deque([rest])
        self._holds(len(rest))
        self._pace = Pace(trio.current_time())
        self.engine.watch_writable(self, True)

    def _enqueue(self, frame: bytes, kind: int) -> None:
        assert self._queue is not None
        if kind == EPHEMERAL and not self.takes_ephemeral:
            self.engine.dropped_ephemeral += 1
            return
        if not self._has_room(frame):
            return
        # A frame for a room is shared by all who wait for it, and kept as it is; one for this socket alone joins the
        # last such: an object for each would take several times its bytes.
        if kind == CONTROL and self._queue and _may_grow(last := self._queue[-1]):
            last += frame
        else:
            self._queue.append(bytearray(frame) if kind == CONTROL else frame)
        self._holds(self._queued_bytes + len(frame))

    def _holds(self, size: int) -> None:
        """So many bytes wait now."""
        held, self._queued_bytes = self._queued_bytes, size
        self.engine.outboxes.note(self, held, size)

    def _has_room(self, frame: bytes) -> bool:
        """Whether *frame* may wait; who has too much waiting is closed."""
        if self._queued_bytes + len(frame) <= OUTBOX_BYTES_MAX:
            return True
        self.end(SLOW_CONSUMER)
        return False

    def writable(self) -> None:
        """The kernel takes bytes again, or the peer is gone: the next read says so."""
        if self._queue is None or self._pace is None:
            return
        while self._queue:
            parts = take_some(self._queue, SEND_BYTES_MAX)
            data = parts[0] if len(parts) == 1 else b"".join(parts)
            try:
                sent = self.sock.send(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            except OSError:
                self.abort()
                return
            if sent:
                self._holds(self._queued_bytes - sent)
                self.spoken_at = trio.current_time()
                self._pace.took(sent, self.spoken_at)
            if sent < len(data):
                self._queue.extendleft(reversed(rest_of(parts, sent)))
                return
        self._queue = self._pace = None
        self.engine.watch_writable(self, False)
        if self.is_closing:
            self._half_close()
        else:
            self.is_clear = True

    @property
    def takes_ephemeral(self) -> bool:
        """What may be dropped is not dropped now."""
        return self._queued_bytes * 2 <= OUTBOX_BYTES_MAX

    @property
    def unsent_bytes(self) -> int:
        """What waits for the peer, outside the kernel."""
        return self._queued_bytes + (sum(map(len, self.pending)) if self.pending else 0)

    @property
    def queued_bytes(self) -> int:
        """What the kernel did not take."""
        return self._queued_bytes

    def queued(self) -> Iterable[Piece]:
        """The same, frame by frame; not to be gone through while others run."""
        return self._queue or ()

    def stuck_seconds(self, now: float) -> float:
        """For how long the peer has taken nothing of what waits for it."""
        return 0.0 if self._pace is None else now - self._pace.taken_at

    def is_stuck(self, now: float) -> bool:
        """Whether what waits for the peer is taken too slowly. Asked once a second, of who is blocked."""
        return self._pace is not None and not self._pace.is_kept(self._queued_bytes, now)

    # -- closing ------------------------------------------------------------------------------------------------

    def close(self, code: CloseCode) -> None:
        """Say why and end: the close frame goes ahead of everything whole that waits."""
        self.engine.outboxes.closed += code is SLOW_CONSUMER and self.is_open and not self.is_closing
        number, farewell = (code.code, b"") if self.session.is_v1 else (code.compat, self.session.farewell(code))
        self.close_with(number, code.reason, farewell)

    def answer_close(self, code: int) -> None:
        """The peer has said close: say it too, and end at once, as a server must (RFC 6455 section 5.5.1).

        Not while the answer waits for the kernel, or when the peer went on talking: closing would be a reset then.
        """
        self.close_with(code)
        if self.is_open and self._queue is None and self._is_quiet():
            self.abort()

    def _is_quiet(self) -> bool:
        try:
            return not self.sock.recv(1)
        except OSError:
            return True

    def close_with(self, code: int, reason: str = "", farewell: bytes = b"") -> None:
        """End with a code of RFC 6455 or of ours. A second call is nothing. farewell: frames before the last one."""
        if self.is_closing or not self.is_open:
            return
        self.flush_before_close()
        if self.is_closing or not self.is_open:  # what went out was too much, or its peer is gone
            return
        frame = farewell + self.last_word(code, reason)  # of a session that is in its rooms still
        self.is_closing = True
        self._not_clear()
        self.engine.count_close(code)
        self.session.closed()
        self.engine.unfinished.forget(self)
        self.lingers_until = trio.current_time() + LINGER_SECONDS
        self.engine.linger(self)
        if self._queue is not None:
            begun = list(islice(self._queue, self._begun(self._queue)))  # only this must be completed
            self._queue = deque([*begun, frame])
            self._holds(sum(map(len, self._queue)))
        else:
            self._send(frame)
        if self._queue is not None:
            self._hand_over()
        elif self.is_open:
            self._half_close()

    def end(self, code: CloseCode) -> None:
        """As `close`, for who has nothing to do with it: a session that fails at its end fails by itself."""
        try:
            self.close(code)
        except Exception as error:
            self.engine.session_failed(self, error)

    def last_word(self, code: int, reason: str) -> bytes:
        """What tells the peer of the end."""
        return close_frame(code, reason)

    def _hand_over(self) -> None:
        """Leave the last word to the kernel: it goes on telling it when this socket, and this process, are closed.

        Otherwise who takes up reading later than we linger would find a reset and no code.
        """
        try:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BYTES_MAX)
            if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only; it counts from when the peer stopped reading
                self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, LAST_WORD_SECONDS * 1000)
        except OSError:
            pass  # a kind of socket that has no such option: what it does not take now waits in the queue
        self.writable()

    def flush_before_close(self) -> None:
        """What was written before the close goes out before it."""
        if self.pending is not None:
            self.flush()

    def _half_close(self) -> None:
        """Say that nothing more comes. Closing over unread input would take the close frame back with a reset."""
        try:
            self.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self.abort()

    def abort(self) -> None:
        """End at once, without a word. A second call is nothing."""
        if not self.is_open:
            return
        if not self.is_closing:
            self.is_closing = True
            self.engine.count_close(1006)
            try:
                self.session.closed()
            except Exception as error:  # not of whoever finds that the peer is gone
                self.engine.session_failed(self, error)
        self.is_open = False
        self._not_clear()
        self.pending = self._queue = self._pace = None
        if self._queued_bytes:
            self._holds(0)
        self.engine.forget(self)
        self.sock.close()


def _may_grow(waiting: Piece) -> TypeGuard[bytearray]:
    """Whether small frames that wait may join this one."""
    return isinstance(waiting, bytearray) and len(waiting) < JOINED_BYTES_MAX
