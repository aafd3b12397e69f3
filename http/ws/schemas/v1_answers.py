"""What commands of greenroom.v1 are answered with. An `ack` carries the `id` of its command."""

from typing import Annotated, Final, Generic, Literal, NotRequired, TypeVar

from pydantic import WithJsonSchema
from typing_extensions import TypedDict

from greenroom.http.ws import codes
from greenroom.http.ws.schemas.frames import Frame
from greenroom.http.ws.schemas.v1_changes import ChangedData, StoredChange
from greenroom.http.ws.schemas.v1_marks import ReactionsOfMessage
from greenroom.http.ws.schemas.values import (
    Attachment,
    ClientId,
    CommandId,
    Count,
    Described,
    Id,
    Milliseconds,
    Place,
    Seconds,
    says,
)

D = TypeVar("D")

_ERRORS: Final = [value for value in vars(codes).values() if isinstance(value, codes.ErrorCode)]
ErrorNumber = Annotated[
    int, WithJsonSchema({"type": "integer", "enum": [error.number for error in _ERRORS]}), says("Its number.")
]
ErrorName = Annotated[
    str, WithJsonSchema({"type": "string", "enum": [error.name for error in _ERRORS]}), says("Its name.")
]
ErrorCategory = Annotated[
    str,
    WithJsonSchema({"type": "string", "enum": sorted({error.category for error in _ERRORS})}),
    says("What it is about."),
]


SendId = Annotated[ClientId, says("Of the command; of a `send` without one its `clientId`.")]


class Ack(TypedDict, Generic[D]):
    """The command was done."""

    type: Literal["ack"]
    id: Annotated[CommandId, says("Of the command.")]
    data: D


class AckInRoom(Ack[D], Generic[D]):
    """The command was done, in a room."""

    room: Annotated[Id, says("Where.")]


class RoomItem(TypedDict):
    """How a room stands."""

    r: Annotated[Id, says("The conversation.")]
    epoch: Annotated[Place, says("Of its log.")]
    top: Annotated[Place, says("Its last `seq`.")]
    read: Annotated[Place, says("Where the user's marker stands.")]
    unread: Annotated[Count, says("Messages of others after it, among the newest 1,256 of the room at least.")]
    mention: Annotated[Count, says("Of the newest 256 entries of the log, those of them that mention the user.")]
    members: Annotated[Count, says("How many.")]
    mode: Annotated[Literal["full", "summary", "none"], says("How it is heard.")]


class RefusedRoom(TypedDict):
    """A room that is not to be had."""

    r: Id
    code: ErrorNumber
    error: ErrorName


class ReadyData(TypedDict):
    """Who the client is, and how its rooms stand."""

    user: Id
    name: str
    device: Annotated[str, says("As the client called itself.")]
    session: Annotated[str, says("Of this connection.")]
    userEpoch: Annotated[Place, says("Of the user's stream.")]
    useq: Annotated[Place, says("How far the user's stream is.")]
    resumed: Annotated[bool, says("Whether everything that was missed follows.")]
    rooms: list[RoomItem]
    refused: NotRequired[list[RefusedRoom]]


class Ready(TypedDict):
    """The session has begun."""

    type: Literal["ready"]
    id: NotRequired[CommandId]
    data: ReadyData


class SyncedData(TypedDict):
    """How the rooms stand that are told again."""

    rooms: list[RoomItem]
    refused: NotRequired[list[RefusedRoom]]


class Member(TypedDict):
    """Somebody in a room."""

    user: Id
    name: str
    role: Literal["admin", "member"]
    read: Annotated[Place, says("How far they have read.")]


class MembersPage(TypedDict):
    """A page of members, by id."""

    members: list[Member]
    more: NotRequired[Annotated[Literal[True], says("There are others.")]]


class ReportedData(TypedDict):
    """What was reported."""

    message: NotRequired[Id]
    user: NotRequired[Id]
    duplicate: NotRequired[Annotated[Literal[True], says("It was before: the first reason stands.")]]
    blocked: NotRequired[Annotated[Literal[True], says("And who is reported is blocked, as was asked for.")]]


class BlockedData(TypedDict):
    """What holds now."""

    user: Id
    blocked: bool


class RefreshedData(TypedDict):
    """Until when the new credential is good."""

    expires: Annotated[Milliseconds | None, says("In ms; null: without end.")]


class SentData(TypedDict):
    """The message as it is stored."""

    messageId: Id
    seq: Place
    ts: Milliseconds
    duplicate: NotRequired[Annotated[Literal[True], says("It was stored before.")]]


class AckSent(TypedDict):
    """The command was done: the message is committed."""

    type: Literal["ack"]
    id: SendId
    data: SentData


class StoredMessage(Described, TypedDict):
    """A message of a page."""

    id: Id
    seq: Place
    ts: Milliseconds
    sender: Id
    senderName: str
    body: str
    clientId: NotRequired[Annotated[str, says("Only of the reader's own.")]]
    attachments: NotRequired[list[Attachment]]
    edited: NotRequired[Annotated[Milliseconds, says("When it was edited last.")]]
    deleted: NotRequired[Annotated[Milliseconds, says("When it was deleted: the body is empty.")]]
    reactions: NotRequired[
        Annotated[
            list[ReactionsOfMessage], says("As of `top`, in the order of their first use; not with `after` alone.")
        ]
    ]
    pinned: NotRequired[Annotated[Milliseconds, says("Since when it is pinned, as of `top`; not with `after` alone.")]]


class PageData(TypedDict):
    """A page, oldest first."""

    messages: list[StoredMessage]
    top: Annotated[Place, says("The last `seq` of the room.")]
    epoch: Place
    changes: NotRequired[
        Annotated[
            list[StoredChange],
            says("Only with `after`: edits, deletions, reactions, pins, and who came or went there."),
        ]
    ]
    skip: NotRequired[Annotated[list[Place], says("Seqs of the page that the reader is not shown.")]]
    more: NotRequired[Annotated[Literal[True], says("It was cut to its size, nearest first.")]]


class MarkerData(TypedDict):
    """Where the marker stands now."""

    seq: Place


class Present(TypedDict):
    """Somebody who is here."""

    user: Id
    name: str
    status: Literal["online", "away", "busy", "dnd"]
    activity: Annotated[str, says("Their note.")]


class Away(TypedDict):
    """Somebody who is not."""

    user: Id
    name: str
    status: Literal["offline"]
    lastSeen: NotRequired[Annotated[Milliseconds, says("Absent of who was never here.")]]


class PeopleData(TypedDict):
    """Who is in the room."""

    users: list[Present | Away]


class Device(TypedDict):
    """One of the user's devices; those of one name are one."""

    device: str
    idle: bool


class AppearsData(TypedDict):
    """How the user appears."""

    status: Annotated[Literal["online", "away", "busy", "dnd", "offline", "invisible"], says("The user's word.")]
    shown: Annotated[Literal["online", "away", "busy", "dnd", "offline"], says("What others see.")]
    note: str
    devices: list[Device]


class WatchedData(TypedDict):
    """Who is told of from here on."""

    watching: list[Id]
    refused: Annotated[list[Id], says("Who shares no conversation with the user, or does not exist.")]


class ReplacedData(TypedDict):
    """A later `watch` was answered before."""

    replaced: Literal[True]


class DoneData(TypedDict):
    """Nothing more."""


class PongFrame(TypedDict):
    """The answer to `ping`."""

    type: Literal["pong"]
    id: NotRequired[CommandId]
    ts: Milliseconds


class ErrorData(TypedDict):
    """What went wrong."""

    code: ErrorNumber
    error: ErrorName
    message: Annotated[str, says("A sentence for people.")]
    category: ErrorCategory
    recoverable: Annotated[bool, says("Worth sending again unchanged.")]
    retryAfter: NotRequired[Annotated[Seconds, says("After so many seconds.")]]


class Error(TypedDict):
    """The command of this `id` was not done; without an `id` it is of the connection."""

    type: Literal["error"]
    id: NotRequired[SendId]
    data: ErrorData


READY: Final = Frame("ready", "ready", Ready, "control")
JOINED: Final = Frame("ack", "ack_join", AckInRoom[RoomItem])
SYNCED: Final = Frame("ack", "ack_sync", Ack[SyncedData])
MEMBERS: Final = Frame("ack", "ack_members", AckInRoom[MembersPage])
BLOCKED: Final = Frame("ack", "ack_block", Ack[BlockedData])
REPORTED: Final = Frame("ack", "ack_report", Ack[ReportedData])
REFRESHED: Final = Frame("ack", "ack_refresh", Ack[RefreshedData])
DONE: Final = Frame("ack", "ack_done", AckInRoom[DoneData])
SENT: Final = Frame("ack", "ack_send", AckSent)
CHANGED: Final = Frame("ack", "ack_change", AckInRoom[ChangedData])
PAGE: Final = Frame("ack", "ack_history", AckInRoom[PageData])
MARKER: Final = Frame("ack", "ack_read", AckInRoom[MarkerData])
PEOPLE: Final = Frame("ack", "ack_presence", AckInRoom[PeopleData])
APPEARS: Final = Frame("ack", "ack_status", Ack[AppearsData])
WATCHED: Final = Frame("ack", "ack_watch", Ack[WatchedData])
REPLACED: Final = Frame("ack", "ack_watch_replaced", Ack[ReplacedData])
PONG: Final = Frame("pong", "pong", PongFrame, "control")
ERROR: Final = Frame("error", "error", Error, "control")
ANSWERS: Final = (
    READY,
    JOINED,
    SYNCED,
    MEMBERS,
    BLOCKED,
    REPORTED,
    REFRESHED,
    DONE,
    SENT,
    CHANGED,
    PAGE,
    MARKER,
    PEOPLE,
    APPEARS,
    WATCHED,
    REPLACED,
    PONG,
    ERROR,
)
