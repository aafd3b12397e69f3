"""RFC 7692: what is agreed to, what a client may compress and how, and what it hears."""

import json
import os
import secrets
import zlib
from dataclasses import replace

import pytest
from peer import (
    BINARY,
    CONTINUATION,
    OFFER,
    PING,
    PONG,
    ROOM,
    TAIL,
    TEXT,
    close,
    deflate,
    frame,
    ping_command,
    text_of,
)

FRAME_BYTES_MAX = 128 * 1024
RSV1 = 4
KEEPS = "permessage-deflate"
FORGETS = "permessage-deflate; client_no_context_takeover"


def deflated(payload: bytes, opcode: int = TEXT, **how: int) -> bytes:
    """A compressed message in one frame."""
    return frame(deflate(payload, **how), opcode, rsv=RSV1)


# -- what is agreed to ----

SERVER = "permessage-deflate; server_no_context_takeover; server_max_window_bits=12"
AGREED = {
    KEEPS: SERVER,
    OFFER: f"{SERVER}; client_max_window_bits=12",
    FORGETS: "permessage-deflate; server_no_context_takeover; client_no_context_takeover; server_max_window_bits=12",
    "permessage-deflate; server_no_context_takeover": SERVER,
    "permessage-deflate; server_max_window_bits=15": SERVER,
    "permessage-deflate; server_max_window_bits=12": SERVER,
    'permessage-deflate; server_max_window_bits="12"': SERVER,
    "permessage-deflate; client_max_window_bits=15": f"{SERVER}; client_max_window_bits=12",
    "permessage-deflate; client_max_window_bits=9": f"{SERVER}; client_max_window_bits=9",
    "permessage-deflate; server_max_window_bits=10, permessage-deflate": SERVER,
    "x-webkit-deflate-frame, permessage-deflate": SERVER,
    "permessage-deflate; unknown, permessage-deflate": SERVER,
}
DECLINED = [
    "x-webkit-deflate-frame",
    "permessage-deflate; server_max_window_bits=11",
    "permessage-deflate; server_max_window_bits=8",
    "permessage-deflate; server_max_window_bits=16",
    "permessage-deflate; server_max_window_bits",
    "permessage-deflate; server_max_window_bits=012",
    "permessage-deflate; client_max_window_bits=7",
    "permessage-deflate; client_max_window_bits=x",
    "permessage-deflate; server_no_context_takeover=1",
    "permessage-deflate; client_no_context_takeover; client_no_context_takeover",
    "permessage-deflate; unknown",
    "Permessage-Deflate-2",
]


@pytest.mark.parametrize("offer", AGREED)
async def test_an_offer_is_agreed_to_with_what_the_server_keeps_to(deflating, offer):
    async with deflating.open(offers=offer) as peer:
        assert peer.agreed == AGREED[offer]
        assert await peer.is_alive()


@pytest.mark.parametrize("offer", DECLINED)
async def test_an_offer_that_cannot_be_kept_to_is_declined(deflating, offer):
    """Section 5.1: the connection is then without it."""
    async with deflating.open(offers=offer) as peer:
        assert peer.agreed is None
        assert await peer.is_alive()
        await peer.send(deflated(ping_command("p")))
        assert (await peer.end())[0] == 1002


async def test_offers_in_several_fields_are_one_list(deflating):
    async with deflating.open(offers=["permessage-deflate; unknown", FORGETS]) as peer:
        assert peer.agreed == AGREED[FORGETS]


# -- what a client may send ----

SIZES = [32, 126, 512, 4096, 65536, FRAME_BYTES_MAX]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("offer", [OFFER, FORGETS])
async def test_a_compressed_message_of_any_size_is_read(deflating, offer, level, size):
    """Also where stored blocks, which have heads of their own, make it longer on the wire than a message may be."""
    async with deflating.open(offers=offer) as peer:
        for _ in range(3):
            await peer.send(deflated(ping_command("p", size), level=level))
            await peer.event("pong", id="p")


@pytest.mark.parametrize("bits", [9, 10, 11, 12])
async def test_a_client_may_use_a_smaller_window_than_was_agreed(deflating, bits):
    async with deflating.open() as peer:
        await peer.send(deflated(ping_command("p", 20_000), bits=bits))
        await peer.event("pong", id="p")


@pytest.mark.parametrize("offer", [KEEPS, OFFER])
async def test_a_client_may_keep_its_context(deflating, offer):
    stream = zlib.compressobj(9, zlib.DEFLATED, -15 if offer == KEEPS else -12)
    pad = secrets.token_hex(600)
    async with deflating.open(offers=offer) as peer:
        sizes = []
        for number in range(20):
            payload = json.dumps({"type": "ping", "id": f"p{number}", "pad": pad}).encode()
            data = (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]
            sizes.append(len(data))
            await peer.send(frame(data, rsv=RSV1))
            await peer.event("pong", id=f"p{number}")
        assert max(sizes[1:]) < sizes[0] / 5, "the context was of use"


async def test_a_context_outlives_messages_that_are_not_compressed(deflating):
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    async with deflating.open() as peer:
        for number in range(6):
            payload = ping_command(f"p{number}", 700)
            if number % 2:
                await peer.send(frame(payload))
            else:
                data = (stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH))[: -len(TAIL)]
                await peer.send(frame(data, rsv=RSV1))
            await peer.event("pong", id=f"p{number}")


@pytest.mark.parametrize("every", [1, 7, 100])
async def test_a_compressed_message_may_come_in_fragments_with_pings_between(deflating, every):
    data = deflate(ping_command("p", 3000) + b" " * 500)
    parts = [data[at : at + every] for at in range(0, len(data), every)]
    async with deflating.open() as peer:
        for number, part in enumerate(parts):
            opcode, rsv = (CONTINUATION, 0) if number else (TEXT, RSV1)
            await peer.send(frame(part, opcode, fin=False, rsv=rsv))
        await peer.send(frame(b"between", PING))
        assert await peer.control(PONG) == b"between"
        await peer.send(frame(b"", CONTINUATION))
        await peer.event("pong", id="p")


async def test_rsv1_on_a_later_fragment_is_1002(deflating):
    async with deflating.open() as peer:
        await peer.send(frame(b"x", fin=False, rsv=RSV1), frame(b"y", CONTINUATION, rsv=RSV1))
        assert (await peer.end())[0] == 1002


async def test_a_compressed_message_may_end_with_a_final_block(deflating):
    """Section 7.2.3.4."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    payload = ping_command("p", 700)
    data = stream.compress(payload) + stream.flush(zlib.Z_FINISH)
    async with deflating.open() as peer:
        for _ in range(3):
            await peer.send(frame(data + b"\x00", rsv=RSV1))
            await peer.event("pong", id="p")


async def test_a_compressed_message_may_hold_several_blocks(deflating):
    """Sections 7.2.3.2 and 7.2.3.5: as many as it likes, of any kind."""
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    payload = ping_command("p", 700)
    data = b"".join(
        stream.compress(payload[at : at + 50]) + stream.flush(zlib.Z_FULL_FLUSH) for at in range(0, 700, 50)
    )
    async with deflating.open() as peer:
        await peer.send(frame(data[: -len(TAIL)], rsv=RSV1))
        await peer.event("pong", id="p")
        await peer.send(frame(b"\x00", rsv=RSV1))  # section 7.2.3.6: an empty message
        assert (await peer.event("error"))["data"]["error"] == "BAD_JSON"


async def test_a_compressed_binary_message_is_refused_by_name(deflating):
    async with deflating.open() as peer:
        await peer.send(deflated(b"\xff" * 5000, BINARY))
        assert (await peer.event("error"))["data"]["error"] == "BAD_FRAME"
        assert await peer.is_alive()


async def test_a_compressed_text_that_is_not_utf8_is_1007(deflating):
    async with deflating.open() as peer:
        await peer.send(deflated(b'{"type":"\xff"}'))
        assert (await peer.end())[0] == 1007


async def test_a_compressed_text_fails_in_the_fragment_that_is_not_utf8(deflating):
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    data = stream.compress(b'{"type":"\xff') + stream.flush(zlib.Z_SYNC_FLUSH)
    async with deflating.open() as peer:
        await peer.send(frame(data, fin=False, rsv=RSV1))
        assert (await peer.end())[0] == 1007


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\x07", deflate(b"x" * 1000)[:-3] + b"\xff\xff\xff\xff"])
@pytest.mark.parametrize("fin", [True, False])
async def test_what_does_not_inflate_is_1007(deflating, data, fin):
    async with deflating.open() as peer:
        await peer.send(frame(data, fin=fin, rsv=RSV1), *(() if fin else (frame(b"\xff" * 20, CONTINUATION),)))
        assert (await peer.end())[0] == 1007


@pytest.mark.parametrize("size", [FRAME_BYTES_MAX + 1, FRAME_BYTES_MAX + 5, 2**20, 100 * 2**20])
async def test_a_message_that_inflates_too_far_is_1009(deflating, size):
    async with deflating.open() as peer:
        await peer.send(deflated(b" " * size))
        assert (await peer.end())[0] == 1009


async def test_a_compressed_message_in_stored_blocks_that_holds_too_much_is_1009(deflating):
    async with deflating.open() as peer:
        await peer.send(deflated(b" " * (FRAME_BYTES_MAX + 1), level=0))
        assert (await peer.end())[0] == 1009


async def test_fragments_that_inflate_too_far_are_1009_before_the_last(deflating):
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    async with deflating.open() as peer:
        for number in range(3):
            data = stream.compress(b" " * 60_000) + stream.flush(zlib.Z_SYNC_FLUSH)
            await peer.send(frame(data, CONTINUATION if number else TEXT, fin=False, rsv=0 if number else RSV1))
        assert (await peer.end())[0] == 1009


async def test_a_flood_of_messages_that_inflate_as_far_as_they_may_is_read_in_turns_and_in_order(deflating):
    """Forty of them are 6 KB on the wire and 5 MB inflated; a ping among them keeps its place before those after it."""
    count = 40
    async with deflating.open() as peer, deflating.open() as bystander:
        bombs = [deflated(ping_command(f"p{number}", FRAME_BYTES_MAX)) for number in range(count)]
        await peer.send(b"".join(bombs) + frame(ping_command("last")) + close(1000))
        assert await bystander.is_alive()
        for number in range(count):
            assert (await peer.event("pong"))["id"] == f"p{number}"
        assert (await peer.event("pong"))["id"] == "last"
        assert (await peer.end())[0] == 1000


# -- what it hears ----


async def said_to(listener, speaker, body):
    """The frame in which *listener* hears what *speaker* says."""
    await speaker.command("send", ROOM, body=body, clientId=secrets.token_hex(8))
    while json.loads(text_of(found := await listener.frame())).get("data", {}).get("body") != body:
        pass
    return found


@pytest.mark.parametrize("size", [1, 300, 600, 5000, 10_000])
async def test_a_message_of_512_bytes_and_more_is_compressed_for_who_agreed_and_for_nobody_else(deflating, size):
    body = ("the quick brown fox " * 600)[:size]
    plain = replace(deflating, offers=None)
    async with deflating.open() as first, deflating.open() as second, plain.open() as third:
        for peer in (first, second, third):
            await peer.start(ROOM)
        await first.command("send", ROOM, body=body, clientId=secrets.token_hex(8))
        heard = []
        for peer in (first, second, third):
            while json.loads(text_of(found := await peer.frame())).get("data", {}).get("body") != body:
                pass
            heard.append(found)
        assert text_of(heard[1]) == text_of(heard[2])
        assert [bool(found.rsv) for found in heard] == [len(text_of(found)) >= 512 for found in heard[:2]] + [False]
        if size >= 600:
            assert len(heard[1].payload) < len(heard[2].payload) / 3


async def test_what_does_not_get_shorter_is_sent_as_it_is(deflating):
    body = "".join(chr(0x10000 + int.from_bytes(os.urandom(3), "big") % 0xFFFFF) for _ in range(3000))
    async with deflating.open() as peer:
        await peer.start(ROOM)
        found = await said_to(peer, peer, body)
        assert found.rsv == 0 or len(found.payload) < len(text_of(found).encode())


async def test_what_was_missed_is_compressed_frame_by_frame(deflating):
    async with deflating.open() as peer:
        await peer.start(ROOM)
        bodies = [f"{number} " + "again and again " * 60 for number in range(30)]
        for body in bodies:
            await said_to(peer, peer, body)
    async with deflating.open() as peer:
        await peer.command("start", resume={"rooms": {str(ROOM): {"seq": 0}}}, rooms=[{"r": ROOM}])
        heard, frames = [], []
        while heard[-30:] != bodies:
            frames.append(await peer.frame())
            event = json.loads(text_of(frames[-1]))
            if event["type"] == "message":
                heard.append(event["data"]["body"])
            elif event["type"] == "gap":
                await peer.command("history", ROOM, limit=30)
            elif event["type"] == "ack":
                heard = [message["body"] for message in event["data"]["messages"]]
        assert any(found.rsv for found in frames)


async def test_compat_is_compressed_too(deflating):
    async with deflating.open(protocol=None) as old, deflating.open() as peer:
        await peer.start(ROOM)
        body = secrets.token_hex(4) + " what the old client hears" * 40
        await peer.command("send", ROOM, body=body, clientId=secrets.token_hex(8))
        while (event := json.loads(text_of(found := await old.frame())))["type"] != "new_message":
            pass
        assert event["content"] == body
        assert found.rsv == RSV1
