"""What sockets of the existing client are told of their user's stream. Pure."""

import json
from typing import Any, Final

from greenroom.http.ws import events
from greenroom.storage.postgres.user_streams import UserEvent

SHOWN_TYPES: Final = frozenset(("info", "success", "warning", "error"))  # what the client has a look for
_UPDATES: Final = {"notification_read": "notifications_read", "notification_deleted": "notifications_deleted"}

Json = dict[str, Any]


def frames_of(event: UserEvent) -> bytes:
    """The frames that compat sockets get for an event of their user's stream; none for most."""
    if event.kind == "notification":
        told = json.loads(event.data)
        return _notification(told, event.at_ms) + _unread_count(told["unread"], event.at_ms)
    if event.kind in _UPDATES:
        told = json.loads(event.data)
        fields = {"type": _UPDATES[event.kind], "notificationIds": told["ids"]}
        return _whole("notification_update", fields, event.at_ms) + _unread_count(told["unread"], event.at_ms)
    return b""


def _notification(told: Json, at_ms: int) -> bytes:
    """`notification`: the client drops an `id` that it has, so that is the notification's own."""
    fields = {
        **{name: value for name, value in told.items() if name != "unread"},
        "type": told["type"] if told["type"] in SHOWN_TYPES else "info",
        "notificationType": told["type"],
        "createdAt": events.iso(at_ms),
        "isRead": False,
    }
    return _whole("notification", fields, at_ms, told["id"])


def _whole(kind: str, fields: Json, at_ms: int, frame_id: int | None = None) -> bytes:
    """A frame whose data has a `type` of its own: at top level that is the frame's."""
    frame = {**fields, "type": kind, "data": fields, "timestamp": events.iso(at_ms)}
    return events.frame_of(frame if frame_id is None else frame | {"id": frame_id})


def _unread_count(count: int, at_ms: int) -> bytes:
    return events.compat("unread_count", {"count": count}, at_ms)
