"""A conversation that is made, and what there must be of it in the same transaction: ownership, members, notes to them.

Asyncio coroutines, for inside a transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.user_streams import put_notes
from greenroom.storage.writes import membership_note


@dataclass(frozen=True, slots=True)
class NewConversation:
    """What is asked for. participant_ids without the creator; two people and not is_group make it direct."""

    id: int
    creator_id: int
    participant_ids: Sequence[int]
    is_group: bool
    is_open: bool
    title: str
    at_ms: int


class NotMade(Exception):
    """There is no such conversation, and it may not be made: nothing was changed, and the key is free."""


async def make_conversation(connection: Any, new: NewConversation) -> tuple[int, bool]:
    """(Its id, True), or (the id of the pair's existing one, False)."""
    pair = _pair(new)
    roles = {new.creator_id: "admin" if new.is_group else "member"}
    roles.update({user_id: "member" for user_id in new.participant_ids if user_id != new.creator_id})
    made = await connection.fetchval(
        query("insert_conversation"),
        *(new.id, new.is_group, new.is_open, new.title, new.creator_id, *pair, new.at_ms),
    )
    if made is None:
        return await connection.fetchval(query("select_direct_conversation"), *pair), False
    await connection.execute(query("insert_ownership"), "room", str(new.id))
    await connection.execute(query("insert_participants"), new.id, list(roles), list(roles.values()), new.at_ms)
    notes = [membership_note(new.id, user_id, role, new.at_ms, is_active=True) for user_id, role in roles.items()]
    await put_notes(connection, notes)
    return new.id, True


async def find_conversation(connection: Any, new: NewConversation) -> tuple[int, bool]:
    """The same of one that is there. Raises: NotMade."""
    if (found := await connection.fetchval(query("select_direct_conversation"), *_pair(new))) is None:
        raise NotMade
    return found, False


def _pair(new: NewConversation) -> tuple[int, int] | tuple[None, None]:
    """The two of a direct conversation, the lesser id first."""
    ids = new.creator_id, *new.participant_ids
    return (None, None) if new.is_group else (min(ids), max(ids))
