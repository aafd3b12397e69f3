"""Blocks: hidden on every path, without a hole; nothing between the two; and nobody else notices."""

import pytest
import trio
from held import holding, holding_table
from stalled import stalled_at
from wire import Socket, open_sockets, wait_until

from greenroom.actors.room.commands import Enter, LookAgain, RoomView, Send
from greenroom.runtime import Address, MailboxFull
from greenroom.storage.postgres.conversations import Conversations

HIDDEN = "not for who blocks"


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms, **data)
    return sock


async def block(house, user, other):
    answer = await house.post(f"/api/users/{other}/block", user, {"reason": "spam"})
    assert (answer.status, answer.data) == (200, {"blocked": True, "userId": other}), answer.json


def log_of(sock, room):
    return [(event["seq"], event["type"]) for event in sock.of("message", "skip") if event["room"] == room]


@pytest.mark.parametrize("sockets_min", [200, 0])  # told one by one, and by the walk of a large room
async def test_what_a_blocked_person_says_is_skipped_for_who_blocks_live_and_in_every_replay(
    live_house, monkeypatch, sockets_min
):
    monkeypatch.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", sockets_min)
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        blocker, blocked, third = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        other_page = await Socket.open(nursery, live_house, 3, protocol=None)
        await page.expect("connected")
        await other_page.expect("connected")
        await blocked.ask("send", room, body=HIDDEN)
        await blocker.expect("message", seq=1)
        assert (await blocker.ask("block", user=2))["data"] == {"user": 2, "blocked": True}
        position, page_position = await blocker.settle(), await page.settle()
        said = [await sock.ask("send", room, body=f"{HIDDEN if sock is blocked else 'x'}") for sock in (blocked, third)]
        said.append(await blocked.ask("send", room, body=HIDDEN))
        for sock in (blocker, blocked, third):
            await wait_until(lambda sock=sock: len(log_of(sock, room)) < 4 and log_of(sock, room))
        whole = [(seq, "message") for seq in range(1, 5)]
        assert log_of(third, room) == log_of(blocked, room) == whole
        seen = [(1, "message"), (2, "skip"), (3, "message"), (4, "skip")]
        assert log_of(blocker, room) == seen
        await other_page.expect("new_message", messageId=said[2]["data"]["messageId"])
        await page.expect("new_message", messageId=said[1]["data"]["messageId"], after=page_position)
        await page.settle()
        assert HIDDEN not in str([*blocker.events[position:], *page.events[page_position:]])
        # The same from memory, from storage, and over HTTP.
        seen[0] = (1, "skip")
        for forget in (False, True):
            if forget:
                live_house.house.hub.channels[room].recent.clear()
            back = await ready(nursery, live_house, 1, resume={"rooms": {str(room): {"seq": 0}}})
            assert log_of(back, room) == seen
            assert HIDDEN not in str(back.events)
        history = (await back.ask("history", room))["data"]
        assert ([one["seq"] for one in history["messages"]], history["skip"]) == ([3], [1, 2, 4])
        await hidden_over_http(live_house, room, [one["data"]["messageId"] for one in said])
        assert (await blocker.ask("unblock", user=2))["data"]["blocked"] is False
        again = await ready(nursery, live_house, 1, resume={"rooms": {str(room): {"seq": 0}}})
        assert log_of(again, room) == whole
        await blocked.ask("send", room, body="welcome back")
        await blocker.expect("message", seq=5)
        await page.expect("new_message", seq=5)


async def hidden_over_http(house, room, message_ids):
    listed = (await house.get(f"/api/conversations/{room}/messages", 1)).data["messages"]
    assert [row["seq"] for row in listed] == [3]
    assert [row["seq"] for row in (await house.get(f"/api/conversations/{room}", 1)).data["messages"]] == [3]
    assert [(await house.get(f"/api/messages/{one}", 1)).status for one in message_ids] == [404, 200, 404]
    conversation = (await house.get("/api/conversations", 1)).data["conversations"][0]
    assert (conversation["last_message"], conversation["unread_count"]) == ("x", 1)
    of_third = (await house.get("/api/conversations", 3)).data["conversations"][0]
    assert of_third["last_message"] == HIDDEN
    one = (await house.get(f"/api/conversations/{room}", 1)).data["conversation"]
    for seen in (conversation, one):  # not when there was something that is hidden
        assert seen["last_message_time"] == seen["updated_at"] == listed[0]["created_at"] < of_third["updated_at"]
    assert len((await house.get(f"/api/conversations/{room}/messages", 3)).data["messages"]) == 4


async def test_who_blocks_while_it_is_replayed_is_told_no_more_of_it(live_house):
    """A page of storage is on its way to somebody slow, as it was before the block."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    for number in range(80):
        sent = {"conversationId": room, "content": f"{number} {'x' * 9_990}", "clientId": f"c{number}"}
        assert (await live_house.post("/api/messages/send", 2, sent)).status == 200
    engine, channels = live_house.house.engine, live_house.house.hub.channels
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1, receive_buffer=4096)
        await sock.start(room)
        await sock.settle()
        sock.stop_reading()
        channels[room].recent.clear()
        await sock.send({"type": "sync", "id": "s", "data": {"rooms": {str(room): 0}}})
        (connection,) = engine.connections_of(1)
        at = await stalled_at(channels[room].attachments, connection)
        assert at < 80
        await block(live_house, 1, 2)
        sock.read_again()
        await wait_until(lambda: 80 - len(log_of(sock, room)))
        assert log_of(sock, room) == [(seq, "message" if seq <= at else "skip") for seq in range(1, 81)]


async def test_who_blocks_while_a_page_of_history_is_read_is_not_shown_what_it_hides(live_house, monkeypatch):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    read = Conversations.messages_before
    async with open_sockets() as nursery:
        blocker, blocked = [await ready(nursery, live_house, user, room) for user in (1, 2)]
        await blocked.ask("send", room, body=HIDDEN)
        await blocker.expect("message", seq=1)

        async def read_slowly(self, *args, **options):
            found = await read(self, *args, **options)
            await live_house.post("/api/users/2/block", 1, {})
            return found

        monkeypatch.setattr(Conversations, "messages_before", read_slowly)
        page = (await blocker.ask("history", room))["data"]
        assert (page["messages"], page["skip"]) == ([], [1])


async def test_the_list_goes_by_what_its_reader_is_shown(house):
    await house.people(1, 2, 3)
    rooms = [await house.conversation(1, 2, 3, title=f"{number}") for number in range(4)]

    async def said(user, room, content="x"):
        answer = await house.post(f"/api/conversations/{room}/messages", user, {"content": content})
        assert answer.status == 201, answer.json
        return answer.data["messageId"]

    async def listed(user, **page):
        rows = (await house.get("/api/conversations", user, **page)).data["conversations"]
        times = [row["last_message_time"] or row["created_at"] for row in rows]
        assert times == sorted(times, reverse=True)
        return [rooms.index(row["id"]) for row in rows]

    for room in rooms[1:]:
        await said(2, room)
    assert (await house.post("/api/users/3/block", 1, {})).status == 200
    await said(3, rooms[1])
    await said(3, rooms[0])
    assert await listed(2) == [0, 1, 3, 2]
    assert await listed(1) == [3, 2, 1, 0]
    assert [await listed(1, limit=1, offset=offset) for offset in range(4)] == [[3], [2], [1], [0]]
    last = await said(2, rooms[1])
    assert await listed(1) == [1, 3, 2, 0]
    assert (await house.delete(f"/api/messages/{last}", 2)).status == 200
    assert await listed(1) == [3, 2, 1, 0]
    assert await listed(2) == [0, 1, 3, 2]
    assert (await house.delete("/api/users/3/block", 1)).status == 200
    assert await listed(1) == [0, 1, 3, 2]


async def test_a_change_of_what_is_hidden_is_not_seen_by_its_time(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)

    async def said(user):
        return (await house.post(f"/api/conversations/{room}/messages", user, {"content": "x"})).data["messageId"]

    async def seen():
        return (await house.get(f"/api/conversations/{room}", 1)).data["conversation"]

    hidden, last = await said(3), await said(2)
    assert (await house.post("/api/users/3/block", 1, {})).status == 200
    before = await seen()
    assert before["updated_at"] == before["last_message_time"]
    assert (await house.put(f"/api/messages/{hidden}", 3, {"content": "changed"})).status == 200
    assert (await house.delete(f"/api/messages/{hidden}", 3)).status == 200
    assert (await seen())["updated_at"] == before["updated_at"]
    assert (await house.put(f"/api/messages/{last}", 2, {"content": "changed"})).status == 200
    after = await seen()
    assert (after["last_message"], after["last_message_time"]) == ("changed", before["last_message_time"])
    assert after["updated_at"] > before["updated_at"]


async def test_between_the_two_nothing_is_sent_and_the_answer_comes_after_the_room_knows(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, isGroup=False)
    async with open_sockets() as nursery:
        one, other = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        for _ in range(10):
            await one.ask("block", user=2)
            for sock in (one, other):
                reply = await sock.ask("send", room, body="x")
                assert (reply["data"]["code"], reply["data"]["error"]) == (3003, "USER_BLOCKED"), reply
            await one.ask("unblock", user=2)
            assert [(await sock.ask("send", room, body="x"))["type"] for sock in (one, other)] == ["ack", "ack"]
        await one.ask("block", user=2)
        for user in (1, 2):
            refused = await live_house.post(f"/api/conversations/{room}/messages", user, {"content": "x"})
            assert (refused.status, refused.code) == (403, "USER_BLOCKED")
            page = await Socket.open(nursery, live_house, user, protocol=None)
            await page.expect("connected")
            await page.send({"type": "send_message", "conversationId": room, "content": "x", "requestId": "r"})
            assert (await page.expect("error", requestId="r"))["code"] == 3003
        system = live_house.house.system
        system.kill(system.ref("room", room))  # what it knows is stored
        assert (await other.ask("send", room, body="x"))["data"]["code"] == 3003
        assert (await other.ask("typing", room, on=True))["type"] == "ack"
        await one.settle()
        assert not one.of("typing")
        # They have no conversation: none is made.
        await block(live_house, 3, 1)
        for user, wanted in ((1, 3), (3, 1)):
            refused = await live_house.post("/api/conversations", user, {"recipientId": wanted})
            assert (refused.status, refused.code) == (403, "USER_BLOCKED")
            refused = await live_house.post("/api/messages/send", user, {"recipientId": wanted, "content": "x"})
            assert (refused.status, refused.code) == (403, "USER_BLOCKED")
        made = await live_house.post("/api/conversations", 1, {"recipientId": 2})
        assert made.data["conversation"]["id"] == room  # what was said stays


async def wake(house, room, user):
    enter = house.house.system.ref("room", room).ask(Enter(user), deadline=trio.current_time() + 10)
    assert isinstance(await enter, RoomView)


def fill(ref):
    while True:
        ref.tell(LookAgain())


async def block_into(answers, house):
    answers.append(await house.post("/api/users/2/block", 1, {}))


async def refused_between(house, room):
    for user in (1, 2):
        refused = await house.post(f"/api/conversations/{room}/messages", user, {"content": "x"})
        assert (refused.status, refused.code) == (403, "USER_BLOCKED")


async def test_a_room_that_is_made_while_a_block_is_stored_knows_of_it_before_the_answer(house, database):
    await house.people(1, 2)
    notifier, answers = Address("notifier", 1), []

    def is_on_its_way():
        cell = house.house.system.activations.get(notifier)
        return None if cell is not None and cell.gate is not None and cell.gate.pending else "the commit of the block"

    waits = "insert into user_blocks (blocker_id, blocked_id, blocked_at) values (1, 2, now())"
    async with trio.open_nursery() as nursery, holding(database, waits):
        nursery.start_soon(block_into, answers, house)
        await wait_until(is_on_its_way)
        room = await house.conversation(1, 2, isGroup=False)
        await wake(house, room, 2)
        assert not answers
    assert [answer.status for answer in answers] == [200]
    await refused_between(house, room)


async def test_a_room_that_is_too_full_to_be_told_of_a_block_knows_of_it_before_the_answer(house, database):
    await house.people(1, 2)
    room, system, answers = await house.conversation(1, 2, isGroup=False), house.house.system, []
    await wake(house, room, 2)
    async with trio.open_nursery() as nursery, holding_table(database, "uploads"):
        system.ref("room", room).tell(Send(2, "user-2", None, "x", files=("key",)))  # it looks for the file
        with pytest.raises(MailboxFull):
            fill(system.ref("room", room))
        nursery.start_soon(block_into, answers, house)
        with trio.fail_after(10):
            while not await house.house.storage.blocks.is_blocked(1, 2):
                await trio.lowlevel.checkpoint()
        assert not answers
    assert [answer.status for answer in answers] == [200]
    await refused_between(house, room)


async def test_neither_sees_presence_or_typing_of_the_other_and_third_ones_see_both(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        socks = one, other, third = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        pages = [await Socket.open(nursery, live_house, user, protocol=None) for user in (1, 2)]
        for page in pages:
            await page.expect("connected")
            await page.send({"type": "join_conversation", "conversationId": room})
            await page.expect("conversation_joined")
        await trio.sleep(2.2)
        positions = [await sock.settle() for sock in (*socks, *pages)]
        await one.ask("block", user=2)
        for sock, gone, position in ((one, 2, positions[0]), (other, 1, positions[1])):
            left = await sock.expect("presence_diff", after=position)
            assert [user["user"] for user in left["data"]["leaves"]] == [gone]
        for page, gone, position in zip(pages, (2, 1), positions[3:], strict=True):
            assert (await page.expect("user_offline", after=position))["userId"] == gone
        positions = [await sock.settle() for sock in (*socks, *pages)]
        await one.ask("presence", status="busy")
        await other.ask("presence", status="dnd")
        await one.ask("typing", room, on=True)
        await other.ask("typing", room, on=True)
        await third.expect("presence_diff", after=positions[2])
        await wait_until(lambda: {1, 2} - {u for event in third.of("typing") for u in event["data"]["users"]})
        await trio.sleep(1.5)
        for sock, hidden, position in zip(
            (one, other, *pages), (2, 1, 2, 1), (*positions[:2], *positions[3:]), strict=True
        ):
            await sock.settle()
            for event in sock.events[position:]:
                if event["type"] in ("presence_diff", "typing", "presence_update", "user_typing", "user_online"):
                    assert f"user-{hidden}" not in str(event), (hidden, event)
        shown = (await one.ask("presence", room))["data"]["users"]
        assert {user["user"] for user in shown} == {1, 3}
        back = await ready(nursery, live_house, 2, room)
        state = await back.expect("presence_state")
        assert {user["user"] for user in state["data"]["users"]} == {2, 3}
        await pages[1].send({"type": "request_initial_data"})
        shown = (await pages[1].expect("initial_data"))["data"]["presence"]["users"]
        assert 1 not in {user["userId"] for user in shown}


@pytest.mark.parametrize(("blocker", "blocked"), [(1, 2), (2, 1)])
async def test_neither_hears_how_far_the_other_has_read_nor_finds_it_anywhere(live_house, blocker, blocked):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        one, other, third = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        for _ in range(3):
            await one.ask("send", room, body="x")
        await other.ask("read", room, seq=1)
        await one.expect("receipts", data={"marks": {"2": 1}})
        await page.expect("message_read")
        assert (await read_by(live_house, one, room))["2"] == 1
        await block(live_house, blocker, blocked)
        positions = [await sock.settle() for sock in (one, other, third, page)]
        await other.ask("read", room, seq=2)
        await third.expect("receipts", data={"marks": {"2": 2}}, after=positions[2])
        await one.settle()
        await page.settle()
        assert not [event for event in one.events[positions[0] :] if event["type"] == "receipts"]
        assert not [event for event in page.events[positions[3] :] if "read" in event["type"]]
        assert (await read_by(live_house, one, room)) == {"1": 0, "2": 0, "3": 0}
        assert (await read_by(live_house, third, room, user=3)) == {"1": 0, "2": 2, "3": 0}
        listed = (await live_house.get(f"/api/conversations/{room}/messages", 1)).data["messages"]
        assert [row["is_read"] for row in listed] == [False] * len(listed)
        await live_house.delete(f"/api/users/{blocked}/block", blocker)
        await other.ask("read", room, seq=3)
        await one.expect("receipts", data={"marks": {"2": 3}}, after=positions[0])
        assert (await read_by(live_house, one, room))["2"] == 3


async def read_by(house, sock, room, user=1):
    """How far each has read, as one of them is told on both paths."""
    people = (await house.get(f"/api/conversations/{room}/participants", user)).data["participants"]
    told = {str(person["user_id"]): person["read_seq"] for person in people}
    members = (await sock.ask("members", room))["data"]["members"]
    assert {str(member["user"]): member["read"] for member in members} == told
    return told


async def test_all_devices_of_who_blocks_are_told_once_and_who_is_blocked_is_not(live_house):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        phone, laptop, blocked = [await ready(nursery, live_house, user) for user in (1, 1, 2)]
        for _ in "ab":
            await block(live_house, 1, 2)
        for sock in (phone, laptop):
            assert (await sock.expect("block"))["data"] == {"user": 2, "blocked": True}
        await live_house.delete("/api/users/2/block", 1)
        told = await laptop.expect("block", useq=2)
        assert told["data"] == {"user": 2, "blocked": False}
        await blocked.settle()
        await phone.settle()
        assert not blocked.of("block")
        assert len(phone.of("block")) == 2


async def test_blocks_over_http_are_listed_and_bad_ones_refused(house):
    await house.people(1, 2, 3)
    for other in (2, 3):
        await block(house, 1, other)
    listed = (await house.get("/api/users/blocked", 1)).data
    assert [(row["id"], row["name"], row["reason"]) for row in listed["users"]] == [
        (3, "user-3", "spam"),
        (2, "user-2", "spam"),
    ]
    assert (listed["blockedUsers"], listed["total"]) == (listed["users"], 2)
    assert (await house.post("/api/users/3/unblock", 1)).data == {"blocked": False, "userId": 3}
    assert (await house.delete("/api/users/3/block", 1)).status == 200
    assert (await house.get("/api/users/blocked", 1)).data["total"] == 1
    assert (await house.get("/api/users/blocked", 2)).data["users"] == []
    assert (await house.post("/api/users/1/block", 1)).code == "VALIDATION"
    assert (await house.post("/api/users/99/block", 1)).code == "USER_NOT_FOUND"
    assert (await house.post("/api/users/2/block", 1, {"reason": "x" * 501})).code == "VALIDATION"


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 3}])
async def test_blocks_over_http_are_commands_that_are_limited(house):
    await house.people(1, 2)
    path = "/api/users/2/block"
    assert [(await house.post(path, 1)).status, (await house.delete(path, 1)).status] == [200, 200]
    assert (await house.post("/api/users/2/unblock", 1)).status == 200
    for refused in (await house.post(path, 1), await house.delete(path, 1)):
        assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
        assert int(refused.headers["Retry-After"]) > 0
    assert (await house.get("/api/users/blocked", 1)).data["users"] == []
    assert (await house.post("/api/users/1/block", 2)).status == 200


@pytest.mark.parametrize(
    "data", [{}, {"user": 1}, {"user": "two"}, {"user": "-2"}, {"user": True}, {"user": 2, "reason": 7}]
)
async def test_a_bad_block_is_a_bad_frame_and_an_unknown_user_not_found(live_house, data):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1)
        assert (await sock.ask("block", **data))["data"]["error"] == "BAD_FRAME"
        assert (await sock.ask("block", user=99))["data"]["error"] == "USER_NOT_FOUND"


async def test_a_summary_neither_counts_nor_shows_what_is_hidden(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    await block(live_house, 1, 2)
    async with open_sockets() as nursery:
        blocked, third = [await ready(nursery, live_house, user, room) for user in (2, 3)]
        await third.ask("send", room, body="x")
        await blocked.ask("send", room, body=HIDDEN)
        follower = await ready(nursery, live_house, 1)
        joined = (await follower.ask("join", room, mode="summary"))["data"]
        assert (joined["top"], joined["unread"]) == (2, 1)
        await follower.expect("room_summary")
        await blocked.ask("send", room, body=HIDDEN)
        await wait_until(lambda: follower.of("room_summary")[-1]["data"]["top"] != 3 and "top 3")
        assert follower.of("room_summary")[-1]["data"] == {"top": 3, "unread": 1, "mention": 0, "last": None}
        assert HIDDEN not in str(follower.events)
