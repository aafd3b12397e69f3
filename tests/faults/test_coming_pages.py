"""What is said after a page's socket has opened, and before it is known whom its user blocks, comes all the same."""

from contextlib import contextmanager

import pytest
import trio
from wire import Socket, open_sockets, wait_until

from greenroom.http.ws import coming_pages, user_streams
from greenroom.runtime import StorageUnavailable


async def say(house, user, room, text):
    sent = await house.post(f"/api/conversations/{room}/messages", user, {"content": text})
    assert sent.status == 201, sent.json


@pytest.fixture
def nobody_is_known(live_house, monkeypatch):
    """While entered, storage does not say whom anybody blocks."""
    monkeypatch.setattr(user_streams, "STORAGE_PAUSE_SECONDS", 0.05)
    postgres = live_house.house.sockets.streams._streams._postgres
    right = postgres.fetch

    async def away(name, *arguments):
        if name == "select_stream_standings":
            raise StorageUnavailable("away")
        return await right(name, *arguments)

    @contextmanager
    def entered():
        with monkeypatch.context() as patch:
            patch.setattr(postgres, "fetch", away)
            yield

    return entered


async def test_a_page_hears_what_was_said_while_it_came_but_of_whom_its_user_blocks(live_house, nobody_is_known):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    assert (await live_house.post("/api/users/3/block", 2, {})).status == 200
    live_house.house.sockets.streams._forget(2)  # as when the user has not been here for long
    hub = live_house.house.hub
    async with open_sockets() as nursery:
        with nobody_is_known():
            page = await Socket.open(nursery, live_house, 2, protocol=None)
            await say(live_house, 1, room, "one")
            await say(live_house, 3, room, "hidden")
            await say(live_house, 2, room, "one's own")
            await say(live_house, 1, room, "two")
            assert not page.events
            assert len(hub.coming) == 1
        await page.expect("new_message", content="two")
        await say(live_house, 1, room, "three")
        await page.expect("new_message", content="three")
        assert [event["content"] for event in page.of("new_message")] == ["one", "two", "three"]
        assert [event["seq"] for event in page.of("new_message", "message_sent")] == [1, 3, 4, 5]
        assert page.events[0]["type"] == "connected"
    assert not hub.coming


@pytest.mark.parametrize("blocks", [(2, 3), (3, 2)], ids=["by the page's user", "by the other"])
async def test_nothing_of_who_is_kept_apart_is_told_before_it_is_known(live_house, nobody_is_known, blocks):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    sent = await live_house.post(f"/api/conversations/{room}/messages", 2, {"content": "read it"})
    blocker, blocked = blocks
    assert (await live_house.post(f"/api/users/{blocked}/block", blocker, {})).status == 200
    first = await live_house.post("/api/notifications/send", 2, {"title": "first", "message": "m"})
    assert first.status == 201  # its notifier is awake, and need not load while storage says so little
    live_house.house.sockets.streams._forget(2)
    async with open_sockets() as nursery:
        others = {user: await Socket.open(nursery, live_house, user) for user in (1, 3)}
        for other in others.values():
            await other.start(room)
        with nobody_is_known():
            page = await Socket.open(nursery, live_house, 2, protocol=None)
            await page.send({"type": "join_conversation", "conversationId": room})
            await page.expect("conversation_joined")
            for other in others.values():
                await other.ask("typing", room, on=True)
                await other.ask("read", room, seq=1)
            sent_on = await live_house.post("/api/notifications/send", 2, {"title": "news", "message": "m"})
            assert sent_on.status == 201
            await trio.sleep(1.2)
            assert [event["type"] for event in page.events] == ["conversation_joined"]
        await page.expect("connected")
        await page.expect("notification", title="news")
        await say(live_house, 1, room, "over")
        await page.expect("new_message", content="over")
        told = [event for event in page.events if event["type"] == "message_read"]
        assert [event["readBy"] for event in told] == [1], told
        assert told[0]["messageId"] == sent.data["messageId"]
        assert 3 not in [event["userId"] for event in page.of("user_typing")]


async def test_a_page_for_which_too_much_is_kept_is_let_go_and_what_was_kept_with_it(
    live_house, nobody_is_known, monkeypatch
):
    monkeypatch.setattr(coming_pages, "KEPT_BYTES_MAX", 2000)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    hub = live_house.house.hub
    async with open_sockets() as nursery:
        with nobody_is_known():
            pages = [await Socket.open(nursery, live_house, 2, protocol=None) for _ in range(2)]
            pages[0].cut()
            await wait_until(lambda: live_house.house.engine.of_user(2) > 1 and "the one that was cut")
            for _ in range(3):
                await say(live_house, 1, room, "x" * 900)
            assert await pages[1].wait_closed() == 1012
            assert not hub.coming


async def test_what_was_stored_when_a_page_came_and_is_told_after_it_is_told_to_the_page(live_house, monkeypatch):
    """Storage knew of it before the sockets did: the page begins behind it, and nobody else would tell it."""
    await live_house.people(1)
    streams, told = live_house.house.sockets.streams, []
    tell = streams.tell
    monkeypatch.setattr(streams, "tell", lambda *arguments: told.append(arguments))
    assert (await live_house.post("/api/notifications/send", 1, {"title": "news", "message": "m"})).status == 201
    streams.forget(1)
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        await page.settle()
        monkeypatch.setattr(streams, "tell", tell)
        tell(*told.pop())
        await page.expect("notification", title="news")
        assert (await live_house.post("/api/notifications/send", 1, {"title": "more", "message": "m"})).status == 201
        await page.expect("notification", title="more")
        await page.settle()
        assert len(page.of("notification")) == 2
