"""Messages found by what they say: a text that stands in them, in whatever case, for who may read them.

No index of words is kept: one costs every message that is said, and finds neither parts of words nor what is written
without spaces between them. What a search looks at is bounded instead, in messages and in bytes, and it says how far it
came: in one conversation the next goes on from there.
"""

from typing import Any, Final, NamedTuple

from greenroom.storage.postgres.conversations import StoredMessage
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query

LOOKED_AT_MAX: Final = 20_000  # messages
LOOKED_AT_BYTES_MAX: Final = 8 * 1024 * 1024
CONVERSATIONS_MAX: Final = 100  # of which each has its share of both

_ABOUT: Final = ("rooms", "is_all", "lowest_seq")


class Found(NamedTuple):
    """Newest first. has_more: there may be others. before_seq: of one conversation, where the next search goes on."""

    messages: list[StoredMessage]
    has_more: bool
    before_seq: int | None


class MessageSearch:
    """Over the conversations of a user, or in one of them."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(
        self, reader_id: int, text: str, conversation_id: int | None, before_seq: int | None, count: int
    ) -> Found | None:
        """At most *count* messages that have *text* in them; None for who is not in that conversation.

        before_seq: of one conversation, only what was said before. Raises: StorageUnavailable.
        """
        bounds = LOOKED_AT_MAX, LOOKED_AT_BYTES_MAX, CONVERSATIONS_MAX

        async def run(connection: Any) -> Any:
            await connection.execute(query("search_no_longer"))
            return await connection.fetch(
                query("search_messages"), reader_id, text, conversation_id, before_seq, *bounds, count + 1
            )

        rows = await self._postgres.transaction(run)
        about = rows[0]
        if conversation_id is not None and not about["rooms"]:
            return None
        found = [
            StoredMessage(**{name: it for name, it in row.items() if name not in _ABOUT})
            for row in rows
            if row["id"] is not None
        ]
        goes_on_at = about["lowest_seq"] if len(found) <= count else found[count - 1].seq
        has_more = len(found) > count or not about["is_all"]
        return Found(found[:count], has_more, goes_on_at if has_more and conversation_id is not None else None)

    async def find_again(self, reader_id: int, text: str, conversation_id: int | None, found: Found) -> Found | None:
        """What *find* has found, as it stands now: without what does not have *text* any more, or is not for them.

        Raises: StorageUnavailable.
        """
        ids = [message.id for message in found.messages]
        rows = {row["id"]: row for row in await self._postgres.fetch("search_again", reader_id, text, ids)}
        if conversation_id is not None and not rows:
            is_member = await self._postgres.fetch_value("is_member", conversation_id, reader_id)
            if not is_member:
                return None
        return found._replace(messages=[StoredMessage(**rows[one]) for one in ids if one in rows])
