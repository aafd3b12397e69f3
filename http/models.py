"""What the models of requests and answers are made of.

pydantic stands only here at the edge. Fields are snake_case in Python and camelCase on the wire; what comes in may be
spelled either way, and unknown fields are ignored. Ids are numbers on the wire; numeric strings are taken, booleans and
fractions are not.
"""

import re
from typing import Annotated, Any, Generic, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.alias_generators import to_camel

from greenroom.http.decode import INTEGER_MAX

T = TypeVar("T")
_DIGITS = re.compile(r"[0-9]{1,16}")


def _whole(value: Any) -> Any:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise ValueError("a whole number is needed")


WholeNumber = Annotated[int, BeforeValidator(_whole)]
Id = Annotated[WholeNumber, Field(ge=1, le=INTEGER_MAX)]


class Input(BaseModel):
    """Base of what comes in."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, extra="ignore", frozen=True)


class Output(BaseModel):
    """Base of what goes out."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, serialize_by_alias=True, frozen=True)


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
