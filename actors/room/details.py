"""What is said of a message besides its words: kind and format, what it answers, its thread, whom it mentions. Pure.

A thread is the messages that name the one that began it. They stand in the log of the room like all others, so that
order, markers and resume are the room's; who wants the thread alone asks for a page of it.
"""

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.commands import Details, Send
from greenroom.actors.room.state import RoomState
from greenroom.storage.postgres.conversations import StoredMessage
from greenroom.storage.writes import DescribeMessage, InsertMessage

MENTIONS_MAX: Final = 50
KIND_PATTERN: Final = r"^[a-z][a-z0-9_.\-]{0,31}$"  # of kinds and formats
RESERVED_KINDS: Final = frozenset(("system",))


def checked_kind(kind: str) -> str:
    """Validate what a client says that its message is. Raises: ValueError for what people cannot say."""
    if kind in RESERVED_KINDS:
        raise ValueError(f"{kind!r} is what greenroom says itself")
    return kind


class Places(NamedTuple):
    """Messages that are named by others: where they stand, and those that stand in a thread themselves."""

    seqs: Mapping[int, int]
    threaded: frozenset[int]


def details_of(given: Mapping[str, Any]) -> Details | None:
    """What a client said of its message, read by a schema: `kind`, `format`, `replyTo`, `thread`, `mentions`."""
    kind, style = given.get("kind") or "text", given.get("format") or "plain"
    details = Details(
        "" if kind == "text" else kind,
        "" if style == "plain" else style,
        given.get("replyTo") or 0,
        given.get("thread") or 0,
        tuple(sorted(set(given.get("mentions") or ()))),
    )
    return details if any(details) else None


def named_by(details: Details) -> set[int]:
    """The ids of the messages that it names."""
    return {message_id for message_id in (details.reply_to_id, details.thread_id) if message_id}


def places_of(messages: Iterable[StoredMessage]) -> Places:
    """Of messages that may be named; changes are none."""
    own = [message for message in messages if not message.change]
    threaded = frozenset(message.id for message in own if message.thread_id)
    return Places({message.id: message.seq for message in own}, threaded)


def remembered(room: RoomState, details: Details) -> list[StoredMessage]:
    """Those of the messages that it names to which the room's memory reaches back."""
    named = named_by(details)
    return [entry for entry in room.ring if entry.id in named and not entry.change] if named else []


def are_remembered(room: RoomState, details: Details) -> bool:
    """Whether memory knows all messages that it names."""
    named = named_by(details)
    return not named or len(remembered(room, details)) == len(named)


def description_of(
    room: RoomState, command: Send, insert: InsertMessage, named: Iterable[StoredMessage]
) -> DescribeMessage | Refused:
    """What is stored of a message besides its words. named: those that it names and that are messages of the room.

    Who is mentioned and not a member is left out: they may have gone while it was written.
    """
    details, (seqs, threaded) = command.details, places_of(named)
    assert details is not None
    if not named_by(details) <= seqs.keys():
        return Refused(
            RefusalCode.MESSAGE_NOT_FOUND, "replyTo and thread name messages of this conversation: one does not"
        )
    if details.thread_id in threaded:
        what = "a thread has the message that began it: this one stands in a thread itself"
        return Refused(RefusalCode.INVALID_CONTENT, what)
    items: dict[str, Any] = {}
    if details.kind:
        items["kind"] = details.kind
    if details.format:
        items["format"] = details.format
    if details.reply_to_id:
        items["replyTo"] = {"id": details.reply_to_id, "seq": seqs[details.reply_to_id]}
    if details.thread_id:
        items["thread"] = {"id": details.thread_id, "seq": seqs[details.thread_id]}
    mentioned = [user_id for user_id in details.mentioned_ids if user_id in room.members]
    if mentioned:
        items["mentions"] = mentioned
    text = json.dumps(items, separators=(",", ":")) if items else ""
    return DescribeMessage(insert.conversation_id, insert.id, details.thread_id or None, text)


def told(details: str) -> dict[str, Any]:
    """The details of a stored message, as clients are told them."""
    items: dict[str, Any] = json.loads(details) if details else {}
    return items


def mentioned_in(details: str) -> list[int]:
    """Whom a message mentions."""
    mentioned: list[int] = told(details).get("mentions", []) if '"mentions":' in details else []
    return mentioned


def mentions_unread(room: RoomState, user_id: int, hides: frozenset[int] = frozenset()) -> int:
    """Messages after the member's marker that mention them, as far as memory reaches back."""
    read_seq = room.members[user_id].read_seq
    if read_seq >= room.top_seq:
        return 0
    return sum(
        user_id in mentioned_in(message.details)
        for message in room.ring
        if message.details
        and message.seq > read_seq
        and not message.change
        and message.sender_id != user_id
        and message.sender_id not in hides
    )
