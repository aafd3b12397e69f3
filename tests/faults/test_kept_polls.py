"""What a poll keeps for its answer: it says nothing that was erased meanwhile, and counts with all that waits."""

import json
from contextlib import asynccontextmanager

import pytest
from held import holding_table
from streams import messages, polled
from wire import Socket, open_sockets, wait_until

from greenroom.http.streams import connection as streams
from greenroom.http.streams.connection import POLL_FEW_BYTES
from greenroom.http.ws import events, outboxes
from greenroom.storage.postgres.user_streams import Standing


@pytest.fixture
def patient_polls(monkeypatch):
    """News waits longer for company than anything here takes."""
    monkeypatch.setattr(streams, "POLL_SECONDS_MIN", 20.0)
    monkeypatch.setattr(streams, "EPHEMERAL_SECONDS", 20.0)


@asynccontextmanager
async def one_speaks_and_two_polls(house):
    """(a socket of user 1, the room, answers of the poll of user 2: none yet)."""
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, house, 1)
        await sock.start(room)
        _, cursor = await polled(house, 2, wait=0)
        answers = []

        async def ask():
            answers.append((await polled(house, 2, cursor))[0])

        nursery.start_soon(ask)
        await wait_until(lambda: not is_live(house, 2) and "the poll")
        yield sock, room, answers


def is_live(house, user):
    return [one for one in house.house.engine.connections_of(user) if one._is_live and not one.is_closing]


async def said(sock, room, body):
    reply = await sock.ask("send", room, body=body)
    return reply["data"]["messageId"]


async def test_what_was_erased_before_the_answer_is_not_in_it(live_house, patient_polls):
    async with one_speaks_and_two_polls(live_house) as (sock, room, answers):
        await said(sock, room, "good morning")
        erased = await said(sock, room, "SECRET")
        (connection,) = is_live(live_house, 2)
        await wait_until(lambda: b"SECRET" not in b"".join(connection._events) and "what the poll keeps")
        await sock.ask("edit", room, message=erased, body="SECRET still")
        await sock.ask("delete", room, message=erased)
        connection.close_with(1000)
        await wait_until(lambda: not answers and "the answer")
        (told,) = answers
        assert "SECRET" not in json.dumps(told)
        assert messages(told) == [(room, 1), (room, 2)]
        log = [(event["seq"], event["type"], event["data"].get("body", "")) for event in told if "seq" in event]
        assert log == [
            (1, "message", "good morning"), (2, "message", ""), (3, "message_edited", ""), (4, "message_deleted", ""),
        ]  # fmt: skip


async def test_older_changes_that_were_read_from_storage_say_nothing_either_that_was_erased(live_house, patient_polls):
    """The channel remembers them no more: what the poll keeps is all that there is of them."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        erased, edited, other = [await said(sock, room, f"SECRET {number}") for number in range(3)]
        for message, body in ((erased, "SECRET too"), (edited, "SECRET still"), (other, "it stays")):
            await sock.ask("edit", room, message=message, body=body)
            await sock.ask("react", room, message=message, reaction="eyes")
        live_house.house.hub.channels[room].recent.clear()
        answers = []

        async def ask():
            answers.append((await polled(live_house, 2, f"1~{room}.0.1"))[0])

        nursery.start_soon(ask)
        await wait_until(lambda: not is_live(live_house, 2) and "the poll")
        (connection,) = is_live(live_house, 2)
        assert b"SECRET too" in b"".join(connection._events)
        await sock.ask("edit", room, message=edited, body="for good")
        await sock.ask("delete", room, message=erased)
        connection.close_with(1000)
        await wait_until(lambda: not answers and "the answer")
    (told,) = answers
    assert "SECRET" not in json.dumps(told)
    log = [(event["seq"], event["data"].get("body", event["data"].get("reaction"))) for event in told if "seq" in event]
    bodies = ["", "for good", "it stays"]
    changes = ["", "", "for good", "eyes", "it stays", "eyes"]
    assert log == list(enumerate([*bodies, *changes, "for good", None], 1))
    of_erased = [event["data"] for event in told if "seq" in event and event["data"].get("of", event["seq"]) == 1]
    assert ["deleted" in data for data in of_erased] == [True, True, True, False], "the last one is the deletion"


async def test_what_polls_keep_is_counted_and_told_early_when_too_much_waits(live_house, patient_polls, monkeypatch):
    waiting = live_house.house.engine.outboxes
    async with one_speaks_and_two_polls(live_house) as (sock, room, answers):
        await said(sock, room, "few")
        (connection,) = is_live(live_house, 2)
        await wait_until(lambda: len(connection._events) < 4 and "the first message")
        assert waiting.bytes == 0
        for _ in range(2):
            await said(sock, room, "x" * 9_000)
        await wait_until(lambda: waiting.bytes < 18_000 and "both messages")
        assert waiting.bytes == connection.queued_bytes == sum(map(len, connection.queued()))
        monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", waiting.bytes + 10_000)
        assert waiting.is_crowded
        assert answers == []
        await said(sock, room, "now")
        await wait_until(lambda: not answers and "the answer")
        assert [seq for _, seq in messages(answers[0])] == [1, 2, 3, 4]
        await wait_until(lambda: waiting.bytes)


async def test_while_too_much_waits_a_poll_is_not_answered_for_what_every_start_says(
    live_house, patient_polls, monkeypatch
):
    """Of who is in hundreds of rooms that is long: it would be answered at once each time, and tell nothing."""
    waiting = live_house.house.engine.outboxes
    async with one_speaks_and_two_polls(live_house) as (sock, room, _), open_sockets() as nursery:
        await live_house.people(3)
        other = await live_house.conversation(1, 3)
        _, cursor = await polled(live_house, 3, wait=0)
        for _ in range(2):
            await said(sock, room, "x" * 9_000)
        await wait_until(lambda: waiting.bytes < 18_000 and "both messages")
        monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", waiting.bytes + 10_000)
        monkeypatch.setattr(streams, "POLL_FEW_BYTES", 800)
        answers = []

        async def ask():
            answers.append((await polled(live_house, 3, cursor))[0])

        nursery.start_soon(ask)
        await wait_until(lambda: not answers and not is_live(live_house, 3) and "the poll")
        assert answers == []
        (connection,) = is_live(live_house, 3)
        assert connection._bytes > 800
        assert waiting.is_crowded
        said_there = await live_house.post(f"/api/conversations/{other}/messages", 1, {"content": "x" * 1_000})
        assert said_there.status == 201
        await wait_until(lambda: not answers and "the answer")
        assert messages(answers[0]) == [(other, 1)]


async def test_what_every_start_says_fills_no_poll_before_the_stream_of_its_user_is_read(
    live_house, database, monkeypatch
):
    """However long it is: else it would be answered without that, and each of the next polls again."""
    monkeypatch.setattr(streams, "POLL_BYTES_MAX", 800)
    monkeypatch.setattr(streams, "OUTBOX_BYTES_MAX", 800)
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    _, cursor = await polled(live_house, 1, wait=0)
    sent = await live_house.post("/api/notifications/send", 1, {"title": "news", "message": "m"})
    assert sent.status == 201, sent.json
    answers = []

    async def ask():
        answers.append((await polled(live_house, 1, cursor))[0])

    def has_started():
        return [one for one in live_house.house.engine.connections_of(1) if one.session.rooms and one._bytes > 800]

    async with open_sockets() as nursery:
        async with holding_table(database, "user_events"):
            nursery.start_soon(ask)
            await wait_until(lambda: not answers and not has_started() and "the poll")
            assert answers == []
        await wait_until(lambda: not answers and "the answer")
    assert [event["data"]["title"] for event in answers[0] if event["type"] == "notification"] == ["news"]


async def test_a_poll_that_is_given_up_gives_back_what_it_kept(live_house, patient_polls):
    async with one_speaks_and_two_polls(live_house) as (sock, room, _):
        await said(sock, room, "x" * 9_900)
        await wait_until(lambda: live_house.house.engine.outboxes.bytes < POLL_FEW_BYTES and "the message")
        for connection in is_live(live_house, 2):
            connection.abort()
        assert live_house.house.engine.outboxes.bytes == 0


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 0}])
async def test_an_edit_costs_the_same_however_often_the_message_was_edited_before(live_house, monkeypatch):
    """The frames of the edits before hold the whole message each, and nobody asks for them."""
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        edited = await said(sock, room, "first")
        made, make = [], events.v1_stored

        def count(*given):
            made.append(given)
            return make(*given)

        monkeypatch.setattr(events, "v1_stored", count)
        costs = []
        for number in range(40):
            made.clear()
            await sock.ask("edit", room, message=edited, body=f"edit {number}")
            costs.append(len(made))
        assert max(costs) == costs[0], costs
        late = await Socket.open(nursery, live_house, 1)
        await late.start(resume={"rooms": {str(room): {"seq": 1}}})
        await late.expect("live")
        assert {event["data"]["body"] for event in late.of("message_edited")} == {"edit 39"}
        assert len(late.of("message_edited")) == 40


async def test_who_is_removed_is_told_at_once_what_was_said_before(live_house, patient_polls):
    """Of a deletion that comes after it they hear nothing, so that it could not take back what is kept for them."""
    async with one_speaks_and_two_polls(live_house) as (sock, room, answers):
        erased = await said(sock, room, "SECRET")
        (connection,) = is_live(live_house, 2)
        await wait_until(lambda: b"SECRET" not in b"".join(connection._events) and "what the poll keeps")
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        assert connection.is_closing
        await sock.ask("delete", room, message=erased)
        await wait_until(lambda: not answers and "the answer")
        (told,) = answers
        log = [
            (event["type"], event["data"].get("body", "")) for event in told if event["type"] in ("message", "member")
        ]
        assert log == [("message", "SECRET"), ("member", "")]


async def test_who_is_removed_from_a_room_of_which_nothing_is_kept_waits_for_company(live_house, patient_polls):
    """Who is taken out of many rooms would ask for the end of each."""
    async with one_speaks_and_two_polls(live_house) as (_, room, _):
        (connection,) = is_live(live_house, 2)
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        await wait_until(lambda: b'"left"' not in b"".join(connection._events) and "what the poll keeps")
        assert not connection.is_closing
        connection.close_with(1000)


async def test_what_somebody_said_whom_the_user_has_blocked_since_is_skipped(live_house, patient_polls):
    async with one_speaks_and_two_polls(live_house) as (sock, room, answers):
        own = await live_house.post(f"/api/conversations/{room}/messages", 2, {"content": "one's own"})
        hidden = await said(sock, room, "SECRET")
        await sock.ask("edit", room, message=hidden, body="SECRET still")
        await sock.ask("react", room, message=own.data["message"]["id"], reaction="SECRET")
        (connection,) = is_live(live_house, 2)
        await wait_until(lambda: b'"reaction"' not in b"".join(connection._events) and "what the poll keeps")
        assert (await live_house.post("/api/users/1/block", 2, {})).status == 200
        assert b"SECRET" not in b"".join(connection._events)
        connection.close_with(1000)
        await wait_until(lambda: not answers and "the answer")
        (told,) = answers
        log = [(event["seq"], event["type"]) for event in told if "seq" in event]
        assert log == [(1, "message"), (2, "skip"), (3, "skip"), (4, "skip")]


@pytest.mark.parametrize("is_told", [True, False], ids=["told", "found in storage"])
async def test_the_text_of_a_notification_that_was_deleted_before_the_answer_is_not_in_it(
    live_house, patient_polls, monkeypatch, is_told
):
    streams = live_house.house.sockets.streams
    await live_house.people(1)
    _, cursor = await polled(live_house, 1, wait=0)
    answers = []

    async def ask():
        answers.append((await polled(live_house, 1, cursor))[0])

    async def notify(title):
        return (await live_house.post("/api/notifications/send", 1, {"title": title, "message": "m"})).data["id"]

    async with open_sockets() as nursery:
        nursery.start_soon(ask)
        await wait_until(lambda: not is_live(live_house, 1) and "the poll")
        (connection,) = is_live(live_house, 1)
        gone, kept = await notify("SECRET"), await notify("it stays")
        await wait_until(lambda: b"it stays" not in b"".join(connection._events) and "what the poll keeps")
        if not is_told:  # as by a commit whose outcome nobody learned
            monkeypatch.setattr(streams, "tell", lambda *told: None)
        assert (await live_house.delete(f"/api/notifications/{gone}", 1)).status == 200
        if not is_told:
            assert streams.stands_at(1, Standing(3, 1), streams.version())
        await wait_until(lambda: b"".join(connection._events).count(b"notification_deleted") < 2 and "the deletion")
        connection.close_with(1000)
        await wait_until(lambda: not answers and "the answer")
    (told,) = answers
    assert "SECRET" not in json.dumps(told)
    stream = [(event["useq"], event["type"], event["data"].get("ids") or event["data"]["id"]) for event in told
              if "useq" in event and event["type"].startswith("notification")]  # fmt: skip
    assert stream == [
        (1, "notification_deleted", [gone]),
        (2, "notification", kept),
        (3, "notification_deleted", [gone]),
    ]
    assert [event["data"]["unread"] for event in told if event.get("useq", 0) > 0 and "data" in event][-3:] == [1, 2, 1]
