"""Rows: conversations, messages and participants as clients are shown them.

The existing client reads rows in snake_case, as its own server passed them straight from the database, and takes
camelCase too; other clients of that system read only one of both. So every name of several words comes in both
spellings. Ids are numbers, times are ISO 8601 in UTC with milliseconds. Only the sender of a message is told its
`client_id`.
"""

import json
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from greenroom.actors.room.details import told
from greenroom.http.ws.events import iso
from greenroom.storage.postgres.conversations import ReadMarks, StoredMessage

Row = dict[str, Any]


class _RowModel(BaseModel):
    """What a row holds; each name of several words comes in camelCase as well."""

    model_config = ConfigDict(frozen=True)


class ConversationRow(_RowModel):
    """A conversation as one of its members sees it; names of several words come in camelCase as well."""

    id: int
    title: str
    is_group: bool
    is_open: bool
    created_by_id: int
    participant_count: int
    participant_id: int | None = Field(description="the other one of a direct conversation")
    participant_name: str = Field(description="the other one's name; of a group its title")
    participant_type: str = Field(description="the other one's kind of user; or group")
    last_message: str | None = Field(description="its first 500 characters")
    last_message_time: str | None
    last_message_sender_id: int | None
    unread_count: int = Field(description="messages of others after the read marker; 100 stands for 100 or more")
    read_seq: int
    top_seq: int
    created_at: str
    updated_at: str


class OpenConversationRow(_RowModel):
    """A group that any signed-in user may enter; names of several words come in camelCase as well."""

    id: int
    title: str
    participant_count: int
    is_member: bool
    top_seq: int
    last_message_time: str | None
    created_at: str


class AttachmentRow(BaseModel):
    """A file of a message, in the spelling of the existing client. url: relative to the page."""

    model_config = ConfigDict(frozen=True)

    key: str
    url: str
    originalName: str  # noqa: N815
    fileSize: int  # noqa: N815
    mimeType: str = Field(description="as its bytes say")  # noqa: N815


class PlacedRow(BaseModel):
    """A message that another one names."""

    model_config = ConfigDict(frozen=True)

    id: int
    seq: int


class ReactionRow(BaseModel):
    """A reaction to a message. count: of users; not those whom the reader blocks."""

    model_config = ConfigDict(frozen=True)

    reaction: str
    count: int
    mine: bool


class FoundRow(_RowModel):
    """A message that was found; names of several words come in camelCase as well."""

    id: int
    conversation_id: int
    seq: int = Field(description="place in the conversation: 1, 2, 3 without a hole")
    sender_id: int
    sender_name: str
    sender_type: str
    sender_avatar: str | None
    content: str
    message_type: str = Field(description="`kind` of greenroom.v1")
    format: str = Field(description="how clients read it: plain, or what its sender said")
    reply_to: PlacedRow | None = Field(description="what it answers")
    thread: PlacedRow | None = Field(description="the message that began the thread in which it stands")
    mentions: list[int] = Field(description="members whom it mentions")
    attachments: list[AttachmentRow]
    is_edited: bool
    edited_at: str | None
    is_deleted: bool = Field(description="what it said is erased")
    deleted_at: str | None
    reactions: list[ReactionRow] = Field(description="in the order of their first use")
    pinned_at: str | None = Field(description="since when it is pinned")
    created_at: str
    updated_at: str
    client_id: str | None = Field(default=None, description="for the sender only")


class MessageRow(FoundRow):
    """A message; names of several words come in camelCase as well."""

    is_read: bool = Field(description="one's own: somebody else has read it; else: one has read it oneself")


class ParticipantRow(_RowModel):
    """A member of a conversation; names of several words come in camelCase as well."""

    user_id: int
    name: str
    user_type: str
    role: str = Field(description="admin or member")
    read_seq: int
    joined_at: str


def conversation_row(row: Any) -> Row:
    """A row of `select_conversation_of` or `select_conversations_of`, as `ConversationRow` says."""
    is_group, title = row["is_group"], row["title"]
    return both_spellings(
        {
            "id": row["id"],
            "title": title,
            "is_group": is_group,
            "is_open": row["is_open"],
            "created_by_id": row["created_by_id"],
            "participant_count": row["participant_count"],
            "participant_id": None if is_group else row["other_id"],
            "participant_name": title if is_group else row["other_name"],
            "participant_type": "group" if is_group else row["other_role"],
            "last_message": row["last_message"],
            "last_message_time": _iso(row["last_message_at_ms"]),
            "last_message_sender_id": row["last_sender_id"],
            "unread_count": row["unread_count"],
            "read_seq": row["read_seq"],
            "top_seq": row["top_seq"],
            "created_at": _iso(row["created_at_ms"]),
            "updated_at": _iso(row["updated_at_ms"]),
        }
    )


def open_conversation_row(row: Any) -> Row:
    """A row of `select_open_conversations`, as `OpenConversationRow` says."""
    return both_spellings(
        {
            "id": row["id"],
            "title": row["title"],
            "participant_count": row["participant_count"],
            "is_member": row["is_member"],
            "top_seq": row["top_seq"],
            "last_message_time": _iso(row["last_message_at_ms"]),
            "created_at": _iso(row["created_at_ms"]),
        }
    )


def message_row(message: StoredMessage, conversation_id: int, reader_id: int, marks: ReadMarks) -> Row:
    """A message as one member is shown it, as `MessageRow` says."""
    is_read = message.seq <= (marks.read_seq_of_others if message.sender_id == reader_id else marks.read_seq)
    row = found_row(message, conversation_id, reader_id)
    row["is_read"] = row["isRead"] = is_read
    return row


def found_row(message: StoredMessage, conversation_id: int, reader_id: int) -> Row:
    """The same without whether it is read, which is a question of its own: as `FoundRow` says."""
    details = told(message.details)
    at, changed_at_ms = iso(message.created_at_ms), message.deleted_at_ms or message.edited_at_ms
    row: Row = {
        "id": message.id,
        "conversation_id": conversation_id,
        "seq": message.seq,
        "sender_id": message.sender_id,
        "sender_name": message.sender_name,
        "sender_type": message.sender_role,
        "sender_avatar": None,
        "content": message.content,
        "message_type": details.get("kind", "text"),
        "format": details.get("format", "plain"),
        "reply_to": details.get("replyTo"),
        "thread": details.get("thread"),
        "mentions": details.get("mentions", []),
        "attachments": json.loads(message.attachments) if message.attachments else [],
        "is_edited": message.edited_at_ms is not None,
        "edited_at": _iso(message.edited_at_ms),
        "is_deleted": message.deleted_at_ms is not None,
        "deleted_at": _iso(message.deleted_at_ms),
        "reactions": json.loads(message.reactions) if message.reactions else [],
        "pinned_at": _iso(message.pinned_at_ms),
        "created_at": at,
        "updated_at": at if changed_at_ms is None else iso(changed_at_ms),
    }
    if message.sender_id == reader_id and message.client_id is not None:
        row["client_id"] = message.client_id
    return both_spellings(row)


def participant_row(row: Any) -> Row:
    """A row of `select_participants`, as `ParticipantRow` says."""
    return both_spellings(
        {
            "user_id": row["user_id"],
            "name": row["name"],
            "user_type": row["user_type"],
            "role": row["role"],
            "read_seq": row["read_seq"],
            "joined_at": _iso(row["joined_at_ms"]),
        }
    )


def both_spellings(row: Row) -> Row:
    """The same with the camelCase twin of every name of several words."""
    return row | {to_camel(name): value for name, value in row.items() if "_" in name}


def _iso(at_ms: int | None) -> str | None:
    return None if at_ms is None else iso(at_ms)
