"""Frames of the existing client that its page does not say by itself, or not any more: existing-system.md 2.1.6 to 2.5.

What REST refuses is refused here too.
"""

import itertools
import time

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Socket, http, open_sockets, wait_until  # type: ignore[import-not-found]

NOT_OURS = [
    {"type": "pitch_view_update", "data": {"pitchId": 7}},
    {"type": "pitch_view", "pitchId": 7},
    {"type": "pitch_like", "pitchId": 7},
    {"type": "pitch_comment", "pitchId": 7, "comment": "nice"},
    {
        "type": "draft_sync",
        "data": {"action": "save", "draftId": "d", "draftType": "pitch", "content": "x"},
    },
    {"type": "typing", "data": {"pitchId": 7, "isTyping": True}},
]
NOTHING_TO_ACT_ON = [
    {"type": "typing", "data": {"isTyping": True}},
    {"type": "mark_conversation_read"},
    {"type": "delete_message", "messageId": "none"},
    {"type": "block_user", "userId": {}},
    {"type": "unblock_user"},
]
COMMANDS = 40  # that a minute allows on the strict server
_numbers = itertools.count()


@pytest.fixture(scope="module")
def strict_server():
    with ServerProcess(WS_COMMANDS_PER_MINUTE=COMMANDS, MESSAGE_EDIT_SECONDS=1) as server:
        server.start()
        yield server


async def page_of(server, nursery, user, **how):
    sock = await Socket.open(nursery, server, None if "token" in how else user, protocol=None, **how)
    await sock.expect("connected")
    return sock


async def said(page, room, content):
    request = {"type": "send_message", "conversationId": room, "content": content, "requestId": f"{next(_numbers)}"}
    await page.send(request)
    return (await page.expect("message_sent", requestId=request["requestId"]))["messageId"]


async def refused(page, number, **frame):
    frame["requestId"] = f"{next(_numbers)}"
    await page.send(frame)
    error = await page.expect("error", requestId=frame["requestId"])
    assert error["data"]["code"] == number, error
    return error


def flat_and_data(event, **fields):
    for name, value in fields.items():
        assert event[name] == value, (name, event)
        assert event["data"][name] == value, (name, event)


async def test_a_message_is_edited_and_deleted_by_who_may_and_every_member_hears_it(server, fresh):
    admin, author, stranger = fresh, fresh + 1, fresh + 2
    room = await server.make_room(fresh, [admin, author])
    await server.make_people(stranger)
    async with open_sockets() as nursery:
        pages = [await page_of(server, nursery, user) for user in (admin, author, stranger)]
        message = await said(pages[1], room, "helo")
        await refused(pages[2], 3002, type="edit_message", messageId=message, content="mine")
        await refused(pages[0], 2003, type="edit_message", messageId=message, content="mine")
        await refused(pages[1], 1005, type="edit_message", messageId=message)
        await refused(pages[1], 1005, type="edit_message", messageId=message, content="")
        await pages[1].send({"type": "edit_message", "data": {"messageId": str(message), "content": "hello"}})
        for page in pages[:2]:
            edited = await page.expect("message", action="edited")
            flat_and_data(edited, messageId=message, conversationId=room, senderId=author, content="hello")
        await refused(pages[2], 3002, type="delete_message", messageId=message)
        second = await said(pages[0], room, "of the admin")
        await refused(pages[1], 2003, type="delete_message", messageId=second)
        await pages[0].send({"type": "delete_message", "messageId": message})
        for page in pages[:2]:
            deleted = await page.expect("message", action="deleted")
            flat_and_data(deleted, messageId=message, changedBy=admin, content="")
        await pages[0].send({"type": "delete_message", "messageId": message})  # again is harmless
        for page in pages:
            await page.settle()
        assert not pages[2].of("message", "new_message")
    assert [row["content"] for row in await server.log_of(room)] == ["", "of the admin"]


async def test_a_message_is_edited_no_longer_than_over_rest(strict_server):
    room = await strict_server.make_room(1, [1])
    async with open_sockets() as nursery:
        page = await page_of(strict_server, nursery, 1)
        message = await said(page, room, "0")
        made_at = (await page.expect("message_sent"))["timestamp"]
        is_over = "select now() > $1::text::timestamptz + interval '1.2 seconds' as is_over"
        with trio.fail_after(10):
            while not (await strict_server.query(is_over, made_at))[0]["is_over"]:
                pass
        await refused(page, 3007, type="edit_message", messageId=message, content="1")
    assert [row["content"] for row in await strict_server.log_of(room)] == ["0"]


async def test_a_conversation_is_marked_read_whole_by_its_members_only(server, fresh):
    author, reader, stranger = fresh, fresh + 1, fresh + 2
    room = await server.make_room(fresh, [author, reader])
    await server.make_people(stranger)
    async with open_sockets() as nursery:
        mine, page, other = [await page_of(server, nursery, user) for user in (author, reader, stranger)]
        for content in ("one", "two"):
            last = await said(mine, room, content)
        await refused(other, 3004, type="mark_conversation_read", conversationId=room)
        assert (await http(server, "GET", "/api/messages/unread-count", user=reader)).json()["data"]["unreadCount"] == 2
        await page.send({"type": "mark_conversation_read", "conversationId": room})
        read = await mine.expect("message_read", messageId=last)
        flat_and_data(read, conversationId=room, readBy=reader, readByName=f"user {reader}")
        assert (await http(server, "GET", "/api/messages/unread-count", user=reader)).json()["data"]["unreadCount"] == 0


async def test_a_message_to_somebody_finds_or_makes_the_conversation_of_the_pair(server, fresh):
    one, two = fresh, fresh + 1
    await server.make_people(one, two)
    async with open_sockets() as nursery:
        mine, other = await page_of(server, nursery, one), await page_of(server, nursery, two)
        hello = {"type": "message", "targetUserId": two, "content": "hello", "requestId": "first"}
        for _ in range(2):  # the queue of the client may say it twice
            await mine.send(hello)
        await wait_until(lambda: len(mine.of("message_sent")) < 2 and "the second confirmation")
        sent, again = mine.of("message_sent")
        assert (again["messageId"], again["requestId"]) == (sent["messageId"], "first")
        heard = await other.expect("new_message", content="hello")
        flat_and_data(heard, messageId=sent["messageId"], senderId=one, conversationId=sent["conversationId"])
        await other.send({"type": "send_message", "data": {"recipientId": str(one), "content": "yes?"}})
        flat_and_data(await mine.expect("new_message", content="yes?"), conversationId=sent["conversationId"])
        for page in (mine, other):
            await page.settle()
            assert [event["content"] for event in page.of("new_message")] == ["hello", "yes?"]
        assert not other.of("chat_message"), "that would be shown beside it"
    found = await http(server, "POST", "/api/conversations", {"recipientId": two}, user=one)
    assert found.json()["data"]["conversation"]["id"] == sent["conversationId"]


async def test_a_message_to_somebody_is_refused_where_rest_refuses_it_and_makes_nothing(server, fresh):
    one, two = fresh, fresh + 1
    await server.make_people(one, two)
    blocked = await http(server, "POST", f"/api/users/{one}/block", {}, user=two)
    assert blocked.status == 200, blocked
    async with open_sockets() as nursery:
        page = await page_of(server, nursery, one)
        await refused(page, 3003, type="message", targetUserId=two, content="hear me")
        await refused(page, 3013, type="message", targetUserId=fresh + 999, content="hello")
        await refused(page, 1002, type="message", targetUserId=one, content="hello")
        await refused(page, 1005, type="message", targetUserId=fresh + 2, content="")
        await refused(page, 1005, type="message", targetUserId=two)
        await refused(page, 1005, type="message", content="to whom?")
    rows = await server.query("select 1 from participants where user_id between $1 and $2", fresh, fresh + 999)
    assert rows == []


async def test_who_is_blocked_over_the_socket_is_blocked_everywhere_until_unblocked(server, fresh):
    one, two = fresh, fresh + 1
    await server.make_people(one, two)
    async with open_sockets() as nursery:
        mine, other = await page_of(server, nursery, one), await page_of(server, nursery, two)
        await mine.send({"type": "message", "targetUserId": two, "content": "before", "requestId": "r"})
        await other.expect("new_message", content="before")
        await refused(mine, 1002, type="block_user", userId=one)
        await refused(mine, 3013, type="block_user", userId=fresh + 999)
        block = {"type": "block_user", "userId": one, "targetUserId": two, "reason": "loud", "requestId": "b"}
        await mine.send(block)
        flat_and_data(await mine.expect("user_blocked"), userId=two, requestId="b")
        listed = (await http(server, "GET", "/api/users/blocked", user=one)).json()["data"]["users"]
        assert [(user["id"], user["reason"]) for user in listed] == [(two, "loud")]
        await refused(other, 3003, type="message", targetUserId=one, content="hear me")
        await refused(mine, 3003, type="message", targetUserId=two, content="and you")
        await mine.send({"type": "unblock_user", "data": {"userId": str(two)}})
        flat_and_data(await mine.expect("user_unblocked"), userId=two)
        await other.send({"type": "message", "targetUserId": one, "content": "thanks"})
        await mine.expect("new_message", content="thanks")
        await other.settle()
        assert not other.of("user_blocked", "user_unblocked"), "who is blocked is not told"


async def test_who_is_online_is_told_of_companions_and_not_of_strangers_or_who_blocked(server, fresh):
    me, friend, blocker, stranger = range(fresh, fresh + 4)
    await server.make_room(fresh, [me, friend, blocker])
    await server.make_people(stranger)
    assert (await http(server, "POST", f"/api/users/{me}/block", {}, user=blocker)).status == 200
    async with open_sockets() as nursery:
        for user in (blocker, stranger):
            await page_of(server, nursery, user)
        page = await page_of(server, nursery, me)
        await page_of(server, nursery, friend)  # who is there already is told to who asks
        await page.expect("user_online", userId=friend)
        await page.send({"type": "get_online_users"})
        told = await page.expect("online_users")
        assert told["users"] == told["data"]["users"]
        assert {user["userId"] for user in told["users"]} - {me} == {friend}
        assert {user["username"] for user in told["users"] if user["userId"] == friend} == {f"user {friend}"}


async def test_messages_are_searched_by_who_may_read_them(server, fresh):
    me, friend, blocked = fresh, fresh + 1, fresh + 2
    room, other = await server.make_room(fresh, [me, friend, blocked]), await server.make_room(fresh + 1, [friend])
    async with open_sockets() as nursery:
        page, theirs, bad = [await page_of(server, nursery, user) for user in (me, friend, blocked)]
        ids = [await said(theirs, room, f"Apple {number}") for number in range(3)]
        await said(theirs, other, "apple of one")
        await said(bad, room, "apple of another")
        assert (await http(server, "POST", f"/api/users/{blocked}/block", {}, user=me)).status == 200

        async def search(**asked):
            asked["requestId"] = f"{next(_numbers)}"
            await page.send({"type": "search_messages", **asked})
            results = await page.expect("search_results", requestId=asked["requestId"])
            assert results["data"].items() <= results.items()
            return results

        found = await search(data={"query": "APPLE"})
        assert [message["messageId"] for message in found["messages"]] == ids[::-1]
        newest = found["messages"][0]
        assert (newest["content"], newest["senderId"], newest["senderName"]) == ("Apple 2", friend, f"user {friend}")
        assert (newest["conversationId"], found["hasMore"], found["query"]) == (room, False, "APPLE")
        assert "beforeSeq" not in found

        found = await search(query="apple", conversationId=str(room), limit=2)
        assert ([message["messageId"] for message in found["messages"]], found["hasMore"]) == (ids[:0:-1], True)
        found = await search(query="apple", conversationId=room, limit=2, beforeSeq=found["beforeSeq"])
        assert ([message["messageId"] for message in found["messages"]], found["hasMore"]) == (ids[:1], False)

        await refused(page, 3001, type="search_messages", query="apple", conversationId=other)
        for query in ({}, {"query": " "}, {"query": "x" * 101}):
            await refused(page, 1005, type="search_messages", **query)
        await theirs.send({"type": "delete_message", "messageId": ids[0]})
        await page.expect("message", action="deleted")
        assert [message["messageId"] for message in (await search(query="apple"))["messages"]] == ids[:0:-1]


async def test_what_is_found_fits_into_one_answer_and_the_search_goes_on_after_it(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with open_sockets() as nursery:
        page = await page_of(server, nursery, fresh)
        ids = [await said(page, room, "€" * 9_990 + f" {number}") for number in range(9)]
        found, before = [], {}
        for _ in ids:
            asked = {"query": "€ ", "conversationId": room, "limit": 50, "requestId": f"{next(_numbers)}", **before}
            await page.send({"type": "search_messages", **asked})
            results = await page.expect("search_results", requestId=asked["requestId"])
            assert (results["query"], results["conversationId"]) == ("€", room)
            found += [message["messageId"] for message in results["messages"]]
            if not results["hasMore"]:
                break
            assert len(results["messages"]) < 9
            before = {"beforeSeq": results["beforeSeq"]}
        assert found == ids[::-1]
        await page.settle()
        assert page.close_code is None


async def test_auth_takes_another_token_of_the_same_user_and_a_wrong_one_changes_nothing(server, fresh):
    await server.make_people(fresh, fresh + 1)
    async with open_sockets() as nursery:
        page = await page_of(server, nursery, fresh)
        wrong = (
            ({"token": server.token(fresh + 1)}, 2001),
            ({"token": "nonsense"}, 2001),
            ({}, 2001),
            ({"token": server.token(fresh, exp=int(time.time()) - 600)}, 2002),
        )
        for count, (fields, number) in enumerate(wrong):
            await page.send({"type": "auth", **fields})
            await wait_until(lambda count=count: len(page.of("auth_error")) <= count and "the answer")
            flat_and_data(page.of("auth_error")[-1], code=number)
        assert not page.of("auth_success")
        await page.send({"type": "message", "targetUserId": fresh + 1, "content": "still me", "requestId": "r"})
        await page.expect("message_sent")
        now = int(time.time())
        short, goes_on = [
            await page_of(server, nursery, fresh, token=server.token(fresh, exp=now + 4)) for _ in range(2)
        ]
        await goes_on.send({"type": "auth", "token": server.token(fresh, exp=now + 6000)})
        flat_and_data(await goes_on.expect("auth_success"), userId=fresh, username=f"user {fresh}")
        assert await short.wait_closed(15) == 1008
        await goes_on.settle()
        assert goes_on.close_code is None


async def test_both_lists_of_who_types_are_told_and_emptied(server, fresh):
    """`typing` for the context of the page, `user_typing` for its messaging: neither forgets by itself."""
    room = await server.make_room(fresh, [fresh, fresh + 1])
    async with open_sockets() as nursery:
        mine, other = await page_of(server, nursery, fresh), await page_of(server, nursery, fresh + 1)
        for page in (mine, other):
            await page.send({"type": "join_conversation", "conversationId": room})
            await page.expect("conversation_joined")

        async def told(*states):
            for kind in ("typing", "user_typing"):
                await wait_until(
                    lambda kind=kind: len(other.of(kind)) < len(states) and f"only {other.of(kind)} of {states}"
                )
                assert tuple(event["isTyping"] for event in other.of(kind)) == states
                flat_and_data(other.of(kind)[-1], conversationId=room, userId=fresh, username=f"user {fresh}")

        await mine.send({"type": "typing_start", "conversationId": room})
        await told(True)
        await mine.send({"type": "typing_stop", "conversationId": room})
        await told(True, False)
        await mine.send({"type": "typing", "data": {"conversationId": room, "isTyping": True}})
        await told(True, False, True)
        await other.send({"type": "leave_conversation", "conversationId": room})
        await other.expect("conversation_left")
        await told(True, False, True, False)
        await mine.settle()
        assert not mine.of("typing", "user_typing"), "nobody is told of themselves"


@pytest.mark.wrong_frames
async def test_frames_that_are_not_ours_are_met_with_silence_and_cost_no_more_than_a_command(strict_server):
    room = await strict_server.make_room(21, [21, 22])
    async with open_sockets() as nursery:
        page, other = [await page_of(strict_server, nursery, user) for user in (21, 22)]
        await other.settle()
        before = len(other.events)
        for frame in itertools.islice(itertools.cycle(NOT_OURS + NOTHING_TO_ACT_ON), COMMANDS - 1):
            await page.send(frame)
        await page.settle()
        assert {event["type"] for event in page.events} <= {"connected", "pong", "presence_update", "user_online"}
        await said(page, room, "and still here")  # the last that a minute allows
        await other.expect("new_message", content="and still here")
        told = {event["type"] for event in other.events[before:]}
        assert told <= {"new_message", "presence_update", "user_online"}, told
        assert page.close_code is None


@pytest.mark.wrong_frames
async def test_a_page_that_floods_with_frames_that_are_not_ours_rests_and_is_never_told_or_closed(strict_server):
    room = await strict_server.make_room(11, [11, 12])
    async with open_sockets() as nursery:
        page, other = [await page_of(strict_server, nursery, user) for user in (11, 12)]
        for frame in NOT_OURS * 30:
            await page.send(frame)
        await page.settle()
        assert page.close_code is None
        assert not page.of("error")
        await said(other, room, "others go on")
        await page.expect("new_message", content="others go on")
