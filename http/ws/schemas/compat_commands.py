"""What the existing client says. Its frames come flat or nested under `data` (or `payload`), and are read as one.

A field that does not fit is as one that is not there (`OrNothing`): what cannot be used is met with silence, as its own
server did it.
"""

from typing import Annotated, Any, Final, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from greenroom.http.models import one_line
from greenroom.http.searches import FOUND_MAX, SearchedText
from greenroom.http.ws.schemas import compat_frames as frames
from greenroom.http.ws.schemas.frames import Command
from greenroom.http.ws.schemas.v1_commands import REASON_CHARACTERS_MAX
from greenroom.http.ws.schemas.values import ClientId, GivenId, GivenIdOrZero, OrNothing, OrNowhere, Truth, first, says

CHANNELS_MAX: Final = 64
CHANNEL_CHARACTERS_MAX: Final = 128
IDS_MAX: Final = 500  # in one frame, as over REST

Conversation = Annotated[GivenId, OrNothing(), says("The conversation.")]
Channel = Annotated[str, Field(max_length=CHANNEL_CHARACTERS_MAX), OrNothing()]


class Request(TypedDict):
    """What a request may be called: with an error, and an answer that has one, the first of these that is a short text
    comes back as `requestId`.
    """

    requestId: NotRequired[
        Annotated[ClientId, OrNothing(), says("Comes back with an error, and with an answer that has one.")]
    ]
    id: NotRequired[Annotated[ClientId, OrNothing(), says("Alike, when there is no `requestId`.")]]
    clientId: NotRequired[Annotated[ClientId, OrNothing(), says("Alike, when there is neither.")]]
    timestamp: NotRequired[Annotated[str, OrNothing(), says("Not looked at.")]]


class Channels(Request):
    """Names of channels, which mean nothing: what a user hears follows from membership."""

    channels: NotRequired[Annotated[list[Channel], first(CHANNELS_MAX), OrNothing(), says("At most 64 names.")]]
    channelId: NotRequired[Annotated[Channel, says("One name.")]]
    channel: NotRequired[Annotated[Channel, says("One name.")]]


class Nothing(Request):
    """Nothing but a name for the request."""


class InitialData(Request):
    """How all of it stands."""

    includeNotifications: NotRequired[Annotated[Any, says("Not looked at: all of it comes.")]]
    includePresence: NotRequired[Annotated[Any, says("Alike.")]]
    includeDashboard: NotRequired[Annotated[Any, says("Alike; there are no dashboards.")]]
    clientVersion: NotRequired[Annotated[Any, says("Alike.")]]


class InConversation(Request):
    """A conversation."""

    conversationId: NotRequired[Conversation]


class SendMessage(Request):
    """Says something."""

    conversationId: NotRequired[Conversation]
    targetUserId: NotRequired[
        Annotated[
            GivenId, OrNothing(), says("Without one: in the direct conversation with them, made if there is none.")
        ]
    ]
    recipientId: NotRequired[Annotated[GivenId, OrNothing(), says("Alike, when there is no `targetUserId`.")]]
    content: NotRequired[Annotated[str, OrNothing(), says("1 to 10,000 Unicode code points, no NUL.")]]


class EditMessage(Request):
    """Says something else in the place of what was said."""

    messageId: NotRequired[Annotated[GivenId, OrNothing(), says("The message.")]]
    content: NotRequired[Annotated[str, OrNothing(), says("What it is to say: 1 to 10,000 code points, no NUL.")]]


class DeleteMessage(Request):
    """Erases what was said."""

    messageId: NotRequired[Annotated[GivenId, OrNothing(), says("The message.")]]


class Reaction(Request):
    """Reacts to a message, or does so no more; to all members `reaction`."""

    messageId: NotRequired[Annotated[GivenId, OrNothing(), says("The message.")]]
    conversationId: NotRequired[Annotated[GivenId, OrNothing(), says("Not looked at: the message says where.")]]
    reactionType: NotRequired[Annotated[str, OrNothing(), says("An emoji or a short text: 1 to 32 code points.")]]
    emoji: NotRequired[Annotated[str, OrNothing(), says("Alike, when there is no `reactionType`.")]]
    action: NotRequired[Annotated[Literal["add", "remove"], OrNothing(), says("Else `add`.")]]


class Other(Request):
    """Another user."""

    targetUserId: NotRequired[Annotated[GivenId, OrNothing(), says("Whom.")]]
    userId: NotRequired[Annotated[GivenId, OrNothing(), says("Alike, when there is no `targetUserId`.")]]


class Blocked(Other):
    """Hears nothing more of somebody."""

    reason: NotRequired[
        Annotated[
            Annotated[str, Field(min_length=1, max_length=REASON_CHARACTERS_MAX), AfterValidator(one_line)],
            OrNothing(),
            says("For the one who blocks: a line of at most 500 characters."),
        ]
    ]


class Auth(Request):
    """Goes on with another token of the same user; a wrong one changes nothing."""

    token: NotRequired[Annotated[str, OrNothing(), says("A JWT.")]]


class SearchMessages(Request):
    """Looks for a text in what was said, as `GET /api/messages/search` does."""

    query: NotRequired[
        Annotated[
            SearchedText,
            OrNothing(),
            says("Stands in the message, in whatever case: 1 to 100 characters, without the blanks around it."),
        ]
    ]
    conversationId: NotRequired[
        Annotated[
            GivenIdOrZero | Literal[""] | None,
            OrNowhere(),
            says("Only there; else in the 100 in which something was said last."),
        ]
    ]
    beforeSeq: NotRequired[
        Annotated[
            GivenIdOrZero | Literal[""] | None, OrNowhere(), says("Of one conversation: only what was said before.")
        ]
    ]
    limit: NotRequired[
        Annotated[Annotated[int, Field(strict=True, ge=1, le=FOUND_MAX)], OrNothing(), says("1 to 50; else 20.")]
    ]


class Typing(Request):
    """Says that the user types, or not."""

    conversationId: NotRequired[Conversation]
    isTyping: NotRequired[Annotated[Truth, OrNothing(), says("Whether.")]]


class MarkRead(Request):
    """Moves the read marker to these messages."""

    conversationId: NotRequired[Annotated[GivenId, OrNothing(), says("Not looked at: the messages say where.")]]
    messageId: NotRequired[Annotated[GivenId, OrNothing(), says("The message.")]]
    messageIds: NotRequired[
        Annotated[
            list[Annotated[GivenId, OrNothing()]],
            first(IDS_MAX),
            OrNothing(),
            says("At most 500 of them."),
        ]
    ]


class NotificationRead(Request):
    """These were read."""

    notificationId: NotRequired[Annotated[GivenId, OrNothing(), says("The notification.")]]
    notificationIds: NotRequired[
        Annotated[list[Annotated[GivenId, OrNothing()]], first(IDS_MAX), OrNothing(), says("At most 500 of them.")]
    ]


class PresenceUpdate(Request):
    """How the user wants to appear."""

    status: NotRequired[
        Annotated[Literal["online", "away", "busy", "offline", "dnd", "invisible"], OrNothing(), says("Else `online`.")]
    ]
    activity: NotRequired[Annotated[str, OrNothing(), says("A note; its first 140 characters count.")]]


_SAYS: Final = "Says something; to all members, the sender's sockets included, `new_message`."
_READ: Final = "Moves the read marker to these messages; to their authors `message_read`."
_APPEARS: Final = "How the user wants to appear; to companions `presence_update`, and `user_online` or `user_offline`."

COMMANDS: Final = (
    Command("subscribe", Channels, (frames.SUBSCRIBED,)),
    Command("unsubscribe", Channels, (frames.UNSUBSCRIBED,), "The same."),
    Command("request_initial_data", InitialData, (frames.INITIAL_DATA,), "Asks how all of it stands."),
    Command("notification_read", NotificationRead, (frames.NOTIFICATION_READ_ACK,), "These were read."),
    Command("notifications_clear_all", Nothing, (frames.NOTIFICATIONS_CLEARED,), "The list is to be empty."),
    Command("get_unread_count", Nothing, (frames.UNREAD_COUNT,), "Asks for the badge."),
    Command(
        "join_conversation",
        InConversation,
        (frames.CONVERSATION_JOINED,),
        "Hears typing of that conversation, besides all that is heard anyway; in the 64 that were joined last.",
    ),
    Command(
        "leave_conversation",
        InConversation,
        (frames.CONVERSATION_LEFT,),
        "Hears typing there no more; where it was not joined there is no answer.",
    ),
    Command("send_message", SendMessage, (frames.MESSAGE_SENT,), _SAYS),
    Command("message", SendMessage, (frames.MESSAGE_SENT,), _SAYS),
    Command("typing_start", InConversation, (), "The user types; to the others who look at it `user_typing`."),
    Command("typing_stop", InConversation, (), "And stopped."),
    Command("typing", Typing, (), "Either."),
    Command("reaction", Reaction),
    Command(
        "edit_message",
        EditMessage,
        (),
        "Says something else in the place of what was said, as `PUT /api/messages/:id`; to all members `message`.",
    ),
    Command("delete_message", DeleteMessage, (), "Erases what was said, as `DELETE` does; to all members `message`."),
    Command("mark_read", MarkRead, (), _READ),
    Command("read", MarkRead, (), _READ),
    Command("read_receipt", MarkRead, (), _READ),
    Command("mark_conversation_read", InConversation, (), "All that was said there so far; the same."),
    Command("presence_update", PresenceUpdate, (), _APPEARS),
    Command("presence", PresenceUpdate, (), _APPEARS),
    Command("get_online_users", Nothing, (frames.ONLINE_USERS,), "Asks who of the companions is online."),
    Command("block_user", Blocked, (frames.USER_BLOCKED,), "Hears nothing more of somebody, as over REST."),
    Command("unblock_user", Other, (frames.USER_UNBLOCKED,), "Hears of them again."),
    Command("search_messages", SearchMessages, (frames.SEARCH_RESULTS,)),
    Command("auth", Auth, (frames.AUTH_SUCCESS, frames.AUTH_ERROR)),
    Command("ping", Nothing, (frames.PONG,), "Is answered at once."),
    Command("pong", Nothing, (), "A sign of life; any byte is one."),
)
