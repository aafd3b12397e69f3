"""RFC 6455 section 8.1: text is UTF-8, and is refused as soon as it cannot be any more."""

import pytest
from peer import BINARY, CONTINUATION, PING, PONG, TEXT, frame

# Kuhn's UTF-8 decoder stress test has the classes; the characters are the first and last of each length, and neighbours
# of what is forbidden.
VALID = [
    "κόσμε",
    "Hello-µ@ßöäüàá-UTF-8!!",
    "\x01\x7f",
    "\x80\u07ff",
    "\u0800\ud7ff\ue000\ufffd\ufffe\uffff",
    "\U00010000\U0010fffe\U0010ffff",
    "\ufdd0\ufdef",
    "\U0001f600" * 50,
    "a\u0301\u200d\u202e",
]
INVALID = {
    "a lone continuation": b"\x80",
    "six lone continuations": b"\x80\xbf\x80\xbf\x80\xbf",
    "a lone start of two": b"\xc2 ",
    "a lone start of three": b"\xe0\xa4 ",
    "a lone start of four": b"\xf0\x90\x80 ",
    "a start of five": b"\xf8\x88\x80\x80\x80",
    "a start of six": b"\xfc\x84\x80\x80\x80\x80",
    "FE": b"\xfe",
    "FF": b"\xff",
    "a slash in two": b"\xc0\xaf",
    "a slash in three": b"\xe0\x80\xaf",
    "a slash in four": b"\xf0\x80\x80\xaf",
    "NUL in two": b"\xc0\x80",
    "the largest overlong of two": b"\xc1\xbf",
    "the largest overlong of three": b"\xe0\x9f\xbf",
    "the largest overlong of four": b"\xf0\x8f\xbf\xbf",
    "beyond the last": b"\xf4\x90\x80\x80",
    "far beyond the last": b"\xf7\xbf\xbf\xbf",
    "a high surrogate": b"\xed\xa0\x80",
    "a low surrogate": b"\xed\xbf\xbf",
    "a pair of surrogates": b"\xed\xa0\x80\xed\xb0\x80",
}
CUT = {"two": b"\xc3", "three": b"\xe2\x82", "four": b"\xf0\x9f\x98"}
GOOD = '{"type":"ping","pad":"κόσμε '.encode()


@pytest.mark.parametrize("text", VALID, ids=range(len(VALID)))
async def test_valid_text_comes_back_as_it_was(member, text):
    _, echo = member
    assert await echo(text) == text


@pytest.mark.parametrize("text", VALID, ids=range(len(VALID)))
async def test_valid_text_may_be_cut_between_any_two_octets(peer, text):
    whole = f'{{"type":"ping","id":"{text[:60]}"}}'.encode()
    if "\x01" in text:
        whole = whole.replace(b"\x01", b"")  # JSON has no control characters
    for at in range(1, len(whole)):
        await peer.send(frame(whole[:at], fin=False) + frame(whole[at:], CONTINUATION))
    for _ in range(1, len(whole)):
        await peer.event("pong")


async def test_valid_text_may_come_one_octet_to_a_fragment(peer):
    whole = '{"type":"ping","id":"κόσ\U0001f600"}'.encode()
    parts = [
        frame(whole[at : at + 1], CONTINUATION if at else TEXT, fin=at == len(whole) - 1) for at in range(len(whole))
    ]
    await peer.send(*parts)
    await peer.event("pong", id="κόσ\U0001f600")


@pytest.mark.parametrize("name", INVALID)
async def test_invalid_text_is_1007(peer, name):
    await peer.send(frame(GOOD + INVALID[name] + b'"}'))
    assert (await peer.end())[0] == 1007


@pytest.mark.parametrize("name", INVALID)
async def test_invalid_text_alone_is_1007(peer, name):
    await peer.send(frame(INVALID[name]))
    assert (await peer.end())[0] == 1007


@pytest.mark.parametrize("name", INVALID)
async def test_invalid_text_across_fragments_is_1007(peer, name):
    octets = GOOD + INVALID[name] + b'"}'
    at = len(GOOD) + 1
    await peer.send(frame(octets[:at], fin=False), frame(octets[at:], CONTINUATION))
    assert (await peer.end())[0] == 1007


@pytest.mark.parametrize("name", INVALID)
async def test_invalid_text_fails_with_its_fragment_and_not_with_its_message(peer, name):
    await peer.send(frame(GOOD, fin=False), frame(INVALID[name] + b"x", CONTINUATION, fin=False))
    assert (await peer.end())[0] == 1007


@pytest.mark.parametrize(
    ("possible", "octet"),
    [(b"\xf4", b"\x90"), (b"\xed", b"\xa0"), (b"\xed", b"\xbf"), (b"\xe0", b"\x9f"), (b"\xf0\x9f\x98", b"x")],
)
async def test_text_fails_in_the_fragment_that_makes_it_impossible(peer, possible, octet):
    await peer.send(frame(GOOD + possible, fin=False), frame(b"", PING))
    assert await peer.control(PONG) == b""
    await peer.send(frame(octet, CONTINUATION, fin=False))
    assert (await peer.end())[0] == 1007


@pytest.mark.parametrize("name", CUT)
@pytest.mark.parametrize("parts", [1, 2])
async def test_text_that_ends_within_a_character_is_1007(peer, name, parts):
    octets = GOOD + CUT[name]
    frames = [frame(octets)] if parts == 1 else [frame(octets, fin=False), frame(b"", CONTINUATION)]
    await peer.send(*frames)
    assert (await peer.end())[0] == 1007


async def test_a_large_text_with_one_bad_octet_at_its_end_is_1007(peer):
    await peer.send(frame(b" " * 100_000 + b"\xff"))
    assert (await peer.end())[0] == 1007


async def test_a_binary_message_may_hold_any_octets(peer):
    await peer.send(frame(b"\xff\xfe", BINARY, fin=False), frame(b"\xed\xa0\x80", CONTINUATION))
    assert (await peer.event("error"))["data"]["error"] == "BAD_FRAME"
    assert await peer.is_alive()


async def test_what_was_said_before_invalid_text_is_answered(peer):
    await peer.send(frame('{"type":"ping","id":"before"}') + frame(b"\xff"))
    await peer.event("pong", id="before")
    assert (await peer.end())[0] == 1007
