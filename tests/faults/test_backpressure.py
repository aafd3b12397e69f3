"""A room whose mailbox is full: commands of one connection keep their order, whoever else floods it."""

import json

import trio
from wire import Socket, frame, open_sockets, wait_until

from greenroom.runtime.passivation import passivate_if_idle

SENDERS = 8
FRAMES, COMMANDS = 14, 16  # 224 commands each, below the 256 that may wait; together more than the mailbox's 1,024


async def test_arrays_of_commands_keep_their_order_when_the_mailbox_is_full(live_house, database):
    users = list(range(1, SENDERS + 1))
    await live_house.people(*users)
    room = await live_house.conversation(*users)
    async with open_sockets() as nursery:
        socks = [await Socket.open(nursery, live_house, user) for user in users]
        for sock in socks:
            await sock.start()
        system = live_house.house.system
        held = trio.Event()
        nursery.start_soon(hold_storage, system, held)

        async def flood(user, sock):
            for turn in range(FRAMES):
                commands = [
                    {"type": "send", "id": f"{number}", "room": room, "data": {"body": f"{user}:{number}"}}
                    for number in range(turn * COMMANDS, (turn + 1) * COMMANDS)
                ]
                await sock.send_bytes(frame(json.dumps(commands)))

        await wait_until(lambda: not system.storage.is_away and "the pause")
        async with trio.open_nursery() as floods:
            for user, sock in zip(users, socks, strict=True):
                floods.start_soon(flood, user, sock)
        await wait_until(lambda: system.statistics().kinds["room"].depth < 1024 and "a full mailbox")
        await trio.sleep(0.2)
        held.set()
        await wait_until(lambda: [len(sock.replies) for sock in socks if len(sock.replies) <= FRAMES * COMMANDS], 60)
        assert {reply["type"] for sock in socks for reply in sock.replies.values()} == {"ready", "ack"}
        stored = []
        while page := await live_house.house.storage.conversations.messages_after(room, 1, len(stored), 500):
            stored += page
        for user in users:
            numbers = [int(m.content.split(":")[1]) for m in stored if m.sender_id == user]
            assert numbers == list(range(FRAMES * COMMANDS)), f"user {user}: {numbers[:40]}"


async def hold_storage(system, until):
    """As if storage were away: the room sleeps, and what it is told waits in its mailbox."""
    for cell in list(system.activations.values()):
        passivate_if_idle(cell)
    system.storage._back = back = trio.Event()
    await until.wait()
    system.storage._back = None
    back.set()
