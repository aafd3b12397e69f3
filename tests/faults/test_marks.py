"""Reactions and pins: in the order of seq, without a hole, on every path; and gone with their message."""

import json
from collections import Counter

import pytest
from streams import Stream, polled
from wire import Socket, open_sockets, wait_until

LOG = ("message", "message_edited", "message_deleted", "reaction", "pin", "skip")


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms, **data)
    return sock


async def page_of(nursery, house, user):
    page = await Socket.open(nursery, house, user, protocol=None)
    await page.expect("connected")
    await page.settle()
    return page


async def say(sock, room, body, **data):
    reply = await sock.ask("send", room, body=body, **data)
    assert reply["type"] == "ack", reply
    return reply["data"]["messageId"]


async def error_of(sock, kind, room, **data):
    reply = await sock.ask(kind, room, **data)
    assert reply["type"] == "error", reply
    return reply["data"]["error"]


async def told(sock, kind, room, **data):
    """(seq, whether it held already) of the answer."""
    reply = await sock.ask(kind, room, **data)
    assert reply["type"] == "ack", reply
    return reply["data"]["seq"], reply["data"].get("duplicate", False)


def log_of(sock):
    """(seq, type, what) of what was told of rooms."""
    return [(event["seq"], event["type"], what_of(event)) for event in sock.of(*LOG)]


def what_of(event):
    data = event.get("data", {})
    if event["type"] == "reaction":
        return data["user"], data["reaction"], data["on"]
    return (data["by"], data["on"]) if event["type"] == "pin" else data.get("body")


async def reactions_of(sock, room, seq):
    """What a page says of the message at *seq*: [(reaction, count, mine)], and whether it is pinned."""
    answer = (await sock.ask("history", room, before=seq + 1, limit=1))["data"]
    (item,) = answer["messages"]
    assert item["seq"] == seq
    return [(one["reaction"], one["count"], one["mine"]) for one in item.get("reactions", ())], "pinned" in item


def forget(house, room):
    system = house.house.system
    system.kill(system.ref("room", room))
    if room in house.house.hub.channels:
        house.house.hub.channels[room].recent.clear()


@pytest.mark.parametrize("sockets_min", [200, 0])  # told one by one, and by the walk of a large room
async def test_reactions_and_pins_are_told_to_all_in_their_place_and_in_every_replay(
    live_house, monkeypatch, sockets_min
):
    monkeypatch.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", sockets_min)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        message = await say(two, room, "hello")
        assert await told(one, "react", room, message=message, reaction="like") == (2, False)
        assert await told(two, "react", room, message=message, reaction="🎉") == (3, False)
        assert await told(one, "pin", room, message=message) == (4, False)
        assert await told(two, "react", room, message=message, reaction="like") == (5, False)
        assert await told(one, "unreact", room, message=message, reaction="like") == (6, False)
        assert await told(one, "unpin", room, message=message) == (7, False)
        assert await told(one, "pin", room, message=message) == (8, False)
        await say(two, room, "on we go")
        live = [
            (1, "message", "hello"),
            (2, "reaction", (1, "like", True)),
            (3, "reaction", (2, "🎉", True)),
            (4, "pin", (1, True)),
            (5, "reaction", (2, "like", True)),
            (6, "reaction", (1, "like", False)),
            (7, "pin", (1, False)),
            (8, "pin", (1, True)),
            (9, "message", "on we go"),
        ]
        for sock in (one, two):
            await sock.expect("message", seq=9)
            assert log_of(sock) == live
        assert one.of("reaction")[0]["data"] == {
            "id": message,
            "of": 1,
            "sender": 2,
            "user": 1,
            "reaction": "like",
            "on": True,
        }
        assert one.of("pin")[0]["data"] == {"id": message, "of": 1, "sender": 2, "by": 1, "on": True}
        for is_forgotten in (False, True):  # from memory and from storage
            if is_forgotten:
                forget(live_house, room)
            for after in range(9):
                back = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": after}}})
                assert log_of(back) == live[after:]
            assert await reactions_of(one, room, 1) == ([("🎉", 1, False), ("like", 1, False)], True)
            assert await reactions_of(two, room, 1) == ([("🎉", 1, True), ("like", 1, True)], True)
            events, _ = await polled(live_house, 1, f"1~{room}.0.1")
            assert [(e["seq"], e["type"], what_of(e)) for e in events if e["type"] in LOG] == live
            stream = await Stream.open(nursery, live_house, 1, f"1~{room}.0.1")
            await stream.expect("live")
            assert [(e["seq"], e["type"], what_of(e)) for e in stream.events if e["type"] in LOG] == live
            stream.cut()
            # What holds already is the same again, whoever has forgotten it.
            assert await told(two, "react", room, message=message, reaction="like") == (5, True)
            assert await told(one, "unreact", room, message=message, reaction="like") == (1, True)
            assert await told(one, "pin", room, message=message) == (8, True)
        after = (await one.ask("history", room, after=5))["data"]  # as who was told of a gap asks
        assert [item["seq"] for item in after["messages"]] == [9]
        assert [(item["seq"], item["change"], item["on"]) for item in after["changes"]] == [
            (6, "reaction", False),
            (7, "pin", False),
            (8, "pin", True),
        ]
        around = (await one.ask("history", room, around=1))["data"]
        assert (around["messages"][0]["reactions"][0]["reaction"], around["top"]) == ("🎉", 9)
        unread = await ready(nursery, live_house, 1, room)
        assert unread.of("ready")[0]["data"]["rooms"][0]["unread"] == 2


async def test_a_deletion_erases_reactions_and_pin_and_nobody_is_told_again_which_they_were(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        message = await say(one, room, "hello")
        for user in (1, 2):
            key = {"Idempotency_Key": "k"}
            body = {"reaction": f"SECRET {user}"}
            answer = await live_house.post(f"/api/messages/{message}/reactions", user, body, **key)
            assert (answer.status, answer.data["seq"], answer.data["reaction"]) == (200, user + 1, f"SECRET {user}")
            again = await live_house.post(f"/api/messages/{message}/reactions", user, body, **key)
            assert (again.data, again.headers["Idempotency-Replay"]) == (answer.data, "true")
        await one.ask("pin", room, message=message)
        await one.ask("delete", room, message=message)
        for kind, data in (("react", {"reaction": "x"}), ("unreact", {"reaction": "SECRET 1"}), ("pin", {})):
            assert await error_of(one, kind, room, message=message, **data) == "MESSAGE_NOT_FOUND"
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
                assert await error_of(one, "react", room, message=message, reaction="x") == "MESSAGE_NOT_FOUND"
            late = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 0}}})
            assert [line[1:] for line in log_of(late)][1:] == [
                ("reaction", (1, "", True)),
                ("reaction", (2, "", True)),
                ("pin", (1, True)),
                ("message_deleted", None),
            ]
            assert all("deleted" in event["data"] for event in late.of("reaction"))
            assert await reactions_of(late, room, 1) == ([], False)
            assert "SECRET" not in str([late.events, await late.ask("history", room, after=0)])
        assert (await live_house.get(f"/api/conversations/{room}/pins", 1)).data["messages"] == []
        assert "SECRET" not in await whole_database(live_house)


async def whole_database(house):
    async def run(connection):
        names = await connection.fetch("select relname from pg_stat_user_tables")
        tables = [await connection.fetch(f'select t::text from "{name[0]}" t') for name in names]
        return "\n".join(row[0] for rows in tables for row in rows)

    return await house.house.storage.postgres.transaction(run)


async def test_who_may_react_and_who_may_pin_and_what_a_reaction_is(live_house):
    await live_house.people(1, 2, 3)
    room, pair = await live_house.conversation(1, 2), await live_house.conversation(1, 2, isGroup=False)
    async with open_sockets() as nursery:
        admin, two, three = [await ready(nursery, live_house, user) for user in (1, 2, 3)]
        message, in_pair = await say(two, room, "x"), await say(admin, pair, "y")
        assert await error_of(three, "react", room, message=message, reaction="like") == "NOT_MEMBER"
        assert await error_of(three, "pin", room, message=message) == "NOT_MEMBER"
        assert await error_of(two, "pin", room, message=message) == "ACCESS_DENIED"
        assert await error_of(two, "unpin", room, message=message) == "ACCESS_DENIED"
        assert await told(two, "pin", pair, message=in_pair) == (2, False)
        assert await error_of(two, "react", room, message=in_pair, reaction="like") == "MESSAGE_NOT_FOUND"
        assert await error_of(two, "react", room, message=999, reaction="like") == "MESSAGE_NOT_FOUND"
        for reaction in ("", " ", "x" * 33, "a\x07b", "a\nb", "\u2028", "\u200b", "\ufeff", "\u3164\u2800", "5\u202e"):
            assert await error_of(two, "react", room, message=message, reaction=reaction) == "INVALID_CONTENT"
        reply = await two.ask("react", room, message=message)
        assert (reply["data"]["error"], "data.reaction" in reply["data"]["message"]) == ("BAD_FRAME", True)
        for reaction in ("like", "👩🏽‍🚀", "x" * 32, "éé", "❤️"):
            assert (await told(two, "react", room, message=message, reaction=reaction))[1] is False
        await admin.ask("block", user=2)
        for sock in (admin, two):
            for kind, data in (("react", {"reaction": "like"}), ("pin", {})):
                is_standing = kind == "pin"  # it was pinned before
                if is_standing:
                    assert await told(sock, kind, pair, message=in_pair) == (2, True)
                else:
                    assert await error_of(sock, kind, pair, message=in_pair, **data) == "USER_BLOCKED"
            assert await error_of(sock, "unpin", pair, message=in_pair) == "USER_BLOCKED"


async def test_there_is_an_end_to_reactions_and_to_pins(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.actors.room.marks.REACTIONS_MAX", 22)
    monkeypatch.setattr("greenroom.actors.room.marks.PINS_MAX", 2)
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1), await ready(nursery, live_house, 2)
        messages = [await say(one, room, f"m{number}") for number in range(3)]
        for number in range(20):
            assert (await told(one, "react", room, message=messages[0], reaction=f"r{number}"))[1] is False
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
            reply = await one.ask("react", room, message=messages[0], reaction="more")
            assert (reply["data"]["code"], reply["data"]["error"]) == (3015, "TOO_MANY_MARKS")
            assert (await told(one, "react", room, message=messages[0], reaction="r3"))[1] is True
        assert (await told(one, "react", room, message=messages[1], reaction="more"))[1] is False
        for reaction in ("a", "b"):
            assert (await told(two, "react", room, message=messages[0], reaction=reaction))[1] is False
        assert await error_of(two, "react", room, message=messages[0], reaction="c") == "TOO_MANY_MARKS"
        assert (await told(two, "react", room, message=messages[0], reaction="r1"))[1] is False
        refused = await live_house.post(f"/api/messages/{messages[0]}/reactions", 3, {"reaction": "c"})
        assert (refused.status, refused.code) == (403, "QUOTA_EXCEEDED")
        for message in messages[:2]:
            assert (await told(one, "pin", room, message=message))[1] is False
        assert await error_of(one, "pin", room, message=messages[2]) == "TOO_MANY_MARKS"
        await one.ask("delete", room, message=messages[0])  # and its pin makes room
        assert (await told(one, "pin", room, message=messages[2]))[1] is False


@pytest.mark.parametrize("kept", [20_000, 0])  # remembered, and asked of storage each time
@pytest.mark.parametrize("read", [1000, -1])  # of all users, and of one at a time
async def test_many_commands_in_one_frame_are_decided_each_on_top_of_the_one_before(
    live_house, monkeypatch, kept, read
):
    monkeypatch.setattr("greenroom.actors.room.mark_memory.REACTIONS_KEPT", kept)
    monkeypatch.setattr("greenroom.actors.room.marking.REACTIONS_READ_MAX", read)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        first, second = await say(one, room, "a"), await say(one, room, "b")
        for number in range(0, 300, 100):  # and both are older than what the room remembers
            for at in range(number, number + 100):
                command = await one.command("send", room, body=f"m{at}")
            await wait_until(lambda command=command: None if command in one.replies else "the ack")
        like = {"message": first, "reaction": "like"}
        commands = [
            *[("react", like), ("react", like), ("unreact", like), ("unreact", like), ("react", like)],
            *[("pin", {"message": first}), ("unpin", {"message": first}), ("pin", {"message": first})],
            *[("react", {"message": second, "reaction": "like"}), ("pin", {"message": second})],
            *[("delete", {"message": second}), ("react", {"message": second, "reaction": "wow"})],
            *[("pin", {"message": second}), ("unreact", {"message": second, "reaction": "like"})],
        ]
        frames = [
            {"type": kind, "id": f"mark-{at}", "room": room, "data": data} for at, (kind, data) in enumerate(commands)
        ]
        await one.send(frames)
        await wait_until(lambda: None if f"mark-{len(commands) - 1}" in one.replies else "the answers")
        answers = [one.replies[f"mark-{at}"]["data"] for at in range(len(commands))]
        assert [(answer.get("seq"), answer.get("duplicate", False)) for answer in answers[:11]] == [
            *[(303, False), (303, True), (304, False), (1, True), (305, False)],
            *[(306, False), (307, False), (308, False), (309, False), (310, False), (311, False)],
        ]
        assert [answer["error"] for answer in answers[11:]] == ["MESSAGE_NOT_FOUND"] * 3
        await two.expect("message_deleted", seq=311)
        assert [line[0] for line in log_of(two)] == list(range(1, 312))
        assert await reactions_of(two, room, 1) == ([("like", 1, False)], True)
        assert await reactions_of(two, room, 2) == ([], False)


async def test_to_react_to_a_message_of_20_000_reactions_reads_no_more_than_what_is_ones_own(live_house, monkeypatch):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    postgres = live_house.house.storage.postgres
    asked, fetch = Counter(), postgres.fetch

    async def counted_fetch(name, *arguments):
        rows = await fetch(name, *arguments)
        if "reaction" in name:
            asked[name] += len(rows)
        return rows

    async with open_sockets() as nursery:
        one, two, three = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        message = await say(one, room, "read by all")
        await postgres.transaction(
            lambda connection: connection.execute(
                "insert into message_reactions (message_id, user_id, reaction, seq, created_at)"
                " select $1, 100000 + number, 'r' || number % 98, 1, now() from generate_series(1, 20000) number",
                message,
            )
        )
        monkeypatch.setattr(postgres, "fetch", counted_fetch)
        assert await told(one, "react", room, message=message, reaction="like") == (2, False)
        assert asked == {"select_reaction_counts": 98, "select_reactions_of": 0}
        assert await told(one, "react", room, message=message, reaction="r1") == (3, False)
        assert await told(two, "react", room, message=message, reaction="wow") == (4, False)
        assert await error_of(three, "react", room, message=message, reaction="sad") == "TOO_MANY_MARKS"
        assert await told(two, "unreact", room, message=message, reaction="wow") == (5, False)
        assert await told(three, "react", room, message=message, reaction="sad") == (6, False)
        assert await told(two, "unreact", room, message=message, reaction="wow") == (1, True)
        assert asked == {"select_reaction_counts": 98, "select_reactions_of": 0}
        forget(live_house, room)
        asked.clear()
        assert await told(one, "react", room, message=message, reaction="like") == (2, True)
        assert await error_of(two, "react", room, message=message, reaction="angry") == "TOO_MANY_MARKS"
        assert asked == {"select_reaction_counts": 100, "select_reactions_of": 2}
        assert (await one.ask("delete", room, message=message))["type"] == "ack"
        left = await postgres.transaction(
            lambda connection: connection.fetchval(
                "select (select count(*) from message_reaction_counts) + (select count(*) from message_reactions)"
            )
        )
        assert left == 0


async def test_who_blocks_the_one_who_reacts_or_the_author_is_told_that_there_is_something_and_not_what(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        blocker, blocked, third = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        pages = [await page_of(nursery, live_house, user) for user in (1, 2, 3)]
        of_third, of_blocked = await say(third, room, "third"), await say(blocked, room, "blocked")
        await blocker.expect("message", seq=2)
        await blocker.ask("block", user=2)
        await blocked.ask("react", room, message=of_third, reaction="NOT FOR ONE")
        await third.ask("react", room, message=of_blocked, reaction="NOT FOR ONE")
        await third.ask("react", room, message=of_third, reaction="for all")
        await blocked.ask("react", room, message=of_third, reaction="for all")
        await third.expect("reaction", seq=6)
        await blocker.expect("skip", seq=6)
        live = [(3, "skip", None), (4, "skip", None), (5, "reaction", (3, "for all", True)), (6, "skip", None)]
        assert log_of(blocker)[2:] == live
        assert [line[1] for line in log_of(third)[2:]] == ["reaction"] * 4
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
            back = await ready(nursery, live_house, 1, resume={"rooms": {str(room): {"seq": 2}}})
            assert log_of(back) == live
            assert await reactions_of(blocker, room, 1) == ([("for all", 1, False)], False)
            assert (await reactions_of(third, room, 1))[0] == [("NOT FOR ONE", 1, False), ("for all", 2, True)]
        history = (await blocker.ask("history", room, after=2))["data"]
        assert ([item["seq"] for item in history["changes"]], history["skip"]) == ([5], [3, 4, 6])
        for page, seqs in zip(pages, ([5], [3, 4, 5, 6], [3, 4, 5, 6]), strict=True):
            await page.settle()
            assert [event["seq"] for event in page.of("reaction")] == seqs
        assert "NOT FOR ONE" not in str([blocker.events, blocker.replies, pages[0].events])
        shown = (await live_house.get(f"/api/conversations/{room}/messages", 1)).data["messages"]
        assert [message["reactions"] for message in shown] == [[{"reaction": "for all", "count": 1, "mine": False}]]


async def test_over_http_and_to_the_pages_of_the_existing_client(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        page, other = await page_of(nursery, live_house, 1), await page_of(nursery, live_house, 2)
        v1 = await ready(nursery, live_house, 1, room)
        message = await say(v1, room, "hello")
        address = f"/api/messages/{message}"
        await page.send({"type": "reaction", "messageId": message, "conversationId": room, "reactionType": "love"})
        heard = await other.expect("reaction", action="add")
        fields = {"messageId": message, "conversationId": room, "userId": 1, "reactionType": "love", "seq": 2}
        assert {name: heard[name] for name in fields} == fields
        assert {name: heard["data"][name] for name in fields} == fields
        await page.expect("reaction", action="add")  # its answer
        await other.send({"type": "reaction", "data": {"messageId": message, "emoji": "🎉", "action": "add"}})
        await page.expect("reaction", reactionType="🎉", userId=2)
        await page.send({"type": "reaction", "payload": {"messageId": message, "emoji": "love", "action": "remove"}})
        await other.expect("reaction", reactionType="love", action="remove")
        await other.send({"type": "reaction", "messageId": message, "emoji": "x" * 33, "requestId": "r"})
        assert (await other.expect("error", requestId="r"))["code"] == 1005
        await other.send({"type": "reaction", "messageId": 999, "emoji": "x", "requestId": "s"})
        assert (await other.expect("error", requestId="s"))["code"] == 3002
        added = await live_house.post(f"{address}/reactions", 2, {"reaction": "wow"})
        assert (added.status, added.data["on"], added.data["duplicate"], added.data["seq"]) == (200, True, False, 5)
        assert (await live_house.post(f"{address}/reactions", 2, {"reaction": "wow"})).data["duplicate"] is True
        gone = await live_house.ask("DELETE", f"{address}/reactions", 2, {"reaction": "wow"})
        assert (gone.status, gone.data["on"], gone.data["seq"]) == (200, False, 6)
        await page.expect("reaction", reactionType="wow", action="remove")
        await v1.expect("reaction", seq=6)
        assert (await live_house.post(f"{address}/reactions", 2, {"reaction": ""})).status == 400
        assert (await live_house.post(f"{address}/reactions", 3, {"reaction": "wow"})).status == 404
        assert (await live_house.put(f"{address}/pin", 2)).code == "FORBIDDEN"
        pinned = await live_house.put(f"{address}/pin", 1)
        assert (pinned.status, pinned.data["pinned"], pinned.data["seq"]) == (200, True, 7)
        pins = (await live_house.get(f"/api/conversations/{room}/pins", 2)).data
        assert [row["id"] for row in pins["messages"]] == [message]
        assert pins["messages"][0]["pinned_at"] == pins["messages"][0]["pinnedAt"] is not None
        assert (await live_house.get(f"/api/conversations/{room}/pins", 3)).status == 404
        reactions = [{"reaction": "🎉", "count": 1, "mine": True}]
        for answer in (
            await live_house.get(f"/api/conversations/{room}", 2),
            await live_house.get(f"/api/conversations/{room}/messages", 2),
            await live_house.get("/api/poll/messages", 2),
            await live_house.get("/api/poll/messages", 2, conversation=room),
        ):
            (row,) = answer.data["messages"]
            assert (row["reactions"], row["pinned_at"] is not None) == (reactions, True), json.dumps(row)
        assert (await live_house.get(address, 2)).data["message"]["reactions"] == reactions
        assert (await live_house.delete(f"{address}/pin", 1)).data["pinned"] is False
        assert (await live_house.get(f"/api/conversations/{room}/pins", 2)).data["messages"] == []


async def test_many_reactions_are_neither_unread_nor_do_they_hide_what_was_said_last(live_house):
    """More than the room remembers of its log; before and after it forgets that too."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        message = await say(one, room, "said last")
        for _ in range(3):
            commands = [
                await one.command("react" if number % 2 == 0 else "unreact", room, message=message, reaction="like")
                for number in range(100)
            ]
            await wait_until(lambda commands=commands: None if commands[-1] in one.replies else "the answers")
        await one.expect("reaction", seq=301)
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
            late = await ready(nursery, live_house, 2, room)
            assert late.of("ready")[0]["data"]["rooms"][0]["unread"] == 1
            await late.ask("leave", room)
            await late.ask("join", room, mode="summary")
            data = (await late.expect("room_summary"))["data"]
            assert (data["top"], data["unread"], data["last"]["body"]) == (301, 1, "said last")
        conversation = (await live_house.get("/api/conversations", 2)).data["conversations"][0]
        assert (conversation["unread_count"], conversation["last_message"]) == (1, "said last")
        await one.ask("edit", room, message=message, body="better")  # and that is the 302nd
        data = (await late.expect("room_summary", top=302))["data"]
        assert data["last"]["body"] == "better"


async def test_a_room_learns_where_no_message_stands_among_its_newest(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        for marks in (2, 0, 1, 3):
            message = await say(one, room, "x")
            for reaction in "abc"[:marks]:
                await told(one, "react", room, message=message, reaction=reaction)
    runs = {}
    for messages in (1, 2, 3, 4, 5, 100):
        stored = await live_house.house.storage.conversations.load_room(room, 1, messages)
        runs[messages] = list(zip(stored.wordless_first, stored.wordless_last, strict=True))
    newest, before, oldest = (8, 10), (6, 6), (2, 3)  # the messages stand at 1, 4, 5 and 7
    assert runs == {
        1: [newest], 2: [before, newest], 3: [before, newest],
        4: [oldest, before, newest], 5: [oldest, before, newest], 100: [oldest, before, newest],
    }  # fmt: skip


async def test_a_page_and_what_is_told_after_it_make_what_stands(live_house):
    """While somebody reacts without a pause: what a page says as of its top, and each event beyond that, add up."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        message = await say(one, room, "x")
        pages, commands = [], []
        for number in range(200):
            kind = "react" if number % 2 == 0 else "unreact"
            commands.append(await one.command(kind, room, message=message, reaction=f"r{number // 4 % 3}"))
            if number % 10 == 0:
                where = {"around": 1} if number % 20 else {}
                pages.append(await two.command("history", room, **where))
        await wait_until(lambda: None if commands[-1] in one.replies and pages[-1] in two.replies else "the answers")
        last = (await one.ask("history", room))["data"]
        await two.expect("reaction", seq=last["top"])
        events = two.of("reaction")
        for page in pages:
            data = two.replies[page]["data"]
            standing = {one["reaction"]: one["count"] for one in data["messages"][0].get("reactions", ())}
            for event in events:
                if event["seq"] > data["top"]:
                    reaction = event["data"]["reaction"]
                    standing[reaction] = standing.get(reaction, 0) + (1 if event["data"]["on"] else -1)
                    assert standing[reaction] in (0, 1), (data["top"], event["seq"])
            assert {reaction for reaction, count in standing.items() if count} == {
                one["reaction"] for one in last["messages"][0].get("reactions", ())
            }


async def test_a_reaction_of_who_is_blocked_to_ones_own_message_is_not_told_live_either(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        blocker, blocked, third = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        own = await say(blocker, room, "mine")
        await blocker.ask("block", user=2)
        await blocked.ask("react", room, message=own, reaction="NOT FOR ONE")
        await blocked.ask("unreact", room, message=own, reaction="NOT FOR ONE")
        await third.ask("react", room, message=own, reaction="nice")
        await blocker.expect("reaction", seq=4)
        assert [line[:2] for line in log_of(blocker)[1:]] == [(2, "skip"), (3, "skip"), (4, "reaction")]
        assert [line[1] for line in log_of(third)[1:]] == ["reaction"] * 3
        assert "NOT FOR ONE" not in str([blocker.events, blocker.replies])


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 5}])  # to make the room is one
async def test_what_changes_something_counts_as_a_message_on_every_road_and_what_changes_nothing_is_free(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, page = await ready(nursery, live_house, 1, room), await page_of(nursery, live_house, 1)
        message = await say(one, room, "x")
        address = f"/api/messages/{message}/reactions"
        assert (await one.ask("react", room, message=message, reaction="like"))["type"] == "ack"
        for _ in range(6):
            assert (await one.ask("react", room, message=message, reaction="like"))["data"]["duplicate"] is True
            assert (await live_house.post(address, 1, {"reaction": "like"})).data["duplicate"] is True
            assert (await one.ask("react", room, message=999, reaction="like"))["data"]["code"] == 3002
        assert (await live_house.post(address, 1, {"reaction": "wow"})).status == 200
        await page.send({"type": "reaction", "messageId": message, "reactionType": "sad"})
        await page.expect("reaction", reactionType="sad")
        refused = await live_house.post(address, 1, {"reaction": "angry"})
        assert (refused.status, refused.code) == (429, "RATE_LIMIT_EXCEEDED")
        assert int(refused.headers["Retry-After"]) > 0
        refused = (await one.ask("react", room, message=message, reaction="angry"))["data"]
        assert refused["code"] == 4291
        await one.expect("slow_down")
        await page.send({"type": "reaction", "messageId": message, "reactionType": "angry", "requestId": "r"})
        assert (await page.expect("error", requestId="r"))["code"] == 4291
        assert (await one.ask("history", room))["data"]["top"] == 4
