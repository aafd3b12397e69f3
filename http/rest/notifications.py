"""Notifications over HTTP: a service sends them, their user lists, reads and deletes them.

Sent means stored: the answer comes when the notification is committed, and the user's devices are told right after.
With an `Idempotency-Key` the same notification of the same sender is stored once, for ever; another under it is 409.

Only API keys with scope `notifications:send` and administrators may send to others; anybody signed in to themselves.
What is sent is shown in the application; by e-mail, push and text nothing goes out yet: to ask for these alone is 400.
Who asks for one of them is told what would become of it by the preferences of whom it is for.
"""

import json
from datetime import UTC, datetime
from typing import Annotated, Any, Final, Literal, TypedDict

import trio
from pydantic import AfterValidator, AliasChoices, Field, StringConstraints, field_validator

from greenroom.actors.errors import Refused
from greenroom.actors.notifier.channels import category_of, channels_for
from greenroom.actors.notifier.commands import MarkNotifications, NotificationsChanged, Notify
from greenroom.actors.notifier.preferences import DEFAULTS, Channel
from greenroom.http.errors import ApiError
from greenroom.http.models import Id, Input, Output, OwnId, WholeNumber, one_line
from greenroom.http.rest.conversations import OFFSET_MAX
from greenroom.http.rest.preferences import preferences_of
from greenroom.http.rest.rooms import charge_command, claim_of, refusal, require_self, require_users
from greenroom.http.route import Answer, Call, Operations
from greenroom.http.ws.events import iso
from greenroom.http.ws.services import COMMAND_SECONDS_MAX
from greenroom.runtime import Command
from greenroom.storage.user_writes import Priority

operations = Operations("notifications")

SEND_SCOPE: Final = "notifications:send"
PAGE_MAX: Final = 50
IDS_MAX: Final = 500
DATA_CHARACTERS_MAX: Final = 16_384
_CHANNEL_OF: Final[dict[str, Channel]] = {"inApp": "in_app", "email": "email", "push": "push", "sms": "sms"}
_RELATED: Final = ("pitch", "user", "nda_request", "investment", "message")
_PRIORITIES: Final[dict[str, Priority]] = {"critical": "urgent", "medium": "normal"}


def _action_url(url: str) -> str:
    if not url.startswith(("/", "https://", "http://")) or url.startswith("//"):
        raise ValueError("an address of http, https or one that begins with / is needed")
    return one_line(url)


Type = Annotated[str, StringConstraints(min_length=1, max_length=50, strip_whitespace=True), AfterValidator(one_line)]
Title = Annotated[str, StringConstraints(min_length=1, max_length=255, strip_whitespace=True), AfterValidator(one_line)]
Url = Annotated[str, StringConstraints(max_length=500), AfterValidator(_action_url)]


class NotificationWrite(Input):
    """What to tell whom."""

    user_id: Id | None = Field(default=None, description="whom; oneself when it is absent")
    type: Type = "info"
    category: Annotated[str, StringConstraints(max_length=50), AfterValidator(one_line)] = ""
    title: Title
    message: Annotated[str, StringConstraints(min_length=1, max_length=10_000)]
    priority: Literal["low", "normal", "high", "urgent", "medium", "critical"] = "normal"
    channels: Any = Field(
        default=None, validate_default=True, description='{"inApp": true, "email": false}, or a list: ["in-app"]'
    )
    related_pitch_id: Id | None = None
    related_user_id: Id | None = None
    related_nda_request_id: Id | None = None
    related_investment_id: Id | None = None
    related_message_id: Id | None = None
    action_url: Url | None = None
    data: dict[str, Any] | None = Field(default=None, validation_alias=AliasChoices("data", "metadata"))
    expires_at: datetime | None = Field(default=None, description="ISO 8601; after it the notification is not shown")

    @field_validator("channels")
    @classmethod
    def _known_channels(cls, value: Any) -> dict[str, bool]:
        given = dict.fromkeys(value, True) if isinstance(value, list) and _are_texts(value) else value
        if given is None:
            return {"inApp": True}
        if not isinstance(given, dict):
            raise ValueError("channels is an object of true and false, or a list of names")  # noqa: TRY004 - of pydantic
        channels = {_channel(name): is_wanted for name, is_wanted in given.items()}
        if not all(isinstance(is_wanted, bool) for is_wanted in channels.values()):
            raise ValueError("a channel is true or false")
        if not channels.get("inApp", isinstance(value, dict)):
            raise ValueError("only in-app notifications are delivered yet: ask for inApp too")
        return {**channels, "inApp": True}

    @field_validator("data")
    @classmethod
    def _bounded(cls, value: dict[str, Any] | None) -> dict[str, Any] | None:
        if value is not None and len(json.dumps(value, ensure_ascii=False)) > DATA_CHARACTERS_MAX:
            raise ValueError(f"data is at most {DATA_CHARACTERS_MAX} characters of JSON")
        return value

    def related(self) -> tuple[str | None, int | None]:
        """What it is about. Raises: ApiError for two things at once."""
        found = [(kind, getattr(self, f"related_{kind}_id")) for kind in _RELATED]
        given = [(kind, value) for kind, value in found if value is not None]
        if len(given) > 1:
            raise ApiError("VALIDATION", "a notification is about one thing: send one related id")
        return given[0] if given else (None, None)


def _are_texts(value: list[Any]) -> bool:
    return all(isinstance(item, str) for item in value)


def _channel(name: str) -> str:
    known = {"inapp": "inApp", "email": "email", "push": "push", "sms": "sms"}
    found = known.get(name.lower().replace("-", "").replace("_", ""))
    if found is None:
        raise ValueError(f"{name[:40]!r} is not a channel: known are {', '.join(_CHANNEL_OF)}")
    return found


class Chosen(TypedDict):
    """Which notifications are listed."""

    is_unread: bool
    category: str | None
    related_type: str | None


class NotificationSent(Output):
    """The notification is stored. channels: what became of each that was asked for.

    `stored` in the application. Of the others `opted_out`, `below_priority` or `quiet_hours`, by the preferences of
    whom it is for; else `not_configured`.
    """

    notification_id: int
    id: int
    channels: dict[str, str]
    duplicate: bool


class NotificationPage(Input):
    """Which part of the list. userId may only be one's own.

    page counts from 1 and goes instead of offset; with it `data` is the list itself, as a page of the existing client
    expects it. contextType: what it is about: the relatedType of a notification. One that is empty chooses nothing.
    """

    limit: Annotated[WholeNumber, Field(ge=1, le=PAGE_MAX)] = 20
    offset: Annotated[WholeNumber, Field(ge=0, le=OFFSET_MAX)] = 0
    page: Annotated[WholeNumber, Field(ge=1, le=OFFSET_MAX)] | None = None
    unread_only: bool = False
    include_read: bool | None = None
    category: Annotated[str, StringConstraints(max_length=50)] | None = None
    context_type: Annotated[str, StringConstraints(max_length=50)] | None = None
    user_id: OwnId | None = None


class NotificationList(Output):
    """Notifications, the newest first. total: of what was asked for; it and unreadCount are at most 1,000."""

    notifications: list[dict[str, Any]]
    unread_count: int
    total: int
    has_more: bool


class UnreadCount(Output):
    """Unread notifications: 1,000 stands for 1,000 or more."""

    count: int
    unread_count: int


class NotificationIds(Input):
    """Which."""

    notification_ids: Annotated[list[Id], Field(max_length=IDS_MAX)] = Field(
        validation_alias=AliasChoices("notificationIds", "notification_ids", "ids")
    )


class NotificationsMarked(Output):
    """Which of them changed by this request, and how many are unread now."""

    notification_ids: list[int]
    unread_count: int


# -- sending ----------------------------------------------------------------------------------------------------------


@operations.post(
    "/api/notifications/send",
    auth="principal",
    body=NotificationWrite,
    answer=NotificationSent,
    status=201,
    also=["/api/notifications"],
)
async def send_notification(call: Call) -> Answer:
    """Tell a user something. It counts as a command of the user who sends it; of a key nothing is counted."""
    write, principal = call.body(NotificationWrite), call.principal
    user_id = write.user_id if write.user_id is not None else principal.require_user()
    is_service = principal.kind == "api_key" and SEND_SCOPE in principal.scopes
    if not (is_service or principal.role == "admin" or (principal.kind != "api_key" and user_id == principal.user_id)):
        raise ApiError("FORBIDDEN", f"to send to others takes scope {SEND_SCOPE}, or the role admin")
    if principal.kind != "api_key":
        charge_command(call)
    await require_users(call, (user_id,))
    related_type, related_id = write.related()
    command = Notify(
        type=write.type,
        category=write.category,
        title=write.title,
        message=write.message,
        priority=_PRIORITIES.get(write.priority, write.priority),  # type: ignore[arg-type]
        related_type=related_type,
        related_id=related_id,
        action_url=write.action_url,
        data=json.dumps(write.data or {}, ensure_ascii=False, separators=(",", ":")),
        sent_under=_sent_under(call),
        expires_at_ms=None if write.expires_at is None else _ms(write.expires_at),
    )
    channels = await _channels(call, user_id, write, command.priority)
    answer = await _ask(call, user_id, command)
    if isinstance(answer, Refused):
        raise refusal(answer)
    return Answer(
        {
            "notificationId": answer.id,
            "id": answer.id,
            "channels": channels,
            "duplicate": answer.is_duplicate,
        },
        top={"notificationId": answer.id},
    )


async def _channels(call: Call, user_id: int, write: NotificationWrite, priority: Priority) -> dict[str, str]:
    """What becomes of the channels that are asked for."""
    asked = [_CHANNEL_OF[name] for name, is_wanted in write.channels.items() if is_wanted]
    if asked == ["in_app"]:
        return {"inApp": "stored"}
    preferences = await preferences_of(call, user_id) or DEFAULTS
    now = datetime.fromtimestamp(_now_ms(call) / 1000, UTC)
    verdicts = channels_for(preferences, category_of(write.type, write.category), priority, now, asked)
    names = {channel: name for name, channel in _CHANNEL_OF.items()}
    told = {channel: "stored" if channel == "in_app" else "not_configured" for channel in verdicts}
    return {names[channel]: told[channel] if verdict == "told" else verdict for channel, verdict in verdicts.items()}


def _sent_under(call: Call) -> str | None:
    """The key of the request, apart from that of any other sender."""
    claim = claim_of(call, "POST /api/notifications/send", None)
    return None if claim is None else f"{claim.principal} {claim.key}"


def _ms(moment: datetime) -> int:
    at = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    milliseconds = int(at.timestamp() * 1000)
    if milliseconds <= 0:
        raise ApiError("VALIDATION", "expiresAt: a time after 1970 is needed")
    return milliseconds


async def _ask(call: Call, user_id: int, command: Command[Any]) -> Any:
    deadline = trio.current_time() + COMMAND_SECONDS_MAX
    return await call.services.room_services.system.ref("notifier", user_id).ask(command, deadline=deadline)


# -- listing ----------------------------------------------------------------------------------------------------------


@operations.get(
    "/api/notifications",
    query=NotificationPage,
    answer=NotificationList | list[dict[str, Any]],
    also=["/api/user/notifications", "/api/notifications/list"],
)
async def list_notifications(call: Call) -> Answer:
    """One's own notifications, the newest first."""
    page = call.query(NotificationPage)
    await require_self(call, page.user_id, "userId")
    return await _list(call, page, is_unread=page.unread_only)


@operations.get("/api/notifications/user/{id}", query=NotificationPage, answer=NotificationList | list[dict[str, Any]])
async def list_notifications_of(call: Call) -> Answer:
    """The same, as guide A has it: unread ones, or with `includeRead` all."""
    page = call.query(NotificationPage)
    await require_self(call, call.id(), "the id in the path")
    return await _list(call, page, is_unread=not page.include_read)


async def _list(call: Call, page: NotificationPage, *, is_unread: bool) -> Answer:
    notifications, now_ms = call.services.room_services.notifications, _now_ms(call)
    offset = page.offset if page.page is None else (page.page - 1) * page.limit
    if offset > OFFSET_MAX:
        raise ApiError("VALIDATION", f"page: at most {OFFSET_MAX} notifications can be passed over")
    category, related_type = page.category or None, page.context_type or None
    chosen: Chosen = {"is_unread": is_unread, "category": category, "related_type": related_type}
    rows = await notifications.page(call.user_id, now_ms, page.limit + 1, offset, **chosen)
    counts = await notifications.counts(call.user_id, now_ms)
    total = counts.total if not any(chosen.values()) else await notifications.count(call.user_id, now_ms, **chosen)
    data = {
        "notifications": [notification_row(row) for row in rows[: page.limit]],
        "unreadCount": counts.unread,
        "total": total,
        "hasMore": len(rows) > page.limit,
    }
    pages = -(-total // page.limit)
    pagination = {"page": offset // page.limit + 1, "limit": page.limit, "total": total, "pages": pages}
    top = {"unreadCount": counts.unread, "pagination": pagination}
    return Answer(data if page.page is None else data["notifications"], top=top)


def notification_row(row: Any) -> dict[str, Any]:
    """A notification in a list, in both spellings."""
    created_at, is_read = iso(row["created_at_ms"]), row["read_at_ms"] is not None
    read_at = iso(row["read_at_ms"]) if is_read else None
    return {
        "id": row["id"],
        "user_id": row["user_id"],
        "userId": row["user_id"],
        "type": row["type"],
        "category": row["category"],
        "title": row["title"],
        "message": row["message"],
        "priority": row["priority"],
        "is_read": is_read,
        "isRead": is_read,
        "read_at": read_at,
        "readAt": read_at,
        "related_type": row["related_type"],
        "relatedType": row["related_type"],
        "related_id": row["related_id"],
        "relatedId": row["related_id"],
        "action_url": row["action_url"],
        "actionUrl": row["action_url"],
        "data": json.loads(row["data"]),
        "created_at": created_at,
        "createdAt": created_at,
    }


@operations.get("/api/notifications/unread", answer=UnreadCount, also=["/api/notifications/unread-count"])
async def count_unread(call: Call) -> Answer:
    """How many are unread."""
    counts = await call.services.room_services.notifications.counts(call.user_id, _now_ms(call))
    return Answer({"count": counts.unread, "unreadCount": counts.unread}, top={"count": counts.unread})


# -- reading ----------------------------------------------------------------------------------------------------------


@operations.put("/api/notifications/{id}/read", answer=NotificationsMarked, also=["POST /api/notifications/{id}/read"])
async def read_notification(call: Call) -> Answer:
    """Mark one read. Again is harmless."""
    await _require(call, call.id())
    return _marked(await _ask(call, call.user_id, MarkNotifications((call.id(),))), "Notification marked as read")


@operations.put("/api/notifications/read-multiple", body=NotificationIds, answer=NotificationsMarked)
async def read_notifications(call: Call) -> Answer:
    """Mark several read; those of others, or that are not there, are passed over."""
    ids = tuple(dict.fromkeys(call.body(NotificationIds).notification_ids))
    return _marked(await _ask(call, call.user_id, MarkNotifications(ids)), "Notifications marked as read")


@operations.put(
    "/api/notifications/read-all",
    answer=NotificationsMarked,
    also=["POST /api/notifications/read/all", "PUT /api/notifications/mark-all-read"],
)
async def read_all_notifications(call: Call) -> Answer:
    """Mark all read."""
    return _marked(await _ask(call, call.user_id, MarkNotifications(None)), "Notifications marked as read")


@operations.delete("/api/notifications/{id}", answer=NotificationsMarked)
async def delete_notification(call: Call) -> Answer:
    """Take one out of the list."""
    await _require(call, call.id())
    command = MarkNotifications((call.id(),), is_deleted=True)
    return _marked(await _ask(call, call.user_id, command), "Notification deleted")


async def _require(call: Call, notification_id: int) -> None:
    """Raises: ApiError 404 for what is not there, or not one's own."""
    if not await call.services.room_services.notifications.kept(call.user_id, [notification_id], 1):
        raise ApiError("NOT_FOUND", "there is no such notification, or not for you")


def _marked(changed: NotificationsChanged, message: str) -> Answer:
    data = {"notificationIds": list(changed.ids[:IDS_MAX]), "unreadCount": changed.unread}
    return Answer(data, top={"message": message})


def _now_ms(call: Call) -> int:
    return call.services.room_services.system.clock.wall_milliseconds()
