"""Conversations over HTTP: who may make, see and enter which, on the paths of all three surfaces."""

from typing import Any

import pytest
import trio

SURFACES = ("/api/conversations", "/api/messages/conversations", "/api/messaging/conversations")
HUGE = 2**53


async def made(house: Any, creator: int, body: Any, path: str = SURFACES[0], **headers: str) -> dict[str, Any]:
    reply = await house.post(path, creator, body, **headers)
    assert reply.status == 200, reply.json
    row: dict[str, Any] = reply.data["conversation"]
    return row


async def count_of(house: Any, sql: str, *arguments: object) -> int:
    async def run(connection: Any) -> int:
        count: int = await connection.fetchval(sql, *arguments)
        return count

    count: int = await house.house.storage.postgres.transaction(run)
    return count


# -- making -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SURFACES)
@pytest.mark.parametrize(
    "body",
    [
        {"recipientId": 2},
        {"recipientId": "2", "pitchId": 7},
        {"recipient_id": 2, "type": "direct"},
        {"participantIds": [2]},
        {"participants": ["1", "2"], "isGroup": False},
    ],
)
async def test_a_direct_conversation_is_found_or_made(house, path, body):
    await house.people(1, 2)
    first = await house.post(path, 1, body)
    assert first.status == 200  # existing-system.md sections 1.2 and 1.3: 200 also when it is new
    row = first.data["conversation"]
    assert (row["is_group"], row["participant_id"], row["participant_name"]) == (False, 2, "user-2")
    assert (row["participant_count"], row["unread_count"], row["last_message"]) == (2, 0, None)
    again = await house.post(path, 2, {"recipientId": 1})
    assert (again.status, again.data["conversation"]["id"]) == (200, row["id"])
    assert again.data["conversation"]["participant_name"] == "user-1"


async def test_a_pair_that_is_made_by_both_at_once_is_one_conversation(house):
    await house.people(1, 2)
    ids = []

    async def make(creator: int, other: int) -> None:
        ids.append((await made(house, creator, {"recipientId": other}))["id"])

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(make, 1, 2)
            nursery.start_soon(make, 2, 1)
    assert len(set(ids)) == 1
    assert len(ids) == 16
    assert await count_of(house, "select count(*) from conversations") == 1
    assert await count_of(house, "select count(*) from participants") == 2


async def test_pairs_made_from_many_sides_at_once_do_not_block_each_other(house):
    people = range(1, 7)
    await house.people(*people)
    ids: dict[frozenset[int], set[int]] = {}

    async def make(creator: int, other: int) -> None:
        row = await made(house, creator, {"recipientId": other})
        ids.setdefault(frozenset((creator, other)), set()).add(row["id"])

    async with trio.open_nursery() as nursery:
        for creator in people:
            for other in people:
                if creator != other:
                    nursery.start_soon(make, creator, other)
    assert all(len(found) == 1 for found in ids.values())
    assert len(ids) == 15


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"participantIds": [2, 3], "title": "  Plans  "}, 3),
        ({"participants": ["2", "3", 3, 1], "name": "Plans", "type": "group"}, 3),
        ({"recipientId": 2, "isGroup": True, "title": "Plans"}, 2),
        ({"isGroup": True, "title": "Plans"}, 1),
        ({"title": "Plans", "open": True}, 1),
        ({"participantIds": [], "type": "group", "isGroup": True, "name": "Plans"}, 1),
    ],
)
async def test_a_group_has_its_creator_as_its_admin(house, body, count):
    await house.people(1, 2, 3)
    row = await made(house, 1, body)
    assert (row["is_group"], row["title"], row["participant_name"]) == (True, "Plans", "Plans")
    assert (row["participantCount"], row["participant_type"]) == (count, "group")
    assert row["is_open"] is body.get("open", False)
    people = (await house.get(f"/api/conversations/{row['id']}/participants", 1)).data["participants"]
    assert [person["role"] for person in people] == ["admin"] + ["member"] * (count - 1)
    assert people[0].items() >= {"user_id": 1, "userId": 1, "name": "user-1"}.items()


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"recipientId": None},
        {"recipientId": 1},
        {"recipientId": "1"},
        {"recipientId": 0},
        {"recipientId": -2},
        {"recipientId": 2.5},
        {"recipientId": True},
        {"recipientId": "NaN"},
        {"recipientId": "two"},
        {"recipientId": " 2"},
        {"recipientId": "٢"},
        {"recipientId": ""},
        {"recipientId": HUGE},
        {"recipientId": str(HUGE)},
        {"recipientId": "9" * 400},
        {"recipientId": [2]},
        {"recipientId": {"id": 2}},
        {"participantIds": 2},
        {"participantIds": "2"},
        {"participantIds": []},
        {"participantIds": [1]},
        {"participantIds": [2, None]},
        {"participantIds": [[2]]},
        {"participantIds": [2, "x"]},
        {"participantIds": list(range(2, 1004))},
        {"participantIds": list(range(2, 802)), "participants": list(range(802, 1602))},
        {"participants": {"2": 2}},
        {"participantIds": [2, 3], "type": "direct"},
        {"participantIds": [2, 3], "isGroup": False},
        {"recipientId": 2, "isGroup": True, "type": "direct"},
        {"recipientId": 2, "isGroup": "yes"},
        {"recipientId": 2, "isGroup": 1},
        {"recipientId": 2, "type": "channel"},
        {"recipientId": 2, "type": "direct", "open": True},
        {"recipientId": 2, "open": "true"},
        {"isGroup": True, "title": "x" * 256},
        {"isGroup": True, "title": 7},
        {"isGroup": True, "title": "a\nb"},
        {"isGroup": True, "title": "a\u2029b"},
        {"isGroup": True, "title": "\u202eb"},
        {"isGroup": True, "title": "a\0b"},
        [],
        "text",
        b"",
        b"{",
        b"\xff",
        b'{"isGroup": true, "title": "\\ud800"}',
        b'{"recipientId": 9007199254740993}',
        b'{"recipientId": NaN}',
        b'{"recipientId": 1e999}',
        b"[" * 100_000,
    ],
)
async def test_what_cannot_be_made_is_refused_with_a_sentence_and_changes_nothing(house, body):
    await house.people(1, 2, 3)
    reply = await house.post("/api/conversations", 1, body)
    assert 400 <= reply.status < 500, reply.json
    assert reply.code
    assert reply.message
    assert await count_of(house, "select count(*) from conversations") == 0


async def test_nobody_speaks_with_somebody_who_does_not_exist(house):
    await house.people(1, 2)
    for body in ({"recipientId": 99}, {"participantIds": [2, 99, 2**52]}):
        reply = await house.post("/api/conversations", 1, body)
        assert (reply.status, reply.code) == (404, "USER_NOT_FOUND")
        assert 99 in reply.json["error"]["details"]["userIds"]
    assert await count_of(house, "select count(*) from conversations") == 0


async def test_members_with_a_socket_are_told_of_a_new_conversation(live_house):
    await live_house.people(1, 2, 3)
    async with live_house.socket(2) as theirs, live_house.socket(1) as own:
        room = await live_house.conversation(1, 2, 3, title="Plans")
        for socket, user, role in ((theirs, 2, "member"), (own, 1, "admin")):
            frame = await socket.hear("member")
            assert (frame["room"], frame["data"]) == (room, {"user": user, "role": role, "change": "joined"})


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 2}])
async def test_to_make_conversations_is_held_to_the_limit_of_messages_and_what_is_there_is_free(house):
    await house.people(1, 2, 3)
    group = {"participantIds": [2, 3], "title": "Plans"}
    pair = await made(house, 1, {"recipientId": 2})
    assert (await house.post(SURFACES[0], 1, {"recipientId": 99})).status == 404
    assert await made(house, 1, {"recipientId": 2}) == pair
    kept = await made(house, 1, group, Idempotency_Key="k")
    for body in (group, {"recipientId": 3}, {"title": "Lobby", "open": True}):
        for path in SURFACES:
            over = await house.post(path, 1, body, Idempotency_Key="another")
            assert (over.status, over.code) == (429, "RATE_LIMIT_EXCEEDED")
            assert 1 <= int(over.headers["Retry-After"]) <= 60
    assert await made(house, 1, {"recipientId": 2}) == pair
    assert await made(house, 1, group, Idempotency_Key="k") == kept
    over = await house.post(f"/api/conversations/{pair['id']}/messages", 1, {"content": "the limit is one"})
    assert over.status == 429
    assert await made(house, 2, group | {"participantIds": [1, 3]}), "the limit is each user's own"
    assert await count_of(house, "select count(*) from conversations") == 3
    assert await count_of(house, "select count(*) from idempotency_keys") == 1, "what was refused leaves its key free"


# -- once -------------------------------------------------------------------------------------------------------------


async def test_the_same_idempotency_key_makes_one_group_and_gives_one_answer(house):
    await house.people(1, 2, 3)
    body = {"participantIds": [2, 3], "title": "Plans"}
    first = await house.post("/api/conversations", 1, body, Idempotency_Key="k-1")
    again = await house.post("/api/messages/conversations", 1, body, Idempotency_Key="k-1")
    assert (first.status, again.status) == (200, 200)
    assert again.data == first.data
    assert "Idempotency-Replay" not in first.headers
    assert again.headers["Idempotency-Replay"] == "true"
    other_body = await house.post("/api/conversations", 1, body | {"title": "Others"}, Idempotency_Key="k-1")
    assert (other_body.status, other_body.code) == (409, "CONFLICT")
    of_another = await house.post("/api/conversations", 2, {"participantIds": [1, 3]}, Idempotency_Key="k-1")
    assert of_another.status == 200
    assert await count_of(house, "select count(*) from conversations") == 2


async def test_the_same_idempotency_key_changes_a_user_once(house):
    _, key = await house.house.storage.api_keys.create(name="", role="service", scopes=["users:write"])
    service = {"Authorization": f"Bearer {key}", "Idempotency-Key": "k"}
    first = await house.ask("PUT", "/api/users/7", None, {"name": "Bob"}, service)
    again = await house.ask("PUT", "/api/users/7", None, {"name": "Bob"}, service)
    assert (first.status, again.status, again.data) == (201, 201, first.data)
    assert again.headers["Idempotency-Replay"] == "true"
    other = await house.ask("PUT", "/api/users/7", None, {"name": "Robert"}, service)
    assert (other.status, other.code) == (409, "CONFLICT")
    own = await house.put("/api/users/7", 7, {"name": "Rob"}, Idempotency_Key="k")
    assert (own.status, own.data["user"]["name"]) == (200, "Rob")


async def test_requests_with_one_key_at_the_same_time_make_one_group(house):
    await house.people(1, 2, 3)
    replies = []

    async def make() -> None:
        body = {"participantIds": [2, 3]}
        replies.append(await house.post("/api/conversations", 1, body, Idempotency_Key="same"))

    async with trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(make)
    assert {reply.status for reply in replies} <= {200, 409}
    assert len({reply.data["conversation"]["id"] for reply in replies if reply.status == 200}) == 1
    for reply in replies:
        if reply.status == 409:
            assert (reply.headers["Retry-After"], reply.json["error"]["retryAfter"]) == ("1", 1)
    assert await count_of(house, "select count(*) from conversations") == 1


async def test_a_refused_request_leaves_its_key_free(house):
    await house.people(1, 2)
    refused = await house.post("/api/conversations", 1, {"recipientId": 99}, Idempotency_Key="k")
    assert refused.status == 404
    assert (await house.post("/api/conversations", 1, {"recipientId": 2}, Idempotency_Key="k")).status == 200
    assert (await house.post("/api/conversations", 1, {"recipientId": 2}, Idempotency_Key="a b")).status == 400
    assert (await house.post("/api/conversations", 1, {"recipientId": 2}, Idempotency_Key="x" * 256)).status == 400


async def test_an_answer_is_kept_for_a_day_and_then_swept_away(house):
    await house.people(1, 2, 3)
    body = {"participantIds": [2, 3]}
    for key in ("a", "b", "c"):
        await made(house, 1, body, Idempotency_Key=key)

    async def age(connection: Any) -> None:
        await connection.execute("update idempotency_keys set created_at = created_at - interval '24 hours 1 second'")

    await house.house.storage.postgres.transaction(age)
    again = await house.post("/api/conversations", 1, body, Idempotency_Key="a")
    assert "Idempotency-Replay" not in again.headers
    assert await count_of(house, "select count(*) from idempotency_keys") == 1
    assert await count_of(house, "select count(*) from conversations") == 4


# -- looking ----------------------------------------------------------------------------------------------------------


async def test_one_sees_ones_own_conversations_and_no_others_newest_activity_first(house):
    await house.people(1, 2, 3)
    first, second = await house.conversation(1, 2), await house.conversation(1, 3)
    foreign = await house.conversation(2, 3)
    for room in (second, first):
        await house.post(f"/api/conversations/{room}/messages", 1, {"content": f"in {room}"})
    for path in (*SURFACES, "/api/messages"):
        reply = await house.get(path, 1)
        rows = reply.data["conversations"]
        assert [row["id"] for row in rows] == [first, second]
        assert rows[0]["last_message"] == rows[0]["lastMessage"] == f"in {first}"
        assert rows[0]["last_message_time"] == rows[0]["updated_at"]
    assert (await house.get(f"/api/conversations/{foreign}", 1)).code == "CONVERSATION_NOT_FOUND"


async def test_a_list_is_read_page_by_page(house):
    await house.people(1)
    rooms = [await house.conversation(1, title=str(n)) for n in range(5)]
    seen: list[int] = []
    while True:
        page = (await house.get("/api/messaging/conversations", 1, limit=2, offset=len(seen))).data
        seen += [row["id"] for row in page["conversations"]]
        if not page["hasMore"]:
            break
    assert seen == rooms[::-1]


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "limit=-1", "limit=x", "limit=", "offset=-1", "offset=1e3", f"offset={HUGE}"]
)
async def test_a_page_that_cannot_be_is_refused(house, query):
    await house.people(1)
    for path in ("/api/conversations", "/api/conversations/open"):
        reply = await house.get(f"{path}?{query}", 1)
        assert (reply.status, reply.code) == (400, "VALIDATION")


async def test_guide_bs_user_id_is_nobody_elses(house):
    await house.people(1, 2)
    assert (await house.get("/api/messages/conversations?userId=1", 1)).status == 200
    assert (await house.get("/api/messages/conversations?userId=2", 1)).code == "FORBIDDEN"
    assert (await house.get("/api/messages/conversations?userId=user123", 1)).code == "FORBIDDEN"


async def test_unread_messages_are_those_of_others_after_the_marker(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for n in range(3):
        await house.post(f"/api/conversations/{room}/messages", 1, {"content": str(n)})
    await house.post(f"/api/conversations/{room}/messages", 2, {"content": "own"})

    async def unread(user: int) -> tuple[int, int, int]:
        row = (await house.get(f"/api/conversations/{room}", user)).data["conversation"]
        listed = (await house.get("/api/conversations", user)).data
        assert listed["conversations"][0]["unread_count"] == row["unreadCount"]
        alone = (await house.get("/api/messages/unread-count", user)).data["unreadCount"]
        return row["unread_count"], listed["unreadCount"], alone

    assert await unread(2) == (3, 3, 3)
    assert await unread(1) == (1, 1, 1)
    await house.post(f"/api/conversations/{room}/read", 2, {"seq": 2})
    assert await unread(2) == (1, 1, 1)


async def test_no_more_than_a_hundred_unread_messages_are_counted_for_each_conversation(house):
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(2)]
    for room in rooms:
        for n in range(101):
            await house.post(f"/api/conversations/{room}/messages", 1, {"content": str(n)})
    listed = (await house.get("/api/conversations", 2)).data
    assert [row["unread_count"] for row in listed["conversations"]] == [100, 100]
    assert listed["unreadCount"] == 200


async def test_what_was_said_last_and_is_unread_is_found_behind_any_number_of_changes(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    message = (await house.post(f"/api/conversations/{room}/messages", 1, {"content": "said last"})).data["message"][
        "id"
    ]

    async def react(connection):
        await connection.execute(
            "insert into message_changes (conversation_id, seq, message_id, kind, reaction, by_id, changed_at)"
            " select $1, 1 + number, $2, 'reacted', 'r' || number, 1, now() from generate_series(1, 12000) number",
            room,
            message,
        )
        await connection.execute("update conversations set top_seq = 12001 where id = $1", room)

    await house.house.storage.postgres.transaction(react)
    (conversation,) = (await house.get("/api/conversations", 2)).data["conversations"]
    assert (conversation["unread_count"], conversation["last_message"]) == (1, "said last")
    polled = (await house.get("/api/poll/messages", 2)).data
    assert (polled["unreadCount"], [one["content"] for one in polled["messages"]]) == (1, ["said last"])


async def test_a_conversation_comes_with_its_newest_fifty_messages_oldest_first(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for n in range(1, 53):
        await house.post(f"/api/conversations/{room}/messages", 1, {"content": str(n)})
    found = (await house.get(f"/api/conversations/{room}", 2)).data
    assert [message["content"] for message in found["messages"]] == [str(n) for n in range(3, 53)]
    assert found["hasMore"] is True
    assert found["conversation"]["id"] == room


async def test_there_is_more_where_there_are_older_messages_and_not_where_somebody_came_in(house):
    await house.people(1, 2)
    room = await house.conversation(1, open=True)
    await house.post(f"/api/conversations/{room}/join", 2)
    for messages, has_more in ((50, False), (51, True)):
        while (await house.get(f"/api/conversations/{room}/messages", 1)).data["topSeq"] < 1 + messages:
            await house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"})
        found = (await house.get(f"/api/conversations/{room}", 2)).data
        assert (len(found["messages"]), found["hasMore"]) == (50, has_more)


@pytest.mark.parametrize("given", ["0", "-1", "x", "1.5", "%00", str(HUGE), "9" * 40, "null", "%F0%9F%98%80"])
async def test_what_is_no_id_is_refused_on_every_path(house, given):
    await house.people(1)
    for method, path in PATHS_OF_A_CONVERSATION:
        reply = await house.ask(method, path.format(room=given), 1, {"content": "x", "userIds": [1]})
        assert reply.status in (400, 404), (method, path, reply.json)
        assert reply.message


# -- who may ----------------------------------------------------------------------------------------------------------

PATHS_OF_A_CONVERSATION = (
    ("GET", "/api/conversations/{room}"),
    ("GET", "/api/conversations/{room}/messages"),
    ("GET", "/api/messaging/conversations/{room}/messages"),
    ("GET", "/api/messages/{room}"),
    ("GET", "/api/conversations/{room}/participants"),
    ("POST", "/api/conversations/{room}/participants"),
    ("DELETE", "/api/conversations/{room}/participants/1"),
    ("POST", "/api/conversations/{room}/join"),
    ("POST", "/api/conversations/{room}/messages"),
    ("POST", "/api/conversations/{room}/read"),
)
BODY = {"content": "x", "userIds": [3], "conversationId": None}


async def test_nobody_comes_in_without_signing_in(house):
    paths = [(method, path.format(room=1)) for method, path in PATHS_OF_A_CONVERSATION]
    paths += [("GET", path) for path in (*SURFACES, "/api/conversations/open", "/api/messages/unread-count")]
    paths += [("POST", path) for path in (*SURFACES, "/api/messages/send", "/api/messaging/send", "/api/messages")]
    paths += [("POST", "/api/messages/1/read"), ("PUT", "/api/messages/1/read")]
    for method, path in paths:
        reply = await house.ask(method, path, None, {"content": "x", "recipientId": 1, "userIds": [1]})
        assert (reply.status, reply.code) == (401, "UNAUTHORIZED"), path


@pytest.mark.parametrize("is_removed", [False, True])
async def test_who_is_not_a_member_sees_and_does_nothing_on_any_path(house, is_removed):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    sent = await house.post(f"/api/conversations/{room}/messages", 1, {"content": "secret"})
    if is_removed:
        assert (await house.get(f"/api/conversations/{room}", 3)).status == 200
    await house.delete(f"/api/conversations/{room}/participants/3", 1)
    message = sent.data["messageId"]
    paths = [(method, path.format(room=room)) for method, path in PATHS_OF_A_CONVERSATION]
    paths += [("GET", f"/api/messages/{message}"), ("POST", f"/api/messages/{message}/read")]
    paths += [("PUT", f"/api/messages/{message}/read")]
    for method, path in paths:
        reply = await house.ask(method, path, 3, BODY)
        assert reply.status in (403, 404), (method, path, reply.json)
        assert "secret" not in str(reply.json)
    for path in ("/api/messages/send", "/api/messaging/send", "/api/messages"):
        assert (await house.post(path, 3, {"conversationId": room, "content": "x"})).status == 403
    by_message = await house.post(f"/api/conversations/{room}/read", 3, {"messageIds": [message]})
    assert by_message.status == 404
    assert (await house.get("/api/conversations", 3)).data["conversations"] == []
    assert (await house.get("/api/messages/unread-count", 3)).data["unreadCount"] == 0
    assert await count_of(house, "select count(*) from messages") == 1
    assert await count_of(house, "select count(*) from participants where is_active") == 2


async def test_an_id_that_nobody_has_makes_no_row(house):
    await house.people(1, 2, 3)
    for method, path in PATHS_OF_A_CONVERSATION:
        reply = await house.ask(method, path.format(room=123456), 1, BODY)
        assert reply.status == 404, (method, path, reply.json)
    assert await count_of(house, "select count(*) from ownership where kind = 'room'") == 0


async def test_only_an_admin_of_a_group_brings_people_in(house):
    await house.people(1, 2, 3, 4)
    room = await house.conversation(1, 2)
    path = f"/api/conversations/{room}/participants"
    assert (await house.post(path, 2, {"userIds": [3]})).code == "FORBIDDEN"
    added = await house.post(path, 1, {"userIds": [3, "4", 2, 3]})
    assert (added.status, added.data) == (200, {"conversationId": room, "added": [3, 4]})
    assert (await house.post(path, 1, {"userIds": [3, 4]})).data["added"] == []
    assert (await house.get(f"/api/conversations/{room}", 4)).data["conversation"]["participant_count"] == 4
    assert (await house.post(path, 3, {"userIds": [2]})).code == "FORBIDDEN"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"userIds": []},
        {"userIds": None},
        {"userIds": 3},
        {"userIds": ["x"]},
        {"userIds": [True]},
        {"userIds": [0]},
        {"userIds": list(range(1, 1002))},
        {"userIds": [HUGE]},
        {"userIds": [3, 99]},
        {"userIds": [[3]]},
        b"[3]",
    ],
)
async def test_people_who_cannot_be_brought_in_are_refused_and_nobody_comes(house, body):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2)
    reply = await house.post(f"/api/conversations/{room}/participants", 1, body)
    assert reply.status in (400, 404), reply.json
    assert await count_of(house, "select count(*) from participants") == 2


async def test_a_group_is_left_by_oneself_and_cleared_by_its_admin(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    path = f"/api/conversations/{room}/participants"
    assert (await house.delete(f"{path}/3", 2)).code == "FORBIDDEN"
    assert (await house.delete(f"{path}/2", 2)).data == {"conversationId": room, "removed": 2}
    assert (await house.delete(f"{path}/2", 2)).code == "FORBIDDEN"
    assert (await house.delete(f"{path}/2", 1)).code == "USER_NOT_FOUND"
    assert (await house.delete(f"{path}/3", 1)).status == 200
    people = (await house.get(path, 1)).data["participants"]
    assert [person["user_id"] for person in people] == [1]
    await house.post(path, 1, {"userIds": [2]})
    assert (await house.get(f"/api/conversations/{room}", 2)).status == 200


async def test_who_is_in_a_direct_conversation_stays_the_same(house):
    await house.people(1, 2, 3)
    room = (await made(house, 1, {"recipientId": 2}))["id"]
    assert (await house.post(f"/api/conversations/{room}/participants", 1, {"userIds": [3]})).code == "FORBIDDEN"
    assert (await house.delete(f"/api/conversations/{room}/participants/1", 1)).code == "FORBIDDEN"
    assert (await house.post(f"/api/conversations/{room}/join", 3)).code == "FORBIDDEN"


async def test_an_open_group_is_found_and_entered_by_anybody_who_is_signed_in(house):
    await house.people(1, 2)
    closed, lobby = await house.conversation(1, title="Board"), await house.conversation(1, title="Lobby", open=True)
    found = (await house.get("/api/conversations/open", 2)).data["conversations"]
    assert [(row["id"], row["title"], row["is_member"]) for row in found] == [(lobby, "Lobby", False)]
    assert (await house.get(f"/api/conversations/{lobby}", 2)).status == 404
    assert (await house.post(f"/api/conversations/{closed}/join", 2)).code == "FORBIDDEN"
    for _ in range(2):
        joined = await house.post(f"/api/conversations/{lobby}/join", 2)
        assert (joined.status, joined.data["conversation"]["participant_count"]) == (200, 2)
    assert (await house.get("/api/conversations/open", 2)).data["conversations"][0]["isMember"] is True
    assert (await house.post(f"/api/conversations/{lobby}/messages", 2, {"content": "hi"})).status == 201
    assert (await house.post(f"/api/conversations/{lobby}/participants", 2, {"userIds": [1]})).code == "FORBIDDEN"


async def test_many_enter_an_open_group_at_once(house):
    people = range(2, 30)
    await house.people(1, *people)
    lobby = await house.conversation(1, title="Lobby", open=True)
    async with trio.open_nursery() as nursery:
        for user in people:
            nursery.start_soon(house.post, f"/api/conversations/{lobby}/join", user)
    path = f"/api/conversations/{lobby}/participants"
    seen: list[int] = []
    while True:
        page = (await house.get(path, 1, limit=10, after=seen[-1] if seen else 0)).data
        seen += [person["user_id"] for person in page["participants"]]
        if not page["hasMore"]:
            break
    assert seen == [1, *people]


async def test_the_answer_to_a_change_of_members_is_kept_under_its_key(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1)
    path = f"/api/conversations/{room}/participants"
    first = await house.post(path, 1, {"userIds": [2]}, Idempotency_Key="add")
    again = await house.post(path, 1, {"userIds": [2]}, Idempotency_Key="add")
    assert first.data == again.data == {"conversationId": room, "added": [2]}
    assert again.headers["Idempotency-Replay"] == "true"
    assert (await house.post(path, 1, {"userIds": [3]}, Idempotency_Key="add")).code == "CONFLICT"
    assert (await house.delete(f"{path}/2", 1, Idempotency_Key="add")).status == 200
    assert (await house.delete(f"{path}/2", 1, Idempotency_Key="add")).status == 200
    refused = await house.post(path, 1, {"userIds": [99]}, Idempotency_Key="later")
    assert refused.status == 404
    await house.people(99)
    assert (await house.post(path, 1, {"userIds": [99]}, Idempotency_Key="later")).data["added"] == [99]


async def test_what_is_said_again_of_coming_in_is_read_anew_and_is_not_for_who_is_out(house):
    await house.people(1, 2)
    room = await house.conversation(1, open=True)
    said = await house.post(f"/api/conversations/{room}/messages", 1, {"content": "SECRET"})
    enter = {"path": f"/api/conversations/{room}/join", "user": 2, "Idempotency_Key": "enter"}
    assert (await house.post(**enter)).data["conversation"]["last_message"] == "SECRET"
    await house.delete(f"/api/messages/{said.data['messageId']}", 1)
    again = await house.post(**enter)
    assert (again.status, again.headers["Idempotency-Replay"]) == (200, "true")
    assert (again.data["conversationId"], again.data["conversation"]["last_message"]) == (room, None)
    await house.delete(f"/api/conversations/{room}/participants/2", 1)
    gone = await house.post(**enter)
    assert (gone.status, gone.data) == (200, {"conversationId": room, "conversation": None})


async def test_a_change_of_members_that_is_under_way_is_not_begun_twice(house):
    await house.people(1, 2)
    room = await house.conversation(1)
    replies = []

    async def add() -> None:
        path = f"/api/conversations/{room}/participants"
        replies.append(await house.post(path, 1, {"userIds": [2]}, Idempotency_Key="add"))

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(add)
    assert {reply.status for reply in replies} <= {200, 409}
    assert all(reply.data["added"] == [2] for reply in replies if reply.status == 200)
    assert all(reply.headers["Retry-After"] == "1" for reply in replies if reply.status == 409)


async def test_a_member_who_is_removed_hears_nothing_more(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with live_house.socket(2, room) as stays, live_house.socket(3, room) as goes:
        await live_house.delete(f"/api/conversations/{room}/participants/3", 1)
        await goes.hear("member")
        await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "secret"})
        assert (await stays.hear("message"))["data"]["body"] == "secret"
        await goes.say({"type": "ping", "id": "after"})
        assert (await goes.hear("pong", "message"))["type"] == "pong"


# -- documentation and health -----------------------------------------------------------------------------------------


async def test_every_operation_is_documented(house):
    paths = (await house.get("/openapi.json")).json["paths"]
    documented = {(method.upper(), path) for path, methods in paths.items() for method in methods}
    expected = {(method, path.format(room="{id}")) for method, path in PATHS_OF_A_CONVERSATION}
    expected = {(method, path.replace("participants/1", "participants/{userId}")) for method, path in expected}
    expected |= {(method, path) for method in ("GET", "POST") for path in SURFACES}
    expected |= {("GET", "/api/messages"), ("GET", "/api/conversations/open"), ("GET", "/api/messages/unread-count")}
    expected |= {("POST", path) for path in ("/api/messages", "/api/messages/send", "/api/messaging/send")}
    expected |= {("POST", "/api/messages/{id}/read"), ("PUT", "/api/messages/{id}/read")}
    expected |= {("GET", "/api/messaging/health")}
    assert expected <= documented


async def test_messaging_says_how_it_stands(house):
    reply = await house.get("/api/messaging/health")
    assert (reply.status, reply.json["status"], reply.data["status"]) == (200, "healthy", "healthy")
    assert reply.data["services"] == {"database": "healthy", "messaging": "healthy"}
