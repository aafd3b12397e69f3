"""Messages over HTTP: sent once, in order, by members only; read by page and by marker."""

import json
from typing import Any

import pytest
import trio

SENDS = ("/api/messages/send", "/api/messaging/send", "/api/messages")
HUGE = 2**53


async def say(house: Any, room: int, user: int, content: str = "hello", **body: Any) -> dict[str, Any]:
    reply = await house.post(f"/api/conversations/{room}/messages", user, {"content": content, **body})
    assert reply.status == 201, reply.json
    row: dict[str, Any] = reply.data["message"]
    return row


async def stored(house: Any) -> int:
    async def run(connection: Any) -> int:
        count: int = await connection.fetchval("select count(*) from messages")
        return count

    count: int = await house.house.storage.postgres.transaction(run)
    return count


# -- sending ----------------------------------------------------------------------------------------------------------


async def test_a_message_is_answered_as_the_existing_client_reads_it(house):
    await house.people(1, role="creator")
    await house.people(2)
    room = await house.conversation(1, 2)
    reply = await house.post(f"/api/conversations/{room}/messages", 1, {"content": "hello"})
    assert reply.status == 201
    row = reply.data["message"]
    expected = {
        "conversation_id": room,
        "sender_id": 1,
        "sender_name": "user-1",
        "sender_type": "creator",
        "content": "hello",
        "is_read": False,
        "seq": 1,
    }
    assert row.items() >= expected.items()
    assert (row["conversationId"], row["senderId"], row["createdAt"]) == (room, 1, row["created_at"])
    assert (reply.data["messageId"], reply.data["conversationId"]) == (row["id"], room)
    found = (await house.get(f"/api/conversations/{room}/messages", 2)).data["messages"]
    assert found == [row]


@pytest.mark.parametrize("path", SENDS)
async def test_a_message_goes_into_a_conversation_from_every_surface(house, path):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    body = {"messageType": "text", "priority": "normal", "isEncrypted": False, "attachments": [], "senderId": "1"}
    reply = await house.post(path, 1, {"conversationId": str(room), "content": "hello", **body})
    assert (reply.status, reply.data["message"]["conversation_id"]) == (200, room)


@pytest.mark.parametrize(
    "place",
    [
        {"recipientId": 2, "receiverId": 3},
        {"recipientId": 2, "recipient_id": 3},
        {"receiver_id": 3, "receiverId": "2"},
        {"conversationId": 5, "conversation_id": 6},
        {"recipientId": 2, "clientId": "a", "client_id": "b"},
    ],
)
async def test_two_names_of_one_field_that_differ_send_nothing(house, place):
    await house.people(1, 2, 3)
    reply = await house.post("/api/messages/send", 1, {"content": "hello", **place})
    assert (reply.status, reply.code) == (400, "VALIDATION")
    assert "differ" in reply.message
    assert await stored(house) == 0


async def test_two_names_of_one_field_that_agree_or_say_nothing_are_one(house):
    await house.people(1, 2)
    for place in ({"recipientId": 2, "receiverId": "2"}, {"recipientId": None, "recipient_id": 2, "receiverId": None}):
        reply = await house.post("/api/messages/send", 1, {"content": "hello", **place})
        assert reply.status == 201, reply.json


async def test_a_body_that_names_another_conversation_than_the_path_is_refused(house):
    await house.people(1, 2)
    room, other = [await house.conversation(1, 2) for _ in range(2)]
    path = f"/api/conversations/{room}/messages"
    reply = await house.post(path, 1, {"content": "hello", "conversationId": other})
    assert (reply.status, reply.code) == (400, "VALIDATION")
    assert await stored(house) == 0
    assert (await house.post(path, 1, {"content": "hello", "conversationId": str(room)})).status == 201


async def test_a_message_that_a_key_sends_for_a_user_is_that_users(house):
    await house.people(1, role="creator")
    await house.people(2)
    room = await house.conversation(1, 2)
    _, key = await house.house.storage.api_keys.create(name="backend", role="service", scopes=["act_as"])
    service = {"Authorization": f"Bearer {key}", "X-Act-As": "1"}
    sent = await house.ask("POST", f"/api/conversations/{room}/messages", None, {"content": "hello"}, service)
    row = sent.data["message"]
    assert (row["sender_id"], row["sender_name"], row["sender_type"]) == (1, "user-1", "creator")
    assert (await house.get(f"/api/conversations/{room}/messages", 1)).data["messages"] == [row]


@pytest.mark.parametrize("path", SENDS)
@pytest.mark.parametrize("name", ["recipientId", "recipient_id", "receiverId"])
async def test_a_message_to_somebody_finds_or_makes_the_conversation_of_the_pair(house, path, name):
    await house.people(1, 2)
    first = await house.post(path, 1, {name: "2", "content": "hello", "subject": "s", "pitchId": None})
    back = await house.post(path, 2, {name: 1, "content": "hello to you"})
    assert (first.status, back.status) == (201, 201)
    assert first.data["conversationId"] == back.data["conversationId"]
    assert back.data["message"]["seq"] == 2


async def test_first_messages_of_a_pair_from_both_sides_at_once_meet_in_one_conversation(house):
    await house.people(1, 2)
    replies = []

    async def write(user: int, other: int) -> None:
        replies.append(await house.post("/api/messages/send", user, {"recipientId": other, "content": "hello"}))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(write, 1, 2)
            nursery.start_soon(write, 2, 1)
    assert len({reply.data["conversationId"] for reply in replies}) == 1
    assert sorted(reply.data["message"]["seq"] for reply in replies) == list(range(1, 13))


@pytest.mark.parametrize(
    "content", ["a", "x" * 10_000, "😀" * 10_000, "\u0001\t\n", " ", "٣", "</script>", "e\u0301" * 5000]
)
async def test_one_to_ten_thousand_code_points_are_stored_as_they_were_sent(house, content):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for escaped in (True, False):
        body = json.dumps({"content": content}, ensure_ascii=escaped).encode()
        assert (await house.post(f"/api/conversations/{room}/messages", 1, body)).status == 201
    found = (await house.get(f"/api/conversations/{room}/messages", 2)).data["messages"]
    assert [message["content"] for message in found] == [content, content]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"content": ""},
        {"content": None},
        {"content": 5},
        {"content": True},
        {"content": ["hello"]},
        {"content": {"text": "hello"}},
        {"content": "x" * 10_001},
        {"content": "😀" * 10_001},
        {"content": "a\0b"},
        {"body": "hello"},
        {"content": "hello", "clientId": ""},
        {"content": "hello", "clientId": 5},
        {"content": "hello", "clientId": "x" * 256},
        {"content": "hello", "clientId": ["a"]},
        {"content": "hello", "requestId": {"a": 1}},
        {"content": "hello", "senderId": 2},
        {"content": "hello", "senderId": "2"},
        {"content": "hello", "senderId": "user123"},
        {"content": "hello", "senderId": True},
        {"content": "hello", "senderId": [1]},
        {"content": "hello", "senderId": HUGE},
        {"content": "hello", "messageType": "system"},
        {"content": "hello", "messageType": 1},
        {"content": "hello", "priority": "extreme"},
        {"content": "hello", "isEncrypted": True},
        {"content": "hello", "isEncrypted": "no"},
        {"content": "hello", "attachments": [{"url": "/api/media/file/x"}]},
        {"content": "hello", "attachments": "x"},
        [],
        "hello",
        b"",
        b'{"content": "\\ud800"}',
        b'{"content": "\\u0000"}',
        b'{"content": "\xff"}',
        b'{"content": "hello"',
        b'{"content": "hello", "x": NaN}',
    ],
)
async def test_what_cannot_be_a_message_is_refused_on_every_path_and_changes_nothing(house, body):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    paths = [f"/api/conversations/{room}/messages", *SENDS]
    for path in paths:
        for place in ({"conversationId": room}, {"recipientId": 2}):
            given = {**place, **body} if isinstance(body, dict) and path in SENDS else body
            reply = await house.post(path, 1, given)
            assert 400 <= reply.status < 500, (path, reply.json)
            assert reply.message
    assert await stored(house) == 0
    assert len((await house.get("/api/conversations", 1)).data["conversations"]) == 1


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ({}, 400),
        ({"conversationId": None}, 400),
        ({"conversationId": "conv123"}, 400),
        ({"conversationId": HUGE}, 400),
        ({"conversationId": 0}, 400),
        ({"conversationId": [1]}, 400),
        ({"conversationId": 123456}, 404),
        ({"recipientId": 1}, 400),
        ({"recipientId": 99}, 404),
        ({"recipientId": "x"}, 400),
        ({"recipientId": 1.5}, 400),
        ({"recipientId": True}, 400),
        ({"receiverId": HUGE}, 400),
    ],
)
async def test_a_message_to_nowhere_is_refused(house, place, status):
    await house.people(1, 2)
    for path in SENDS:
        reply = await house.post(path, 1, {"content": "hello", **place})
        assert reply.status == status, reply.json
    assert (await house.get("/api/conversations", 1)).data["conversations"] == []


async def test_a_body_that_is_too_long_is_refused(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    body = json.dumps({"content": "x", "padding": "y" * 1_100_000}).encode()
    reply = await house.post(f"/api/conversations/{room}/messages", 1, body)
    assert (reply.status, reply.code) == (413, "FILE_TOO_LARGE")


async def test_a_sender_with_an_external_id_may_say_so(house):
    await house.people(2)
    alice = {"Authorization": f"Bearer {house.token('alice', name='Alice')}"}
    body = {"recipientId": 2, "content": "hello", "senderId": "alice"}
    sent = await house.ask("POST", "/api/messages/send", None, body, alice)
    assert (sent.status, sent.data["message"]["sender_name"]) == (201, "Alice")
    reply = await house.ask("POST", "/api/messages/send", None, body | {"senderId": "bob"}, alice)
    assert (reply.status, reply.code) == (403, "FORBIDDEN")


# -- once -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["Idempotency-Key", "clientId", "client_id", "requestId"])
async def test_the_same_message_sent_again_gets_the_same_answer_and_is_one_message(house, how):
    await house.people(1, 2)
    room = await house.conversation(1, 2)

    async def send(content: str = "hello") -> Any:
        headers = {"Idempotency-Key": "m 1"} if how == "Idempotency-Key" else {}
        body = {"content": content} if headers else {"content": content, how: "m 1"}
        return await house.ask("POST", f"/api/conversations/{room}/messages", 1, body, headers)

    first, again = await send(), await send()
    assert (first.status, again.status) == (201, 201)
    assert again.data == first.data
    assert first.data["message"]["client_id"] == "m 1"
    assert again.headers["Idempotency-Replay"] == "true"
    other = await send("something else")
    assert (other.status, other.code) == (409, "CONFLICT")
    assert await stored(house) == 1


async def test_a_key_belongs_to_one_sender_in_one_conversation(house):
    await house.people(1, 2)
    rooms = [await house.conversation(1, 2) for _ in range(2)]
    ids = set()
    for room in rooms:
        for user in (1, 2):
            ids.add((await say(house, room, user, f"{room} {user}", clientId="same"))["id"])
    assert len(ids) == 4


async def test_the_key_is_the_same_on_all_surfaces(house):
    await house.people(1, 2)
    first = await house.post("/api/messages/send", 1, {"recipientId": 2, "content": "hi", "clientId": "k"})
    room = first.data["conversationId"]
    others = [
        await house.post("/api/messages/send", 1, {"recipientId": 2, "content": "hi"}, Idempotency_Key="k"),
        await house.post("/api/messaging/send", 1, {"conversationId": room, "content": "hi", "requestId": "k"}),
        await house.post(f"/api/conversations/{room}/messages", 1, {"content": "hi", "clientId": "k"}),
    ]
    assert [reply.data for reply in others] == [first.data] * 3
    assert [reply.status for reply in others] == [201, 200, 201]


@pytest.mark.parametrize(
    ("method", "name"),
    [("GET", "list"), ("GET", "attachments")],
)
async def test_what_the_replaced_system_names_there_and_is_not_here_yet_is_404(house, method, name):
    for user in (None, 1):
        reply = await house.ask(method, f"/api/messages/{name}", user)
        assert (reply.status, reply.code) == (404, "NOT_FOUND")
    assert (await house.get("/api/messages/nonsense", 1)).status == 400


async def test_two_keys_for_one_message_are_refused(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    path = f"/api/conversations/{room}/messages"
    body = {"content": "hi", "clientId": "a"}
    assert (await house.post(path, 1, body, Idempotency_Key="b")).status == 400
    assert (await house.post(path, 1, body, Idempotency_Key="a")).status == 201
    assert (await house.post(path, 1, {"content": "hi"}, Idempotency_Key="x" * 255)).status == 201  # as for mail
    again = await house.post(path, 1, {"content": "hi", "clientId": "x" * 255})
    assert (again.status, again.headers["Idempotency-Replay"]) == (201, "true")
    assert (await house.post(path, 1, {"content": "hi"}, Idempotency_Key="x" * 256)).status == 400
    assert (await house.post(path, 1, {"content": "hi"}, Idempotency_Key="")).status == 400
    assert (await house.post(path, 1, {"content": "hi"}, Idempotency_Key="\xe4")).status == 400


async def test_one_message_sent_many_times_at_once_is_stored_once(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    seqs = []

    async def send(n: int) -> None:
        row = await say(house, room, 1, "hi", clientId=f"k{n % 3}")
        seqs.append((n % 3, row["seq"], row["id"]))

    async with trio.open_nursery() as nursery:
        for n in range(24):
            nursery.start_soon(send, n)
    assert len(set(seqs)) == 3
    assert sorted(seq for _, seq, _ in set(seqs)) == [1, 2, 3]
    assert await stored(house) == 3


async def test_a_key_is_one_over_websocket_and_http(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)

    async with live_house.socket(1, room) as own, live_house.socket(2, room) as theirs:

        async def send(content: str, client_id: str) -> dict[str, Any]:
            await own.say({"type": "send", "id": "c", "room": room, "data": {"body": content, "clientId": client_id}})
            reply: dict[str, Any] = (await own.hear("ack", "error"))["data"]
            return reply

        acked = await send("by socket", "one")
        again = await say(live_house, room, 1, "by socket", clientId="one")
        assert (again["id"], again["seq"]) == (acked["messageId"], acked["seq"])
        path = f"/api/conversations/{room}/messages"
        assert (await live_house.post(path, 1, {"content": "other"}, Idempotency_Key="one")).code == "CONFLICT"

        posted = await say(live_house, room, 1, "by http", clientId="two")
        acked = await send("by http", "two")
        assert (acked["messageId"], acked["seq"], acked["duplicate"]) == (posted["id"], posted["seq"], True)
        assert (await send("other", "two"))["error"] == "CLIENT_ID_CONFLICT"

        for socket, client_ids in ((own, ["one", "two"]), (theirs, [None, None])):
            frames = [await socket.hear("message") for _ in client_ids]
            assert [frame["seq"] for frame in frames] == [1, 2]
            assert [frame["data"].get("clientId") for frame in frames] == client_ids


async def test_the_existing_client_hears_others_and_of_its_own_message_only_that_it_was_sent(live_house):
    await live_house.people(1, 2)
    async with live_house.compat_socket(1) as own, live_house.compat_socket(2) as theirs:
        sent = await live_house.post("/api/messages/send", 1, {"recipientId": 2, "content": "hi", "clientId": "k"})
        heard, told = await theirs.hear("new_message"), await own.hear("new_message", "message_sent")
    for frame, kind in ((heard, "new_message"), (told, "message_sent")):
        assert (frame["type"], frame["messageId"]) == (kind, sent.data["messageId"])
        assert frame["data"]["conversationId"] == sent.data["conversationId"]
    assert (told["clientId"], heard["content"]) == ("k", "hi")
    assert "clientId" not in heard


async def test_people_who_met_while_connected_see_each_other_come_online(live_house):
    await live_house.people(1, 2)
    async with live_house.compat_socket(2) as theirs:
        await live_house.conversation(1, 2)
        async with live_house.compat_socket(1):
            assert (await theirs.hear("user_online"))["userId"] == 1


# -- how many ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 3}])  # to make the room is one
async def test_over_the_limit_a_message_is_refused_with_the_time_to_wait_and_a_duplicate_is_answered(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2)
    path = f"/api/conversations/{room}/messages"
    first = await say(house, room, 1, "hi", clientId="a")
    for _ in range(3):
        assert (await say(house, room, 1, "hi", clientId="a")) == first
    for refused in ({"content": "", "clientId": "x"}, {"content": "other", "clientId": "a"}):
        assert (await house.post(path, 1, refused)).status in (400, 409)
    assert (await house.post("/api/messages/send", 1, {"recipientId": 99, "content": "hi"})).status == 404
    assert (await house.post("/api/messages/send", 1, {"conversationId": 99, "content": "hi"})).status == 404
    await say(house, room, 1, "hi", clientId="b")

    over = await house.post(path, 1, {"content": "hi", "clientId": "c"})
    assert (over.status, over.code) == (429, "RATE_LIMIT_EXCEEDED")
    assert 1 <= int(over.headers["Retry-After"]) <= 60
    assert over.json["error"]["retryAfter"] == int(over.headers["Retry-After"])
    assert (await say(house, room, 1, "hi", clientId="a")) == first
    await say(house, room, 2, "the limit is each user's own")

    to_a_stranger = await house.post("/api/messages/send", 1, {"recipientId": 3, "content": "hi"})
    assert (to_a_stranger.status, "Retry-After" in to_a_stranger.headers) == (429, True)
    assert (await house.get("/api/conversations", 3)).data["conversations"] == []


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 3}])  # to make the room is one
async def test_socket_and_http_share_one_limit(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    await say(live_house, room, 1)
    async with live_house.socket(1, room) as own:
        for client_id, kind in (("a", "ack"), ("b", "error")):
            await own.say({"type": "send", "id": client_id, "room": room, "data": {"body": "hi"}})
            assert (await own.hear("ack", "error"))["type"] == kind
    assert (await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "hi"})).status == 429


# -- reading ----------------------------------------------------------------------------------------------------------


async def filled(house: Any, count: int) -> tuple[int, list[dict[str, Any]]]:
    """A conversation of 1 and 2 with messages of 1, as 2 is shown them."""
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    rows = [await say(house, room, 1, str(n)) for n in range(1, count + 1)]
    return room, rows


@pytest.mark.parametrize("limit", [1, 3, 7, 200])
async def test_pages_by_seq_have_no_gap_and_no_overlap_either_way(house, limit):
    room, rows = await filled(house, 14)
    path = f"/api/conversations/{room}/messages"

    forwards: list[dict[str, Any]] = []
    while True:
        page = (await house.get(path, 2, after_seq=forwards[-1]["seq"] if forwards else 0, limit=limit)).data
        forwards += page["messages"]
        if not page["hasMore"]:
            break
        if len(rows) < 20:
            await say(house, room, 1, "written meanwhile")
            rows.append((await house.get(path, 2, limit=1)).data["messages"][0])
    assert forwards == rows

    backwards: list[dict[str, Any]] = []
    while True:
        before = {"before_seq": backwards[0]["seq"]} if backwards else {}
        page = (await house.get(path, 2, limit=limit, **before)).data
        backwards = page["messages"] + backwards
        if not page["hasMore"]:
            break
    assert backwards == rows


async def test_a_hole_is_filled_by_after_and_before_together(house):
    room, rows = await filled(house, 10)
    path = f"/api/messaging/conversations/{room}/messages"
    hole = (await house.get(path, 2, after_seq=3, before_seq=7)).data
    assert (hole["messages"], hole["hasMore"]) == (rows[3:6], False)
    part = (await house.get(path, 2, afterSeq=3, beforeSeq=7, limit=2)).data
    assert (part["messages"], part["hasMore"]) == (rows[3:5], True)
    assert (await house.get(path, 2, after_seq=6, before_seq=7)).data["messages"] == []


async def test_pages_by_offset_count_from_the_newest(house):
    room, rows = await filled(house, 10)
    for path in (f"/api/messages/{room}", f"/api/conversations/{room}/messages"):
        newest = (await house.get(path, 2, limit=4)).data
        assert (newest["messages"], newest["hasMore"], newest["topSeq"]) == (rows[6:], True, 10)
        older = (await house.get(path, 2, limit=4, offset=4)).data
        assert (older["messages"], older["hasMore"]) == (rows[2:6], True)
        oldest = (await house.get(path, 2, limit=4, offset=8)).data
        assert (oldest["messages"], oldest["hasMore"]) == (rows[:2], False)
        assert (await house.get(path, 2, offset=1000)).data["messages"] == []


async def test_without_a_limit_fifty_messages_come(house):
    room, rows = await filled(house, 51)
    found = (await house.get(f"/api/conversations/{room}/messages", 2)).data
    assert (found["messages"], found["hasMore"]) == (rows[1:], True)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=x",
        "limit=1.5",
        "limit=%00",
        "offset=-1",
        "after_seq=-1",
        "after_seq=x",
        "before_seq=1e3",
        f"before_seq={HUGE}",
        f"after_seq={'9' * 50}",
        "offset=1&after_seq=2",
        "after_seq=",
    ],
)
async def test_a_page_that_cannot_be_is_refused(house, query):
    room, _ = await filled(house, 1)
    for path in (f"/api/conversations/{room}/messages", f"/api/messages/{room}"):
        reply = await house.get(f"{path}?{query}", 2)
        assert reply.status == 400, reply.json


async def test_the_id_in_a_path_of_messages_is_that_of_a_message_or_of_a_conversation(house):
    room, rows = await filled(house, 2)
    one = await house.get(f"/api/messages/{rows[1]['id']}", 2)
    assert one.data == {"message": rows[1], "conversationId": room}
    assert (await house.get(f"/api/messages/{room}", 2)).data["messages"] == rows
    missing = await house.get(f"/api/messages/{room + 100_000}", 2)
    assert (missing.status, missing.code) == (404, "MESSAGE_NOT_FOUND")


async def test_only_the_sender_is_told_the_client_id(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    sent = await say(house, room, 1, clientId="mine")
    for path in (f"/api/conversations/{room}/messages", f"/api/conversations/{room}"):
        own, theirs = [(await house.get(path, user)).data["messages"][0] for user in (1, 2)]
        assert (own["client_id"], own["clientId"]) == ("mine", "mine")
        assert "client_id" not in theirs
        assert "clientId" not in theirs
    assert "mine" not in str((await house.get(f"/api/messages/{sent['id']}", 2)).json)


# -- markers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["POST", "PUT"])
async def test_a_message_is_marked_read_with_all_before_it(house, method):
    room, rows = await filled(house, 3)
    path = f"/api/messages/{rows[1]['id']}/read"
    reply = await house.ask(method, path, 2, {"userId": 2})
    assert reply.data.items() >= {"read": True, "conversationId": room, "seq": 2}.items()
    assert isinstance(reply.data["message"], str)
    for user in (1, 2):
        messages = (await house.get(f"/api/conversations/{room}/messages", user)).data["messages"]
        assert [message["is_read"] for message in messages] == [True, True, False]
        assert messages[0]["isRead"] is True
    earlier = await house.ask(method, f"/api/messages/{rows[0]['id']}/read", 2)
    assert earlier.data["seq"] == 2
    assert (await house.ask(method, path, 2, {"userId": 1})).code == "FORBIDDEN"


async def test_a_conversation_is_marked_read_up_to_a_seq_or_a_message_or_whole(house):
    room, rows = await filled(house, 5)
    path = f"/api/conversations/{room}/read"
    assert (await house.post(path, 2, {"seq": "1"})).data["seq"] == 1
    assert (await house.post(path, 2, {"messageIds": [rows[2]["id"], str(rows[1]["id"])]})).data["seq"] == 3
    assert (await house.post(path, 2, {"seq": 0})).data["seq"] == 3
    assert (await house.post(path, 2)).data["seq"] == 5
    assert (await house.post(path, 2, {"seq": 2**53 - 1})).data["seq"] == 5
    assert (await house.get("/api/messages/unread-count", 2)).data == {"unreadCount": 0}


@pytest.mark.parametrize(
    "body",
    [
        {"seq": -1},
        {"seq": "x"},
        {"seq": 1.5},
        {"seq": HUGE},
        {"seq": [1]},
        {"messageIds": []},
        {"messageIds": ["x"]},
        {"messageIds": 1},
        {"messageIds": [1]},
        {"messageIds": list(range(1, 202))},
        {"seq": 1, "messageIds": [1]},
        b"[",
    ],
)
async def test_what_cannot_be_read_is_refused_and_moves_nothing(house, body):
    room, _ = await filled(house, 2)
    reply = await house.post(f"/api/conversations/{room}/read", 2, body)
    assert reply.status in (400, 404), reply.json
    assert (await house.get("/api/messages/unread-count", 2)).data["unreadCount"] == 2


async def test_a_message_of_another_conversation_marks_nothing_here(house):
    room, _ = await filled(house, 2)
    elsewhere = await say(house, await house.conversation(1, 2), 1)
    reply = await house.post(f"/api/conversations/{room}/read", 2, {"messageIds": [elsewhere["id"]]})
    assert (reply.status, reply.code) == (404, "MESSAGE_NOT_FOUND")
    assert (await house.post("/api/messages/12345/read", 2)).code == "MESSAGE_NOT_FOUND"


async def test_the_author_hears_that_a_message_was_read(live_house):
    room, rows = await filled(live_house, 2)
    async with live_house.socket(1, room) as author:
        await live_house.post(f"/api/messages/{rows[1]['id']}/read", 2)
        frame = await author.hear("receipts")
        assert (frame["room"], frame["data"]) == (room, {"marks": {"2": 2}})


@pytest.mark.parametrize("path", ["/api/conversations/{}/messages?after_seq=0", "/api/conversations/{}"])
async def test_who_is_removed_while_a_page_is_read_is_not_told_that_it_is_empty(house, monkeypatch, path):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    assert (await house.post(f"/api/conversations/{room}/messages", 1, {"content": "said"})).status == 201
    postgres = house.house.storage.postgres
    right = postgres.fetch

    async def fetch(name, *arguments):
        if name.startswith("select_messages_"):
            assert (await house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        return await right(name, *arguments)

    monkeypatch.setattr(postgres, "fetch", fetch)
    refused = await house.get(path.format(room), 2)
    assert (refused.status, refused.code) == (404, "CONVERSATION_NOT_FOUND")
