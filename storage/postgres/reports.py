"""What users have told the administrators of: messages and people. Written here alone, in one statement each."""

from dataclasses import dataclass
from typing import Any

from greenroom.storage.postgres.pool import Postgres


@dataclass(frozen=True, slots=True)
class Reported:
    """What a report was about. user_id: who; None when there is no such message, or nobody, for who reports."""

    user_id: int | None
    is_new: bool


class Reports:
    """Of all users. A report again is the first one."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def put_message(self, reporter_id: int, message_id: int, reason: str, at_ms: int) -> Reported:
        """Report a message, as a member of its conversation; one's own is not stored. Raises: StorageUnavailable."""
        return await self._put("put_report_of_message", reporter_id, message_id, reason, at_ms)

    async def put_user(self, reporter_id: int, user_id: int, reason: str, at_ms: int) -> Reported:
        """Report somebody with whom one shares a conversation; oneself is not stored. Raises: StorageUnavailable."""
        return await self._put("put_report_of_user", reporter_id, user_id, reason, at_ms)

    async def _put(self, name: str, *arguments: Any) -> Reported:
        row = await self._postgres.fetch_row(name, *arguments)
        assert row is not None
        return Reported(row["user_id"], row["is_new"])

    async def page(self, before_id: int, limit: int) -> list[Any]:
        """Reports before *before_id*, the newest first (rows of `select_reports`)."""
        return await self._postgres.fetch("select_reports", before_id, limit)
