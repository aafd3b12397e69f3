"""A client that asks for many rooms at once is told of them in turn: what waits for it stays bounded.

Side by side they would each have a pack on the way before the first looked at the peer: a client that came back to 25
rooms had more than its outbox holds, of the server's own making, and was closed as slow.
"""

import gc
import weakref
from contextlib import contextmanager

import pytest
import trio
from wire import Socket, open_sockets, wait_until  # type: ignore[import-not-found]

from greenroom.http.ws import replay
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.replay import PACK_BYTES_MAX, UNSENT_BYTES_MAX
from greenroom.storage.postgres.conversations import Conversations

ROOMS, MISSED = 25, 8
BODY = "x" * 9_900
FRAME_BYTES = 10_200  # with a body of that length
BESIDE_BYTES = 8_000  # acks, `live` and who is there
LATE_SECONDS = 0.5


@pytest.fixture
def house_settings():
    return {"messages_per_minute": 0}


def sync(rooms):
    return [{"type": "sync", "id": "s", "data": {"rooms": {str(room): 0 for room in rooms}}}]


def sync_each(rooms):
    return [{"type": "sync", "id": f"s{room}", "data": {"rooms": {str(room): 0}}} for room in rooms]


def join(rooms):
    return [{"type": "join", "id": f"j{room}", "room": room, "data": {"after": 0}} for room in rooms]


async def filled(house, nursery, *, rooms=ROOMS, missed=MISSED):
    """Rooms of 1 and 2, and what 1 said in each; who is still in them."""
    await house.people(1, 2)
    made = [await house.conversation(1, 2) for _ in range(rooms)]
    author = await Socket.open(nursery, house, 1)
    await author.start(*made)
    for room in made:
        for number in range(missed):
            await author.ask("send", room, body=f"{number} {BODY}")
    return made, author


def forget(house, rooms):
    """Of what was said lately nothing is remembered."""
    for room in rooms:
        house.house.hub.channels[room].recent.clear()


class Peak:
    """The most that ever waited for a connection."""

    def __init__(self, monkeypatch, connection):
        self.bytes, write = 0, Connection.write

        def watched(one, *frame):
            write(one, *frame)
            if one is connection:
                self.bytes = max(self.bytes, one.unsent_bytes)

        monkeypatch.setattr(Connection, "write", watched)


def seqs(sock, room, after=0):
    return [event["seq"] for event in sock.events[after:] if event["type"] == "message" and event["room"] == room]


@pytest.mark.parametrize("is_remembered", [True, False], ids=["from memory", "from storage"])
@pytest.mark.parametrize("asked", [sync, sync_each, join])
async def test_who_asks_for_many_rooms_at_once_and_reads_a_little_late_is_told_all_and_not_closed(
    live_house, monkeypatch, asked, is_remembered
):
    async with open_sockets() as nursery:
        rooms, author = await filled(live_house, nursery)
        if not is_remembered:
            forget(live_house, rooms)
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        await reader.start(*([] if asked is join else rooms))
        (connection,) = live_house.house.engine.connections_of(2)
        peak, position = Peak(monkeypatch, connection), len(reader.events)
        reader.stop_reading()
        commands = asked(rooms)
        for start in range(0, len(commands), 10):
            await reader.send(commands[start : start + 10])
        await trio.sleep(LATE_SECONDS)
        await wait_until(lambda: connection.unsent_bytes <= UNSENT_BYTES_MAX and "as much told as may wait")
        reader.read_again()
        for room in rooms:
            await reader.expect("live", 30, after=position, rooms=[room])
            assert seqs(reader, room, position) == list(range(1, MISSED + 1)), room
        assert (reader.close_code, author.close_code) == (None, None)
        assert peak.bytes <= UNSENT_BYTES_MAX + PACK_BYTES_MAX + FRAME_BYTES + BESIDE_BYTES
        await wait_until(lambda: live_house.house.engine.outboxes.bytes)


class Page(list):
    """One that it can be seen of whether somebody holds it."""


async def test_no_page_is_held_while_the_peer_takes_nothing_and_little_is_read_again(live_house, monkeypatch):
    async with open_sockets() as nursery:
        (room,), _ = await filled(live_house, nursery, rooms=1, missed=150)
        forget(live_house, [room])
        pages, log_after = [], Conversations.log_after
        read_bytes = 0

        async def watched(*asked):
            nonlocal read_bytes
            page = Page(await log_after(*asked))
            read_bytes += sum(len(entry.content) for entry in page)
            pages.append(weakref.ref(page))
            return page

        monkeypatch.setattr(Conversations, "log_after", watched)
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        await reader.start()
        reader.stop_reading()
        await reader.send(join([room]))
        (connection,) = live_house.house.engine.connections_of(2)
        await wait_until(lambda: connection.unsent_bytes <= UNSENT_BYTES_MAX and (connection.unsent_bytes,))
        await trio.sleep(0.2)  # in which it does not go on
        gc.collect()
        assert pages
        assert not any(page() for page in pages)
        reader.read_again()
        await reader.expect("live", 30, rooms=[room])
        assert seqs(reader, room) == list(range(1, 151))
        assert read_bytes < 1.5 * 150 * len(BODY)


async def test_a_room_that_is_left_while_it_waits_is_not_told_and_one_that_is_joined_again_is_told_once(live_house):
    async with open_sockets() as nursery:
        rooms, _ = await filled(live_house, nursery, rooms=6, missed=20)
        first, *others, left, again = rooms
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        await reader.start()
        reader.stop_reading()
        await reader.send(join([first, *others]))
        (connection,) = live_house.house.engine.connections_of(2)
        await wait_until(lambda: connection.unsent_bytes <= UNSENT_BYTES_MAX and (connection.unsent_bytes,))
        await reader.send(join([left, again]))
        await trio.sleep(0.2)
        leave = [{"type": "leave", "id": f"l{room}", "room": room} for room in (left, again)]
        await reader.send([*leave, *join([again])])
        await trio.sleep(0.2)
        reader.read_again()
        await reader.expect("live", 30, rooms=[again])
        assert seqs(reader, left) == []
        for room in (first, *others, again):
            assert seqs(reader, room) == list(range(1, 21)), room
        assert sorted(live["data"]["rooms"] for live in reader.of("live") if live["data"]["rooms"]) == [
            [room] for room in sorted([first, *others, again])
        ]


async def test_a_room_with_a_long_way_to_go_holds_no_other_up(live_house):
    async with open_sockets() as nursery:
        (long, short), author = await filled(live_house, nursery, rooms=2, missed=2)
        for number in range(60):
            await author.ask("send", long, body=f"{number} {BODY}")
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        await reader.start()
        reader.stop_reading()
        await reader.send(join([long, short]))
        await trio.sleep(LATE_SECONDS)
        reader.read_again()
        await reader.expect("live", 30, rooms=[long])
        assert seqs(reader, long) == list(range(1, 63))
        assert seqs(reader, short) == [1, 2]
        assert [live["data"]["rooms"] for live in reader.of("live") if live["data"]["rooms"]] == [[short], [long]]


@contextmanager
def held_up(name):
    """Reads of this kind do not end. Yields an event that is set when one has begun."""
    begun, read = trio.Event(), getattr(Conversations, name)

    async def hold(*asked):
        begun.set()
        await end.wait()
        return await read(*asked)

    end = trio.Event()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Conversations, name, hold)
        yield begun
    end.set()


async def test_a_replay_that_does_not_end_holds_no_history_up_nor_the_other_way_round(live_house):
    async with open_sockets() as nursery:
        (first, second), _ = await filled(live_house, nursery, rooms=2, missed=3)
        forget(live_house, [first])
        reader = await Socket.open(nursery, live_house, 2)
        await reader.start()
        with trio.fail_after(20):
            with held_up("log_after") as begun:
                await reader.send(join([first]))
                await begun.wait()
                assert (await reader.ask("history", first, limit=5))["type"] == "ack"
            await reader.expect("live", rooms=[first])
            with held_up("messages_before") as begun:
                history = await reader.command("history", first, limit=5)
                await begun.wait()
                await reader.send(join([second]))
                await reader.expect("live", rooms=[second])
            await wait_until(lambda: history not in reader.replies and "the history")
        assert (seqs(reader, first), seqs(reader, second)) == ([1, 2, 3], [1, 2, 3])


async def test_who_asks_again_and_again_and_takes_nothing_has_no_longer_line(live_house, monkeypatch):
    monkeypatch.setattr(replay, "LINE_MAX", 6)
    async with open_sockets() as nursery:
        rooms, _ = await filled(live_house, nursery, rooms=3, missed=20)
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        await reader.start(*rooms)
        reader.stop_reading()
        (connection,) = live_house.house.engine.connections_of(2)
        lines = connection.session.services.replayer._lines
        for _ in range(20):
            await reader.send(sync(rooms))
            await trio.sleep(0.01)
        await wait_until(lambda: len(lines[connection]) > 6 and "a short line")
        reader.read_again()
        for room in rooms:
            await reader.expect("live", 30, rooms=[room])
            assert sorted({*seqs(reader, room)}) == list(range(1, 21))
        await wait_until(lambda: lines)


async def test_who_goes_while_many_rooms_wait_leaves_nothing_behind(live_house):
    async with open_sockets() as nursery:
        rooms, _ = await filled(live_house, nursery, rooms=10)
        reader = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        await reader.start()
        reader.stop_reading()
        await reader.send(join(rooms))
        (connection,) = live_house.house.engine.connections_of(2)
        replayer = connection.session.services.replayer
        await wait_until(lambda: connection.unsent_bytes <= UNSENT_BYTES_MAX and (connection.unsent_bytes,))
        assert replayer._lines
        reader.cut()
        await wait_until(lambda: replayer._lines)
        assert not live_house.house.engine.outboxes.patience._waits
