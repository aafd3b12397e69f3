"""What fields of frames are made of: ids, places in a log, times; and what a schema adds to a type of pydantic.

A schema is a TypedDict whose fields carry a sentence each. It is written once: the server reads what clients say with
it, and the AsyncAPI document and the tables of docs/wire-protocol.md are made from it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Final, NotRequired, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, GetCoreSchemaHandler, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, PydanticCustomError, core_schema
from typing_extensions import TypedDict

from greenroom.actors.room.state import CLIENT_ID_CHARACTERS_MAX
from greenroom.http.decode import INTEGER_MAX

T = TypeVar("T")
COMMAND_ID_CHARACTERS_MAX: Final = 64
_DIGITS: Final = r"^[0-9]*[1-9][0-9]*$"


def says(sentence: str) -> FieldInfo:
    """What a field means, for the documents."""
    field: FieldInfo = Field(description=sentence)
    return field


@dataclass(frozen=True, slots=True)
class Else:
    """What whoever sent a value is told when it does not fit."""

    sentence: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """For pydantic."""
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="wrong", custom_error_message=self.sentence
        )


@dataclass(frozen=True, slots=True)
class OrNothing:
    """A value that does not fit is as one that is not there: what is left out of a compat frame is met with silence."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """For pydantic."""
        return core_schema.with_default_schema(handler(source), on_error="omit")


@dataclass(frozen=True, slots=True)
class OrNowhere:
    """A place that does not fit is none at which anything stands, 0: left out, it would stand for everywhere."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """For pydantic."""
        return core_schema.no_info_wrap_validator_function(_or_zero, handler(source))


def _or_zero(value: object, handler: Callable[[object], object]) -> object:
    try:
        return handler(value)
    except ValidationError:
        return 0


def at_most(count: int) -> BeforeValidator:
    """Of an object by rooms, refuse what is larger before the rest of it is looked at."""

    def bounded(value: object) -> object:
        if isinstance(value, dict) and len(value) > count:
            raise PydanticCustomError("too_long", "at most {count} may be named", {"count": count})
        return value

    return BeforeValidator(bounded)


def first(count: int) -> BeforeValidator:
    """Of a list, so many: the rest is not looked at."""
    return BeforeValidator(lambda value: value[:count] if isinstance(value, list) else value)


def _bounded(digits: str) -> int:
    number = int(digits)
    if number > INTEGER_MAX:
        raise ValueError
    return number


# -- what clients say -------------------------------------------------------------------------------------------------

Number = Annotated[int, Field(strict=True, ge=1, le=INTEGER_MAX)]
_FromDigits = Annotated[str, Field(pattern=_DIGITS, max_length=16), AfterValidator(_bounded)]
GivenPlace = Annotated[int, Field(strict=True, ge=0, le=INTEGER_MAX)]  # a seq, a useq or an epoch
GivenId = Annotated[Number | _FromDigits, Else("an id is needed: a number, or its digits")]
GivenIdOrZero = Annotated[
    GivenPlace | _FromDigits, Else("an id is needed: a number, or its digits; 0 is before the first")
]
GivenRoom = Annotated[
    GivenId, Else("the id of a conversation is needed, as a number or its digits"), says("The conversation.")
]
GivenMessage = Annotated[
    GivenId, Else("the id of a message is needed, as a number or its digits"), says("The `id` of the message.")
]
RoomKey = Annotated[_FromDigits, Else("the id of a conversation is needed here")]
Truth = Annotated[bool, Field(strict=True)]
CommandId = Annotated[str, Field(min_length=1, max_length=COMMAND_ID_CHARACTERS_MAX)]
ClientId = Annotated[str, Field(min_length=1, max_length=CLIENT_ID_CHARACTERS_MAX)]


class Empty(TypedDict):
    """Nothing."""


class Named(TypedDict):
    """What every command of greenroom.v1 may carry."""

    id: NotRequired[
        Annotated[
            CommandId | None,
            says("The answer carries it; without one there is no `ack`, but of a `send`, by its `clientId`."),
        ]
    ]


# -- what the server says ---------------------------------------------------------------------------------------------

Id = Annotated[int, Field(ge=1, le=INTEGER_MAX)]
Place = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Count = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Milliseconds = Annotated[int, Field(ge=0, le=INTEGER_MAX)]
Seconds = Annotated[int, Field(ge=0)]
DigitsKey = Annotated[str, Field(pattern=_DIGITS)]
Iso = Annotated[str, Field(pattern=r"^\d{4,}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")]
AnyObject = Annotated[dict[str, Any], WithJsonSchema({"type": "object"})]


class Attachment(TypedDict):
    """A file of a message."""

    key: str
    url: Annotated[str, says("Relative to the page; who may read the message may get it.")]
    originalName: str
    fileSize: Annotated[Count, says("In bytes.")]
    mimeType: Annotated[str, says("As its bytes say.")]


class Placed(TypedDict):
    """A message that is named."""

    id: Id
    seq: Annotated[Place, says("Where it stands.")]


class Described(TypedDict):
    """What may be said of a message besides its words."""

    kind: NotRequired[Annotated[str, says("`text` where there is none.")]]
    format: NotRequired[Annotated[str, says("`plain` where there is none.")]]
    replyTo: NotRequired[Annotated[Placed, says("What it answers.")]]
    thread: NotRequired[Annotated[Placed, says("The message that began the thread in which it stands.")]]
    mentions: NotRequired[Annotated[list[Id], says("Members whom it mentions.")]]
