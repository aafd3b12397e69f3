"""What replaces all that a page shows is no older than what the page was told before it."""

import json

import pytest
from wire import Socket, open_sockets, wait_until

from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.last_seen import LastSeen
from greenroom.storage.postgres.notifications import Notifications


@pytest.mark.parametrize(
    ("asked", "answer", "slow", "count"),
    [
        ("request_initial_data", "initial_data", "page", "unreadCount"),
        ("request_initial_data", "initial_data", "counts", "unreadCount"),
        ("get_unread_count", "unread_count", "counts", "count"),
    ],
)
async def test_what_comes_while_storage_is_read_is_in_the_answer(live_house, monkeypatch, asked, answer, slow, count):
    await live_house.people(1)
    read, sent = getattr(Notifications, slow), []
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        await page.settle()

        async def read_slowly(self, *args, **options):
            found = await read(self, *args, **options)
            if not sent:
                sent.append("news")  # first: whoever stores it counts too
                await live_house.post("/api/notifications/send", 1, {"title": "news", "message": "m"})
                await page.expect("unread_count", count=1)
            return found

        monkeypatch.setattr(Notifications, slow, read_slowly)
        position = len(page.events)
        await page.send({"type": asked})
        told = await page.expect("notification")
        after = page.position(await page.expect("unread_count", after=position, count=1))
        found = await page.expect(answer, after=after + 1)
        assert found[count] == 1
        if "notifications" in found:
            assert [one["id"] for one in found["notifications"]] == [told["id"]]


async def test_behind_it_the_badge_is_told_by_the_frame_that_the_page_reads(live_house):
    """Also to a page that comes back: what was read or sent while it had no socket is not told again."""
    await live_house.people(1)
    for title in ("old", "new"):
        assert (await live_house.post("/api/notifications/send", 1, {"title": title, "message": "m"})).status == 201
    async with open_sockets() as nursery:
        for count in (2, 0):
            page = await Socket.open(nursery, live_house, 1, protocol=None)
            await page.send({"type": "request_initial_data"})
            initial = await page.expect("initial_data")
            badge = await page.expect("unread_count", after=page.position(initial))
            assert badge["count"] == initial["unreadCount"] == count
            page.cut()
            await wait_until(lambda: live_house.house.engine.connections_of(1) and "its end")
            assert (await live_house.put("/api/notifications/read-all", 1)).status == 200


async def test_a_page_with_long_notifications_is_told_the_newest_and_stays(live_house):
    """All of them are more than may wait for a socket: who comes back for them would be let go again and again."""
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    for number in range(50):
        long = {"title": f"number {number}", "message": "m" * 9_000, "data": {"more": "d" * 16_000}}
        assert (await live_house.post("/api/notifications/send", 1, long)).status == 201
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.send({"type": "request_initial_data"})
        found = await page.expect("initial_data")
        await page.expect("presence_update")
        await page.settle()
    titles = [one["title"] for one in found["notifications"]]
    assert titles == [f"number {number}" for number in range(49, 49 - len(titles), -1)]
    assert len(titles) >= 5
    assert found["unreadCount"] == 50


async def test_more_people_than_an_answer_holds_are_not_all_listed_there(live_house):
    """Each of them is told of by a frame of their own."""
    people = range(2, 201)
    await live_house.people(1, *people)
    await live_house.conversation(1, *people)
    for user in people:
        wish = {"status": "busy", "activity": "\N{GRINNING FACE}" * 140}
        assert (await live_house.post("/api/presence/update", user, wish)).status == 200
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.send({"type": "get_online_users"})
        listed = await page.expect("online_users")
        await page.send({"type": "request_initial_data"})
        assert (await page.expect("initial_data"))["presence"]["users"]
        await wait_until(lambda: set(people) - {one["userId"] for one in page.of("presence_update")})
        await page.settle()
    assert 100 < len(listed["users"]) < 200
    assert len(json.dumps(listed["users"], ensure_ascii=False, separators=(",", ":")).encode()) <= 128 * 1024


@pytest.mark.parametrize("slow", ["rooms", "notifications"])
async def test_what_a_page_asks_while_storage_is_away_is_answered_when_it_is_back(live_house, monkeypatch, slow):
    """It asks once for a socket."""
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    assert (await live_house.post("/api/notifications/send", 1, {"title": "news", "message": "m"})).status == 201
    owner, name = (LastSeen, "small_rooms_of") if slow == "rooms" else (Notifications, "page")
    read, asked = getattr(owner, name), []

    async def read_later(self, *args, **options):
        asked.append(args)
        if len(asked) <= 2:
            raise StorageUnavailable("away")
        return await read(self, *args, **options)

    async with open_sockets() as nursery:
        other = await Socket.open(nursery, live_house, 2, protocol=None)
        await other.expect("connected")
        await other.settle()
        monkeypatch.setattr(owner, name, read_later)
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        for kind in ("request_initial_data", "get_online_users"):
            await page.send({"type": kind})
        found = await page.expect("initial_data")
        assert [one["title"] for one in found["notifications"]] == ["news"]
        assert {one["userId"] for one in found["presence"]["users"]} == {1, 2}
        await page.expect("user_online", userId=2)
        assert {one["userId"] for one in (await page.expect("online_users"))["users"]} == {1, 2}
        await page.settle()
        assert len(page.of("initial_data")) == len(page.of("online_users")) == 1
        assert not page.of("error")
