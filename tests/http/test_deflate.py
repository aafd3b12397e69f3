"""permessage-deflate without a socket: each frame once for all, joined ones one by one, and bombs that cost little."""

import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.ws.deflate import PAYLOAD_BYTES_MIN, SHARED_BYTES_MAX, Inflater, SharedDeflater, agree
from greenroom.http.ws.frames import FRAME_BYTES_MAX, Fault, FrameReader, TextFrame, close_frame, text_frame

TAIL = b"\x00\x00\xff\xff"


def agreed(offer: str = "permessage-deflate; client_max_window_bits") -> Inflater:
    agreement = agree(offer)
    assert agreement is not None
    return Inflater(agreement)


def masked(payload: bytes, head: int = 0xC1) -> bytes:
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([head]) + length + bytes(4) + payload


def compressed(text: bytes) -> bytes:
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    return (stream.compress(text) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]


def payloads(frames: bytes) -> list[tuple[bool, bytes]]:
    """(whether it is compressed, the text) of each frame."""
    found, at = [], 0
    while at < len(frames):
        head, size, at = frames[at], frames[at + 1], at + 2
        if size >= 126:
            width = 2 if size == 126 else 8
            size, at = int.from_bytes(frames[at : at + width], "big"), at + width
        payload, at = frames[at : at + size], at + size
        assert head in (0x81, 0xC1)
        found.append((head == 0xC1, zlib.decompressobj(-12).decompress(payload + TAIL) if head == 0xC1 else payload))
    return found


@given(
    st.lists(
        st.binary(max_size=60) | st.sampled_from([b"ab" * 300, b"x" * 511, b"x" * 512, b"yz" * 50_000]), max_size=6
    )
)
def test_joined_frames_are_compressed_one_by_one_where_it_is_worth_it(texts: list[bytes]) -> None:
    shared = SharedDeflater()
    frames = b"".join(map(text_frame, texts))
    for _ in range(2):  # made, and remembered
        assert payloads(shared.deflated(frames)) == [(len(text) >= PAYLOAD_BYTES_MIN, text) for text in texts]


def test_a_frame_is_compressed_once_for_all_alone_and_among_others(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    compressobj = zlib.compressobj

    def counted(*how):
        made.append(how)
        return compressobj(*how)

    monkeypatch.setattr(zlib, "compressobj", counted)
    shared = SharedDeflater()
    frame, other = text_frame(b"one " * 200), text_frame(b"another " * 200)
    for _ in range(1000):
        shared.deflated(frame)
        shared.deflated(frame + text_frame(b"short"))
        shared.deflated(other + frame)
    assert len(made) == 2


def test_what_is_remembered_is_bounded() -> None:
    shared = SharedDeflater()
    for number in range(200):
        shared.deflated(text_frame(json.dumps([number] * 20_000).encode()))
    assert shared._bytes <= SHARED_BYTES_MAX
    assert shared._bytes == sum(len(key) + len(value) for key, value in shared._made.items())


def test_noise_and_frames_that_are_no_text_are_left_as_they_are() -> None:
    shared = SharedDeflater()
    noise = text_frame(zlib.compress(b"".join(str(number).encode() for number in range(5000)), 9)[:600])
    assert shared.deflated(noise) == noise
    assert shared.deflated(close_frame(1000)) == close_frame(1000)
    assert shared.deflated(b"\x8a\x7d" + bytes(125)) == b"\x8a\x7d" + bytes(125)


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX + 1, 2**20, 2**23])
@pytest.mark.parametrize("offer", ["permessage-deflate", "permessage-deflate; client_no_context_takeover"])
def test_a_bomb_costs_at_most_twice_what_a_message_may_hold(offer: str, size: int) -> None:
    peaks, data = [], masked(compressed(b" " * size))
    for _ in range(3):  # what other threads take meanwhile counts too
        reader = FrameReader(agreed(offer))
        tracemalloc.start()
        try:
            found = list(reader.feed(data))
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
        assert [type(one) for one in found] == [Fault]
        assert found[0].code == 1009
    assert min(peaks) <= 2 * FRAME_BYTES_MAX


def test_many_messages_that_inflate_as_far_as_they_may_are_read_by_shares() -> None:
    text = b" " * FRAME_BYTES_MAX
    reader, data = FrameReader(agreed()), masked(compressed(text)) * 50
    turns, count, part = 0, 0, data
    while part or reader.is_sated:
        turns += 1
        found = list(reader.feed(part))
        assert len(found) <= 2
        count += sum(one == TextFrame(text.decode()) for one in found)
        part = b""
    assert (turns, count) == (51, 50)


def test_a_length_in_the_wrong_form_waits_for_what_is_still_to_be_inflated_before_it() -> None:
    text = b" " * FRAME_BYTES_MAX
    reader, found = FrameReader(agreed()), []
    found += list(reader.feed(masked(compressed(text)) * 3 + b"\x81\xfe\x00\x05" + bytes(9)))
    while reader.is_sated:
        found += list(reader.feed(b""))
    assert found == [TextFrame(text.decode())] * 3 + [Fault(1002, "a length that is not in its shortest form")]


@given(st.lists(st.text(max_size=300) | st.just("x" * 5000), min_size=1, max_size=5), st.data())
def test_compressed_text_arrives_whole_and_in_order_however_the_bytes_are_cut(
    texts: list[str], data: st.DataObject
) -> None:
    wire = b"".join(
        masked(compressed(text.encode())) if data.draw(st.booleans()) else masked(text.encode(), 0x81) for text in texts
    )
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    reader, found = FrameReader(agreed()), []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += list(reader.feed(wire[start:end]))
        while reader.is_sated:
            found += list(reader.feed(b""))
    assert found == [TextFrame(text) for text in texts]


@given(st.binary(max_size=400), st.booleans())
def test_what_is_no_deflate_ends_with_a_fault_or_with_text_and_never_with_an_error(
    octets: bytes, forgets: bool
) -> None:
    reader = FrameReader(agreed("permessage-deflate" + "; client_no_context_takeover" * forgets))
    for _ in range(2):
        for one in reader.feed(masked(octets)):
            assert isinstance(one, TextFrame | Fault)
