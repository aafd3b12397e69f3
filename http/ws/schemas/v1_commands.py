"""What a client of greenroom.v1 may say. The server reads every command with these schemas (`reading.py`)."""

from typing import Annotated, Final, Literal, NotRequired

from pydantic import AfterValidator, AliasChoices, Field
from typing_extensions import TypedDict

from greenroom.actors.presence.commands import ACTIVITY_CHARACTERS_MAX
from greenroom.actors.room.details import KIND_PATTERN, MENTIONS_MAX, checked_kind
from greenroom.actors.room.files import FILES_MAX, KEY_CHARACTERS_MAX, files_fault
from greenroom.http.ws.cursor import ROOMS_MAX
from greenroom.http.ws.schemas import v1_answers as answers
from greenroom.http.ws.schemas.frames import Command
from greenroom.http.ws.schemas.values import (
    ClientId,
    Else,
    Empty,
    GivenId,
    GivenIdOrZero,
    GivenPlace,
    Named,
    RoomKey,
    Truth,
    at_most,
    says,
)

SUMMARIES_MAX: Final = 500
MEMBERS_MAX: Final = 1000  # in one answer
HISTORY_MESSAGES_MAX: Final = 200
WATCHED_MAX: Final = 200  # users that one connection watches
DEVICE_CHARACTERS_MAX: Final = 64
CLIENT_CHARACTERS_MAX: Final = 64
CAPS_MAX: Final = 32
REASON_CHARACTERS_MAX: Final = 500
_UNPRINTABLE: Final = "1 to 64 printable characters are needed"
_LISTED_MAX: Final = ROOMS_MAX + SUMMARIES_MAX

Room = Annotated[
    GivenId, Else("the id of a conversation is needed, as a number or its digits"), says("The conversation.")
]
User = Annotated[GivenId, Else("the id of a user is needed, as a number or its digits")]
Kind = Annotated[
    Annotated[str, Field(pattern=KIND_PATTERN), AfterValidator(checked_kind)],
    Else("1 to 32 of a-z, 0-9, dot, hyphen and underscore are needed, a letter first; not `system`"),
]
Mode = Annotated[Literal["full", "summary", "none"], says("`full` if nothing is said.")]


class WantedRoom(TypedDict):
    """A room of `start`."""

    r: GivenId
    mode: NotRequired[Mode]


class RoomPlace(TypedDict):
    """Where the client is in the log of a room."""

    seq: GivenPlace
    epoch: NotRequired[GivenPlace | None]


class UserPlace(TypedDict):
    """Where the client is in its user's stream."""

    useq: GivenPlace
    epoch: NotRequired[GivenPlace | None]


RoomCursor = Annotated[
    GivenPlace | RoomPlace, Else('the seq of the last message that the client has is needed, or {"seq", "epoch"}')
]
UserCursor = Annotated[
    GivenPlace | UserPlace, Else('the useq of the last event that the client has is needed, or {"useq", "epoch"}')
]
RoomCursors = Annotated[dict[RoomKey, RoomCursor], Field(max_length=_LISTED_MAX), at_most(_LISTED_MAX)]


class Resume(TypedDict):
    """Where the client was."""

    user: NotRequired[Annotated[UserCursor | None, says("Where it is in the stream of its user.")]]
    rooms: NotRequired[Annotated[RoomCursors, says("Where it is in each room: a `seq`, or `seq` and `epoch`.")]]
    epoch: NotRequired[Annotated[GivenPlace | None, says("For rooms that stand as their `seq` alone.")]]
    cursor: NotRequired[
        Annotated[str | None, says("Where a stream or a poll stood; what `user` and `rooms` say counts before it.")]
    ]


def _one_word(text: str) -> str:
    if not text.isprintable():
        raise ValueError(_UNPRINTABLE)
    return text


ClientWord = Annotated[
    Annotated[str, Field(min_length=1, max_length=CLIENT_CHARACTERS_MAX), AfterValidator(_one_word)],
    Else(_UNPRINTABLE),
]


class ClientProgram(TypedDict):
    """What speaks here."""

    name: ClientWord
    ver: NotRequired[ClientWord | None]


class StartData(TypedDict):
    """What a session begins with."""

    token: NotRequired[
        Annotated[str | None, says("A JWT; an API key goes into the header of the upgrade, with `X-Act-As`.")]
    ]
    device: NotRequired[
        Annotated[str, Field(max_length=DEVICE_CHARACTERS_MAX), says("Its name: at most 64 characters.")]
    ]
    client: NotRequired[
        Annotated[ClientProgram | None, says("The program that speaks, for the log: texts of at most 64 characters.")]
    ]
    caps: NotRequired[
        Annotated[
            Annotated[list[ClientWord], Field(max_length=CAPS_MAX)] | None,
            says("What it can do, at most 32 words. None is known yet; unknown ones are ignored."),
        ]
    ]
    rooms: NotRequired[
        Annotated[
            list[Annotated[WantedRoom | GivenId, Else('{"r": room} is needed')]],
            Field(max_length=_LISTED_MAX, fail_fast=True),
            says("Rooms that are joined afresh: at most 200, and 500 with another `mode`."),
        ]
    ]
    resume: NotRequired[Annotated[Resume | None, says("What is to be gone on with.")]]


class Start(Named):
    """Begins the session; the first command."""

    type: Literal["start"]
    data: NotRequired[StartData | None]


class JoinData(TypedDict):
    """How a room is joined."""

    after: NotRequired[Annotated[GivenPlace | None, says("The last `seq` that the client has; what follows is told.")]]
    epoch: NotRequired[Annotated[GivenPlace | None, says("The epoch that it had it from.")]]
    mode: NotRequired[Mode]


class Join(Named):
    """Hears a room. Membership is REST's. What was missed comes after the answer, then `live`."""

    type: Literal["join"]
    room: Room
    data: NotRequired[JoinData | None]


class Leave(Named):
    """Hears a room no more."""

    type: Literal["leave"]
    room: Room
    data: NotRequired[Empty | None]


class SyncData(TypedDict):
    """From where on to tell again."""

    rooms: NotRequired[Annotated[RoomCursors, says("Joined rooms: a `seq`, or `seq` and `epoch`.")]]
    user: NotRequired[Annotated[UserCursor | None, says("A `useq`, or `useq` and `epoch`.")]]


class Sync(Named):
    """Tells again what follows the cursors, as a resume does: with `gap` and `live`. Each counts against `inflight`."""

    type: Literal["sync"]
    data: SyncData


class MembersData(TypedDict):
    """Which page."""

    after: NotRequired[Annotated[GivenIdOrZero | None, says("A user id; those after it.")]]
    limit: NotRequired[
        Annotated[Annotated[int, Field(strict=True, ge=1, le=MEMBERS_MAX)] | None, says("1 to 1,000, else 200.")]
    ]


class Members(Named):
    """Who is in a room, by id."""

    type: Literal["members"]
    room: Room
    data: NotRequired[MembersData | None]


class BlockData(TypedDict):
    """Whom."""

    user: Annotated[User, says("The other user.")]
    reason: NotRequired[
        Annotated[
            Annotated[str, Field(min_length=1, max_length=REASON_CHARACTERS_MAX)] | None,
            says("For the one who blocks: at most 500 characters."),
        ]
    ]


class Block(Named):
    """Hears nothing more of somebody; again is harmless."""

    type: Literal["block"]
    data: BlockData


class UnblockData(TypedDict):
    """Whom."""

    user: Annotated[User, says("The other user.")]


class Unblock(Named):
    """Hears of them again."""

    type: Literal["unblock"]
    data: UnblockData


class RefreshData(TypedDict):
    """The new credential."""

    token: Annotated[str, says("A JWT of the same user.")]


class Refresh(Named):
    """Puts another token in the place of the one before; a wrong one is an error and changes nothing."""

    type: Literal["refresh"]
    data: RefreshData


def _each_once(keys: list[str]) -> list[str]:
    fault = files_fault(keys)
    if fault is not None:
        raise ValueError(fault)
    return keys


class SendData(TypedDict):
    """What is said."""

    body: Annotated[
        str,
        Field(validation_alias=AliasChoices("body", "content")),
        says("1 to 10,000 Unicode code points, no NUL."),
    ]
    clientId: NotRequired[Annotated[ClientId, says("1 to 255 characters; else the `id` is.")]]
    attachments: NotRequired[
        Annotated[
            Annotated[
                list[Annotated[str, Field(min_length=1, max_length=KEY_CHARACTERS_MAX)]],
                Field(max_length=FILES_MAX, json_schema_extra={"uniqueItems": True}),
                AfterValidator(_each_once),
            ]
            | None,
            Else("the keys of at most 10 uploads are needed, each once"),
            says(
                "Keys of uploads of the user that were not sent before, at most 10, each once: "
                "`POST /api/messages/attachments`."
            ),
        ]
    ]
    kind: NotRequired[Annotated[Kind | None, says("Of what kind it is, for clients: `text` if nothing is said.")]]
    format: NotRequired[
        Annotated[Kind | None, says("How its body is to be read, for clients: `plain` if nothing is said.")]
    ]
    replyTo: NotRequired[Annotated[GivenId | None, says("The `id` of the message of this room that it answers.")]]
    thread: NotRequired[
        Annotated[GivenId | None, says("The `id` of the message that began the thread in which it stands.")]
    ]
    mentions: NotRequired[
        Annotated[
            Annotated[list[GivenId], Field(max_length=MENTIONS_MAX)] | None,
            Else("the ids of at most 50 users are needed"),
            says("Ids of at most 50 users; of those, members are mentioned."),
        ]
    ]


class Send(Named):
    """Says something in a room. The answer means committed."""

    type: Literal["send"]
    room: Room
    data: SendData


Message = Annotated[
    GivenId, Else("the id of a message is needed, as a number or its digits"), says("The `id` of the message.")
]


class EditData(TypedDict):
    """What it is to say."""

    message: Message
    body: Annotated[
        str,
        Field(validation_alias=AliasChoices("body", "content")),
        says("1 to 10,000 Unicode code points, no NUL."),
    ]


class Edit(Named):
    """Says something else in the place of what one has said, while it is young enough. The answer means committed."""

    type: Literal["edit"]
    room: Room
    data: EditData


class DeleteData(TypedDict):
    """Which."""

    message: Message


class Delete(Named):
    """Erases what one has said, or as an admin of the group what others have. The answer means committed."""

    type: Literal["delete"]
    room: Room
    data: DeleteData


class HistoryData(TypedDict):
    """Which page: one of the four places, else the newest."""

    before: NotRequired[Annotated[GivenPlace | None, says("Those before this `seq`.")]]
    after: NotRequired[Annotated[GivenPlace | None, says("Those after it, and what was changed there.")]]
    around: NotRequired[Annotated[GivenPlace | None, says("Those around it.")]]
    thread: NotRequired[
        Annotated[
            GivenId | None, says("With `before` or `after`: only messages of the thread that this message began.")
        ]
    ]
    at: NotRequired[
        Annotated[GivenPlace | None, says("Those around the first that was said at this time, in ms, or after it.")]
    ]
    limit: NotRequired[Annotated[int, Field(strict=True, ge=1, le=HISTORY_MESSAGES_MAX), says("1 to 200, else 50.")]]


class History(Named):
    """A page of a room, oldest first, at most 128 KiB of text."""

    type: Literal["history"]
    room: Room
    data: NotRequired[HistoryData | None]


class ReadData(TypedDict):
    """How far."""

    seq: Annotated[GivenPlace, says("The newest message that was read.")]
    private: NotRequired[Annotated[Truth | None, says("Nobody else is told.")]]


class Read(Named):
    """Moves the read marker; never back."""

    type: Literal["read"]
    room: Room
    data: ReadData


class TypingData(TypedDict):
    """Whether."""

    on: Annotated[Truth, says("Whether the user types.")]


class Typing(Named):
    """Says that the user types, or stopped."""

    type: Literal["typing"]
    room: Room
    data: TypingData


class PresenceData(TypedDict):
    """How the user wants to appear."""

    status: NotRequired[Annotated[Literal["away", "busy", "dnd", "invisible", "online"], says("The user's word.")]]
    note: NotRequired[Annotated[str, Field(max_length=ACTIVITY_CHARACTERS_MAX), says("At most 140 characters.")]]

    idle: NotRequired[Annotated[Truth | None, says("Whether nobody sits at the device.")]]


class Presence(Named):
    """With a room: who is online there, and of a small one who is not. Without: the user's own, `status` or `idle`."""

    type: Literal["presence"]
    room: NotRequired[Annotated[Room | None, says("The conversation that is asked about.")]]
    data: NotRequired[PresenceData | None]


class WatchData(TypedDict):
    """Whom."""

    users: Annotated[
        list[User],
        Field(max_length=WATCHED_MAX, fail_fast=True),
        says("At most 200 ids, in the place of those before; an empty list ends it."),
    ]


class Watch(Named):
    """Is told of these users, wherever they are: `presence_state`, then `presence_diff`."""

    type: Literal["watch"]
    data: WatchData


class Ping(Named):
    """Is answered."""

    type: Literal["ping"]
    data: NotRequired[Empty | None]


class Pong(Named):
    """A sign of life; any byte is one."""

    type: Literal["pong"]
    data: NotRequired[Empty | None]


COMMANDS: Final = (
    Command("start", Start, (answers.READY,)),
    Command("join", Join, (answers.JOINED,)),
    Command("sync", Sync, (answers.SYNCED,)),
    Command("members", Members, (answers.MEMBERS,)),
    Command("block", Block, (answers.BLOCKED,)),
    Command("unblock", Unblock, (answers.BLOCKED,)),
    Command("refresh", Refresh, (answers.REFRESHED,)),
    Command("leave", Leave, (answers.DONE,)),
    Command("send", Send, (answers.SENT,)),
    Command("edit", Edit, (answers.CHANGED,)),
    Command("delete", Delete, (answers.CHANGED,)),
    Command("history", History, (answers.PAGE,)),
    Command("read", Read, (answers.MARKER,)),
    Command("typing", Typing, (answers.DONE,)),
    Command("presence", Presence, (answers.PEOPLE, answers.APPEARS)),
    Command("watch", Watch, (answers.WATCHED, answers.REPLACED)),
    Command("ping", Ping, (answers.PONG,)),
    Command("pong", Pong),
)
