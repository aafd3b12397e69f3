"""What happens to messages besides being said: written by the committer, in the transaction that bumped their rooms."""

from collections.abc import Mapping, Sequence
from typing import Any

from greenroom.runtime.ports import Address, CommitUnit
from greenroom.storage.postgres.queries import query
from greenroom.storage.writes import AttachFiles, ChangeMessage, DescribeMessage, MarkMessage

ERASED_AT_ONCE = 10_000  # changes of reactions of one deleted message: a batch may not take long


async def without_files(connection: Any, by_actor: Mapping[Address, Sequence[CommitUnit]]) -> set[Address]:
    """Those of the actors whose messages cannot have their files: others have them.

    The first of several in a batch has them; the files of the rest of its batch are locked until the transaction ends.
    """
    wanted = {
        address: [
            key for unit in units for write in unit.writes if isinstance(write, AttachFiles) for key in write.keys
        ]
        for address, units in by_actor.items()
    }
    keys = sorted({key for some in wanted.values() for key in some})
    if not keys:
        return set()
    free = {row["key"] for row in await connection.fetch(query("commit_free_files"), keys)}
    without = set[Address]()
    for address, some in wanted.items():
        if len(set(some)) == len(some) and free.issuperset(some):
            free.difference_update(some)
        else:
            without.add(address)
    return without


async def write_files(connection: Any, messages: list[AttachFiles]) -> None:
    """Give messages their files."""
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


async def write_details(connection: Any, messages: list[DescribeMessage]) -> None:
    """Note what is said of messages besides their words."""
    if messages:
        await connection.execute(
            query("commit_details"),
            [message.message_id for message in messages],
            [message.thread_id for message in messages],
            [message.told for message in messages],
        )


async def write_marks(connection: Any, marks: list[MarkMessage]) -> None:
    """Note each reaction and pin, and let the last of each stand."""
    if marks:
        await connection.execute(
            query("commit_marks"),
            [mark.conversation_id for mark in marks],
            [mark.seq for mark in marks],
            [mark.message_id for mark in marks],
            [mark.kind for mark in marks],
            [mark.reaction for mark in marks],
            [mark.by_id for mark in marks],
            [mark.at_ms for mark in marks],
        )


async def write_changes(connection: Any, changes: list[ChangeMessage]) -> None:
    """Note each change, and let the last one of each message stand."""
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
        await connection.execute(query("commit_erased_marks"), [change.message_id for change in erased], ERASED_AT_ONCE)
