"""How many notifications are unread, as it is told: what storage says, also of very many and of expired ones."""

from datetime import UTC, datetime, timedelta

import asyncpg
import pytest
import trio
import trio_asyncio
from held import holding
from wire import Socket, open_sockets, wait_until

MANY = 1500


async def notify(house, title, **fields):
    body = {"userId": 1, "title": title, "message": f"{title} in full", **fields}
    sent = await house.post("/api/notifications/send", 1, body)
    assert sent.status == 201, sent.json
    return sent.data["id"]


async def stored_unread(house):
    return (await house.get("/api/notifications/unread", 1)).data["count"]


@pytest.fixture
async def hears(live_house):
    """A v1 socket of the user: how many are unread by what it was told last."""
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()

        async def last_told():
            await sock.settle()
            return [event for event in sock.events if "unread" in (event.get("data") or {})][-1]["data"]["unread"]

        yield nursery, last_told


async def put_many(arguments, count):
    async def put():
        connection = await asyncpg.connect(**arguments)
        await connection.execute(
            "insert into notifications (id, user_id, type, title, message, priority, created_at) "
            "select n, 1, 'info', 'T', 'M', 'normal', now() from generate_series(1, $1::int) n",
            count,
        )
        await connection.close()

    async with trio_asyncio.open_loop():
        await trio_asyncio.aio_as_trio(put)()


async def test_of_more_than_are_counted_some_are_read(live_house, hears, database):
    _, last_told = hears
    await put_many(database.connect_arguments(), MANY)
    await notify(live_house, "ONE MORE")
    assert await last_told() == 1000, "as many as are counted"
    for first, left in ((1, 1000), (501, 501), (1001, 1)):
        ids = list(range(first, first + 500))
        read = await live_house.put("/api/notifications/read-multiple", 1, {"notificationIds": ids})
        assert read.data["unreadCount"] == left == await stored_unread(live_house) == await last_told()


@pytest.mark.parametrize("how", ["read", "deleted"])
async def test_what_has_expired_counts_for_nothing_when_it_is_read_or_deleted(live_house, hears, how):
    _, last_told = hears
    ids = [await notify(live_house, title) for title in "BC"]
    soon = datetime.now(UTC) + timedelta(seconds=4)
    ids.insert(0, await notify(live_house, "EXPIRES", expiresAt=soon.isoformat()))
    assert await last_told() == 3
    await trio.sleep(max(0, (soon - datetime.now(UTC)).total_seconds() + 0.1))
    if how == "read":
        await live_house.put("/api/notifications/read-multiple", 1, {"notificationIds": ids[:2]})
    else:
        for one in ids[:2]:
            await live_house.delete(f"/api/notifications/{one}", 1)
    assert await last_told() == 1 == await stored_unread(live_house)


async def test_what_has_expired_meanwhile_does_not_count_with_the_next(live_house, hears):
    nursery, last_told = hears
    await notify(live_house, "STAYS")
    soon = datetime.now(UTC) + timedelta(seconds=4)
    await notify(live_house, "EXPIRES", expiresAt=soon.isoformat())
    assert await last_told() == 2
    await trio.sleep(max(0, (soon - datetime.now(UTC)).total_seconds() + 0.1))
    await notify(live_house, "NEXT")
    assert await last_told() == 2 == await stored_unread(live_house)
    page = await Socket.open(nursery, live_house, 1, protocol=None)
    await page.expect("connected")
    await page.send({"type": "get_unread_count"})
    assert (await page.expect("unread_count"))["count"] == 2


async def test_what_waits_to_be_stored_is_marked_with_all_that_is(live_house, hears, database):
    _, last_told = hears
    answers = []

    def turns():
        return live_house.house.system.statistics().kinds["notifier"].turns

    async def mark_all():
        answers.append(await live_house.put("/api/notifications/read-all", 1, {}))

    lock = "lock table notifications in share mode"  # read it may be
    async with trio.open_nursery() as nursery, holding(database, lock):
        before = turns()
        for number in range(20):
            nursery.start_soon(notify, live_house, f"{number}")
        await wait_until(lambda: turns() < before + 20 and "all that is to be stored")
        nursery.start_soon(mark_all)
        await wait_until(lambda: turns() == before + 20 and "the question to mark it")
        await trio.sleep(0.1)
        assert not answers
    (marked,) = answers
    assert len(marked.data["notificationIds"]) == 20
    assert marked.data["unreadCount"] == 0 == await stored_unread(live_house) == await last_told()
