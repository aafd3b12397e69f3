"""What a client of greenroom.v1 may say. The server reads every command with these schemas (`reading.py`)."""

from typing import Annotated, Final, Literal, NotRequired

from pydantic import AfterValidator, AliasChoices, Field
from typing_extensions import TypedDict

from greenroom.actors.presence.commands import ACTIVITY_CHARACTERS_MAX
from greenroom.actors.room.details import KIND_PATTERN, MENTIONS_MAX, checked_kind
from greenroom.actors.room.files import FILES_MAX, KEY_CHARACTERS_MAX, files_fault
from greenroom.http.ws.schemas import v1_answers as answers
from greenroom.http.ws.schemas.frames import Command
from greenroom.http.ws.schemas.v1_marks import Pin, React, Unpin, Unreact
from greenroom.http.ws.schemas.v1_start import SUMMARIES_MAX as SUMMARIES_MAX
from greenroom.http.ws.schemas.v1_start import Mode, RoomCursors, Start, UserCursor
from greenroom.http.ws.schemas.values import (
    ClientId,
    Else,
    Empty,
    GivenId,
    GivenIdOrZero,
    GivenMessage,
    GivenPlace,
    GivenRoom,
    Named,
    Truth,
    says,
)

MEMBERS_MAX: Final = 1000  # in one answer
HISTORY_MESSAGES_MAX: Final = 200
WATCHED_MAX: Final = 200  # users that one connection watches
REASON_CHARACTERS_MAX: Final = 500

Room = GivenRoom
User = Annotated[GivenId, Else("the id of a user is needed, as a number or its digits")]
Kind = Annotated[
    Annotated[str, Field(pattern=KIND_PATTERN), AfterValidator(checked_kind)],
    Else("1 to 32 of a-z, 0-9, dot, hyphen and underscore are needed, a letter first; not `system`"),
]


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
            says("For the one who blocks: 1 to 500 characters."),
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


class ReportData(TypedDict):
    """What, and why."""

    message: NotRequired[
        Annotated[
            GivenId | None,
            Else("the id of a message is needed, as a number or its digits"),
            says("A message of a conversation of the user's."),
        ]
    ]
    user: NotRequired[
        Annotated[User | None, says("Or somebody who shares a conversation with the user; one of the two is needed.")]
    ]
    reason: Annotated[
        str,
        Field(min_length=1, max_length=REASON_CHARACTERS_MAX),
        Else("a reason of 1 to 500 characters is needed"),
        says("For those who look at it: 1 to 500 characters."),
    ]
    block: NotRequired[Annotated[Truth | None, says("And hears nothing more of who is reported, as by `block`.")]]


class Report(Named):
    """Tells the administrators, and nobody else, of a message or of somebody. The answer means stored."""

    type: Literal["report"]
    data: ReportData


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


class EditData(TypedDict):
    """What it is to say."""

    message: GivenMessage
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

    message: GivenMessage


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
    room: NotRequired[
        Annotated[
            Room | None,
            says("The conversation that is asked about; of over 200 members those who have it joined whole."),
        ]
    ]
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
    Command("report", Report, (answers.REPORTED,)),
    Command("refresh", Refresh, (answers.REFRESHED,)),
    Command("leave", Leave, (answers.DONE,)),
    Command("send", Send, (answers.SENT,)),
    Command("edit", Edit, (answers.CHANGED,)),
    Command("delete", Delete, (answers.CHANGED,)),
    Command("react", React, (answers.CHANGED,)),
    Command("unreact", Unreact, (answers.CHANGED,)),
    Command("pin", Pin, (answers.CHANGED,)),
    Command("unpin", Unpin, (answers.CHANGED,)),
    Command("history", History, (answers.PAGE,)),
    Command("read", Read, (answers.MARKER,)),
    Command("typing", Typing, (answers.DONE,)),
    Command("presence", Presence, (answers.PEOPLE, answers.APPEARS)),
    Command("watch", Watch, (answers.WATCHED, answers.REPLACED)),
    Command("ping", Ping, (answers.PONG,)),
    Command("pong", Pong),
)
