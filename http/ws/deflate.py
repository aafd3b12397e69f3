"""permessage-deflate (RFC 7692), without I/O: what is agreed to, and both directions.

Outbound every message is compressed by itself (server_no_context_takeover) and in one window, so that one compressed
frame is right for everybody who agreed: it is made once, however many hear it. What is shorter than PAYLOAD_BYTES_MIN,
or no shorter than before, goes out as it is.

Inbound nothing is inflated beyond what a message may hold, and one message after the other: a reader that has inflated
its share stops, and keeps the rest compressed. Windows are of 4 KiB, when the client lets us ask: messages are short,
and each client that keeps its context has one here for as long as it stays.
"""

import zlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from websockets.exceptions import InvalidHeader, NegotiationError
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.headers import build_extension, parse_extension
from websockets.typing import ExtensionName

PAYLOAD_BYTES_MIN: Final = 512
WINDOW_BITS: Final = 12
STEP_BYTES_MAX: Final = 16 * 1024
SHARED_BYTES_MAX: Final = 4 * 1024 * 1024
_LEVEL: Final = 1  # fastest; JSON gets no tenth shorter by the slowest
_MEMORY_LEVEL: Final = 5
_TAIL: Final = b"\x00\x00\xff\xff"  # section 7.2.1: ends every message, and is not sent
_NAME: Final = ExtensionName("permessage-deflate")
_TEXT_HEAD: Final = 0x81
_DEFLATED_HEAD: Final = b"\xc1"  # FIN, RSV1, text
_FACTORY: Final = ServerPerMessageDeflateFactory(
    server_no_context_takeover=True, server_max_window_bits=WINDOW_BITS, client_max_window_bits=WINDOW_BITS
)


@dataclass(frozen=True, slots=True)
class Agreement:
    """What both sides do. answer: the value of Sec-WebSocket-Extensions in the 101; the rest is of the client."""

    answer: str
    window_bits: int
    forgets: bool  # client_no_context_takeover


class InflatesTooFar(Exception):
    """A message holds more than it may."""


def agree(offers: str) -> Agreement | None:
    """The first of the offers that we can keep to; None when there is none. offers: as the upgrade request has them."""
    try:
        offered = parse_extension(offers) if offers else []
    except InvalidHeader:
        return None
    for name, parameters in offered:
        if name != _NAME:
            continue
        try:
            answer, agreed = _FACTORY.process_request_params(parameters, [])
        except NegotiationError:
            continue
        assert isinstance(agreed, PerMessageDeflate)
        if agreed.local_max_window_bits == WINDOW_BITS:  # else it wants a smaller one than everybody's
            value = build_extension([(_NAME, list(answer))])
            return Agreement(value, agreed.remote_max_window_bits, agreed.remote_no_context_takeover)
    return None


class DeflatedMarks(Extension):
    """Given to the sans-I/O protocol in the extension's place: takes RSV1 off, and remembers it for each message."""

    name = _NAME

    def __init__(self) -> None:
        self._marks: deque[bool] = deque()

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        """As the protocol wants it. Elsewhere than on the first frame of a message RSV1 stays, and is an error."""
        if frame.opcode is not Opcode.TEXT and frame.opcode is not Opcode.BINARY:
            return frame
        self._marks.append(frame.rsv1)
        return Frame(frame.opcode, frame.data, frame.fin, False, frame.rsv2, frame.rsv3) if frame.rsv1 else frame

    def encode(self, frame: Frame) -> Frame:
        """Nothing but pongs is sent through it."""
        return frame

    def take(self) -> bool:
        """Whether the next message is deflated."""
        return self._marks.popleft()


class Inflater:
    """The inbound direction of one connection. total: bytes inflated, ever."""

    __slots__ = ("_agreement", "_stream", "marks", "total")

    def __init__(self, agreement: Agreement) -> None:
        self._agreement = agreement
        self._stream: zlib._Decompress | None = None  # made when it is needed: many never send anything long
        self.marks = DeflatedMarks()
        self.total = 0

    def inflate(self, data: bytes, bytes_max: int, *, is_final: bool) -> bytearray:
        """Inflate a part of a message. Raises InflatesTooFar beyond *bytes_max*, zlib.error for what is not deflated.

        After an error the connection must end.
        """
        inflated = self._inflate(data, bytearray(), bytes_max)
        if is_final:
            self._inflate(_TAIL, inflated, bytes_max)
            if self._agreement.forgets:
                self._stream = None
        self.total += len(inflated)
        return inflated

    def drop(self) -> None:
        """Forget what is here. A stream that was stopped keeps what it was given and did not take: a whole bomb."""
        self._stream = None

    def _inflate(self, data: bytes, inflated: bytearray, bytes_max: int) -> bytearray:
        """Add to *inflated*. In steps: asked for all at once zlib holds the whole of it twice."""
        has_more = bool(data)
        while has_more:
            if self._stream is None:
                self._stream = zlib.decompressobj(-self._agreement.window_bits)
            stream = self._stream
            step = stream.decompress(data, STEP_BYTES_MAX)
            inflated += step
            if len(inflated) > bytes_max:
                raise InflatesTooFar
            data, has_more = stream.unconsumed_tail, len(step) == STEP_BYTES_MAX or bool(stream.unconsumed_tail)
            if stream.eof:  # section 7.2.3.4: a block may say that it is the last, and others follow
                data, self._stream = stream.unused_data, None
                has_more = bool(data)
        return inflated


class SharedDeflater:
    """The outbound direction of everybody: frames, or several joined, as those who agreed are sent them.

    Remembers up to SHARED_BYTES_MAX of what it made, by what it was made from; the oldest is forgotten first.
    """

    def __init__(self) -> None:
        self._made: dict[bytes, bytes] = {}
        self._bytes = 0

    def deflated(self, frames: bytes) -> bytes:
        """*frames* of text from server to client, each compressed that is worth it."""
        if len(frames) < PAYLOAD_BYTES_MIN:
            return frames
        made = self._made.get(frames)
        return made if made is not None else self._make(frames)

    def _make(self, frames: bytes) -> bytes:
        parts = list(_split(frames))
        if len(parts) == 1:
            head, end = parts[0]
            made = _deflated(frames, head) if end - head >= PAYLOAD_BYTES_MIN else frames
        else:
            starts = [0, *(end for _, end in parts)]
            made = b"".join(self.deflated(frames[start:end]) for start, (_, end) in zip(starts, parts, strict=False))
        self._remember(frames, made)
        return made

    def _remember(self, frames: bytes, made: bytes) -> None:
        self._made[frames] = made
        self._bytes += len(frames) + len(made)
        while self._bytes > SHARED_BYTES_MAX:
            oldest = next(iter(self._made))
            self._bytes -= len(oldest) + len(self._made.pop(oldest))


def _split(frames: bytes) -> Iterator[tuple[int, int]]:
    """Where the payload of each frame begins and ends."""
    at = 0
    while at < len(frames):
        size, at = frames[at + 1], at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(frames[at : at + width], "big"), at + width
        yield at, at + size
        at += size


def _deflated(frame: bytes, head: int) -> bytes:
    """One frame, whose payload begins at *head*."""
    if frame[0] != _TEXT_HEAD:
        return frame
    stream = zlib.compressobj(_LEVEL, zlib.DEFLATED, -WINDOW_BITS, _MEMORY_LEVEL)
    payload = (stream.compress(memoryview(frame)[head:]) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(_TAIL)]
    size = len(payload)
    if size >= len(frame) - head:
        return frame
    if size < 126:
        return _DEFLATED_HEAD + bytes((size,)) + payload
    if size < 65536:
        return _DEFLATED_HEAD + b"\x7e" + size.to_bytes(2, "big") + payload
    return _DEFLATED_HEAD + b"\x7f" + size.to_bytes(8, "big") + payload
