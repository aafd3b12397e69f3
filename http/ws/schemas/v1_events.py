"""What the server tells clients of greenroom.v1 by itself. Not looked at in production: the tests hold frames to it."""

from typing import Annotated, Final, Literal, NotRequired

from pydantic import Field
from typing_extensions import TypedDict

from greenroom.actors.room.readers import STEPS_MAX
from greenroom.http.ws.schemas.frames import Frame
from greenroom.http.ws.schemas.v1_answers import ANSWERS, Away, Present
from greenroom.http.ws.schemas.v1_changes import MessageDeleted, MessageEdited
from greenroom.http.ws.schemas.v1_hello import Hello
from greenroom.http.ws.schemas.v1_marks import PinEvent, ReactionEvent
from greenroom.http.ws.schemas.values import (
    AnyObject,
    Attachment,
    Count,
    Described,
    DigitsKey,
    Id,
    Milliseconds,
    Place,
    Seconds,
    says,
)

Role = Literal["admin", "member"]
Change = Literal["joined", "left"]


# -- the session ------------------------------------------------------------------------------------------------------


class LiveData(TypedDict):
    """Which."""

    rooms: list[Id]


class Live(TypedDict):
    """From here on these rooms are up to date."""

    type: Literal["live"]
    data: LiveData


Lost = TypedDict(
    "Lost",
    {
        "from": Annotated[Place, says("The first that is not told.")],
        "to": Annotated[Place, says("The last.")],
        "top": Annotated[Place, says("Live messages begin after it.")],
        "reset": NotRequired[Annotated[Literal[True], says("The log is another: throw the local copy away.")]],
    },
)


class Gap(TypedDict):
    """Messages that are not replayed: `history` has them."""

    type: Literal["gap"]
    room: Id
    data: Lost


class LostEvents(Lost):
    """Which."""

    user: Literal[True]


class UserGap(TypedDict):
    """Events of the user's stream that are not told again."""

    type: Literal["gap"]
    data: LostEvents


class PingFrame(TypedDict):
    """Say something, or be closed."""

    type: Literal["ping"]


class CloseData(TypedDict):
    """Why: as in the close frame of a WebSocket."""

    code: int
    reason: str


class Close(TypedDict):
    """The last frame of a stream or a poll that the server ends; a WebSocket has a close frame of its own."""

    type: Literal["close"]
    data: CloseData


class ExpiringData(TypedDict):
    """When."""

    at: Milliseconds


class TokenExpiring(TypedDict):
    """The credential ends within a minute: `refresh`."""

    type: Literal["token_expiring"]
    data: ExpiringData


SlowDownData = TypedDict(
    "SlowDownData",
    {
        "class": Annotated[Literal["send", "cmds", "typing"], says("Of commands.")],
        "retryAfter": Annotated[Seconds, says("For so many seconds.")],
    },
)


class SlowDown(TypedDict):
    """A class of commands is over its limit; at most once a second."""

    type: Literal["slow_down"]
    data: SlowDownData


class ReconnectData(TypedDict):
    """When to go. Both times are from now."""

    after: Annotated[Milliseconds, says("Leave then, and come back: the slot of this connection among all.")]
    deadline: Annotated[Milliseconds, says("The server closes with 4200.")]
    reason: Annotated[
        Literal["drain", "rebalance", "upgrade"],
        says("What for, for people: the server ends or is emptied, its load is spread, or a newer one takes over."),
    ]
    resume: Annotated[Literal[True], says("With a cursor nothing is missed.")]


class Reconnect(TypedDict):
    """The server moves its connections. Not told to streams and polls, which end in their slot."""

    type: Literal["reconnect"]
    data: ReconnectData


# -- rooms ------------------------------------------------------------------------------------------------------------


class MessageData(Described, TypedDict):
    """What was said, and who said it."""

    id: Id
    sender: Id
    senderName: str
    body: str
    clientId: NotRequired[Annotated[str, says("Only for the sender's own devices.")]]
    attachments: NotRequired[list[Attachment]]
    edited: NotRequired[Annotated[Milliseconds, says("Edited since, then.")]]
    deleted: NotRequired[Annotated[Milliseconds, says("Deleted since, then: the body is empty.")]]


class Message(TypedDict):
    """Somebody said something."""

    type: Literal["message"]
    room: Id
    seq: Place
    ts: Milliseconds
    data: MessageData


class Skip(TypedDict):
    """A message stands here that the receiver is not shown, or a change of one; or they left here, and are back."""

    type: Literal["skip"]
    room: Id
    seq: Place


class TypingNowData(TypedDict):
    """Who."""

    users: Annotated[list[Id], says("Whoever types is in it on their own devices too.")]
    names: Annotated[dict[DigitsKey, str], says("User → name.")]


class TypingNow(TypedDict):
    """Who types: replaces the list before, at most once a second; not with over 200 members. It needs no clock.

    Of whoever has said no `typing` with `on` for 6 s it is told that they do not; of who says it again, nothing.
    """

    type: Literal["typing"]
    room: Id
    data: TypingNowData


class ReceiptsData(TypedDict):
    """How far. One of the two."""

    marks: NotRequired[Annotated[dict[DigitsKey, Place], says("User → seq.")]]
    counts: NotRequired[
        Annotated[
            list[tuple[Place, Annotated[int, Field(ge=1)]]],
            Field(max_length=STEPS_MAX),
            says("`[[seq, members who have read up to there or further]]`, the newest 16; replaces the one before."),
        ]
    ]


class Receipts(TypedDict):
    """How far members have read: at once, then once a second; with over 200 members how many (`members`: who)."""

    type: Literal["receipts"]
    room: Id
    ts: Milliseconds
    data: ReceiptsData


class MemberChangeData(TypedDict):
    """Who."""

    user: Id
    role: Role
    change: Change


class MemberChange(TypedDict):
    """Somebody came or went, or has another role. Who left hears it last. Without `seq`: of a new conversation."""

    type: Literal["member"]
    room: Id
    seq: NotRequired[Place]
    ts: NotRequired[Milliseconds]
    data: MemberChangeData


class PresenceStateData(TypedDict):
    """Who."""

    users: list[Present | Away]


class PresenceState(TypedDict):
    """Who is online in a room of at most 200 members; elsewhere ask with `presence`. Without a room: who is watched."""

    type: Literal["presence_state"]
    room: NotRequired[Id]
    data: PresenceStateData


class PresenceDiffData(TypedDict):
    """Who."""

    joins: list[Present]
    leaves: list[Away]
    gone: NotRequired[Annotated[list[Id], says("Who was watched and may be seen no more.")]]


class PresenceDiff(TypedDict):
    """Whose presence changed: in one room, alike in several, or of who is watched; at most once a second."""

    type: Literal["presence_diff"]
    room: NotRequired[Id]
    rooms: NotRequired[list[Id]]
    data: PresenceDiffData


class LastMessage(TypedDict):
    """The newest message."""

    id: Id
    sender: Id
    senderName: str
    body: Annotated[str, says("Its first 100 characters.")]
    ts: Milliseconds


class SummaryData(TypedDict):
    """How it stands."""

    top: Place
    unread: Annotated[Count, says("Messages of others after the user's marker, likewise.")]
    mention: Annotated[Count, says("Those of them that mention the user, as in `ready`.")]
    last: Annotated[
        LastMessage | None,
        says("The newest message; null: not for the receiver, or there is none. Of a deleted one the body is empty."),
    ]


class Summary(TypedDict):
    """How a room stands that is joined with `mode: summary`; at most once a second."""

    type: Literal["room_summary"]
    room: Id
    data: SummaryData


# -- the user's stream ------------------------------------------------------------------------------------------------


class OfUser(TypedDict):
    """An event of the user's own stream."""

    useq: Place
    ts: Milliseconds


class ReadSyncData(TypedDict):
    """How far."""

    seq: Place


class ReadSync(OfUser):
    """So far one of the user's devices has read."""

    type: Literal["read_sync"]
    room: Id
    data: ReadSyncData


class MembershipData(TypedDict):
    """What."""

    change: Change
    role: Role


class Membership(OfUser):
    """The user came into a conversation, left it, or has another role there."""

    type: Literal["membership"]
    room: Id
    data: MembershipData


class BlockChangeData(TypedDict):
    """Whom."""

    user: Id
    blocked: bool


class BlockChange(OfUser):
    """The user blocked somebody, or does not any more. Who is blocked is not told."""

    type: Literal["block"]
    data: BlockChangeData


class NotificationData(TypedDict):
    """What is told; of the optional ones those that there are."""

    id: Id
    type: str
    title: str
    message: str
    priority: Literal["low", "normal", "high", "urgent"]
    category: NotRequired[str]
    relatedType: NotRequired[str]
    relatedId: NotRequired[Id]
    actionUrl: NotRequired[str]
    data: NotRequired[AnyObject]
    unread: Annotated[Count, says("With this one.")]


class NotificationEvent(OfUser):
    """Somebody has something to tell the user."""

    type: Literal["notification"]
    data: NotificationData


class NotificationsChangedData(TypedDict):
    """Which."""

    ids: list[Id]
    unread: Count


class NotificationsRead(OfUser):
    """These were read, on whatever device."""

    type: Literal["notification_read"]
    data: NotificationsChangedData


class NotificationsDeleted(OfUser):
    """These are gone."""

    type: Literal["notification_deleted"]
    data: NotificationsChangedData


EVENTS: Final = (
    Frame("hello", "hello", Hello, "control"),
    Frame("live", "live", Live, "control"),
    Frame("gap", "gap", Gap, "control"),
    Frame("gap", "gap_user", UserGap, "control"),
    Frame("message", "message", Message, "durable"),
    Frame("message_edited", "message_edited", MessageEdited, "durable"),
    Frame("message_deleted", "message_deleted", MessageDeleted, "durable"),
    Frame("reaction", "reaction", ReactionEvent, "durable"),
    Frame("pin", "pin", PinEvent, "durable"),
    Frame("skip", "skip", Skip, "durable"),
    Frame("typing", "typing", TypingNow, "may be dropped"),
    Frame("receipts", "receipts", Receipts, "may be dropped"),
    Frame("member", "member", MemberChange, "durable"),
    Frame("presence_state", "presence_state", PresenceState, "newest state"),
    Frame("presence_diff", "presence_diff", PresenceDiff, "newest state"),
    Frame("room_summary", "room_summary", Summary, "as it stands"),
    Frame("read_sync", "read_sync", ReadSync, "durable, of the user"),
    Frame("membership", "membership", Membership, "durable, of the user"),
    Frame("block", "block", BlockChange, "durable, of the user"),
    Frame("notification", "notification", NotificationEvent, "durable, of the user"),
    Frame("notification_read", "notification_read", NotificationsRead, "durable, of the user"),
    Frame("notification_deleted", "notification_deleted", NotificationsDeleted, "durable, of the user"),
    Frame("token_expiring", "token_expiring", TokenExpiring, "control"),
    Frame("slow_down", "slow_down", SlowDown, "control"),
    Frame("reconnect", "reconnect", Reconnect, "control"),
    Frame("ping", "ping", PingFrame, "control"),
    Frame("close", "close", Close, "control"),
)
FRAMES: Final = (*ANSWERS, *EVENTS)
