"""Reports: administrators learn of a message or of somebody, nobody else does, and what is erased is erased here."""

import pytest
from wire import Socket, open_sockets

from greenroom.http.ws.v1 import V1Session
from greenroom.runtime import StorageUnavailable

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

    assert await report(f"messages/{message}") == (201, {"reported": True, "duplicate": False, "blocked": False})
    assert await report(f"messages/{message}") == (200, {"reported": True, "duplicate": True, "blocked": False})
    assert await report(f"messages/{message}", BAD) == (400, "VALIDATION")
    assert await report(f"messages/{message}", STRANGER) == (404, "MESSAGE_NOT_FOUND")
    assert await report("messages/9") == (404, "MESSAGE_NOT_FOUND")
    assert await report(f"users/{BAD}") == (201, {"reported": True, "duplicate": False, "blocked": False})
    assert await report(f"users/{BAD}") == (200, {"reported": True, "duplicate": True, "blocked": False})
    assert await report(f"users/{STRANGER}") == await report("users/999") == (404, "USER_NOT_FOUND")
    assert await report(f"users/{REPORTER}") == (400, "VALIDATION")
    for body in ({}, {"reason": ""}, {"reason": "x" * 501}, {"reason": None}):
        assert await report(f"messages/{message}", body=body) == (400, "VALIDATION")
    assert await report(f"messages/{message}", None) == (401, "UNAUTHORIZED")
    first = await listed(house, limit=1)
    assert (len(first["reports"]), first["hasMore"]) == (1, True)
    rest = await listed(house, before=first["reports"][0]["id"])
    assert ([row["messageId"] for row in rest["reports"]], rest["hasMore"]) == ([message], False)


async def blocked_by(house, user):
    return [row["id"] for row in (await house.get("/api/users/blocked", user)).data["users"]]


async def test_who_spams_is_reported_and_blocked_in_one_act_and_again_is_harmless(live_house):
    await live_house.people(REPORTER, BAD, STRANGER)
    rooms = [await live_house.conversation(BAD, REPORTER) for _ in range(3)]  # brought in, again and again
    async with open_sockets() as nursery:
        reporter, bad = [await come(nursery, live_house, user, *rooms) for user in (REPORTER, BAD)]
        sent = [(await bad.ask("send", room, body="buy this"))["data"]["messageId"] for room in rooms]
        for wrong, error in (({"message": 7}, "MESSAGE_NOT_FOUND"), ({"user": STRANGER}, "USER_NOT_FOUND")):
            assert (await reporter.ask("report", **wrong, **REASON, block=True))["data"]["error"] == error
        assert (await reporter.ask("report", message=sent[0], **REASON, block=False))["data"] == {"message": sent[0]}
        assert await blocked_by(live_house, REPORTER) == []
        done = await reporter.ask("report", message=sent[1], **REASON, block=True)
        assert done["data"] == {"message": sent[1], "blocked": True}
        assert await blocked_by(live_house, REPORTER) == [BAD]
        for room in rooms:  # of all of them nothing is heard any more, also of one they are brought into now
            seq = (await bad.ask("send", room, body="and this"))["data"]["seq"]
            await reporter.expect("skip", room=room, seq=seq)
        await live_house.conversation(BAD, REPORTER)
        for subject in ({"message": sent[1]}, {"user": BAD}, {"user": BAD}):
            answer = (await reporter.ask("report", **subject, **REASON, block=True))["data"]
            assert answer["blocked"] is True
        assert answer == {"user": BAD, "duplicate": True, "blocked": True}
        assert not [event for event in reporter.of("message") if event["data"]["body"] == "and this"]
        assert {event["type"] for event in bad.events} & {"block", "blocks"} == set(), "they are not told"


async def test_in_one_act_over_rest_alike(house):
    await house.people(REPORTER, BAD, STRANGER)
    room = await house.conversation(BAD, REPORTER)
    message = (await house.post(f"/api/conversations/{room}/messages", BAD, {"content": "buy this"})).data["messageId"]
    both = {**REASON, "block": True}
    for path, status in ((f"users/{STRANGER}", 404), ("messages/7", 404), (f"users/{REPORTER}", 400)):
        assert (await house.post(f"/api/{path}/report", REPORTER, both)).status == status
    assert (await house.post(f"/api/messages/{message}/report", BAD, both)).status == 400, "nobody blocks oneself"
    assert (await house.post(f"/api/messages/{message}/report", REPORTER, {**REASON, "block": "yes"})).status == 400
    assert await blocked_by(house, REPORTER) == await blocked_by(house, BAD) == []
    for path, status in ((f"messages/{message}", 201), (f"messages/{message}", 200), (f"users/{BAD}", 201)):
        answer = await house.post(f"/api/{path}/report", REPORTER, both)
        assert (answer.status, answer.data["blocked"]) == (status, True)
        assert await blocked_by(house, REPORTER) == [BAD]


async def test_what_was_only_reported_when_the_block_failed_is_blocked_when_it_is_said_again(live_house, monkeypatch):
    await live_house.people(REPORTER, BAD)
    await live_house.conversation(BAD, REPORTER)
    async with open_sockets() as nursery:
        reporter = await come(nursery, live_house, REPORTER)

        def away(self, ref, command, reply):
            reply(None, StorageUnavailable("a test says so"))

        with monkeypatch.context() as patch:
            patch.setattr(V1Session, "ask", away)
            failed = await reporter.ask("report", user=BAD, **REASON, block=True)
        assert failed["data"]["recoverable"] is True
        assert await blocked_by(live_house, REPORTER) == []
        again = await reporter.ask("report", user=BAD, **REASON, block=True)
        assert again["data"] == {"user": BAD, "duplicate": True, "blocked": True}
        assert await blocked_by(live_house, REPORTER) == [BAD]


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
