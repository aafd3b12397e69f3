"""Presence over the end of a process: nobody is online for ever, and who was seen by nobody still is."""

import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Socket, open_sockets, wait_until  # type: ignore[import-not-found]


async def test_kill_9_leaves_nobody_online_and_the_invisible_unseen():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1, 2, 3])
        async with open_sockets() as nursery:
            for user, status in ((1, "busy"), (2, "invisible")):
                sock = await Socket.open(nursery, server, user)
                await sock.start(room)
                assert (await sock.ask("presence", status=status))["data"]["status"] == status
            await trio.to_thread.run_sync(server.kill)
        await trio.to_thread.run_sync(server.start)
        async with open_sockets() as nursery:
            watcher = await Socket.open(nursery, server, 3)
            await watcher.start(room)
            await watcher.ask("watch", users=[1, 2])
            state = watcher.of("presence_state")[-1]["data"]["users"]
            assert [one["status"] for one in state] == ["offline", "offline"]
            for user in (1, 2):
                await (await Socket.open(nursery, server, user)).start(room)

            def joined():
                joins = [one for event in watcher.of("presence_diff") for one in event["data"]["joins"]]
                return {one["user"]: one["status"] for one in joins}

            await wait_until(lambda: 1 not in joined() and "the one who is seen")
            await trio.sleep(1.2)
            assert joined().get(1) == "online", "who comes back comes back online"
            assert 2 not in joined()
