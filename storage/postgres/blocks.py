"""Who blocks whom, in PostgreSQL: read here, written by the committer for the notifier of who blocks."""

from typing import Any

from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.user_writes import PutBlock


class Blocks:
    """Reads."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def is_blocked(self, blocker_id: int, blocked_id: int) -> bool:
        """Whether the first has blocked the second."""
        return bool(await self._postgres.fetch_value("is_blocked", blocker_id, blocked_id))

    async def is_pair_apart(self, user_id: int, other_id: int) -> bool:
        """Whether one of two has blocked the other."""
        return bool(await self._postgres.fetch_value("is_pair_apart", user_id, other_id))

    async def blocked(self, user_id: int, limit: int, offset: int) -> list[Any]:
        """Whom the user has blocked, the newest first (rows of `select_blocked`)."""
        return await self._postgres.fetch("select_blocked", user_id, limit, offset)

    async def count(self, user_id: int) -> int:
        """How many the user has blocked."""
        return int(await self._postgres.fetch_value("count_blocked", user_id) or 0)


async def write_blocks(connection: Any, changes: list[PutBlock]) -> None:
    """Write them in their order. Inside a transaction."""
    for change in changes:
        pair = (change.blocker_id, change.blocked_id)
        if change.is_blocked:
            await connection.execute(query("put_block"), *pair, change.reason, change.at_ms)
        else:
            await connection.execute(query("delete_block"), *pair)
