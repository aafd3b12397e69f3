"""Edits and deletions: what they do to the log that a room holds. Pure.

    message at 7 ──edit──▶ a change at 12 ──delete──▶ a change at 15         the log grows by one each time
    "hello"      ──────▶ "hello!"       ──────▶ nothing, at 7, 12 and 15     what it said before is nowhere

A change is told like a message, in its place, and with what its message says now: whoever is brought up from before an
edit that was followed by a deletion is told of both, and of no content.
"""

from typing import Final, NamedTuple

from greenroom.actors.errors import RefusalCode, Refused
from greenroom.actors.room.commands import Changed, Delete, Edit
from greenroom.actors.room.state import RoomState, append_change, content_fault
from greenroom.storage.postgres.conversations import SentBefore, StoredMessage
from greenroom.storage.writes import ChangeKind, ChangeMessage

NO_MESSAGE: Final = Refused.because(RefusalCode.MESSAGE_NOT_FOUND)


class Target(NamedTuple):
    """A message that is to be changed, as it stands now. changed_seq: of its last change, 0 when there was none."""

    message: StoredMessage
    changed_seq: int


def target_in(room: RoomState, message_id: int) -> Target | None:
    """The message, if the room's memory reaches back to it."""
    message, changed_seq = None, 0
    for entry in room.ring:
        if entry.id == message_id and entry.change:
            changed_seq = entry.seq if entry.change in ("edited", "deleted") else changed_seq
        elif entry.id == message_id:
            message = entry
    return None if message is None else Target(message, changed_seq)


def decide_edit(room: RoomState, command: Edit, target: Target, now_ms: int, window_ms: int) -> StoredMessage | Refused:
    """The message as it is to stand from here on; as it stands already when nothing is to be done.

    window_ms: for how long after it was said a message may be edited; 0: for ever.
    """
    message = target.message
    if command.user_id not in room.members:
        return Refused.because(RefusalCode.NOT_MEMBER)
    if message.sender_id != command.user_id:
        return Refused.because(RefusalCode.NOT_SENDER)
    if message.deleted_at_ms is not None:
        return NO_MESSAGE
    fault = content_fault(command.content)
    if fault is not None:
        return Refused(RefusalCode.INVALID_CONTENT, fault)
    if message.content == command.content:
        return message
    if room.is_apart:
        return Refused.because(RefusalCode.USER_BLOCKED)
    if window_ms and now_ms - message.created_at_ms > window_ms:
        return Refused.because(RefusalCode.EDIT_WINDOW_CLOSED)
    return message._replace(content=command.content, edited_at_ms=now_ms, message_seq=message.seq)


def decide_delete(room: RoomState, command: Delete, target: Target, now_ms: int) -> StoredMessage | Refused:
    """The message as it is to stand from here on; as it stands already when it was deleted before."""
    member, message = room.members.get(command.user_id), target.message
    if member is None:
        return Refused.because(RefusalCode.NOT_MEMBER)
    if message.sender_id != command.user_id and not (room.is_group and member.role == "admin"):
        return Refused.because(RefusalCode.NOT_SENDER)
    if message.deleted_at_ms is not None:
        return message
    return message._replace(content="", attachments="", details="", deleted_at_ms=now_ms, message_seq=message.seq)


def done_before(target: Target) -> Changed:
    """The answer when there is nothing to be done. Of a message that was never changed seq and time are its own."""
    message = target.message
    at_ms = message.deleted_at_ms or message.edited_at_ms or message.created_at_ms
    return Changed(target.changed_seq or message.seq, at_ms, is_duplicate=True, message=message)


def write_of(room: RoomState, message: StoredMessage, by_id: int, now_ms: int) -> ChangeMessage:
    """What is stored for a message as it is to stand."""
    kind: ChangeKind = "edited" if message.deleted_at_ms is None else "deleted"
    return ChangeMessage(room.id, room.top_seq + 1, message.id, kind, message.content, by_id, now_ms)


def apply_change(room: RoomState, change: ChangeMessage, message: StoredMessage) -> StoredMessage:
    """Remember the change; its entry in the log. Nothing that the room holds says any more what the message said."""
    entry = message._replace(seq=change.seq, change=change.kind, changed_by_id=change.by_id, changed_at_ms=change.at_ms)
    room.marks.changed(message)
    for index, held in enumerate(room.ring):
        if held.id == message.id:
            room.ring[index] = retold(held, message)
    if message.deleted_at_ms is not None:
        room.newest.delete(message.seq)
    if room.last is not None and room.last.id == message.id:
        room.last = retold(room.last, message)
    append_change(room, entry)
    key = message.sender_id, message.client_id or ""
    before = room.client_ids.get(key)
    if before is not None and before.id == message.id:
        room.client_ids[key] = SentBefore(before.id, before.seq, b"", before.created_at_ms)
    return entry


def retold(entry: StoredMessage, now: StoredMessage) -> StoredMessage:
    """*entry*, a message or a change of it, with what the message says now."""
    return entry._replace(
        content=now.content,
        attachments=now.attachments,
        details=now.details,
        edited_at_ms=now.edited_at_ms,
        deleted_at_ms=now.deleted_at_ms,
        message_seq=now.message_seq,
        reaction=entry.reaction if now.deleted_at_ms is None else "",
    )
