"""Readers without a WebSocket: event streams and polls, over real sockets, on a house that can be looked into."""

import json
import socket
import time
from contextlib import asynccontextmanager
from urllib.parse import quote

import asyncpg
import pytest
import trio
import trio.lowlevel
import trio_asyncio
from held import holding_room, holding_table
from house_fixture import open_house_under_test
from stopwatch import closed_within
from streams import Stream, messages, poll, polled, request, rooms_in
from wire import Refused, Socket, connect_tcp, open_sockets, raw_http, receive_some, send_all, wait_until

from greenroom.http.streams import session as sessions
from greenroom.http.streams.connection import COMMENT_SECONDS, LEASE_SECONDS, POLL_BYTES_MAX, UNASKED_BYTES_MAX
from greenroom.http.ws import services
from greenroom.http.ws.attendance import ROUND_SECONDS
from greenroom.http.ws.replay import REPLAY_MESSAGES_MAX

WITHIN_SECONDS = 3.0


async def say(house, user, room, *texts):
    for text in texts:
        sent = await house.post(f"/api/conversations/{room}/messages", user, {"content": text})
        assert sent.status == 201, sent.json


async def people_in_a_room(house, *users):
    """Whose streams have told already that they came into it: a poll that hears that is answered."""
    await house.people(*users)
    room = await house.conversation(*users)
    for user in users:
        async with live_stream(house, user) as stream:
            await stream.expect("membership")
    await wait_until(lambda: house.house.engine.total and "the streams")
    return room


@asynccontextmanager
async def live_stream(house, user, cursor=None, **options):
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, user, cursor, **options)
        await stream.expect("live")
        yield stream


def remembers_nothing(house):
    """What the process still holds of readers, or nothing."""
    house = house.house
    left = {
        "connections": house.engine.statistics().connections,
        "users": house.engine.statistics().users,
        "channels": list(house.hub.channels),
        "rooms of presence": list(house.hub.small_rooms.members),
        "sessions": house.engine.credentials.sessions,
    }
    return {name: value for name, value in left.items() if value}


# -- what is heard -----------------------------------------------------------------------------------------------------


async def test_a_stream_hears_all_rooms_of_its_user_as_a_socket_does(live_house):
    house = live_house
    await house.people(1, 2)
    one, two = await house.conversation(1, 2), await house.conversation(2, 1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 1)
        await sock.start(one, two)
        stream = await Stream.open(nursery, house, 1)
        ready = await stream.expect("ready")
        assert {item["r"] for item in ready["data"]["rooms"]} == {one, two}
        assert ready["data"]["resumed"] is False
        await stream.expect("live")
        await say(house, 2, one, "a", "b\n\n\r\nid: 1\u2028")
        await say(house, 1, two, "c")
        await stream.expect("message", count=3)
        await sock.expect("message", seq=1, room=two)
        assert stream.of("message") == sock.of("message")
        assert set(rooms_in(stream.cursor).split("~")) == {"1", f"{one}.2.1", f"{two}.1.1"}
        assert 250 <= stream.retry <= 1250
        for header in (b"content-type: text/event-stream", b"cache-control: no-store", b"connection: close"):
            assert header in stream.head.lower()


async def test_what_one_commit_says_is_one_event_and_its_id_stands_for_all_of_it(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    async with live_stream(house, 1) as stream, open_sockets() as nursery:
        taken = []
        stream.on_event = lambda frames, cursor: taken.append((messages(frames), cursor))
        sender = await Socket.open(nursery, house, 2)
        await sender.start(room)
        await sender.send(
            [{"type": "send", "id": str(number), "room": room, "data": {"body": str(number)}} for number in range(16)]
        )
        await stream.expect("message", count=16)
        at = 0
        for said, cursor in taken:
            at += len(said)
            assert rooms_in(cursor) == f"1~{room}.{at}.1" if said else True
        assert at == 16
        assert len([said for said, _ in taken if said]) < 16


async def test_a_stream_with_a_cursor_has_what_it_missed_in_order_and_none_twice(live_house):
    house = live_house
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(3)]
    async with live_stream(house, 1) as stream:
        await say(house, 2, rooms[0], "a", "b")
        await stream.expect("message", count=2)
        cursor = stream.cursor
    for room in rooms:
        await say(house, 2, room, *(str(number) for number in range(30)))
    async with live_stream(house, 1, cursor) as stream:
        ready = await stream.expect("ready")
        assert ready["data"]["resumed"] is True
        had = dict.fromkeys(rooms, 0) | {rooms[0]: 2}
        expected = [(room, seq) for room in rooms for seq in range(had[room] + 1, 31 + had[room])]
        assert sorted(messages(stream.events)) == sorted(expected)
        await say(house, 2, rooms[1], "live")
        await stream.expect("message", count=91)
        assert messages(stream.events)[-1] == (rooms[1], 31)
        for room in rooms:
            seqs = [seq for where, seq in messages(stream.events) if where == room]
            assert seqs == sorted(set(seqs))
        last = stream.cursor
    async with live_stream(house, 1, "1~1.1.1", last_event_id=last) as stream:
        assert not stream.of("message", "gap"), "Last-Event-ID counts before the query"


async def test_further_back_than_is_replayed_or_in_another_log_it_is_told_so(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    async with open_sockets() as nursery:
        sender = await Socket.open(nursery, house, 2)
        await sender.start(room)
        for number in range(REPLAY_MESSAGES_MAX + 2):
            assert (await sender.ask("send", room, body=str(number)))["type"] == "ack"
        top = REPLAY_MESSAGES_MAX + 2
        for cursor, told in (
            (f"1~{room}.1.1", {"from": 2, "to": top, "top": top}),
            (f"1~{room}.{top}.2", {"from": 1, "to": top, "top": top, "reset": True}),
            (f"1~{room}.{top + 1}.1", {"from": 1, "to": top, "top": top, "reset": True}),
            (f"1~{room}.2.1", None),
        ):
            stream = await Stream.open(nursery, house, 1, cursor)
            await stream.expect("live")
            events, after = await polled(house, 1, cursor)
            assert [gap["data"] for gap in stream.of("gap")] == ([told] if told else [])
            assert [gap["data"] for gap in events if gap["type"] == "gap"] == ([told] if told else [])
            assert len(stream.of("message")) == len(messages(events)) == (0 if told else REPLAY_MESSAGES_MAX)
            assert rooms_in(stream.cursor) == rooms_in(after) == f"1~{room}.{top}.1"


async def test_a_poll_begins_at_once_waits_and_is_answered_when_something_is_said(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    await say(house, 2, room, "before")
    began = trio.current_time()
    events, cursor = await polled(house, 1)
    assert [event["type"] for event in events if not event["type"].startswith("presence")] == ["hello", "ready", "live"]
    assert rooms_in(cursor) == f"1~{room}.1.1"
    async with trio.open_nursery() as nursery:

        async def later():
            await trio.sleep(0.5)
            await say(house, 2, room, "now")

        nursery.start_soon(later)
        events, cursor = await polled(house, 1, cursor)
    assert messages(events) == [(room, 2)]
    assert rooms_in(cursor) == f"1~{room}.2.1"
    assert 0.4 < trio.current_time() - began < 3
    await say(house, 2, room, "between")
    events, cursor = await polled(house, 1, cursor)
    assert messages(events) == [(room, 3)]
    presence = house.house.presence  # that oneself is here now is told, once
    await wait_until(lambda: (presence.changed.is_set() or presence._owed) and "that it has been told")
    began = trio.current_time()
    events, again = await polled(house, 1, cursor, wait=3)
    assert (messages(events), again) == ([], cursor)
    assert 2.9 < trio.current_time() - began < 6
    events, again = await polled(house, 1, cursor, wait=0)
    assert (messages(events), again) == ([], cursor)


async def test_a_poll_hears_typing_a_moment_later(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    _, cursor = await polled(house, 1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 2)
        await sock.start(room)
        began = trio.current_time()
        async with trio.open_nursery() as polls:
            answers = []

            async def ask():
                answers.append(await polled(house, 1, cursor))

            polls.start_soon(ask)
            await wait_until(lambda: not waits(house, 1) and "the poll")
            await sock.ask("typing", room, on=True)
        ((events, _),) = answers
        assert lists_of_typists(events) == [[2]]
        assert trio.current_time() - began < 5


def waits(house, user):
    """Whether a poll of *user* has said all that a start says, and waits for news."""
    connections = house.house.engine.connections_of(user)
    return any(connection.via == "poll" and connection._is_live for connection in connections)


def lists_of_typists(events):
    return [event["data"]["users"] for event in events if event["type"] == "typing"]


@asynccontextmanager
async def two_who_are_here(house):
    """(their room, a cursor) of 1 and 2, of whose presence nothing changes while the block lasts."""
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 2)
        await sock.start(room)
        async with live_stream(house, 1) as stream:
            await stream.expect("membership")
            await wait_until(lambda: {1, 2} - set(told(sock, "joins")))
            yield room, stream.cursor


@pytest.mark.parametrize("typist", [1, 2])
@pytest.mark.parametrize("begins", ["before the poll", "while it waits"])
async def test_a_poll_is_not_answered_because_somebody_types_already_or_oneself_does(
    live_house, monkeypatch, typist, begins
):
    """Else each of one poll after the other would be answered at once, until the user is told to slow down."""
    monkeypatch.setattr("greenroom.actors.room.actor.TYPING_SECONDS", 600.0)
    monkeypatch.setattr("greenroom.http.streams.connection.POLL_SECONDS_MIN", 0.0)
    monkeypatch.setattr("greenroom.http.streams.connection.EPHEMERAL_SECONDS", 0.0)
    house, answers = live_house, []
    async with two_who_are_here(house) as (room, cursor):

        async def ask():
            answers.append(await polled(house, 1, cursor))

        async def types():
            told = await house.post(f"/api/conversations/{room}/typing", typist, {"isTyping": True})
            assert told.status == 200, told.json
            await wait_until(lambda: typist not in house.house.hub.typists.get(room, {}) and "that they type")

        async with trio.open_nursery() as polls:
            if begins == "before the poll":
                await types()
            polls.start_soon(ask)
            await wait_until(lambda: not answers and not waits(house, 1) and "the poll")
            if begins == "while it waits":
                await types()
            await say(house, 2, room, "news")
    ((events, _),) = answers
    if begins == "while it waits" and typist == 2:
        assert (lists_of_typists(events), messages(events)) == ([[2]], [])
    else:
        assert messages(events) == [(room, 1)]
        assert [typist] in lists_of_typists(events), "it comes with what is news"


async def test_who_polls_a_busy_room_asks_at_most_four_times_a_second_and_has_everything(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    _, cursor = await polled(house, 1)
    async with open_sockets() as nursery:
        sender = await Socket.open(nursery, house, 2)
        await sender.start(room)

        async def talk():
            while True:
                await sender.ask("send", room, body="and another thing")
                await trio.sleep(0.02)

        nursery.start_soon(talk)
        began, heard = trio.current_time(), []
        for _ in range(8):
            events, cursor = await polled(house, 1, cursor)
            heard += [seq for _, seq in messages(events)]
        assert heard == list(range(1, len(heard) + 1))
        assert len(heard) > 16
        assert trio.current_time() - began > 7 * 0.25


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 3}])
async def test_streams_and_polls_count_as_commands(live_house):
    house = live_house
    await house.people(1)
    for _ in range(2):
        await polled(house, 1)
    async with live_stream(house, 1):
        refused = await poll(house, 1)
        assert (refused.status, refused.json()["error"]["code"]) == (429, "RATE_LIMIT_EXCEEDED")
        assert int(refused.headers["retry-after"]) > 0
        with pytest.raises(Refused) as told:
            await Stream.open(nursery=None, server=house, user=1)
        assert told.value.status == 429


async def test_what_does_not_fit_into_one_answer_comes_with_the_next_polls(live_house):
    house = live_house
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(2)]
    _, cursor = await polled(house, 1)
    for room in rooms:
        await say(house, 2, room, *("x" * 9000 for _ in range(30)))
    heard, sizes = [], []
    while len(heard) < 60:
        answer = await poll(house, 1, cursor)
        data = answer.json()["data"]
        heard += messages(data["events"])
        cursor = data["cursor"]
        sizes.append(len(answer.body))
    assert sorted(heard) == sorted((room, seq) for room in rooms for seq in range(1, 31))
    assert len(sizes) > 3
    assert max(sizes) < 2 * POLL_BYTES_MAX


async def test_a_cursor_leads_from_one_transport_to_the_next(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    async with live_stream(house, 1) as stream:
        cursor = stream.cursor
    await say(house, 2, room, "a")
    events, cursor = await polled(house, 1, cursor)
    assert messages(events) == [(room, 1)]
    await say(house, 2, room, "b", "c")
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 1)
        ready = await sock.start(resume={"cursor": cursor})
        assert ready["data"]["resumed"] is True
        assert messages(sock.events) == [(room, 2), (room, 3)]
        for cursor in ("2~1.1.1", "", 7, f"1~{room}.1.1~{room}.1.1", "1~u1", "1~1.1.1~u1.1"):
            other = await Socket.open(nursery, house, 1)
            reply = await other.ask("start", resume={"cursor": cursor})
            assert (reply["type"], reply["data"]["code"]) == ("error", 1002), reply


# -- coming and going --------------------------------------------------------------------------------------------------


async def test_a_room_that_the_user_comes_into_is_heard_from_its_first_word(live_house):
    house = live_house
    await house.people(1, 2)
    async with live_stream(house, 1) as stream:
        assert rooms_in(stream.cursor) == "1"
        room = await house.conversation(2, 1)
        await say(house, 2, room, "a", "b")
        await stream.expect("message", count=2)
        assert messages(stream.events) == [(room, 1), (room, 2)]
        assert stream.of("member")[0]["data"] == {"user": 1, "role": "member", "change": "joined"}
        assert rooms_in(stream.cursor) == f"1~{room}.2.1"
        cursor = stream.cursor
    other = await house.conversation(2, 1)  # while nobody listens
    await say(house, 2, other, "c", "d")
    events, cursor = await polled(house, 1, cursor)
    assert messages(events) == [(other, 1), (other, 2)]
    assert set(rooms_in(cursor).split("~")) == {"1", f"{room}.2.1", f"{other}.2.1"}


async def test_a_group_that_is_entered_late_begins_where_one_came_in(live_house):
    house = live_house
    room = await people_in_a_room(house, 2, 3)
    await house.people(1)
    await say(house, 2, room, "not for 1", "nor this")
    async with live_stream(house, 1) as stream:
        await house.post(f"/api/conversations/{room}/participants", 2, {"userIds": [1]})
        await stream.expect("live", count=2)
        await say(house, 2, room, "for 1")
        await stream.expect("message")
        assert messages(stream.events) == [(room, 4)]


async def test_who_is_removed_hears_nothing_more_on_a_stream_or_a_poll(live_house):
    house = live_house
    room = await people_in_a_room(house, 2, 1)
    async with live_stream(house, 1) as stream:
        await say(house, 2, room, "a")
        await stream.expect("message")
        before = stream.cursor
        answers = []
        async with trio.open_nursery() as nursery:

            async def ask():
                answers.append(await polled(house, 1, before))

            nursery.start_soon(ask)
            await wait_until(lambda: len(house.house.engine.connections_of(1)) < 2 and "the poll")
            await trio.sleep(0.2)
            assert (await house.delete(f"/api/conversations/{room}/participants/1", 2)).status == 200
            await say(house, 2, room, "hidden")
        assert (await stream.expect("member"))["data"]["change"] == "left"
        ((events, cursor),) = answers
        assert [event["data"]["change"] for event in events if event["type"] == "member"] == ["left"]
        assert (messages(events), rooms_in(cursor)) == ([], "1")
        again, cursor = await polled(house, 1, before, wait=1)
        (ready,) = (event for event in again if event["type"] == "ready")
        assert [(item["r"], item["error"]) for item in ready["data"]["refused"]] == [(room, "NOT_MEMBER")]
        assert (messages(again), rooms_in(cursor)) == ([], "1")
        assert messages(stream.events) == [(room, 1)]
        await house.post(f"/api/conversations/{room}/participants", 2, {"userIds": [1]})
        await stream.expect("live", count=2)
        await say(house, 2, room, "back")
        await stream.expect("message", count=2)
        assert messages(stream.events) == [(room, 1), (room, 5)]
        assert rooms_in(stream.cursor) == f"1~{room}.5.1"


async def test_removal_while_a_resume_is_under_way_ends_it(live_house):
    house = live_house
    room = await people_in_a_room(house, 2, 1)
    await say(house, 2, room, *("x" * 9900 for _ in range(300)))  # 3 MB: more than is sent unread
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1, f"1~{room}.0.1", receive_buffer=4096)
        await stream.expect("message")
        stream.stop_reading()
        assert (await house.delete(f"/api/conversations/{room}/participants/1", 2)).status == 200
        await say(house, 2, room, "hidden")
        stream.read_again()
        await stream.expect("live")
        heard = [seq for _, seq in messages(stream.events)]
        assert heard == list(range(1, len(heard) + 1))
        assert len(heard) < 300
        assert stream.of("live")[0]["data"]["rooms"] == []
        assert rooms_in(stream.cursor) == "1"


async def test_a_room_that_storage_ends_before_it_says_so_itself_is_not_called_live(live_house, monkeypatch):
    house = live_house
    room = await people_in_a_room(house, 2, 1)
    await say(house, 2, room, *("x" * 9900 for _ in range(300)))  # more than the process remembers
    conversations, is_out = house.house.sockets.replayer._conversations, trio.Event()
    log_after, calls = conversations.log_after, []

    async def ends_at_the_second(*arguments):
        calls.append(arguments)
        if len(calls) < 2:
            return await log_after(*arguments)
        is_out.set()
        return []

    monkeypatch.setattr(conversations, "log_after", ends_at_the_second)
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1, f"1~{room}.0.1")
        with trio.fail_after(10):
            await is_out.wait()
        assert (await house.delete(f"/api/conversations/{room}/participants/1", 2)).status == 200
        await stream.expect("live")
        assert stream.of("live")[0]["data"]["rooms"] == []
        assert rooms_in(stream.cursor) == "1"


@pytest.mark.parametrize("house_settings", [{"ws_max_per_user": 1000}])
async def test_a_stream_in_a_large_room_of_sockets_is_told_all_in_order(live_house):
    """Rooms of over 200 sockets are walked, and the walk writes to sockets past their connections."""
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    async with open_sockets() as nursery:
        socks = [await Socket.open(nursery, house, 2) for _ in range(210)]
        for sock in socks:
            await sock.start(room)
        streams = [await Stream.open(nursery, house, 1) for _ in range(3)]
        for stream in streams:
            await stream.expect("live")
        for number in range(60):
            await socks[0].ask("send", room, body=str(number))
        for stream in streams:
            await stream.expect("message", count=60)
            assert [seq for _, seq in messages(stream.events)] == list(range(1, 61))
            assert rooms_in(stream.cursor) == f"1~{room}.60.1"
        assert len(house.house.hub.channels[room].ranks) >= 200, "the others are told together all the same"


@asynccontextmanager
async def locked(database, table):
    """Nobody can read *table* while the block lasts."""
    async with trio_asyncio.open_loop():
        run = trio_asyncio.aio_as_trio
        connection = await run(asyncpg.connect)(**database.connect_arguments())
        await run(connection.execute)(f"begin; lock table {table} in access exclusive mode")
        try:
            yield
        finally:
            await run(connection.execute)("rollback")
            await run(connection.close)()


async def test_a_room_that_does_not_answer_keeps_its_place_and_is_asked_again(database, tmp_path):
    """The room cannot load while somebody else has locked the messages; the list of rooms can be read."""
    async with open_house_under_test(database, tmp_path, listens=True) as before:
        room = await people_in_a_room(before, 1, 2)
        await say(before, 2, room, "a", "b")
    async with open_house_under_test(database, tmp_path, listens=True) as house, open_sockets() as nursery:
        async with locked(database, "messages"):
            stream = await Stream.open(nursery, house, 1, f"1~{room}.1.1")
            ready = await stream.expect("ready", 15)
            assert [(item["r"], item["code"]) for item in ready["data"]["refused"]] == [(room, 5003)]
            assert ready["data"]["resumed"] is False
            await stream.expect("live")
            assert (rooms_in(stream.cursor), stream.of("message")) == (f"1~{room}.1.1", [])
        await stream.expect("message", 15)
        await stream.expect("live", count=2)
        assert messages(stream.events) == [(room, 2)]
        assert rooms_in(stream.cursor) == f"1~{room}.2.1"


@pytest.mark.parametrize("goes_on", ["as it is", "by stream", "by poll", "by socket"])
async def test_without_a_cursor_a_room_that_answers_late_begins_at_its_top_too(
    live_house, database, monkeypatch, goes_on
):
    """Else what has been unread for long would come as if it was said now."""
    monkeypatch.setattr(services, "COMMAND_SECONDS_MAX", 0.5)
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    await say(house, 2, room, "old", "and unread")
    house.house.system.kill(house.house.system.ref("room", room))
    async with open_sockets() as nursery:
        async with holding_room(database, room):
            if goes_on == "by poll":
                events, cursor = await polled(house, 1)
            else:
                reader = await Stream.open(nursery, house, 1)
                await reader.expect("live")
                events, cursor = reader.events, reader.cursor
        monkeypatch.setattr(services, "COMMAND_SECONDS_MAX", 10.0)  # who is asked once more has to load first
        refused = [item for event in events if event["type"] == "ready" for item in event["data"]["refused"]]
        assert [(item["r"], item["error"]) for item in refused] == [(room, "TIMEOUT")]
        if goes_on == "by poll":
            events, cursor = await polled(house, 1, cursor, wait=0)
            assert (messages(events), rooms_in(cursor)) == ([], f"1~{room}.2.1")
            await say(house, 2, room, "new")
            events, cursor = await polled(house, 1, cursor)
        else:
            if goes_on == "by socket":
                reader = await Socket.open(nursery, house, 1)
                await reader.start(resume={"cursor": cursor})
            elif goes_on == "by stream":
                reader = await Stream.open(nursery, house, 1, cursor)
            await wait_until(lambda: [room] not in [live["data"]["rooms"] for live in reader.of("live")] and "live")
            await say(house, 2, room, "new")
            await reader.expect("message")
            events = reader.events
        assert messages(events) == [(room, 3)]
        assert not [event for event in events if event["type"] == "gap"]


@pytest.mark.parametrize("road", ["stream", "poll"])
@pytest.mark.parametrize("hangs", ["the room", "the look for its end"])
async def test_of_a_lost_room_that_answers_late_it_is_told_that_the_user_left(
    live_house, database, monkeypatch, road, hangs
):
    """Until then the cursor keeps its place."""
    monkeypatch.setattr("greenroom.http.ws.services.COMMAND_SECONDS_MAX", 0.5)
    house = live_house
    room = await people_in_a_room(house, 2, 1)
    await say(house, 2, room, "a")
    await say(house, 2, room, "b")
    assert (await house.delete(f"/api/conversations/{room}/participants/1", 2)).status == 200
    await say(house, 2, room, "hidden")
    async with live_stream(house, 1):
        await stored_up_to(house, 1, 2)
    before, answers = f"1~u2.1~{room}.1.1", []  # the user's own stream has no news
    async with open_sockets() as nursery:

        async def ask():
            answers.append(await polled(house, 1, before, wait=20))

        if hangs == "the room":
            house.house.system.kill(house.house.system.ref("room", room))
            held = holding_room(database, room)
        else:
            held = holding_table(database, "member_changes")
        async with held:
            if road == "stream":
                stream = await Stream.open(nursery, house, 1, before)
                ready = await stream.expect("ready")
                error = "TIMEOUT" if hangs == "the room" else "NOT_MEMBER"
                assert [(item["r"], item["error"]) for item in ready["data"]["refused"]] == [(room, error)]
                await stream.expect("live")
                assert rooms_in(stream.cursor) == f"1~{room}.1.1"
            else:
                nursery.start_soon(ask)
                await wait_until(lambda: not is_ready(house, 1) and "the start of the poll")
        if road == "stream":
            await stream.expect("member")
            events, cursor = stream.events, stream.cursor
        else:
            await wait_until(lambda: not answers and "the answer")
            ((events, cursor),) = answers
        left = [(event["seq"], event["data"]["change"]) for event in events if event["type"] == "member"]
        assert (left, messages(events), rooms_in(cursor)) == ([(3, "left")], [], "1")


def is_ready(house, user):
    """Whether the rooms of who reads have been asked, once at least."""
    connections = house.house.engine.connections_of(user)
    return bool(connections) and connections[0].session.rooms is not None


async def stored_up_to(house, user, useq):
    """Wait until this much is in the user's stream."""
    streams = house.house.sockets.streams._streams
    with trio.fail_after(10):
        while (await streams.standing(user)).useq < useq:  # noqa: ASYNC110 - a database tells nobody
            await trio.sleep(0.02)


async def test_a_resume_counts_once_however_often_its_room_is_asked(database, tmp_path, monkeypatch):
    async with open_house_under_test(database, tmp_path, listens=True) as before:
        mine = await people_in_a_room(before, 1, 2)
        await say(before, 2, mine, "a", "b")
        theirs = await before.conversation(2)
    asked, enter = [], sessions.StreamSession._enter

    def enter_and_note(session, room):
        asked.append(room)
        enter(session, room)

    monkeypatch.setattr(sessions.StreamSession, "_enter", enter_and_note)
    monkeypatch.setattr(sessions, "AGAIN_SECONDS", 0.05)
    monkeypatch.setattr(services, "COMMAND_SECONDS_MAX", 0.3)
    async with open_house_under_test(database, tmp_path, listens=True) as house, open_sockets() as nursery:

        def resumes():
            return house.house.hub.delivery.statistics().resumes

        async with locked(database, "messages"):
            stream = await Stream.open(nursery, house, 1, f"1~{mine}.1.1~{theirs}.0.1")
            await stream.expect("ready", 15)
            await wait_until(lambda: {mine, theirs} - {room for room in asked if asked.count(room) > 2}, 15)
            assert resumes() == {}
        await stream.expect("message", 15)
        await wait_until(lambda: resumes() != {"events": {"refused": 1, "replayed": 1}} and f"{resumes()}", 15)
        await say(house, 2, mine, "c")  # the cursor comes with an event
        await wait_until(lambda: f"~{mine}.3.1" not in (stream.cursor or "") and f"{stream.cursor}", 15)
        assert rooms_in(stream.cursor) == f"1~{mine}.3.1"


# -- who may, and until when ------------------------------------------------------------------------------------------


async def session_of(house, user, seconds=3600):
    session_id, _ = await house.house.storage.sessions.create(user, seconds=seconds)
    return session_id, [("Cookie", f"pitchey-session={session_id}")]


async def test_a_session_that_ends_takes_its_stream_and_its_poll_with_it(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    session, shown = await session_of(house, 1)
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, headers=shown)
        await stream.expect("live")
        answers = []

        async def ask():
            answers.append(await poll(house, None, stream.cursor, headers=shown))

        nursery.start_soon(ask)
        await wait_until(lambda: len(house.house.engine.connections_of(1)) < 2 and "the poll")

        async def delete(connection):
            await connection.execute("delete from sessions where id = $1", session)

        await house.house.storage.postgres.transaction(delete)
        assert await stream.wait_closed(WITHIN_SECONDS) == 4003
        await wait_until(lambda: not answers and "the answer", WITHIN_SECONDS)
        assert answers[0].json()["data"]["events"][-1] == {
            "type": "close", "data": {"code": 4003, "reason": "forbidden"},
        }  # fmt: skip
        with pytest.raises(Refused) as refused:
            await Stream.open(nursery, house, headers=shown)
        assert refused.value.status == 401
        assert (await poll(house, headers=shown)).status == 401
        await say(house, 2, room, "hidden")
        assert not stream.of("message")


async def test_signing_out_ends_a_stream_at_once(live_house):
    house = live_house
    await house.people(1)
    session, shown = await session_of(house, 1)
    async with live_stream(house, None, headers=shown) as stream:
        given = {"Cookie": f"pitchey-session={session}", "Origin": house.url}
        assert (await house.post("/api/auth/sign-out", None, {}, **given)).status == 200
        assert await closed_within(1.0, stream) == 4003


async def test_a_token_and_a_key_that_end_take_the_stream_with_them(live_house):
    house = live_house
    await house.people(1)
    key_id, key = await house.house.storage.api_keys.create(name="backend", role="service", scopes=("act_as",))
    by_key = [("Authorization", f"Bearer {key}"), ("X-Act-As", "1")]
    token = house.token(1, exp=int(time.time()) + 4)
    async with (
        live_stream(house, None, headers=[("Authorization", f"Bearer {token}")]) as brief,
        live_stream(house, None, headers=by_key) as acting,
    ):
        assert await brief.wait_closed(8) == 4002

        async def revoke(connection):
            await connection.execute("update api_keys set revoked_at = now() where id = $1", key_id)

        await house.house.storage.postgres.transaction(revoke)
        assert await acting.wait_closed(WITHIN_SECONDS) == 4003


@pytest.mark.parametrize("house_settings", [{"ws_max_per_user": 3}])
async def test_streams_polls_and_sockets_of_a_user_are_counted_together(live_house):
    house = live_house
    await house.people(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 1)
        stream = await Stream.open(nursery, house, 1)
        await stream.expect("live")
        nursery.start_soon(poll, house, 1, stream.cursor)
        await wait_until(lambda: len(house.house.engine.connections_of(1)) < 3 and "the poll")
        with pytest.raises(Refused) as refused:
            await Stream.open(nursery, house, 1)
        assert (refused.value.status, refused.value.headers["retry-after"]) == (429, "10")
        assert (await poll(house, 1, "1")).status == 429
        with pytest.raises(Refused):
            await Socket.open(nursery, house, 1)
        await Stream.open(nursery, house, 2)
        sock.cut()
        await wait_until(lambda: len(house.house.engine.connections_of(1)) > 2 and "the end of the socket")
        await Stream.open(nursery, house, 1)


@pytest.mark.parametrize("house_settings", [{"ws_max_per_address": 2}])
async def test_streams_of_an_address_are_counted_with_its_sockets(live_house):
    house = live_house
    await house.people(1, 2, 3)
    async with open_sockets() as nursery:
        await Socket.open(nursery, house, 1, source="127.0.0.7")
        await Stream.open(nursery, house, 2, source="127.0.0.7")
        with pytest.raises(Refused) as refused:
            await Stream.open(nursery, house, 3, source="127.0.0.7")
        assert refused.value.status == 429
        await Stream.open(nursery, house, 3, source="127.0.0.8")


@pytest.mark.parametrize("path", ["/events", "/poll"])
async def test_without_a_credential_or_from_a_page_that_is_not_listed_it_is_refused(live_house, path):
    house = live_house
    await house.people(1)
    for headers, status in (
        ({}, 401),
        ({"Authorization": "Bearer nonsense"}, 401),
        ({"Authorization": f"Bearer {house.token(1)}", "Origin": "https://elsewhere.example"}, 403),
        ({"Authorization": f"Bearer {house.token(1)}", "Origin": "null"}, 403),
        ({"Authorization": f"Bearer {house.token(1)}", "Sec-Fetch-Site": "cross-site"}, 403),
    ):
        answer = await raw_http(house.port, request(house.port, path, headers.items()))
        assert answer.status == status, (headers, answer)
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["connection"] == "close"
    assert house.house.engine.total == 0


async def test_a_listed_page_may_read_a_stream_and_a_poll(live_house):
    house = live_house
    await house.people(1)
    async with live_stream(house, 1, headers=[("Origin", house.url), ("X-Request-Id", "mine")]) as stream:
        assert f"access-control-allow-origin: {house.url}".encode() in stream.head.lower()
        assert b"x-request-id: mine" in stream.head.lower()
        assert b"x-content-type-options: nosniff" in stream.head.lower()
    answer = await poll(house, 1, headers=[("Origin", house.url), ("X-Request-Id", "mine")])
    assert answer.headers["access-control-allow-origin"] == house.url
    assert answer.json()["meta"]["requestId"] == "mine"
    assert answer.json()["success"] is True


CURSORS = [
    "0", "2", "1~", "~", "1~~", "nonsense", "1~1", "1~1.1", "1~1.1.1.1", "1~0.1.1", "1~-1.1.1", "1~1.-1.1", "1~01.1.1",
    "1~1.01.1", "1~1.1.1~1.2.1", "1~9007199254740992.1.1", "1~1.9007199254740992.1", "1~1.1.9007199254740992",
    "1~1.1.1 ", " 1", "1~１.1.1", "1~a.1.1", "1~1.1.1\0", "1~" + "9" * 400, "1" + "~5.1.1" * 12_00,
    "1" + "".join(f"~{room}.1.1" for room in range(1, 202)), "1~1.1e3.1", "1~1.1.1~", "%", "\udcff",
    "1~u", "1~u1", "1~u1.", "1~u.1", "1~u1.1.1", "1~u-1.1", "1~u01.1", "1~u1.01", "1~U1.1", "1~u1.1~", "1~u1.1~u1.1",
    "1~1.1.1~u1.1", "1~u9007199254740992.1", "1~u1.9007199254740992", "1~u１.1", "1~u1.1e1", "1~u 1.1", "u1.1", "1u1.1",
    "1~u1.1" + "".join(f"~{room}.1.1" for room in range(1, 202)), "1~u1.1\0", "1~u" + "9" * 400 + ".1",
]  # fmt: skip


@pytest.mark.parametrize("path", ["/events", "/poll"])
async def test_a_cursor_that_is_none_is_400_and_changes_nothing(live_house, path):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    authorization = ("Authorization", f"Bearer {house.token(1)}")
    for cursor in CURSORS:
        query = f"{path}?cursor={quote(cursor, errors='surrogateescape')}"
        answer = await raw_http(house.port, request(house.port, query, [authorization]))
        assert answer.status == 400, (cursor, answer)
        assert answer.json()["error"]["code"] in ("VALIDATION", "BAD_REQUEST")
        if cursor.isascii() and cursor.isprintable() and cursor.strip() == cursor:
            headers = [authorization, ("Last-Event-ID", cursor)]
            answer = await raw_http(house.port, request(house.port, f"{path}?cursor=1~{room}.0.1", headers))
            assert answer.status == 400, (cursor, answer)
    for query in ("cursor=1&cursor=1~1.1.1", "wait=-1", "wait=26", "wait=1.5", "wait=x"):
        if path == "/poll" or "wait" not in query:
            answer = await raw_http(house.port, request(house.port, f"{path}?{query}", [authorization]))
            assert answer.status == 400, (query, answer)
    await wait_until(lambda: house.house.engine.total and "the end of all connections")
    assert not remembers_nothing(house)


# -- hostile and unlucky peers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("house_settings", [{"ws_max_per_user": 1000}])
async def test_500_opened_and_dropped_leave_nothing_behind(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    _, shown = await session_of(house, 1)
    cursor = f"1~{room}.0.1"

    async def all_at(moment, number):
        sock = await connect_tcp(house.port)
        path = "/events" if number % 2 else f"/poll?cursor={cursor}"
        await send_all(sock, request(house.port, path, shown))
        if moment == "live":
            await trio.sleep(0.3)
        elif moment == "head" and number % 2:
            await receive_some(sock)
        if number % 3:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        sock.close()

    tasks_before = None
    for moment in ("at once", "head", "live", "at once", "live"):
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(all_at, moment, number)
                if number % 20 == 19:
                    await trio.sleep(0.05)
        await wait_until(lambda: remembers_nothing(house), 15)
        await trio.sleep(1.2)
        tasks_before = count_tasks() if tasks_before is None else tasks_before
        most = tasks_before + 1
        await wait_until(lambda most=most: count_tasks() > most and count_tasks(), 20)  # whose head was still in line
    assert house.house.engine.statistics().faults == 0
    async with live_stream(house, 1, cursor) as stream:
        await say(house, 2, room, "still")
        await stream.expect("message")


def count_tasks():
    count, waiting = 0, [trio.lowlevel.current_root_task()]
    while waiting:
        count, task = count + 1, waiting.pop()
        waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return count


async def test_one_who_stops_reading_a_stream_is_closed_with_4201_and_delays_nobody(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    async with open_sockets() as nursery:
        slow = await Stream.open(nursery, house, 1, receive_buffer=4096)
        fast = await Stream.open(nursery, house, 1)
        for stream in (slow, fast):
            await stream.expect("live")
        slow.stop_reading()
        connection = house.house.engine.connections_of(1)[0]
        most = 0
        sender = await Socket.open(nursery, house, 2)
        await sender.start()
        for number in range(250):
            await sender.ask("send", room, body=f"{number} {'x' * 9900}")
            most = max(most, connection.unsent_bytes)
        await fast.expect("message", count=250)
        assert most <= 1024 * 1024
        assert connection.is_closing
        slow.read_again()
        assert await slow.wait_closed() == 4201
        heard = [seq for _, seq in messages(slow.events)]
        assert heard == list(range(1, len(heard) + 1))
        assert rooms_in(slow.cursor) == f"1~{room}.{len(heard)}.1"
        back = await Stream.open(nursery, house, 1, slow.cursor)
        await back.expect("live")
        assert [seq for _, seq in messages(back.events)] == list(range(len(heard) + 1, 251))


async def test_a_poll_whose_answer_is_not_read_is_forgotten(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    await say(house, 2, room, *("x" * 9900 for _ in range(20)))
    headers = [("Authorization", f"Bearer {house.token(1)}")]
    socks = []
    for _ in range(10):
        sock = await connect_tcp(house.port, receive_buffer=4096)
        await send_all(sock, request(house.port, f"/poll?cursor=1~{room}.0.1", headers))
        socks.append(sock)
    await wait_until(lambda: house.house.engine.statistics().closed.get(1000, 0) < 10 and "ten answers")
    await wait_until(lambda: remembers_nothing(house), 12)
    whole = b""
    while part := await receive_some(socks[0]):  # the kernel has it
        whole += part
    assert len(json.loads(whole.partition(b"\r\n\r\n")[2])["data"]["events"]) > 10
    for sock in socks:
        sock.close()


async def test_what_a_reader_says_is_forgotten_and_too_much_of_it_is_the_end(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    next_request = request(house.port, "/api/health", [])
    async with live_stream(house, 1, early=next_request + b"\x88\x00\x81\xff") as stream:
        await send_all(stream.sock, next_request)
        await say(house, 2, room, "a")
        await stream.expect("message")
        assert all(event["type"] != "close" for event in stream.events)
        await send_all(stream.sock, b"x" * UNASKED_BYTES_MAX)
        assert await stream.wait_closed() == 4004


@pytest.mark.parametrize(
    ("method", "target", "version", "status"),
    [
        ("HEAD", "/events", "1.1", 200),
        ("HEAD", "/poll", "1.1", 200),
        ("POST", "/events", "1.1", 405),
        ("GET", "http://{host}/events", "1.1", 200),
        ("GET", "http://{host}/events?cursor=1", "1.1", 200),
        ("GET", "HTTP://{host}/poll", "1.1", 200),
        ("GET", "http://{host}/events/", "1.1", 400),
        ("GET", "http://{host}", "1.1", 400),
        ("GET", "/%65vents", "1.1", 400),
        ("GET", "/events/", "1.1", 400),
        ("GET", "/events?cursor=1", "1.0", 200),
        ("GET", "/poll", "1.0", 200),
    ],
)
async def test_odd_requests_have_plain_answers(live_house, method, target, version, status):
    house = live_house
    await house.people(1)
    token = house.token(1)
    host = f"127.0.0.1:{house.port}"
    head = f"{method} {target.format(host=host)} HTTP/{version}\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n"
    sock = await connect_tcp(house.port)
    await send_all(sock, head.encode() + b"Connection: close\r\n\r\n")
    received = b""
    with trio.move_on_after(2):
        while part := await receive_some(sock):
            received += part
    sock.close()
    assert received.startswith(f"HTTP/1.1 {status} ".encode()), received
    await wait_until(lambda: house.house.engine.total and "the end")


async def test_a_comment_comes_when_nothing_is_said_and_costs_no_cursor(live_house):
    house = live_house
    await house.people(1)
    async with live_stream(house, 1) as stream:
        (connection,) = house.house.engine.connections_of(1)
        cursor, now = stream.cursor, trio.current_time()
        connection.spoken_at = now - COMMENT_SECONDS + 5
        assert connection.session.beat(now) == pytest.approx(6)
        connection.spoken_at = now - COMMENT_SECONDS
        assert connection.session.beat(now) == COMMENT_SECONDS
        await wait_until(lambda: not stream.comments and "the comment")
        assert (stream.cursor, stream.comments) == (cursor, 1)


async def test_the_end_of_the_process_is_told_and_a_poll_keeps_its_cursor(live_house):
    house = live_house
    await people_in_a_room(house, 1, 2)
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1)
        await stream.expect("live")
        answers = []

        async def ask():
            answers.append(await polled(house, 1, stream.cursor))

        nursery.start_soon(ask)
        await wait_until(lambda: len(house.house.engine.connections_of(1)) < 2 and "the poll")
        await trio.sleep(0.2)
        await house.house.engine.drain.stop()
        assert await stream.wait_closed(2) == 4200
        await wait_until(lambda: not answers and "the answer", 2)
        events, cursor = answers[0]
        assert events[-1]["data"] == {"code": 4200, "reason": "the server restarts"}
        assert cursor == stream.cursor


async def test_streams_and_polls_make_their_user_appear(live_house):
    house = live_house
    room = await people_in_a_room(house, 1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 2)
        await sock.start(room)
        async with live_stream(house, 1):
            await wait_until(lambda: 1 not in told(sock, "joins") and "that they are here")
        await wait_until(lambda: told(sock, "leaves") != [1] and "that they are gone")
        _, cursor = await polled(house, 1)
        await wait_until(lambda: told(sock, "joins").count(1) < 2 and "that they are here again")
        for number in range(4):  # between two polls there is no connection
            async with trio.open_nursery() as polls:
                polls.start_soon(polled, house, 1, cursor)
                await trio.sleep(0.5)
                await say(house, 2, room, str(number))
            await trio.sleep(0.7)
        assert (told(sock, "joins").count(1), told(sock, "leaves")) == (2, [1])
        await wait_until(
            lambda: told(sock, "leaves") != [1, 1] and "that they are gone again", LEASE_SECONDS + ROUND_SECONDS + 3
        )
        assert not house.house.presence.leases.users()


def told(sock, change):
    """The users that a socket was told of as coming or going."""
    return [user["user"] for diff in sock.of("presence_diff") for user in diff["data"][change]]
