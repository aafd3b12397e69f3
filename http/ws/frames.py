"""Frames of RFC 6455, without I/O.

Inbound: a small text frame, which is nearly all of them, is unmasked in a few lines (0.4 µs), and so is a close frame
without a reason. The first frame that is anything else hands the rest of the connection to `websockets`'
sans-I/O protocol (5 µs a frame), which caps declared and control lengths and keeps every rule of the RFC but those of
the form of a length (`lengths.py`). Joint lengths are capped here, for the library holds a ping between fragments to
what is left of their message; and text is decoded here, which it does not check. Outbound frames are built once per
class of receivers, never per connection. Of extensions permessage-deflate alone is spoken, where it was agreed to
(`deflate.py`).
"""

import codecs
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from websockets.frames import EXTERNAL_CLOSE_CODES, Frame, Opcode
from websockets.protocol import SERVER, Protocol, State

try:
    from websockets.speedups import apply_mask
except ImportError:  # pragma: no cover - the wheel of this platform has no C part
    from websockets.utils import apply_mask

from greenroom.http.ws.deflate import Inflater, InflatesTooFar
from greenroom.http.ws.lengths import Lengths

FRAME_BYTES_MAX: Final = 128 * 1024
# On the wire: no deflate makes anything longer by more than 13 % (zlib's deflateBound), stored blocks by 5 bytes each.
DEFLATED_BYTES_MAX: Final = FRAME_BYTES_MAX + FRAME_BYTES_MAX // 7
INSIDE_BYTES_MIN: Final = 1024
EARLY_BYTES_MAX: Final = 8 * 1024  # in one turn, as of what is read
BEGUN_BYTES_MAX: Final = 4096  # copied with every read until the frame is whole, so no more
FRAGMENTS_MAX: Final = 1024  # of one message: empty ones would never reach its limit in bytes
_SMALL_BYTES: Final = 126  # lengths below need no extension
_TEXT_HEAD: Final = 0x81
_CLOSE_HEAD: Final = 0x88
_SMALL_HEADS: Final = tuple(bytes((_TEXT_HEAD, size)) for size in range(_SMALL_BYTES))
_NO_CODE: Final = (1005).to_bytes(2, "big")  # stands for a close without a code, and is never sent
_UTF8: Final = codecs.getincrementaldecoder("utf-8")
_QUICK_HEADS: Final = frozenset((_TEXT_HEAD, _CLOSE_HEAD))  # FIN and text, FIN and close: nearly all there are


@dataclass(slots=True)  # one for each command: to be frozen would cost 0.3 µs
class TextFrame:
    """A whole text message."""

    text: str


@dataclass(frozen=True, slots=True)
class BinaryFrame:
    """A whole binary message; nobody here speaks binary."""


@dataclass(frozen=True, slots=True)
class CloseFrame:
    """The peer closes. code: 1005 when it gave none."""

    code: int


@dataclass(frozen=True, slots=True)
class Fault:
    """The peer broke the protocol: the connection closes with *code*."""

    code: int
    reason: str


InboundFrame = TextFrame | BinaryFrame | CloseFrame | Fault


class FrameReader:
    """The inbound side of one connection.

    replies: the pongs for the pings so far. Those for the pings before a CloseFrame or a Fault are here when it comes,
    and are to be sent before it is answered (RFC 6455 section 5.5.2). Whoever sends them takes them out.
    unfinished_bytes: held of what is not whole. is_new: it began after another message was whole. noted_bytes: for
    whoever counts them.
    """

    __slots__ = (
        "_begun",
        "_early",
        "_fragments",
        "_fragments_count",
        "_inflater",
        "_is_binary",
        "_is_deflated",
        "_is_done",
        "_is_misformed",
        "_is_sated",
        "_left",
        "_lengths",
        "_protocol",
        "_utf8",
        "is_new",
        "noted_bytes",
        "replies",
        "unfinished_bytes",
    )

    def __init__(self, inflater: Inflater | None = None) -> None:
        self._inflater = inflater
        self._early = b""  # what came before the connection was ours, and had no turn yet
        self._left: list[Frame] = []  # what is not inflated yet
        self._is_sated = False
        self._utf8: codecs.IncrementalDecoder | None = None
        self._is_deflated = False
        self._protocol: Protocol | None = None
        self._lengths: Lengths | None = None  # of what the library is given
        self._is_misformed = False  # a length was not in its form: nothing after it is read
        self._begun = b""  # of a small frame that was cut by the end of a read
        self._fragments: bytearray | None = None
        self._fragments_count = 0
        self._is_binary = False
        self._is_done = False
        self.replies = b""
        self.unfinished_bytes = self.noted_bytes = 0
        self.is_new = False

    @property
    def rest_bytes(self) -> int:
        """What is to come of a frame of which a kibibyte is here, or more: it is cheap for its size. Else 0."""
        if self._protocol is not None:
            assert self._lengths is not None
            return self._lengths.left if len(self._protocol.reader.buffer) >= INSIDE_BYTES_MIN else 0
        begun = self._begun
        if len(begun) < INSIDE_BYTES_MIN:  # longer ones tell their length in two bytes more
            return 0
        return 8 + int.from_bytes(begun[2:4], "big") - len(begun)

    @property
    def is_sated(self) -> bool:
        """It has had its share of one turn: the rest comes by feeding nothing, before anything else is fed."""
        return self._is_sated or bool(self._early)

    def begin_with(self, early: bytes) -> None:
        """This came before the connection was ours, and may be much: to feed nothing feeds a share of it."""
        self._early = early

    def feed(self, data: bytes) -> Iterator[InboundFrame]:
        """What *data* completes, in order. After a CloseFrame or a Fault nothing more comes."""
        if self._begun or self._early:
            data = self._take(data)
        position, size = 0, len(data)
        if self._protocol is None:
            while size - position >= 6 and data[position] in _QUICK_HEADS:
                length = data[position + 1] - 128  # negative when it is not masked
                start = position + 6
                if length == _SMALL_BYTES and data[position] == _TEXT_HEAD:  # two more bytes tell the length
                    length = int.from_bytes(data[position + 2 : position + 4], "big")
                    start += 2
                    if length < _SMALL_BYTES:  # not the shortest form: rare, so the library's
                        break
                elif not 0 <= length < _SMALL_BYTES:
                    break
                if start + length > size:
                    if size - position > BEGUN_BYTES_MAX:
                        break
                    self._keep(data, position)
                    return
                payload = apply_mask(data[start : start + length], data[start - 4 : start])
                if data[position] == _CLOSE_HEAD:
                    if length not in (0, 2) or payload == _NO_CODE:  # with a reason, or broken: the library's
                        break
                    yield self._close(int.from_bytes(payload, "big") if payload else 1005)
                    return
                position = start + length
                yield self._text(payload)
                if self._is_done:
                    return
            if position == size:
                return
            if size - position < 6 and _may_be_small(data[position:]):
                self._keep(data, position)
                return
            self._protocol = self._open_protocol()
        yield from self._feed_protocol(self._protocol, data[position:] if position else data)

    def _take(self, data: bytes) -> bytes:
        """*data*, or the next share of what came early, behind what was cut before it."""
        if self._early:
            data, self._early = self._early[:EARLY_BYTES_MAX], self._early[EARLY_BYTES_MAX:]
        begun, self._begun = self._begun, b""
        if begun:
            self.unfinished_bytes = 0
        return begun + data

    def drop(self) -> None:
        """Forget what is here: nothing more is read. What the library holds is in a cycle, which is undone here."""
        self._is_done, self._is_sated, self.unfinished_bytes = True, False, 0
        self._early = self._begun = b""
        self._left, self._fragments, self._utf8 = [], None, None
        if self._inflater is not None:
            self._inflater.drop()
        protocol, self._protocol = self._protocol, None
        if protocol is not None:
            protocol.parser.close()
            protocol.parser_exc = None

    def _keep(self, data: bytes, position: int) -> None:
        """Of *data* what begins at *position* is not whole."""
        self._begun = data[position:]
        self.unfinished_bytes, self.is_new = len(self._begun), self.is_new or position > 0

    def _open_protocol(self) -> Protocol:
        bytes_max = FRAME_BYTES_MAX if self._inflater is None else DEFLATED_BYTES_MAX
        protocol, self._lengths = Protocol(SERVER, state=State.OPEN, max_size=(None, bytes_max)), Lengths()
        if self._inflater is not None:
            protocol.extensions = [self._inflater.marks]
        return protocol

    def _feed_protocol(self, protocol: Protocol, data: bytes) -> Iterator[InboundFrame]:
        if data and not self._is_misformed:
            self._receive(protocol, data)
        frames: list[Frame] = protocol.events_received()  # type: ignore[assignment]  # of an open one, frames only
        if self._inflater is None:
            yield from self._frames(protocol, frames)
        else:
            yield from self._frames_by_share(protocol, self._left + frames, self._inflater)
        if not self._is_sated:
            yield from self._end(protocol)
        if not self._is_done:
            self.unfinished_bytes = len(protocol.reader.buffer) + sum(len(frame.data) for frame in self._left)
            self.unfinished_bytes += len(self._fragments) if self._fragments is not None else 0

    def _receive(self, protocol: Protocol, data: bytes) -> None:
        """Give the library what may be read."""
        assert self._lengths is not None
        good = self._lengths.good(data)
        self._is_misformed = good < len(data)
        if good:
            protocol.receive_data(data[:good])
            protocol.data_to_send()  # its own answers know nothing of what is found wrong here

    def _frames(self, protocol: Protocol, frames: list[Frame]) -> Iterator[InboundFrame]:
        for frame in frames:
            if self._is_done:
                return
            opcode = frame.opcode
            if opcode is Opcode.CLOSE:
                self._is_done = True
                received = protocol.close_rcvd
                yield CloseFrame(received.code if received is not None else 1005)
            elif opcode is Opcode.PING:
                self.replies += pong_frame(bytes(frame.data))
            elif opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                message = self._assemble(opcode, frame.fin, bytes(frame.data))
                if message is not None:
                    self.is_new = True
                    yield message

    def _frames_by_share(self, protocol: Protocol, frames: list[Frame], inflater: Inflater) -> Iterator[InboundFrame]:
        """A few bytes inflate to a whole message: a turn has what one may hold, and the message that goes beyond."""
        share_ends = inflater.total + FRAME_BYTES_MAX
        for at, frame in enumerate(frames):
            yield from self._frames(protocol, [frame])
            if inflater.total >= share_ends and not self._is_done:
                self._left, self._is_sated = frames[at + 1 :], True
                return
        self._left, self._is_sated = [], False

    def _end(self, protocol: Protocol) -> Iterator[InboundFrame]:
        """What the protocol itself has to say after the frames: a fault."""
        if protocol.parser_exc is not None and not self._is_done:
            self._is_done = True
            sent, received = protocol.close_sent, protocol.close_rcvd
            if received is not None:  # between fragments, which the library forbids and RFC 6455 section 5.4 does not
                yield CloseFrame(received.code)
            else:
                yield Fault(*((sent.code, sent.reason) if sent is not None else (1002, "protocol error")))
        if self._is_misformed and not self._is_done:
            yield self._fault(1002, "a length that is not in its shortest form")

    def _assemble(self, opcode: Opcode, is_final: bool, data: bytes) -> InboundFrame | None:
        """Join fragments; the library has checked their order."""
        if opcode is not Opcode.CONT:
            self._is_binary = opcode is Opcode.BINARY
            self._is_deflated = self._inflater is not None and self._inflater.marks.take()
            if is_final:
                return self._inflated(data, b"", is_final=True) if self._is_deflated else self._whole(data)
            self._fragments, self._fragments_count, self._utf8 = bytearray(), 0, _UTF8()
        assert self._fragments is not None
        self._fragments_count += 1
        if self._fragments_count > FRAGMENTS_MAX:
            return self._fault(1009, f"a message in more than {FRAGMENTS_MAX} fragments")
        if self._is_deflated:
            return self._inflated(data, self._fragments, is_final=is_final)
        return self._fragment(data, is_final=is_final)

    def _inflated(self, data: bytes, before: bytes | bytearray, *, is_final: bool) -> InboundFrame | None:
        assert self._inflater is not None
        try:
            inflated = self._inflater.inflate(data, FRAME_BYTES_MAX - len(before), is_final=is_final)
        except InflatesTooFar:
            return self._too_long()
        except zlib.error:
            return self._fault(1007, "a message that does not inflate")
        return self._whole(inflated) if self._fragments is None else self._fragment(inflated, is_final=is_final)

    def _fragment(self, data: bytes | bytearray, *, is_final: bool) -> InboundFrame | None:
        assert self._fragments is not None
        assert self._utf8 is not None
        if len(self._fragments) + len(data) > FRAME_BYTES_MAX:
            return self._too_long()
        self._fragments += data  # as they come: empty ones take no memory
        if is_final:
            whole, self._fragments = self._fragments, None
            return self._whole(whole)
        if not self._is_binary:
            try:
                self._utf8.decode(data)  # fails as soon as it must; kept is what the whole decodes to
            except UnicodeDecodeError:
                return self._fault(1007, "text is not UTF-8")
            held = self._utf8.getstate()[0]
            if held[:1] == b"\xed" and held[1:] >= b"\xa0":  # CPython waits for the third octet of a surrogate
                return self._fault(1007, "text is not UTF-8")
        return None

    def _whole(self, payload: bytes | bytearray) -> InboundFrame:
        if len(payload) > FRAME_BYTES_MAX:  # not deflated, where it might have been
            return self._too_long()
        return BinaryFrame() if self._is_binary else self._text(payload)

    def _too_long(self) -> Fault:
        return self._fault(1009, f"a message of more than {FRAME_BYTES_MAX} bytes")

    def _fault(self, code: int, reason: str) -> Fault:
        self._is_done = True
        return Fault(code, reason)

    def _close(self, code: int) -> CloseFrame | Fault:
        """code: 1005 for none, which cannot come in a frame. RFC 6455 section 7.4 says which others may."""
        if not (code == 1005 or code in EXTERNAL_CLOSE_CODES or 3000 <= code < 5000):
            return self._fault(1002, "invalid close code")
        self._is_done = True
        return CloseFrame(code)

    def _text(self, payload: bytes | bytearray) -> TextFrame | Fault:
        try:
            return TextFrame(str(payload, "utf-8"))
        except UnicodeDecodeError:
            return self._fault(1007, "text is not UTF-8")


def _may_be_small(octets: bytes) -> bool:
    """Whether these, too few to tell, may be the beginning of a frame for the quick path."""
    return octets[0] in _QUICK_HEADS and (len(octets) == 1 or octets[1] >= 128)


def text_frame(payload: bytes) -> bytes:
    """The frame of one text message, from server to client."""
    size = len(payload)
    if size < _SMALL_BYTES:
        return _SMALL_HEADS[size] + payload
    if size < 65536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + payload
    return b"\x81\x7f" + size.to_bytes(8, "big") + payload


def pong_frame(payload: bytes) -> bytes:
    """The answer to a ping. payload: the ping's, at most 125 bytes."""
    return b"\x8a" + bytes((len(payload),)) + payload


def close_frame(code: int, reason: str = "") -> bytes:
    """The frame that closes. reason: at most 123 bytes of it are sent."""
    payload = struct.pack("!H", code) + reason.encode()[:123]
    return b"\x88" + bytes((len(payload),)) + payload
