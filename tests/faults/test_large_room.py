"""A room whose sockets cross the size at which it is walked instead of told at once: nobody is left out of anything."""

import random

import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Member, check_rooms, fellow_holes, wait_until  # type: ignore[import-not-found]


async def test_sockets_that_come_and_go_around_the_size_of_a_walk_leave_no_hole_in_anybodys_log(seed):
    chance = random.Random(seed)
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        users = list(range(1, 207))
        room = await server.make_room(900, users)
        members = [Member(server, user, [room], window=32, seed=seed) for user in users]
        senders = members[:4]
        async with trio.open_nursery() as clients:
            for member in members:
                clients.start_soon(member.run)
            await wait_until(lambda: [m.user for m in members if not m.is_live], 30)
            async with trio.open_nursery() as load:

                async def talk():
                    while True:
                        for sender in senders:
                            while sender.unacked < 32:
                                sender.say(room)
                        await trio.sleep(0.001)

                load.start_soon(talk)
                for _ in range(20):
                    await wait_until(lambda: [m.user for m in members if not m.is_live], 20)
                    await trio.sleep(chance.uniform(0.01, 0.1))
                    for member in chance.sample(members[4:], chance.randint(6, 20)):
                        if member.socket is not None:
                            member.socket.cut()
                load.cancel_scope.cancel()
            await wait_until(lambda: [m.unacked for m in senders if m.unacked], 20)
            top = (await server.log_of(room))[-1]["seq"]
            await wait_until(lambda: [(m.user, m.logs[room].top, top) for m in members if m.logs[room].top < top], 30)
            clients.cancel_scope.cancel()
        holes = fellow_holes(members)
        assert not holes, f"{len(holes)} of {len(members)} were left out of something: {holes[:3]}"
        print(await check_rooms(server, members), "messages")
        assert not server.faults(), server.faults()[0]
