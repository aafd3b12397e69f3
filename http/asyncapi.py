"""The description of the WebSocket: AsyncAPI 3.0, made from the schemas of ws/schemas/, which the server reads with.

The channels are the two protocols of `/ws`, and the two ways to read greenroom.v1 without a WebSocket; the application
is the server, so what clients say it receives. Pure.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

from pydantic import TypeAdapter

from greenroom import __version__
from greenroom.http.ws import codes
from greenroom.http.ws.schemas import compat_commands, compat_frames, v1_commands, v1_events
from greenroom.http.ws.schemas.frames import Command, Frame

Json = dict[str, Any]

SCHEMAS: Final = "#/components/schemas/"
PROTOCOLS: Final[dict[str, tuple[Sequence[Command], Sequence[Frame]]]] = {
    "v1": (v1_commands.COMMANDS, v1_events.FRAMES),
    "compat": (compat_commands.COMMANDS, compat_frames.FRAMES),
}
_DESCRIPTION: Final = """Messaging over a WebSocket. Everything is JSON in text frames of at most 128 KiB. The
subprotocol decides what a connection speaks: `greenroom.v1`, or without one what the existing web client does. A client
ignores events and fields that it does not know. Requests over HTTP are described in `/openapi.json`."""
_CHANNELS: Final = {
    "v1": (
        "greenroom.v1",
        "The server says `hello`; the client says `start`, and waits for `ready`. A frame holds one command, or an "
        "array of at most 16. A command with an `id` is answered with the same `id`: by what its operation names, or "
        "by `error`.",
    ),
    "compat": (
        "What the existing web client speaks",
        "Every frame of the server has the fields of its `data` at top level too; those of the client are read flat "
        "and nested alike. What is not understood is met with silence.",
    ),
}
_READING: Final = {
    "events": ("/events", "greenroom.v1 as Server-Sent Events", "On each data line a frame, and the cursor as `id`."),
    "poll": ("/poll", "greenroom.v1 by long-poll", "Frames in `data.events` of the answer, and `data.cursor`."),
}
_TICKET: Final = "A ticket of `GET /api/ws/token`: good once, within 60 s."
_ACT_AS: Final = "The id of the user for whom an API key with scope act_as acts."


@cache
def document() -> Json:
    """The whole document."""
    schemas = _schemas()
    messages: Json = {}
    operations: Json = {}
    for protocol, (commands, frames) in PROTOCOLS.items():
        messages |= {f"{protocol}.client.{one.kind}": _message(protocol, one, schemas) for one in commands}
        messages |= {f"{protocol}.server.{one.name}": _message(protocol, one, schemas) for one in frames}
        operations |= _operations(protocol, commands, frames, schemas)
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "greenroom",
            "version": __version__,
            "description": _DESCRIPTION,
            "license": {"name": "MIT"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "here": {
                "host": "127.0.0.1:8787",
                "protocol": "ws",
                "description": "As it is started without settings; behind a proxy with TLS `wss`.",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in _SECURITY],
            },
            "http": {
                "host": "127.0.0.1:8787",
                "protocol": "http",
                "description": "The same, for readers without a WebSocket.",
                "security": [{"$ref": f"#/components/securitySchemes/{name}"} for name in ("bearer", "session")],
            },
        },
        "channels": {protocol: _channel(protocol, messages) for protocol in PROTOCOLS} | _reading_channels(),
        "operations": operations | _reading_operations(),
        "components": {"schemas": schemas, "messages": messages, "securitySchemes": _SECURITY},
    }


_SECURITY: Final[Json] = {
    "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT, or an API key grk_…"},
    "session": {"type": "httpApiKey", "name": "pitchey-session", "in": "cookie"},
    "ticket": {"type": "httpApiKey", "name": "token", "in": "query", "description": _TICKET},
}


# -- channels and operations ------------------------------------------------------------------------------------------


def _channel(protocol: str, messages: Mapping[str, Any]) -> Json:
    title, description = _CHANNELS[protocol]
    headers: Json = {"X-Act-As": {"type": "string", "description": _ACT_AS}}
    if protocol == "v1":
        headers["Sec-WebSocket-Protocol"] = {"type": "string", "const": "greenroom.v1"}
    names = [name for name in messages if name.startswith(f"{protocol}.")]
    return {
        "address": "/ws",
        "title": title,
        "description": description,
        "servers": [{"$ref": "#/servers/here"}],
        "messages": {name.partition(".")[2]: {"$ref": f"#/components/messages/{name}"} for name in names},
        "bindings": {
            "ws": {
                "method": "GET",
                "query": {"type": "object", "properties": {"token": {"type": "string", "description": _TICKET}}},
                "headers": {
                    "type": "object",
                    "properties": headers,
                    "required": ["Sec-WebSocket-Protocol"] if protocol == "v1" else [],
                },
                "bindingVersion": "0.1.0",
            }
        },
        "x-close-codes": _close_codes(protocol),
    }


def _told_by_itself() -> list[str]:
    """What a reader hears that cannot ask: neither answers, nor what only they bring."""
    answers = {answer.name for command in v1_commands.COMMANDS for answer in command.answers} - {"ready"}
    unheard = answers | {"ping", "pong", "error", "room_summary", "token_expiring", "slow_down"}
    return [frame.name for frame in v1_events.FRAMES if frame.name not in unheard]


def _reading_channels() -> Json:
    return {
        name: {
            "address": address,
            "title": title,
            "description": description + " Described in `/openapi.json` as well.",
            "servers": [{"$ref": "#/servers/http"}],
            "messages": {
                f"server.{told}": {"$ref": f"#/components/messages/v1.server.{told}"} for told in _told_by_itself()
            },
        }
        for name, (address, title, description) in _READING.items()
    }


def _reading_operations() -> Json:
    return {
        f"{name}.tell": {
            "action": "send",
            "channel": {"$ref": f"#/channels/{name}"},
            "summary": f"What happens in all rooms of the user: {title}.",
            "messages": [_in_channel(name, f"server.{told}") for told in _told_by_itself()],
        }
        for name, (_, title, _) in _READING.items()
    }


def _close_codes(protocol: str) -> list[Json]:
    """Why the server closes; compat knows fewer codes."""
    reasons: dict[int, list[str]] = {}
    for value in vars(codes).values():
        if isinstance(value, codes.CloseCode):
            reasons.setdefault(value.code if protocol == "v1" else value.compat, []).append(value.reason)
    return [{"code": code, "reason": ", ".join(said)} for code, said in sorted(reasons.items())]


def _operations(protocol: str, commands: Iterable[Command], frames: Iterable[Frame], schemas: Json) -> Json:
    """One for each command, with what may answer it; and one for each frame that comes by itself."""
    channel = {"$ref": f"#/channels/{protocol}"}
    failure = [] if protocol == "compat" else ["server.error"]
    operations: Json = {}
    answers: set[str] = set()
    for command in commands:
        operation: Json = {
            "action": "receive",
            "channel": channel,
            "summary": schemas[f"{protocol}.client.{command.kind}"]["description"],
            "messages": [_in_channel(protocol, f"client.{command.kind}")],
        }
        if command.answers:
            answers |= {answer.name for answer in command.answers}
            names = [f"server.{answer.name}" for answer in command.answers] + failure
            operation["reply"] = {"channel": channel, "messages": [_in_channel(protocol, name) for name in names]}
        operations[f"{protocol}.{command.kind}"] = operation
    for frame in frames:
        if frame.name not in answers or frame.kind != "ack":
            operations[f"{protocol}.tell.{frame.name}"] = {
                "action": "send",
                "channel": channel,
                "summary": schemas[f"{protocol}.server.{frame.name}"]["description"],
                "messages": [_in_channel(protocol, f"server.{frame.name}")],
            }
    return operations


def _in_channel(protocol: str, name: str) -> Json:
    return {"$ref": f"#/channels/{protocol}/messages/{name}"}


def _message(protocol: str, one: Command | Frame, schemas: Json) -> Json:
    side, name = ("client", one.kind) if isinstance(one, Command) else ("server", one.name)
    key = f"{protocol}.{side}.{name}"
    message: Json = {
        "name": one.kind,
        "title": name,
        "summary": schemas[key]["description"],
        "payload": {"$ref": SCHEMAS + key},
    }
    if protocol == "v1" and "id" in schemas[key]["properties"]:
        message["correlationId"] = {"location": "$message.payload#/id"}
    if isinstance(one, Frame) and one.kept:
        message["x-kept"] = one.kept
    return message


# -- schemas ----------------------------------------------------------------------------------------------------------


def _schemas() -> Json:
    """Every frame by protocol, side and name, as `v1.client.send`; and what they are made of."""
    listed: dict[str, Command | Frame] = {}
    for protocol, (commands, frames) in PROTOCOLS.items():
        listed |= {f"{protocol}.client.{command.kind}": command for command in commands}
        listed |= {f"{protocol}.server.{frame.name}": frame for frame in frames}
    inputs = [(name, "validation", TypeAdapter(one.shape)) for name, one in listed.items()]
    made, rest = TypeAdapter.json_schemas(inputs, ref_template=SCHEMAS + "{model}")  # type: ignore[arg-type]
    parts: Json = _tidied(rest.get("$defs", {}))
    whole: Json = {}
    for (name, _), schema in made.items():
        shape, one = listed[name], _resolved(_tidied(schema), parts)
        if shape.about:
            one["description"] = shape.about
        if isinstance(shape, Frame) and shape.is_flat:
            one = _flat_frame(shape, one)
        elif name.startswith("compat.client."):
            one = _either_way(name.removeprefix("compat.client."), one)
        whole[name] = one
    return whole | _used(parts, whole)


def _tidied(value: Any) -> Any:
    """Without the titles that pydantic makes of names; a field may be called `title`, and then it is no text.

    Where keys have a pattern there are no others: pydantic takes none, and does not say so.
    """
    if isinstance(value, list):
        return [_tidied(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    made = {name: _tidied(inner) for name, inner in value.items() if name != "title" or not isinstance(inner, str)}
    return made | {"additionalProperties": False} if "patternProperties" in made else made


def _resolved(schema: Json, parts: Json) -> Json:
    while "$ref" in schema:
        schema = parts[schema["$ref"].removeprefix(SCHEMAS)]
    return dict(schema)


def _used(parts: Json, whole: Json) -> Json:
    """Those of *parts* that something refers to."""
    found: Json = {}
    left: list[Any] = [whole]
    while left:
        value = left.pop()
        if isinstance(value, dict):
            name = str(value.get("$ref", "")).removeprefix(SCHEMAS)
            if name in parts and name not in found:
                found[name] = parts[name]
                left.append(parts[name])
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    return {name: found[name] for name in sorted(found)}


def _flat_frame(frame: Frame, data: Json) -> Json:
    """A frame of compat: its data, with the fields of it at top level too, in the hub's envelope."""
    ids = {"": {}, "text": {"id": {"type": "string"}}, "number": {"id": {"type": "integer"}}}[frame.id]
    properties = {
        **data.get("properties", {}),
        "type": {"type": "string", "const": frame.kind},
        "data": {name: value for name, value in data.items() if name != "description"},
        "timestamp": {"type": "string", "description": "In ISO 8601."},
        **ids,
    }
    required = dict.fromkeys(("type", "data", "timestamp", *ids, *data.get("required", ())))
    return {
        "type": "object",
        "description": data["description"],
        "properties": properties,
        "required": list(required),
    }


def _either_way(kind: str, fields: Json) -> Json:
    """A frame of the existing client: its fields flat, or under `data`, or under `payload`."""
    nested = {"type": "object", "properties": fields.get("properties", {})}
    return {
        "type": "object",
        "description": fields["description"],
        "properties": {
            "type": {"type": "string", "const": kind},
            **fields.get("properties", {}),
            "data": {**nested, "description": "The same fields."},
            "payload": {**nested, "description": "The same fields."},
        },
        "required": ["type"],
    }
