"""Holds every frame that a test sends or receives to the AsyncAPI document, strictly: the test fails otherwise.

    seen = FramesSeen("v1")          one for each connection: it remembers which command an `ack` is of
    seen.sent({...}); seen.received({...})

Sockets of wire.py call these, and every client that stands on trio-websocket is made to. What a server makes, and what
it takes of a greenroom.v1 client, is looked at there, whoever that client is and whether anybody reads it: a page in a
browser, a program of its own, a crowd. Of a server that is a process of its own, started with `environment()`,
in_servers/sitecustomize.py tells. (The existing client's frames are looked at where they are said: of those the server
leaves out what does not fit, so that it takes everything.) So does clients/js/test/frames_seen.js of the server that
the JavaScript client's own tests script, with what it says wrong on purpose left out.

Of more than 500 frames of a kind in one test only those of a new shape are looked at: a flood is to stay one.

Strictly: a `type` that is not in the document fails, and so does a field that is missing, unknown or of another kind,
though clients must ignore what they do not know. A test that says something wrong on purpose needs nothing more when
the server refuses it by its `id` as malformed; where no such answer can come it is marked `wrong_frames`. What it
receives is looked at all the same.
"""

import atexit
import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from trio_websocket import WebSocketConnection

from greenroom.http.asyncapi import PROTOCOLS, document
from greenroom.http.ws import codes, events, frames, v1, v1_commands, v1_start

IN_SERVERS = Path(__file__).parent / "in_servers"
sys.path.insert(0, str(IN_SERVERS))

from frame_shapes import Shapes  # type: ignore[import-not-found]  # noqa: E402

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


_shapes: Shapes = Shapes(WHOLE_MAX)


def fault_in(protocol: str, side: str, frame: object, command: str | None = None) -> str | None:
    """What keeps *frame* from being one of the document; None when nothing does. command: what an `ack` is of."""
    kind = frame.get("type") if isinstance(frame, dict) else None
    if kind == OF_TOMORROW:
        return None
    if isinstance(kind, str | None) and not _shapes.is_new((protocol, side, kind, command), frame):
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


# -- what servers make and take, in this process and in their own ------------------------------------------------------


def _look_at_what_is_made() -> None:
    build = frames.text_frame

    def text_frame(payload: bytes) -> bytes:
        frame = json.loads(payload)
        protocol = "compat" if "timestamp" in frame else "v1"  # which greenroom.v1 has at no top level
        _look_in_server(protocol, "server", frame)
        return build(payload)

    for module in (events, v1_start):
        module.text_frame = text_frame  # type: ignore[attr-defined]


def _look_at_what_is_taken() -> None:
    read = v1_commands.read

    def read_command(kind: str, frame: Json) -> Json:
        taken = read(kind, frame)
        _look_in_server("v1", "client", frame)
        return taken

    v1.read = read_command  # type: ignore[attr-defined]


def _look_in_server(protocol: str, side: str, frame: Json, command: str | None = None) -> None:
    if side == "client" and _may_say_wrong[0]:
        return
    fault = fault_in(protocol, side, frame, command)
    if fault is not None:
        which = "made by" if side == "server" else "taken by"
        faults.append(f"{protocol}, {which} the server: {fault}\n    {str(frame)[:1000]}")


def environment() -> dict[str, str]:
    """What a server needs in its environment so that its frames are looked at."""
    return {"PYTHONPATH": str(IN_SERVERS), "FRAMES_SEEN_IN": str(told_here().path)}


class Told:
    """What the servers of this session have told, in one file. at: so much was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._at = 0

    def look(self) -> None:
        """At what is new. The last line may not be whole: it waits for the next time."""
        if os.stat(self.path).st_size == self._at:
            return
        with self.path.open("rb") as file:
            file.seek(self._at)
            told = file.read()
        whole = told[: told.rfind(b"\n") + 1]
        self._at += len(whole)
        for line in whole.splitlines():
            _look_in_server(*json.loads(line))


@cache
def told_here() -> Told:
    """What those of this session tell."""
    folder = Path(tempfile.mkdtemp(prefix="greenroom-frames-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "told").touch()
    return Told(folder / "told")


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
_look_at_what_is_taken()
_look_at_trio_websocket()


# -- pytest -----------------------------------------------------------------------------------------------------------


@contextmanager
def strictly(*, may_say_wrong: bool = False) -> Iterator[list[str]]:
    """The faults of the frames that are seen within; those of around it are kept apart."""
    around, was = list(faults), _may_say_wrong[0]
    faults.clear()
    _shapes.clear()
    _may_say_wrong[0] = may_say_wrong
    found: list[str] = []
    try:
        yield found
    finally:
        found.extend(faults)
        faults[:], _may_say_wrong[0] = around, was


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Fail the very test whose frames are not in the document."""
    return (yield from _held_to_the_document(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """What servers say when they are stopped is theirs too."""
    return (yield from _held_to_the_document(item))


def _held_to_the_document(item: pytest.Item) -> Generator[None, object, object]:
    with strictly(may_say_wrong=item.get_closest_marker("wrong_frames") is not None) as found:
        try:
            result = yield
        finally:
            told_here().look()
    if found:
        more = f"\n... and {len(found) - FAULTS_SHOWN_MAX} more" if len(found) > FAULTS_SHOWN_MAX else ""
        shown = "\n".join(found[:FAULTS_SHOWN_MAX])
        pytest.fail(f"frames that are not in docs/asyncapi.json:\n{shown}{more}", pytrace=False)
    return result
