"""What a notifier decides. Pure: neither trio nor a driver, and nothing here waits."""

import json
from collections.abc import Iterable
from dataclasses import fields
from hashlib import blake2b

from greenroom.actors.notifier.commands import Block, Notify
from greenroom.storage.postgres.user_streams import Note, UserEvent
from greenroom.storage.user_writes import PutNotification

EVENTS_KEPT = 1000  # at least, of each stream; who is farther behind is told of the gap
TRIM_EVENTS = 256  # how often the beginning is forgotten
EXPIRED = "notification_deleted"  # the kind of a note of notifications that have expired
_NOT_CONTENT = ("sent_under",)


def fold(useq: int, notes: Iterable[Note], unread: int) -> list[UserEvent]:
    """The events of *notes* behind *useq*, one each, in the order they were left. unread: notifications, now."""
    return [
        UserEvent(number, note.kind, note.conversation_id, _data_of(note, unread), note.at_ms)
        for number, note in enumerate(notes, start=useq + 1)
    ]


def _data_of(note: Note, unread: int) -> str:
    return changed_data(tuple(json.loads(note.data)["ids"]), unread) if note.kind == EXPIRED else note.data


def trimmed_up_to(before: int, after: int) -> int | None:
    """Up to where a stream that grew from *before* to *after* is forgotten now; None when it is not time."""
    if before // TRIM_EVENTS == after // TRIM_EVENTS or after <= EVENTS_KEPT:
        return None
    return after - EVENTS_KEPT


def digest_of(command: Notify) -> bytes:
    """What two notifications under one key are compared by: 16 bytes."""
    content = [getattr(command, field.name) for field in fields(command) if field.name not in _NOT_CONTENT]
    return blake2b(json.dumps(content).encode(), digest_size=16).digest()


def row_of(command: Notify, notification_id: int, user_id: int, now_ms: int) -> PutNotification:
    """What is stored."""
    content = {field.name: getattr(command, field.name) for field in fields(command)}
    digest = None if command.sent_under is None else digest_of(command)
    return PutNotification(id=notification_id, user_id=user_id, sent_digest=digest, created_at_ms=now_ms, **content)


def notification_data(row: PutNotification, unread: int) -> str:
    """The data of `notification`. unread: with this one."""
    told = {
        "id": row.id,
        "type": row.type,
        "category": row.category,
        "title": row.title,
        "message": row.message,
        "priority": row.priority,
        "relatedType": row.related_type,
        "relatedId": row.related_id,
        "actionUrl": row.action_url,
    }
    kept = {name: value for name, value in told.items() if value not in (None, "")}
    text = json.dumps({**kept, "unread": unread}, ensure_ascii=False, separators=(",", ":"))
    return text if row.data == "{}" else f'{text[:-1]},"data":{row.data}}}'


def changed_data(ids: tuple[int, ...], unread: int) -> str:
    """The data of `notification_read` and `notification_deleted`."""
    return json.dumps({"ids": ids, "unread": unread}, separators=(",", ":"))


def block_data(command: Block) -> str:
    """The data of `block`."""
    return json.dumps({"user": command.user_id, "blocked": command.is_blocked}, separators=(",", ":"))
