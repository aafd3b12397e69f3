"""What the existing client is told. The fields of each stand both under `data` and at top level (`is_flat`).

Not looked at in production: the tests hold frames to it.
"""

from typing import Annotated, Final, Literal, NotRequired

from typing_extensions import TypedDict

from greenroom.http.ws.schemas.frames import Frame
from greenroom.http.ws.schemas.v1_answers import ErrorCategory, ErrorNumber
from greenroom.http.ws.schemas.values import AnyObject, Attachment, Count, Described, Id, Iso, Place, Seconds, says

Shown = Literal["info", "success", "warning", "error"]
Priority = Literal["low", "normal", "high", "urgent"]


class Connected(TypedDict):
    """The session has begun."""

    sessionId: str
    userId: Id
    portalType: Annotated[str, says("The role of the user.")]


class ChannelsTold(TypedDict):
    """The names are acknowledged, and mean nothing."""

    channels: list[str]
    channel: Annotated[str | None, says("The first.")]


class Listed(TypedDict):
    """A notification of the list."""

    id: Id
    type: Shown
    notificationType: Annotated[str, says("As it was sent.")]
    title: str
    message: str
    createdAt: Iso
    isRead: bool
    priority: Priority
    actionUrl: str | None
    data: AnyObject


class Companion(TypedDict):
    """A person as the existing client reads them."""

    userId: Id
    username: str
    status: Literal["online", "away", "busy", "dnd", "offline"]
    lastSeen: Iso
    activity: str


class Companions(TypedDict):
    """Who is online."""

    users: list[Companion]


class FoundMessage(TypedDict):
    """A message that was found."""

    messageId: Id
    conversationId: Id
    seq: Place
    senderId: Id
    senderName: str
    content: str
    timestamp: Annotated[Iso, says("When it was said.")]


class SearchResults(TypedDict):
    """What was found, the newest first: 20, or what was asked for, or as many as 128 KiB hold."""

    query: str
    conversationId: NotRequired[Annotated[Id, says("Where was looked; else in all.")]]
    messages: list[FoundMessage]
    hasMore: Annotated[bool, says("There may be others.")]
    beforeSeq: NotRequired[Annotated[Place, says("Of one conversation with more: the same goes on with it.")]]
    requestId: NotRequired[str]


class OtherTold(TypedDict):
    """It is stored."""

    userId: Annotated[Id, says("The other one.")]
    requestId: NotRequired[str]


class AuthSuccess(TypedDict):
    """The token counts from here on."""

    userId: Id
    username: str


class AuthError(TypedDict):
    """The token is not used; the socket goes on as it was."""

    error: Annotated[str, says("A sentence for people.")]
    message: Annotated[str, says("The same.")]
    code: Annotated[Literal[2001, 2002], says("2001: invalid; 2002: over.")]


class InitialDataTold(TypedDict):
    """The newest notifications (50, or as many as 128 KiB hold), which replace the client's list, and who is online."""

    notifications: list[Listed]
    unreadCount: Count
    presence: Companions


class NotificationReadAck(TypedDict):
    """It is stored: of these none is unread any more."""

    notificationId: Id
    notificationIds: list[Id]


class NotificationsCleared(TypedDict):
    """All are deleted."""


class UnreadCount(TypedDict):
    """How many notifications are unread."""

    count: Count


class ConversationLookedAt(TypedDict):
    """A conversation that is looked at, or no more."""

    conversationId: Id


class MessageSent(TypedDict):
    """The message is stored."""

    messageId: Id
    conversationId: Id
    timestamp: Iso
    seq: Place
    requestId: NotRequired[str]
    clientId: NotRequired[str]


class NewMessage(Described, TypedDict):
    """Somebody said something, in any conversation of the user."""

    messageId: Id
    conversationId: Id
    senderId: Id
    senderName: str
    content: str
    attachments: NotRequired[list[Attachment]]
    timestamp: Iso
    seq: Place


class MessageChanged(TypedDict):
    """A message was edited, or deleted, in any conversation of the user."""

    action: Literal["edited", "deleted"]
    messageId: Id
    conversationId: Id
    senderId: Annotated[Id, says("Who said it.")]
    changedBy: Id
    content: Annotated[str, says("What it says now; empty when it was deleted.")]
    timestamp: Annotated[Iso, says("When it was changed.")]
    seq: Place


class ReactionChanged(TypedDict):
    """Somebody reacts to a message, or does so no more, in any conversation of the user."""

    messageId: Id
    conversationId: Id
    userId: Annotated[Id, says("Who reacts.")]
    reactionType: str
    action: Literal["add", "remove"]
    timestamp: Annotated[Iso, says("When.")]
    seq: Place


class UserTyping(TypedDict):
    """Somebody types, or stopped; to who looks at the conversation."""

    conversationId: Id
    userId: Id
    username: str
    isTyping: bool


class MessageRead(TypedDict):
    """Somebody has read this message; to its author."""

    messageId: Id
    conversationId: Id
    readAt: Iso
    readBy: Id
    readByName: str


class Somebody(TypedDict):
    """Somebody came, or went."""

    userId: Id
    username: str


class NotificationTold(TypedDict):
    """Somebody has something to tell the user. The `id` of the frame is the notification's."""

    id: Id
    type: Shown
    notificationType: Annotated[str, says("As it was sent.")]
    title: str
    message: str
    priority: Priority
    category: NotRequired[str]
    relatedType: NotRequired[str]
    relatedId: NotRequired[Id]
    actionUrl: NotRequired[str]
    data: NotRequired[AnyObject]
    createdAt: Iso
    isRead: Literal[False]


class NotificationUpdate(TypedDict):
    """Notifications were read or deleted, anywhere."""

    type: Literal["notifications_read", "notifications_deleted"]
    notificationIds: list[Id]


class CompatPing(TypedDict):
    """Say something, or be closed."""

    timestamp: Iso


class CompatPong(TypedDict):
    """The answer to `ping`, at once."""

    type: Literal["pong"]
    timestamp: Iso


class CompatError(TypedDict):
    """Something was not done."""

    error: Annotated[str, says("A sentence for people.")]
    message: Annotated[str, says("The same.")]
    code: ErrorNumber
    category: ErrorCategory
    severity: Annotated[Literal[2, 3], says("2: worth another try; 3: not.")]
    recoverable: bool
    requestId: NotRequired[str]
    retryAfter: NotRequired[Seconds]


def _flat(kind: str, shape: type, about: str = "") -> Frame:
    return Frame(kind, kind, shape, is_flat=True, id="text", about=about)


SUBSCRIBED: Final = _flat("subscribed", ChannelsTold)
UNSUBSCRIBED: Final = _flat("unsubscribed", ChannelsTold)
INITIAL_DATA: Final = _flat("initial_data", InitialDataTold)
NOTIFICATION_READ_ACK: Final = _flat("notification_read_ack", NotificationReadAck)
NOTIFICATIONS_CLEARED: Final = _flat("notifications_cleared", NotificationsCleared)
UNREAD_COUNT: Final = _flat("unread_count", UnreadCount)
CONVERSATION_JOINED: Final = _flat("conversation_joined", ConversationLookedAt, "Its typing is told from here on.")
CONVERSATION_LEFT: Final = _flat("conversation_left", ConversationLookedAt, "And no more.")
MESSAGE_SENT: Final = _flat("message_sent", MessageSent)
ONLINE_USERS: Final = _flat("online_users", Companions)
SEARCH_RESULTS: Final = _flat("search_results", SearchResults)
USER_BLOCKED: Final = _flat("user_blocked", OtherTold, "That they are blocked is stored.")
USER_UNBLOCKED: Final = _flat("user_unblocked", OtherTold, "That they are blocked no more is stored.")
AUTH_SUCCESS: Final = _flat("auth_success", AuthSuccess)
AUTH_ERROR: Final = _flat("auth_error", AuthError)
PONG: Final = Frame("pong", "pong", CompatPong)
FRAMES: Final = (
    _flat("connected", Connected),
    SUBSCRIBED,
    UNSUBSCRIBED,
    INITIAL_DATA,
    Frame("notification", "notification", NotificationTold, is_flat=True, id="number"),
    Frame("notification_update", "notification_update", NotificationUpdate, is_flat=True),
    UNREAD_COUNT,
    NOTIFICATION_READ_ACK,
    NOTIFICATIONS_CLEARED,
    _flat("new_message", NewMessage),
    MESSAGE_SENT,
    _flat("message", MessageChanged),
    _flat("reaction", ReactionChanged),
    _flat("message_read", MessageRead),
    CONVERSATION_JOINED,
    CONVERSATION_LEFT,
    _flat("user_typing", UserTyping),
    _flat("typing", UserTyping, "The same, beside it: the page keeps two lists, and each is told in its own word."),
    _flat("presence_update", Companion, "Somebody appears like this now."),
    _flat("user_online", Somebody, "Somebody came; beside `presence_update`."),
    _flat("user_offline", Somebody, "Somebody went; beside `presence_update`."),
    ONLINE_USERS,
    SEARCH_RESULTS,
    USER_BLOCKED,
    USER_UNBLOCKED,
    AUTH_SUCCESS,
    AUTH_ERROR,
    _flat("ping", CompatPing),
    PONG,
    _flat("error", CompatError),
)
