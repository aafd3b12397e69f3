"""The frames of both protocols as the tables of docs/wire-protocol.md, made from the AsyncAPI document. Pure.

A table stands between two marks of the page, `<!-- frames: v1 commands -->` and `<!-- end -->`; what stands around them
is written by hand.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from greenroom.http.asyncapi import SCHEMAS, document
from greenroom.http.ws.limits_told import limits_told
from greenroom.http.ws.schemas import compat_commands, compat_frames, v1_answers, v1_commands, v1_events
from greenroom.http.ws.schemas.frames import Command, Frame
from greenroom.http.ws.services import SettingLimits

Json = dict[str, Any]

ENUM_SHOWN_MAX: Final = 8
_FIXED: Final = limits_told(SettingLimits())
_MARKED: Final = re.compile(r"(<!-- frames: ([a-z0-9 ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def in_page(page: str) -> str:
    """*page* with its tables as they ought to be. Raises: KeyError for a mark of a table that there is not."""
    made = tables()
    return _MARKED.sub(lambda match: f"{match[1]}\n{made[match[2]]}\n{match[3]}", page)


def tables() -> Mapping[str, str]:
    """The tables in Markdown, by name."""
    schemas = document()["components"]["schemas"]
    events = [frame for frame in v1_events.FRAMES if frame not in v1_answers.ANSWERS]
    return {
        "v1 commands": _table(
            ("`type`", "what it does", "fields", "answer"), (_command(schemas, one) for one in v1_commands.COMMANDS)
        ),
        "v1 answers": _table(
            ("`type`", "of", "what it says", "`data`"), (_answer(schemas, one) for one in v1_answers.ANSWERS)
        ),
        "v1 limits": _table(
            ("limit", "in `hello`", "of what"),
            (_limit(*field) for field in schemas["Limits"]["properties"].items()),
        ),
        "v1 events": _table(("`type`", "kept?", "what it says", "`data`"), (_event(schemas, one) for one in events)),
        "compat commands": _table(
            ("from the client", "what it does", "fields", "answer"),
            (_compat_command(schemas, one) for one in compat_commands.COMMANDS),
        ),
        "compat frames": _table(
            ("to the client", "what it says", "fields"), (_compat_frame(schemas, one) for one in compat_frames.FRAMES)
        ),
    }


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join("| " + " | ".join(map(_in_one_line, line)) + " |\n" for line in lines)


def _in_one_line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


# -- rows -------------------------------------------------------------------------------------------------------------


def _command(schemas: Json, command: Command) -> tuple[str, ...]:
    schema = schemas[f"v1.client.{command.kind}"]
    fields = [
        text
        for name, prefix, inner, is_needed in _fields(schemas, schema, "")
        if name not in ("type", "id", "data")
        for text in [_field(schemas, prefix + name, inner, is_needed)]
    ]
    answers = [_named_answer(schemas, answer) for answer in command.answers]
    return f"`{command.kind}`", schema["description"], "; ".join(fields), " or ".join(answers)


def _named_answer(schemas: Json, answer: Frame) -> str:
    if answer.kind != "ack":
        return f"`{answer.kind}`"
    data = _data_of(schemas, schemas[f"v1.server.{answer.name}"])
    return "`ack`" if not data.get("properties") else f"`ack {_names(data)}`"


def _answer(schemas: Json, frame: Frame) -> tuple[str, ...]:
    schema = schemas[f"v1.server.{frame.name}"]
    data = _data_of(schemas, schema)
    asked = [f"`{one.kind}`" for one in v1_commands.COMMANDS if frame in one.answers] or ["any"]
    said = data.get("description", schema["description"]) if frame.kind == "ack" else schema["description"]
    return _head(frame.kind, schema), " ".join(asked), said, _list(schemas, data)


def _limit(name: str, schema: Json) -> tuple[str, ...]:
    value = _FIXED.get(name)
    return f"`{name}`", "a setting" if value is None else f"{value:,}", schema["description"].removesuffix(".")


def _event(schemas: Json, frame: Frame) -> tuple[str, ...]:
    schema = schemas[f"v1.server.{frame.name}"]
    fields = _list(schemas, _data_of(schemas, schema))
    return _head(frame.kind, schema), frame.kept, schema["description"], fields


def _compat_command(schemas: Json, command: Command) -> tuple[str, ...]:
    schema = schemas[f"compat.client.{command.kind}"]
    own = {
        name: inner
        for name, inner in schema["properties"].items()
        if name not in ("type", "data", "payload", "timestamp", "id", "clientId", "requestId")
    }
    fields = [_field(schemas, name, inner, True) for name, inner in own.items()]
    answers = [f"`{answer.kind}`" for answer in command.answers]
    return f"`{command.kind}`", schema["description"], "; ".join(fields), " or ".join(answers)


def _compat_frame(schemas: Json, frame: Frame) -> tuple[str, ...]:
    schema = schemas[f"compat.server.{frame.name}"]
    data = _data_of(schemas, schema) if frame.is_flat else schema
    return f"`{frame.kind}`", schema["description"], _list(schemas, data)


# -- cells ------------------------------------------------------------------------------------------------------------


def _head(kind: str, schema: Json) -> str:
    """`message` (`room`, `seq`, `ts`): the type, and what stands beside `data`."""
    needed = schema.get("required", ())
    beside = [name for name in schema["properties"] if name not in ("type", "data", "id")]
    names = ", ".join(f"`{name}`" if name in needed else f"`{name}?`" for name in beside)
    return f"`{kind}`" + (f" ({names})" if names else "")


def _data_of(schemas: Json, schema: Json) -> Json:
    return _resolved(schemas, schema["properties"].get("data", {}))


def _list(schemas: Json, data: Json) -> str:
    fields = [_field(schemas, name, inner, needed) for name, _, inner, needed in _fields(schemas, data, "")]
    return "; ".join(fields)


def _fields(schemas: Json, schema: Json, prefix: str) -> Iterator[tuple[str, str, Json, bool]]:
    """(name, prefix, schema, whether it must be there) of each field, and of those of a command's `data`."""
    for name, inner in schema.get("properties", {}).items():
        yield name, prefix, inner, name in schema.get("required", ())
        if name == "data" and not prefix and "type" in schema["properties"]:
            yield from _fields(schemas, _resolved(schemas, inner), "data.")


def _field(schemas: Json, name: str, inner: Json, is_needed: bool) -> str:
    said = inner.get("description", "").removesuffix(".")
    mark = f"`{name}`" if is_needed else f"`{name}?`"
    values = _values(schemas, inner)
    told = ", ".join(text for text in (values, said[:1].lower() + said[1:]) if text)
    return f"{mark} ({told})" if told else mark


def _values(schemas: Json, inner: Json) -> str:
    """`full summary`: where only some words are taken. `[{"r","mode"?}]`: what objects within hold."""
    values = inner.get("enum", ())
    if values:
        return "`" + " ".join(map(str, values)) + "`" if len(values) < ENUM_SHOWN_MAX else ""
    one = _resolved(schemas, inner)
    if one.get("type") == "array":
        items = [_resolved(schemas, item) for item in one["items"].get("anyOf", [one["items"]])]
        shapes = [_names(item) for item in items if item.get("properties")]
        return f"`[{' or '.join(shapes)}]`" if shapes else ""
    return f"`{_names(one)}`" if one.get("properties") else ""


def _names(data: Json) -> str:
    needed = data.get("required", ())
    return "{" + ",".join(f'"{name}"' if name in needed else f'"{name}"?' for name in data["properties"]) + "}"


def _resolved(schemas: Json, schema: Json) -> Json:
    """What it refers to; of what may be null the other."""
    for one in schema.get("anyOf", ()):
        if one.get("type") != "null":
            return _resolved(schemas, one)
    if "$ref" in schema:
        return _resolved(schemas, schemas[schema["$ref"].removeprefix(SCHEMAS)])
    return schema
