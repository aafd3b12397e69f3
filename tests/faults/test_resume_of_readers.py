"""The user's own stream over polls, event streams and sockets: one cursor, each event once, in order, or a gap."""

import asyncpg
import pytest
import trio
import trio_asyncio
from streams import Stream, messages, poll, polled, rooms_in
from wire import Socket, open_sockets, wait_until

from greenroom.http.streams.connection import POLL_BYTES_MAX
from greenroom.http.ws.user_streams import REPLAY_EVENTS_MAX

OF_THE_USER = ("read_sync", "membership", "notification", "notification_read", "notification_deleted", "block")


def personal(events):
    """(useq, kind) of what the user was told of themselves."""
    return [(event["useq"], event["type"]) for event in events if event["type"] in OF_THE_USER]


def useq_in(cursor):
    """Where the cursor stands in the user's stream."""
    (part,) = (part for part in cursor.split("~") if part.startswith("u"))
    return int(part[1:].partition(".")[0])


async def execute(database, sql, *arguments):
    async with trio_asyncio.open_loop():
        run = trio_asyncio.aio_as_trio
        connection = await run(asyncpg.connect)(**database.connect_arguments())
        await run(connection.execute)(sql, *arguments)
        await run(connection.close)()


async def stored(house, user, count):
    """Wait until this much is in the user's stream."""
    streams = house.house.sockets.streams._streams
    with trio.fail_after(10):
        while (await streams.standing(user)).useq < count:  # noqa: ASYNC110 - a database tells nobody
            await trio.sleep(0.02)


async def notify(house, user, *titles, data=None):
    for title in titles:
        sent = await house.post("/api/notifications/send", user, {"title": title, "message": "m", "data": data or {}})
        assert sent.status == 201, sent.json


async def fill(database, user, first, last):
    """A stream of the user that is at *last*, of which the events from *first* on are kept."""
    await execute(
        database,
        "with stream as (insert into user_streams (user_id, useq) values ($1, $3)) insert into user_events "
        "select $1, n, 'read_sync', 7, '{\"seq\":' || n || '}', now() from generate_series($2::int, $3::int) as n",
        user, first, last,
    )  # fmt: skip


async def test_what_happened_between_two_polls_is_told_by_the_next_one_in_order_and_once(live_house):
    house = live_house
    await house.people(1, 2)
    _, cursor = await polled(house, 1)
    assert cursor == "1~u0.1"
    await notify(house, 1, "a", "b")
    assert (await house.put("/api/notifications/read-all", 1)).status == 200
    assert (await house.post("/api/users/2/block", 1, {})).status in (200, 201)
    events, after = await polled(house, 1, cursor, wait=0)
    expected = [(1, "notification"), (2, "notification"), (3, "notification_read"), (4, "block")]
    assert (personal(events), after) == (expected, "1~u4.1")
    (ready,) = (event for event in events if event["type"] == "ready")
    assert (ready["data"]["resumed"], ready["data"]["useq"], ready["data"]["userEpoch"]) == (True, 4, 1)
    events, again = await polled(house, 1, after, wait=0)
    assert (personal(events), again) == ([], after)
    events, _ = await polled(house, 1, "1~u2.1", wait=0)
    assert personal(events) == expected[2:]


async def test_each_transport_goes_on_in_the_users_stream_where_the_one_before_it_was(live_house):
    house = live_house
    await house.people(1)
    _, cursor = await polled(house, 1)
    heard = []
    for turn in range(2):
        await notify(house, 1, f"{turn} before the stream")
        async with open_sockets() as nursery:
            stream = await Stream.open(nursery, house, 1, cursor)
            await stream.expect("notification")
            await notify(house, 1, f"{turn} on the stream")
            await stream.expect("notification", count=2)
            heard += personal(stream.events)
            cursor = stream.cursor
        await notify(house, 1, f"{turn} before the socket")
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, house, 1)
            assert (await sock.start(resume={"cursor": cursor}))["data"]["resumed"] is True
            await sock.expect("notification")
            await notify(house, 1, f"{turn} on the socket")
            await sock.expect("notification", useq=len(heard) + 2)
            heard += personal(sock.events)
            cursor = f"1~u{heard[-1][0]}.1"
        await notify(house, 1, f"{turn} before the poll")
        events, cursor = await polled(house, 1, cursor)
        heard += personal(events)
    assert heard == [(useq, "notification") for useq in range(1, 11)]
    assert cursor == "1~u10.1"


async def test_a_room_that_was_come_into_and_one_that_was_left_while_away_are_told_with_what_was_said(live_house):
    house = live_house
    await house.people(1, 2)
    left = await house.conversation(2, 1)
    await stored_by_coming(house, 1, 1)
    _, cursor = await polled(house, 1)
    assert cursor == f"1~u1.1~{left}.0.1"
    joined = await house.conversation(2, 1)
    for text in ("a", "b"):
        assert (await house.post(f"/api/conversations/{joined}/messages", 2, {"content": text})).status == 201
    assert (await house.delete(f"/api/conversations/{left}/participants/1", 2)).status == 200
    events = []
    while len(personal(events)) < 2:  # notes become events when somebody is here: in this poll, or the next one
        more, cursor = await polled(house, 1, cursor, wait=2)
        events += more
    told = [event for event in events if event["type"] == "membership"]
    assert [(event["useq"], event["room"], event["data"]["change"]) for event in told] == [
        (2, joined, "joined"),
        (3, left, "left"),
    ]
    assert messages(events) == [(joined, 1), (joined, 2)]
    assert cursor == f"1~u3.1~{joined}.2.1"


async def stored_by_coming(house, user, count):
    """Let the notes of the user become events: they wait until the user is here."""
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, user)
        await sock.start()
        await stored(house, user, count)


async def test_a_cursor_from_before_there_was_one_of_the_user_begins_at_now(live_house, database):
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(2, 1)
    await stored_by_coming(house, 1, 1)
    assert (await house.post(f"/api/conversations/{room}/messages", 2, {"content": "a"})).status == 201
    events, cursor = await polled(house, 1, f"1~{room}.0.1", wait=0)
    assert (messages(events), personal(events)) == ([(room, 1)], [])
    assert cursor == f"1~u1.1~{room}.1.1"
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1, "1")
        await stream.expect("live")
        assert (personal(stream.events), useq_in(stream.cursor)) == ([], 1)
        sock = await Socket.open(nursery, house, 1)
        await sock.start(resume={"cursor": f"1~{room}.0.1"})
        await sock.expect("live")
        assert personal(sock.events) == []


async def test_what_resume_says_of_the_user_counts_before_the_cursor(live_house, database):
    await live_house.people(1)
    await fill(database, 1, 1, 5)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(resume={"cursor": "1~u1.1", "user": {"useq": 3, "epoch": 1}})
        await sock.expect("read_sync", useq=5)
        assert [useq for useq, _ in personal(sock.events)] == [4, 5]


async def test_who_is_too_far_behind_or_in_another_stream_is_told_so_on_every_transport(live_house, database):
    house = live_house
    await house.people(1)
    await fill(database, 1, 601, 1600)
    at_most = 1600 - REPLAY_EVENTS_MAX
    far = {"user": True, "from": 11, "to": 1600, "top": 1600}
    reset = {"user": True, "from": 1, "to": 1600, "top": 1600, "reset": True}
    for place, told in (("10.1", far), (f"{at_most}.1", None), ("1601.1", reset), ("1600.2", reset)):
        cursor = f"1~u{place}"
        expected = [] if told else list(range(at_most + 1, 1601))
        async with open_sockets() as nursery:
            stream = await Stream.open(nursery, house, 1, cursor)
            sock = await Socket.open(nursery, house, 1)
            ready = await sock.start(resume={"cursor": cursor})
            events, after = await polled(house, 1, cursor, wait=0)
            await wait_until(lambda stream=stream: useq_in(stream.cursor or "1~u0.1") != 1600 and "the whole stream")
            await wait_until(lambda sock=sock, n=expected: len(personal(sock.events)) < len(n) and "the whole stream")
            for heard in (stream.events, sock.events, events):
                assert [event["data"] for event in heard if event["type"] == "gap"] == ([told] if told else []), cursor
                assert [useq for useq, _ in personal(heard)] == expected
            assert ready["data"]["resumed"] is (told is None)
            assert after == "1~u1600.1"
        events, _ = await polled(house, 1, after, wait=0)
        assert [event for event in events if event["type"] == "gap"] == [], "a gap is told once"


async def test_the_id_of_an_event_stands_for_what_is_in_it_however_slowly_it_is_read(live_house, database):
    house = live_house
    await house.people(1)
    for _ in range(4):
        await notify(house, 1, *"x" * 12, data={"text": "y" * 16_000})  # 750 KB in all
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1, "1~u0.1", receive_buffer=4096)
        await stream.expect("ready")
        stream.stop_reading()
        await notify(house, 1, "live", "and another")
        stream.read_again()
        await stream.expect("notification", count=50)
        at = 0
        for frames, cursor in zip(stream.batches, stream.cursors, strict=True):
            for useq, _ in personal(frames):
                assert useq == at + 1
                at = useq
            assert not cursor or useq_in(cursor) == at
        assert at == 50


async def test_personal_events_that_do_not_fit_into_one_answer_come_with_the_next_polls(live_house):
    house = live_house
    await house.people(1)
    await notify(house, 1, *(str(number) for number in range(48)), data={"text": "y" * 16_000})
    cursor, heard, sizes = "1~u0.1", [], []
    while len(heard) < 48:
        answer = await poll(house, 1, cursor, wait=0)
        data = answer.json()["data"]
        heard += [event["useq"] for event in data["events"] if event["type"] == "notification"]
        cursor = data["cursor"]
        assert useq_in(cursor) == heard[-1]
        sizes.append(len(answer.body))
    assert heard == list(range(1, 49))
    assert len(sizes) > 3
    assert max(sizes) < 2 * POLL_BYTES_MAX


async def test_a_poll_is_answered_when_the_user_is_told_something(live_house):
    house = live_house
    await house.people(1, 2)
    room = await house.conversation(2, 1)
    await stored_by_coming(house, 1, 1)
    _, cursor = await polled(house, 1)
    answers = []
    async with open_sockets() as nursery:

        async def ask():
            answers.append(await polled(house, 1, cursor, wait=20))

        nursery.start_soon(ask)
        await wait_until(lambda: not house.house.engine.connections_of(1) and "the poll")
        await notify(house, 1, "now")
        await wait_until(lambda: not answers and "the answer", 5)
    ((events, cursor),) = answers
    assert personal(events) == [(2, "notification")]
    assert (useq_in(cursor), rooms_in(cursor)) == (2, f"1~{room}.0.1")


@pytest.mark.parametrize("user", [{"useq": 1, "epoch": 1}, None])
async def test_a_hostile_place_in_the_users_stream_is_refused_on_a_socket(live_house, user):
    await live_house.people(1)
    async with open_sockets() as nursery:
        for cursor in ("1~u1", "1~u-1.1", "1~u1.1.1", "1~u9007199254740992.1", "1~1.1.1~u1.1", "1~u1.1~u1.1"):
            sock = await Socket.open(nursery, live_house, 1)
            resume = {"cursor": cursor} | ({"user": user} if user else {})
            reply = await sock.ask("start", resume=resume)
            assert (reply["type"], reply["data"]["code"]) == ("error", 1002), reply
