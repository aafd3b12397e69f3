"""Notifications: sent by services, stored, listed, read and deleted by their user alone, and told to every device."""

import pytest
import trio

from greenroom.storage.postgres.api_keys import ApiKeys


async def service(house, *scopes):
    _, token = await ApiKeys(house.house.storage.postgres).create(name="tests", role="service", scopes=scopes)
    return {"Authorization": f"Bearer {token}"}


async def notify(house, user, headers=None, **fields):
    body = {"userId": user, "type": "nda_request", "title": "An NDA", "message": "Somebody asks", **fields}
    return await house.ask("POST", "/api/notifications/send", None if headers else user, body, headers or {})


async def test_what_a_service_sends_is_listed_counted_read_and_deleted(house):
    await house.people(1, 2)
    headers = await service(house, "notifications:send")
    ids = []
    for number in range(3):
        sent = await notify(
            house, 1, headers, title=f"n{number}", relatedPitchId=7, data={"a": [1]}, priority="critical"
        )
        assert sent.status == 201, sent.json
        assert sent.data["channels"] == {"inApp": "stored"}
        ids.append(sent.data["notificationId"])
    for path in ("/api/notifications", "/api/user/notifications"):
        listed = await house.get(path, 1, limit=2)
        assert [row["title"] for row in listed.data["notifications"]] == ["n2", "n1"]
        assert (listed.data["unreadCount"], listed.data["total"], listed.data["hasMore"]) == (3, 3, True)
        assert listed.json["pagination"] == {"page": 1, "limit": 2, "total": 3, "pages": 2}
    row = listed.data["notifications"][0]
    assert (row["user_id"], row["type"], row["is_read"], row["data"]) == (1, "nda_request", False, {"a": [1]})
    assert (row["related_type"], row["related_id"], row["priority"]) == ("pitch", 7, "urgent")
    assert row["created_at"].endswith("Z")
    read = await house.put(f"/api/notifications/{ids[0]}/read", 1)
    assert (read.status, read.json["message"], read.data["unreadCount"]) == (200, "Notification marked as read", 2)
    assert (await house.put(f"/api/notifications/{ids[0]}/read", 1)).data["notificationIds"] == []
    unread = await house.get("/api/notifications/unread", 1)
    assert (unread.data["count"], unread.json["count"]) == (2, 2)
    assert len((await house.get("/api/notifications", 1, unreadOnly="true")).data["notifications"]) == 2
    many = await house.put("/api/notifications/read-multiple", 1, {"notificationIds": ids})
    assert (many.data["notificationIds"], many.data["unreadCount"]) == (ids[1:], 0)
    assert (await house.delete(f"/api/notifications/{ids[1]}", 1)).status == 200
    assert [row["id"] for row in (await house.get("/api/notifications", 1)).data["notifications"]] == [ids[2], ids[0]]
    assert (await house.get("/api/notifications", 2)).data["notifications"] == []


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 2}])
async def test_what_a_user_sends_is_a_command_that_is_limited_and_what_a_service_sends_is_none(house):
    await house.people(1, 2)
    headers = await service(house, "notifications:send")
    assert [(await notify(house, 1, headers)).status for _ in range(4)] == [201] * 4
    assert [(await notify(house, 1)).status for _ in range(2)] == [201] * 2
    refused = await house.post("/api/notifications", 1, {"title": "to oneself", "message": "once more"})
    assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(refused.headers["Retry-After"]) > 0
    assert (await notify(house, 2)).status == 201
    assert (await house.get("/api/notifications", 1)).data["total"] == 6


async def test_a_page_of_the_existing_client_has_the_list_itself_and_what_it_chose_is_counted(house):
    await house.people(1)
    for number in range(5):
        fields = {"relatedPitchId": 7} if number % 2 else {"relatedUserId": 1, "category": "project"}
        await notify(house, 1, title=f"n{number}", **fields)
    listed = await house.get("/api/notifications", 1, page=2, limit=2)
    assert [row["title"] for row in listed.data] == ["n2", "n1"]
    assert listed.json["pagination"] == {"page": 2, "limit": 2, "total": 5, "pages": 3}
    assert listed.json["unreadCount"] == 5
    pitches = await house.get("/api/notifications", 1, page=1, limit=1, contextType="pitch")
    assert [row["title"] for row in pitches.data] == ["n3"]
    assert pitches.json["pagination"] == {"page": 1, "limit": 1, "total": 2, "pages": 2}
    assert (await house.get("/api/notifications", 1, page=4, limit=2)).data == []
    projects = await house.get("/api/user/notifications", 1, category="project", limit=2, offset=2)
    assert [row["title"] for row in projects.data["notifications"]] == ["n0"]
    assert (projects.data["total"], projects.data["hasMore"], projects.data["unreadCount"]) == (3, False, 5)
    assert (await house.put(f"/api/notifications/{listed.data[0]['id']}/read", 1)).status == 200
    unread = await house.get("/api/notifications", 1, page=1, unreadOnly="true")
    assert unread.json["pagination"]["total"] == 4


async def test_a_choice_that_is_empty_is_none(house):
    await house.people(1)
    for category in ("", "project"):
        await notify(house, 1, category=category, relatedPitchId=7)
    listed = await house.get("/api/notifications", 1, category="", contextType="", limit=1)
    assert (len(listed.data["notifications"]), listed.data["total"], listed.data["hasMore"]) == (1, 2, True)
    assert listed.json["pagination"] == {"page": 1, "limit": 1, "total": 2, "pages": 2}
    assert len((await house.get("/api/notifications", 1, category="")).data["notifications"]) == 2


async def test_the_routes_of_the_existing_client_are_there(house):
    await house.people(1)
    first, second, third = [(await notify(house, 1)).data["id"] for _ in range(3)]
    assert (await house.get("/api/notifications/unread", 1)).data["count"] == 3
    assert (await house.post(f"/api/notifications/{first}/read", 1)).json["message"] == "Notification marked as read"
    assert (await house.put("/api/notifications/read-multiple", 1, {"notificationIds": [second]})).json["success"]
    assert (await house.put("/api/notifications/read-multiple", 1, {"notificationIds": second})).status == 400
    assert (await house.put("/api/notifications/read/read", 1)).status == 400
    assert (await house.delete(f"/api/notifications/{first}", 1)).status == 200
    assert (await house.get("/api/notifications/unread", 1)).data["count"] == 1
    listed = (await house.get("/api/user/notifications", 1, limit=50, offset=0)).data["notifications"]
    assert [(row["id"], row["is_read"]) for row in listed] == [(third, False), (second, True)]


async def test_nobody_reads_or_deletes_what_is_for_another(house):
    await house.people(1, 2)
    sent = (await notify(house, 1)).data["id"]
    assert (await house.put(f"/api/notifications/{sent}/read", 2)).status == 404
    assert (await house.delete(f"/api/notifications/{sent}", 2)).status == 404
    assert (await house.put("/api/notifications/read-multiple", 2, {"notificationIds": [sent]})).data == {
        "notificationIds": [],
        "unreadCount": 0,
    }
    assert (await house.get("/api/notifications/user/1", 2)).status == 403
    assert (await house.get("/api/notifications/unread", 1)).data["count"] == 1
    assert len((await house.get("/api/notifications/user/1", 1)).data["notifications"]) == 1


async def test_only_services_with_the_scope_and_admins_send_to_others(house):
    await house.people(1, 2)
    await house.people(3, role="admin")
    body = {"userId": 1, "title": "t", "message": "m"}
    assert (await house.post("/api/notifications/send", 2, body)).status == 403
    assert (await house.post("/api/notifications/send", 1, body)).status == 201
    assert (await house.post("/api/notifications/send", 3, body)).status == 201
    for scopes, status in ((["email:send"], 403), (["notifications:send"], 201)):
        sent = await house.ask("POST", "/api/notifications", None, body, await service(house, *scopes))
        assert sent.status == status
    assert (await house.post("/api/notifications/send", None, body)).status == 401


@pytest.mark.parametrize(
    "fields",
    [
        {"title": ""},
        {"title": "x" * 256},
        {"message": ""},
        {"message": 7},
        {"priority": "very"},
        {"channels": {"inApp": False, "email": True}},
        {"channels": ["email"]},
        {"channels": ["pigeon"]},
        {"channels": {"inApp": "yes"}},
        {"actionUrl": "javascript:alert(1)"},
        {"actionUrl": "//elsewhere"},
        {"relatedPitchId": 1, "relatedUserId": 2},
        {"data": [1]},
        {"data": {"x": "y" * 20_000}},
        {"expiresAt": "tomorrow"},
        {"type": "a\nb"},
    ],
)
async def test_bad_input_is_400_and_stores_nothing(house, fields):
    await house.people(1)
    refused = await notify(house, 1, **fields)
    assert (refused.status, refused.code) == (400, "VALIDATION"), refused.json
    assert (await house.get("/api/notifications/unread", 1)).data["count"] == 0


async def test_a_user_who_does_not_exist_is_404_and_what_has_expired_is_not_shown(house):
    await house.people(1)
    assert (await notify(house, 99, await service(house, "notifications:send"))).code == "USER_NOT_FOUND"
    assert (await notify(house, 1, expiresAt="2020-01-01T00:00:00Z")).status == 201
    assert (await house.get("/api/notifications", 1)).data["notifications"] == []


async def test_the_same_key_is_the_same_notification_and_another_one_a_conflict(house):
    await house.people(1)
    answers = []

    async def send(**fields):
        body = {"title": "t", "message": "m", **fields}
        answers.append(await house.post("/api/notifications/send", 1, body, Idempotency_Key="once"))

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(send)
    assert len({answer.data["id"] for answer in answers}) == 1
    assert [answer.data["duplicate"] for answer in answers].count(False) == 1
    house.house.system.kill(house.house.system.ref("notifier", 1))  # nothing of it is only in memory
    await send()
    assert answers[-1].data == {**answers[0].data, "duplicate": True}
    await send(message="other")
    assert (answers[-1].status, answers[-1].code) == (409, "CONFLICT")
    assert (await house.get("/api/notifications/unread", 1)).data["count"] == 1


async def test_the_existing_client_sees_hears_reads_and_clears_its_notifications(live_house):
    await live_house.people(1)
    async with live_house.compat_socket(1) as page, live_house.compat_socket(1) as other:
        sent = (await notify(live_house, 1, type="success", actionUrl="/pitches/7")).data["id"]
        for sock in (page, other):
            told = await sock.hear("notification")
            assert (told["id"], told["data"]["id"], told["data"]["type"]) == (sent, sent, "success")
            assert (told["data"]["title"], told["title"], told["message"]) == ("An NDA", "An NDA", "Somebody asks")
            assert (await sock.hear("unread_count"))["count"] == 1
        second = (await notify(live_house, 1)).data["id"]
        for sock in (page, other):
            assert (await sock.hear("notification"))["data"]["type"] == "info"
            await sock.hear("unread_count")
        await page.say({"type": "request_initial_data", "data": {"includeNotifications": True}})
        initial = (await page.hear("initial_data"))["data"]
        assert [(one["id"], one["isRead"]) for one in initial["notifications"]] == [(second, False), (sent, False)]
        assert initial["unreadCount"] == 2
        await page.say({"type": "notification_read", "data": {"notificationId": sent}})
        assert (await page.hear("notification_read_ack"))["notificationId"] == sent
        update = await other.hear("notification_update")
        assert (update["type"], update["data"]) == (
            "notification_update",
            {"type": "notifications_read", "notificationIds": [sent]},
        )
        assert (await other.hear("unread_count"))["count"] == 1
        await other.say({"type": "get_unread_count"})
        assert (await other.hear("unread_count"))["count"] == 1
        await other.say({"type": "notifications_clear_all"})
        await other.hear("notifications_cleared")
        while (update := await page.hear("notification_update"))["data"]["type"] != "notifications_deleted":
            pass
        assert update["data"]["notificationIds"] == [sent, second]
    async with live_house.compat_socket(1) as page:
        await page.say({"type": "request_initial_data"})
        initial = (await page.hear("initial_data"))["data"]
        assert (initial["notifications"], initial["unreadCount"]) == ([], 0)
    assert (await live_house.get("/api/notifications", 1)).data["total"] == 0


@pytest.mark.wrong_frames
@pytest.mark.parametrize("ids", [None, "x", [], ["x", -1, True, 2**60], {}, [99]])
async def test_ids_that_are_none_are_met_with_silence_or_an_ack_and_change_nothing(live_house, ids):
    await live_house.people(1)
    async with live_house.compat_socket(1) as page:
        await notify(live_house, 1)
        await page.say({"type": "notification_read", "data": {"notificationIds": ids}})
        await page.say({"type": "ping"})
        await page.hear("pong")
    assert (await live_house.get("/api/notifications/unread", 1)).data["count"] == 1


async def test_a_v1_client_has_them_in_its_stream_also_when_it_was_away(live_house):
    await live_house.people(1)
    sent = (await notify(live_house, 1, data={"pitch": "ü"}, category="investment")).data["id"]
    async with live_house.socket(1) as sock:
        await sock.say({"type": "sync", "id": "s", "data": {"user": 0}})
        told = await sock.hear("notification")
        assert told["useq"] == 1
        assert told["data"] == {
            "id": sent,
            "type": "nda_request",
            "category": "investment",
            "title": "An NDA",
            "message": "Somebody asks",
            "priority": "normal",
            "unread": 1,
            "data": {"pitch": "ü"},
        }
        await live_house.put(f"/api/notifications/{sent}/read", 1)
        read = await sock.hear("notification_read")
        assert (read["useq"], read["data"]) == (2, {"ids": [sent], "unread": 0})
        await live_house.delete(f"/api/notifications/{sent}", 1)
        assert (await sock.hear("notification_deleted"))["useq"] == 3
