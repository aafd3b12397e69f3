"""A client id that is older than the room's memory (4,096): found in the table, whatever surrounds it."""

import trio
from wire import Socket, open_sockets, wait_until

from greenroom.storage.postgres.conversations import CLIENT_IDS_MAX


async def test_a_duplicate_older_than_memory_inside_a_burst_is_one_copy_no_hole_and_no_false_ack(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        listener = await Socket.open(nursery, live_house, 2)
        await sock.start()
        await listener.start(room)
        names = [f"m{number}" for number in range(CLIENT_IDS_MAX + 50)]

        async def say(name, body=None):
            while len(waiting) >= 200:  # noqa: ASYNC110
                await trio.sleep(0.001)
            waiting.add(name)
            data = {"clientId": name, "body": body or name}
            await sock.send({"type": "send", "id": f"{name}|{len(sent)}", "room": room, "data": data})
            sent.append(f"{name}|{len(sent)}")

        waiting, sent = set(), []
        sock.on_event = lambda event: waiting.discard(str(event.get("id", "")).split("|")[0])
        for name in names:
            await say(name)
        await wait_until(lambda: waiting, 60)
        assert {sock.replies[one]["type"] for one in sent} == {"ack"}
        first = len(sent)
        # New ones, old ones, one as new as memory has, and one old id with other words: all in one go.
        burst = ["n0", "m0", "n1", "n2", "m1", "m4140", "n3", "m0", "n4"]
        for name in burst[:-1]:
            await say(name)
        await say("m2", "other words")
        await say("n4")
        await wait_until(lambda: waiting, 20)
        replies = [sock.replies[one] for one in sent[first:]]
        assert [reply["type"] for reply in replies] == ["ack"] * 8 + ["error", "ack"]
        assert replies[8]["data"]["error"] == "CLIENT_ID_CONFLICT"
        duplicates = [reply["data"].get("duplicate", False) for reply in replies if reply["type"] == "ack"]
        assert duplicates == [False, True, False, False, True, True, False, True, False]
        assert [replies[at]["data"]["seq"] for at in (1, 4, 5, 7)] == [1, 2, 4141, 1]
        stored = []
        while page := await live_house.house.storage.conversations.messages_after(room, 1, len(stored), 500):
            stored += page
        assert [message.seq for message in stored] == list(range(1, len(stored) + 1))
        assert [message.content for message in stored] == [*names, "n0", "n1", "n2", "n3", "n4"]
        new = [replies[at]["data"]["seq"] for at in (0, 2, 3, 6, 9)]
        assert new == [len(names) + number for number in (1, 2, 3, 4, 5)]
        await wait_until(
            lambda: len(listener.of("message")) < len(stored) and f"only {len(listener.of('message'))}", 10
        )
        assert [event["seq"] for event in listener.of("message")] == [message.seq for message in stored]


async def test_what_was_acknowledged_long_before_a_block_is_answered_again_and_anything_else_refused(
    live_house, monkeypatch
):
    for module in ("actors.room.state", "storage.postgres.conversations"):
        monkeypatch.setattr(f"greenroom.{module}.CLIENT_IDS_MAX", 3)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2, isGroup=False)
    async with open_sockets() as nursery:
        sock, other = await Socket.open(nursery, live_house, 1), await Socket.open(nursery, live_house, 2)
        for one in (sock, other):
            await one.start(room)
        acks = [await sock.ask("send", room, clientId=f"m{number}", body="x") for number in range(8)]
        await other.ask("block", user=1)
        for has_restarted in (False, True):
            if has_restarted:
                live_house.house.system.kill(live_house.house.system.ref("room", room))
            for number, ack in enumerate(acks):
                again = (await sock.ask("send", room, clientId=f"m{number}", body="x"))["data"]
                assert again == {**ack["data"], "duplicate": True}
            for client_id, body, error in (("m0", "y", "CLIENT_ID_CONFLICT"), ("new", "x", "USER_BLOCKED")):
                refused = await sock.ask("send", room, clientId=client_id, body=body)
                assert refused["data"]["error"] == error
            assert (await other.ask("send", room, clientId="m0", body="x"))["data"]["error"] == "USER_BLOCKED"
    assert len(await live_house.house.storage.conversations.messages_after(room, 1, 0, 100)) == 8


async def test_who_repeats_what_is_older_than_memory_makes_the_room_load_once_and_not_each_time(
    live_house, monkeypatch
):
    for module in ("actors.room.state", "storage.postgres.conversations"):
        monkeypatch.setattr(f"greenroom.{module}.CLIENT_IDS_MAX", 3)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    path, committer = f"/api/conversations/{room}/messages", live_house.house.storage.committer
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        acks = [await sock.ask("send", room, clientId=f"m{number}", body="x") for number in range(8)]
        for turn in range(3):  # of its ids one after the other, over both: it costs the sender nothing
            for number in range(4):
                again = await sock.ask("send", room, clientId=f"m{number}", body="x")
                assert again["data"] == {**acks[number]["data"], "duplicate": True}
                replayed = await live_house.post(path, 1, {"content": "x"}, Idempotency_Key=f"m{number}")
                assert (replayed.status, replayed.data["messageId"]) == (201, acks[number]["data"]["messageId"])
            refused = await sock.ask("send", room, clientId="m0", body="other words")
            assert refused["data"]["error"] == "CLIENT_ID_CONFLICT"
            assert committer.statistics().not_committed == 1, f"turn {turn}"
        # What is new is as ever, and so are the others.
        assert (await sock.ask("send", room, clientId="new", body="x"))["data"]["seq"] == 9
        assert (await live_house.post(path, 2, {"content": "x"}, Idempotency_Key="m0")).data["message"]["seq"] == 10
        again = await sock.ask("send", room, clientId="m1", body="x")
        assert again["data"] == {**acks[1]["data"], "duplicate": True}
        assert committer.statistics().not_committed == 2
