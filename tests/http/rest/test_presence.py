"""Presence and typing over REST: who says so is here, for five minutes; who shares no conversation is told nothing."""

import pytest
import trio

from greenroom.actors.presence.commands import Look


def shown(answer):
    assert answer.status == 200, answer.json
    return {user["userId"]: (user["status"], user["activity"]) for user in answer.data["users"]}


async def test_who_says_so_is_online_without_any_socket_and_companions_see_it(house):
    await house.people(1, 2, 3)
    await house.conversation(1, 2)
    said = await house.post("/api/presence/update", 1, {"status": "busy", "activity": "in a call"})
    assert said.status == 200
    assert (said.data["status"], said.data["activity"], said.data["userId"]) == ("busy", "in a call", 1)
    assert said.data["updated_at"].endswith("Z")
    assert shown(await house.get("/api/presence/online", 2)) == {1: ("busy", "in a call")}
    assert shown(await house.get("/api/presence/online", 1)) == {1: ("busy", "in a call")}
    assert shown(await house.get("/api/presence/online", 3)) == {}
    (user,) = (await house.get("/api/presence/online", 2)).data["users"]
    assert set(user) == {"userId", "username", "status", "lastSeen", "activity"}
    assert user["lastSeen"].endswith("Z")


@pytest.mark.parametrize("status", ["online", "away", "busy", "dnd"])
async def test_each_status_is_shown_as_it_was_said(house, status):
    await house.people(1)
    assert (await house.post("/api/presence/update", 1, {"status": status})).data["status"] == status


async def test_offline_is_shown_to_nobody_and_what_is_not_known_is_online(house):
    await house.people(1)
    for body, status in (
        ({"status": "sleeping"}, "online"),
        ({"status": "offline"}, "offline"),
        ({"status": 7, "activity": 7}, "online"),
        ({"status": "offline"}, "offline"),
        ({}, "online"),
    ):
        assert (await house.post("/api/presence/update", 1, body)).data["status"] == status
        assert shown(await house.get("/api/presence/online", 1)) == ({} if status == "offline" else {1: (status, "")})
    long = await house.post("/api/presence/update", 1, {"activity": "x" * 200})
    assert long.data["activity"] == "x" * 140


async def test_who_left_a_conversation_is_shown_nobody_of_it(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await house.post("/api/presence/update", 1, {})
    await house.delete(f"/api/conversations/{room}/participants/2", 1)
    assert shown(await house.get("/api/presence/online", 2)) == {}


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 3}])
async def test_presence_and_typing_count_as_commands(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for _ in range(2):
        assert (await house.post("/api/presence/update", 1, {})).status == 200
    assert (await house.post(f"/api/conversations/{room}/typing", 1, {"isTyping": True})).status == 200
    for path, body in (("/api/presence/update", {}), (f"/api/conversations/{room}/typing", {"isTyping": False})):
        refused = await house.post(path, 1, body)
        assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
        assert int(refused.headers["Retry-After"]) > 0
    assert (await house.post("/api/presence/update", 2, {})).status == 200


async def test_nobody_is_asked_without_a_credential(house):
    for method, path in (("POST", "/api/presence/update"), ("GET", "/api/presence/online")):
        assert (await house.ask(method, path)).status == 401


async def test_typing_over_rest_is_told_in_the_room_and_nowhere_else(live_house):
    house = live_house
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2)
    async with house.socket(2, room) as socket:
        said = await house.post(f"/api/conversations/{room}/typing", 1, {"isTyping": True})
        assert (said.status, said.data) == (200, {"conversationId": room, "isTyping": True})
        assert (await socket.hear("typing"))["data"]["users"] == [1]
        await house.post(f"/api/conversations/{room}/typing", 1, {"isTyping": False})
        assert (await socket.hear("typing"))["data"]["users"] == []
    stranger = await house.post(f"/api/conversations/{room}/typing", 3, {"isTyping": True})
    assert (stranger.status, stranger.code) == (403, "FORBIDDEN")
    assert (await house.post("/api/conversations/7/typing", 1, {"isTyping": True})).status == 404
    for body in ({}, {"isTyping": "yes"}, {"isTyping": 1}):
        assert (await house.post(f"/api/conversations/{room}/typing", 1, body)).status == 400


@pytest.fixture
def heartbeats_end_at_once(monkeypatch):
    monkeypatch.setattr("greenroom.actors.presence.actor.HEARTBEAT_SECONDS", 0.2)


async def test_who_is_not_heard_from_again_is_gone(house, heartbeats_end_at_once):
    await house.people(1, 2)
    await house.conversation(1, 2)
    await house.post("/api/presence/update", 1, {"status": "away"})
    assert shown(await house.get("/api/presence/online", 2)) == {1: ("away", "")}
    await trio.sleep(0.3)
    house.house.sockets.tell_presence(1, Look())  # as whoever goes round does
    assert (await house.post("/api/presence/update", 2, {})).status == 200
    assert 1 not in shown(await house.get("/api/presence/online", 2))


@pytest.mark.parametrize(("claims", "cookie"), [({}, "rest"), ({"jti": "desk"}, "desk")])
async def test_nobody_takes_back_what_somebody_said_with_a_token(house, claims, cookie):
    await house.people(1, 2)
    await house.conversation(1, 2)
    shows = {"Authorization": f"Bearer {house.token(1, **claims)}"}
    said = await house.ask("POST", "/api/presence/update", None, {"status": "busy"}, shows)
    assert said.status == 200, said.json
    shows = {"Cookie": f"pitchey-session={cookie}", "Origin": house.url}
    assert (await house.ask("POST", "/api/auth/sign-out", None, {}, shows)).data == {"signedOut": False}
    deadline = trio.current_time() + 60
    await house.house.system.ref("presence", 1).ask(Look(), deadline=deadline)  # whatever it was told before
    assert shown(await house.get("/api/presence/online", 2)) == {1: ("busy", "")}


async def test_nobody_is_remembered_who_says_so_and_goes(house):
    await house.people(*range(1, 6))
    presence = house.house.presence
    for user in range(1, 6):
        await house.post("/api/presence/update", user, {})
        await house.post("/api/presence/update", user, {"status": "offline"})
    with trio.fail_after(10):
        while presence.leases.users() or presence._shown or presence._names:  # noqa: ASYNC110
            await trio.sleep(0.1)


async def test_of_two_with_a_block_between_them_neither_is_shown_to_the_other(house):
    await house.people(1, 2, 3)
    await house.conversation(1, 2, 3)
    for user in (1, 2, 3):
        await house.post("/api/presence/update", user, {})
    assert set(shown(await house.get("/api/presence/online", 1))) == {1, 2, 3}
    assert (await house.post("/api/users/1/block", 2, {})).status in (200, 201)
    for user, seen in ((1, {1, 3}), (2, {2, 3}), (3, {1, 2, 3})):
        assert set(shown(await house.get("/api/presence/online", user))) == seen
        assert {one["userId"] for one in (await house.get("/api/poll/all", user)).data["presence"]["users"]} == seen


async def test_who_is_invisible_is_shown_to_nobody_else(house):
    await house.people(1, 2)
    await house.conversation(1, 2)
    assert (await house.post("/api/presence/update", 1, {"status": "invisible"})).data["status"] == "invisible"
    assert shown(await house.get("/api/presence/online", 2)) == {}


async def test_one_user_can_be_asked_for_by_whoever_shares_a_conversation_with_them(house, monkeypatch):
    """Of any size: in large ones nobody is told who is there."""
    await house.people(1, 2, 3, 4)
    room = await house.conversation(1, 2, 3)

    async def looks(reader, user):
        reply = await house.get(f"/api/presence/{user}", reader)
        return reply.data if reply.status == 200 else (reply.status, reply.code)

    never = {"userId": 1, "username": "user-1", "status": "offline", "lastSeen": None, "activity": ""}
    assert await looks(2, 1) == never
    await house.post("/api/presence/update", 1, {"status": "busy", "activity": "in a call"})
    seen = await looks(2, 1)
    assert (seen["status"], seen["activity"], seen["username"]) == ("busy", "in a call", "user-1")
    assert (await looks(1, 1))["status"] == "busy", "oneself"
    await house.post("/api/presence/update", 1, {"status": "invisible"})
    seen = await looks(2, 1)
    assert (seen["status"], seen["activity"]) == ("offline", "")
    await house.post("/api/presence/update", 1, {"status": "online"})
    for unknown in (looks(4, 1), looks(2, 4), looks(2, 99)):
        assert await unknown == (404, "USER_NOT_FOUND")
    assert (await house.post("/api/users/2/block", 1, {})).status == 200
    assert await looks(2, 1) == (404, "USER_NOT_FOUND")
    assert await looks(1, 2) == (404, "USER_NOT_FOUND")
    assert (await looks(3, 1))["status"] == "online"
    assert (await house.delete(f"/api/conversations/{room}/participants/3", 3)).status == 200
    assert await looks(3, 1) == (404, "USER_NOT_FOUND")
    assert (await house.get("/api/presence/none", 2)).status == 400
    assert (await house.get("/api/presence/1")).status == 401
