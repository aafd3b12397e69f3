"""RFC 6455 section 5.4: a message in fragments is one message; what does not fit together is 1002."""

import pytest
from peer import BINARY, CONTINUATION, PING, PONG, TEXT, close, fragments, frame, ping_command

FRAME_BYTES_MAX = 128 * 1024
FRAGMENTS_MAX = 1024


@pytest.mark.parametrize("sizes", [(10,), (0, 10), (10, 0, 0), (0, 0, 0), (1,) * 30, (5, 0, 5, 0, 5)])
async def test_a_text_in_fragments_is_one_message(peer, sizes):
    await peer.send(*fragments(ping_command("p", 60), sizes))
    await peer.event("pong", id="p")


@pytest.mark.parametrize("every", [None, 1])
async def test_fragments_may_come_in_one_segment_or_octet_by_octet(peer, every):
    await peer.send(b"".join(fragments(ping_command("p", 60), (7,) * 8)), every=every)
    await peer.event("pong", id="p")


async def test_a_binary_message_in_fragments_is_one_message(peer):
    await peer.send(*fragments(b"\xff" * 60, (7,) * 8, BINARY))
    assert (await peer.event("error"))["data"]["error"] == "BAD_FRAME"
    await peer.is_alive()
    assert sum(b"BAD_FRAME" in found.payload for found in peer.received) == 1


@pytest.mark.parametrize("fin", [True, False])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_a_continuation_of_nothing_is_1002(peer, opcode, fin):
    await peer.send(frame(b"x", CONTINUATION, fin=fin), frame(b"y", opcode))
    assert (await peer.end())[0] == 1002


async def test_a_continuation_after_a_whole_message_is_1002(peer):
    await peer.send(frame(ping_command("p")), frame(b"x", CONTINUATION))
    await peer.event("pong", id="p")
    assert (await peer.end())[0] == 1002


async def test_a_continuation_after_the_last_fragment_is_1002(peer):
    await peer.send(*fragments(ping_command("p"), (5,)), frame(b"x", CONTINUATION))
    await peer.event("pong", id="p")
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("opcode", [TEXT, BINARY])
@pytest.mark.parametrize("fin", [True, False])
async def test_a_message_that_begins_inside_another_is_1002(peer, opcode, fin):
    await peer.send(frame(b"one", TEXT, fin=False), frame(b"two", opcode, fin=fin))
    assert (await peer.end())[0] == 1002


async def test_two_messages_in_fragments_one_after_the_other(peer):
    await peer.send(*fragments(ping_command("a"), (3, 3)), *fragments(ping_command("b"), (3, 3)))
    await peer.event("pong", id="a")
    await peer.event("pong", id="b")


async def test_whole_messages_and_messages_in_fragments_alternate(peer):
    for number in range(20):
        parts = (4, 4) if number % 2 else ()
        await peer.send(*fragments(ping_command(f"p{number}"), parts))
        await peer.event("pong", id=f"p{number}")


@pytest.mark.parametrize("size", [64, 256, 1024, 4096, 16384, 65536])
async def test_the_largest_message_may_come_in_fragments_of_any_size(peer, size):
    count = min((FRAME_BYTES_MAX - 1) // size, FRAGMENTS_MAX - 1)
    await peer.send(b"".join(fragments(ping_command("p", (count + 1) * size), (size,) * count)))
    await peer.event("pong", id="p")


@pytest.mark.parametrize("left", [0, 1, 72])
async def test_a_control_frame_between_fragments_is_no_part_of_the_message_however_little_of_it_is_left(peer, left):
    """Section 5.4: they may come there, and section 5.5 alone says how long they may be."""
    first, rest = ping_command("p", FRAME_BYTES_MAX)[: FRAME_BYTES_MAX - left], b" " * left
    await peer.send(frame(first, fin=False), frame(b"x" * 125, PING), frame(b"y" * 125, PONG))
    assert await peer.control(PONG) == b"x" * 125
    await peer.send(frame(rest, CONTINUATION))
    await peer.event("pong", id="p")


async def test_a_close_between_fragments_is_answered_however_little_of_the_message_is_left(peer):
    await peer.send(frame(b" " * FRAME_BYTES_MAX, fin=False), close(1000, b"gone"))
    assert (await peer.end())[0] == 1000


async def test_a_control_frame_that_is_too_long_is_1002_however_little_of_the_message_is_left(peer):
    await peer.send(frame(b" " * FRAME_BYTES_MAX, fin=False), frame(b"x" * 126, PING))
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("fin", [True, False])
async def test_fragments_that_are_too_long_together_are_1009_the_last_too(peer, fin):
    await peer.send(frame(b" " * (FRAME_BYTES_MAX - 5), fin=False), frame(b" " * 6, CONTINUATION, fin=fin))
    assert (await peer.end())[0] == 1009


async def test_fragments_that_are_too_long_together_are_1009(peer):
    await peer.send(frame(b" " * FRAME_BYTES_MAX, fin=False), frame(b" ", CONTINUATION, fin=False))
    assert (await peer.end())[0] == 1009


async def test_more_fragments_than_a_message_may_have_are_1009(peer):
    await peer.send(frame(b" ", fin=False) + frame(b"", CONTINUATION, fin=False) * (FRAGMENTS_MAX - 1))
    await peer.send(frame(b"", PING))
    await peer.control(PONG)
    await peer.send(frame(b"", CONTINUATION, fin=False))
    assert (await peer.end())[0] == 1009
