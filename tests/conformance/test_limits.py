"""What one connection may cost, over every wire: who does not read, who says too much; others are not disturbed."""

import json
import secrets
from contextlib import suppress

import trio
from peer import CLOSE, CONTINUATION, PING, PONG, ROOM, Gone, frame, ping_command, text_of
from stopwatch import open_stopwatch

MIB = 1024 * 1024
BODY_CHARACTERS = 10_000  # the longest there may be


def noise() -> str:
    """A body of 40,000 bytes that no compression makes much shorter."""
    return "".join(
        chr(0x10000 + number % 0xFFFFF) for number in secrets.SystemRandom().choices(range(2**24), k=BODY_CHARACTERS)
    )


async def test_who_does_not_read_is_closed_with_4201_and_what_it_was_sent_before_is_whole(wire):
    """Over TLS too no record is cut, although the outbox is thrown away in the middle of one."""
    async with wire.open(receive_buffer=16 * 1024) as stuck, wire.open() as speaker:
        await stuck.start(ROOM)
        await speaker.start(ROOM)
        bodies = [noise() for _ in range(50)]
        for body in bodies:
            client_id = secrets.token_hex(8)
            await speaker.command("send", ROOM, body=body, clientId=client_id)
            while json.loads(await speaker.text()).get("data", {}).get("clientId") != client_id:
                pass
        assert await speaker.is_alive()
        heard, last = [], None
        with suppress(Gone):
            while True:
                last = await stuck.frame()
                if last.opcode != CLOSE:
                    event = json.loads(text_of(last))
                    heard += [event["data"]["body"]] if event["type"] == "message" else []
        assert last.opcode == CLOSE
        assert int.from_bytes(last.payload[:2], "big") == 4201
        assert heard == bodies[: len(heard)]
        assert len(heard) < len(bodies)


async def test_who_reads_slowly_is_not_lost_and_misses_nothing(wire):
    async with wire.open(receive_buffer=16 * 1024) as slow, wire.open() as speaker:
        await slow.start(ROOM)
        await speaker.start(ROOM)
        bodies = [noise() for _ in range(20)]
        heard = []

        async def speak() -> None:
            for body in bodies:
                await speaker.command("send", ROOM, body=body, clientId=secrets.token_hex(8))
                await speaker.event("ack")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(speak)
            while len(heard) < len(bodies):
                await trio.sleep(0.02)
                event = json.loads(await slow.text())
                heard += [event["data"]["body"]] if event["type"] == "message" else []
        assert heard == bodies
        assert await slow.is_alive()


async def test_a_message_that_never_ends_is_1009_and_costs_no_memory(wire):
    async with wire.open() as peer, wire.open() as bystander:
        before = wire.server.usage().memory_bytes
        await peer.send(frame(b"[", fin=False))
        with suppress(trio.BrokenResourceError):
            for _ in range(400):
                await peer.send(frame(b" " * 1000, CONTINUATION, fin=False))
        assert (await peer.end())[0] == 1009
        assert await bystander.is_alive()
        assert wire.server.usage().memory_bytes - before < 8 * MIB


async def test_a_flood_of_pings_that_nobody_reads_the_pongs_of_disturbs_nobody(wire):
    async with wire.open(receive_buffer=16 * 1024) as flood, wire.open() as bystander:
        before = wire.server.usage().memory_bytes
        with trio.move_on_after(1), suppress(trio.BrokenResourceError):
            while True:
                await flood.send(frame(b"x" * 125, PING) * 200)
        async with open_stopwatch(wire.server) as watch:
            assert await bystander.is_alive()
            assert watch.seconds < 3
        assert wire.server.usage().memory_bytes - before < 16 * MIB


async def test_connections_that_come_and_go_in_every_way_leave_nothing_behind(wire):
    async def visit(number: int) -> None:
        async with wire.open() as peer:
            await peer.send(frame(ping_command("p")) if number % 3 else frame(b"x" * 100)[:50])
            if number % 3 == 1:
                await peer.event("pong")
                await peer.send(frame(b"\x03\xe8", CLOSE))
                assert (await peer.end())[0] == 1000

    before = wire.server.usage()
    for rounds in (2, 10):  # the first open what stays open
        for _ in range(rounds):
            async with trio.open_nursery() as nursery:
                for number in range(15):
                    nursery.start_soon(visit, number)
        if rounds == 2:
            await trio.sleep(1)
            before = wire.server.usage()
    with trio.fail_after(8):
        while wire.server.usage().is_more_than(before):  # noqa: ASYNC110 - of another process
            await trio.sleep(0.05)


async def test_ping_and_pong_go_on_while_a_long_message_comes_in(wire):
    async with wire.open() as peer:
        await peer.send(frame(ping_command("p", 30_000)[:20_000], fin=False))
        for number in range(3):
            await peer.send(frame(b"%d" % number, PING))
            assert await peer.control(PONG) == b"%d" % number
        await peer.send(frame(ping_command("p", 30_000)[20_000:], CONTINUATION))
        await peer.event("pong", id="p")


async def test_pings_of_who_is_behind_are_answered_and_every_frame_stays_whole(wire):
    """Small messages: of what the kernel takes in part over TLS, a record, dozens are encrypted already."""
    async with wire.open(receive_buffer=16 * 1024) as behind, wire.open() as speaker:
        await behind.start(ROOM)
        await speaker.start(ROOM)
        bodies = [f"{number} ".ljust(300, "x") for number in range(1500)]
        pings = [b"one", b"two", b"three"]
        for at in range(0, len(bodies), 15):
            commands = [
                {
                    "type": "send",
                    "id": str(number),
                    "room": ROOM,
                    "data": {"body": body, "clientId": secrets.token_hex(8)},
                }
                for number, body in enumerate(bodies[at : at + 15])
            ]
            await speaker.send(frame(json.dumps(commands)))
            told = 0
            while told < 15:
                told += json.loads(await speaker.text())["type"] == "message"
            if at in (1200, 1305, 1380):
                await behind.send(frame(pings.pop(0), PING))
        heard, pongs = [], []
        while len(heard) < len(bodies) or len(pongs) < 3:
            found = await behind.frame()
            if found.opcode == PONG:
                pongs.append(found.payload)
            elif (event := json.loads(text_of(found)))["type"] == "message":
                heard.append(event["data"]["body"])
        assert heard == bodies
        assert pongs == [b"one", b"two", b"three"]
        assert await behind.is_alive()
