"""Frames of greenroom.v1 as Server-Sent Events and as the answer to a poll. Pure.

Whoever tells a room something encodes it once, as a WebSocket frame that all share. What is read here are those bytes:
the payload of each frame is the JSON, which holds no line break, so it fits on a line of an event.

    b"\\x81\\x05{...}" b"\\x81\\x07{...}"  ─▶  data: {...}\\n  data: {...}\\n  id: <cursor>\\n\\n        one event
                                         ─▶  [{...},{...}]                                     part of an answer
"""

import json
from collections.abc import Mapping, Sequence
from email.utils import formatdate
from typing import Final

from greenroom.http.errors import meta

COMMENT: Final = b":\n\n"
_LINE_ENDS: Final = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))
_STREAM_HEADERS: Final = {
    "Content-Type": "text/event-stream",
    # A proxy that gathers what it passes on would hold events back (nginx reads this one).
    "X-Accel-Buffering": "no",
}


def payloads(frames: bytes) -> list[bytes]:
    """The JSON of each frame in *frames*, which are whole text frames as `ws/frames.py` builds them."""
    found = []
    at, end = 0, len(frames)
    while at < end:
        size, start = frames[at + 1], at + 2
        if size == 126:
            size, start = int.from_bytes(frames[at + 2 : at + 4], "big"), at + 4
        elif size == 127:
            size, start = int.from_bytes(frames[at + 2 : at + 10], "big"), at + 10
        at = start + size
        found.append(frames[start:at])
    return found


def data_lines(frames: bytes) -> bytes:
    """The lines of an event that hold *frames*, one each. `event_end` makes them an event."""
    return b"".join([b"data: %b\n" % _on_a_line(payload) for payload in payloads(frames)])


def _on_a_line(payload: bytes) -> bytes:
    """What ends a line in Unicode ends none of an event, but many readers split there: it is escaped as JSON has it."""
    for character, escaped in _LINE_ENDS:
        if character in payload:
            payload = payload.replace(character, escaped)
    return payload


def event_end(cursor: str | None) -> bytes:
    """What ends an event, after which the reader stands at *cursor*; None: where it stood before."""
    return b"\n" if cursor is None else b"id: %b\n\n" % cursor.encode()


def close_payload(code: int, reason: str) -> bytes:
    """The frame that says why the server ends a stream or a poll: as the close frame of a WebSocket does."""
    close = {"type": "close", "data": {"code": code, "reason": reason}}
    return json.dumps(close, separators=(",", ":")).encode()


def stream_head(headers: Mapping[str, str], retry_milliseconds: int) -> bytes:
    """The head of the response that is a stream, and after how long its reader comes back. Its body ends with it."""
    return _head({**headers, **_STREAM_HEADERS}) + b"retry: %d\n" % retry_milliseconds


def poll_answer(headers: Mapping[str, str], events: Sequence[bytes], cursor: str | None, request_id: str) -> bytes:
    """The whole response to a poll. events: the JSON of each."""
    data = b'{"events":[%b],"cursor":%b}' % (b",".join(events), json.dumps(cursor).encode())
    body = b'{"success":true,"data":%b,"meta":%b}' % (data, json.dumps(meta(request_id)).encode())
    return _head({**headers, "Content-Type": "application/json", "Content-Length": str(len(body))}) + body


def _head(headers: Mapping[str, str]) -> bytes:
    lines = [f"{name}: {value}" for name, value in headers.items()]
    date = formatdate(usegmt=True)
    return "\r\n".join(("HTTP/1.1 200 OK", f"Date: {date}", *lines, "Connection: close", "\r\n")).encode("latin-1")
