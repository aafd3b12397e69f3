"""What is said of a message besides its words: told alike on every path, of the room's own messages, erased with it."""

import json
from contextlib import asynccontextmanager

import pytest
from streams import polled
from wire import Socket, open_sockets

FIELDS = ("kind", "format", "replyTo", "thread", "mentions")


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms, **data)
    return sock


@asynccontextmanager
async def two_in_a_room(house, *more):
    """(the nursery, the room, a socket of each of 1 and 2)."""
    await house.people(1, 2, *more)
    room = await house.conversation(1, 2, *more)
    async with open_sockets() as nursery:
        yield nursery, room, await ready(nursery, house, 1, room), await ready(nursery, house, 2, room)


async def say(sock, room, body, **data):
    reply = await sock.ask("send", room, body=body, **data)
    assert reply["type"] == "ack", reply
    return reply["data"]["messageId"]


async def refused(sock, room, **data):
    reply = await sock.ask("send", room, body="x", **data)
    assert reply["type"] == "error", reply
    return reply["data"]["code"], reply["data"]["recoverable"]


def details_in(data):
    return {key: data[key] for key in FIELDS if key in data}


async def kill_room(house, room):
    system = house.house.system
    system.kill(system.ref("room", room))


async def test_details_are_told_alike_live_in_every_replay_in_pages_and_over_rest(live_house):
    async with two_in_a_room(live_house) as (nursery, room, one, two):
        page = await Socket.open(nursery, live_house, 2, protocol=None)
        await page.expect("connected")
        await page.settle()
        root = await say(one, room, "who comes?")
        given = {
            "kind": "poll.v1",
            "format": "markdown",
            "replyTo": root,
            "thread": str(root),
            "mentions": [2, "1", 2, 99],
        }
        answer = await say(one, room, "**me**", **given)
        place = {"id": root, "seq": 1}
        expected = {"kind": "poll.v1", "format": "markdown", "replyTo": place, "thread": place, "mentions": [1, 2]}
        for sock in (one, two):
            assert details_in((await sock.expect("message", seq=2))["data"]) == expected
        told = await page.expect("new_message", messageId=answer)
        assert details_in(told) == details_in(told["data"]) == expected
        for forget in (False, True):  # from memory and from storage
            if forget:
                live_house.house.hub.channels[room].recent.clear()
                await kill_room(live_house, room)
            back = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 0}}})
            assert [details_in(event["data"]) for event in back.of("message")] == [{}, expected]
        events, _ = await polled(live_house, 1, f"1~{room}.0.1")
        assert [details_in(event["data"]) for event in events if event["type"] == "message"] == [{}, expected]
        items = (await two.ask("history", room))["data"]["messages"]
        assert [details_in(item) for item in items] == [{}, expected]
        rows = (await live_house.get(f"/api/conversations/{room}/messages", 2)).data["messages"]
        assert [row["message_type"] for row in rows] == ["text", "poll.v1"]
        assert [row["replyTo"] for row in rows] == [row["reply_to"] for row in rows] == [None, place]
        assert (rows[0]["mentions"], rows[1]["mentions"], rows[1]["format"]) == ([], [1, 2], "markdown")
        await one.ask("edit", room, message=answer, body="*me*")  # other words, the same answer
        items = (await two.ask("history", room))["data"]["messages"]
        assert [details_in(item) for item in items] == [{}, expected]


async def test_what_is_usual_is_not_told(live_house):
    async with two_in_a_room(live_house) as (_, room, one, two):
        await say(one, room, "hello", kind="text", format="plain", replyTo=None, thread=None, mentions=[])
        assert details_in((await two.expect("message", seq=1))["data"]) == {}


async def test_rest_sends_them_too_and_a_duplicate_tells_them_again(live_house):
    async with two_in_a_room(live_house) as (_, room, one, two):
        root = await say(one, room, "who comes?")
        body = {"content": "me", "clientId": "c", "parentMessageId": root, "messageType": "text", "mentions": [2]}
        first = await live_house.post(f"/api/conversations/{room}/messages", 1, body)
        again = await live_house.post(f"/api/conversations/{room}/messages", 1, body)
        for answer in (first, again):
            assert answer.status == 201, answer.json
            row = answer.data["message"]
            assert (row["replyTo"], row["mentions"], row["thread"]) == ({"id": root, "seq": 1}, [2], None)
        assert again.headers["Idempotency-Replay"] == "true"
        assert details_in((await two.expect("message", seq=2))["data"]) == {
            "replyTo": {"id": root, "seq": 1},
            "mentions": [2],
        }
        for wrong in ({"messageType": "Not A Kind"}, {"format": ""}, {"mentions": [0]}, {"replyTo": "x"}):
            answer = await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"} | wrong)
            assert (answer.status, answer.code) == (400, "VALIDATION"), wrong
        answer = await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "x", "replyTo": 4})
        assert (answer.status, answer.code) == (404, "MESSAGE_NOT_FOUND")


@pytest.mark.parametrize("forget", [False, True])  # the room remembers the messages, or asks storage
async def test_only_messages_of_this_room_are_named_and_a_thread_by_the_one_that_began_it(live_house, forget):
    async with two_in_a_room(live_house, 3) as (_, room, one, two):
        elsewhere = await live_house.conversation(1, 3)
        await one.ask("join", elsewhere)
        foreign = await say(one, elsewhere, "not for 2")
        root = await say(one, room, "root")
        inside = await say(one, room, "inside", thread=root)
        edit = await one.ask("edit", room, message=root, body="the root")
        assert edit["data"]["seq"] == 3
        for wrong in (foreign, 2**53 - 1):
            if forget:
                await kill_room(live_house, room)
            assert await refused(two, room, replyTo=wrong) == (3002, False)
            assert await refused(two, room, thread=wrong) == (3002, False)
            assert await refused(two, room, thread=root, replyTo=wrong) == (3002, False)
        if forget:
            for number in range(260):  # out of the ring
                await say(one, room, str(number))
            await kill_room(live_house, room)
        assert await refused(two, room, thread=inside) == (1005, False)
        assert details_in((await two.ask("history", room, limit=1))["data"]["messages"][0]) == (
            {} if forget else {"thread": {"id": root, "seq": 1}}
        )
        last = await say(two, room, "both", thread=root, replyTo=inside)
        event = await one.expect("message", body="both", sender=2)
        assert details_in(event["data"]) == {"replyTo": {"id": inside, "seq": 2}, "thread": {"id": root, "seq": 1}}
        thread = (await two.ask("history", room, thread=root))["data"]
        assert [item["id"] for item in thread["messages"]] == [inside, last]
        for wanted, ids in (
            ({"after": 2}, [last]),
            ({"before": event["seq"]}, [inside]),
            ({"after": event["seq"]}, []),
        ):
            page = (await two.ask("history", room, thread=root, **wanted))["data"]
            assert [item["id"] for item in page["messages"]] == ids
        reply = await two.ask("history", room, thread=root, around=2)
        assert reply["data"]["code"] == 1002


async def test_a_message_that_is_named_in_the_same_breath_is_found(live_house):
    """Pipelined: the second names what the first has not stored yet; the id of a first is known only by its ack."""
    async with two_in_a_room(live_house) as (_, room, one, two):
        root = await say(one, room, "root")
        for number in range(20):
            await one.command("send", room, body=f"a{number}", thread=root, mentions=[1, 2])
        for number in range(20):
            event = await two.expect("message", seq=number + 2)
            assert (event["data"]["body"], event["data"]["thread"]) == (f"a{number}", {"id": root, "seq": 1})


@pytest.mark.parametrize(
    "wrong",
    [
        {"kind": "Poll"},
        {"kind": "system"},
        {"kind": "a" * 33},
        {"kind": "a\n"},
        {"kind": 'a"b'},
        {"format": ""},
        {"format": 7},
        {"replyTo": 0},
        {"replyTo": -1},
        {"replyTo": "x"},
        {"replyTo": 1.5},
        {"thread": [1]},
        {"mentions": 2},
        {"mentions": [None]},
        {"mentions": list(range(1, 52))},
    ],
    ids=json.dumps,
)
async def test_what_cannot_be_understood_is_refused_and_changes_nothing(live_house, wrong):
    async with two_in_a_room(live_house) as (_, room, one, _):
        assert await refused(one, room, **wrong) == (1002, False)
        assert await say(one, room, "on we go")
        assert (await one.ask("history", room))["data"]["top"] == 1


async def test_the_same_client_id_with_other_details_is_another_message(live_house):
    async with two_in_a_room(live_house) as (_, room, one, _):
        first = await say(one, room, "x", clientId="c", mentions=[2])
        for forget in (False, True):
            if forget:
                await kill_room(live_house, room)
            assert await say(one, room, "x", clientId="c", mentions=["2"]) == first
            reply = await one.ask("send", room, body="x", clientId="c")
            assert reply["data"]["code"] == 3010
            reply = await one.ask("send", room, body="x", clientId="c", mentions=[1, 2])
            assert reply["data"]["code"] == 3010


async def test_a_deletion_erases_them_and_the_thread_keeps_the_place(live_house):
    async with two_in_a_room(live_house) as (nursery, room, one, two):
        root = await say(one, room, "root")
        secret = await say(one, room, "x", kind="secret.kind", thread=root, replyTo=root, mentions=[2])
        await one.ask("delete", room, message=secret)
        assert await say(two, room, "an answer", replyTo=secret)  # to what is not there any more: its place is
        for forget in (False, True):
            if forget:
                live_house.house.hub.channels[room].recent.clear()
                await kill_room(live_house, room)
            back = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 0}}})
            assert [details_in(event["data"]) for event in back.of("message")] == [
                {},
                {},
                {"replyTo": {"id": secret, "seq": 2}},
            ]
            assert "secret.kind" not in json.dumps(back.events)
        thread = (await two.ask("history", room, thread=root))["data"]["messages"]
        assert [(item["id"], item["body"], "deleted" in item, details_in(item)) for item in thread] == [
            (secret, "", True, {})
        ]

        async def run(connection):
            return await connection.fetchval("select count(*) from messages where details like '%secret%'")

        assert await live_house.house.storage.postgres.transaction(run) == 0


async def test_summaries_and_ready_count_those_that_mention_the_user(live_house):
    async with two_in_a_room(live_house, 3) as (nursery, room, one, two):
        follower = await ready(nursery, live_house, 3)
        item = (await follower.ask("join", room, mode="summary"))["data"]
        assert item["mention"] == 0
        for body, mentions in (("a", [3]), ("b", [2]), ("c", [1, 3]), ("d", [])):
            last = await say(one, room, body, mentions=mentions)
        told = await follower.expect("room_summary", unread=4)
        assert told["data"]["mention"] == 2
        assert (await two.ask("join", room))["data"]["mention"] == 1
        await kill_room(live_house, room)
        late = await Socket.open(nursery, live_house, 3)
        (item,) = (await late.start(room))["data"]["rooms"]
        assert (item["unread"], item["mention"]) == (4, 2)
        await follower.ask("read", room, seq=1)
        told = await follower.expect("room_summary", unread=3)
        assert told["data"]["mention"] == 1
        await one.ask("delete", room, message=last)
        await follower.ask("block", user=1)
        assert (await late.ask("join", room))["data"]["mention"] == 0


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 3}])  # to make the room is one
@pytest.mark.parametrize("forget", [False, True])
async def test_what_was_stored_is_answered_again_over_the_limit_with_its_details(live_house, forget):
    async with two_in_a_room(live_house) as (_, room, one, _):
        root = await say(one, room, "root")
        given = {"replyTo": root, "thread": root, "mentions": [2], "kind": "poll", "clientId": "c"}
        first = await say(one, room, "x", **given)
        assert await refused(one, room, clientId="d", replyTo=root) == (4291, True)
        if forget:
            await kill_room(live_house, room)
        assert await say(one, room, "x", **given) == first
        body = {"content": "x", "messageType": "poll"} | given
        again = await live_house.post(f"/api/conversations/{room}/messages", 1, body)
        assert (again.status, again.data["messageId"]) == (201, first)


async def test_who_is_not_a_member_is_refused_before_anything_is_asked_for_them(live_house, monkeypatch):
    async with two_in_a_room(live_house, 3) as (_, room, one, _):
        root = await say(one, room, "root")
        assert (await live_house.delete(f"/api/conversations/{room}/participants/3", 1)).status == 200

        async def asked(*_):
            raise AssertionError("storage was asked for a stranger")

        for name in ("sent_before", "message_to_change"):
            monkeypatch.setattr(live_house.house.storage.conversations, name, asked)
        for details in ({"replyTo": 999}, {"replyTo": 999, "thread": 998, "clientId": "c"}, {"replyTo": root}):
            answer = await live_house.post(f"/api/conversations/{room}/messages", 3, {"content": "x"} | details)
            assert (answer.status, answer.code) == (403, "FORBIDDEN")


@pytest.mark.parametrize("forget", [False, True])
async def test_a_message_of_a_thread_begins_none_also_when_it_is_deleted(live_house, forget):
    async with two_in_a_room(live_house) as (_, room, one, two):
        root = await say(one, room, "root")
        inside = await say(one, room, "inside", thread=root)
        await one.ask("delete", room, message=inside)
        if forget:
            await kill_room(live_house, room)
        assert await refused(two, room, thread=inside) == (1005, False)
        await one.ask("delete", room, message=root)  # what goes on in its thread may
        assert await say(two, room, "on we go", thread=root)
