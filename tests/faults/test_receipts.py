"""How far members have read: told at once and then together, so that many who read cost each one frame a second."""

import pytest
import trio
from wire import Socket, open_in, open_sockets, wait_until

READERS = range(2, 32)


def marks_of(sock, at=0):
    """The marks of its frames, the newest of each user; and how many frames that were."""
    frames = [event["data"]["marks"] for event in sock.events[at:] if event["type"] == "receipts"]
    return {int(user): seq for marks in frames for user, seq in marks.items()}, len(frames)


async def test_what_many_read_together_is_told_in_a_frame_or_two_and_the_newest_of_each(live_house):
    await live_house.people(1, *READERS)
    room = await live_house.conversation(1, *READERS)
    async with open_sockets() as nursery:
        author, *readers = [await open_in(nursery, live_house, user, room) for user in (1, *READERS)]
        for number in range(3):
            await author.ask("send", room, body=str(number))
        began = trio.current_time()
        for seq in (1, 2, 3):
            for reader in readers:
                await reader.command("read", room, seq=seq)
        everybody = dict.fromkeys(READERS, 3)
        for sock in (author, readers[0]):
            await wait_until(lambda sock=sock: marks_of(sock)[0] != everybody and "the marks of all")
            told = marks_of(sock)[1]
            assert told <= 2 + (trio.current_time() - began), f"{told} frames for {3 * len(READERS)} moves"
        await trio.sleep(1.1)
        position = await author.settle()
        await readers[0].ask("read", room, seq=3)  # it stands there already
        await author.settle()
        assert marks_of(author, position) == ({}, 0)


@pytest.mark.parametrize(("size", "is_told"), [(200, True), (201, False)])
async def test_in_rooms_of_over_two_hundred_they_are_asked_for(live_house, size, is_told):
    users = range(1, size + 1)
    await live_house.people(*users)
    room = await live_house.conversation(*users)
    async with open_sockets() as nursery:
        author, reader = [await open_in(nursery, live_house, user, room) for user in (1, 2)]
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        message = (await author.ask("send", room, body="x"))["data"]["messageId"]
        await reader.ask("read", room, seq=1)
        await page.expect("message_read", messageId=message, readBy=2)  # its author is told, however large the room is
        await author.settle()
        assert marks_of(author)[0] == ({2: 1} if is_told else {})
        members = (await author.ask("members", room, limit=2))["data"]["members"]
        assert [(member["user"], member["read"]) for member in members] == [(1, 0), (2, 1)]


async def test_what_waits_is_told_as_things_are_at_the_end_of_the_second(live_house):
    """A block hides it, a socket that has left hears nothing, and one that came meanwhile hears it."""
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3, 4)
    async with open_sockets() as nursery:
        blocker, reader, leaver = [await open_in(nursery, live_house, user, room) for user in (1, 2, 3)]
        other = await Socket.open(nursery, live_house, 4)
        await other.start()
        await blocker.ask("send", room, body="x")
        await blocker.ask("send", room, body="y")
        await reader.ask("read", room, seq=1)
        await leaver.expect("receipts", marks={"2": 1})
        await reader.ask("read", room, seq=2)
        await leaver.command("read", room, seq=1)
        await blocker.ask("block", user=2)
        await leaver.ask("leave", room)
        await other.ask("join", room)
        position = len(blocker.events)
        await other.expect("receipts", marks={"2": 2, "3": 1})
        await blocker.expect("receipts", marks={"3": 1}, after=position)
        assert not [event for event in blocker.of("receipts") if event["data"]["marks"].get("2") == 2]
        await leaver.settle()
        assert marks_of(leaver)[0] == {2: 1}


async def test_of_who_is_out_nobody_is_told_what_they_read_before(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        author, guest, third = [await open_in(nursery, live_house, user, room) for user in (1, 2, 3)]
        for number in range(3):
            await author.ask("send", room, body=str(number))
        for seq in (1, 2, 3):  # the first is told, and the others wait
            await guest.ask("read", room, seq=seq)
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        await third.ask("read", room, seq=3)
        await author.expect("receipts", marks={"3": 3})
        assert marks_of(author)[0] == {2: 1, 3: 3}
