"""Reports: administrators learn of a message or of somebody, nobody else does, and what is erased is erased here."""

import pytest
from wire import Socket, open_sockets

REPORTER, BAD, ADMIN, STRANGER = 1, 2, 3, 4
REASON = {"reason": "rude"}


async def come(nursery, house, user, *rooms):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms)
    return sock


async def listed(house, **page):
    headers = {"Authorization": f"Bearer {house.token(ADMIN, role='admin')}"}
    query = "&".join(f"{name}={value}" for name, value in page.items())
    answer = await house.ask("GET", f"/api/reports?{query}", ADMIN, headers=headers)
    assert answer.status == 200, answer.json
    return answer.data


async def test_a_message_and_a_person_are_reported_once_and_only_administrators_read_it(live_house):
    await live_house.people(REPORTER, BAD, STRANGER)
    await live_house.people(ADMIN, role="admin")
    room = await live_house.conversation(REPORTER, BAD)
    async with open_sockets() as nursery:
        reporter, bad, stranger = [
            await come(nursery, live_house, user, *rooms)
            for user, rooms in ((REPORTER, [room]), (BAD, [room]), (STRANGER, []))
        ]
        message = (await bad.ask("send", room, body="something rude"))["data"]["messageId"]
        own = (await reporter.ask("send", room, body="mine"))["data"]["messageId"]
        await live_house.post(f"/api/users/{BAD}/block", REPORTER, {})
        at = await bad.settle(), await stranger.settle()
        assert (await reporter.ask("report", message=message, **REASON))["data"] == {"message": message}
        again = await reporter.ask("report", message=str(message), reason="another")
        assert again["data"] == {"message": message, "duplicate": True}
        assert (await reporter.ask("report", user=BAD, **REASON))["data"] == {"user": BAD}
        assert (await reporter.ask("report", user=BAD, **REASON))["data"] == {"user": BAD, "duplicate": True}
        for wrong, error in (
            ({"message": own}, "MESSAGE_NOT_FOUND"),
            ({"message": 7}, "MESSAGE_NOT_FOUND"),
            ({"user": STRANGER}, "USER_NOT_FOUND"),
            ({"user": 999}, "USER_NOT_FOUND"),
            ({"user": REPORTER}, "BAD_FRAME"),
            ({}, "BAD_FRAME"),
            ({"user": BAD, "message": message}, "BAD_FRAME"),
        ):
            assert (await reporter.ask("report", **wrong, **REASON))["data"]["error"] == error, wrong
        for reason in ("", "x" * 501, 1):
            assert (await reporter.ask("report", message=message, reason=reason))["data"]["error"] == "BAD_FRAME"
        assert (await stranger.ask("report", message=message, **REASON))["data"]["error"] == "MESSAGE_NOT_FOUND"
        page = await listed(live_house)
        assert [(row["userId"], row["messageId"], row["reason"]) for row in page["reports"]] == [
            (BAD, None, "rude"),
            (BAD, message, "rude"),
        ]
        person, said = page["reports"]
        assert (said["reporterId"], said["conversationId"], said["content"]) == (REPORTER, room, "something rude")
        assert (person["content"], person["conversationId"], page["hasMore"]) == (None, None, False)
        for user in (REPORTER, BAD):
            assert (await live_house.get("/api/reports", user)).status == 403
        assert (await live_house.get("/api/reports")).status == 401
        await bad.settle()
        await stranger.settle()
        for sock, position in zip((bad, stranger), at, strict=True):
            assert {event["type"] for event in sock.events[position:]} <= {"pong", "error", "presence_diff"}

        assert (await bad.ask("delete", room, message=message))["type"] == "ack"
        gone = (await listed(live_house))["reports"][1]
        assert (gone["messageId"], gone["content"], gone["isDeleted"]) == (message, "", True)
        assert "something rude" not in str(await live_house.house.storage.reports.page(2**53, 10))
        assert (await reporter.ask("report", message=message, **REASON))["data"]["duplicate"] is True


async def test_over_rest_alike(house):
    await house.people(REPORTER, BAD, STRANGER)
    await house.people(ADMIN, role="admin")
    room = await house.conversation(REPORTER, BAD)
    sent = await house.post(f"/api/conversations/{room}/messages", BAD, {"content": "x"})
    message = sent.data["messageId"]

    async def report(path, user=REPORTER, body=REASON):
        answer = await house.post(f"/api/{path}/report", user, body)
        return answer.status, answer.data if answer.status < 300 else answer.code

    assert await report(f"messages/{message}") == (201, {"reported": True, "duplicate": False})
    assert await report(f"messages/{message}") == (200, {"reported": True, "duplicate": True})
    assert await report(f"messages/{message}", BAD) == (400, "VALIDATION")
    assert await report(f"messages/{message}", STRANGER) == (404, "MESSAGE_NOT_FOUND")
    assert await report("messages/9") == (404, "MESSAGE_NOT_FOUND")
    assert await report(f"users/{BAD}") == (201, {"reported": True, "duplicate": False})
    assert await report(f"users/{BAD}") == (200, {"reported": True, "duplicate": True})
    assert await report(f"users/{STRANGER}") == await report("users/999") == (404, "USER_NOT_FOUND")
    assert await report(f"users/{REPORTER}") == (400, "VALIDATION")
    for body in ({}, {"reason": ""}, {"reason": "x" * 501}, {"reason": None}):
        assert await report(f"messages/{message}", body=body) == (400, "VALIDATION")
    assert await report(f"messages/{message}", None) == (401, "UNAUTHORIZED")
    first = await listed(house, limit=1)
    assert (len(first["reports"]), first["hasMore"]) == (1, True)
    rest = await listed(house, before=first["reports"][0]["id"])
    assert ([row["messageId"] for row in rest["reports"]], rest["hasMore"]) == ([message], False)


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 2}])
async def test_they_are_commands_that_are_limited(house):
    await house.people(REPORTER, BAD)
    room = await house.conversation(REPORTER, BAD)
    sent = await house.post(f"/api/conversations/{room}/messages", BAD, {"content": "x"})
    path = f"/api/messages/{sent.data['messageId']}/report"
    assert [(await house.post(path, REPORTER, REASON)).status for _ in range(3)] == [201, 200, 429]


async def test_a_key_with_its_scope_reads_them(house):
    await house.people(REPORTER)
    for scopes, status in ((["reports:read"], 200), (["users:write"], 403)):
        key, secret = await house.house.storage.api_keys.create(name="m", role="service", scopes=scopes)
        answer = await house.ask("GET", "/api/reports", headers={"Authorization": f"Bearer {secret}"})
        assert answer.status == status, (key, answer.json)
