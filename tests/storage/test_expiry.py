"""Notifications that expire: who is left a note, and that this waits for nobody."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import asyncpg

from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.notifications import Notifications
from greenroom.storage.postgres.queries import query

NOW_MS = 1_800_000_000_000
PEOPLE = (
    "insert into users (id, name, created_at, updated_at) select g, 'u' || g, now(), now() from generate_series(1, 9) g"
)
NOTIFICATION = """
insert into notifications (id, user_id, type, title, message, priority, created_at, expires_at, deleted_at)
values ($1, $2, 'info', 'T', 'M', 'normal', now(), to_timestamp($3::bigint / 1000.0), case when $4 then now() end)
"""


class OneConnection:
    """A pool of one."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def fetch(self, name: str, *arguments: object) -> list[Any]:
        return cast("list[Any]", await self._connection.fetch(query(name), *arguments))


def run(database: ServerAddress, test: Callable[[Notifications, Any, Any], Awaitable[None]]) -> None:
    async def with_two() -> None:
        one, other = [await asyncpg.connect(**database.connect_arguments()) for _ in range(2)]
        await one.execute(PEOPLE)
        await test(Notifications(cast("Any", OneConnection(one))), one, other)
        await one.close()
        await other.close()

    asyncio.run(with_two())


async def put(connection: Any, *rows: tuple[int, int, int | None, bool]) -> None:
    await connection.executemany(NOTIFICATION, rows)


async def notes(connection: Any) -> list[tuple[int, str, int, list[int]]]:
    rows = await connection.fetch("select user_id, kind, seq, data from user_notes order by id")
    return [(row["user_id"], row["kind"], row["seq"], json.loads(row["data"])["ids"]) for row in rows]


def test_the_first_to_expire_is_found_first_and_nothing_that_is_deleted_or_stays(database: ServerAddress) -> None:
    async def test(notifications: Notifications, one: Any, _: Any) -> None:
        await put(one, (11, 1, NOW_MS, False), (12, 1, NOW_MS - 9, False), (13, 2, NOW_MS + 1, False))
        await put(one, (14, 2, None, False), (15, 2, NOW_MS - 5, True), (16, 3, NOW_MS - 7, False))
        assert await notifications.expired(NOW_MS, 2) == [(1, 12), (3, 16)]
        assert await notifications.expired(NOW_MS, 10) == [(1, 12), (3, 16), (1, 11)]
        await notifications.expire([11, 12, 15, 16, 404], NOW_MS)
        kind = "notification_deleted"
        assert await notes(one) == [(1, kind, 0, [11, 12]), (3, kind, 0, [16])]
        assert await notifications.expired(NOW_MS, 10) == []
        await notifications.expire([11, 12, 16], NOW_MS)
        assert len(await notes(one)) == 2

    run(database, test)


def test_what_somebody_is_changing_is_left_for_the_next_time(database: ServerAddress) -> None:
    async def test(notifications: Notifications, one: Any, other: Any) -> None:
        await put(one, (11, 1, NOW_MS, False), (12, 2, NOW_MS, False))
        changing = other.transaction()
        await changing.start()
        await other.execute(query("read_notifications"), 1, [11], NOW_MS, False)
        async with asyncio.timeout(5):
            await notifications.expire([11, 12], NOW_MS)
        assert [user_id for user_id, *_ in await notes(one)] == [2]
        await changing.commit()
        assert await notifications.expired(NOW_MS, 10) == [(1, 11)]
        await notifications.expire([11], NOW_MS)
        assert [user_id for user_id, *_ in await notes(one)] == [2, 1]

    run(database, test)


def test_among_very_many_those_that_have_expired_are_found_by_the_index(database: ServerAddress) -> None:
    async def test(_: Notifications, one: Any, __: Any) -> None:
        await one.execute(
            "insert into notifications (id, user_id, type, title, message, priority, created_at, expires_at) "
            "select g, 1 + g % 9, 'info', 'T', 'M', 'normal', now(), to_timestamp($1::bigint / 1000.0 + g) "
            "from generate_series(1, 20000) g",
            NOW_MS,
        )
        await one.execute("analyze notifications")
        plan = await one.fetch(
            "explain (analyze, buffers) " + query("select_expired_notifications"), NOW_MS + 5000, 500
        )
        text = "\n".join(row[0] for row in plan)
        assert "notifications_by_end" in text
        assert "Seq Scan" not in text

    run(database, test)
