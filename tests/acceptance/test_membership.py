"""Removed, or never a member: no join, no send, no history, no typing and no frame, on any road, at any moment."""

import itertools

import pytest
import trio
import trio.lowlevel
from wire import Socket, http, open_sockets, wait_until  # type: ignore[import-not-found]

HIDDEN = "not for strangers"
OF_ONESELF = ("error", "membership")  # that one's own commands failed, and that one is out


async def remove(server, room, user, by):
    answer = await http(server, "DELETE", f"/api/conversations/{room}/participants/{user}", user=by)
    assert answer.status == 200, answer


async def add(server, room, user, by):
    answer = await http(server, "POST", f"/api/conversations/{room}/participants", {"userIds": [user]}, user=by)
    assert answer.status in (200, 201), answer


async def refused_everywhere(server, room, message_id, user, *, was_in=False):
    """Try every road into the room as *user*; none may open. was_in: that they are no more is all that they hear."""
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, user)
        await sock.ask("start", rooms=[{"r": room}], resume={"rooms": {str(room): {"seq": 0}}})
        ready = sock.replies["c1"]
        assert ready["data"]["rooms"] == [], ready
        assert {item["r"] for item in ready["data"]["refused"]} == {room}
        for kind, data in (
            ("join", {"after": 0}),
            ("send", {"body": "let me in"}),
            ("history", {}),
            ("history", {"after": 0}),
            ("history", {"around": 1}),
            ("typing", {"on": True}),
            ("read", {"seq": 1}),
            ("presence", {}),
        ):
            reply = await sock.ask(kind, room, **data)
            assert reply["type"] == "error", (kind, reply)
            assert reply["data"]["error"] in ("NOT_MEMBER", "CONVERSATION_NOT_FOUND"), reply
            assert HIDDEN not in str(reply)
        old = await Socket.open(nursery, server, user, protocol=None)
        await old.expect("connected")
        await old.send({"type": "join_conversation", "conversationId": room})
        await old.send({"type": "send_message", "conversationId": room, "content": "let me in", "requestId": "r1"})
        await old.send({"type": "typing_start", "conversationId": room})
        await old.send({"type": "mark_read", "messageId": message_id})
        await wait_until(lambda: len(old.of("error")) < 3 and f"three errors, not {old.of('error')}")
        await old.settle()
        assert len(old.of("error")) == 3, old.of("error")
        assert not old.of("conversation_joined", "message_sent", "new_message", "user_typing", "message_read")
        await sock.settle()
        heard = [event for event in sock.events if event.get("room") == room and event["type"] not in OF_ONESELF]
        ends = [(event["type"], event["data"]["user"], event["data"]["change"]) for event in heard]
        assert ends == [("member", user, "left")] * was_in, heard
    for method, path, body in (
        ("GET", f"/api/conversations/{room}", None),
        ("GET", f"/api/conversations/{room}/messages", None),
        ("GET", f"/api/messaging/conversations/{room}/messages", None),
        ("GET", f"/api/messages/{room}", None),
        ("GET", f"/api/messages/{message_id}", None),
        ("GET", f"/api/conversations/{room}/participants", None),
        ("POST", f"/api/conversations/{room}/messages", {"content": "let me in"}),
        ("POST", "/api/messages/send", {"conversationId": room, "content": "let me in"}),
        ("POST", "/api/messaging/send", {"conversationId": room, "content": "let me in"}),
        ("POST", f"/api/messages/{message_id}/read", {}),
        ("PUT", f"/api/messages/{message_id}/read", {}),
        ("POST", f"/api/conversations/{room}/read", {"seq": 1}),
        ("POST", f"/api/conversations/{room}/participants", {"userIds": [user]}),
        ("POST", f"/api/conversations/{room}/join", {}),
        ("PUT", f"/api/messages/{message_id}", {"content": "changed"}),
        ("DELETE", f"/api/messages/{message_id}", None),
    ):
        answer = await http(server, method, path, body, user=user)
        # Editing and deleting come later: then 404 or 405 is the path's.
        assert answer.status in (403, 404, 405), (method, path, answer)
        assert HIDDEN.encode() not in answer.body
    mine = await http(server, "GET", "/api/conversations", user=user)
    assert str(room).encode() not in mine.body


async def test_never_a_member_gets_nothing_on_any_road(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    await server.make_people(fresh + 2)
    async with open_sockets() as nursery:
        member = await Socket.open(nursery, server, fresh)
        await member.start(room)
        said = await member.ask("send", room, body=HIDDEN)
        at = await member.settle()
        await refused_everywhere(server, room, said["data"]["messageId"], fresh + 2)
        await member.settle()
        # A ping comes at a random moment, and one's own coming is told: neither is word of a stranger.
        known = ("pong", "ping", "ack", "presence_diff")
        assert not [event for event in member.events[at:] if event["type"] not in known]
    assert [row["content"] for row in await server.log_of(room)] == [HIDDEN]
    assert len(await server.query("select * from participants where conversation_id = $1", room)) == 2


async def test_removed_hears_nothing_more_on_any_socket_and_gets_nothing_on_any_road(server, fresh):
    admin, gone, other = fresh, fresh + 1, fresh + 2
    room = await server.make_room(fresh, [admin, gone, other])
    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, admin)
        await speaker.start(room)
        v1 = [await Socket.open(nursery, server, gone) for _ in range(2)]
        for sock in v1:
            await sock.start(room)
        old = await Socket.open(nursery, server, gone, protocol=None)
        await old.expect("connected")
        await old.send({"type": "join_conversation", "conversationId": room})
        await old.expect("conversation_joined")
        said = await speaker.ask("send", room, body=HIDDEN)
        for sock in v1:
            await sock.expect("message")
        await old.expect("new_message")
        await old.send({"type": "send_message", "conversationId": room, "content": "last words", "requestId": "last"})
        await old.expect("message_sent")
        await remove(server, room, gone, admin)
        for sock in v1:
            await sock.expect("member")
        positions = [await sock.settle() for sock in (*v1, old)]
        for number in range(5):
            await speaker.ask("send", room, body=f"{HIDDEN} {number}")
            await speaker.ask("typing", room, on=True)
            await speaker.ask("read", room, seq=number + 1)
        friend = await Socket.open(nursery, server, other)
        await friend.start(room)
        await friend.ask("presence", status="busy")
        await trio.sleep(2.2)  # presence and typing are told once a second
        for sock, position in zip((*v1, old), positions, strict=True):
            await sock.settle()
            heard = [event for event in sock.events[position:] if event["type"] not in ("pong", "ping", *OF_ONESELF)]
            assert not heard, heard
        await old.send({"type": "request_initial_data"})
        shown = (await old.expect("initial_data"))["data"]["presence"]["users"]
        assert {user["userId"] for user in shown} <= {gone}, f"who was removed is shown who is online there: {shown}"
        await refused_everywhere(server, room, said["data"]["messageId"], gone, was_in=True)
    assert len(await server.log_of(room)) == 7


async def test_removed_while_a_resume_is_under_way_gets_no_frame_of_what_came_after(server, fresh):
    admin, gone = fresh, fresh + 1
    room = await server.make_room(fresh, [admin, gone])
    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, admin)
        await speaker.start(room)
        for number in range(450):
            await speaker.ask("send", room, body=f"{number} {'x' * 9000}")
        sock = await Socket.open(nursery, server, gone, receive_buffer=4096)
        sock.on_event = lambda event: sock.stop_reading() if event["type"] == "message" else None
        await sock.command("start", resume={"rooms": {str(room): {"seq": 0}}})
        await sock.expect("message", seq=1)
        sock.on_event = None
        await remove(server, room, gone, admin)
        after = [(await speaker.ask("send", room, body=f"{HIDDEN} {n}"))["data"]["seq"] for n in range(3)]
        sock.read_again()
        await sock.expect("live")
        await sock.settle()
        member_at = next(at for at, event in enumerate(sock.events) if event["type"] == "member")
        later = [event for event in sock.events[member_at + 1 :] if event.get("room") == room]
        later = [event for event in later if event["type"] not in OF_ONESELF]
        assert not later, [event["type"] for event in later]
        assert HIDDEN not in str(sock.events)
        seqs = [event["seq"] for event in sock.of("message")]
        assert seqs == list(range(1, len(seqs) + 1))
        assert len(seqs) < after[0]


async def test_removed_between_commands_that_wait_in_the_room_takes_effect_in_order(server, fresh):
    """What was said before the removal is stored and everybody hears it; what comes after it is refused."""
    admin, gone = fresh, fresh + 1
    room = await server.make_room(fresh, [admin, gone])
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, gone)
        await sock.start(room)
        ids, is_removed = [], trio.Event()

        async def talk():
            left = 10  # once the removal is answered
            for number in itertools.count():
                ids.append(await sock.command("send", room, body=str(number)))
                await trio.lowlevel.checkpoint()
                await wait_until(lambda: len(ids) - len(sock.replies) > 60 and "answers", 10)
                left -= is_removed.is_set()
                if not left:
                    return

        async with trio.open_nursery() as both:
            both.start_soon(talk)
            await wait_until(lambda: len(sock.replies) < 100 and "a hundred answers", 10)
            await remove(server, room, gone, admin)
            is_removed.set()
        await wait_until(lambda: [one for one in ids if one not in sock.replies], 10)
        kinds = [sock.replies[one]["type"] for one in ids]
        acked = kinds.count("ack")
        assert kinds == ["ack"] * acked + ["error"] * (len(kinds) - acked)
        assert 0 < acked < len(ids)
        stored = [row["content"] for row in await server.log_of(room)]
        assert stored == [str(number) for number in range(acked)]


async def test_who_comes_back_hears_from_then_on_and_may_read_what_was(server, fresh):
    admin, guest = fresh, fresh + 1
    room = await server.make_room(fresh, [admin, guest])
    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, admin)
        await speaker.start(room)
        sock = await Socket.open(nursery, server, guest)
        await sock.start(room)
        await remove(server, room, guest, admin)
        await sock.expect("member")
        await speaker.ask("send", room, body="while away")
        await add(server, room, guest, admin)
        assert (await sock.ask("join", room, after=0))["type"] == "ack"
        await sock.expect("message", body="while away")
        await speaker.ask("send", room, body="again")
        await sock.expect("message", body="again")


async def test_whoever_was_added_over_rest_hears_at_once_on_compat_and_after_join_on_v1(server, fresh):
    admin, guest = fresh, fresh + 1
    room = await server.make_room(fresh, [admin])
    await server.make_people(guest)
    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, admin)
        await speaker.start(room)
        v1 = await Socket.open(nursery, server, guest)
        await v1.start()
        old = await Socket.open(nursery, server, guest, protocol=None)
        await old.expect("connected")
        await add(server, room, guest, admin)
        await v1.expect("member")
        await speaker.ask("send", room, body="welcome")
        await old.expect("new_message", content="welcome")
        await v1.settle()
        assert not v1.of("message")
        assert (await v1.ask("join", room, after=0))["type"] == "ack"
        await v1.expect("message", body="welcome")


@pytest.mark.parametrize("number", range(3))
async def test_removals_in_the_middle_of_traffic_never_leak_a_later_message(server, fresh, number):
    """Whoever is removed, over and over while others talk: no seq above that of the removal ever reaches them."""
    admin, guest, talker = fresh, fresh + 1, fresh + 2
    room = await server.make_room(fresh, [admin, guest, talker])
    async with open_sockets() as nursery:
        speaker = await Socket.open(nursery, server, talker)
        await speaker.start(room)
        v1 = await Socket.open(nursery, server, guest)
        await v1.start(room)
        old = await Socket.open(nursery, server, guest, protocol=None)
        await old.expect("connected")

        async def talk():
            while True:
                await speaker.ask("send", room, body="talk")

        async with trio.open_nursery() as chatter:
            chatter.start_soon(talk)
            for _ in range(15):
                await trio.sleep(0.01)
                await remove(server, room, guest, admin)
                top = (await http(server, "GET", f"/api/conversations/{room}/messages?limit=1", user=admin)).json()
                limit = top["data"]["messages"][-1]["seq"]
                await trio.sleep(0.03)
                heard = [event["seq"] for event in (*v1.of("message"), *old.of("new_message"))]
                assert max(heard, default=0) <= limit
                await add(server, room, guest, admin)
                assert (await v1.ask("join", room))["type"] == "ack"
            chatter.cancel_scope.cancel()


async def enter(server, room, user, **headers):
    return await http(server, "POST", f"/api/conversations/{room}/join", {}, user=user, headers=headers)


async def open_groups(server, user):
    answer = await http(server, "GET", "/api/conversations/open?limit=200", user=user)
    assert answer.status == 200, answer
    return {row["id"] for row in answer.json()["data"]["conversations"]}


async def test_who_was_removed_from_an_open_group_comes_back_only_by_its_admin(server, fresh):
    admin, gone, leaver = fresh, fresh + 1, fresh + 2
    lobby = await server.make_room(fresh, [admin, gone, leaver], is_open=True)
    said = await http(server, "POST", f"/api/conversations/{lobby}/messages", {"content": HIDDEN}, user=admin)
    message_id = said.json()["data"]["message"]["id"]
    await remove(server, lobby, gone, by=admin)
    await remove(server, lobby, leaver, by=leaver)
    for _ in range(2):
        refused = await enter(server, lobby, gone)
        assert (refused.status, refused.json()["error"]["code"]) == (403, "FORBIDDEN")
    assert lobby not in await open_groups(server, gone), "it is not open to them"
    assert lobby in await open_groups(server, leaver)
    await refused_everywhere(server, lobby, message_id, gone, was_in=True)
    for _ in range(3):  # as often as they like
        assert (await enter(server, lobby, leaver)).status == 200
        await remove(server, lobby, leaver, by=leaver)
    answer = await http(server, "DELETE", f"/api/conversations/{lobby}/participants/{gone}", user=gone)
    assert answer.status == 403, "being removed is not made into having left"
    await add(server, lobby, gone, by=admin)
    await remove(server, lobby, gone, by=gone)
    assert (await enter(server, lobby, gone)).status == 200, "an admin has let them in again, and then they left"
    rows = await server.query(
        "select user_id, is_active, removed_by_id from participants where conversation_id = $1", lobby
    )
    assert {tuple(row) for row in rows} == {(admin, True, None), (gone, True, None), (leaver, False, None)}


async def test_no_other_road_leads_back_into_an_open_group(server, fresh):
    admin, gone, friend = fresh, fresh + 1, fresh + 2
    lobby = await server.make_room(fresh, [admin, friend], is_open=True)
    await server.make_people(gone)
    key = {"Idempotency-Key": f"enter-{fresh}"}
    assert (await enter(server, lobby, gone, **key)).status == 200
    await remove(server, lobby, gone, by=admin)
    again = await enter(server, lobby, gone, **key)
    assert (again.status, again.headers.get("idempotency-replay")) == (200, "true"), "what it was answered before"
    for body in (
        {"recipientId": admin},
        {"participantIds": [admin]},
        {"participantIds": [admin, friend], "isGroup": True, "open": True},
        {"recipientId": admin, "conversationId": lobby, "id": lobby},
    ):
        made = await http(server, "POST", "/api/conversations", body, user=gone)
        assert made.status in (200, 201), made
        assert made.json()["data"]["conversation"]["id"] != lobby
    for body in ({"recipientId": admin, "content": "x"}, {"receiverId": friend, "content": "x"}):
        sent = await http(server, "POST", "/api/messages/send", body, user=gone)
        assert sent.status == 201, sent
        assert sent.json()["data"]["conversationId"] != lobby
    both = await http(
        server, "POST", "/api/messages/send", {"recipientId": admin, "conversationId": lobby, "content": "x"}, user=gone
    )
    assert both.status == 403, both
    brought = await http(server, "POST", f"/api/conversations/{lobby}/participants", {"userIds": [gone]}, user=friend)
    assert brought.status == 403, "only an admin brings people in"
    rows = await server.query(
        "select is_active from participants where (conversation_id, user_id) = ($1, $2)", lobby, gone
    )
    assert [row["is_active"] for row in rows] == [False]


async def test_nobody_leaves_a_pair_and_finding_it_again_changes_nobodys_place_in_it(server, fresh):
    one, two = fresh, fresh + 1
    await server.make_people(one, two)
    made = await http(server, "POST", "/api/conversations", {"recipientId": two}, user=one)
    pair = made.json()["data"]["conversation"]["id"]
    before = await server.query("select * from participants where conversation_id = $1 order by user_id", pair)
    for user in (one, two):
        assert (await http(server, "DELETE", f"/api/conversations/{pair}/participants/{user}", user=one)).status == 403
        assert (await enter(server, pair, user)).status == 200, "in it already"
    await server.make_people(fresh + 2)
    assert (await enter(server, pair, fresh + 2)).status == 403
    for user, other in ((one, two), (two, one)):
        found = await http(server, "POST", "/api/conversations", {"recipientId": other}, user=user)
        assert (found.status, found.json()["data"]["conversation"]["id"]) == (200, pair)
        sent = await http(server, "POST", "/api/messages/send", {"recipientId": other, "content": "x"}, user=user)
        assert sent.json()["data"]["conversationId"] == pair
    after = await server.query("select * from participants where conversation_id = $1 order by user_id", pair)
    assert after == before
