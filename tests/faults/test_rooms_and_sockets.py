"""Moments between a room and its sockets: whoever comes or goes in the middle of something hurts nobody else."""

import asyncpg
import trio
import trio.lowlevel
import trio_asyncio
from wire import Socket, open_sockets, wait_until

from greenroom.http.ws.connection import OUTBOX_BYTES_MAX
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.walk import WALK_SOCKETS_MIN


async def room_with(live_house, nursery, count):
    users = list(range(1, count + 1))
    await live_house.people(*users)
    room = await live_house.conversation(*users)
    socks = []
    for user in users:
        sock = await Socket.open(nursery, live_house, user)
        await sock.start(room)
        socks.append(sock)
    return room, socks


def seqs(sock):
    return [event["seq"] for event in sock.of("message")]


async def test_a_room_that_shrinks_below_the_size_of_a_walk_while_it_is_walked_leaves_nobody_behind(live_house):
    async with open_sockets() as nursery:
        room, socks = await room_with(live_house, nursery, WALK_SOCKETS_MIN + 1)
        channel = live_house.house.hub.channels[room]
        channel.rests_until = trio.current_time() + 0.3  # as after a long walk: the next one waits
        await socks[0].ask("send", room, body="one")
        await socks[-1].ask("leave", room)
        await socks[0].ask("send", room, body="two")
        await wait_until(lambda: [seqs(sock) for sock in socks[:-1] if seqs(sock) != [1, 2]][:3], 5)


async def test_a_session_that_ends_while_it_starts_stays_in_no_room(live_house, database):
    await live_house.people(1, 2)
    warm, cold = await live_house.conversation(1, 2), await live_house.conversation(1, 2)
    hub = live_house.house.hub
    async with open_sockets() as nursery:
        await (await Socket.open(nursery, live_house, 2)).start(warm)
        async with trio_asyncio.open_loop():
            run = trio_asyncio.aio_as_trio
            connection = await run(asyncpg.connect)(**database.connect_arguments())
            await run(connection.execute)("begin; lock table ownership in access exclusive mode")
            sock = await Socket.open(nursery, live_house, 1)
            await sock.command("start", rooms=[{"r": warm}, {"r": cold}])
            await wait_until(lambda: len(hub.channels[warm].attachments) < 2 and "the warm room", 5)
            sock.cut()
            await wait_until(lambda: live_house.house.engine.total > 1 and "the end of the connection", 5)
            await run(connection.execute)("rollback")
            await run(connection.close)()
        await live_house.get(f"/api/conversations/{cold}", 2)
        assert len(hub.channels[warm].attachments) == 1
        assert cold not in hub.channels


async def fill(live_house, sock, user):
    """Let so much wait for *sock*, which does not read, that one more message is too much."""
    sock.stop_reading()
    (connection,) = (
        one for one in live_house.house.engine.connections_of(user) if one.sock.getpeername() == sock.sock.getsockname()
    )
    while connection.unsent_bytes < OUTBOX_BYTES_MAX - 2000:
        connection.write(text_frame(b'{"type":"filling","data":"' + b"x" * 1000 + b'"}'))
        await trio.lowlevel.checkpoint()
    await wait_until(lambda: connection.pending and "the flusher")
    assert not connection.is_closing


async def test_a_slow_reader_that_is_closed_by_a_message_keeps_it_from_nobody(live_house):
    async with open_sockets() as nursery:
        room, socks = await room_with(live_house, nursery, 6)
        slow = socks[1]
        await fill(live_house, slow, 2)
        await socks[0].ask("send", room, body="one" + "e" * 3000)
        await socks[0].ask("send", room, body="two")
        others = [sock for sock in socks if sock is not slow]
        await wait_until(lambda: [seqs(sock) for sock in others if seqs(sock) != [1, 2]], 5)


async def test_a_member_change_that_closes_a_slow_reader_is_told_to_all(live_house):
    async with open_sockets() as nursery:
        room, socks = await room_with(live_house, nursery, 6)
        await live_house.people(7)
        await fill(live_house, socks[1], 2)
        while live_house.house.engine.connections_of(2)[0].unsent_bytes < OUTBOX_BYTES_MAX - 20:
            live_house.house.engine.connections_of(2)[0].write(text_frame(b"{}"))
        added = await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": [7]})
        assert added.status in (200, 201), added
        for sock in (socks[0], *socks[2:]):
            await sock.expect("member", seconds=3)


async def test_one_of_two_pages_of_a_user_that_is_closed_as_slow_keeps_nothing_from_the_other(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        pages = [await Socket.open(nursery, live_house, 2, protocol=None) for _ in range(3)]
        for page in pages:
            await page.expect("connected")
        sender = await Socket.open(nursery, live_house, 1)
        await sender.start(room)
        await fill(live_house, pages[0], 2)
        await sender.ask("send", room, body="one" + "e" * 3000)
        for page in pages[1:]:
            await page.expect("new_message", seconds=3, content="one" + "e" * 3000)
