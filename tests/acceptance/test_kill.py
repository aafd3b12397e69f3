"""Kill -9 of the server under load: what was acknowledged is there once, in order, gapless, and everybody sees it."""

import random
from collections import Counter

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Member, check_rooms, wait_until  # type: ignore[import-not-found]

SEEDS_QUICK = (11, 12)
SEEDS_ALL = tuple(range(1, 21))
ROOMS = 4
SENDERS = 24


async def crowd(server: ServerProcess, seed: int, rooms: int = ROOMS, senders: int = SENDERS) -> list[Member]:
    """Members of several rooms each; every room has senders and one who only listens."""
    room_ids = [50_000 + seed * 100 + number for number in range(rooms)]
    users = [60_000 + seed * 1000 + number for number in range(senders + 1)]
    for room in room_ids:
        await server.make_room(room, users)
    return [Member(server, user, room_ids, seed=seed) for user in users]


async def talk(members: list[Member], chance: random.Random) -> None:
    """Everybody but the last keeps the conversation going, a few messages ahead of the acks."""
    while True:
        for member in members[:-1]:
            while member.unacked < 4:
                member.say(chance.choice(list(member.logs)))
        await trio.sleep(0.005)


async def survive(server: ServerProcess, seed: int) -> None:
    print(f"seed {seed}")
    chance = random.Random(seed)
    members = await crowd(server, seed)
    async with trio.open_nursery() as clients:
        for member in members:
            clients.start_soon(member.run)
        async with trio.open_nursery() as load:
            load.start_soon(talk, members, chance)
            await wait_until(lambda: [m.user for m in members if not m.acked and m is not members[-1]], 20)
            await trio.sleep(chance.uniform(0.05, 0.6))
            acked = sum(len(member.acked) for member in members)
            await trio.to_thread.run_sync(server.kill)
            await trio.sleep(chance.uniform(0, 0.2))
            await trio.to_thread.run_sync(server.start)
            await wait_until(lambda: [m.user for m in members if m.connects < 2 or not m.is_live], 20)
            await wait_until(lambda: sum(len(m.acked) for m in members) < acked + 200 and "new acks", 20)
            load.cancel_scope.cancel(reason="enough said")
        await wait_until(lambda: [(m.user, m.unacked, m.errors) for m in members if m.unacked], 20)
        tops = {room: (await server.log_of(room))[-1]["seq"] for room in members[0].logs}
        await wait_until(lambda: [(m.user, r) for m in members for r, top in tops.items() if m.logs[r].top < top], 20)
        clients.cancel_scope.cancel(reason="everything is said and heard")
    count = await check_rooms(server, members)
    print(
        f"{count} messages, {acked} acknowledged before the kill; "
        f"errors {sum((member.errors for member in members), Counter())}"
    )


async def test_acknowledged_messages_survive_kill_9_once_in_order_and_gapless():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        for seed in SEEDS_QUICK:
            await survive(server, seed)
        assert not server.faults(), server.faults()


@pytest.mark.slow
async def test_acknowledged_messages_survive_twenty_kills():
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        for seed in SEEDS_ALL:
            await survive(server, seed)
        assert not server.faults(), server.faults()
