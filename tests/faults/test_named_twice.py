"""What names one thing twice is refused, or is as if it had named it once: storage is never asked for what it refuses.

The measure is the committer's own: nothing that anybody may say makes a transaction of it fail.
"""

from functools import partial
from typing import Any

import trio
from wire import Socket, open_sockets, wait_until

from greenroom.actors.errors import RefusalCode
from greenroom.actors.room.commands import Send

SENDS = ("/api/messages/send", "/api/messaging/send", "/api/messages")


PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100


async def upload(house, user):
    head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.png"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    return await house.ask("POST", "/api/messages/attachments", user, head + PNG + b"\r\n--b--\r\n", headers)


def not_committed(house):
    return house.house.storage.committer.statistics().not_committed


async def rows(house, table):
    async def run(connection):
        return await connection.fetchval(f"select count(*) from {table}")

    return await house.house.storage.postgres.transaction(run)


# -- files ------------------------------------------------------------------------------------------------------------


async def test_a_file_that_is_named_twice_is_a_bad_request_on_every_path_and_changes_nothing(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2)
    key = (await upload(house, 1)).data["key"]
    body = {"content": "x", "attachments": [{"key": key}, {"key": key}]}
    places: list[tuple[str, dict[str, int]]] = [(f"/api/conversations/{room}/messages", {})]
    places += [
        (path, place) for path in SENDS for place in ({"conversationId": room}, {"recipientId": 3}, {"receiverId": 3})
    ]
    before = [await rows(house, table) for table in ("conversations", "messages")]
    for path, place in places:
        for headers in ({}, {"Idempotency_Key": "again"}, {"Idempotency_Key": "again"}):
            refused = await house.post(path, 1, {**body, **place}, **headers)
            assert (refused.status, refused.code) == (400, "VALIDATION"), refused.json
            assert "twice" in str(refused.json["error"])
            assert "Retry-After" not in refused.headers
    assert [await rows(house, table) for table in ("conversations", "messages")] == before
    assert not_committed(house) == 0
    # The key was used for nothing, and neither was the file.
    body["attachments"] = [{"key": key}]
    taken = await house.post(f"/api/conversations/{room}/messages", 1, body, Idempotency_Key="again")
    assert (taken.status, taken.data["message"]["seq"]) == (201, 1)


async def test_a_file_that_is_named_twice_on_a_socket_is_an_error_for_good_and_what_follows_is_sent(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    key = (await upload(live_house, 1)).data["key"]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        for _ in range(2):
            reply = await sock.ask("send", room, body="twice", clientId="c", attachments=[key, key])
            assert (reply["type"], reply["data"]["code"], reply["data"]["recoverable"]) == ("error", 1002, False)
            assert "once" in reply["data"]["message"]
        reply = await sock.ask("send", room, body="behind it", clientId="d", attachments=[key])
        assert (reply["type"], reply["data"]["seq"]) == ("ack", 1)
    assert not_committed(live_house) == 0


async def test_the_room_itself_refuses_what_no_door_has_looked_at(house):
    await house.people(1)
    room = await house.conversation(1)
    key = (await upload(house, 1)).data["key"]
    ref = house.house.system.ref("room", room)
    refused = await ref.ask(Send(1, "user-1", "c", "x", files=(key, key)), deadline=float("inf"))
    assert refused.code is RefusalCode.INVALID_CONTENT
    sent = await ref.ask(Send(1, "user-1", "c", "x", files=(key,)), deadline=float("inf"))
    assert (sent.seq, sent.is_duplicate) == (1, False)
    assert not_committed(house) == 0


# -- all else that has a list, or may be said again -------------------------------------------------------------------


async def test_people_messages_and_notifications_may_be_named_twice_over_rest(house):
    await house.people(1, 2, 3)
    for others in ([2, 2], [2, "2", 3, 3], [1, 2, 2], [2, 3, 1, 2, 3]):
        for field in ("participantIds", "participants"):
            for more in ({}, {"isGroup": True}, {"recipientId": 2}, {"recipientId": 2, "participants": [3, 3]}):
                made = await house.post("/api/conversations", 1, {field: others, **more})
                assert made.status == 200, made.json
    room = await house.conversation(1)
    people = f"/api/conversations/{room}/participants"
    assert (await house.post(people, 1, {"userIds": [2, 2, "3", 3, 1]})).data["added"] == [2, 3]
    assert (await house.post(people, 1, {"userIds": [2, 2]})).data["added"] == []
    said = [(await house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"})).data for _ in range(3)]
    ids = [one["messageId"] for one in said]
    for _ in range(2):
        read = await house.post(f"/api/conversations/{room}/read", 2, {"messageIds": ids + ids})
        assert (read.status, read.data["seq"]) == (200, 5), "two came before the three messages"
    told = {"type": "info", "title": "t", "message": "m"}
    made = [await house.post("/api/notifications/send", 2, told, Idempotency_Key="one") for _ in range(3)]
    assert [one.data["duplicate"] for one in made] == [False, True, True]
    mine = made[0].data["id"]
    marked = await house.put("/api/notifications/read-multiple", 2, {"notificationIds": [mine] * 500})
    assert (marked.status, marked.data["notificationIds"]) == (200, [mine])
    same = {"email": False, "emailNotifications": False}
    for body in (same, {**same, "preferences": same}):
        assert (await house.put("/api/notifications/preferences", 2, body)).status == 200
    assert not_committed(house) == 0


async def test_what_is_said_again_at_once_over_rest_is_one(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2)
    message = (await house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"})).data["messageId"]
    told = {"type": "info", "title": "t", "message": "m"}
    answers = []

    async def ask(method, path, user, body=None, key=None):
        headers = {} if key is None else {"Idempotency-Key": key}
        answers.append(await house.ask(method, path, user, body, headers))

    async with trio.open_nursery() as nursery:
        for _ in range(6):
            for call in (
                ("POST", "/api/conversations", 1, {"recipientId": 3}),
                ("POST", "/api/messages/send", 3, {"recipientId": 1, "content": "x"}),
                ("POST", f"/api/conversations/{room}/participants", 1, {"userIds": [3, 3]}),
                ("POST", f"/api/conversations/{room}/read", 2, {}),
                ("PUT", f"/api/messages/{message}", 1, {"content": "y"}),
                ("DELETE", f"/api/messages/{message}", 1),
                ("POST", "/api/users/3/block", 2, {}),
                ("DELETE", "/api/users/3/block", 2),
                ("PUT", "/api/notifications/preferences", 2, {"sms": True}),
                ("PUT", "/api/notifications/read-all", 2),
            ):
                nursery.start_soon(partial(ask, *call))
            for path, body in ((f"/api/conversations/{room}/messages", {"content": "z"}), ("/api/notifications", told)):
                nursery.start_soon(ask, "POST", path, 2, body, "k")
    assert {answer.status for answer in answers if answer.status >= 500} == set()
    assert not_committed(house) == 0


async def test_an_array_of_commands_may_say_each_of_them_again(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    keys = [(await upload(live_house, 1)).data["key"] for _ in range(2)]
    said = (await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"})).data["messageId"]
    arrays: list[list[tuple[str, dict[str, Any]]]] = [
        [("send", {"body": "a", "clientId": "a"})] * 16,
        [("send", {"body": f"{number}", "clientId": "b"}) for number in range(16)],
        [("send", {"body": "c", "clientId": f"c{number}", "attachments": [keys[0]]}) for number in range(16)],
        [("send", {"body": "d", "clientId": "d", "attachments": [keys[1]]})] * 16,
        [("send", {"body": "e", "clientId": f"e{number}", "attachments": [keys[1]] * 2}) for number in range(16)],
        [("edit", {"message": said, "body": f"{number // 2}"}) for number in range(16)],
        [("read", {"seq": seq}) for seq in (1, 1, 3, 2, 2**53 - 1, 0, 1)] * 2,
        [("block", {"user": 3}), ("block", {"user": "3"}), ("unblock", {"user": 3}), ("unblock", {"user": 3})] * 4,
        [("watch", {"users": [2, 2, "2", 3]})] * 4 + [("join", {"after": 0})] * 4 + [("typing", {"on": True})] * 4,
        [("delete", {"message": said})] * 8 + [("edit", {"message": said, "body": "f"})] * 8,
    ]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        for number, array in enumerate(arrays):
            ids = [f"{number}-{place}" for place in range(len(array))]
            frames = [
                {"type": kind, "id": one, "data": data}
                | ({} if kind in ("block", "unblock", "watch") else {"room": room})
                for one, (kind, data) in zip(ids, array, strict=True)
            ]
            await sock.send(frames)
            await wait_until(lambda ids=ids: [one for one in ids if one not in sock.replies], 10)
            failed = [sock.replies[one]["data"] for one in ids if sock.replies[one]["type"] == "error"]
            assert not [data for data in failed if data["recoverable"] or data["code"] >= 5000], (array[0], failed)
    assert not_committed(live_house) == 0
