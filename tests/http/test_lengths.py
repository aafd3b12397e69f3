"""Lengths in the wrong form, where the library reads: whatever is cut where, the same frames and the same end."""

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from greenroom.http.ws.frames import FRAME_BYTES_MAX, CloseFrame, Fault, FrameReader, TextFrame
from greenroom.http.ws.lengths import Lengths

MASK = b"\x01\x02\x03\x04"
PING, TEXT, BINARY, CONTINUATION = 9, 1, 2, 0


def frame(payload: bytes, opcode: int = TEXT, *, fin: bool = True, width: int | None = None, bits: int = 0) -> bytes:
    """From client to server. width: bytes of the length, 0, 2 or 8; bits: reserved ones of the head."""
    size = len(payload)
    if width is None:
        width = 0 if size < 126 else 2 if size < 65536 else 8
    told = bytes([0x80 | size]) if width == 0 else bytes([0xFE if width == 2 else 0xFF]) + size.to_bytes(width, "big")
    masked = bytes(octet ^ MASK[index % 4] for index, octet in enumerate(payload))
    return bytes([fin << 7 | bits << 4 | opcode]) + told + MASK + masked


def read(*parts: bytes) -> list[object]:
    """What is read, as far as a connection reads: up to its end."""
    reader, found = FrameReader(), list[object]()
    for part in parts:
        found += reader.feed(part)
        if found and isinstance(found[-1], Fault | CloseFrame):
            break
    return found


WRONG = {
    "40 in two bytes": frame(b"x" * 40, width=2),
    "none in two bytes": frame(b"", width=2),
    "125 in two bytes": frame(b"x" * 125, width=2),
    "40 in eight bytes": frame(b"x" * 40, width=8),
    "126 in eight bytes": frame(b"x" * 126, width=8),
    "65,535 in eight bytes": frame(b"x" * 65_535, width=8),
    "a ping in two bytes": frame(b"x" * 40, PING, width=2),
    "an empty close in two bytes": frame(b"", 8, width=2),
    "the top bit": b"\x81\xff" + (1 << 63).to_bytes(8, "big") + MASK,
    "the top bit and all others": b"\x82\xff" + b"\xff" * 8 + MASK,
}
BEFORE = {
    "nothing": b"",
    "a text": frame(b"before"),
    "a ping": frame(b"hi", PING),
    "a ping and a text": frame(b"hi", PING) + frame(b"before"),
    "a fragment": frame(b"bef", fin=False) + frame(b"ore", CONTINUATION, fin=False),
    "long ones": frame(b"before" * 30) + frame(b"y" * 70_000, BINARY),
}


@pytest.mark.parametrize("before", BEFORE)
@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("every", [None, 1, 3])
def test_a_length_in_the_wrong_form_is_1002_and_what_came_before_it_is_read(before: str, wrong: str, every: int | None):
    whole = BEFORE[before] + WRONG[wrong][:100] + frame(b"after")[: 100 if every is None else 0]
    found = read(*[whole[at : at + (every or len(whole))] for at in range(0, len(whole), every or len(whole))])
    expected = read(BEFORE[before])
    assert found[:-1] == expected
    assert isinstance(found[-1], Fault)
    assert found[-1].code == 1002


def test_the_longest_form_is_right_for_what_needs_it_and_1009_says_what_is_too_long():
    text = "x" * FRAME_BYTES_MAX
    assert read(frame(b"", PING), frame(text.encode())) == [TextFrame(text)]
    for size in (FRAME_BYTES_MAX + 1, 1 << 40, (1 << 63) - 1):
        (fault,) = read(b"\x81\xff" + size.to_bytes(8, "big") + MASK)
        assert isinstance(fault, Fault)
        assert fault.code == 1009


PAYLOADS = st.binary(max_size=6) | st.text(max_size=40).map(str.encode) | st.sampled_from(
    [b"x" * size for size in (124, 125, 126, 127, 300, 65_535, 65_536)]
)  # fmt: skip
FRAMES = st.builds(
    frame,
    PAYLOADS,
    st.sampled_from([TEXT, TEXT, TEXT, BINARY, CONTINUATION, CONTINUATION, PING, 10, 8, 3]),
    fin=st.sampled_from([True, True, True, False]),
    bits=st.sampled_from([0] * 12 + [4, 1]),
)
WRONG_OR_RIGHT = FRAMES | st.sampled_from(list(WRONG.values())) | st.binary(max_size=14)


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    cuts = sorted(data.draw(st.lists(st.integers(0, min(len(stream), 400)) | st.integers(0, len(stream)), max_size=12)))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@given(st.lists(WRONG_OR_RIGHT, max_size=8), st.data())
def test_however_a_stream_is_cut_it_is_the_same_frames_and_the_same_end(parts: list[bytes], data: st.DataObject):
    stream = b"".join(parts)
    assert read(*cut(data, stream)) == read(stream)


@given(st.lists(FRAMES, max_size=8), st.data())
@example([frame(b"x" * 125, PING), frame(b"", PING)], None)
def test_where_all_lengths_are_right_they_change_nothing(parts: list[bytes], data: st.DataObject | None):
    stream = b"".join(parts)
    pieces = [stream] if data is None else cut(data, stream)
    lengths = Lengths()
    assert [lengths.good(piece) for piece in pieces] == [len(piece) for piece in pieces]


@given(st.lists(FRAMES, max_size=5), st.sampled_from(list(WRONG.values())), st.binary(max_size=20), st.data())
def test_what_lies_before_a_wrong_length_is_good_to_the_byte(
    parts: list[bytes], wrong: bytes, rest: bytes, data: st.DataObject
):
    """But for the bytes of its own head, which were given on before they told that it is wrong."""
    before = b"".join(parts)
    lengths, good = Lengths(), 0
    for piece in cut(data, before + wrong + rest):
        found = lengths.good(piece)
        good += found
        if found < len(piece):
            break
    assert len(before) <= good < len(before) + struct.calcsize("!BBQ")
