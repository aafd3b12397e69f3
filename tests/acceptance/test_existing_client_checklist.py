"""What a server must do for the existing client to work end to end: existing-system.md section 2.9, point by point.

The page here is what a browser makes of it: a session cookie on every request, its origin, a ticket for the socket.
"""

import pytest
import trio
from stopwatch import open_stopwatch
from wire import Refused, Socket, http, open_sockets, wait_until


class Page:
    """One user's browser: `ask` is fetch with credentials, `open` its WebSocket."""

    def __init__(self, server, user):
        self.server, self.user = server, user
        self.headers = {
            "Cookie": f"pitchey-session=page-{user}",
            "Origin": f"http://127.0.0.1:{server.port}",
            "Content-Type": "application/json",  # it says so of every request
        }

    async def ask(self, method, path, body=None, status=200):
        answer = await http(self.server, method, path, body, headers=self.headers)
        assert answer.status == status, (method, path, answer)
        return answer

    async def data(self, method, path, body=None, status=200):
        whole = (await self.ask(method, path, body, status)).json()
        assert whole["success"] is True
        return whole["data"]

    async def open(self, nursery):
        ticket = (await self.ask("GET", "/api/ws/token")).json()["token"]
        origin = [("Origin", self.headers["Origin"])]
        sock = await Socket.open(nursery, self.server, protocol=None, path=f"/ws?token={ticket}", headers=origin)
        await sock.expect("connected")
        return sock

    async def notify(self, title):
        body = {"userId": self.user, "type": "info", "title": title, "message": f"{title} happened"}
        return (await self.data("POST", "/api/notifications/send", body, 201))["notificationId"]


async def pages(server, *users):
    """Their browsers, signed in by session rows, as an application's sign-in writes them."""
    await server.make_people(*users)
    await server.query(
        "insert into sessions (id, user_id, expires_at) select 'page-' || id, id, now() + interval '1 h'"
        " from unnest($1::bigint[]) as id",
        list(users),
    )
    return [Page(server, user) for user in users]


async def conversation(one, other):
    return (await one.data("POST", "/api/conversations", {"recipientId": other.user}))["conversation"]["id"]


async def test_point_1_a_session_cookie_says_who_one_is(server, fresh):
    (page,) = await pages(server, fresh)
    session = (await page.ask("GET", "/api/auth/session")).json()
    assert (session["success"], session["user"]["id"], session["user"]["name"]) == (True, fresh, f"user {fresh}")
    page.headers["Cookie"] = "pitchey-session=of-nobody"
    await page.ask("GET", "/api/auth/session", status=401)


async def test_point_2_the_ticket_stands_at_top_level_and_the_page_may_ask_for_it(server, fresh):
    (page,) = await pages(server, fresh)
    answer = await page.ask("GET", "/api/ws/token")
    assert isinstance(answer.json()["token"], str)
    origin = page.headers["Origin"]
    assert answer.headers["access-control-allow-origin"] == origin
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in answer.headers["vary"].lower()
    for preflighted in ("GET", "POST", "PUT", "DELETE"):
        asked = {
            "Access-Control-Request-Method": preflighted,
            "Access-Control-Request-Headers": "content-type,x-csrf-token",
        }
        allowed = await http(server, "OPTIONS", "/api/ws/token", headers={"Origin": origin, **asked})
        assert allowed.status == 204
        assert allowed.headers["access-control-allow-origin"] == origin
        assert allowed.headers["access-control-allow-credentials"] == "true"
        names = allowed.headers["access-control-allow-headers"].lower()
        assert "content-type" in names
        assert "x-csrf-token" in names


async def test_point_3_the_socket_answers_what_the_page_says_on_connect_with_the_real_notifications(server, fresh):
    (page,) = await pages(server, fresh)
    ids = [await page.notify(f"n{number}") for number in range(3)]
    await page.ask("PUT", f"/api/notifications/{ids[1]}/read")
    async with open_sockets() as nursery:
        sock = await page.open(nursery)
        assert sock.events[0]["type"] == "connected"
        channels = [
            f"user_{fresh}_notifications",
            f"user_{fresh}_dashboard",
            "presence_updates",
            f"user_{fresh}_drafts",
        ]
        for channel in channels:
            await sock.send({"type": "subscribe", "data": {"channelId": channel}, "timestamp": "x"})
        included = {"includeDashboard": True, "includePresence": True, "includeNotifications": True}
        await sock.send({"type": "request_initial_data", "data": {**included, "clientVersion": "2.0"}})
        initial = (await sock.expect("initial_data"))["data"]
        assert [event["channel"] for event in sock.of("subscribed")] == channels
        shown = [(row["id"], row["title"], row["message"], row["isRead"]) for row in initial["notifications"]]
        assert shown == [(ids[n], f"n{n}", f"n{n} happened", n == 1) for n in (2, 1, 0)]
        assert {row["type"] for row in initial["notifications"]} == {"info"}
        assert all(row["createdAt"].endswith("Z") for row in initial["notifications"])
        assert initial["unreadCount"] == 2


async def test_point_4_presence_is_said_and_asked_for_over_rest(server, fresh):
    page, other = await pages(server, fresh, fresh + 1)
    await conversation(page, other)
    assert (await page.data("POST", "/api/presence/update", {"status": "online"}))["status"] == "online"
    seen = await other.data("GET", "/api/presence/online")
    assert [(user["userId"], user["status"]) for user in seen["users"]] == [(fresh, "online")]


async def test_point_5_every_ping_has_its_pong_at_once(server, fresh):
    (page,) = await pages(server, fresh)
    async with open_sockets() as nursery, open_stopwatch() as watch:
        sock = await page.open(nursery)
        for number in range(50):
            began = watch.seconds
            await sock.send({"type": "ping", "timestamp": "2026-01-01T00:00:00.000Z", "id": f"ping_{number}"})
            await wait_until(lambda count=number + 1: len(sock.of("pong")) < count and "the pong", 10)
            assert watch.seconds - began < 2
        assert set(sock.of("pong")[0]) == {"type", "timestamp"}


async def test_point_6_the_page_lists_makes_opens_and_fills_conversations(server, fresh):
    page, other = await pages(server, fresh, fresh + 1)
    room = await conversation(page, other)
    assert await conversation(other, page) == room
    path = f"/api/conversations/{room}/messages"
    sent = (await page.data("POST", path, {"content": "hello"}, 201))["message"]
    assert (sent["content"], sent["sender_id"], sent["conversation_id"]) == ("hello", fresh, room)
    (row,) = (await other.data("GET", "/api/conversations"))["conversations"]
    assert (row["id"], row["participant_id"], row["last_message"], row["unread_count"]) == (room, fresh, "hello", 1)
    opened = await other.data("GET", f"/api/conversations/{room}")
    assert [(one["id"], one["content"]) for one in opened["messages"]] == [(sent["id"], "hello")]
    (stranger,) = await pages(server, fresh + 2)
    await stranger.ask("GET", f"/api/conversations/{room}", status=404)
    await stranger.ask("POST", path, {"content": "x"}, status=403)


async def test_point_6_messages_have_files_and_are_edited_and_deleted(server, fresh):
    page, other = await pages(server, fresh, fresh + 1)
    room = await conversation(page, other)
    picture = b"\x89PNG\r\n\x1a\n" + bytes(100)
    named = b'Content-Disposition: form-data; name="file"; filename="set.png"'
    form = b"--b\r\n" + named + b"\r\n\r\n" + picture + b"\r\n--b--\r\n"
    uploaded = await http(
        server,
        "POST",
        "/api/messages/attachments",
        form,
        headers=page.headers | {"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert uploaded.status == 201
    told = uploaded.json()["data"]
    assert (told["originalName"], told["fileSize"], told["mimeType"]) == ("set.png", len(picture), "image/png")
    body = {"content": "[File attachment]", "attachments": [told]}
    sent = (await page.data("POST", f"/api/conversations/{room}/messages", body, 201))["message"]
    (shown,) = (await other.data("GET", f"/api/conversations/{room}"))["messages"]
    assert [one["url"] for one in shown["attachments"]] == [told["url"]]
    assert (await other.ask("GET", told["url"])).body == picture
    (stranger,) = await pages(server, fresh + 2)
    await stranger.ask("GET", told["url"], status=404)
    edited = (await page.data("PUT", f"/api/messages/{sent['id']}", {"content": "the set"}))["message"]
    assert (edited["id"], edited["content"]) == (sent["id"], "the set")
    await other.ask("PUT", f"/api/messages/{sent['id']}", {"content": "not mine"}, status=400)
    await page.ask("PUT", f"/api/messages/{sent['id']}", {"content": ""}, status=400)
    async with open_sockets() as nursery:
        theirs = await other.open(nursery)
        await page.data("DELETE", f"/api/messages/{sent['id']}")
        gone = await theirs.expect("message")
        assert (gone["data"]["action"], gone["data"]["messageId"]) == ("deleted", sent["id"])
    shown = (await other.data("GET", f"/api/conversations/{room}"))["messages"]
    assert "the set" not in str(shown)
    await other.ask("GET", told["url"], status=404)


async def test_point_7_what_is_sent_over_rest_is_told_to_the_others_and_not_shown_twice_to_its_sender(server, fresh):
    page, other = await pages(server, fresh, fresh + 1)
    room = await conversation(page, other)
    async with open_sockets() as nursery:
        mine, theirs = await page.open(nursery), await other.open(nursery)
        sent = (await page.data("POST", f"/api/conversations/{room}/messages", {"content": "hello"}, 201))["message"]
        heard = await theirs.expect("new_message")
        flat = {"messageId": sent["id"], "conversationId": room, "senderId": fresh, "content": "hello"}
        for fields in (heard, heard["data"]):
            assert flat.items() <= fields.items()
            assert (fields["senderName"], type(fields["senderId"])) == (f"user {fresh}", int)
        confirmed = await mine.expect("message_sent")
        assert (confirmed["messageId"], confirmed["data"]["messageId"]) == (sent["id"], sent["id"])
        await mine.settle()
        assert not mine.of("new_message")


async def test_point_8_who_types_is_shown_until_they_stop_are_silent_or_gone(server, fresh):
    page, other = await pages(server, fresh, fresh + 1)
    room = await conversation(page, other)
    async with open_sockets() as nursery:
        mine, theirs = await page.open(nursery), await other.open(nursery)
        for sock in (mine, theirs):
            await sock.send({"type": "join_conversation", "conversationId": room})
            await sock.expect("conversation_joined")
        await mine.send({"type": "typing_start", "conversationId": room})
        shown = await theirs.expect("user_typing", isTyping=True)
        assert (shown["conversationId"], shown["username"]) == (room, f"user {fresh}")
        await mine.send({"type": "typing_stop", "conversationId": room})
        stopped = await theirs.expect("user_typing", isTyping=False, after=theirs.position(shown))
        await mine.send({"type": "typing_start", "conversationId": room})
        again = await theirs.expect("user_typing", isTyping=True, after=theirs.position(stopped))
        began = trio.current_time()
        silent = await theirs.expect("user_typing", isTyping=False, after=theirs.position(again), seconds=9)
        assert trio.current_time() - began > 4, "it ended by itself, at 6 s: a client that types says so every 3"
        assert (silent["conversationId"], silent["userId"], silent["username"]) == (room, fresh, f"user {fresh}")
        assert mine.close_code is None
        await mine.send({"type": "typing_start", "conversationId": room})
        more = await theirs.expect("user_typing", isTyping=True, after=theirs.position(silent))
        assert not mine.of("user_typing")
        mine.cut()
        await theirs.expect("user_typing", isTyping=False, after=theirs.position(more), seconds=4)


async def test_point_9_the_author_hears_who_has_read(server, fresh):
    page, other = await pages(server, fresh, fresh + 1)
    room = await conversation(page, other)
    path = f"/api/conversations/{room}/messages"
    async with open_sockets() as nursery:
        mine, theirs = await page.open(nursery), await other.open(nursery)
        for by_socket in (True, False):
            sent = (await page.data("POST", path, {"content": "read me"}, 201))["message"]["id"]
            await theirs.expect("new_message", messageId=sent)
            if by_socket:
                await theirs.send({"type": "mark_read", "messageId": sent})
            else:
                await other.ask("PUT", f"/api/messages/{sent}/read")
            read = await mine.expect("message_read", messageId=sent)
            assert (read["readByName"], read["readAt"][-1]) == (f"user {fresh + 1}", "Z")


async def test_point_10_what_is_read_or_cleared_stays_so_and_the_other_sockets_of_the_user_follow(server, fresh):
    (page,) = await pages(server, fresh)
    ids = [await page.notify(f"n{number}") for number in range(4)]
    async with open_sockets() as nursery:
        mine, other = await page.open(nursery), await page.open(nursery)

        async def say(told, answer, update, changed, unread):
            at = await other.settle()
            await mine.send(told)
            await mine.expect(answer)
            followed = await other.expect("notification_update", after=at)
            assert followed["data"] == {"type": update, "notificationIds": changed}
            count = await other.expect("unread_count", after=other.position(followed))
            assert (count["count"], count["data"]["count"]) == (unread, unread)
            assert (await page.data("GET", "/api/notifications/unread"))["count"] == unread

        one, several = {"notificationId": ids[0]}, {"notificationIds": ids[1:3]}
        read = ("notification_read_ack", "notifications_read")
        await say({"type": "notification_read", "data": one}, *read, [ids[0]], 3)
        await say({"type": "notification_read", "data": several}, *read, ids[1:3], 1)
        listed = (await page.data("GET", "/api/notifications"))["notifications"]
        assert {row["id"]: row["is_read"] for row in listed} == {n: n != ids[3] for n in ids}
        clear = ("notifications_cleared", "notifications_deleted")
        await say({"type": "notifications_clear_all"}, *clear, ids, 0)
        late = await page.open(nursery)
        await late.send({"type": "request_initial_data", "data": {}})
        initial = (await late.expect("initial_data"))["data"]
        assert (initial["notifications"], initial["unreadCount"]) == ([], 0)
    assert (await page.data("GET", "/api/notifications"))["notifications"] == []


async def test_point_11_notifications_over_rest(server, fresh):
    (page,) = await pages(server, fresh)
    ids = [await page.notify(f"n{number}") for number in range(3)]
    for path in ("/api/notifications", "/api/user/notifications"):
        listed = await page.data("GET", path)
        assert [row["id"] for row in listed["notifications"]] == ids[::-1]
        assert listed["unreadCount"] == 3
    assert (await page.data("GET", "/api/notifications/unread"))["count"] == 3
    await page.ask("PUT", f"/api/notifications/{ids[0]}/read")
    await page.ask("PUT", "/api/notifications/read-multiple", {"notificationIds": ids[1:]})
    assert (await page.data("GET", "/api/notifications/unread"))["count"] == 0
    assert {row["is_read"] for row in (await page.data("GET", "/api/notifications"))["notifications"]} == {True}


async def test_point_11_preferences_over_rest(server, fresh):
    (page,) = await pages(server, fresh)
    path = "/api/notifications/preferences"

    async def preferences(method="GET", body=None, at=path):
        whole = (await page.ask(method, at, body)).json()
        assert whole["success"] is True
        return whole["preferences"]

    assert (await preferences())["emailNotifications"] is True
    put = await preferences("PUT", {"email": False, "marketing": True})
    posted = await preferences("POST", {"smsEnabled": True, "digestFrequency": "daily", "timezone": "Europe/Berlin"})
    categories = {"messages": {"email": False, "inApp": True, "push": False, "sms": False}}
    settings = await preferences("PUT", {"categories": categories}, "/api/user/notification-preferences")
    assert (put["emailNotifications"], posted["smsNotifications"]) == (False, True)
    assert settings["categories"]["messages"] == categories["messages"]
    stored = await preferences()
    expected = {
        "emailNotifications": False,
        "marketingEmails": True,
        "smsNotifications": True,
        "digestFrequency": "daily",
        "timezone": "Europe/Berlin",
    }
    assert {name: stored[name] for name in expected} == expected
    assert stored["categories"]["messages"] == categories["messages"]
    await page.ask(path=path, method="PUT", body={"digestFrequency": "now and then"}, status=400)
    assert await preferences() == stored


async def test_point_12_a_session_that_has_ended_gets_401_for_a_ticket_and_at_the_upgrade(server, fresh):
    (page,) = await pages(server, fresh)
    ticket = (await page.ask("GET", "/api/ws/token")).json()["token"]
    async with open_sockets() as nursery:
        sock = await page.open(nursery)
        await page.ask("POST", "/api/auth/sign-out", {})
        assert await sock.wait_closed(4) == 1008
        await page.ask("GET", "/api/ws/token", status=401)
        for path, headers in (("/ws", list(page.headers.items())), (f"/ws?token={ticket}", [])):
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, server, protocol=None, path=path, headers=headers)
            assert refused.value.status == 401
            assert set(refused.value.json()) >= {"error", "fallback", "endpoints"}
