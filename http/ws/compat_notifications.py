"""Notifications for the existing client: its commands. What its sockets are told, compat_notices.py says."""

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from greenroom.actors.notifier.commands import MarkNotifications, NotificationsChanged
from greenroom.http.ws import events
from greenroom.http.ws.compat_messages import request_id_of
from greenroom.http.ws.compat_notices import SHOWN_TYPES
from greenroom.http.ws.compat_people import online_companions, tell_who_is_here
from greenroom.http.ws.connection import CONTROL
from greenroom.http.ws.services import failure_of
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.notifications import Counts

if TYPE_CHECKING:
    from greenroom.http.ws.compat import CompatSession

INITIAL_NOTIFICATIONS: Final = 50
INITIAL_BYTES_MAX: Final = 128 * 1024  # of them; a frame says them twice, and must fit well into the outbox
TRIES: Final = 20

Json = dict[str, Any]
T = TypeVar("T")


def initial_data(session: "CompatSession", fields: Json) -> None:
    """The client replaces its list with what comes here, so only the truth may: not before it is known who is shown."""
    session.initial_data_is_due = not session.has_arrived
    if session.initial_data_is_due:
        return
    session.read_in_turn(_initial_data, session)


async def _initial_data(session: "CompatSession") -> None:
    services, now_ms = session.services, session.services.clock.wall_milliseconds()
    user_id = session.user_id
    assert user_id is not None

    async def read() -> tuple[list[Any], Counts]:
        rows = await services.notifications.page(user_id, now_ms, INITIAL_NOTIFICATIONS, 0)
        return rows, await services.notifications.counts(user_id, now_ms)

    try:
        rows, counts = await _as_it_stands(session, read)
    except StorageUnavailable:  # the client asks once for a socket
        session.initial_data_is_due = True
        session.services.arrivals.put_off(session)
        return
    presence = {"users": online_companions(session)}
    notifications = events.first_within(map(_initial, rows), INITIAL_BYTES_MAX)
    _tell(session, "initial_data", {"notifications": notifications, "unreadCount": counts.unread, "presence": presence})
    _tell(session, "unread_count", {"count": counts.unread})  # the page's badge follows this frame alone
    await tell_who_is_here(session)


async def _as_it_stands(session: "CompatSession", read: Callable[[], Awaitable[T]]) -> T:
    """What *read* finds, no older than what the page was told meanwhile: with the answer it forgets that."""
    changed = session.services.hub.changed_for
    for _ in range(TRIES):
        version, found = changed.version, await read()
        if not changed.since(session.user_id or 0, version):
            return found
    raise StorageUnavailable("it is changed faster than it is read")


def _initial(row: Any) -> Json:
    return {
        "id": row["id"],
        "type": row["type"] if row["type"] in SHOWN_TYPES else "info",
        "notificationType": row["type"],
        "title": row["title"],
        "message": row["message"],
        "createdAt": events.iso(row["created_at_ms"]),
        "isRead": row["read_at_ms"] is not None,
        "priority": row["priority"],
        "actionUrl": row["action_url"],
        "data": json.loads(row["data"]),
    }


def unread_count(session: "CompatSession", fields: Json) -> None:
    """The badge."""
    session.read_in_turn(_answer_unread, session, request_id_of(fields))


async def _answer_unread(session: "CompatSession", request_id: str | None) -> None:
    user_id, now_ms = session.user_id, session.services.clock.wall_milliseconds()
    assert user_id is not None
    try:
        counts = await _as_it_stands(session, partial(session.services.notifications.counts, user_id, now_ms))
    except StorageUnavailable as error:
        _failed(session, error, request_id)
        return
    _tell(session, "unread_count", {"count": counts.unread})


def notification_read(session: "CompatSession", fields: Json) -> None:
    """One or several were read: `notificationId` or `notificationIds`."""
    one = [fields["notificationId"]] if "notificationId" in fields else []
    ids = tuple(fields.get("notificationIds", one))
    if ids:
        told = {"notificationId": ids[0], "notificationIds": list(ids)}
        _mark(session, fields, MarkNotifications(ids), lambda: _tell(session, "notification_read_ack", told))


def clear_all(session: "CompatSession", fields: Json) -> None:
    """The list is to be empty."""
    command = MarkNotifications(None, is_deleted=True)
    _mark(session, fields, command, lambda: _tell(session, "notifications_cleared", {}))


def _mark(session: "CompatSession", fields: Json, command: MarkNotifications, done: Callable[[], None]) -> None:
    """Acknowledged when it is stored."""
    request_id = request_id_of(fields)

    def marked(value: object, error: BaseException | None) -> None:
        if isinstance(value, NotificationsChanged):
            done()
        else:
            _failed(session, error, request_id)

    assert session.user_id is not None
    session.ask(session.services.notifier(session.user_id), command, marked)


def _tell(session: "CompatSession", kind: str, fields: Json) -> None:
    if not session.connection.is_closing:
        session.connection.write(events.compat(kind, fields, session.services.clock.wall_milliseconds()), CONTROL)


def _failed(session: "CompatSession", error: BaseException | None, request_id: str | None) -> None:
    failure = failure_of(None, error)
    assert failure is not None
    now_ms = session.services.clock.wall_milliseconds()
    session.connection.write(
        events.compat_error(failure.code, failure.message, now_ms, request_id, failure.retry_after_seconds), CONTROL
    )
