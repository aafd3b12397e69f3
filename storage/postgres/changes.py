"""What happens to messages besides being said: written by the committer, in the transaction that bumped their rooms."""

from typing import Any

from greenroom.storage.postgres.queries import query
from greenroom.storage.writes import AttachFiles, ChangeMessage


async def write_files(connection: Any, messages: list[AttachFiles]) -> None:
    """Give messages their files. An asyncio coroutine."""
    if messages:
        files = [(key, message) for message in messages for key in message.keys]
        await connection.execute(
            query("commit_attachments"),
            [key for key, _ in files],
            [message.conversation_id for _, message in files],
            [message.message_id for _, message in files],
            [message.message_id for message in messages],
            [message.told for message in messages],
        )


async def write_changes(connection: Any, changes: list[ChangeMessage]) -> None:
    """Note each change, and let the last one of each message stand. An asyncio coroutine."""
    if not changes:
        return
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
    erased = [change for change in changes if change.kind == "deleted"]
    if erased:
        await connection.execute(
            query("commit_erased_files"),
            [change.message_id for change in erased],
            [change.at_ms for change in erased],
        )
