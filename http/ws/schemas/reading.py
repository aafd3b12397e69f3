"""What clients say, read with the schemas: made ready once, when this is imported. Pure.

A reader takes the decoded frame and gives back what the schema knows of it: ids as numbers, unknown fields left out.
greenroom.v1 is told what is wrong; of a compat frame what does not fit is left out. Measured: 0.4 µs for a `send`, as
much as the same checks written by hand in Python.
"""

from collections.abc import Callable, Iterable
from typing import Any, Final

from pydantic import TypeAdapter, ValidationError

from greenroom.http.ws.codes import BAD_FRAME, TOO_MANY_ROOMS, ErrorCode
from greenroom.http.ws.schemas import compat_commands, v1_commands
from greenroom.http.ws.schemas.frames import Command
from greenroom.http.ws.schemas.values import CommandId

Json = dict[str, Any]
Reader = Callable[[object], Json]

PATH_CHARACTERS_MAX: Final = 80
_SENTENCES: Final = {
    "missing": "is needed",
    "dict_type": "an object is needed",
    "list_type": "a list is needed",
    "string_type": "a text is needed",
    "int_type": "a whole number is needed",
    "bool_type": "true or false is needed",
}


def readers(commands: Iterable[Command]) -> dict[str, Reader]:
    """The reader of each command, by its `type`. A reader raises ValidationError."""
    return {command.kind: TypeAdapter(command.shape).validator.validate_python for command in commands}


V1: Final = readers(v1_commands.COMMANDS)
COMPAT: Final = readers(compat_commands.COMMANDS)


_IS_ID: Final = TypeAdapter(CommandId).validator.isinstance_python


def id_of(frame: Json) -> str | None:
    """The id of a command whose rest may be of no use; None when it has none that could be sent back."""
    value = frame.get("id")
    return value if isinstance(value, str) and _IS_ID(value) else None


def fault_in(fault: ValidationError) -> tuple[str, ErrorCode]:
    """A sentence for the client, which field does not fit and what would, and its number. Quotes no value."""
    first = fault.errors(include_url=False, include_context=False, include_input=False)[0]
    path = ".".join(str(part) for part in first["loc"] if part != "[key]")
    path = path[:PATH_CHARACTERS_MAX] if path.isprintable() else "a field"
    sentence = _SENTENCES.get(first["type"]) or first["msg"][:1].lower() + first["msg"][1:]
    is_too_many = first["type"] == "too_long" and first["loc"][-1:] == ("rooms",)
    return f"{path}: {sentence}", TOO_MANY_ROOMS if is_too_many else BAD_FRAME
