"""Search over HTTP: whose messages, which of them, one at a time, and never as they were before."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

PATH = "/api/messages/search"


async def say(house, room, user, content):
    reply = await house.post(f"/api/conversations/{room}/messages", user, {"content": content})
    assert reply.status == 201, reply.json
    return reply.data["message"]


async def found(house, user, query, **where):
    reply = await house.get(PATH, user, query=query, **where)
    assert reply.status == 200, reply.json
    return [row["content"] for row in reply.data["messages"]]


async def test_messages_are_found_as_lists_show_them(house):
    await house.people(1, 2, 3)
    one, other = await house.conversation(1, 2), await house.conversation(1, 3)
    for room, user, content in ((one, 2, "Grüße"), (other, 3, "viele GRÜSSE"), (one, 1, "grüßend"), (one, 1, "no")):
        await say(house, room, user, content)
    reply = await house.get(PATH, 1, q="grü")
    rows = sorted(reply.data["messages"], key=lambda row: row["id"])  # two may be of one millisecond
    assert [row["content"] for row in rows] == ["Grüße", "viele GRÜSSE", "grüßend"]
    assert (reply.data["hasMore"], reply.data["beforeSeq"]) == (False, None)
    listed = (await house.get(f"/api/conversations/{one}/messages", 1)).data["messages"]
    assert [row for row in rows if row["conversation_id"] == one] == listed[:2]
    assert await found(house, 2, "GRÜ") == ["grüßend", "Grüße"], "of one's own conversations"
    assert await found(house, 1, "grü", conversationId=other) == ["viele GRÜSSE"]
    assert await found(house, 1, "  viele\t") == ["viele GRÜSSE"]


async def test_of_one_conversation_it_goes_on(house):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for number in range(7):
        await say(house, room, 1 + number % 2, f"tick {number}")
    pages, before_seq = [], {}
    while True:
        reply = await house.get(PATH, 1, q="tick", conversation_id=room, limit=3, **before_seq)
        pages.append([row["content"] for row in reply.data["messages"]])
        if not reply.data["hasMore"]:
            break
        before_seq = {"before_seq": reply.data["beforeSeq"]}
    assert [content for page in pages for content in page] == [f"tick {number}" for number in reversed(range(7))]
    assert len(pages) == 3
    assert reply.data["beforeSeq"] is None


async def test_nobody_finds_what_they_may_not_read(house):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    message = await say(house, room, 2, "secret plan")
    await say(house, room, 3, "secret answer")
    stranger = await house.conversation(2, 3)
    await say(house, stranger, 2, "secret of two")
    assert await found(house, 1, "secret") == ["secret answer", "secret plan"]
    for where in (stranger, 7):
        reply = await house.get(PATH, 1, q="secret", conversationId=where)
        assert (reply.status, reply.code) == (404, "CONVERSATION_NOT_FOUND")
    assert (await house.delete(f"/api/messages/{message['id']}", 2)).status == 200
    assert await found(house, 1, "secret") == ["secret answer"]
    assert (await house.post("/api/users/3/block", 1, {})).status == 200
    assert await found(house, 1, "secret") == []
    assert await found(house, 2, "secret") == ["secret of two", "secret answer"]
    assert (await house.delete(f"/api/conversations/{room}/participants/2", 2)).status == 200
    assert await found(house, 2, "secret") == ["secret of two"]
    reply = await house.get(PATH, 2, q="secret", conversationId=room)
    assert (reply.status, reply.code) == (404, "CONVERSATION_NOT_FOUND")
    assert (await house.get(PATH, q="secret")).status == 401


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"q": ""},
        {"q": "  "},
        {"q": "x" * 101},
        {"q": "a", "query": "b"},
        {"q": "a", "limit": 0},
        {"q": "a", "limit": 51},
        {"q": "a", "before_seq": 3},
        {"q": "a", "conversationId": "none"},
    ],
)
async def test_what_cannot_be_looked_for_is_refused(house, asked):
    await house.people(1)
    reply = await house.get(PATH, 1, **asked)
    assert (reply.status, reply.code) == (400, "VALIDATION")


async def test_each_has_one_search_at_a_time_and_the_next_when_it_ends(house, monkeypatch):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    await say(house, room, 1, "hello")
    searches = house.house.sockets.searches
    find, under_way, goes_on = searches._search.find, [], trio.Event()

    async def held(user_id, *arguments):
        under_way.append(user_id)
        await goes_on.wait()
        return await find(user_id, *arguments)

    monkeypatch.setattr(searches._search, "find", held)
    async with trio.open_nursery() as nursery:
        for user in (1, 2, 3):
            nursery.start_soon(found, house, user, "hello")
        await wait_all_tasks_blocked(0.1)
        assert searches._searching == {1, 2, 3}
        reply = await house.get(PATH, 1, q="hello")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "RATE_LIMIT_EXCEEDED", "1")
        assert "search" in reply.message
        assert len(under_way) == 2, "storage is asked by two at once, and not by all"
        goes_on.set()
    assert await found(house, 1, "hello") == ["hello"]


@pytest.mark.parametrize("what", ["erased", "blocked", "sent away"])
async def test_what_is_found_is_not_older_than_what_was_told_meanwhile(house, monkeypatch, what):
    await house.people(1, 2, 3)
    room = await house.conversation(3, 1, 2)
    message = await say(house, room, 2, "hello")
    search = house.house.sockets.searches._search
    find, rounds = search.find, []

    async def slow(*arguments):
        it = await find(*arguments)
        rounds.append(it)
        if len(rounds) == 1:
            if what == "erased":
                reply = await house.delete(f"/api/messages/{message['id']}", 2)
            elif what == "blocked":
                reply = await house.post("/api/users/2/block", 1, {})
            else:
                reply = await house.delete(f"/api/conversations/{room}/participants/1", 3)
            assert reply.status == 200, reply.json
        return it

    monkeypatch.setattr(search, "find", slow)
    assert await found(house, 1, "hello") == []
    assert len(rounds[0].messages) == 1
    assert len(rounds) == 2
