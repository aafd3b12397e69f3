"""Search over HTTP: whose messages, which of them, one at a time, and never as they were before."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.http import searches

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
    for row in listed:
        del row["is_read"], row["isRead"]
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


@pytest.fixture
def storage_that_waits(house, monkeypatch):
    """(The users whose search storage works at, what lets it go on)."""
    storage, under_way, goes_on = house.house.sockets.searches.storage, [], trio.Event()
    find = storage.find

    async def held(user_id, *arguments):
        under_way.append(user_id)
        await goes_on.wait()
        return await find(user_id, *arguments)

    monkeypatch.setattr(storage, "find", held)
    return under_way, goes_on


async def until(is_so):
    with trio.fail_after(5):
        while not is_so():  # noqa: ASYNC110 - what storage is asked before has no event
            await trio.sleep(0.01)


async def test_each_has_one_search_at_a_time_and_the_next_when_it_ends(house, storage_that_waits):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    await say(house, room, 1, "hello")
    searches_now, (under_way, goes_on) = house.house.sockets.searches, storage_that_waits
    async with trio.open_nursery() as nursery:
        for user in (1, 2, 3):
            nursery.start_soon(found, house, user, "hello")
        await until(lambda: len(under_way) == 2 and searches_now.places.statistics().tasks_waiting == 1)
        assert searches_now.searching == {1, 2, 3}
        reply = await house.get(PATH, 1, q="hello")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "RATE_LIMIT_EXCEEDED", "1")
        assert "search" in reply.message
        assert len(under_way) == 2, "storage is asked by two at once, and not by all"
        goes_on.set()
    assert await found(house, 1, "hello") == ["hello"]


async def test_nobody_waits_long_for_others_and_the_next_search_is_theirs(house, storage_that_waits, monkeypatch):
    await house.people(1, 2, 3)
    room = await house.conversation(1, 2, 3)
    await say(house, room, 1, "hello")
    under_way, goes_on = storage_that_waits
    monkeypatch.setattr(searches, "WAIT_SECONDS_MAX", 0.2)
    async with trio.open_nursery() as nursery:
        for user in (1, 2):
            nursery.start_soon(found, house, user, "hello")
        await until(lambda: len(under_way) == 2)
        reply = await house.get(PATH, 3, q="hello")
        assert (reply.status, reply.code, reply.headers["Retry-After"]) == (429, "RATE_LIMIT_EXCEEDED", "1")
        assert "others" in reply.message
        goes_on.set()
    assert await found(house, 3, "hello") == ["hello"]
    assert house.house.sockets.searches.searching == set()
    assert house.house.sockets.searches.places.borrowed_tokens == 0


async def test_who_hangs_up_has_their_place_until_storage_is_done(house, storage_that_waits):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await say(house, room, 1, "hello")
    under_way, goes_on = storage_that_waits
    searches_now, ended, line = house.house.sockets.searches, trio.Event(), trio.CancelScope()

    async def ask_and_hang_up():
        with line:
            await house.get(PATH, 1, q="hello")
        ended.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_and_hang_up)
        await until(lambda: under_way)
        line.cancel()
        await wait_all_tasks_blocked(0.05)
        assert not ended.is_set()
        assert searches_now.places.borrowed_tokens == 1
        assert (await house.get(PATH, 1, q="hello")).status == 429
        goes_on.set()
        await ended.wait()
    assert (searches_now.places.borrowed_tokens, searches_now.searching) == (0, set())
    assert await found(house, 1, "hello") == ["hello"]


async def test_a_search_that_takes_too_long_is_given_up(house, storage_that_waits, monkeypatch):
    await house.people(1, 2)
    monkeypatch.setattr(searches, "SEARCH_SECONDS_MAX", 0.2)
    reply = await house.get(PATH, 1, q="hello")
    assert (reply.status, reply.code) == (503, "SERVICE_UNAVAILABLE")
    assert (house.house.sockets.searches.places.borrowed_tokens, house.house.sockets.searches.searching) == (0, set())


async def test_who_may_not_ask_any_more_when_the_answer_is_there_has_none(house, storage_that_waits):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    await say(house, room, 1, "hello")
    replies, (under_way, goes_on) = [], storage_that_waits

    async def ask(token):
        replies.append(await house.get(PATH, headers={"Authorization": f"Bearer {token}"}, q="hello"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, house.token(1))
        await until(lambda: under_way)
        reply = await house.post("/api/auth/logout", 1, {"everywhere": True})
        assert reply.status == 200, reply.json
        goes_on.set()
    assert [(reply.status, reply.code) for reply in replies] == [(401, "INVALID_TOKEN")]


MEANWHILE = ("erased", "edited", "edited to the same", "blocked", "sent away")


@pytest.mark.parametrize("where", ["", "conversation"])
@pytest.mark.parametrize("what", MEANWHILE)
async def test_what_is_found_is_not_older_than_what_was_told_meanwhile(house, monkeypatch, what, where):
    await house.people(1, 2, 3)
    room = await house.conversation(3, 1, 2)
    message = await say(house, room, 2, "hello")
    storage = house.house.sockets.searches.storage
    find, looked = storage.find, []

    async def slow(*arguments):
        it = await find(*arguments)
        looked.append(it)
        path = f"/api/messages/{message['id']}"
        if what == "erased":
            reply = await house.delete(path, 2)
        elif what.startswith("edited"):
            reply = await house.put(path, 2, {"content": "hello, Bob" if what == "edited to the same" else "bye"})
        elif what == "blocked":
            reply = await house.post("/api/users/2/block", 1, {})
        else:
            reply = await house.delete(f"/api/conversations/{room}/participants/1", 3)
        assert reply.status == 200, reply.json
        return it

    monkeypatch.setattr(storage, "find", slow)
    reply = await house.get(PATH, 1, q="hello", **({"conversationId": room} if where else {}))
    if what == "sent away" and where:
        assert (reply.status, reply.code) == (404, "CONVERSATION_NOT_FOUND")
    else:
        contents = [row["content"] for row in reply.data["messages"]]
        assert contents == (["hello, Bob"] if what == "edited to the same" else [])
    assert len(looked) == 1, "storage looks for everything once"
    assert len(looked[0].messages) == 1


async def test_a_room_in_which_somebody_edits_all_the_time_is_searched(house, monkeypatch):
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    message = await say(house, room, 2, "hello 0")
    storage, edits = house.house.sockets.searches.storage, 0

    async def edit():
        nonlocal edits
        edits += 1
        reply = await house.put(f"/api/messages/{message['id']}", 2, {"content": f"hello {edits}"})
        assert reply.status == 200, reply.json

    find, find_again = storage.find, storage.find_again

    async def edited_meanwhile(*arguments):
        it = await find(*arguments)
        await edit()
        return it

    async def edited_again(*arguments):
        it = await find_again(*arguments)
        if edits < 5:
            await edit()
        return it

    monkeypatch.setattr(storage, "find", edited_meanwhile)
    monkeypatch.setattr(storage, "find_again", edited_again)
    assert await found(house, 1, "hello") == ["hello 5"]
