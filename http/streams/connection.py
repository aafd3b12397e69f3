"""The connections of readers without a WebSocket: the same outbox, other bytes.

                       ┌─ Connection    every frame as it is
    hub, replay ─frame─┼─ EventStream   what one pass of the loop has for it is one event, with the cursor after it
                       └─ Poll          kept until there is something to tell, then one answer, and the end

Both are `Connection`s of the engine, so everything that holds for a socket holds for them: they are found by user,
session and key, bounded by 1 MiB and 10 s, closed with a code, counted, moved when the process ends. The peer says
nothing more on them, so a byte that comes all the same is forgotten, and the end of its input is the end of it.

They are never clear (`Connection.is_clear`): nobody writes to their sockets past them.
"""

import json
import random
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Final

import trio

from greenroom.http.streams.framing import (
    COMMENT,
    close_payload,
    data_lines,
    event_end,
    payloads,
    poll_answer,
    stream_head,
)
from greenroom.http.transport import Transport
from greenroom.http.ws.codes import FORBIDDEN, PROTOCOL_VIOLATION, CloseCode
from greenroom.http.ws.connection import DURABLE, EPHEMERAL, OUTBOX_BYTES_MAX, Connection
from greenroom.http.ws.delivery import Via
from greenroom.http.ws.frames import Fault, FrameReader, InboundFrame

if TYPE_CHECKING:
    from greenroom.http.streams.session import StreamSession
    from greenroom.http.ws.engine import SocketEngine

EVENT_BYTES_MAX: Final = 64 * 1024  # after so many an event ends, and the next one begins
COMMENT_SECONDS: Final = 25.0
RETRY_MILLISECONDS: Final = (250, 1250)
POLL_BYTES_MAX: Final = 128 * 1024  # after so many of news a poll is answered
POLL_FEW_BYTES: Final = 8 * 1024  # and after so many while more waits for all peers than should
POLL_SECONDS_MAX: Final = 25
# News waits so long for company where a poll has just begun, or who reads a busy room would ask for each message. With
# one poll after the other that is 240 a minute, which is what a user may.
POLL_SECONDS_MIN: Final = 0.25
START_SECONDS_MAX: Final = 12.0  # every room has answered by then, or will not
EPHEMERAL_SECONDS: Final = 1.0  # what may be dropped waits so long for company
LARGE_SECONDS: Final = 5.0  # over OUTBOX_BYTES_MAX is kept so long where nothing is new
LEASE_SECONDS: Final = 10.0  # between two polls
UNASKED_BYTES_MAX: Final = 16 * 1024
# Where an event stands in the log of its room; nothing stands in it for who is not shown it.
_PLACE: Final = re.compile(rb'\{"type":"(?!skip")[a-z_]+","room":(?P<room>\d+),"seq":(?P<seq>\d+)')
# What every start says: a poll that has heard no more than this has nothing to tell.
_NO_NEWS: Final = tuple(b'{"type":"%b"' % kind for kind in (b"hello", b"ready", b"live", b"presence_state"))
_TYPING: Final = b'{"type":"typing"'


class Unasked(FrameReader):
    """Reads what a peer says that has nothing to say: forgets it, up to a limit."""

    __slots__ = ("_bytes",)

    def __init__(self) -> None:
        super().__init__()
        self._bytes = 0

    def feed(self, data: bytes) -> Iterator[InboundFrame]:
        """Nothing; at the limit a Fault."""
        self._bytes += len(self._early) + len(data)
        self._early = b""
        if self._bytes > UNASKED_BYTES_MAX:
            yield Fault(PROTOCOL_VIOLATION.code, "nothing is read here")


class ReadOnlyConnection(Connection):
    """What both have in common."""

    __slots__ = ("_headers", "request_id")

    session: "StreamSession"
    via: Via
    can_be_told = False  # a stream is opened again when it ends, and a poll would be answered at once, with all others

    def __init__(
        self, engine: "SocketEngine", sock: Transport, address: str, headers: Mapping[str, str], request_id: str
    ) -> None:
        super().__init__(engine, sock, address)
        self.reader = Unasked()
        self.request_id = request_id
        self._headers = headers

    @property
    def is_clear(self) -> bool:
        """Never: what goes out here is not what others send to a socket."""
        return False

    @is_clear.setter
    def is_clear(self, value: bool) -> None:
        """Nothing changes that."""

    def beat(self, now: float) -> float:
        """The wheel came round. Seconds until the next turn."""
        raise NotImplementedError

    @property
    def first_beat_seconds(self) -> float:
        """When `beat` is called first."""
        raise NotImplementedError

    def went_live(self) -> None:
        """Everything that was missed is written, and what happens from now on comes as it happens."""

    def went_out(self, room_id: int) -> None:
        """Its user is out of a room, and was told so just now."""

    def unsay(self, instead: Callable[[bytes], bytes | None]) -> None:
        """As the session's: what was handed to a socket is on its way."""

    @property
    def lease_seconds(self) -> float:
        """How long its user counts as here when it is over."""
        return 0.0


class EventStream(ReadOnlyConnection):
    """Server-Sent Events: the response to `GET /events`, which ends when the connection does."""

    __slots__ = ("_collected_bytes", "_has_moved", "_head")

    via: Via = "events"

    def __init__(
        self, engine: "SocketEngine", sock: Transport, address: str, headers: Mapping[str, str], request_id: str
    ) -> None:
        super().__init__(engine, sock, address, headers, request_id)
        self._head = stream_head(headers, random.randint(*RETRY_MILLISECONDS))
        self._has_moved = False
        self._collected_bytes = 0

    def write(self, frame: bytes, kind: int = DURABLE) -> None:
        """As in Connection; frames of one pass become one event, frames for a peer that is behind one each."""
        if self.is_closing:
            return
        lines = data_lines(frame)
        self._has_moved = self._has_moved or kind != EPHEMERAL
        if self._queue is not None:
            try:
                end = self._end()
            except Exception as error:  # who tells a room goes on with the others
                self.engine.session_failed(self, error)
            else:
                self._enqueue(lines + end, kind)
            return
        super().write(lines, kind)
        self._collected_bytes += len(lines)
        if self._collected_bytes > EVENT_BYTES_MAX:
            self.flush()

    def flush(self) -> None:
        """Send what was collected as one event: at a close its beginning is never followed by another one."""
        if self.pending is not None:
            head, self._head, self._collected_bytes = self._head, b"", 0
            self.pending = [b"".join((head, *self.pending, self._end()))]
        super().flush()

    def _end(self) -> bytes:
        has_moved, self._has_moved = self._has_moved, False
        return event_end(self.session.cursor() if has_moved else None)

    def last_word(self, code: int, reason: str) -> bytes:
        """An event of its own, without an id."""
        return b"data: %b\n\n" % close_payload(code, reason)

    def beat(self, now: float) -> float:
        """Say something to a peer that was not spoken to, so that it and all in between know that we are here."""
        spoken_ago = now - self.spoken_at
        if spoken_ago < COMMENT_SECONDS:
            return COMMENT_SECONDS - spoken_ago + 1
        if self._queue is None and self.pending is None:
            self.spoken_at = now
            self._send(COMMENT)
        return COMMENT_SECONDS

    @property
    def first_beat_seconds(self) -> float:
        """At a random moment, so that streams of one storm are not spoken to together."""
        return random.uniform(1, COMMENT_SECONDS)


class Poll(ReadOnlyConnection):
    """Long-poll: the response to `GET /poll`, which is answered once.

    Who types when it begins is told by every start, as who is online is, and it would be answered again and again while
    anybody does: so that is news only when it changes, and one's own typing never is. Of who is in many well-attended
    rooms the start is megabytes, each time anew: over OUTBOX_BYTES_MAX it is answered for that, but seconds later, or
    its client would ask again without end; earlier only while more waits for all peers than should.
    """

    __slots__ = (
        "_bytes",
        "_earliest",
        "_events",
        "_has_news",
        "_is_awaited",
        "_is_live",
        "_is_timed",
        "_news_bytes",
        "_starts_until",
        "_typists",
        "_until",
    )

    via: Via = "poll"

    def __init__(
        self,
        engine: "SocketEngine",
        sock: Transport,
        address: str,
        headers: Mapping[str, str],
        request_id: str,
        wait_seconds: float,
    ) -> None:
        super().__init__(engine, sock, address, headers, request_id)
        self._events: list[bytes] = []
        self._bytes = self._news_bytes = 0  # of who is in many rooms the start alone is long, and no news
        self._has_news = self._is_live = self._is_timed = False
        self._is_awaited = True
        self._typists: dict[int, set[int]] = {}  # others, by room, as they were told last
        now = trio.current_time()
        self._earliest = now + min(POLL_SECONDS_MIN, wait_seconds)
        self._until = now + wait_seconds
        self._starts_until = now + START_SECONDS_MAX

    def write(self, frame: bytes, kind: int = DURABLE) -> None:
        """Keep it; answered as soon as this pass of the loop is over, or a little later for what may be dropped."""
        if self.is_closing:
            return
        held, news_bytes = self._bytes, 0
        for payload in payloads(frame):
            self._events.append(payload)
            self._bytes += len(payload)
            if self._is_news(payload):
                news_bytes += len(payload)
        self._news_bytes += news_bytes
        self._note(held)
        if news_bytes and kind == EPHEMERAL:
            self._answer_within(EPHEMERAL_SECONDS)
        if self._is_large:
            self._answer_within(LARGE_SECONDS)
        self._has_news = self._has_news or (news_bytes > 0 and kind != EPHEMERAL)
        self._answer_soon(trio.current_time())

    def _is_news(self, payload: bytes) -> bool:
        if not payload.startswith(_TYPING):
            return not payload.startswith(_NO_NEWS)
        typing = json.loads(payload)
        room_id, typists = typing["room"], set(typing["data"]["users"]) - {self.session.user_id}
        before = self._typists.get(room_id, set())
        self._typists[room_id] = typists
        return self._is_live and typists != before

    def _answer_within(self, seconds: float) -> None:
        self._until = min(self._until, trio.current_time() + seconds)
        self.engine.beat_within(self, seconds)

    def _answer_soon(self, now: float) -> None:
        if self._is_due(now):
            self.engine.flush_soon(self)
        elif self._is_live and self._has_enough and not self._is_timed:
            self._is_timed = True
            self.engine.spawn(self._answer_at, self._earliest, of=self)

    async def _answer_at(self, moment: float) -> None:
        await trio.sleep_until(moment)
        self.flush()

    def flush(self) -> None:
        """Answer, if it is time."""
        if not self.is_closing and self._is_due(trio.current_time()):
            self.close_with(1000)

    def went_live(self) -> None:
        """From here on news is a reason to answer; and so is what came on the way here."""
        self._is_live, now = True, trio.current_time()
        self._answer_soon(now)
        self.engine.beat_within(self, self._until - now)

    def _is_due(self, now: float) -> bool:
        if self._news_bytes > (POLL_FEW_BYTES if self.engine.outboxes.is_crowded else POLL_BYTES_MAX):
            return True
        return self._is_live and ((self._has_enough and now >= self._earliest) or now >= self._until)

    @property
    def _has_enough(self) -> bool:
        return self._has_news or (self._is_large and self.engine.outboxes.is_crowded)

    @property
    def _is_large(self) -> bool:
        return self._bytes > OUTBOX_BYTES_MAX

    def beat(self, now: float) -> float:
        """Answer when the time is up; in the end also when a room has not said yet what was missed."""
        if now >= self._until and (self._is_live or now >= self._starts_until):
            self.close_with(1000)
        return max((self._until if self._is_live else max(self._until, self._starts_until)) - now, 1.0)

    @property
    def first_beat_seconds(self) -> float:
        """When the time is up."""
        return self.beat(self.heard_at)

    @property
    def lease_seconds(self) -> float:
        """Until the next poll, which does not come from who was told that they may not."""
        return LEASE_SECONDS if self._is_awaited else 0.0

    def close(self, code: CloseCode) -> None:
        """As in Connection."""
        self._is_awaited = code is not FORBIDDEN
        super().close(code)

    def last_word(self, code: int, reason: str) -> bytes:
        """The answer. code: 1000 when nothing is wrong."""
        events = self._take_events()
        if code != 1000:
            events.append(close_payload(code, reason))
        return poll_answer(self._headers, events, self.session.cursor(), self.request_id)

    def _take_events(self) -> list[bytes]:
        events, self._events, held, self._bytes, self._news_bytes = self._events, [], self._bytes, 0, 0
        self._note(held)
        return events

    def _note(self, held: int) -> None:
        """Count what is kept with all that waits. held: so many bytes before. A few are what every poll has."""
        before, now = (size if size > POLL_FEW_BYTES else 0 for size in (held, self._bytes))
        if before or now:
            self.engine.outboxes.note(self, before, now)

    def abort(self) -> None:
        """As in Connection."""
        self._take_events()
        super().abort()

    @property
    def queued_bytes(self) -> int:
        """With what is kept for the answer."""
        return super().queued_bytes + (self._bytes if self._bytes > POLL_FEW_BYTES else 0)

    def queued(self) -> Iterable[bytes | bytearray]:
        """The same, piece by piece."""
        return chain(super().queued(), self._events)

    def retell(self, room_id: int, frame_at: Callable[[int, bytes], bytes | None]) -> None:
        """What is kept was said to nobody yet: what a message said before it was changed is not said any more."""

        def instead(payload: bytes) -> bytes | None:
            seq = _seq_in(room_id, payload)
            return None if seq is None else frame_at(seq, payload)

        self.unsay(instead)

    def went_out(self, room_id: int) -> None:
        """Tell at once what was said there: of what becomes of that it hears no more, and could not let go of it."""
        if any(b'"sender":' in payload and _seq_in(room_id, payload) is not None for payload in self._events):
            try:
                self.close_with(1000)
            except Exception as error:  # the room that tells it goes on
                self.engine.session_failed(self, error)

    def unsay(self, instead: Callable[[bytes], bytes | None]) -> None:
        """As the session's, of what is kept."""
        held = self._bytes
        for index, payload in enumerate(self._events):
            frame = instead(payload)
            if frame is not None:
                self._events[index] = payloads(frame)[0]
                self._bytes += len(self._events[index]) - len(payload)
        self._news_bytes += self._bytes - held
        self._note(held)


def _seq_in(room_id: int, payload: bytes) -> int | None:
    """Where an event stands in the log of this room, if it does."""
    place = _PLACE.match(payload)
    return int(place["seq"]) if place is not None and int(place["room"]) == room_id else None
