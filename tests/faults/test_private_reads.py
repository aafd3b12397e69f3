"""Reading privately: the marker moves for one's own devices and what they count as unread, and nobody else is told."""

from wire import Socket, open_sockets, wait_until

from greenroom.runtime.passivation import passivate_if_idle

AUTHOR, READER, THIRD = 1, 2, 3


async def come(nursery, house, user, *rooms, protocol="greenroom.v1"):
    sock = await Socket.open(nursery, house, user, protocol=protocol)
    if protocol is None:
        await sock.expect("connected")
    else:
        await sock.start(*rooms)
    return sock


async def read_by(house, sock, room, user):
    """How far the reader has read, as *user* is told by `members` and over REST."""
    people = (await house.get(f"/api/conversations/{room}/participants", user)).data["participants"]
    members = (await sock.ask("members", room))["data"]["members"]
    (told,) = [person["read_seq"] for person in people if person["user_id"] == READER]
    assert [member["read"] for member in members if member["user"] == READER] == [told]
    return told


async def are_read(house, room, user):
    listed = (await house.get(f"/api/conversations/{room}/messages", user)).data["messages"]
    polled = (await house.get("/api/poll/messages", user, conversation=str(room))).data["messages"]
    flags = {row["id"]: row["is_read"] for row in listed}
    for row in polled:  # which may be a few seconds old
        assert flags[row["id"]] or not row["is_read"]
    return list(flags.values())


async def unread(house, room, user):
    (row,) = (await house.get("/api/conversations", user)).data["conversations"]
    assert row["id"] == room
    return row["unread_count"], row["read_seq"]


def told_of_reads(sock, at):
    return [event["type"] for event in sock.events[at:] if event["type"] in ("receipts", "message_read", "read_sync")]


async def test_a_private_read_is_known_to_ones_own_devices_alone_also_after_a_restart(live_house):
    await live_house.people(AUTHOR, READER, THIRD)
    room = await live_house.conversation(AUTHOR, READER, THIRD)
    async with open_sockets() as nursery:
        author, third, phone, laptop = [
            await come(nursery, live_house, user, room) for user in (AUTHOR, THIRD, READER, READER)
        ]
        page = await come(nursery, live_house, AUTHOR, protocol=None)
        follower = await come(nursery, live_house, READER)
        await follower.ask("join", room, mode="summary")
        for number in range(5):
            await author.ask("send", room, body=str(number))
        await phone.ask("read", room, seq=1)
        await author.expect("receipts", marks={str(READER): 1})
        await page.expect("message_read")
        others = [author, third, page]
        at = [await sock.settle() for sock in others]

        assert (await phone.ask("read", room, seq=4, private=True))["data"] == {"seq": 4}
        assert (await laptop.expect("read_sync", seq=4))["room"] == room
        await wait_until(lambda: follower.of("room_summary")[-1]["data"]["unread"] != 1 and follower.events[-1])
        assert await unread(live_house, room, READER) == (1, 4)
        for sock, position in zip(others, at, strict=True):
            await sock.settle()
            assert told_of_reads(sock, position) == []
        assert "receipts" not in told_of_reads(laptop, laptop.position(laptop.of("read_sync")[-1]))
        assert await read_by(live_house, author, room, AUTHOR) == 1
        assert await read_by(live_house, laptop, room, READER) == 4
        assert await are_read(live_house, room, AUTHOR) == [True, False, False, False, False]

        for cell in list(live_house.house.system.activations.values()):
            passivate_if_idle(cell)
        assert await read_by(live_house, author, room, AUTHOR) == 1
        back = await come(nursery, live_house, READER)
        joined = (await back.ask("join", room))["data"]
        assert (joined["read"], joined["unread"]) == (4, 1)

        positions = [await sock.settle() for sock in (author, laptop)]
        assert (await phone.ask("read", room, seq=3))["data"] == {"seq": 4}
        await author.expect("receipts", marks={str(READER): 3}, after=positions[0])
        await wait_until(lambda: len(page.of("message_read")) != 3 and page.of("message_read"))
        assert await read_by(live_house, author, room, AUTHOR) == 3
        await laptop.settle()
        assert "read_sync" not in told_of_reads(laptop, positions[1]), "their own marker has not moved"
        assert (await phone.ask("read", room, seq=5))["data"] == {"seq": 5}
        await author.expect("receipts", marks={str(READER): 5})
        assert await read_by(live_house, author, room, AUTHOR) == 5
        assert await are_read(live_house, room, AUTHOR) == [True] * 5


async def test_over_rest_too_and_it_never_moves_back(live_house):
    await live_house.people(AUTHOR, READER, THIRD)
    room = await live_house.conversation(AUTHOR, READER, THIRD)
    async with open_sockets() as nursery:
        author = await come(nursery, live_house, AUTHOR, room)
        ids = [(await author.ask("send", room, body="x"))["data"]["messageId"] for _ in range(4)]
        path = f"/api/conversations/{room}/read"
        assert (await live_house.post(path, READER, {"seq": 2, "private": True})).data["seq"] == 2
        assert (await live_house.post(f"/api/messages/{ids[2]}/read", READER, {"private": True})).data["seq"] == 3
        assert (await live_house.post(path, READER, {"seq": 1, "private": True})).data["seq"] == 3
        assert (await live_house.post(path, READER, {"private": "yes"})).status == 400
        await author.settle()
        assert not author.of("receipts")
        assert await read_by(live_house, author, room, AUTHOR) == 0
        assert await unread(live_house, room, READER) == (1, 3)
        assert (await live_house.post(path, READER, {"seq": 3})).data["seq"] == 3
        await author.expect("receipts", marks={str(READER): 3})
        assert (await live_house.post(path, READER, {"seq": 3, "private": True})).data["seq"] == 3
        assert await read_by(live_house, author, room, AUTHOR) == 3
