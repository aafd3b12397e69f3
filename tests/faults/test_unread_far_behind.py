"""What is unread of somebody who is hundreds of messages behind: messages of others, and nothing else."""

import pytest
import trio
from held import holding_table
from wire import Socket, open_sockets

from greenroom.actors.room import actor, newest
from greenroom.actors.room.actor import OLDER_SECONDS_MAX
from greenroom.storage.postgres.conversations import COUNTED_MESSAGES

MANY = 700  # more than a room counts by itself
AT_ONCE = 100


@pytest.fixture
def house_settings():
    return {"messages_per_minute": 0}


async def says(sock, room, count, first=0):
    """Ids of the messages."""
    ids = []
    for start in range(first, first + count, AT_ONCE):
        numbers = range(start, min(start + AT_ONCE, first + count))
        for at in range(0, len(numbers), 10):
            some = numbers[at : at + 10]
            await sock.send([{"type": "send", "id": f"{n}", "room": room, "data": {"body": f"{n}"}} for n in some])
        for number in numbers:
            ids.append((await sock.expect("ack", 30, id=f"{number}"))["data"]["messageId"])
    return ids


async def unread(nursery, house, user, room):
    """By `ready`, by the ack of a join and by a summary, all of one user."""
    sock = await Socket.open(nursery, house, user)
    (item,) = (await sock.start(room))["data"]["rooms"]
    await sock.ask("leave", room)
    joined = (await sock.ask("join", room))["data"]["unread"]
    await sock.ask("leave", room)
    assert (await sock.ask("join", room, mode="summary"))["data"]["unread"] == joined
    told = (await sock.expect("room_summary"))["data"]["unread"]
    assert told == joined == item["unread"], (item, joined, told)
    return joined


async def test_nothing_is_unread_for_who_spoke_alone_however_much(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        await says(sock, room, MANY)
        assert await unread(nursery, live_house, 1, room) == 0
        assert await unread(nursery, live_house, 2, room) == MANY


async def test_what_is_deleted_or_said_by_somebody_blocked_counts_for_nothing_however_old(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        one, two = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
        for sock in (one, two):
            await sock.start(room)
        first = await says(one, room, 10)
        await says(two, room, MANY)
        for message in first[:4]:
            await one.ask("delete", room, message=message)
        assert await unread(nursery, live_house, 3, room) == 6 + MANY
        await one.ask("delete", room, message=first[5])
        assert await unread(nursery, live_house, 3, room) == 5 + MANY
        blocks = await Socket.open(nursery, live_house, 3)
        await blocks.start()
        await blocks.ask("block", user=2)
        assert await unread(nursery, live_house, 3, room) == 5
        await says(one, room, 2 * COUNTED_MESSAGES + 1, first=1000)  # what is counted is shortened, and stays right
        assert await unread(nursery, live_house, 3, room) == 5 + 2 * COUNTED_MESSAGES + 1


async def test_of_more_than_are_counted_the_newest_count(live_house, monkeypatch):
    older = 200
    for module in (actor, newest):
        monkeypatch.setattr(module, "OLDER_MESSAGES", older)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        await says(sock, room, older + 3 * COUNTED_MESSAGES)
        counted = await unread(nursery, live_house, 2, room)
        assert older + COUNTED_MESSAGES <= counted <= older + 2 * COUNTED_MESSAGES


async def test_who_is_far_behind_comes_in_also_while_storage_does_not_answer(live_house, database):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        await says(sock, room, MANY)
        late = await Socket.open(nursery, live_house, 2)
        await late.start()
        async with holding_table(database, "messages"):
            began = trio.current_time()
            counted = (await late.ask("join", room, seconds=5))["data"]["unread"]
            assert COUNTED_MESSAGES <= counted < MANY
            await late.ask("leave", room)
            await late.ask("join", room, seconds=5)
            assert trio.current_time() - began < 2 * OLDER_SECONDS_MAX, "it is not asked again and again"
