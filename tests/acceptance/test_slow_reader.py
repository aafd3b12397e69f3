"""A member who stops reading: nobody waits for it, it holds at most 1 MiB, it is closed with 4201, memory returns."""

from pathlib import Path

import pytest
import trio
from stopwatch import open_stopwatch
from streams import Stream, rooms_in  # type: ignore[import-not-found]
from wire import Socket, frame, open_sockets, wait_until  # type: ignore[import-not-found]

MIB = 1024 * 1024
BODY = "x" * 9_900


async def enter(nursery, server, users, room, **options):
    sockets = []
    for user in users:
        sock = await Socket.open(nursery, server, user, **options)
        await sock.start(room)
        sockets.append(sock)
    return sockets


def bytes_unread(server, sock):
    """What the kernel has for the server of this socket, who has not read it yet."""
    ends = f":{server.port:04X}", f":{sock.sock.getsockname()[1]:04X}"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    (queues,) = [line[4] for line in lines if (line[1][-5:], line[2][-5:]) == ends]
    return int(queues.partition(":")[2], 16)


async def peak_memory(server, during):
    """The most memory that the server held while *during* ran, in bytes."""
    peak = server.usage().memory_bytes

    async def watch():
        nonlocal peak
        while True:
            peak = max(peak, server.usage().memory_bytes)
            await trio.sleep(0.005)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        await during()
        nursery.cancel_scope.cancel()
    return peak


async def burst(senders, room, each, body=BODY):
    """Many messages at once, without waiting for acks in between."""
    before = [len(sender.replies) for sender in senders]

    async def say(sender):
        for number in range(each):
            await sender.command("send", room, body=f"{number} {body}")

    async with trio.open_nursery() as nursery:
        for sender in senders:
            nursery.start_soon(say, sender)
    await wait_until(
        lambda: [
            (len(sender.replies) - count, sender.close_code)
            for sender, count in zip(senders, before, strict=True)
            if len(sender.replies) - count < each and sender.close_code is None
        ],
        30,
    )


async def test_one_who_stops_reading_delays_nobody_and_is_closed_with_4201(server, fresh):
    users = [fresh + number for number in range(22)]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery, open_stopwatch() as watch:
        sender, *fast = await enter(nursery, server, users[:10], room)
        (slow,) = await enter(nursery, server, users[-1:], room, receive_buffer=4096)
        fast += await enter(nursery, server, users[10:-1], room)  # before it in the room, and after it
        slow.stop_reading()
        waits = []
        for number in range(250):
            began = watch.seconds
            ack = await sender.ask("send", room, body=f"{number} {BODY}")
            seq = ack["data"]["seq"]
            await wait_until(
                lambda seq=seq: [
                    sock.events[-1] for sock in fast if all(event.get("seq") != seq for event in sock.events[-8:])
                ],
            )
            waits.append(watch.seconds - began)
        for sock in fast:
            assert [event["seq"] for event in sock.of("message")] == list(range(1, 251))
        waits.sort()
        print(f"to all: median {waits[125] * 1000:.1f} ms, p99 {waits[-3] * 1000:.1f} ms, most {waits[-1] * 1000:.1f}")
        assert waits[-3] < 0.5
        slow.read_again()
        assert await slow.wait_closed() == 4201
        heard = [event["seq"] for event in slow.of("message")]
        assert heard == list(range(1, len(heard) + 1))
        assert 0 < len(heard) < 250
        assert slow.bytes_received < 2 * MIB
        back = await Socket.open(nursery, server, users[-1])
        await back.start(resume={"rooms": {str(room): {"seq": len(heard)}}})
        assert [event["seq"] for event in back.of("message")] == list(range(len(heard) + 1, 251))


async def test_a_closed_slow_reader_is_forgotten_and_learns_why_all_the_same(server, fresh):
    users = [fresh, fresh + 1]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        (sender,) = await enter(nursery, server, users[:1], room)
        connections = server.usage().connections
        (slow,) = await enter(nursery, server, users[1:], room, receive_buffer=4096)
        slow.stop_reading()
        for number in range(200):
            await sender.ask("send", room, body=f"{number} {BODY}")
        await wait_until(lambda: server.usage().connections > connections and server.usage(), 12)
        slow.read_again()  # the kernel still has what it was told last
        assert await slow.wait_closed() == 4201


async def test_many_who_stop_reading_hold_at_most_a_mebibyte_each_whatever_comes_at_once(server, fresh):
    slow_count, each = 24, 60
    users = [fresh + number for number in range(10 + slow_count)]
    quiet, loud = await server.make_room(fresh, users), await server.make_room(fresh + 1, users)
    async with open_sockets() as nursery:
        senders = [await Socket.open(nursery, server, user) for user in users[:10]]
        for sender in senders:  # they listen nowhere: what is said is only for the slow
            await sender.start()
        before = server.usage().memory_bytes
        for _ in range(2):
            await burst(senders, quiet, each)
        alone = await peak_memory(server, lambda: burst(senders, quiet, each))
        slow = await enter(nursery, server, users[10:], loud, receive_buffer=4096)
        for sock in slow:
            sock.stop_reading()
        together = await peak_memory(server, lambda: burst(senders, loud, each))
        held = (together - alone) / slow_count / MIB
        print(
            f"before {before / MIB:.0f} MiB, peak alone {alone / MIB:.0f}, with {slow_count} slow {together / MIB:.0f}"
        )
        assert held < 1.25, f"each slow reader cost {held:.2f} MiB"
        for sock in slow:
            sock.read_again()
        assert {await sock.wait_closed() for sock in slow} == {4201}
        assert {sender.close_code for sender in senders} == {None}
    after = server.usage().memory_bytes
    print(f"after {after / MIB:.0f} MiB")
    assert after < alone + 8 * MIB


async def test_a_long_history_closes_no_reader_who_takes_it(server, fresh):
    users = [fresh, fresh + 1]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        sender, reader = await enter(nursery, server, users, room)
        for number in range(200):
            await sender.ask("send", room, body=f"{number} {BODY}")
        async with trio.open_nursery() as chatter:

            async def say():
                while True:
                    await sender.ask("send", room, body="meanwhile")

            chatter.start_soon(say)
            for _ in range(10):
                answer = await reader.ask("history", room, limit=200)
                assert answer["type"] == "ack", answer
                assert reader.close_code is None
            chatter.cancel_scope.cancel()


async def test_a_history_that_is_not_read_holds_at_most_a_mebibyte(server, fresh):
    users = [fresh, fresh + 1]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        sender, reader = await enter(nursery, server, users, room)
        for number in range(200):
            await sender.ask("send", room, body=f"{number} {BODY}")
        await reader.ask("history", room, limit=200)
        base = server.usage().memory_bytes
        slow = [await Socket.open(nursery, server, users[1], receive_buffer=4096) for _ in range(24)]
        for sock in slow:
            await sock.start(room)
            sock.stop_reading()
            await sock.command("history", room, limit=200)

        async def rest():
            for _ in range(20):
                await reader.ask("history", room, limit=1)
                await trio.sleep(0.05)

        held = (await peak_memory(server, rest) - base) / len(slow) / MIB
        assert held < 1.25, f"each reader who did not read its history cost {held:.2f} MiB"


@pytest.mark.slow
async def test_a_stream_that_takes_nothing_for_ten_seconds_is_closed_with_4201_however_little_waits(server, fresh):
    users = [fresh, fresh + 1]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        (sender,) = await enter(nursery, server, users[:1], room)
        slow = await Stream.open(nursery, server, users[1], receive_buffer=4096)
        await slow.expect("live")
        slow.stop_reading()
        for number in range(40):  # more than the kernel takes, much less than 1 MiB
            await sender.ask("send", room, body=f"{number} {BODY}")
        await trio.sleep(12.5)
        slow.read_again()
        assert await slow.wait_closed() == 4201
        heard = [event["seq"] for event in slow.of("message")]
        assert rooms_in(slow.cursor) == f"1~{room}.{len(heard)}.1"


async def test_many_streams_that_are_not_read_are_bounded_whatever_comes_at_once(server, fresh):
    slow_count, each = 24, 60
    users = [fresh + number for number in range(10 + slow_count)]
    quiet, loud = await server.make_room(fresh, users[:10]), await server.make_room(fresh + 1, users)
    async with open_sockets() as nursery:
        senders = [await Socket.open(nursery, server, user) for user in users[:10]]
        for sender in senders:  # they listen nowhere: what is said is only for the slow
            await sender.start()
        for _ in range(2):
            await burst(senders, quiet, each)
        alone = await peak_memory(server, lambda: burst(senders, quiet, each))
        slow = [await Stream.open(nursery, server, user, receive_buffer=65536) for user in users[10:]]
        for stream in slow:
            await stream.expect("live")
            stream.stop_reading()
        together = await peak_memory(server, lambda: burst(senders, loud, each))
        held = (together - alone) / slow_count / MIB
        print(f"peak alone {alone / MIB:.0f} MiB, with {slow_count} slow streams {together / MIB:.0f}")
        # 1 MiB waits for each, in pieces of its own, so the allocator adds a quarter; and the room itself remembers
        # 10 MiB of what was said lately.
        assert held < 2.25, f"each slow reader cost {held:.2f} MiB"
        for stream in slow:
            stream.read_again()
        assert {await stream.wait_closed(30) for stream in slow} == {4201}
        assert {sender.close_code for sender in senders} == {None}


@pytest.mark.slow
async def test_one_who_takes_nothing_for_ten_seconds_is_closed_with_4201_however_little_waits(server, fresh):
    users = [fresh, fresh + 1]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        (sender,) = await enter(nursery, server, users[:1], room)
        (slow,) = await enter(nursery, server, users[1:], room, receive_buffer=4096)
        slow.stop_reading()
        for number in range(40):  # more than the kernel takes, much less than 1 MiB
            await sender.ask("send", room, body=f"{number} {BODY}")
        await trio.sleep(12.5)
        slow.read_again()
        assert await slow.wait_closed() == 4201


@pytest.mark.parametrize("protocol", [None, "greenroom.v1"])
async def test_a_heartbeat_on_a_slow_line_does_not_wait_behind_what_is_queued(server, fresh, protocol):
    """Websocket-level pings of any client, and those of the existing client, who gives the answer 10 s."""
    users, count = [fresh, fresh + 1], 90 if protocol is not None else 45  # compat says everything twice
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        (sender,) = await enter(nursery, server, users[:1], room)
        slow = await Socket.open(nursery, server, users[1], protocol=protocol, receive_buffer=4096)
        if protocol is None:
            await slow.expect("connected")
        else:
            await slow.start(room)
        slow.stop_reading()
        for number in range(count):
            await sender.ask("send", room, body=f"{number} {BODY}")
        await slow.send_bytes(frame(b"are you there?", 9))
        await slow.send({"type": "ping", "id": "ping_1"})
        await wait_until(lambda: bytes_unread(server, slow))
        await trio.sleep(0.3)  # it is answered
        slow.read_again()
        kind = "message" if protocol is not None else "new_message"
        await wait_until(lambda: len(slow.of(kind)) < count and (len(slow.of(kind)), slow.close_code))
        assert [event["seq"] for event in slow.of(kind)] == list(range(1, count + 1))
        for pong in ("(pong frame)", *(["pong"] if protocol is None else [])):
            (answer,) = slow.of(pong)
            behind = sum(event["type"] == kind for event in slow.events[slow.position(answer) :])
            assert behind > count / 3, f"{pong} waited for all but {behind} messages"
