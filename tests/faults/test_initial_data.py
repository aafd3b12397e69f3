"""What replaces all that a page shows is no older than what the page was told before it."""

import pytest
from wire import Socket, open_sockets

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
