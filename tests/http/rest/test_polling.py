"""The polls of the existing client: the shapes that it reads, the truth in them, and when to come again."""

from datetime import UTC, datetime, timedelta

import pytest
import trio

from greenroom.http.rest.polling import CACHE_SECONDS
from greenroom.http.ws.schemas.v1_hello import Limits
from greenroom.storage.postgres.conversations import Conversations


async def say(house, user, room, *texts):
    for text in texts:
        assert (await house.post(f"/api/conversations/{room}/messages", user, {"content": text})).status == 201


async def test_poll_all_has_every_part_and_says_when_to_come_again(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    calm = await house.get("/api/poll/all", 1)
    assert calm.status == 200
    assert set(calm.data) == {
        "notifications", "messages", "dashboardMetrics", "presence", "unreadCount", "timestamp", "nextPollIn",
    }  # fmt: skip
    assert (calm.data["notifications"], calm.data["messages"], calm.data["unreadCount"]) == ([], [], 0)
    assert calm.data["presence"] == {"users": []}
    assert calm.data["dashboardMetrics"] == {
        "pitchViews": 0, "totalRevenue": 0, "activeInvestors": 0, "newMessages": 0,
    }  # fmt: skip
    assert calm.data["timestamp"].endswith("Z")
    assert calm.data["nextPollIn"] == 60_000
    await house.post("/api/presence/update", 2, {})
    await say(house, 1, room, "hello")
    others = (await house.get("/api/poll/all", 1)).data
    assert ([user["userId"] for user in others["presence"]["users"]], others["nextPollIn"]) == ([2], 30_000)
    unread = (await house.get("/api/poll/all", 2)).data
    assert [(row["content"], row["conversationId"], row["is_read"]) for row in unread["messages"]] == [
        ("hello", room, False)
    ]
    assert (unread["nextPollIn"], unread["dashboardMetrics"]["newMessages"]) == (15_000, 1)


async def test_unread_messages_come_by_conversation_oldest_first_and_go_when_they_are_read(house):
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(2)]
    for text in "abc":
        for room in rooms:
            await say(house, 2, room, text)
    await say(house, 1, rooms[0], "one's own")
    polled = (await house.get("/api/poll/messages", 1)).data
    assert [(row["conversation_id"], row["content"]) for row in polled["messages"]] == [
        (room, text) for room in rooms for text in "abc"
    ]
    assert (polled["unreadCount"], polled["nextPollIn"]) == (6, 15_000)
    await house.post(f"/api/conversations/{rooms[0]}/read", 1, {})
    polled = (await house.get("/api/poll/messages", 1)).data
    assert ({row["conversation_id"] for row in polled["messages"]}, polled["unreadCount"]) == ({rooms[1]}, 3)
    await say(house, 2, rooms[1], "d")
    assert (await house.get("/api/poll/messages", 1)).data["unreadCount"] == 3, "kept for three seconds"
    await trio.sleep(CACHE_SECONDS["messages"])
    assert (await house.get("/api/poll/messages", 1)).data["unreadCount"] == 4


@pytest.mark.parametrize("changed", ["edited", "deleted", "nothing"])
@pytest.mark.parametrize("before", [0, 1, 60])
async def test_what_is_told_and_how_much_it_is_are_of_one_moment(house, before, changed):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await say(house, 2, room, *(f"{number}" for number in range(before)))
    await house.get("/api/poll/all", 1)
    await say(house, 2, room, "new")
    newest = (await house.get(f"/api/conversations/{room}/messages", 2)).data["messages"][-1]["id"]
    if changed == "edited":
        assert (await house.put(f"/api/messages/{newest}", 2, {"content": "changed"})).status == 200
    elif changed == "deleted":
        assert (await house.delete(f"/api/messages/{newest}", 2)).status == 200
    for path in ("/api/poll/messages", "/api/poll/all"):
        polled = (await house.get(path, 1)).data
        count = polled["unreadCount"] if path == "/api/poll/messages" else polled["dashboardMetrics"]["newMessages"]
        assert min(count, 50) == len(polled["messages"]), (path, count)


async def test_what_is_deleted_counts_no_more_beside_the_list_of_its_conversation(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await say(house, 2, room, "gone soon")
    newest = (await house.get(f"/api/conversations/{room}/messages", 2)).data["messages"][-1]["id"]
    counted = []
    for is_deleted in (False, True):
        if is_deleted:
            assert (await house.delete(f"/api/messages/{newest}", 2)).status == 200
        polled = (await house.get("/api/poll/messages", 1, conversation=room)).data
        dashboard = (await house.get("/api/poll/dashboard", 1)).data["dashboardMetrics"]
        counted.append((len(polled["messages"]), polled["unreadCount"], dashboard["newMessages"]))
    assert counted == [(1, 1, 1), (0, 0, 0)]


async def texts_polled(house, user, room):
    """Of what was said, on each path that tells it."""
    answers = [await house.get("/api/poll/all", user), await house.get("/api/poll/messages", user)]
    if room is not None:
        answers.append(await house.get("/api/poll/messages", user, conversation=room))
    return [[row["content"] for row in answer.data["messages"]] for answer in answers]


async def test_what_one_may_not_see_any_more_is_not_polled_from_the_moment_that_this_is_answered(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    await say(house, 2, room, "of two")
    assert await texts_polled(house, 3, room) == [["of two"]] * 3
    await house.post("/api/users/2/block", 3, {})
    assert await texts_polled(house, 3, room) == [[]] * 3
    await house.delete("/api/users/2/block", 3)
    assert await texts_polled(house, 3, room) == [["of two"]] * 3
    await house.delete(f"/api/conversations/{room}/participants/3", 1)
    assert await texts_polled(house, 3, None) == [[]] * 2
    assert (await house.get("/api/poll/messages", 3)).data["unreadCount"] == 0


async def test_what_one_does_with_a_notification_is_seen_by_ones_next_poll(house):
    await house.people(1)

    async def polled():
        found = [(await house.get(f"/api/poll/{part}", 1)).data for part in ("all", "notifications")]
        return [([row["title"] for row in one["notifications"]], one["unreadCount"]) for one in found]

    ids = {}
    for title in "abc":
        sent = await house.post("/api/notifications/send", 1, {"title": title, "message": "m"})
        ids[title] = sent.data["id"]
        assert (await polled())[0][1] == len(ids)
    await house.delete(f"/api/notifications/{ids['a']}", 1)
    assert await polled() == [(["c", "b"], 2)] * 2
    await house.ask("PUT", f"/api/notifications/{ids['b']}/read", 1)
    assert await polled() == [(["c"], 1)] * 2
    await house.ask("PUT", "/api/notifications/read-all", 1)
    assert await polled() == [([], 0)] * 2


async def test_a_notification_is_not_polled_once_it_has_expired_whatever_is_kept(house):
    await house.people(1)
    soon, late = [datetime.now(UTC) + timedelta(seconds=seconds) for seconds in (4, 60)]
    for title, ends in (("soon", soon), ("late", late), ("never", None)):
        write = {"title": title, "message": "m", **({} if ends is None else {"expiresAt": ends.isoformat()})}
        assert (await house.post("/api/notifications/send", 1, write)).status == 201

    async def polled(part):
        data = (await house.get(f"/api/poll/{part}", 1)).data
        return [row["title"] for row in data["notifications"]], data["unreadCount"]

    assert [await polled(part) for part in ("notifications", "all")] == [(["never", "late", "soon"], 3)] * 2
    await trio.sleep((soon - datetime.now(UTC)).total_seconds() + 0.1)
    assert [await polled(part) for part in ("notifications", "all")] == [(["never", "late"], 2)] * 2


async def test_one_conversation_is_polled_by_its_members_alone(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2)
    await say(house, 2, room, *(str(number) for number in range(60)))
    polled = (await house.get("/api/poll/messages", 1, conversation=room)).data
    assert [row["seq"] for row in polled["messages"]] == list(range(11, 61))
    assert polled["nextPollIn"] == 5_000
    assert (await house.get("/api/poll/messages", 2, conversation=room)).status == 200
    for user, conversation in ((3, room), (1, 7)):
        refused = await house.get("/api/poll/messages", user, conversation=conversation)
        assert (refused.status, refused.code) == (404, "CONVERSATION_NOT_FOUND")
    await house.delete(f"/api/conversations/{room}/participants/2", 1)
    assert (await house.get("/api/poll/messages", 2, conversation=room)).status == 404, "whatever is kept"
    assert (await house.get("/api/poll/messages", 1, conversation="x")).status == 400


async def test_an_answer_holds_so_much_text_and_the_newest_of_it(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await say(house, 2, room, *("ä" * 9_000 for _ in range(12)))
    for query in ({}, {"conversation": room}):
        polled = (await house.get("/api/poll/messages", 1, **query)).data
        assert [row["seq"] for row in polled["messages"]] == list(range(6, 13))


async def test_unread_notifications_are_polled_and_go_when_they_are_read(house):
    await house.people(1)
    write = {"userId": 1, "type": "info", "title": "news", "message": "of something"}
    sent = await house.post("/api/notifications/send", 1, write)
    assert sent.status in (200, 201), sent.json
    both = [await house.get(path, 1) for path in ("/api/poll/notifications", "/api/poll/all")]
    for polled in both:
        assert [row["title"] for row in polled.data["notifications"]] == ["news"]
        assert polled.data["unreadCount"] == 1
    assert both[1].data["nextPollIn"] == 15_000
    (row,) = both[0].data["notifications"]
    await house.ask("PUT", f"/api/notifications/{row['id']}/read", 1)
    await trio.sleep(5.1)
    assert (await house.get("/api/poll/notifications", 1)).data["unreadCount"] == 0


async def test_what_somebody_said_whom_one_has_blocked_is_not_polled(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    await say(house, 2, room, "hidden")
    await say(house, 3, room, "seen")
    assert (await house.post("/api/users/2/block", 1, {})).status in (200, 201)
    polled = (await house.get("/api/poll/messages", 1)).data
    assert ([row["content"] for row in polled["messages"]], polled["unreadCount"]) == (["seen"], 1)
    of_room = (await house.get("/api/poll/messages", 1, conversation=room)).data
    assert [row["content"] for row in of_room["messages"]] == ["seen"]


@pytest.mark.parametrize(
    ("path", "next_poll_in", "rest"),
    [
        ("/api/poll/notifications", 30_000, {"notifications": [], "unreadCount": 0}),
        (
            "/api/poll/dashboard",
            60_000,
            {"dashboardMetrics": {"pitchViews": 0, "totalRevenue": 0, "activeInvestors": 0, "newMessages": 0}},
        ),
    ],
)
async def test_what_there_is_not_yet_is_empty_in_the_right_shape(house, path, next_poll_in, rest):
    await house.people(1)
    data = (await house.get(path, 1)).data
    timestamp = data.pop("timestamp")
    assert timestamp.endswith("Z")
    assert data == {"nextPollIn": next_poll_in, **rest}


@pytest.mark.parametrize("part", ["all", "notifications", "messages", "dashboard"])
async def test_polls_need_who_is_signed_in(house, part):
    refused = await house.get(f"/api/poll/{part}")
    assert (refused.status, refused.code) == (401, "UNAUTHORIZED")


async def test_the_health_of_sockets_is_told_to_anybody_at_both_places(house):
    health = await house.get("/api/ws/health")
    assert (health.status, health.json["websocketAvailable"], health.data["websocketAvailable"]) == (200, True, True)
    assert (health.data["status"], health.data["transports"]["events"]) == ("healthy", "/events")
    house.house.engine.drain.is_stopping.set()
    health = await house.get("/api/ws/health")
    assert (health.json["websocketAvailable"], health.data["status"]) == (False, "unavailable")


async def test_what_a_plain_get_of_the_websocket_says(house):
    for path in ("/ws", "/ws/info"):
        info = (await house.get(path)).data
        assert info["url"].endswith("/ws")
        assert (info["protocols"], info["versions"]) == (["greenroom.v1"], [1])
        assert set(info["limits"]) == set(Limits.__annotations__) - {"send", "cmds", "typing"}
        expected = {"frame": 131072, "inflight": 256, "rooms": 200, "commands": 16, "summaries": 500}
        assert {name: info["limits"][name] for name in expected} == expected
        assert info["transports"] == {"websocket": "/ws", "events": "/events", "poll": "/poll"}


async def test_the_description_names_streams_polls_and_presence(house):
    paths = (await house.get("/openapi.json")).json["paths"]
    for path in (
        "/events", "/poll", "/ws/info", "/api/poll/all", "/api/poll/notifications", "/api/poll/messages",
        "/api/poll/dashboard", "/api/ws/health", "/api/presence/online",
    ):  # fmt: skip
        assert "get" in paths[path], path
    assert "post" in paths["/api/presence/update"]
    assert "post" in paths["/api/conversations/{id}/typing"]
    assert list(paths["/events"]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]
    assert {parameter["name"] for parameter in paths["/poll"]["get"]["parameters"]} >= {"cursor", "wait"}
    assert {"400", "401", "403", "429", "503"} <= set(paths["/poll"]["get"]["responses"])


async def test_what_was_read_while_an_answer_was_made_is_read_in_the_next(house, monkeypatch):
    """Who asks how far they have read, and reads on before that is answered, is not shown the answer for 3 seconds."""
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await say(house, 2, room, "hello")
    ask = Conversations.read_marks

    async def slow(*asked):
        marks = await ask(*asked)
        monkeypatch.setattr(Conversations, "read_marks", ask)
        assert (await house.post(f"/api/conversations/{room}/read", 1, {})).status == 200
        return marks

    monkeypatch.setattr(Conversations, "read_marks", slow)

    async def polled():
        return [
            row["is_read"] for row in (await house.get("/api/poll/messages", 1, conversation=room)).data["messages"]
        ]

    assert await polled() == [False]
    assert await polled() == [True]
