"""How users want to be told, in PostgreSQL: read here, written by the committer for their notifiers."""

from typing import Any

from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.user_writes import PutPreferences


class StoredPreferences:
    """Reads."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def of(self, user_id: int) -> str | None:
        """A JSON object as text; None of a user who has never looked at them. Raises: StorageUnavailable."""
        found: str | None = await self._postgres.fetch_value("select_preferences", user_id)
        return found


async def put_preferences(connection: Any, rows: list[PutPreferences]) -> None:
    """Store them, of each user the last. Inside a transaction."""
    last = {row.user_id: row for row in rows}
    await connection.execute(
        query("put_preferences"),
        list(last),
        [row.preferences for row in last.values()],
        [row.at_ms for row in last.values()],
    )
