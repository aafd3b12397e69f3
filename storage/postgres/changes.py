"""Changes of messages in PostgreSQL: written by the committer, inside the transaction that has bumped their rooms."""

from typing import Any

from greenroom.storage.postgres.queries import query
from greenroom.storage.writes import ChangeMessage


async def write_changes(connection: Any, changes: list[ChangeMessage]) -> None:
    """Note each change, and let the last one of each message stand. An asyncio coroutine."""
    if changes:
        await connection.execute(
            query("commit_changes"),
            [change.conversation_id for change in changes],
            [change.seq for change in changes],
            [change.message_id for change in changes],
            [change.kind for change in changes],
            [change.content for change in changes],
            [change.by_id for change in changes],
            [change.at_ms for change in changes],
        )
