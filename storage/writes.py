"""What a room may write: the vocabulary between room actors and the committer.

Plain slotted values, in the order of their columns. Times are milliseconds since 1970; ids are ours (see the first
migration). The committer turns them into columns, one statement per table for the whole batch.
"""

from dataclasses import dataclass
from typing import Literal, NamedTuple

from greenroom.storage.user_writes import WRITE_BYTES, NoteToUser, check_numbers, check_text

Role = Literal["admin", "member"]
ChangeKind = Literal["edited", "deleted"]
MarkKind = Literal["reacted", "unreacted", "pinned", "unpinned"]


class InsertMessage(NamedTuple):
    """One message. Its seq is the room's last plus one; (conversation, sender, client_id) is unique for ever."""

    id: int
    conversation_id: int
    seq: int
    sender_id: int
    client_id: str | None
    content: str
    digest: bytes
    created_at_ms: int


@dataclass(frozen=True, slots=True)
class PutParticipant:
    """Somebody joins (is_active), has another role or leaves; joining again keeps the read marker.

    Its seq is the room's last plus one. removed_by_id: who sent them away; None for whoever is in, and for whoever left
    by themselves.
    """

    conversation_id: int
    seq: int
    user_id: int
    role: Role
    is_active: bool
    at_ms: int
    removed_by_id: int | None = None


@dataclass(frozen=True, slots=True)
class AdvanceMarker:
    """A read marker; storage keeps the larger. shown_seq: what others are told of it; None: as far as it stands."""

    conversation_id: int
    user_id: int
    read_seq: int
    at_ms: int
    shown_seq: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeMessage:
    """A message says *content* from here on; deleted, it says nothing. Its seq is the room's last plus one."""

    conversation_id: int
    seq: int
    message_id: int
    kind: ChangeKind
    content: str
    by_id: int
    at_ms: int

    def check(self) -> int:
        """About the bytes that it takes. Raises: ValueError when PostgreSQL could not take it."""
        check_numbers(self.conversation_id, self.seq, self.message_id, self.by_id, self.at_ms)
        return WRITE_BYTES + check_text(self.content)


@dataclass(frozen=True, slots=True)
class MarkMessage:
    """A reaction or a pin is put on a message, or taken off. Its seq is the room's last plus one.

    reaction: of a pin "".
    """

    conversation_id: int
    seq: int
    message_id: int
    kind: MarkKind
    reaction: str
    by_id: int
    at_ms: int

    def check(self) -> int:
        """About the bytes that it takes. Raises: ValueError when PostgreSQL could not take it."""
        check_numbers(self.conversation_id, self.seq, self.message_id, self.by_id, self.at_ms)
        return WRITE_BYTES + check_text(self.reaction)


@dataclass(frozen=True, slots=True)
class AttachFiles:
    """Of a message that the same turn stores: it has these uploads. told: what clients are told of them, as JSON."""

    conversation_id: int
    message_id: int
    keys: tuple[str, ...]
    told: str

    def check(self) -> int:
        """About the bytes that it takes. Raises: ValueError when PostgreSQL could not take it."""
        check_numbers(self.conversation_id, self.message_id)
        return WRITE_BYTES + check_text(self.told) + sum(check_text(key) for key in self.keys)


@dataclass(frozen=True, slots=True)
class DescribeMessage:
    """Of a message that the same turn stores: its thread, and what clients are told besides its words, as JSON."""

    conversation_id: int
    message_id: int
    thread_id: int | None
    told: str

    def check(self) -> int:
        """About the bytes that it takes. Raises: ValueError when PostgreSQL could not take it."""
        check_numbers(self.conversation_id, self.message_id, self.thread_id or 0)
        return WRITE_BYTES + check_text(self.told)


RoomWrite = (
    InsertMessage
    | PutParticipant
    | AdvanceMarker
    | ChangeMessage
    | MarkMessage
    | AttachFiles
    | DescribeMessage
    | NoteToUser
)


def membership_note(room_id: int, user_id: int, role: str, at_ms: int, *, is_active: bool) -> NoteToUser:
    """Tell a user that they are in a room with this role, or out of it."""
    change = "joined" if is_active else "left"
    return NoteToUser(user_id, "membership", room_id, f'{{"change":"{change}","role":"{role}"}}', at_ms)


def marker_note(room_id: int, user_id: int, seq: int, at_ms: int) -> NoteToUser:
    """Tell a user's devices how far one of them has read."""
    return NoteToUser(user_id, "read_sync", room_id, f'{{"seq":{seq}}}', at_ms, seq)
