"""RFC 6455 section 5.2: lengths of every form, cut anywhere; reserved bits and opcodes; masks."""

import pytest
from peer import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Refused, close, frame, ping_command

FRAME_BYTES_MAX = 128 * 1024
SIZES = [32, 64, 124, 125, 126, 127, 128, 253, 254, 255, 256, 65535, 65536, 65537, FRAME_BYTES_MAX - 1, FRAME_BYTES_MAX]


@pytest.mark.parametrize("size", SIZES)
async def test_a_text_of_any_length_is_read(peer, size):
    await peer.send(frame(ping_command("p", size)))
    await peer.event("pong", id="p")


@pytest.mark.parametrize("size", SIZES)
async def test_a_text_of_any_length_is_read_in_pieces(peer, size):
    await peer.send(frame(ping_command("p", size)), every=997)
    await peer.event("pong", id="p")


@pytest.mark.parametrize("size", [32, 125, 126, 127, 300])
async def test_a_text_is_read_octet_by_octet(peer, size):
    await peer.send(frame(ping_command("p", size)), every=1)
    await peer.event("pong", id="p")


async def test_an_empty_text_is_a_message(peer):
    await peer.send(frame(b""))
    assert (await peer.event("error"))["data"]["error"] == "BAD_JSON"
    assert await peer.is_alive()


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 128, 65535, 65536, FRAME_BYTES_MAX])
async def test_a_binary_message_is_read_and_refused_by_name(peer, size):
    await peer.send(frame(b"\xfe" * size, BINARY))
    assert (await peer.event("error"))["data"]["error"] == "BAD_FRAME"
    assert await peer.is_alive()


@pytest.mark.parametrize(("width", "size"), [(2, 40), (2, 125), (8, 40), (8, 126), (8, 65535)])
@pytest.mark.parametrize("every", [None, 1])
async def test_a_length_in_a_longer_form_than_it_needs_is_1002(peer, width, size, every):
    await peer.send(frame(ping_command("p", size), width=width)[:40], every=every)
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("declared", [2**63, 2**63 + 5, 2**64 - 1])
async def test_a_length_with_its_top_bit_set_is_1002(peer, declared):
    await peer.send(frame(b"", declared=declared, width=8))
    assert (await peer.end())[0] == 1002


async def test_many_frames_in_one_segment_are_answered_in_order(peer):
    await peer.send(b"".join(frame(ping_command(f"p{number}", 20 + number)) for number in range(200)))
    for number in range(200):
        assert (await peer.event("pong"))["id"] == f"p{number}"


async def test_frames_sent_with_the_upgrade_request_are_read_after_it(wire):
    async with wire.open(early=frame(ping_command("early"))) as peer:
        await peer.event("pong", id="early")


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_reserved_bit_on_a_control_frame_is_1002(peer, rsv, opcode):
    await peer.send(frame(b"", opcode, rsv=rsv))
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("rsv", range(1, 8))
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_reserved_bit_on_a_message_is_1002_unless_it_was_agreed_to(wire, peer, rsv, opcode):
    if wire.is_deflating and rsv == 4:
        pytest.skip("it is what was agreed to: test_compression.py")
    await peer.send(frame(ping_command("p"), opcode, rsv=rsv))
    assert (await peer.end())[0] == 1002


async def test_what_came_before_a_reserved_bit_is_answered_and_nothing_after_it(peer):
    await peer.send(frame(ping_command("before")) + frame(b"", PING, rsv=1) + frame(ping_command("after")))
    await peer.event("pong", id="before")
    assert (await peer.end())[0] == 1002
    assert not any(b"after" in found.payload for found in peer.received)


@pytest.mark.parametrize("payload", [b"", b"x" * 20])
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_a_reserved_opcode_is_1002(peer, opcode, payload):
    await peer.send(frame(payload, opcode))
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("opcode", [3, 11])
async def test_a_reserved_opcode_between_good_frames_is_1002(peer, opcode):
    await peer.send(frame(ping_command("p")), frame(b"", opcode), frame(b"", PING))
    await peer.event("pong", id="p")
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONTINUATION, PING, PONG, CLOSE])
async def test_a_frame_without_a_mask_is_1002(peer, opcode):
    """Section 5.1: a server must close the connection."""
    await peer.send(frame(b"", opcode, masked=False))
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("declared", [None, 2**32, 2**62, 2**63 - 1])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_frame_that_says_it_is_too_long_is_1009_before_it_is_read(peer, opcode, declared):
    """A seventh more where it may be compressed: that can make a message longer."""
    shortest = FRAME_BYTES_MAX + 1 if peer.agreed is None else FRAME_BYTES_MAX * 8 // 7 + 1
    await peer.send(frame(b"", opcode, declared=declared or shortest, width=8))
    assert (await peer.end())[0] == 1009


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX + 1, 2 * FRAME_BYTES_MAX, 900_000])
async def test_who_sends_a_frame_that_is_too_long_in_full_still_hears_why(peer, size):
    await peer.send(frame(b"x" * size))
    assert (await peer.end())[0] == 1009


async def test_a_connection_that_ends_inside_a_frame_leaves_nothing_behind(wire):
    async with wire.open() as gone:
        await gone.send(frame(b"x" * 1000)[:500])
    async with wire.open() as peer:
        assert await peer.is_alive()


@pytest.mark.parametrize("offer", ["permessage-deflate;;", "=1", 'permessage-deflate; x="', "a b", ",,", "\xff"])
async def test_a_list_of_extensions_that_is_none_is_400(deflating, offer):
    """Section 9.1: whoever receives it must fail the connection."""
    with pytest.raises(Refused) as refusal:
        await deflating.open(offers=offer).__aenter__()
    assert refusal.value.status == 400


async def test_the_close_of_a_good_session_is_answered_in_kind(peer):
    assert await peer.is_alive()
    await peer.send(close(1000))
    assert await peer.end() == (1000, "")
