"""RFC 6455 section 7: the code of a close is echoed, a wrong one is 1002; nothing is heard after it; then TCP ends."""

from contextlib import suppress

import pytest
import trio
from peer import CLOSE, CONTINUATION, PING, PONG, TEXT, close, fragments, frame, ping_command
from stopwatch import open_stopwatch

MAY_BE_SENT = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4201, 4999]
MAY_NOT = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 9999, 65535]


async def test_a_close_without_a_code_is_answered(peer):
    await peer.send(close(None))
    assert (await peer.end())[0] in (1000, 1005)


@pytest.mark.parametrize("code", MAY_BE_SENT)
async def test_a_code_that_may_be_sent_is_echoed(peer, code):
    await peer.send(close(code))
    assert (await peer.end())[0] == code


@pytest.mark.parametrize("code", MAY_BE_SENT)
async def test_a_code_with_a_reason_is_echoed(peer, code):
    await peer.send(close(code, "weil κόσμε".encode()))
    assert (await peer.end())[0] == code


@pytest.mark.parametrize("reason", [b"", b"because"])
@pytest.mark.parametrize("code", MAY_NOT)
async def test_a_code_that_may_not_be_sent_is_1002(peer, code, reason):
    await peer.send(close(code, reason))
    assert (await peer.end())[0] == 1002


async def test_half_a_code_is_1002(peer):
    await peer.send(frame(b"\x03", CLOSE))
    assert (await peer.end())[0] == 1002


async def test_the_longest_reason_is_read(peer):
    await peer.send(close(1000, b"x" * 123))
    assert (await peer.end())[0] == 1000


async def test_a_reason_that_is_too_long_is_1002(peer):
    await peer.send(close(1000, b"x" * 124))
    assert (await peer.end())[0] == 1002


@pytest.mark.parametrize("reason", [b"\xff", b"good\xed\xa0\x80", b"cut \xe2\x82"])
async def test_a_reason_that_is_not_utf8_is_1007(peer, reason):
    await peer.send(close(1000, reason))
    assert (await peer.end())[0] == 1007


async def test_a_close_is_read_octet_by_octet(peer):
    await peer.send(close(1000, b"slowly"), every=1)
    assert (await peer.end())[0] == 1000


@pytest.mark.parametrize("late", ["a message", "a ping", "a close", "garbage"])
@pytest.mark.parametrize("at_once", [True, False])
async def test_nothing_is_heard_after_a_close(peer, late, at_once):
    said = {
        "a message": frame(ping_command("late")),
        "a ping": frame(b"late", PING),
        "a close": close(1001),
        "garbage": b"garbage",
    }[late]
    if at_once:
        await peer.send(close(1000) + said)
    else:
        await peer.send(close(1000), said)
    assert (await peer.end())[0] == 1000
    assert not any(b"late" in found.payload for found in peer.received)


async def test_what_was_said_before_a_close_is_answered(peer):
    await peer.send(frame(ping_command("before")) + frame(b"ping", PING) + close(1000))
    await peer.event("pong", id="before")
    assert (await peer.end())[0] == 1000


async def test_a_close_between_fragments_is_a_close(peer):
    """Section 5.4: control frames may come in the middle of a message in fragments."""
    first, last = fragments(ping_command("never"), (5,))
    await peer.send(first + close(4000) + last)
    assert (await peer.end())[0] == 4000
    assert not any(b"never" in found.payload for found in peer.received)


async def test_a_wrong_close_between_fragments_is_1002(peer):
    await peer.send(frame(b"x", TEXT, fin=False) + close(1005))
    assert (await peer.end())[0] == 1002


async def test_a_close_after_fragments_that_are_complete(peer):
    await peer.send(frame(b"{", fin=False), frame(b"}", CONTINUATION), frame(b"p", PING))
    assert await peer.control(PONG) == b"p"
    await peer.send(close(3000))
    assert (await peer.end())[0] == 3000


async def test_the_server_ends_the_connection_although_the_client_keeps_its_half_open(peer, transport):
    """Section 7.1.1: the server goes first."""
    await peer.send(close(1000))
    async with open_stopwatch(transport[0]) as watch:
        assert (await peer.end())[0] == 1000
        assert watch.seconds < 2
    with trio.fail_after(8), suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        while True:  # it lingers for a while, and reads no more than so much; then a reset
            await peer.send(bytes(65536))
            await trio.sleep(0.01)


async def test_a_client_that_closes_its_half_without_a_close_frame_is_let_go(wire):
    if wire.tls is not None:
        pytest.skip("trio's TLS stream cannot close one half")
    async with wire.open() as peer:
        await peer.stream.send_eof()
        with trio.fail_after(5):
            assert await peer.stream.receive_some() == b""


async def test_compat_is_closed_with_the_codes_of_the_rfc(wire):
    async with wire.open(protocol=None) as peer:
        await peer.send(frame(b"\xff"))
        assert (await peer.end())[0] == 1007
    async with wire.open(protocol=None) as peer:
        await peer.send(close(1001))
        assert (await peer.end())[0] == 1001
