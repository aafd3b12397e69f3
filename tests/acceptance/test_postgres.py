"""PostgreSQL dies, or hangs, under load: errors or delays, never a false ack, and everything recovers by itself."""

import random
from collections import Counter

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from stopwatch import open_stopwatch
from wire import Member, check_rooms, fellow_holes, http, wait_until  # type: ignore[import-not-found]

ROOMS, SENDERS = 4, 24


async def under_load(server, seed, hurt, *, window=4):
    """Members talk while *hurt* does its thing; then all of them are well again and have everything."""
    print(f"seed {seed}")
    chance = random.Random(seed)
    rooms = [50_000 + seed * 100 + number for number in range(ROOMS)]
    users = [60_000 + seed * 1000 + number for number in range(SENDERS + 1)]
    for room in rooms:
        await server.make_room(room, users)
    members = [Member(server, user, rooms, seed=seed, window=window) for user in users]
    senders = members[:-1]
    async with trio.open_nursery() as clients:
        for member in members:
            clients.start_soon(member.run)
        async with trio.open_nursery() as load:

            async def talk():
                while True:
                    for member in senders:
                        while member.unacked < window:
                            member.say(chance.choice(rooms))
                    await trio.sleep(0.005)

            load.start_soon(talk)
            await wait_until(lambda: [m.user for m in senders if not m.acked], 20)
            await trio.sleep(chance.uniform(0.05, 0.5))
            await hurt(chance)
            acked = {member.user: len(member.acked) for member in senders}
            await wait_until(lambda: [m.user for m in senders if len(m.acked) < acked[m.user] + 5], 40)
            load.cancel_scope.cancel()
        await wait_until(lambda: [(m.user, m.unacked, m.errors) for m in senders if m.unacked], 30)
        tops = {room: (await server.log_of(room))[-1]["seq"] for room in rooms}
        await wait_until(
            lambda: [(m.user, r, m.logs[r].top, t) for m in members for r, t in tops.items() if m.logs[r].top < t], 20
        )
        clients.cancel_scope.cancel()
    assert not fellow_holes(members), fellow_holes(members)[:3]
    count = await check_rooms(server, members, in_order=window == 1)
    errors: Counter[str] = sum((member.errors for member in members), Counter())
    closes: Counter[int] = sum((member.closes for member in members), Counter())
    print(f"{count} messages; errors {dict(errors)}; closes {dict(closes)}")
    assert set(errors) <= {"STORAGE_UNAVAILABLE", "TIMEOUT"}, errors
    return members


async def kill_postgres(server, chance):
    old = await trio.to_thread.run_sync(server.kill_postgres)
    await wait_until(lambda: server.postmaster_pid in (None, old) and "a new postmaster", 30)


async def hang_postgres(server, seconds):
    await trio.to_thread.run_sync(server.pause_postgres)
    try:
        await trio.sleep(seconds)
    finally:
        await trio.to_thread.run_sync(server.continue_postgres)


@pytest.mark.parametrize("window", [1, 8])
async def test_the_postmaster_is_killed_under_load(window):
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        pid = server.pid
        members = await under_load(server, 30 + window, lambda chance: kill_postgres(server, chance), window=window)
        assert server.pid == pid
        assert server.is_running
        assert {code for member in members for code in member.closes} == set(), "no socket was closed for it"
        health = await http(server, "GET", "/api/health")
        assert health.status == 200, health
        assert not server.faults(), server.faults()[0]


async def test_postgres_hangs_for_a_while_under_load():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        await under_load(server, 41, lambda chance: hang_postgres(server, 3))
        assert server.is_running
        assert not server.faults(), server.faults()[0]


async def test_greenroom_stops_in_order_while_postgres_hangs():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1])
        member = Member(server, 1, [room])
        async with trio.open_nursery() as clients:
            clients.start_soon(member.run)
            member.say(room)
            await wait_until(lambda: member.unacked and "an ack")
            await trio.to_thread.run_sync(server.pause_postgres)
            member.say(room)
            await trio.sleep(0.3)
            clients.cancel_scope.cancel()

        async with open_stopwatch(server) as watch:
            code = await trio.to_thread.run_sync(server.stop)
            assert watch.seconds < 10.5
        assert code == 0, server.log_tail()
        assert not server.faults(), server.faults()[0]


@pytest.mark.slow
async def test_postgres_hangs_for_longer_than_any_limit_of_ours():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        await under_load(server, 42, lambda chance: hang_postgres(server, 33))
        assert server.is_running
        assert not server.faults(), server.faults()[0]


@pytest.mark.slow
async def test_the_postmaster_is_killed_again_and_again():
    async def hurt(chance):
        for _ in range(5):
            await kill_postgres(server, chance)
            await trio.sleep(chance.uniform(0, 1.5))

    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        for seed in (51, 52, 53):
            await under_load(server, seed, hurt)
        assert not server.faults(), server.faults()[0]
