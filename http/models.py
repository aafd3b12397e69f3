"""What the models of requests and answers are made of.

pydantic stands only here at the edge. Fields are snake_case in Python and camelCase on the wire; what comes in may be
spelled either way, and unknown fields are ignored. A field that comes under two of its names with two values is
refused: which of them was meant is not ours to guess. Ids are numbers on the wire; numeric strings are taken, booleans
and fractions are not.
"""

import re
from functools import cache
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)
from pydantic.alias_generators import to_camel

from greenroom.http.decode import INTEGER_MAX

T = TypeVar("T")
_DIGITS = re.compile(r"-?[0-9]{1,16}")


def _whole(value: Any) -> Any:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a whole number is needed")


def _number_or_text(value: Any) -> Any:
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError("the id of a user is needed")


# Controls, the line and paragraph separators, and what turns the direction of the text around it: in a name they forge
# the words of whoever shows it.
NOT_IN_A_LINE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


def one_line(text: str) -> str:
    """Validate a name or a title. Raises: ValueError."""
    if NOT_IN_A_LINE.search(text):
        raise ValueError("control characters are not allowed")
    if text and not any(character.isprintable() for character in text):
        raise ValueError("there is nothing to be seen in it")
    return text


WholeNumber = Annotated[int, BeforeValidator(_whole)]
Id = Annotated[WholeNumber, Field(ge=1, le=INTEGER_MAX)]
# Who somebody says to be: an id or an external id, for `require_self`.
OwnId = Annotated[int | str, BeforeValidator(_number_or_text)]


class Input(BaseModel):
    """Base of what comes in."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _settle_names(cls, data: Any) -> Any:
        if isinstance(data, dict):
            for names in _names_of(cls):
                if len(names & data.keys()) > 1:
                    data = _settled(data, names)
        return data


@cache
def _names_of(model: type[BaseModel]) -> tuple[frozenset[str], ...]:
    """For each field of *model* that has several names: those."""
    found = []
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        found.append(frozenset({name, *(choice for choice in choices if isinstance(choice, str))}))
    return tuple(names for names in found if len(names) > 1)


def _settled(data: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    """*data* with the field of these *names* under one of them. Raises: ValueError."""
    given = [name for name in data if name in names and data[name] is not None]
    if len({str(data[name]) for name in given}) > 1:
        raise ValueError(f"{' and '.join(given)} mean the same field and differ: send one")
    return {name: value for name, value in data.items() if name not in names or name in given[:1]}


class Output(BaseModel):
    """Base of what goes out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, frozen=True)


class Form(Input):
    """Base of what comes in as multipart/form-data."""


BinaryText = Annotated[str, WithJsonSchema({"type": "string", "format": "binary"})]


class FileBytes(Output):
    """Stands for the bytes of a file."""


class Meta(Output):
    """When the answer was made, and for which request."""

    timestamp: str
    request_id: str


class Success(Output, Generic[T]):
    """A success."""

    success: Literal[True]
    data: T
    meta: Meta


class ErrorBody(Output):
    """What went wrong."""

    code: str
    message: str
    details: Any | None = None
    retry_after: int | None = Field(default=None, description="whole seconds")


class Failure(Output):
    """A failure."""

    success: Literal[False]
    error: ErrorBody
    meta: Meta
