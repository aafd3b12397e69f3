"""The existing client against the real process: existing-system.md sections 2.3 to 2.5 and 2.9."""

import time

import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from stopwatch import open_stopwatch
from wire import Socket, http, open_sockets, wait_until  # type: ignore[import-not-found]


async def page_of(server, nursery, user):
    sock = await Socket.open(nursery, server, user, protocol=None)
    await sock.expect("connected")
    return sock


def flat_and_data(event, **fields):
    for name, value in fields.items():
        assert event[name] == value, (name, event)
        assert event["data"][name] == value, (name, event)


async def test_what_the_client_says_on_connect_is_answered_in_its_words(server, fresh):
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh, protocol=None)
        assert b"sec-websocket-protocol" not in sock.head.lower()
        assert b"permessage-deflate" not in sock.head.lower()
        connected = await sock.expect("connected")
        assert sock.events[0] is connected
        assert connected["data"]["userId"] == fresh
        assert {"sessionId", "userId", "portalType"} <= set(connected["data"])
        for channel in (f"user_{fresh}_notifications", f"user_{fresh}_dashboard", "presence_updates"):
            await sock.send({"type": "subscribe", "data": {"channelId": channel}, "timestamp": "x"})
            await sock.expect("subscribed", channel=channel)
        await sock.send({"type": "subscribe", "channels": ["a", "b"]})
        await sock.expect("subscribed", channels=["a", "b"])
        await sock.send({"type": "unsubscribe", "data": {"channelId": "a"}})
        await sock.expect("unsubscribed", channel="a")
        await sock.send({"type": "request_initial_data", "data": {"includeDashboard": True, "clientVersion": "2.0"}})
        initial = await sock.expect("initial_data")
        assert isinstance(initial["data"]["notifications"], list)
        for number in range(20):
            async with open_stopwatch(server) as watch:
                await sock.send({"type": "ping", "timestamp": "2026-01-01T00:00:00.000Z", "id": f"ping_{number}"})
                await wait_until(lambda n=number: len(sock.of("pong")) <= n and "the pong")
                assert watch.seconds < 0.5
        assert set(sock.of("pong")[0]) == {"type", "timestamp"}


async def test_send_message_is_confirmed_to_the_sender_and_heard_by_every_member_unjoined(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    await server.make_people(fresh + 2)
    async with open_sockets() as nursery:
        one, two = await page_of(server, nursery, fresh), await page_of(server, nursery, fresh + 1)
        stranger = await page_of(server, nursery, fresh + 2)
        message = {"type": "send_message", "conversationId": str(room), "content": "hello", "requestId": "msg_1_a"}
        await one.send(message)
        sent = await one.expect("message_sent")
        flat_and_data(sent, conversationId=room, requestId="msg_1_a")
        assert isinstance(sent["messageId"], int)
        heard = await two.expect("new_message")
        flat_and_data(
            heard, messageId=sent["messageId"], conversationId=room, senderId=fresh, content="hello",
            senderName=f"user {fresh}", timestamp=sent["timestamp"],
        )  # fmt: skip
        assert {"type", "data", "timestamp", "id"} <= set(heard)
        await one.send(message)  # the queue of the client may send it twice
        await wait_until(lambda: len(one.of("message_sent")) < 2 and "the second confirmation")
        assert one.of("message_sent")[1]["messageId"] == sent["messageId"]
        for sock in (one, two, stranger):
            await sock.settle()
        assert len(two.of("new_message")) == 1
        assert not stranger.of("new_message")
    assert len(await server.log_of(room)) == 1


async def test_a_message_over_rest_is_not_echoed_as_new_message_to_the_senders_own_page(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    async with open_sockets() as nursery:
        mine, other = await page_of(server, nursery, fresh), await page_of(server, nursery, fresh + 1)
        v1 = await Socket.open(nursery, server, fresh)
        await v1.start(room)
        answer = await http(
            server, "POST", f"/api/conversations/{room}/messages", {"content": "by REST", "clientId": "k"}, user=fresh
        )
        assert answer.status == 201, answer
        row = answer.json()["data"]["message"]
        heard = await other.expect("new_message", content="by REST")
        assert heard["messageId"] == row["id"]
        sent = await mine.expect("message_sent")
        assert sent["messageId"] == row["id"]
        echo = await v1.expect("message", body="by REST")
        assert echo["data"]["clientId"] == "k"
        await mine.settle()
        assert not mine.of("new_message")


async def test_typing_is_told_to_those_who_look_at_the_conversation_and_ends_with_the_socket(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1, fresh + 2])
    async with open_sockets() as nursery:
        one, two, away = [await page_of(server, nursery, fresh + number) for number in range(3)]
        for sock in (one, two):
            await sock.send({"type": "join_conversation", "conversationId": room})
            await sock.expect("conversation_joined")
        await one.send({"type": "typing_start", "conversationId": room})
        typing = await two.expect("user_typing", isTyping=True)
        flat_and_data(typing, conversationId=room, userId=fresh, username=f"user {fresh}", isTyping=True)
        await one.send({"type": "typing_stop", "conversationId": room})
        await two.expect("user_typing", isTyping=False)
        await one.send({"type": "typing", "data": {"conversationId": room, "isTyping": True}})
        await wait_until(lambda: len(two.of("user_typing")) < 3 and f"only {len(two.of('user_typing'))}")
        one.cut()
        await wait_until(lambda: len(two.of("user_typing")) < 4 and f"only {len(two.of('user_typing'))}", 4)
        assert two.of("user_typing")[-1]["isTyping"] is False
        await away.settle()
        assert not away.of("user_typing", "typing")
        await two.send({"type": "leave_conversation", "conversationId": room})
        await two.expect("conversation_left")


async def test_mark_read_is_told_to_the_author(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    async with open_sockets() as nursery:
        one, two = await page_of(server, nursery, fresh), await page_of(server, nursery, fresh + 1)
        await one.send({"type": "send_message", "conversationId": room, "content": "read me", "requestId": "r"})
        message = await two.expect("new_message")
        await two.send({"type": "mark_read", "messageId": message["messageId"]})
        read = await one.expect("message_read")
        flat_and_data(read, messageId=message["messageId"], readByName=f"user {fresh + 1}")
        assert read["readAt"]
        await one.send({"type": "send_message", "conversationId": room, "content": "and me", "requestId": "r2"})
        second = await two.expect("new_message", content="and me")
        answer = await http(server, "PUT", f"/api/messages/{second['messageId']}/read", user=fresh + 1)
        assert answer.status == 200, answer
        await one.expect("message_read", messageId=second["messageId"])
        await two.settle()
        assert not two.of("message_read")


async def test_presence_is_told_to_those_who_share_a_room_and_to_nobody_else(server, fresh):
    await server.make_room(fresh, [fresh, fresh + 1])
    await server.make_people(fresh + 2)
    async with open_sockets() as nursery:
        watcher, stranger = await page_of(server, nursery, fresh), await page_of(server, nursery, fresh + 2)
        await trio.sleep(1.5)
        guest = await page_of(server, nursery, fresh + 1)
        online = await watcher.expect("user_online", userId=fresh + 1, seconds=4)
        assert online["username"] == f"user {fresh + 1}"
        await guest.send({"type": "presence_update", "data": {"status": "busy", "activity": "writing"}})
        await watcher.expect("presence_update", status="busy", seconds=4)
        guest.cut()
        await watcher.expect("user_offline", userId=fresh + 1, seconds=4)
        await watcher.expect("presence_update", status="offline", seconds=2)
        assert not [event for event in stranger.events if event.get("userId") == fresh + 1]


async def test_when_somebody_was_last_seen_survives_kill_9():
    """One is there when the process is killed, one left before: the next process tells both right."""
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1, 2, 3])
        is_known = "select user_id from user_presence where (online_in is not null) = $1 order by 1"

        async def known(is_online, *users):
            with trio.fail_after(12):
                while [row["user_id"] for row in await server.query(is_known, is_online)] != list(users):  # noqa: ASYNC110
                    await trio.sleep(0.1)

        async with open_sockets() as nursery:
            await page_of(server, nursery, 1)
            guest = await page_of(server, nursery, 2)
            await known(True, 1, 2)
            left_at = time.time()
            guest.cut()
            await known(False, 2)
            await trio.sleep(1.5)
            killed_at = time.time()
            await trio.to_thread.run_sync(server.kill)
            was_killed_at = time.time()
        told = []
        for _ in range(2):
            await trio.to_thread.run_sync(server.start)
            async with open_sockets() as nursery:
                asker = await Socket.open(nursery, server, 3)
                await asker.start(room)
                users = (await asker.ask("presence", room))["data"]["users"]
                told.append({user["user"]: user["lastSeen"] / 1000 for user in users if user["status"] == "offline"})
                await trio.sleep(0.5)
            await trio.to_thread.run_sync(server.kill)
        assert told[0] == told[1]
        assert set(told[0]) == {1, 2}
        assert abs(told[0][2] - left_at) < 1.5
        assert killed_at - 7 < told[0][1] <= was_killed_at + 0.5, (
            "at most what a run writes of itself every 5 s is missing"
        )


async def test_a_flood_is_told_and_rests_and_is_never_closed():
    with ServerProcess(WS_COMMANDS_PER_MINUTE=20) as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1])
        async with open_sockets() as nursery:
            for protocol in (None, "greenroom.v1"):
                sock = await Socket.open(nursery, server, 1, protocol=protocol)
                if protocol is not None:
                    await sock.start()
                for number in range(60):
                    said = {"type": "send_message", "conversationId": room, "content": "x", "requestId": str(number)}
                    leave = {"type": "leave", "id": str(number), "room": room}
                    await sock.send(said if protocol is None else leave)
                error = await sock.expect("error")
                data = error["data"]
                assert data["code"] == 4291
                assert isinstance(data["retryAfter"], int)
                if protocol is None:
                    await wait_until(lambda sock=sock: len(sock.of("error", "message_sent")) <= 20 and "answers")
                await trio.sleep(1.5)
                assert sock.close_code is None
                if protocol is None:
                    answers = [event.get("requestId") for event in sock.of("error", "message_sent")]
                    assert sorted(map(int, answers)) == list(range(len(answers))), "none is refused in silence"
                    assert len(answers) > 20
