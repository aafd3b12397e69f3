"""The inbound side of a socket: however the bytes are cut, the same messages; what breaks the RFC, its close code."""

import struct
from contextlib import suppress
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.ws.frames import (
    FRAGMENTS_MAX,
    FRAME_BYTES_MAX,
    BinaryFrame,
    CloseFrame,
    Fault,
    FrameReader,
    InboundFrame,
    TextFrame,
    close_frame,
    text_frame,
)

MASK = b"\x01\x02\x03\x04"


def masked(payload: bytes) -> bytes:
    return bytes(octet ^ MASK[index % 4] for index, octet in enumerate(payload))


def frame(payload: bytes, opcode: int = 1, *, fin: bool = True, rsv: int = 0, is_masked: bool = True) -> bytes:
    size = len(payload)
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    bit = 0x80 if is_masked else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + size.to_bytes(2, "big")
    else:
        head += bytes([bit | 127]) + size.to_bytes(8, "big")
    return head + (MASK + masked(payload) if is_masked else payload)


def read(*parts: bytes) -> list[InboundFrame]:
    reader = FrameReader()
    return [found for part in parts for found in reader.feed(part)]


TEXTS = st.lists(st.text(max_size=40) | st.text(min_size=120, max_size=140) | st.just("x" * 70_000), max_size=6)


@given(TEXTS, st.data())
def test_text_arrives_whole_and_in_order_however_the_bytes_are_cut(texts: list[str], data: st.DataObject) -> None:
    stream = b"".join(frame(text.encode()) for text in texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert read(*parts) == [TextFrame(text) for text in texts]


@given(st.text(max_size=300), st.integers(1, 5), st.booleans())
def test_fragments_are_joined_with_control_frames_between_them(text: str, pieces: int, has_ping: bool) -> None:
    octets = text.encode()
    step = max(1, -(-len(octets) // pieces))
    chunks = [octets[index : index + step] for index in range(0, len(octets), step)] or [b""]
    stream = b""
    for index, chunk in enumerate(chunks):
        stream += frame(chunk, 0 if index else 1, fin=index == len(chunks) - 1)
        if has_ping and index < len(chunks) - 1:
            stream += frame(b"hi", 9)
    assert read(stream) == [TextFrame(text)]


TAILS = [b"", b"\x80", b"\x80\x80", b"\xa0\x80", b"\x80\x80\x80", b"\x90\x80\x80"]  # of some character, whatever begins


def begins_a_text(octets: bytes) -> bool:
    for tail in TAILS:
        with suppress(UnicodeDecodeError):
            return bool(str(octets + tail, "utf-8"))
    return False


def test_a_text_fails_with_the_first_octet_that_no_text_goes_on_with() -> None:
    edges = (0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF)
    for first, *rest in product(range(0x80, 0x100), edges, edges):
        octets = bytes((first, *rest))
        parts = [frame(octets[at : at + 1], 0 if at else 1, fin=False) for at in range(3)]
        for size in (1, 2, 3):
            assert (read(*parts[:size]) == []) == begins_a_text(octets[:size]), octets[:size]


def test_a_ping_is_answered_with_its_payload() -> None:
    reader = FrameReader()
    assert list(reader.feed(frame(b"beat", 9))) == []
    assert reader.replies == b"\x8a\x04beat"


@pytest.mark.parametrize(
    ("end", "found"),
    [
        (frame(b"\x03\xe8", 8), CloseFrame(1000)),
        (frame(b"\x03\xe8bye", 8), CloseFrame(1000)),
        (frame(b"x", rsv=4), Fault),
        (frame(b"\xff"), Fault),
        (b"\x81\xfe\x00\x05" + MASK + masked(b"short"), Fault),
        (frame(b"{", fin=False) + frame(b"between", 9) + frame(b"\x03\xe8", 8), CloseFrame(1000)),
    ],
    ids=["close", "close with a reason", "reserved bit", "no UTF-8", "long length", "close between fragments"],
)
def test_pings_before_an_end_are_answered_before_it_however_the_bytes_are_cut(
    end: bytes, found: InboundFrame | type[Fault]
) -> None:
    stream = frame(b"one", 9) + frame(b"text") + frame(b"two", 9) + end + frame(b"late", 9)
    pongs = b"\x8a\x03one\x8a\x03two" + b"\x8a\x07between" * (frame(b"between", 9) in end)
    for cut in range(len(stream) + 1):
        reader = FrameReader()
        replies_at = dict[str, bytes]()
        for part in (stream[:cut], stream[cut:]):
            for item in reader.feed(part):
                replies_at[type(item).__name__] = reader.replies
                assert isinstance(item, TextFrame) or item == found or type(item) is found
        assert list(replies_at) == ["TextFrame", "Fault" if found is Fault else "CloseFrame"]
        assert replies_at.popitem()[1] == pongs, cut
        assert reader.replies == pongs, cut


def test_binary_is_told_apart() -> None:
    assert read(frame(b"\x00\x01", 2)) == [BinaryFrame()]


@pytest.mark.parametrize(
    ("stream", "code"),
    [
        (frame(b"\xff\xfe"), 1007),
        (frame("é".encode()[:1]), 1007),
        (frame(b"\xc3", fin=False) + frame(b"\x28", 0), 1007),
        (frame(b"x", is_masked=False), 1002),
        (frame(b"x", 3), 1002),
        (frame(b"x", 0xB), 1002),
        (frame(b"x", rsv=4), 1002),
        (frame(b"x", 0), 1002),
        (frame(b"a", fin=False) + frame(b"b"), 1002),
        (frame(b"x" * 126, 9), 1002),
        (frame(b"x", 9, fin=False), 1002),
        (frame(b"\x03", 8), 1002),
        (b"\x81\xff" + (1 << 40).to_bytes(8, "big") + MASK, 1009),
        (frame(b"x" * (FRAME_BYTES_MAX + 1)), 1009),
        (frame(b"x" * 70_000, fin=False) + frame(b"x" * 70_000, 0), 1009),
    ],
)
def test_what_breaks_the_rfc_ends_with_its_close_code(stream: bytes, code: int) -> None:
    found = read(frame(b"fine"), stream)
    assert found[0] == TextFrame("fine")
    assert isinstance(found[-1], Fault)
    assert found[-1].code == code


def test_the_largest_message_passes() -> None:
    assert read(frame(b"x" * FRAME_BYTES_MAX)) == [TextFrame("x" * FRAME_BYTES_MAX)]


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (b"\x03\xe8", 1000), (b"\x03\xe8bye", 1000)])
def test_a_close_tells_its_code_and_ends_everything(payload: bytes, code: int) -> None:
    assert read(frame(payload, 8) + frame(b"later")) == [CloseFrame(code)]


@given(st.binary(max_size=64))
def test_garbage_never_raises(data: bytes) -> None:
    read(data)
    read(frame(b"first"), data)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 100_000])
def test_what_we_send_can_be_read(size: int) -> None:
    payload = b"x" * size
    sent = text_frame(payload)
    assert sent.endswith(payload)
    assert sent[0] == 0x81
    heads = {True: sent[1], False: struct.unpack("!H", sent[2:4])[0] if sent[1] == 126 else None}
    assert heads[True] == size if size < 126 else sent[1] in (126, 127)
    assert close_frame(4201, "slow consumer") == b"\x88\x0f\x10\x69slow consumer"


def test_a_message_in_fragments_without_end_is_too_big_however_little_they_carry() -> None:
    reader = FrameReader()
    found = [*reader.feed(frame(b"", fin=False))]
    for _ in range(FRAGMENTS_MAX):
        found += reader.feed(frame(b"", opcode=0, fin=False))
    assert [type(item) for item in found] == [Fault]
    assert found[0] == Fault(1009, f"a message in more than {FRAGMENTS_MAX} fragments")


def test_a_small_frame_that_a_read_has_cut_stays_on_the_quick_path() -> None:
    reader = FrameReader()
    octets = frame(b"x" * 300)
    for cut in range(1, len(octets)):
        assert list(reader.feed(octets[:cut])) == []
        assert list(reader.feed(octets[cut:])) == [TextFrame("x" * 300)]
    assert reader._protocol is None


@pytest.mark.parametrize("opcode", [1, 9], ids=["text, on the quick path", "a ping, by the library"])
def test_much_is_read_at_once_of_a_large_frame_alone(opcode: int) -> None:
    """A thousand small frames in one read keep the loop for milliseconds, the rest of a large one for nothing."""
    reader = FrameReader()
    list(reader.feed(frame(b"x" * 120, opcode=opcode) * 60 + frame(b"x" * 120, opcode=opcode)[:-1]))
    assert reader.rest_bytes == 0
    list(reader.feed(frame(b"x" * 120, opcode=opcode)[-1:]))
    for size in (100_000, 1_200, 4_000, 70_000):
        large = frame(b"x" * size)
        list(reader.feed(large[:900]))
        assert reader.rest_bytes == 0
        list(reader.feed(large[900:1_100]))
        assert reader.rest_bytes == len(large) - 1_100
        list(reader.feed(large[1_100:-1]))
        assert reader.rest_bytes == 1
        assert list(reader.feed(large[-1:])) == [TextFrame("x" * size)]
        assert reader.rest_bytes == 0
