"""How far members have read: told at once and then together, so that many who read cost each one frame a second.

In a large room it is told how many, and not who.
"""

import pytest
import trio
from wire import Socket, open_in, open_sockets, wait_until

from greenroom.actors.room.commands import Read
from greenroom.http.ws import receipts

READERS = range(2, 32)


def marks_of(sock, at=0):
    """The marks of its frames, the newest of each user; and how many frames that were."""
    frames = [event["data"]["marks"] for event in sock.events[at:] if "marks" in event.get("data", {})]
    return {int(user): seq for marks in frames for user, seq in marks.items()}, len(frames)


def counts_of(sock, at=0):
    """The counts of its frames."""
    return [event["data"]["counts"] for event in sock.events[at:] if "counts" in event.get("data", {})]


async def large_room(house, size):
    """A group of users 1 to *size*, of whom the first is its admin."""
    await house.crowd(range(1, size + 1))
    return await house.conversation(*range(1, size + 1))


@pytest.fixture
def long_second(monkeypatch):
    """All that is to happen before what waits is told has time to."""
    monkeypatch.setattr(receipts, "TOLD_SECONDS", 3.0)


async def read(ref, user, seq):
    await ref.ask(Read(user, f"user-{user}", seq), deadline=float("inf"))


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


@pytest.mark.parametrize(("size", "marks", "counts"), [(200, {2: 1}, None), (201, {}, [[1, 1]])])
async def test_in_rooms_of_over_two_hundred_it_is_told_how_many_and_who_is_asked_for(live_house, size, marks, counts):
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
        await author.expect("receipts")
        assert marks_of(author)[0] == marks
        assert counts_of(author) == ([counts] if counts else [])
        members = (await author.ask("members", room, limit=2))["data"]["members"]
        assert [(member["user"], member["read"]) for member in members] == [(1, 0), (2, 1)]


async def test_a_thousand_who_read_are_a_frame_or_two_for_each_socket(live_house):
    room = await large_room(live_house, 1_001)
    ref = live_house.house.system.ref("room", room)
    async with open_sockets() as nursery:
        author = await open_in(nursery, live_house, 1, room)
        for number in range(3):
            await author.ask("send", room, body=str(number))
        began = trio.current_time()
        for seq in (1, 3):
            async with trio.open_nursery() as readers:
                for user in range(2, 1_002):
                    readers.start_soon(read, ref, user, seq)
        await wait_until(lambda: counts_of(author)[-1:] != [[[3, 1_000]]] and counts_of(author))
        told = counts_of(author)
        assert len(told) <= 1 + (trio.current_time() - began), told
        assert not marks_of(author)[0]
        at = len(author.events)
        await read(ref, 2, 3)  # it stands there already
        await author.ask("send", room, body="the next")
        await read(ref, 2, 4)
        await author.expect("receipts", after=at, counts=[[4, 1], [3, 1_000]])
        assert counts_of(author, at) == [[[4, 1], [3, 1_000]]]


async def test_who_reads_in_private_counts_where_others_may_know_that_they_stand(live_house):
    room = await large_room(live_house, 201)
    async with open_sockets() as nursery:
        author, hidden, reader = [await open_in(nursery, live_house, user, room) for user in (1, 2, 3)]
        for number in range(3):
            await author.ask("send", room, body=str(number))
        await hidden.ask("read", room, seq=1)
        await author.expect("receipts", counts=[[1, 1]])
        await hidden.ask("read", room, seq=3, private=True)
        await reader.ask("read", room, seq=2)
        await author.expect("receipts", counts=[[2, 1], [1, 2]])
        await hidden.ask("read", room, seq=3)
        await author.expect("receipts", counts=[[3, 1], [2, 2]])
        assert len(counts_of(author)) == 3


async def test_whom_a_block_parts_from_who_is_told_is_not_counted_for_them(live_house):
    room = await large_room(live_house, 201)
    async with open_sockets() as nursery:
        blocker, reader, third = [await open_in(nursery, live_house, user, room) for user in (1, 2, 3)]
        await blocker.ask("block", user=2)
        for number in range(2):
            await blocker.ask("send", room, body=str(number))
        await third.ask("read", room, seq=1)
        await third.expect("receipts", counts=[[1, 1]])
        await reader.ask("read", room, seq=2)
        await third.expect("receipts", counts=[[2, 1], [1, 2]])
        await third.ask("read", room, seq=2)
        await third.expect("receipts", counts=[[2, 2]])
        await blocker.expect("receipts", counts=[[2, 1]])
        assert counts_of(blocker) == [[[1, 1]], [[1, 1]], [[2, 1]]]


async def test_who_is_out_of_a_large_room_counts_no_more_and_who_comes_in_counts_from_where_they_begin(live_house):
    room = await large_room(live_house, 202)
    await live_house.people(300)
    async with open_sockets() as nursery:
        author, leaver, reader = [await open_in(nursery, live_house, user, room) for user in (1, 2, 3)]
        await author.ask("send", room, body="x")
        await leaver.ask("read", room, seq=1)
        await author.expect("receipts", counts=[[1, 1]])
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 2)).status == 200
        added = await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": [300]})
        assert added.status == 200
        await author.ask("send", room, body="y")
        await reader.ask("read", room, seq=4)  # who left and who came stand at 2 and 3
        await author.expect("receipts", counts=[[4, 1], [3, 2]])


async def test_counts_follow_who_comes_and_goes_though_nobody_reads(live_house):
    room = await large_room(live_house, 202)
    await live_house.people(300, 301)
    path = f"/api/conversations/{room}/participants"
    async with open_sockets() as nursery:
        author, reader = [await open_in(nursery, live_house, user, room) for user in (1, 2)]
        await author.ask("send", room, body="x")
        await reader.ask("read", room, seq=1)
        await author.expect("receipts", counts=[[1, 1]])
        assert (await live_house.post(path, 1, {"userIds": [300]})).status == 200
        await author.expect("receipts", counts=[[2, 1], [1, 2]])
        assert (await live_house.delete(f"{path}/2", 2)).status == 200
        await author.expect("receipts", counts=[[2, 1]])
        live_house.house.system.kill(live_house.house.system.ref("room", room))  # it counts anew when it wakes
        assert (await live_house.post(path, 1, {"userIds": [301]})).status == 200
        await author.expect("receipts", counts=[[4, 1], [2, 2]])


async def test_counts_that_a_slow_socket_did_not_take_come_later_and_once(live_house):
    room = await large_room(live_house, 201)
    overdue = live_house.house.hub.overdue
    async with open_sockets() as nursery:
        author, reader = [await open_in(nursery, live_house, user, room) for user in (1, 2)]
        slow = await open_in(nursery, live_house, 3, room, receive_buffer=4096)
        (connection,) = live_house.house.engine.connections_of(3)
        slow.stop_reading()
        while connection.takes_ephemeral:
            await author.ask("send", room, body="x" * 9_900)
        for seq in (1, 2):
            await reader.ask("read", room, seq=seq)
            await author.expect("receipts", counts=[[seq, 1]])
        await wait_until(lambda: not overdue and "that the counts are owed")
        slow.read_again()
        await slow.expect("receipts", counts=[[2, 1]])
        await wait_until(lambda: overdue and "what is overdue")
        assert counts_of(slow) == [[[2, 1]]]


async def test_what_waits_is_told_as_things_are_at_the_end_of_the_second(live_house, long_second):
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


async def test_of_who_is_out_nobody_is_told_what_they_read_before(live_house, long_second):
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
