"""A notification that expires goes from every device, and counts no more: nobody has to ask."""

from datetime import UTC, datetime, timedelta

import pytest
import trio
from streams import Stream
from wire import Socket, open_sockets, wait_until

from greenroom.runtime import StorageUnavailable
from greenroom.storage.expiry import expire_some

SOON = timedelta(seconds=2)


async def notify(house, title, ends_at=None):
    body = {"userId": 1, "title": title, "message": f"{title} in full"}
    if ends_at is not None:
        body["expiresAt"] = ends_at.isoformat()
    sent = await house.post("/api/notifications/send", 1, body)
    assert sent.status == 201, sent.json
    return sent.data["id"]


async def listed(house):
    return [one["title"] for one in (await house.get("/api/notifications", 1)).data["notifications"]]


def gone_of(sock):
    return [one for event in sock.of("notification_deleted") for one in event["data"]["ids"]]


def unread_of(sock):
    told = [event["data"]["unread"] for event in sock.events if "unread" in (event.get("data") or {})]
    return told[-1] if told else None


@pytest.fixture
async def devices(live_house):
    """(v1 socket, page, stream) of one user."""
    await live_house.people(1)
    async with open_sockets() as nursery:
        v1 = await Socket.open(nursery, live_house, 1)
        await v1.start()
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        stream = await Stream.open(nursery, live_house, 1)
        await stream.expect("live")
        yield v1, page, stream


@pytest.mark.parametrize("is_read", [False, True], ids=["unread", "read"])
async def test_it_goes_from_every_device_and_the_count_with_it(live_house, devices, is_read):
    v1, page, stream = devices
    await notify(live_house, "STAYS")
    ends = await notify(live_house, "EXPIRES", datetime.now(UTC) + SOON)
    if is_read:
        assert (await live_house.put(f"/api/notifications/{ends}/read", 1, {})).status == 200
    await wait_until(lambda: not (ends in gone_of(v1) and ends in gone_of(stream)) and "v1 is not told", 8)
    assert (unread_of(v1), unread_of(stream)) == (1, 1)
    deletions = [
        one["data"] for one in page.of("notification_update") if one["data"]["type"] == "notifications_deleted"
    ]
    assert [[int(one) for one in deletion["notificationIds"]] for deletion in deletions] == [[ends]]
    await wait_until(lambda: page.of("unread_count")[-1]["count"] != 1 and "the page counts it")
    assert await listed(live_house) == ["STAYS"]
    await v1.settle()
    assert gone_of(v1) == [ends]


async def test_whoever_was_away_hears_of_it_on_coming_back(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        v1 = await Socket.open(nursery, live_house, 1)
        await v1.start()
        await notify(live_house, "STAYS")
        ends = await notify(live_house, "EXPIRES", datetime.now(UTC) + SOON)
        told = await v1.expect("notification", title="EXPIRES")
        v1.cut()
        await trio.sleep(SOON.total_seconds() + 2)
        again = await Socket.open(nursery, live_house, 1)
        await again.start(resume={"rooms": {}, "user": {"useq": told["useq"], "epoch": 1}})
        await wait_until(lambda: gone_of(again) != [ends] and "it is not told", 5)
        assert unread_of(again) == 1
        assert [event["useq"] for event in again.of("notification_deleted")] == [told["useq"] + 1]


async def test_many_that_expire_at_one_moment_are_one_word_to_each(live_house, devices):
    v1, _, _ = devices
    ends_at = datetime.now(UTC) + SOON * 2
    ids = [await notify(live_house, f"E{number}", ends_at) for number in range(30)]
    await wait_until(lambda: sorted(gone_of(v1)) != ids and "not all are told", 12)
    assert len(v1.of("notification_deleted")) == 1
    assert unread_of(v1) == 0


@pytest.mark.parametrize("stored", ["before", "after"])
async def test_the_outcome_that_nobody_knows_is_told_all_the_same(live_house, devices, monkeypatch, stored):
    v1, _, _ = devices
    notifications, news_for = live_house.house.storage.notifications, live_house.house.sockets.streams.news_for
    expire, asked, doubted = notifications.expire, [], set()

    async def stored_and_lost(*arguments):
        asked.append(arguments)
        if stored == "before":
            await expire(*arguments)
        raise StorageUnavailable("the answer was lost")

    ends = await notify(live_house, "EXPIRES", datetime.now(UTC) + timedelta(seconds=600))
    later_ms = int((datetime.now(UTC) + timedelta(seconds=700)).timestamp() * 1000)
    monkeypatch.setattr(notifications, "expire", stored_and_lost)
    with pytest.raises(StorageUnavailable):
        await expire_some(notifications, later_ms, news_for, doubted)
    monkeypatch.setattr(notifications, "expire", expire)
    if stored == "after":  # when its user's notifier has looked
        await v1.settle()
        await expire(*asked[0])
        assert not await expire_some(notifications, later_ms, news_for, doubted)
    await wait_until(lambda: gone_of(v1) != [ends] and "it is not told")
    assert not await expire_some(notifications, later_ms, news_for, doubted)  # twice is once
    await v1.settle()
    assert (gone_of(v1), doubted) == ([ends], set())


async def test_what_had_expired_when_it_was_sent_is_told_once(live_house, devices):
    v1, _, _ = devices
    ends = await notify(live_house, "EXPIRED", datetime.now(UTC) - SOON)
    await trio.sleep(2.5)
    await v1.settle()
    assert gone_of(v1) == [ends]
