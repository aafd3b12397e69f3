"""`greenroom drain` on a running server: everybody is moved, in slots, and whoever comes back comes in."""

import json
import os
import re
import signal
import sys
from collections import Counter

import trio
from page_client import Page  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Member, Socket, http, open_sockets, wait_until  # type: ignore[import-not-found]


async def said(command):
    text, _ = await trio.to_thread.run_sync(command.communicate)
    return text


async def test_a_drain_moves_pages_and_members_who_come_back_in_and_nobody_is_stuck_or_sees_1006():
    count, window = 40, 4.0
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        users = list(range(100, 100 + 2 * count))
        room = await server.make_room(1, users)
        members = [Member(server, user, [room]) for user in users[:count]]
        pages = [Page(server, user, room) for user in users[count:]]
        async with trio.open_nursery() as clients:
            for client in (*members, *pages):
                clients.start_soon(client.run)
            await wait_until(lambda: [m.user for m in members if not m.is_live], 30)
            await wait_until(lambda: [p.user for p in pages if not p.sockets], 30)
            await trio.sleep(2.2)
            command = server.command("drain", "--window", str(window), "--json")
            await wait_until(lambda: not any(page.closes for page in pages), 20)
            members[0].say(room)
            health = await http(server, "GET", "/api/health")
            assert (health.status, health.json()["status"]) == (503, "draining")
            assert (await http(server, "GET", "/api/health/ping")).status == 200
            states = [json.loads(line) for line in (await said(command)).splitlines()]
            assert command.returncode == 0
            assert states[0]["state"] == "draining"
            assert states[-1]["state"] == "drained"
            assert (states[-1]["moved"], states[-1]["total"]) == (2 * count, 2 * count)
            moved = [state["moved"] for state in states]
            assert moved == sorted(moved)
            assert len(set(moved)) > count / 4, f"not in slots: {moved}"
            await wait_until(lambda: [p.user for p in pages if p.sockets < 2], 10)
            await wait_until(lambda: [m.user for m in members if m.connects < 2 or not m.is_live], 10)
            await wait_until(lambda: [p.user for p in pages if not p.messages], 10)
            undo = server.command("drain", "--undo")
            assert "serving" in await said(undo)
            health = await http(server, "GET", "/api/health")
            assert (health.status, health.json()["status"]) == (200, "healthy")
            clients.cancel_scope.cancel()
        assert not [page.stuck for page in pages if page.stuck]
        assert set(sum((member.closes for member in members), Counter())) == {4200}
        assert {code for page in pages for code in page.closes} == {1012}
        assert not server.faults(), server.faults()[0]


async def test_ctrl_c_gives_a_drain_up_and_who_was_not_moved_stays():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        await server.make_people(*range(1, 11))
        async with open_sockets() as nursery:
            sockets = [await Socket.open(nursery, server, user) for user in range(1, 11)]
            for sock in sockets:
                await sock.start()
            command = server.command("drain", "--window", "100")
            await wait_until(lambda: [sock for sock in sockets if not sock.of("reconnect")], 20)
            after = [sock.of("reconnect")[0]["data"]["after"] for sock in sockets]
            assert all(abs(ms - 10_000 * index) < 500 for index, ms in enumerate(after)), after
            command.send_signal(signal.SIGINT)
            assert "serving" in await said(command)
            assert command.returncode == 130
            assert (await http(server, "GET", "/api/health")).status == 200
            assert len(await server.query("select 1 as one")) == 1
            for sock in sockets:
                await sock.settle()
            assert [sock.close_code for sock in sockets] == [None] * 10


async def test_a_second_drain_is_refused_with_a_sentence_and_top_shows_the_first():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        await server.make_people(1)
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, server, 1)
            await sock.start()
            later = await Socket.open(nursery, server, 1)  # its turn is after half a minute
            await later.start()
            first = server.command("drain", "--window", "60")
            await wait_until(lambda: not sock.of("reconnect") and "advice", 20)
            second = server.command("drain")
            assert "draining already" in await said(second)
            assert second.returncode == 1
            shown = await trio.run_process(
                [sys.executable, "-m", "greenroom", "top", "--once"],
                env={**os.environ, "GREENROOM_DATA_DIR": str(server.data)},
                capture_stdout=True,
            )
            assert re.search("[01] of 2 moved", shown.stdout.decode())
            assert await trio.to_thread.run_sync(server.stop) == 0
            assert await sock.wait_closed() == await later.wait_closed() == 4200
            assert "greenroom" in (await said(first)) or first.returncode == 0
