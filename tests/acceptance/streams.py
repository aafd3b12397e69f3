"""Clients without a WebSocket, over real sockets: an event stream as browsers read one, and polls.

`Stream` follows the HTML standard's section on Server-Sent Events ("9.2.6 Interpreting an event stream"): lines, the id
buffer that lives on from event to event, comments, data joined by line feeds, and nothing of an event whose blank line
did not come.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import urlencode

import trio
from frames_seen import FramesSeen
from wire import (
    CONNECT_SECONDS_MAX,
    Answer,
    AnySocket,
    answer_of,
    connect,
    cut,
    head_of_answer,
    receive_some,
    send_all,
    wait_until,
)

Json = dict[str, Any]


class Stream:
    """One event stream, as far as the client sees it. Made by `Stream.open`; a task of the nursery reads it.

    events: every frame, in order. cursor: the id of the last event that came whole. close_code: of the `close` event;
    1006 when the stream ended without one.
    """

    def __init__(self, sock: AnySocket, head: bytes) -> None:
        self.sock = sock
        self.head = head
        self.events: list[Json] = []
        self.cursor = ""
        self.batches: list[list[Json]] = []  # the frames of each event that had data
        self.cursors: list[str] = []  # and where the reader stood after it
        self.retry: int | None = None
        self.comments = 0
        self.bytes_received = 0
        self.close_code: int | None = None
        self.on_event: Callable[[list[Json], str], None] | None = None
        self.is_over = trio.Event()
        self._buffer = b""
        self._data: list[str] = []
        self._id = ""
        self._seen = FramesSeen("v1")
        self._is_reading = trio.Event()
        self._is_reading.set()

    @classmethod
    async def open(
        cls,
        nursery: trio.Nursery,
        server: Any,
        user: int | None = None,
        cursor: str | None = None,
        *,
        last_event_id: str | None = None,
        headers: Iterable[tuple[str, str]] = (),
        receive_buffer: int | None = None,
        source: str | None = None,
        path: str = "/events",
        early: bytes = b"",
    ) -> "Stream":
        """Ask for it. Raises Refused, OSError, Gone."""
        given = [("Accept", "text/event-stream"), *headers]
        if user is not None:
            given.append(("Authorization", f"Bearer {server.token(user)}"))
        if last_event_id is not None:
            given.append(("Last-Event-ID", last_event_id))
        query = f"{path}?{urlencode({'cursor': cursor})}" if cursor is not None else path
        with trio.fail_after(CONNECT_SECONDS_MAX):
            sock = await connect(server, receive_buffer=receive_buffer, source=source)
            try:
                await send_all(sock, request(server.port, query, given) + early)
                received = await head_of_answer(sock, 200)
            except BaseException:
                sock.close()
                raise
        head, _, rest = received.partition(b"\r\n\r\n")
        self = cls(sock, head)
        self._buffer = rest
        nursery.start_soon(self._read)
        return self

    def of(self, *kinds: str) -> list[Json]:
        """Frames of these types."""
        return [event for event in self.events if event["type"] in kinds]

    async def expect(self, kind: str, seconds: float = 10.0, count: int = 1) -> Json:
        """Wait for the *count*th frame of this type."""
        await wait_until(
            lambda: (
                None
                if len(self.of(kind)) >= count
                else f"{kind}; closed with {self.close_code}; last {self.events[-4:]}"
            ),
            seconds,
        )
        return self.of(kind)[count - 1]

    async def wait_closed(self, seconds: float = 10.0) -> int:
        """Wait for the end; the close code."""
        with trio.fail_after(seconds):
            await self.is_over.wait()
        assert self.close_code is not None
        return self.close_code

    def stop_reading(self) -> None:
        """From now on the kernel's buffer fills."""
        self._is_reading = trio.Event()

    def read_again(self) -> None:
        """Take what is there."""
        self._is_reading.set()

    def cut(self) -> None:
        """End with a reset, now."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            cut(self.sock)

    def close(self) -> None:
        """End in order, as a browser does."""
        if self.sock.fileno() >= 0:
            trio.lowlevel.notify_closing(self.sock)
            self.sock.close()

    async def _read(self) -> None:
        try:
            self._take()
            while self.sock.fileno() >= 0:
                await trio.lowlevel.wait_readable(self.sock)
                await self._is_reading.wait()
                try:
                    data = self.sock.recv(262144)
                except BlockingIOError:
                    continue
                if not data:
                    break
                self.bytes_received += len(data)
                self._buffer += data
                self._take()
        except (OSError, trio.ClosedResourceError):
            pass
        finally:
            self.close_code = 1006 if self.close_code is None else self.close_code
            self.sock.close()
            self.is_over.set()

    def _take(self) -> None:
        *lines, self._buffer = self._buffer.split(b"\n")
        for line in lines:
            self._line(line.decode())

    def _line(self, line: str) -> None:
        if not line:
            self._dispatch()
            return
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not field:
            self.comments += 1
        elif field == "data":
            self._data.append(value)
        elif field == "id":
            self._id = value
        elif field == "retry":
            self.retry = int(value)
        else:
            raise AssertionError(f"a field that no event has: {line[:80]!r}")

    def _dispatch(self) -> None:
        self.cursor = self._id
        data, self._data = self._data, []
        if not data:
            return
        frames = [json.loads(text) for text in "\n".join(data).split("\n")]
        self.events += frames
        self.batches.append(frames)
        self.cursors.append(self.cursor)
        for frame in frames:
            self._seen.received(frame)
            if frame["type"] == "close":
                self.close_code = frame["data"]["code"]
        if self.on_event is not None:
            self.on_event(frames, self.cursor)


async def poll(
    server: Any,
    user: int | None = None,
    cursor: str | None = None,
    *,
    wait: int | None = None,
    headers: Iterable[tuple[str, str]] = (),
    seconds: float = 40.0,
) -> Answer:
    """One poll; its answer."""
    given = list(headers)
    if user is not None:
        given.append(("Authorization", f"Bearer {server.token(user)}"))
    query = {name: value for name, value in (("cursor", cursor), ("wait", wait)) if value is not None}
    with trio.fail_after(seconds):
        sock = await connect(server)
        try:
            await send_all(sock, request(server.port, f"/poll?{urlencode(query)}", given))
            received = b""
            while part := await receive_some(sock):
                received += part
        finally:
            sock.close()
    return answer_of(received)


async def polled(server: Any, user: int, cursor: str | None = None, **options: Any) -> tuple[list[Json], str]:
    """One poll that is answered: (events, cursor)."""
    answer = await poll(server, user, cursor, **options)
    assert answer.status == 200, answer
    data, seen = answer.json()["data"], FramesSeen("v1")
    for frame in data["events"]:
        seen.received(frame)
    return data["events"], data["cursor"]


def rooms_in(cursor: str) -> str:
    """The cursor without the place in the user's stream."""
    return "~".join(part for part in cursor.split("~") if not part.startswith("u"))


def request(port: int, path: str, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of a GET."""
    lines = [f"GET {path} HTTP/1.1", f"Host: 127.0.0.1:{port}", *(f"{name}: {value}" for name, value in headers)]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def messages(events: Iterable[Json]) -> list[tuple[int, int]]:
    """(room, seq) of the messages among *events*."""
    return [(event["room"], event["seq"]) for event in events if event["type"] == "message"]
