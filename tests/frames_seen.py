"""Holds every frame that a test sends or receives to the AsyncAPI document, strictly: the test fails otherwise.

    seen = FramesSeen("v1")          one for each connection: it remembers which command an `ack` is of
    seen.sent({...}); seen.received({...})

Sockets of wire.py call these, and every client that stands on trio-websocket is made to. What the server makes in this
process is looked at as it is made, whether anybody reads it or not.

Of more than 500 frames of a kind in one test only those of a new shape are looked at: a flood is to stay one.

Strictly: a `type` that is not in the document fails, and so does a field that is missing, unknown or of another kind,
though clients must ignore what they do not know. A test that says something wrong on purpose needs nothing more when
the server refuses it by its `id` as malformed; where no such answer can come it is marked `wrong_frames`. What it
receives is looked at all the same.
"""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import fastjsonschema
import pytest
from trio_websocket import WebSocketConnection

from greenroom.http.asyncapi import PROTOCOLS, document
from greenroom.http.ws import codes, events, frames, v1_start

FAULTS_SHOWN_MAX = 5
WHOLE_MAX = 500
OF_TOMORROW = "of tomorrow"  # what scripts say that clients do not know yet, and pass over
MALFORMED = {codes.BAD_JSON.number, codes.BAD_FRAME.number, codes.UNKNOWN_TYPE.number, codes.TOO_MANY_ROOMS.number}

_REF = re.compile(r'"#/components/schemas/([^"]+)"')

Json = dict[str, Any]
Check = Callable[[object], object]

faults: list[str] = []
_may_say_wrong: list[bool] = [False]


class FramesSeen:
    """The frames of one connection. protocol: `v1` or `compat`."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self._kinds: dict[str, str] = {}
        self._wrong: dict[str, str] = {}  # faults of commands, by id, until they are refused

    def sent(self, value: object) -> None:
        """The client says this: a command, or in v1 an array of them."""
        for frame in value if self.protocol == "v1" and isinstance(value, list) else [value]:
            if isinstance(frame, dict) and isinstance(frame.get("id"), str):
                self._kinds[frame["id"]] = str(frame.get("type"))
            fault = None if _may_say_wrong[0] else self._look(frame, "client", None)
            if fault is not None and self.protocol == "v1" and isinstance(frame, dict):
                self._wrong[str(frame.get("id"))] = fault

    def received(self, frame: object) -> None:
        """The server says this."""
        command = self._kinds.get(str(frame.get("id"))) if isinstance(frame, dict) else None
        if self._look(frame, "server", command) is None and isinstance(frame, dict) and frame["type"] == "error":
            refused = self._wrong.get(str(frame.get("id")))
            if frame["data"]["code"] in MALFORMED and refused in faults:
                faults.remove(refused)

    def _look(self, frame: object, side: str, command: str | None) -> str | None:
        fault = fault_in(self.protocol, side, frame, command)
        if fault is None:
            return None
        faults.append(f"{self.protocol}, from the {side}: {fault}\n    {str(frame)[:1000]}")
        return faults[-1]


_looked_at: Counter[tuple[str, str, object, str | None]] = Counter()
_shapes: set[object] = set()


def _is_more_of_the_same(protocol: str, side: str, frame: object, command: str | None) -> bool:
    key = (protocol, side, frame.get("type") if isinstance(frame, dict) else None, command)
    _looked_at[key] += 1
    if _looked_at[key] <= WHOLE_MAX:
        return False
    shape = (key, _shape(frame))
    if shape in _shapes:
        return True
    _shapes.add(shape)
    return False


def _shape(value: object) -> object:
    if isinstance(value, dict):
        return tuple((name, _shape(inner)) for name, inner in value.items())
    if isinstance(value, list):
        return ("list", *map(_shape, value))
    return value.__class__


def fault_in(protocol: str, side: str, frame: object, command: str | None = None) -> str | None:
    """What keeps *frame* from being one of the document; None when nothing does. command: what an `ack` is of."""
    kind = frame.get("type") if isinstance(frame, dict) else None
    if kind == OF_TOMORROW:
        return None
    if isinstance(kind, str | None) and _is_more_of_the_same(protocol, side, frame, command):
        return None
    names = _names(protocol, side).get(kind, ()) if isinstance(kind, str) else ()
    if kind == "ack" and command is not None:
        names = tuple(name for name in names if name in _answers(protocol).get(command, ()))
    if not names:
        return f"there is no frame {kind!r}" + ("" if command is None else f" that answers {command!r}")
    said = []
    for name in names:
        try:
            _check(f"{protocol}.{side}.{name}")(frame)
        except fastjsonschema.JsonSchemaValueException as fault:
            said.append(f"{name}: {fault.message}")
        else:
            return None
    return "; ".join(said)


@cache
def _names(protocol: str, side: str) -> dict[str, tuple[str, ...]]:
    """The names of the schemas of each `type`."""
    commands, told = PROTOCOLS[protocol]
    if side == "client":
        return {command.kind: (command.kind,) for command in commands}
    kinds = dict.fromkeys(frame.kind for frame in told)
    return {kind: tuple(frame.name for frame in told if frame.kind == kind) for kind in kinds}


@cache
def _answers(protocol: str) -> dict[str, tuple[str, ...]]:
    return {command.kind: tuple(answer.name for answer in command.answers) for command in PROTOCOLS[protocol][0]}


@cache
def _check(name: str) -> Check:
    """Compiled with the schemas that it needs: with all of them one takes 80 ms, in which the server answers nobody."""
    schemas, needed, left = _strict_schemas(), {}, [name]
    while left:
        for ref in _REF.findall(json.dumps(schemas[left.pop()])):
            if ref not in needed:
                needed[ref] = schemas[ref]
                left.append(ref)
    check: Check = fastjsonschema.compile({**schemas[name], "components": {"schemas": needed}}, use_default=False)
    return check


@cache
def _strict_schemas() -> Json:
    return {name: strict(schema) for name, schema in document()["components"]["schemas"].items()}


def strict(schema: Json) -> Json:
    """The same, but that objects hold no other fields than those that are named."""
    made = dict(schema)
    for keyword in ("properties", "patternProperties"):
        if keyword in made:
            made[keyword] = {name: strict(inner) for name, inner in made[keyword].items()}
            made.setdefault("additionalProperties", False)
    if "anyOf" in made:
        made["anyOf"] = [strict(inner) for inner in made["anyOf"]]
    if isinstance(made.get("items"), dict):
        made["items"] = strict(made["items"])
    return made


# -- what the server makes in this process -----------------------------------------------------------------------------


def _look_at_what_is_made() -> None:
    build = frames.text_frame

    def text_frame(payload: bytes) -> bytes:
        frame = json.loads(payload)
        protocol = "compat" if "timestamp" in frame else "v1"  # which greenroom.v1 has at no top level
        fault = fault_in(protocol, "server", frame)
        if fault is not None:
            faults.append(f"{protocol}, made by the server: {fault}\n    {str(frame)[:1000]}")
        return build(payload)

    for module in (events, v1_start):
        module.text_frame = text_frame  # type: ignore[attr-defined]


def _look_at_trio_websocket() -> None:
    """Of clients that stand on it: greenroom's own, and the sockets of house_fixture.py.

    A server that stands on it is the script of a test: its client looks at what it says.
    """
    kind: Any = WebSocketConnection
    get, send = kind.get_message, kind.send_message

    def seen_by(connection: Any) -> FramesSeen:
        if not hasattr(connection, "frames_seen"):
            connection.frames_seen = FramesSeen("v1" if connection.subprotocol == "greenroom.v1" else "compat")
        found: FramesSeen = connection.frames_seen
        return found

    async def get_message(connection: Any) -> Any:
        text = await get(connection)
        if connection.is_client and str(connection.path).startswith("/ws"):
            seen_by(connection).received(json.loads(text))
        return text

    async def send_message(connection: Any, message: Any) -> None:
        if connection.is_client and str(connection.path).startswith("/ws"):
            seen_by(connection).sent(json.loads(message))
        await send(connection, message)

    kind.get_message, kind.send_message = get_message, send_message


_look_at_what_is_made()
_look_at_trio_websocket()


# -- pytest -----------------------------------------------------------------------------------------------------------


@contextmanager
def strictly(*, may_say_wrong: bool = False) -> Iterator[list[str]]:
    """The faults of the frames that are seen within; those of around it are kept apart."""
    around, was = list(faults), _may_say_wrong[0]
    faults.clear()
    _looked_at.clear()
    _shapes.clear()
    _may_say_wrong[0] = may_say_wrong
    found: list[str] = []
    try:
        yield found
    finally:
        found.extend(faults)
        faults[:], _may_say_wrong[0] = around, was


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Fail the very test whose frames are not in the document."""
    with strictly(may_say_wrong=item.get_closest_marker("wrong_frames") is not None) as found:
        result = yield
    if found:
        more = f"\n... and {len(found) - FAULTS_SHOWN_MAX} more" if len(found) > FAULTS_SHOWN_MAX else ""
        shown = "\n".join(found[:FAULTS_SHOWN_MAX])
        pytest.fail(f"frames that are not in docs/asyncapi.json:\n{shown}{more}", pytrace=False)
    return result
