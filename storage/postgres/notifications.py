"""Notifications in PostgreSQL: read here, written by the committer for their user's notifier."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.user_writes import PutNotification, ReadNotifications

COUNTED_NOTIFICATIONS: Final = 1000  # of more a client is told so many


class Counts(NamedTuple):
    """Of a user: notifications that are shown, and unread ones; at most 1,000 of each are counted.

    unread_until_ms: when the first of the unread ones expires, None when none of them does.
    """

    total: int
    unread: int
    unread_until_ms: int | None = None


class SentUnder(NamedTuple):
    """What was sent under a key."""

    id: int
    digest: bytes


class Notifications:
    """Reads; and the end of what expires."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def page(
        self,
        user_id: int,
        now_ms: int,
        limit: int,
        offset: int,
        *,
        is_unread: bool = False,
        category: str | None = None,
        related_type: str | None = None,
    ) -> list[Any]:
        """Rows of `select_notifications`, the newest first. is_unread: only what was not read."""
        chosen = (is_unread, category, related_type)
        return await self._postgres.fetch("select_notifications", user_id, now_ms, *chosen, limit, offset)

    async def count(
        self, user_id: int, now_ms: int, *, is_unread: bool, category: str | None, related_type: str | None
    ) -> int:
        """How many rows all pages of this have; at most 1,000 are counted."""
        chosen = (is_unread, category, related_type)
        return int(await self._postgres.fetch_value("count_chosen_notifications", user_id, now_ms, *chosen) or 0)

    async def counts(self, user_id: int, now_ms: int) -> Counts:
        """How many there are."""
        row = await self._postgres.fetch_row("count_notifications", user_id, now_ms)
        assert row is not None
        return Counts(row["total"], row["unread"], row["unread_until_ms"])

    async def count_unread(self, user_id: int, now_ms: int, without: Sequence[int]) -> tuple[int, int | None]:
        """(How many are unread, but for these, at most COUNTED_NOTIFICATIONS; when the first of them expires)."""
        row = await self._postgres.fetch_row("count_unread_notifications", user_id, now_ms, list(without))
        assert row is not None
        return row["unread"], row["unread_until_ms"]

    async def unread(self, user_id: int, ids: Sequence[int] | None, count: int) -> tuple[int, ...]:
        """Which of *ids*, or of all, the user has not read: at most *count*, the oldest first."""
        rows = await self._postgres.fetch("select_unread_notifications", user_id, _listed(ids), count)
        return tuple(row["id"] for row in rows)

    async def kept(self, user_id: int, ids: Sequence[int] | None, count: int) -> tuple[int, ...]:
        """Which of *ids*, or of all, the user has not deleted: at most *count*, the oldest first."""
        rows = await self._postgres.fetch("select_kept_notifications", user_id, _listed(ids), count)
        return tuple(row["id"] for row in rows)

    async def expired(self, now_ms: int, count: int) -> list[tuple[int, int]]:
        """(User, id) of notifications that have expired and are not deleted: at most *count*. Of whomever."""
        rows = await self._postgres.fetch("select_expired_notifications", now_ms, count)
        return [(row["user_id"], row["id"]) for row in rows]

    async def expire(self, ids: Sequence[int], now_ms: int) -> None:
        """Delete them, with a note for each of their users. Twice is once."""
        await self._postgres.fetch("expire_notifications", list(ids), now_ms)

    async def sent_under(self, user_id: int, key: str) -> SentUnder | None:
        """What was sent to the user under *key*."""
        row = await self._postgres.fetch_row("select_notification_sent_under", user_id, key)
        return None if row is None else SentUnder(row["id"], row["sent_digest"])


def _listed(ids: Sequence[int] | None) -> list[int] | None:
    return None if ids is None else list(ids)


async def put_notifications(connection: Any, rows: list[PutNotification]) -> None:
    """Store them. Inside a transaction."""
    names = PutNotification.__dataclass_fields__
    await connection.execute(query("put_notifications"), *([getattr(row, name) for row in rows] for name in names))


async def read_notifications(connection: Any, changes: list[ReadNotifications]) -> None:
    """Mark or delete them. Inside a transaction."""
    for change in changes:
        await connection.execute(
            query("read_notifications"), change.user_id, list(change.ids), change.at_ms, change.is_deleted
        )
