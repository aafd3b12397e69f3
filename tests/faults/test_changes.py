"""Edits and deletions: in the order of seq, without a hole, on every path; and what was erased leaves by none."""

import json
import random
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
from first_look import first_look_is_over
from house_fixture import open_house_under_test
from postgres_proxy import open_proxy
from streams import Stream, polled
from wire import Socket, open_sockets, wait_until

LOG = ("message", "message_edited", "message_deleted", "skip")


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms, **data)
    return sock


async def page_of(nursery, house, user):
    page = await Socket.open(nursery, house, user, protocol=None)
    await page.expect("connected")
    await page.settle()
    return page


def log_of(sock):
    """(seq, type, words) of what was told of rooms."""
    return [(event["seq"], event["type"], event.get("data", {}).get("body")) for event in sock.of(*LOG)]


async def say(sock, room, body, **data):
    reply = await sock.ask("send", room, body=body, **data)
    assert reply["type"] == "ack", reply
    return reply["data"]["messageId"]


async def error_of(sock, kind, room, **data):
    reply = await sock.ask(kind, room, **data)
    assert reply["type"] == "error", reply
    return reply["data"]["error"]


@pytest.mark.parametrize("sockets_min", [200, 0])  # told one by one, and by the walk of a large room
async def test_a_change_is_told_to_all_in_its_place_and_in_every_replay(live_house, monkeypatch, sockets_min):
    monkeypatch.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", sockets_min)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        pages = [await page_of(nursery, live_house, user) for user in (1, 2)]
        first, second = await say(two, room, "helo"), await say(one, room, "a secret")
        edited = await two.ask("edit", room, message=first, body="hello")
        assert edited["data"] == {"messageId": first, "seq": 3, "ts": edited["data"]["ts"]}
        deleted = await one.ask("delete", room, message=second)
        assert deleted["data"]["seq"] == 4
        await say(two, room, "on we go")
        live = [
            (1, "message", "helo"),
            (2, "message", "a secret"),
            (3, "message_edited", "hello"),
            (4, "message_deleted", None),
            (5, "message", "on we go"),
        ]
        for sock in (one, two):
            await sock.expect("message", seq=5)
            assert log_of(sock) == live
        event = one.of("message_edited")[0]
        assert event["data"] == {"id": first, "of": 1, "sender": 2, "body": "hello"}
        assert one.of("message_deleted")[0]["data"] == {"id": second, "of": 2, "sender": 1, "by": 1}
        for page in pages:
            told = await page.expect("message", action="edited", messageId=first, conversationId=room)
            assert (told["content"], told["senderId"], told["seq"], told["data"]["content"]) == ("hello", 2, 3, "hello")
            told = await page.expect("message", action="deleted", messageId=second)
            assert (told["content"], told["seq"], told["changedBy"]) == ("", 4, 1)
        now = [(1, "message", "hello"), (2, "message", ""), *live[2:]]
        for forget in (False, True):  # from memory and from storage
            if forget:
                live_house.house.hub.channels[room].recent.clear()
            for after in range(5):
                back = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": after}}})
                assert log_of(back) == now[after:]
        whole = await ready(nursery, live_house, 1, resume={"rooms": {str(room): {"seq": 0}}})
        assert whole.of("message")[0]["data"]["edited"] == edited["data"]["ts"]
        assert whole.of("message")[1]["data"]["deleted"] == deleted["data"]["ts"]
        events, _ = await polled(live_house, 1, f"1~{room}.0.1")
        assert [(event["seq"], event["type"]) for event in events if "seq" in event] == [line[:2] for line in now]
        system = live_house.house.system
        system.kill(system.ref("room", room))  # what it knows is stored
        assert (await one.ask("delete", room, message=second))["data"]["duplicate"] is True
        assert (await two.ask("edit", room, message=first, body="hello"))["data"]["duplicate"] is True
        history = (await one.ask("history", room))["data"]
        assert [(item["seq"], item["body"]) for item in history["messages"]] == [(1, "hello"), (2, ""), (5, "on we go")]
        assert "changes" not in history
        after = (await one.ask("history", room, after=2))["data"]  # as who was told of a gap asks
        assert [item["seq"] for item in after["messages"]] == [5]
        assert [(item["seq"], item["change"], item["of"]) for item in after["changes"]] == [
            (3, "edited", 1),
            (4, "deleted", 2),
        ]


async def test_an_edit_of_what_was_deleted_since_is_told_without_words(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        message = await say(one, room, "SECRET one")
        await one.ask("edit", room, message=message, body="SECRET two")
        await one.ask("delete", room, message=message)
        for forget in (False, True):
            if forget:
                live_house.house.hub.channels[room].recent.clear()
            late = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 0}}})
            assert [line[1] for line in log_of(late)] == ["message", "message_edited", "message_deleted"]
            assert [event["data"].get("deleted") is not None for event in late.of(*LOG)] == [True, True, False]
            assert "SECRET" not in str(late.events)


async def test_only_who_said_it_edits_and_only_an_admin_of_a_group_deletes_what_others_said(live_house):
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3)
    other = await live_house.conversation(2, 3)
    pair = await live_house.conversation(1, 2, isGroup=False)
    async with open_sockets() as nursery:
        admin, two, three = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        four = await ready(nursery, live_house, 4)
        message = await say(two, room, "mine")
        assert await error_of(three, "edit", room, message=message, body="x") == "ACCESS_DENIED"
        assert await error_of(admin, "edit", room, message=message, body="x") == "ACCESS_DENIED"
        assert await error_of(three, "delete", room, message=message) == "ACCESS_DENIED"
        assert await error_of(four, "edit", room, message=message, body="x") == "NOT_MEMBER"
        assert await error_of(four, "delete", room, message=message) == "NOT_MEMBER"
        assert await error_of(two, "edit", other, message=message, body="x") == "MESSAGE_NOT_FOUND"
        assert await error_of(two, "edit", room, message=12345, body="x") == "MESSAGE_NOT_FOUND"
        assert await error_of(two, "edit", room, message=message, body="") == "INVALID_CONTENT"
        in_pair = await say(two, pair, "hello")
        assert await error_of(admin, "delete", pair, message=in_pair) == "ACCESS_DENIED"
        assert (await admin.ask("delete", room, message=message))["data"]["seq"] == 2
        assert (await two.expect("message_deleted"))["data"]["by"] == 1
        assert await error_of(two, "edit", room, message=message, body="x") == "MESSAGE_NOT_FOUND"
        assert log_of(three) == [(1, "message", "mine"), (2, "message_deleted", None)]


@pytest.mark.parametrize("house_settings", [{"message_edit_seconds": 1}])
async def test_the_window_of_edits_closes_and_that_of_deletions_does_not(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        message = await say(one, room, "x")
        assert (await one.ask("edit", room, message=message, body="y"))["type"] == "ack"
        await live_house.house.storage.postgres.transaction(
            lambda connection: connection.execute("update messages set created_at = created_at - interval '2 s'")
        )
        system = live_house.house.system
        system.kill(system.ref("room", room))
        reply = await one.ask("edit", room, message=message, body="z")
        assert (reply["data"]["code"], reply["data"]["error"]) == (3007, "EDIT_WINDOW_CLOSED")
        assert (await live_house.put(f"/api/messages/{message}", 1, {"content": "z"})).status == 400
        assert (await one.ask("delete", room, message=message))["type"] == "ack"


async def test_what_is_older_than_the_rooms_memory_is_changed_as_well_and_in_order(live_house):
    """Many commands in one frame: a deletion that waits for storage is not undone by the edit behind it."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        old = [await say(one, room, f"SECRET {number}", clientId=f"old {number}") for number in range(3)]
        for number in range(0, 300, 100):  # fewer than may wait for their answers
            for at in range(number, number + 100):
                command = await one.command("send", room, body=f"m{at}")
            await wait_until(lambda command=command: None if command in one.replies else "the ack")
        await two.expect("message", seq=303)
        await one.send(
            [
                {"type": "delete", "id": "d0", "room": room, "data": {"message": old[0]}},
                {"type": "edit", "id": "e0", "room": room, "data": {"message": old[0], "body": "back again"}},
                {"type": "edit", "id": "e1", "room": room, "data": {"message": old[1], "body": "better"}},
                {"type": "edit", "id": "e2", "room": room, "data": {"message": old[1], "body": "best"}},
                {"type": "delete", "id": "d2", "room": room, "data": {"message": old[2]}},
                {"type": "delete", "id": "d3", "room": room, "data": {"message": old[2]}},
            ]
        )
        await wait_until(lambda: None if "d3" in one.replies else "the answers")
        answers = {name: one.replies[name]["data"] for name in ("d0", "e0", "e1", "e2", "d2", "d3")}
        assert answers["e0"]["error"] == "MESSAGE_NOT_FOUND"
        assert [answers[name]["seq"] for name in ("d0", "e1", "e2", "d2", "d3")] == [304, 305, 306, 307, 307]
        assert answers["d3"]["duplicate"] is True
        await two.expect("message_deleted", seq=307)
        changed = [line for line in log_of(two) if line[0] > 303]
        assert [line[1:] for line in changed] == [
            ("message_deleted", None),
            ("message_edited", "better"),
            ("message_edited", "best"),
            ("message_deleted", None),
        ]
        again = await one.ask("send", room, body="other words", clientId="old 0")
        assert (again["data"]["messageId"], again["data"]["duplicate"]) == (old[0], True)
        rows = await live_house.house.storage.conversations.messages_after(room, 1, 0, 3)
        assert [row.content for row in rows] == ["", "best", ""]


async def test_a_change_by_who_is_blocked_is_skipped_like_what_they_say(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        blocker, blocked, third = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        page = await page_of(nursery, live_house, 1)
        first, second = await say(blocked, room, "one"), await say(blocked, room, "two")
        await blocker.expect("message", seq=2)
        await blocker.ask("block", user=2)
        position = await page.settle()
        await blocked.ask("edit", room, message=first, body="NOT FOR ONE")
        await blocked.ask("delete", room, message=second)
        await third.expect("message_deleted", seq=4)
        await blocker.expect("skip", seq=4)
        assert log_of(blocker)[2:] == [(3, "skip", None), (4, "skip", None)]
        for forget in (False, True):
            if forget:
                live_house.house.hub.channels[room].recent.clear()
            back = await ready(nursery, live_house, 1, resume={"rooms": {str(room): {"seq": 0}}})
            assert log_of(back) == [(seq, "skip", None) for seq in range(1, 5)]
        history = (await blocker.ask("history", room, after=0))["data"]
        assert (history["messages"], history["skip"], "changes" in history) == ([], [1, 2, 3, 4], False)
        await page.settle()
        assert "NOT FOR ONE" not in str([*blocker.events, *page.events])
        assert not [event for event in page.events[position:] if event["type"] == "message"]
        # An admin who blocks somebody may still take away what they said.
        assert (await live_house.delete(f"/api/messages/{first}", 1)).status == 200
        assert (await third.expect("message_deleted", seq=5))["data"] == {"id": first, "of": 1, "sender": 2, "by": 1}


async def test_over_http(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    sent = await live_house.post(f"/api/conversations/{room}/messages", 2, {"content": "helo"}, Idempotency_Key="k")
    message = sent.data["messageId"]
    address = f"/api/messages/{message}"
    async with open_sockets() as nursery:
        page = await page_of(nursery, live_house, 1)
        edited = await live_house.put(address, 2, {"content": "hello"}, Idempotency_Key="e")
        assert edited.status == 200
        row = edited.data["message"]
        assert (row["content"], row["is_edited"], row["isEdited"], row["seq"]) == ("hello", True, True, 1)
        assert row["updated_at"] == row["edited_at"] >= row["created_at"]
        assert (await page.expect("message", action="edited"))["content"] == "hello"
        for other, status, code in ((1, 400, "BAD_REQUEST"), (3, 404, "MESSAGE_NOT_FOUND")):
            refused = await live_house.put(address, other, {"content": "x"})
            assert (refused.status, refused.code) == (status, code)
        assert (await live_house.put(address, 2, {"content": ""})).status == 400
        assert (await live_house.put(address, 2, {})).status == 400
        assert (await live_house.put("/api/messages/77", 2, {"content": "x"})).status == 404
        assert (await live_house.delete(address, 3)).status == 404
        again = await live_house.post(
            f"/api/conversations/{room}/messages", 2, {"content": "helo"}, Idempotency_Key="k"
        )
        assert (again.headers["Idempotency-Replay"], again.data["message"]["content"]) == ("true", "hello")
        conversation = (await live_house.get("/api/conversations", 1)).data["conversations"][0]
        assert (conversation["last_message"], conversation["unread_count"]) == ("hello", 1)
        gone = await live_house.delete(address, 2, Idempotency_Key="d")
        assert (gone.status, gone.data["deleted"], gone.data["seq"]) == (200, True, 3)
        assert (await live_house.delete(address, 2)).data["seq"] == 3
        assert (await live_house.delete(address, 2, Idempotency_Key="d")).headers["Idempotency-Replay"] == "true"
        assert (await page.expect("message", action="deleted"))["messageId"] == message
        # A repeated edit, which was done before the deletion, says nothing of it.
        replay = await live_house.put(address, 2, {"content": "hello"}, Idempotency_Key="e")
        assert (replay.status, replay.data["message"]["content"], replay.data["message"]["is_deleted"]) == (
            200,
            "",
            True,
        )
        assert (await live_house.put(address, 2, {"content": "back"})).status == 404
        conversation = (await live_house.get("/api/conversations", 1)).data["conversations"][0]
        assert (conversation["last_message"], conversation["unread_count"]) == (None, 0)
        assert (await live_house.get("/api/messages/unread-count", 1)).data["unreadCount"] == 0


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 4}])  # to make the room is one
async def test_an_edit_counts_as_a_message_and_one_that_changes_nothing_does_not(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        message = await say(one, room, "a")
        for body in ("b", "b", "b", "c"):
            assert (await one.ask("edit", room, message=message, body=body))["type"] == "ack"
        assert await error_of(one, "edit", room, message=message, body="d") == "RATE_LIMITED"
        refused = await live_house.put(f"/api/messages/{message}", 1, {"content": "d"})
        assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
        assert (await one.ask("delete", room, message=message))["type"] == "ack"


# -- what was erased --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_what_was_erased_leaves_by_no_path(live_house, seed):
    """Random sends, edits and deletions; then everything that can be asked for is, from memory and from storage."""
    chance = random.Random(seed)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2, open=True)
    says, erased, secrets = {}, set(), iter(f"SECRET-{number}-SECRET" for number in range(10_000))
    async with open_sockets() as nursery:
        await ready(nursery, live_house, 1, room)  # so that the hub holds what is said
        follower = await ready(nursery, live_house, 2)
        await follower.ask("join", room, mode="summary")
        for number in range(60):
            step, words = chance.choice("ssedd"), next(secrets)
            if step == "s" or not says:
                answer = await live_house.post(
                    f"/api/conversations/{room}/messages", 1, {"content": words}, Idempotency_Key=f"k{number}"
                )
                says[answer.data["messageId"]] = words
            else:
                message = chance.choice(list(says))
                erased.add(says[message])
                if step == "e":
                    await live_house.put(
                        f"/api/messages/{message}", 1, {"content": words}, Idempotency_Key=f"e{number}"
                    )
                    says[message] = words
                else:
                    await live_house.delete(f"/api/messages/{message}", 1)
                    del says[message]
            if chance.random() < 0.1:
                await live_house.post("/api/conversations", 1, {"recipientId": 2}, Idempotency_Key="pair")
            if chance.random() < 0.1:
                await live_house.post(f"/api/conversations/{room}/join", 2, Idempotency_Key="enter")
            if chance.random() < 0.1:
                await polls_of(live_house, room)  # what they keep is asked for again below
        for forget in (False, True):
            if forget:
                system = live_house.house.system
                system.kill(system.ref("room", room))
                live_house.house.hub.channels[room].recent.clear()
            found = await everything(nursery, live_house, room)
            assert not [words for words in erased if words in found]
            assert all(words in found for words in says.values())
        await trio.sleep(1.1)  # a summary is told once a second
        last = follower.of("room_summary")[-1]["data"]["last"]
        assert last["body"] in {"", *says.values()}
        stored = await whole_database(live_house)
        assert not [words for words in erased if words in stored]
        assert len(erased) > 10


async def polls_of(house, room):
    answers = [
        await house.get("/api/poll/all", 2),
        await house.get("/api/poll/messages", 2),
        await house.get("/api/poll/messages", 2, conversation=room),
        await house.get("/api/poll/messages", 1, conversation=room),
    ]
    return "".join(json.dumps(answer.json) for answer in answers)


async def everything(nursery, house, room):
    """All that can be asked for, as one text."""
    found = await polls_of(house, room)
    for user in (1, 2):
        late = await ready(nursery, house, user, resume={"rooms": {str(room): {"seq": 0}}})
        found += json.dumps(late.events)
        for where in ({}, {"after": 0}, {"around": 20}):
            found += json.dumps(await late.ask("history", room, limit=200, **where))
        found += json.dumps((await polled(house, user, f"1~{room}.0.1"))[0])
        stream = await Stream.open(nursery, house, user, f"1~{room}.0.1")
        await stream.expect("live")
        found += json.dumps(stream.events)
        stream.cut()
        for address in (
            f"/api/conversations/{room}/messages?limit=200",
            f"/api/conversations/{room}/messages?limit=200&after_seq=0",
            f"/api/conversations/{room}",
            "/api/conversations",
            f"/api/messages/{room}?limit=200",
        ):
            answer = await house.get(address, user)
            assert answer.status == 200
            found += json.dumps(answer.json)
    again = await house.post("/api/conversations", 1, {"recipientId": 2}, Idempotency_Key="pair")
    entered = await house.post(f"/api/conversations/{room}/join", 2, Idempotency_Key="enter")
    return found + json.dumps([again.json, entered.json])


async def whole_database(house):
    async def run(connection):
        names = await connection.fetch("select relname from pg_stat_user_tables")
        tables = [await connection.fetch(f'select t::text from "{name[0]}" t') for name in names]
        return "\n".join(row[0] for rows in tables for row in rows)

    return await house.house.storage.postgres.transaction(run)


async def test_a_page_that_was_read_before_a_deletion_is_read_again(live_house, monkeypatch):
    """A peer that takes nothing waits in the midst of its replay; what is erased meanwhile is not told to it."""
    monkeypatch.setattr("greenroom.http.ws.replay.UNSENT_BYTES_MAX", 1)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        messages = [await say(one, room, f"{number} SECRET " + "x" * 9000) for number in range(60)]
        live_house.house.hub.channels[room].recent.clear()
        late = await Socket.open(nursery, live_house, 2, receive_buffer=4096)
        late.on_event = lambda event: late.stop_reading() if event.get("seq") == 1 else None
        await late.command("start", resume={"rooms": {str(room): {"seq": 0}}})
        await late.expect("message", seq=1)
        await trio.sleep(0.3)
        await one.ask("delete", room, message=messages[-1])
        late.read_again()
        await late.expect("message_deleted", seq=61)
        assert [event["seq"] for event in late.of("message")] == list(range(1, 61))
        last = late.of("message")[-1]["data"]
        assert (last["body"], "deleted" in last) == ("", True)


# -- the world's faults -----------------------------------------------------------------------------------------------


@asynccontextmanager
async def room_behind_a_proxy(database, folder):
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(replace(database, host=str(proxy.folder)), folder, listens=True) as house,
    ):
        await house.people(1, 2)
        room = await house.conversation(1, 2)
        await first_look_is_over(house)
        async with open_sockets() as nursery:
            one, two = await ready(nursery, house, 1, room), await ready(nursery, house, 2, room)
            for sock in (one, two):
                await sock.expect("membership")  # nothing else is on its way to storage
            yield proxy, house, room, nursery, one, two


async def until_known(sock, kind, room, **data):
    while (reply := await sock.ask(kind, room, **data))["type"] == "error":
        assert reply["data"]["recoverable"], reply
    return reply["data"]


@pytest.mark.parametrize("lost", ["answer", "question"])
async def test_a_change_whose_commit_is_unknown_is_told_once_and_may_be_asked_for_again(database, tmp_path, lost):
    async with room_behind_a_proxy(database, tmp_path) as (proxy, house, room, nursery, one, two):
        first, second = await say(one, room, "one"), await say(one, room, "two")
        (proxy.lose_answer_to if lost == "answer" else proxy.lose_question)(b"COMMIT")
        reply = await one.ask("delete", room, message=first)
        assert (reply["type"], reply["data"]["error"]) == ("error", "STORAGE_UNAVAILABLE")
        assert proxy.lost.is_set()
        assert (await until_known(one, "edit", room, message=second, body="2"))["seq"] == (4 if lost == "answer" else 3)
        again = await until_known(one, "delete", room, message=first)
        assert bool(again.get("duplicate")) is (lost == "answer")
        changes = [("message_deleted", None), ("message_edited", "2")]
        expected = [(3 + at, *change) for at, change in enumerate(changes if lost == "answer" else changes[::-1])]
        for sock in (one, two):
            await wait_until(lambda sock=sock: log_of(sock)[2:] != expected and (log_of(sock), expected), 3)
        for after in range(5):
            late = await ready(nursery, house, 2, resume={"rooms": {str(room): {"seq": after}}})
            assert [line[0] for line in log_of(late)] == list(range(after + 1, 5))
