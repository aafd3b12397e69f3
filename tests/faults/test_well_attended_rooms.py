"""Who is there is told of many well-attended rooms as fast as the peer takes it, also when they are entered at once.

In one piece it is more than an outbox holds, and who comes would be closed as a slow consumer: each time anew.
"""

import math

import pytest
import trio
from streams import Stream, messages, polled
from wire import Socket, open_sockets, wait_until

from greenroom.http.streams import connection as streams
from greenroom.http.ws import attendance
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX
from greenroom.http.ws.outboxes import Outboxes
from greenroom.http.ws.replay import PACK_BYTES_MAX, UNSENT_BYTES_MAX

READER, OTHERS = 1, range(2, 102)  # all are members
ROOMS = list(range(1_000_000, 1_000_080))
NOTE = "x" * 140
STATE_BYTES = 25_000  # of a room, as a frame or as lines of an event
FILLS = [
    "insert into conversations (id, is_group, title, created_by_id, top_seq, created_at, updated_at, last_message_at)"
    " select id, true, 'room', 1, 0, now(), now(), now() from unnest($1::bigint[]) as id",
    "insert into ownership (kind, key) select 'room', id::text from unnest($1::bigint[]) as id",
    "insert into participants (conversation_id, user_id, role, is_active, joined_at)"
    " select id, u, 'member', true, now() from unnest($1::bigint[]) as id, generate_series(1, 101) as u",
]


@pytest.fixture
def no_rounds(monkeypatch):
    """Nobody finds out that who is online has no socket. Set before the house, and its first round with it, begins."""
    monkeypatch.setattr(attendance, "ROUND_SECONDS", math.inf)


@pytest.fixture
async def attended_house(live_house, no_rounds):
    """A house where a hundred are online, each with a note, in all of the rooms."""
    await live_house.crowd([READER, *OTHERS])

    async def fill(connection):
        for statement in FILLS:
            await connection.execute(statement, ROOMS)

    await live_house.house.storage.postgres.transaction(fill)
    presence = live_house.house.presence
    for user in OTHERS:
        presence.name(user, f"user-{user}")
        presence.show(user, "online", NOTE, 1)
    await wait_until(lambda: bool(presence._told or presence._owed) and "that they came is news")
    assert len(ROOMS) * len(OTHERS) * len(NOTE) > OUTBOX_BYTES_MAX
    return live_house


def peak_of(monkeypatch):
    """How much waits at most for anybody, from now on: a function that says so."""
    peak, note = 0, Outboxes.note

    def watched(self, connection, held, holds):
        nonlocal peak
        peak = max(peak, holds)
        note(self, connection, held, holds)

    monkeypatch.setattr(Outboxes, "note", watched)
    return lambda: peak


def shown_in(reader):
    """By room: how many it was told are online there."""
    return {
        event["room"]: sum(one["user"] in OTHERS and one["status"] == "online" for one in event["data"]["users"])
        for event in reader.of("presence_state")
    }


def waits(house):
    """Nothing when so much waits for the reader that no more is told before it reads."""
    connections = house.house.engine.connections_of(READER)
    assert not any(connection.is_closing for connection in connections)
    return not (connections and connections[0].unsent_bytes > UNSENT_BYTES_MAX) and "the reader is not behind yet"


def untold(reader, rooms):
    """Of which of *rooms* it was not told who is there."""
    assert reader.close_code is None
    return set(rooms) - set(shown_in(reader))


@pytest.mark.parametrize("how", ["start", "joins", "events"])
async def test_who_reads_slowly_is_told_little_at_a_time_and_all_in_the_end(attended_house, monkeypatch, how):
    house, peak = attended_house, peak_of(monkeypatch)
    async with open_sockets() as nursery:
        if how == "events":
            reader = await Stream.open(nursery, house, READER, receive_buffer=4096)
            reader.stop_reading()
        else:
            reader = await Socket.open(nursery, house, READER, receive_buffer=4096)
            if how == "joins":
                await reader.start()
                reader.stop_reading()
                for room in ROOMS:
                    await reader.send({"type": "join", "id": f"j{room}", "room": room})
            else:
                reader.stop_reading()
                await reader.send({"type": "start", "id": "s", "data": {"rooms": [{"r": room} for room in ROOMS]}})
        await wait_until(lambda: waits(house))
        reader.read_again()
        await wait_until(lambda: untold(reader, ROOMS), 30)
        assert shown_in(reader) == dict.fromkeys(ROOMS, len(OTHERS))
        assert len(reader.of("presence_state")) == len(ROOMS)
        assert peak() <= UNSENT_BYTES_MAX + PACK_BYTES_MAX + STATE_BYTES


async def test_of_a_room_that_was_left_meanwhile_nothing_is_told(attended_house):
    house = attended_house
    async with open_sockets() as nursery:
        reader = await Socket.open(nursery, house, READER, receive_buffer=4096)
        reader.stop_reading()
        await reader.send({"type": "start", "id": "s", "data": {"rooms": [{"r": room} for room in ROOMS]}})
        await wait_until(lambda: waits(house))
        left = house.house.engine.connections_of(READER)[0].session.rooms[-1]
        gone = await house.delete(f"/api/conversations/{left}/participants/{READER}", READER)
        assert gone.status == 200, gone.json
        reader.read_again()
        await wait_until(lambda: untold(reader, {*ROOMS} - {left}), 30)
        await reader.settle()
        assert left not in shown_in(reader)


@pytest.fixture
async def cursor_of_poll(attended_house, monkeypatch):
    """Where a poll of the reader begins, who has been told who is in all the rooms."""
    monkeypatch.setattr(streams, "EPHEMERAL_SECONDS", 1000.0)  # that its own user came is no reason
    events, cursor = await polled(attended_house, READER)
    assert len([event for event in events if event["type"] == "presence_state"]) == len(ROOMS)
    return cursor


@pytest.mark.parametrize("is_crowded", [False, True])
async def test_a_poll_keeps_who_is_there_for_seconds_and_not_while_much_waits_for_all_peers(
    attended_house, cursor_of_poll, monkeypatch, is_crowded
):
    """As long as others wait, some thirty of them would have half of what may wait for all peers together."""
    house, answers = attended_house, []
    monkeypatch.setattr(Outboxes, "is_crowded", property(lambda self: is_crowded))
    monkeypatch.setattr(streams, "LARGE_SECONDS", 1000.0 if is_crowded else 1.0)
    kept_seconds = streams.POLL_SECONDS_MIN if is_crowded else streams.LARGE_SECONDS

    async def ask():
        began = trio.current_time()
        answers.append(await polled(house, READER, cursor_of_poll, wait=25))
        assert trio.current_time() - began >= kept_seconds, "one after the other is more than a user may"

    async with open_sockets() as nursery:
        nursery.start_soon(ask)
        await wait_until(lambda: not answers and "the answer")
    ((events, again),) = answers
    assert {event["room"] for event in events if event["type"] == "presence_state"} == {*ROOMS}
    assert again == cursor_of_poll


async def test_a_poll_is_not_answered_at_once_for_who_is_there_and_is_for_what_is_new(
    attended_house, cursor_of_poll, monkeypatch
):
    """Its client would ask again at once, each time anew, and leave no command to its user's other pages."""
    monkeypatch.setattr(streams, "POLL_SECONDS_MIN", 0.0)
    monkeypatch.setattr(streams, "LARGE_SECONDS", 1000.0)
    house, answers = attended_house, []

    async def ask():
        answers.append(await polled(house, READER, cursor_of_poll, wait=25))

    def keeps_all():
        return any(one._is_live and one._bytes > OUTBOX_BYTES_MAX for one in house.house.engine.connections_of(READER))

    async with open_sockets() as nursery:
        nursery.start_soon(ask)
        await wait_until(lambda: not answers and not keeps_all() and "the poll")
        assert answers == []
        sent = await house.post(f"/api/conversations/{ROOMS[0]}/messages", READER, {"content": "hello"})
        assert sent.status == 201, sent.json
        await wait_until(lambda: not answers and "the answer")
    ((events, _),) = answers
    assert messages(events) == [(ROOMS[0], 1)]
    assert {event["room"] for event in events if event["type"] == "presence_state"} == {*ROOMS}
