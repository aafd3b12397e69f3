"""Events and replies as bytes, in both codecs. Pure; each frame is built once per class of receivers.

v1 is compact JSON of the shapes in docs/wire-protocol.md. Compat is what the existing client reads: every field both
at top level and inside `data`, because two generations of its code read different places, and ids as numbers.
"""

import itertools
import json
import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any, Final

from pydantic_core import to_json

from greenroom.actors.events import MarkerMoved, MemberChanged, MessageCommitted, TypingChanged, member_changed
from greenroom.actors.room.readers import Counts
from greenroom.http.ws.codes import ErrorCode
from greenroom.http.ws.frames import text_frame
from greenroom.storage.postgres.conversations import MEMBER_CHANGES, StoredMessage
from greenroom.storage.postgres.user_streams import UserEvent

_quote: Final = encode_basestring
_serial: Final = itertools.count(1)
_BOOT: Final = str(uuid.uuid4())[:24]  # of every id of this run: the client drops what it has seen by its id

Json = dict[str, Any]

V1_TYPE_OF_CHANGE: Final[Mapping[str, str]] = {
    "edited": "message_edited",
    "deleted": "message_deleted",
    "reacted": "reaction",
    "unreacted": "reaction",
    "pinned": "pin",
    "unpinned": "pin",
}


def frame_of(value: Json) -> bytes:
    """The frame of any JSON object."""
    return text_frame(to_json(value))


def first_within(items: Iterable[Json], bytes_max: int) -> list[Json]:
    """The first of *items* that are no longer than *bytes_max* as JSON; one at least, if there is one."""
    size, kept = 0, list[Json]()
    for item in items:
        size += len(to_json(item))
        if kept and size > bytes_max:
            break
        kept.append(item)
    return kept


# -- greenroom.v1 -----------------------------------------------------------------------------------------------------


def v1(kind: str, data: Json | None = None, **subject: Any) -> bytes:
    """Any v1 frame."""
    return frame_of({"type": kind, **subject, **({} if data is None else {"data": data})})


def v1_ack_sent(command_id: str, message_id: int, seq: int, at_ms: int, *, is_duplicate: bool) -> bytes:
    """The ack of a send: committed. Spelled out, because it is written for every message."""
    duplicate = ',"duplicate":true' if is_duplicate else ""
    text = (
        f'{{"type":"ack","id":{_quote(command_id)},'
        f'"data":{{"messageId":{message_id},"seq":{seq},"ts":{at_ms}{duplicate}}}}}'
    )
    return text_frame(text.encode())


def v1_message(event: MessageCommitted) -> tuple[bytes, bytes]:
    """(for everybody, for the sender's own devices): the second carries the client id."""
    head = f'{{"type":"message","room":{event.room_id},"seq":{event.seq},"ts":{event.at_ms},"data":'
    body = (
        f'{{"id":{event.id},"sender":{event.sender_id},"senderName":{_quote(event.sender_name)},'
        f'"body":{_quote(event.content)}'
    )
    if event.attachments:
        body += f',"attachments":{event.attachments}'
    if event.details:
        body += f",{event.details[1:-1]}"
    frame = text_frame(f"{head}{body}}}}}".encode())
    if event.client_id is None:
        return frame, frame
    return frame, text_frame(f'{head}{body},"clientId":{_quote(event.client_id)}}}}}'.encode())


def v1_skip(room_id: int, seq: int) -> bytes:
    """There is a message that its receiver is not shown. One frame for all such receivers."""
    return text_frame(f'{{"type":"skip","room":{room_id},"seq":{seq}}}'.encode())


def v1_stored(room_id: int, message: StoredMessage, reader_id: int) -> bytes:
    """An entry of the log out of storage: a message as `v1_message` spells it, with what happened to it since.

    That the reader left once is none of it: whoever reads is in, and hears of their own end when it comes, and last.
    """
    if message.is_hidden or (message.change == "left" and message.sender_id == reader_id):
        return v1_skip(room_id, message.seq)
    if message.change in MEMBER_CHANGES:
        return v1_member(member_changed(room_id, message))
    if message.change:
        kind = V1_TYPE_OF_CHANGE[message.change]
        return v1(kind, v1_change(message), room=room_id, seq=message.seq, ts=message.changed_at_ms)
    if message.edited_at_ms is not None or message.deleted_at_ms is not None:
        item = v1_history_item(message, reader_id)
        return v1("message", item, room=room_id, seq=item.pop("seq"), ts=item.pop("ts"))
    return v1_message(committed(room_id, message))[reader_id == message.sender_id]


def committed(room_id: int, message: StoredMessage) -> MessageCommitted:
    """A stored message as the event that told of it."""
    return MessageCommitted(
        room_id,
        message.id,
        message.seq,
        message.sender_id,
        message.sender_name,
        message.client_id,
        message.content,
        message.created_at_ms,
        is_from_rest=False,
        attachments=message.attachments,
        details=message.details,
    )


def v1_change(change: StoredMessage) -> Json:
    """The data of a change. An edit of, or reaction to, what was deleted since says nothing; of the rest it is said who
    did it."""
    data: Json = {"id": change.id, "of": change.message_seq, "sender": change.sender_id}
    if change.change == "deleted":
        return data | {"by": change.changed_by_id}
    if change.change in ("pinned", "unpinned"):
        return data | {"by": change.changed_by_id, "on": change.change == "pinned"}
    deleted = {} if change.deleted_at_ms is None else {"deleted": change.deleted_at_ms}
    if change.change in ("reacted", "unreacted"):
        is_on = change.change == "reacted"
        return data | {"user": change.changed_by_id, "reaction": change.reaction, "on": is_on, **deleted}
    return data | {"body": change.content, **deleted}


def v1_change_now(told: bytes, now: StoredMessage) -> bytes | None:
    """The frame of an edit of, or reaction to, a message that was changed since; None when it is of another message.

    told: the JSON of the frame as it was. now: the message as it stands.
    """
    if b'"of":%d,' % now.message_seq not in told:  # spares the rest to nearly all
        return None
    frame = json.loads(told)
    data = frame["data"]
    if frame["type"] not in ("message_edited", "reaction") or data["of"] != now.message_seq:
        return None
    if "body" in data:
        data["body"] = now.content
    if now.deleted_at_ms is not None:
        data |= {"deleted": now.deleted_at_ms} | ({} if "body" in data else {"reaction": ""})
    return frame_of(frame)


def v1_skip_now(told: bytes, hides: frozenset[int]) -> bytes | None:
    """What stands in the place of words of, and of reactions by, one of *hides*; None when it is of others.

    told: the JSON of the frame as it was.
    """
    if b'"sender":' not in told:  # spares the rest to what is no word
        return None
    frame = json.loads(told)
    data = frame["data"]
    by_id = data["user"] if frame["type"] == "reaction" else data.get("sender")
    if "seq" not in frame or hides.isdisjoint((data.get("sender"), by_id)):
        return None
    return v1_skip(frame["room"], frame["seq"])


def v1_gone_now(told: bytes, ids: Collection[int]) -> bytes | None:
    """What stands in the place of one of the notifications *ids*, which are gone; None when it is something else.

    told: the JSON of the frame as it was.
    """
    if not told.startswith(b'{"type":"notification",'):
        return None
    frame = json.loads(told)
    data = frame["data"]
    if data["id"] not in ids:
        return None
    gone = {"ids": [data["id"]], "unread": data["unread"]}
    return v1("notification_deleted", gone, useq=frame["useq"], ts=frame["ts"])


def v1_history_item(message: StoredMessage, reader_id: int) -> Json:
    """A message inside the answer to `history`, and, but for seq and ts, as the data of a frame."""
    item: Json = {
        "id": message.id,
        "seq": message.seq,
        "ts": message.created_at_ms,
        "sender": message.sender_id,
        "senderName": message.sender_name,
        "body": message.content,
    }
    if message.client_id is not None and message.sender_id == reader_id:
        item["clientId"] = message.client_id
    if message.attachments:
        item["attachments"] = json.loads(message.attachments)
    if message.details:
        item |= json.loads(message.details)
    if message.edited_at_ms is not None:
        item["edited"] = message.edited_at_ms
    if message.deleted_at_ms is not None:
        item["deleted"] = message.deleted_at_ms
    if message.reactions:
        item["reactions"] = json.loads(message.reactions)
    if message.pinned_at_ms is not None:
        item["pinned"] = message.pinned_at_ms
    return item


def v1_history_change(change: StoredMessage) -> Json:
    """A change inside the answer to `history`; or who came or went, with that as the change."""
    if change.change in MEMBER_CHANGES:
        return {"seq": change.seq, "ts": change.changed_at_ms, **_member_data(member_changed(0, change))}
    kind = V1_TYPE_OF_CHANGE[change.change].removeprefix("message_")
    return {"seq": change.seq, "ts": change.changed_at_ms, "change": kind, **v1_change(change)}


def v1_error(command_id: str | None, code: ErrorCode, message: str, retry_after_seconds: int | None = None) -> bytes:
    """An error: with an id it answers a command, without it concerns the connection."""
    data: Json = {
        "code": code.number,
        "error": code.name,
        "message": message,
        "category": code.category,
        "recoverable": code.is_recoverable,
    }
    if retry_after_seconds is not None:
        data["retryAfter"] = retry_after_seconds
    return v1("error", data, **({} if command_id is None else {"id": command_id}))


def v1_typing(event: TypingChanged, apart_from: Collection[int] = ()) -> bytes:
    """Who types; it replaces what was said before, so that a lost one is harmless. apart_from: who is left out."""
    names = {str(user_id): name for user_id, name in event.users.items() if user_id not in apart_from}
    users = [user_id for user_id in event.users if user_id not in apart_from]
    return v1("typing", {"users": users, "names": names}, room=event.room_id)


def v1_receipts(*moves: MarkerMoved) -> bytes:
    """How far members of a room have read; at least one."""
    marks = {str(event.user_id): event.seq for event in moves}
    return v1("receipts", {"marks": marks}, room=moves[0].room_id, ts=max(event.at_ms for event in moves))


def v1_counts(room_id: int, counts: Counts, at_ms: int) -> bytes:
    """How many members of a large room have read up to where."""
    return v1("receipts", {"counts": counts}, room=room_id, ts=at_ms)


def v1_member(event: MemberChanged) -> bytes:
    """Somebody came or went; in its place in the log, if it has one."""
    place = {"seq": event.seq, "ts": event.at_ms} if event.seq else {}
    return v1("member", _member_data(event), room=event.room_id, **place)


def _member_data(event: MemberChanged) -> Json:
    return {"user": event.user_id, "role": event.role, "change": "joined" if event.is_active else "left"}


def v1_user_event(event: UserEvent) -> bytes:
    """An event of the user's own stream."""
    room = "" if event.conversation_id is None else f',"room":{event.conversation_id}'
    text = f'{{"type":"{event.kind}","useq":{event.useq},"ts":{event.at_ms}{room},"data":{event.data}}}'
    return text_frame(text.encode())


def v1_presence_state(room_id: int | None, items: Iterable[str]) -> bytes:
    """Who is there in a room, or how those are who are watched: it replaces what was told before. items: as JSON."""
    where = "" if room_id is None else f'"room":{room_id},'
    return text_frame(f'{{"type":"presence_state",{where}"data":{{"users":[{",".join(items)}]}}}}'.encode())


def v1_presence_diff(rooms: Sequence[int], joins: Iterable[str], leaves: Iterable[str]) -> bytes:
    """Whose presence changed since the last second, in one room or alike in several. joins, leaves: as JSON."""
    where = f'"room":{rooms[0]},' if len(rooms) == 1 else f'"rooms":[{",".join(map(str, rooms))}],' if rooms else ""
    data = f'"joins":[{",".join(joins)}],"leaves":[{",".join(leaves)}]'
    return text_frame(f'{{"type":"presence_diff",{where}"data":{{{data}}}}}'.encode())


def v1_away(user_id: int, name: str, left_ms: int | None) -> str:
    """Somebody who is away, as JSON for a `presence_state`. left_ms: None of who was never here."""
    head = f'{{"user":{user_id},"name":{_quote(name)},"status":"offline"'
    return f"{head}}}" if left_ms is None else f'{head},"lastSeen":{left_ms}}}'


def v1_unwatched(user_id: int) -> bytes:
    """Of who was watched by name and may be seen no more."""
    return text_frame(f'{{"type":"presence_diff","data":{{"joins":[],"leaves":[],"gone":[{user_id}]}}}}'.encode())


# -- compat -----------------------------------------------------------------------------------------------------------


def iso(at_ms: int) -> str:
    """Milliseconds since 1970 as the ISO text that browsers write."""
    seconds, milliseconds = divmod(at_ms, 1000)
    return f"{_iso_seconds(seconds)}.{milliseconds:03d}Z"


def _iso_seconds(seconds: int) -> str:

    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def compat(kind: str, fields: Json, at_ms: int) -> bytes:
    """Any compat frame: fields flat and under `data`, with the hub's envelope."""
    timestamp = fields.get("timestamp", iso(at_ms))
    return frame_of(
        {**fields, "type": kind, "data": fields, "timestamp": timestamp, "id": f"{_BOOT}{next(_serial):012x}"}
    )


def compat_found(message: StoredMessage) -> Json:
    """A message that was found, of `search_results`."""
    return {
        "messageId": message.id,
        "conversationId": message.conversation_id,
        "seq": message.seq,
        "senderId": message.sender_id,
        "senderName": message.sender_name,
        "content": message.content,
        "timestamp": iso(message.created_at_ms),
    }


def compat_message(event: MessageCommitted) -> bytes:
    """`new_message`, for every member but the page that has it already."""
    fields: Json = {
        "messageId": event.id,
        "conversationId": event.room_id,
        "senderId": event.sender_id,
        "senderName": event.sender_name,
        "content": event.content,
        "timestamp": iso(event.at_ms),
        "seq": event.seq,
    }
    if event.attachments:
        fields["attachments"] = json.loads(event.attachments)
    if event.details:
        fields |= json.loads(event.details)
    return compat("new_message", fields, event.at_ms)


def compat_message_now(room_id: int, message: StoredMessage) -> bytes:
    """`new_message` of what a stored message says now."""
    return compat_message(committed(room_id, message))


def compat_change(room_id: int, change: StoredMessage) -> bytes:
    """`message`: somebody has edited or deleted one. timestamp: when."""
    fields: Json = {
        "action": change.change,
        "messageId": change.id,
        "conversationId": room_id,
        "senderId": change.sender_id,
        "changedBy": change.changed_by_id,
        "content": change.content,
        "timestamp": iso(change.changed_at_ms),
        "seq": change.seq,
    }
    return compat("message", fields, change.changed_at_ms)


def compat_reaction(room_id: int, change: StoredMessage) -> bytes:
    """`reaction`: somebody reacts to a message, or does so no more. timestamp: when."""
    fields: Json = {
        "messageId": change.id,
        "conversationId": room_id,
        "userId": change.changed_by_id,
        "reactionType": change.reaction,
        "action": "add" if change.change == "reacted" else "remove",
        "timestamp": iso(change.changed_at_ms),
        "seq": change.seq,
    }
    return compat("reaction", fields, change.changed_at_ms)


def compat_message_sent(
    message_id: int, room_id: int, seq: int, at_ms: int, request_id: str | None, client_id: str | None
) -> bytes:
    """`message_sent`: the sender's optimistic message is stored."""
    fields: Json = {"messageId": message_id, "conversationId": room_id, "timestamp": iso(at_ms), "seq": seq}
    if request_id is not None:
        fields["requestId"] = request_id
    if client_id is not None:
        fields["clientId"] = client_id
    return compat("message_sent", fields, at_ms)


def compat_read(event: MarkerMoved, message_id: int) -> bytes:
    """`message_read`, for the author of one message."""
    fields = {
        "messageId": message_id,
        "conversationId": event.room_id,
        "readAt": iso(event.at_ms),
        "readBy": event.user_id,
        "readByName": event.user_name,
    }
    return compat("message_read", fields, event.at_ms)


def compat_typing(room_id: int, user_id: int, name: str, at_ms: int, *, is_typing: bool) -> bytes:
    """`user_typing` for one part of the page, `typing` for the other: one person at a time."""
    fields = {"conversationId": room_id, "userId": user_id, "username": name, "isTyping": is_typing}
    return compat("user_typing", fields, at_ms) + compat("typing", fields, at_ms)


def compat_presence(fields: Mapping[str, Any], at_ms: int, *, is_online: bool, is_turn: bool) -> bytes:
    """`presence_update` for one generation of the client; when somebody came or went, `user_online` or `user_offline`
    for the other."""
    both = dict(fields)
    update = compat("presence_update", both, at_ms)
    if not is_turn:
        return update
    short = {"userId": both["userId"], "username": both["username"]}
    return update + compat("user_online" if is_online else "user_offline", short, at_ms)


def compat_error(
    code: ErrorCode, message: str, at_ms: int, request_id: str | None = None, retry_after_seconds: int | None = None
) -> bytes:
    """`error` as the existing client reads it. severity: 1 (hint) to 4 (fatal)."""
    fields: Json = {
        "error": message,
        "message": message,
        "code": code.number,
        "category": code.category,
        "severity": 2 if code.is_recoverable else 3,
        "recoverable": code.is_recoverable,
    }
    if request_id is not None:
        fields["requestId"] = request_id
    if retry_after_seconds is not None:
        fields["retryAfter"] = retry_after_seconds
    return compat("error", fields, at_ms)
