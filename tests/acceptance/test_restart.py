"""A restart under connected clients: the port stays open, nobody sees 1006, all come back and have everything.

The test holds the listening socket, as systemd would, and gives it to each process by LISTEN_FDS.
"""

import resource
from collections import Counter

import pytest
import trio
from page_client import Page, listening_socket  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Gone, Member, Refused, Socket, check_rooms, open_sockets, wait_until  # type: ignore[import-not-found]

from greenroom.control import errors
from greenroom.control.client import connect


async def restart_under(members_count, pages_count, restarts):
    rooms_count = 10
    with listening_socket() as listener, ServerProcess(listener=listener) as server:
        await trio.to_thread.run_sync(server.start)
        rooms = list(range(1, rooms_count + 1))
        users = list(range(100, 100 + members_count + pages_count))
        for room in rooms:
            await server.make_room(room, users[room - 1 :: rooms_count])
        members = [Member(server, user, [rooms[at % rooms_count]]) for at, user in enumerate(users[:members_count])]
        pages = [
            Page(server, user, rooms[(members_count + at) % rooms_count])
            for at, user in enumerate(users[members_count:])
        ]
        async with trio.open_nursery() as clients:
            for at, client in enumerate([*members, *pages]):
                clients.start_soon(client.run)
                if at % 50 == 49:
                    await trio.sleep(0.05)
            await wait_until(lambda: len([m for m in members if not m.is_live]), 60)
            await wait_until(lambda: len([p for p in pages if not p.sockets]), 60)
            talkers = members[: rooms_count * 2]
            for number in range(restarts):
                for member in talkers:
                    member.say(next(iter(member.logs)))
                began = trio.current_time()
                assert await trio.to_thread.run_sync(server.stop) == 0, server.log_tail()
                stopped = trio.current_time()
                await trio.to_thread.run_sync(server.start)
                print(f"stop {stopped - began:.2f} s, start {trio.current_time() - stopped:.2f} s")
                for member in talkers:
                    member.say(next(iter(member.logs)))
                await wait_until(
                    lambda n=number: [
                        (m.user, m.closes, m.refusals) for m in members if not m.is_live or m.connects < n + 2
                    ],
                    60,
                )
                await wait_until(lambda n=number: [(p.user, p.stuck) for p in pages if p.sockets < n + 2], 60)
                print(f"all back {trio.current_time() - stopped:.2f} s after the stop")
            await wait_until(lambda: [m.user for m in members if m.unacked], 30)
            stored = {room: await server.log_of(room) for room in rooms}
            await wait_until(
                lambda: [(m.user, r) for m in members for r, log in m.logs.items() if log.top < len(stored[r])], 30
            )
            await wait_until(
                lambda: [
                    (p.user, len(p.messages), len(stored[p.room]))
                    for p in pages
                    if len(p.messages) < len(stored[p.room])
                ],
                30,
            )
            clients.cancel_scope.cancel()
        await check_rooms(server, members)
        for page in pages:
            whole = {row["seq"]: (row["id"], row["sender_id"], row["content"]) for row in stored[page.room]}
            assert page.messages == whole
        assert not [page.stuck for page in pages if page.stuck]
        v1 = sum((member.closes for member in members), Counter())
        compat = Counter(code for page in pages for code in page.closes)
        print(f"closes: v1 {dict(v1)}, compat {dict(compat)}")
        assert set(v1) == {4200}
        assert set(compat) == {1012}
        assert not server.faults(), server.faults()[0]


def room_for(sockets):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    assert hard >= sockets + 500


async def test_a_restart_under_three_hundred_clients_brings_all_back_caught_up_and_nobody_sees_1006():
    room_for(300)
    await restart_under(150, 150, 1)


@pytest.mark.slow
async def test_a_restart_under_two_thousand_clients_brings_all_back_caught_up_and_nobody_sees_1006():
    room_for(2000)
    await restart_under(1000, 1000, 2)


async def test_who_connects_while_the_server_stops_is_told_so_or_waits_for_the_next_and_never_sees_1006():
    with listening_socket() as listener, ServerProcess(listener=listener) as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1])
        codes, ended, opened = Counter(), [], 0

        async def come_and_stay():
            nonlocal opened
            try:
                async with open_sockets() as nursery:
                    sock = await Socket.open(nursery, server, 1)
                    opened += 1
                    await sock.command("start", rooms=[{"r": room}])
                    await sock.is_over.wait()
                codes[sock.close_code] += 1
            except (Refused, Gone, OSError) as error:
                ended.append(repr(error))

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:

                async def keep_coming():
                    for _ in range(150):
                        nursery.start_soon(come_and_stay)
                        await trio.sleep(0.004)

                nursery.start_soon(keep_coming)
                await trio.sleep(0.3)
                assert await trio.to_thread.run_sync(server.stop) == 0
                await trio.to_thread.run_sync(server.start)
                # Whoever the third server took in would stay for ever.
                await wait_until(lambda: opened + len(ended) < 150 and f"only {opened} came in, not {ended[:3]}", 30)
                assert await trio.to_thread.run_sync(server.stop) == 0
                await trio.to_thread.run_sync(server.start)
        print(codes, Counter(ended))
        assert set(codes) == {4200}, codes
        assert not ended, ended[:3]


@pytest.mark.parametrize(("address", "limit"), [("127.0.0.1", 0), ("0.0.0.0", 1000)])
async def test_a_socket_from_outside_is_judged_by_what_it_is_bound_to(address, limit):
    """On loopback nobody is limited by address, and a developer may attach; otherwise both as the design says."""
    with listening_socket(address) as listener, ServerProcess(listener=listener, ENVIRONMENT="development") as server:
        await trio.to_thread.run_sync(server.start)
        with connect(server.data) as running:
            if limit:
                with pytest.raises(errors.Refused, match=f"listens on {address}"):
                    running.ask("attach", source="1")
            else:
                assert running.ask("attach", source="house.settings.sockets_per_address_max") == "0\n"
            assert f"http://{address}:" in server.log.read_text()
