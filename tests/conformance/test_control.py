"""RFC 6455 section 5.5: pings are answered with their payload, at once and between fragments; pongs are not."""

import pytest
from peer import CLOSE, CONTINUATION, PING, PONG, TEXT, close, frame, ping_command


@pytest.mark.parametrize("payload", [b"", b"hello", b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", b"\xfe" * 124, b"\xfe" * 125])
async def test_a_ping_is_answered_with_its_payload(peer, payload):
    await peer.send(frame(payload, PING))
    assert await peer.control(PONG) == payload


async def test_a_ping_is_answered_octet_by_octet(peer):
    await peer.send(frame(b"\xfe" * 125, PING), every=1)
    assert await peer.control(PONG) == b"\xfe" * 125


@pytest.mark.parametrize("size", [126, 127, 65535, 65536])
@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_control_frame_of_more_than_125_bytes_is_1002(peer, opcode, size):
    await peer.send(frame(b"\x03\xe8" + b"x" * (size - 2), opcode))
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("payload", [b"", b"unsolicited"])
async def test_a_pong_that_nobody_asked_for_is_ignored(peer, payload):
    await peer.send(frame(payload, PONG))
    assert await peer.is_alive()
    assert not [found for found in peer.received if found.opcode in (PING, PONG)]


async def test_a_pong_and_then_a_ping(peer):
    await peer.send(frame(b"unsolicited", PONG), frame(b"ping", PING))
    assert await peer.control(PONG) == b"ping"


async def test_ten_pings_are_answered_in_order(peer):
    await peer.send(*(frame(f"payload-{number}", PING) for number in range(10)))
    assert [await peer.control(PONG) for _ in range(10)] == [b"payload-%d" % number for number in range(10)]


async def test_ten_pings_octet_by_octet_are_answered_in_order(peer):
    await peer.send(b"".join(frame(f"payload-{number}", PING) for number in range(10)), every=1)
    assert [await peer.control(PONG) for _ in range(10)] == [b"payload-%d" % number for number in range(10)]


@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
async def test_a_control_frame_in_fragments_is_1002(peer, opcode):
    await peer.send(frame(b"", opcode, fin=False), frame(b"", CONTINUATION))
    assert (await peer.end())[0] == 1002


async def test_a_ping_between_two_fragments_is_answered_before_the_message(peer):
    text = ping_command("p")
    await peer.send(frame(text[:5], TEXT, fin=False), frame(b"between", PING))
    assert await peer.control(PONG) == b"between"
    await peer.send(frame(text[5:], CONTINUATION))
    await peer.event("pong", id="p")


@pytest.mark.parametrize("is_between", [False, True], ids=["before a message", "between its fragments"])
async def test_of_one_read_a_ping_is_answered_before_the_message_that_ends_after_it(peer, is_between):
    text = ping_command("p")
    parts = [frame(text[:5], TEXT, fin=False), frame(b"ping", PING), frame(text[5:], CONTINUATION)]
    await peer.send(b"".join(parts) if is_between else frame(b"ping", PING) + frame(text))
    await peer.event("pong", id="p")
    answers = [found.opcode for found in peer.received if found.opcode == PONG or b'"id":"p"' in found.payload]
    assert answers == [PONG, TEXT]


async def test_pings_between_all_fragments_are_answered(peer):
    text = ping_command("p", 60)
    parts = [text[at : at + 10] for at in range(0, 60, 10)]
    for number, part in enumerate(parts):
        await peer.send(
            frame(part, TEXT if number == 0 else CONTINUATION, fin=number == 5), frame(b"%d" % number, PING)
        )
    await peer.event("pong", id="p")
    pongs = [found.payload for found in peer.received if found.opcode == PONG]
    while len(pongs) < 6:
        pongs.append(await peer.control(PONG))
    assert pongs == [b"%d" % number for number in range(6)]


ENDS = {
    "a close": (close(4000), 4000),
    "a close with a reason": (close(4000, b"bye"), 4000),
    "a reserved bit": (frame(b"x", rsv=2), 1002),
    "no UTF-8": (frame(b"\xff"), 1007),
    "a length that is not in its shortest form": (frame(b"x", width=2), 1002),
    "too large": (frame(b"x", declared=1 << 20), 1009),
    "a close between fragments": (frame(b"{", fin=False) + close(4000), 4000),
}


@pytest.mark.parametrize("end", ENDS)
async def test_pings_in_one_read_with_an_end_are_answered_before_it(wire, end):
    """Section 5.5.2: an endpoint that has received no close frame yet must answer a ping."""
    octets, code = ENDS[end]
    stream = frame(b"one", PING) + frame(ping_command("p")) + frame(b"two", PING) + octets
    for cut in (0, *range(1, len(stream), 7)):
        async with wire.open() as peer:
            await peer.send(stream[:cut], stream[cut:] + frame(b"late", PING))
            assert (await peer.end())[0] == code
            assert [found.payload for found in peer.received if found.opcode == PONG] == [b"one", b"two"], cut
            assert [found.opcode for found in peer.received].count(TEXT) == 2, "hello, and the answer of the command"
