"""What a session of greenroom.v1 begins with: who speaks, which rooms are wanted, and where the client was in them."""

from typing import Annotated, Final, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from greenroom.http.ws.cursor import ROOMS_MAX
from greenroom.http.ws.schemas.values import Else, GivenId, GivenPlace, Named, RoomKey, at_most, says

SUMMARIES_MAX: Final = 500
DEVICE_CHARACTERS_MAX: Final = 64
CLIENT_CHARACTERS_MAX: Final = 64
CAPS_MAX: Final = 32
_UNPRINTABLE: Final = "1 to 64 printable characters are needed"
_LISTED_MAX: Final = ROOMS_MAX + SUMMARIES_MAX

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
