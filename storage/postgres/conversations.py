"""Conversations: made here, read here; written only by their room's actor through the committer.

A conversation and its ownership row are made in one transaction, before anybody can know its id; a direct one of a
pair exists once, whoever races (unique index). History pages carry the membership test inside the query, so that no
path reads a room that the reader may not see.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from greenroom.storage.postgres.idempotency import (
    Earlier,
    IdempotencyClaim,
    IdempotencyKeys,
    KeptAnswer,
    claim_key,
    keep_answer,
)
from greenroom.storage.postgres.new_conversation import NewConversation, find_conversation, make_conversation
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query
from greenroom.storage.writes import Role

RING_MESSAGES = 256
COUNTED_MESSAGES = 256
CLIENT_IDS_MAX = 4096
MEMBER_CHANGES: Final = frozenset(("joined", "left"))


class StoredMessage(NamedTuple):
    """What stands in the log of a room: a message, a change of one, who came or went. Times are ms since 1970.

    content: what the message says now; empty when it was deleted. change: "" of a message; of a change what was done
    (ChangeKind, MarkKind), and seq, changed_by_id, changed_at_ms and reaction are its own, all else the message's.
    message_seq: where the message stands; 0 in memory of a message that nothing has happened to. attachments: a JSON
    list, "" for no files. details: a JSON object, what else is said of the message; "" for nothing. reactions, a JSON
    list, and pinned_at_ms: of a page, as its reader is shown them as of room_top_seq.

    Of who came or went change is "joined" or "left" (MEMBER_CHANGES), sender_id who, member_role their role from there
    on, and id 0: it is of no message.
    """

    id: int
    seq: int
    sender_id: int
    client_id: str | None
    content: str
    created_at_ms: int
    sender_name: str = ""
    conversation_id: int = 0
    sender_role: str = ""
    is_hidden: bool = False  # from whoever reads it, for they block the sender
    edited_at_ms: int | None = None
    deleted_at_ms: int | None = None
    message_seq: int = 0
    change: str = ""
    changed_by_id: int = 0
    changed_at_ms: int = 0
    attachments: str = ""
    details: str = ""
    thread_id: int = 0
    reaction: str = ""
    reactions: str = ""
    pinned_at_ms: int | None = None
    room_top_seq: int = 0
    member_role: str = ""


class SentBefore(NamedTuple):
    """What is remembered of a client id: enough to answer it again. digest: empty once the message was changed."""

    id: int
    seq: int
    digest: bytes
    created_at_ms: int


class StoredReaction(NamedTuple):
    """Somebody's reaction to a message. seq: of the change that made it."""

    user_id: int
    reaction: str
    seq: int
    created_at_ms: int


class EndOfMembership(NamedTuple):
    """Of who is in a conversation no more: their last role, and where in the log and when they left; 0 if unknown."""

    conversation_id: int
    role: Role
    seq: int
    at_ms: int


class StoredPin(NamedTuple):
    """A message that is pinned. seq: of the change that made it."""

    message_id: int
    seq: int
    pinned_at_ms: int


@dataclass(frozen=True, slots=True)
class StoredMember:
    """An active member. shown_seq: how far others believe that they have read."""

    user_id: int
    role: Role
    read_seq: int
    shown_seq: int


@dataclass(frozen=True, slots=True)
class StoredRoom:
    """All that a room loads when it wakes. removed_ids: of an open group, who was removed by another, up to a limit.

    is_apart: of a direct conversation, one of the two blocks the other. last: the newest message, if it is older than
    the ring. newest: (seq, sender, id, whether it was deleted) of the newest COUNTED_MESSAGES messages, oldest first.
    wordless_first, wordless_last: where the runs of places begin and end at which no message stands, among the newest
    messages.
    """

    id: int
    is_group: bool
    is_open: bool
    title: str
    epoch: int
    top_seq: int
    members: list[StoredMember]
    ring: list[StoredMessage]
    client_ids: dict[tuple[int, str], SentBefore]
    removed_ids: list[int]
    is_apart: bool
    last: StoredMessage | None
    newest: list[tuple[int, int, int, bool]]
    wordless_first: list[int]
    wordless_last: list[int]


@dataclass(frozen=True, slots=True)
class ReadMarks:
    """Of one conversation: the newest seq, how far one member has read, and the farthest of the others."""

    top_seq: int
    read_seq: int
    read_seq_of_others: int


class Conversations:
    """Reads, and the making of new conversations. idempotency: keys of commands to rooms."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.idempotency = IdempotencyKeys(postgres)

    async def create(self, new: NewConversation) -> tuple[int, bool]:
        """Make the conversation; (its id, True), or (the id of the pair's existing one, False).

        Raises: asyncpg.ForeignKeyViolationError when somebody does not exist.
        """

        async def run(connection: Any) -> tuple[int, bool]:
            return await make_conversation(connection, new)

        return await self._postgres.transaction(run)

    async def create_once(
        self,
        new: NewConversation,
        claim: IdempotencyClaim | None,
        answer: Callable[[Any, bool], KeptAnswer],
        *,
        may_make: bool = True,
    ) -> Earlier:
        """Make the conversation and its answer, which is kept under *claim*, in one transaction.

        answer: called with the row of `select_conversation_of` as the creator sees it, and whether it is new. may_make:
        else one that is there is found, and an answer that was kept. Raises: NotMade; and as `create`.
        """

        async def run(connection: Any) -> Earlier:
            if claim is not None:
                earlier = await claim_key(connection, claim, new.at_ms)
                if earlier is not None:
                    return earlier
            conversation_id, is_new = await (make_conversation if may_make else find_conversation)(connection, new)
            row = await connection.fetchrow(query("select_conversation_of"), conversation_id, new.creator_id)
            made = answer(row, is_new)
            if claim is not None:
                await keep_answer(connection, claim, made)
            return made

        return await self._postgres.transaction(run)

    async def load_room(self, conversation_id: int, removed_max: int, messages: int) -> StoredRoom | None:
        """Everything a room needs to wake; None when there is no such conversation.

        No transaction is around it: nobody writes to a room but who owns it, and that is who asks. removed_max: of an
        open group, how many of those who were removed from it are wanted. messages: among how many of the newest it is
        wanted where none stand.
        """

        async def run(connection: Any) -> StoredRoom | None:
            room = await connection.fetchrow(query("select_room"), conversation_id, messages)
            if room is None:
                return None
            members = await connection.fetch(query("select_room_members"), conversation_id)
            ring = await connection.fetch(query("select_ring"), conversation_id, room["top_seq"] - RING_MESSAGES)
            newest = await _newest(connection, conversation_id, ring)
            sent = await connection.fetch(
                query("select_recent_client_ids"), conversation_id, room["top_seq"], CLIENT_IDS_MAX
            )
            removed = (
                await connection.fetch(query("select_removed"), conversation_id, removed_max) if room["is_open"] else []
            )
            is_apart = not room["is_group"] and await connection.fetchval(query("is_room_apart"), conversation_id)
            last = None
            if room["last_message_id"] is not None and all(row["change"] for row in ring):
                last = await connection.fetchrow(
                    query("select_message_to_change"), conversation_id, room["last_message_id"]
                )
            return StoredRoom(
                id=room["id"],
                is_group=room["is_group"],
                is_open=room["is_open"],
                title=room["title"],
                epoch=room["epoch"],
                top_seq=room["top_seq"],
                members=[StoredMember(*row) for row in members],
                ring=_messages(ring),
                client_ids={
                    (row["sender_id"], row["client_id"]): SentBefore(
                        row["id"], row["seq"], row["content_digest"], row["created_at_ms"]
                    )
                    for row in sent
                },
                removed_ids=[row["user_id"] for row in removed],
                is_apart=bool(is_apart),
                last=None if last is None else _to_change(last)[0],
                newest=newest,
                wordless_first=room["wordless_first"],
                wordless_last=room["wordless_last"],
            )

        return await self._postgres.lend(run)

    async def newest_before(self, conversation_id: int, seq: int, count: int) -> list[tuple[int, int, int, bool]]:
        """The newest *count* messages before *seq*, as `StoredRoom.newest`."""
        return [*map(tuple, await self._postgres.fetch("select_newest_messages", conversation_id, seq, count))]

    async def sent_before(self, conversation_id: int, sender_id: int, client_id: str) -> SentBefore | None:
        """The message of a client id, however old."""
        row = await self._postgres.fetch_row("select_by_client_id", conversation_id, sender_id, client_id)
        return None if row is None else SentBefore(row["id"], row["seq"], row["content_digest"], row["created_at_ms"])

    async def message_to_change(self, conversation_id: int, message_id: int) -> tuple[StoredMessage, int] | None:
        """(A message of a room, the seq of its last change or 0), whoever asks; None when it is of another, or none."""
        row = await self._postgres.fetch_row("select_message_to_change", conversation_id, message_id)
        return None if row is None else _to_change(row)

    async def reaction_counts(self, message_id: int) -> dict[str, int]:
        """How many users have each reaction on a message."""
        return {
            row["reaction"]: row["users"] for row in await self._postgres.fetch("select_reaction_counts", message_id)
        }

    async def reactions_on(self, message_id: int) -> list[StoredReaction]:
        """What users react to a message with: all of it, for a message that has few."""
        return [StoredReaction(*row) for row in await self._postgres.fetch("select_reactions_on", message_id)]

    async def reactions_of(self, message_id: int, user_id: int) -> list[StoredReaction]:
        """What one user reacts to a message with."""
        return [StoredReaction(*row) for row in await self._postgres.fetch("select_reactions_of", message_id, user_id)]

    async def pins_of(self, conversation_id: int) -> list[StoredPin]:
        """The messages that are pinned in a conversation."""
        return [StoredPin(*row) for row in await self._postgres.fetch("select_pins_of_room", conversation_id)]

    async def pinned_messages(self, conversation_id: int, reader_id: int) -> list[StoredMessage]:
        """Those messages, the one that was pinned last first; none for who is not a member."""
        return _messages(await self._postgres.fetch("select_pinned_messages", conversation_id, reader_id))

    async def room_of_message(self, message_id: int, reader_id: int) -> int | None:
        """The conversation of a message, or None when the reader is not in it."""
        return await self._postgres.fetch_value("select_room_of_message", message_id, reader_id)

    async def log_after(
        self, conversation_id: int, reader_id: int, seq: int, count: int, bytes_max: int | None = None
    ) -> list[StoredMessage]:
        """The next *count* entries after *seq*, in their order; none for who is not a member.

        bytes_max: of text, with the entry that reaches it, where the page ends; so a short page need not be the last.
        """
        rows = await self._postgres.fetch("select_log_after", conversation_id, reader_id, seq, count, bytes_max)
        return _messages(rows)

    async def messages_after(self, conversation_id: int, reader_id: int, seq: int, count: int) -> list[StoredMessage]:
        """The next *count* messages after *seq*, oldest first; none for who is not a member."""
        return _messages(await self._postgres.fetch("select_messages_after", conversation_id, reader_id, seq, count))

    async def messages_before(self, conversation_id: int, reader_id: int, seq: int, count: int) -> list[StoredMessage]:
        """The last *count* messages before *seq*, oldest first; none for who is not a member."""
        return _messages(await self._postgres.fetch("select_messages_before", conversation_id, reader_id, seq, count))

    async def thread(
        self, conversation_id: int, reader_id: int, thread_id: int, seq: int, count: int, *, is_after: bool
    ) -> list[StoredMessage]:
        """*count* messages of a thread after, or before, *seq*, oldest first; none for who is not a member."""
        name = "select_thread_after" if is_after else "select_thread_before"
        return _messages(await self._postgres.fetch(name, conversation_id, reader_id, seq, count, thread_id))

    async def seq_at(self, conversation_id: int, at_ms: int) -> int:
        """The seq of the first message that was said at a time or after it; one more than the newest if there is none.

        The caller checks membership.
        """
        return int(await self._postgres.fetch_value("select_seq_at", conversation_id, at_ms) or 1)

    async def messages_around(
        self, conversation_id: int, reader_id: int, seq: int, count: int
    ) -> tuple[list[StoredMessage], list[StoredMessage]]:
        """(the last before *seq*, the next from it on), each *count* messages, from one snapshot."""

        async def run(connection: Any) -> tuple[list[StoredMessage], list[StoredMessage]]:
            await connection.execute(query("see_one_snapshot"))
            before = await connection.fetch(query("select_messages_before"), conversation_id, reader_id, seq, count)
            after = await connection.fetch(query("select_messages_after"), conversation_id, reader_id, seq - 1, count)
            return _messages(before), _messages(after)

        return await self._postgres.transaction(run)

    async def messages_page(self, conversation_id: int, reader_id: int, limit: int, offset: int) -> list[StoredMessage]:
        """*limit* messages, *offset* from the newest, oldest first; none for who is not a member."""
        return _messages(
            await self._postgres.fetch("select_messages_offset", conversation_id, reader_id, limit, offset)
        )

    async def unread_messages(self, reader_id: int, count: int) -> list[StoredMessage]:
        """The newest *count* messages of others that one has not read, over all conversations, oldest first."""
        return _messages(await self._postgres.fetch("select_unread_messages", reader_id, count))

    async def message(self, message_id: int, reader_id: int) -> StoredMessage | None:
        """One message, or None when there is none that the reader may see."""
        row = await self._postgres.fetch_row("select_message", message_id, reader_id)
        return None if row is None else _message(row)

    async def places_of(self, message_ids: Sequence[int], reader_id: int) -> dict[int, tuple[int, int]]:
        """(Conversation, seq) of those of these messages that the reader may see, by id."""
        rows = await self._postgres.fetch("select_places_of_messages", message_ids, reader_id)
        return {row["id"]: (row["conversation_id"], row["seq"]) for row in rows}

    async def conversation_of(self, conversation_id: int, reader_id: int) -> Any | None:
        """One conversation as a member sees it (row of `select_conversation_of`), or None."""
        return await self._postgres.fetch_row("select_conversation_of", conversation_id, reader_id)

    async def conversations_of(self, user_id: int, limit: int, offset: int) -> list[Any]:
        """The user's conversations, newest activity first (rows of `select_conversations_of`)."""
        return await self._postgres.fetch("select_conversations_of", user_id, limit, offset)

    async def rooms_of(self, user_id: int, count: int) -> list[int]:
        """The ids of at most *count* conversations of the user, newest activity first."""
        return [row["id"] for row in await self._postgres.fetch("select_rooms_of", user_id, count)]

    async def open_conversations(self, user_id: int, limit: int, offset: int) -> list[Any]:
        """Groups that anybody may enter (rows of `select_open_conversations`)."""
        return await self._postgres.fetch("select_open_conversations", user_id, limit, offset)

    async def participants(self, conversation_id: int, reader_id: int, after_id: int, count: int) -> list[Any]:
        """Members by id after *after_id* (rows of `select_participants`); none for who is not a member."""
        return await self._postgres.fetch("select_participants", conversation_id, reader_id, after_id, count)

    async def direct_conversation(self, user_id: int, other_id: int) -> int | None:
        """The conversation of a pair, or None while they have none."""
        pair = min(user_id, other_id), max(user_id, other_id)
        return await self._postgres.fetch_value("select_direct_conversation", *pair)

    async def read_marks(self, conversation_id: int, reader_id: int) -> ReadMarks | None:
        """How far has been read, as a member sees it; None for who is not one."""
        row = await self._postgres.fetch_row("select_read_marks", conversation_id, reader_id)
        return None if row is None else ReadMarks(**dict(row))

    async def unread_count(self, user_id: int) -> int:
        """Unread messages over all conversations: at most 100 of each are counted, and 1,000 in all."""
        return int(await self._postgres.fetch_value("select_unread_count", user_id) or 0)

    async def seqs(self, conversation_id: int, message_ids: Sequence[int]) -> list[int]:
        """The seqs of those messages that are of this conversation. The caller checks membership."""
        rows = await self._postgres.fetch("select_seqs", conversation_id, list(message_ids))
        return [row["seq"] for row in rows]

    async def is_apart(self, conversation_id: int) -> bool:
        """Whether one of the two of a direct conversation blocks the other."""
        return bool(await self._postgres.fetch_value("is_room_apart", conversation_id))

    async def ends_of(self, user_id: int, conversation_ids: Sequence[int]) -> list[EndOfMembership]:
        """Of those of these conversations that the user was in once and is no more."""
        rows = await self._postgres.fetch("select_ends_of", list(conversation_ids), user_id)
        return [EndOfMembership(*row) for row in rows]

    async def is_member(self, conversation_id: int, user_id: int) -> bool:
        """Whether the user is an active member now."""
        return bool(await self._postgres.fetch_value("is_member", conversation_id, user_id))


async def _newest(connection: Any, conversation_id: int, ring: list[Any]) -> list[tuple[int, int, int, bool]]:
    """See `StoredRoom`. Those of the ring are read already."""
    inside = [
        (row["seq"], row["sender_id"], row["id"], row["deleted_at_ms"] is not None) for row in ring if not row["change"]
    ]
    missing = COUNTED_MESSAGES - len(inside)
    if missing <= 0 or not ring or ring[0]["seq"] == 1:
        return inside
    older = await connection.fetch(query("select_newest_messages"), conversation_id, ring[0]["seq"], missing)
    return [*map(tuple, older), *inside]


def _to_change(row: Any) -> tuple[StoredMessage, int]:
    fields = dict(row)
    changed_seq = fields.pop("changed_seq")
    return StoredMessage(**fields), changed_seq


def _messages(rows: list[Any]) -> list[StoredMessage]:
    return [_message(row) for row in rows]


def _message(row: Any) -> StoredMessage:
    return StoredMessage(**dict(row))
