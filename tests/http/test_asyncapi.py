"""The AsyncAPI document: true to its own standard, to what the server reads, and to what stands in docs/."""

import copy
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import fastjsonschema
import pytest
from forked_process import ForkedProcess  # type: ignore[import-not-found]
from frame_shapes import Shapes  # type: ignore[import-not-found]
from frames_seen import FramesSeen, Told, environment, fault_in, strictly, told_here  # type: ignore[import-not-found]
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from greenroom.http.asyncapi import PROTOCOLS, document
from greenroom.http.frame_tables import in_page
from greenroom.http.ws import compat, events, v1
from greenroom.http.ws.schemas import reading
from greenroom.http.ws.v1_commands import BadCommand

ROOT = Path(__file__).parent.parent.parent
SPECS = "@asyncapi/specs@6.11.1"  # the official schemas, as their own npm package

Json = dict[str, Any]


# -- the document ------------------------------------------------------------------------------------------------------


def test_the_document_is_asyncapi_3_by_the_official_schema() -> None:
    check = fastjsonschema.compile(_official_schema(), use_default=False)
    check(document())
    wrong = copy.deepcopy(document())
    wrong["channels"]["v1"]["addres"] = wrong["channels"]["v1"].pop("address")
    with pytest.raises(fastjsonschema.JsonSchemaException):
        check(wrong)


def _official_schema() -> Json:
    """Fetched once, with npm; without it or a network the test is skipped."""
    npm = shutil.which("npm")
    folder = ROOT / ".venv" / "asyncapi-specs"
    path = folder / "node_modules/@asyncapi/specs/schemas/3.0.0-without-$id.json"
    if not path.exists():
        if npm is None:
            pytest.skip("there is no npm here, which would fetch the official schema")
        options = ("--ignore-scripts", "--no-save", "--no-audit", "--no-fund", "--prefix", str(folder))
        command = [npm, "install", *options, SPECS]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        except subprocess.TimeoutExpired:
            pytest.skip("npm could not fetch the official schema in a minute")
        if done.returncode:
            pytest.skip(f"npm could not fetch the official schema: {done.stderr[-300:]}")
    return _without_examples(json.loads(path.read_text()))


def _without_examples(value: Any) -> Any:
    """They hold references to what is not there, which a compiler follows."""
    if isinstance(value, dict):
        return {
            name: _without_examples(inner)
            for name, inner in value.items()
            if name != "examples" or not isinstance(inner, list)
        }
    return [_without_examples(inner) for inner in value] if isinstance(value, list) else value


def test_every_reference_leads_somewhere() -> None:
    left: list[Any] = [document()]
    count = 0
    while left:
        value = left.pop()
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                count += 1
                target: Any = document()
                for part in value["$ref"].removeprefix("#/").split("/"):
                    target = target[part]
            left.extend(value.values())
        elif isinstance(value, list):
            left.extend(value)
    assert count > 200


def test_every_frame_says_what_it_is_for() -> None:
    frames = {name: schema for name, schema in document()["components"]["schemas"].items() if "." in name}
    assert [name for name, schema in frames.items() if not schema["description"].endswith(".")] == []


async def test_a_running_server_has_it(house) -> None:
    reply = await house.get("/asyncapi.json")
    assert (reply.status, reply.json) == (200, document())


@pytest.mark.parametrize("name", ["asyncapi.json", "wire-protocol.md"])
def test_what_is_committed_is_what_the_schemas_make(name: str) -> None:
    written = (ROOT / "docs" / name).read_text("utf-8")
    made = in_page(written) if name.endswith(".md") else json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    assert written == made, "run: make docs"


def test_the_page_has_every_table_and_one_that_is_old_is_seen() -> None:
    page = (ROOT / "docs" / "wire-protocol.md").read_text("utf-8")
    marks = [f"<!-- frames: {protocol} {side} -->" for protocol, side in TABLES]
    assert [mark for mark in marks if page.count(mark) != 1] == []
    assert in_page(page.replace("| `send` | Says", "| `sent` | Says")) == page


TABLES = [("v1", "commands"), ("v1", "answers"), ("v1", "events"), ("compat", "commands"), ("compat", "frames")]


# -- what the server reads ---------------------------------------------------------------------------------------------


def test_every_command_that_has_a_handler_has_a_schema_and_the_other_way_round() -> None:
    assert set(v1._HANDLERS) == set(reading.V1) == {command.kind for command in PROTOCOLS["v1"][0]}
    assert set(compat._HANDLERS) == set(reading.COMPAT) == {command.kind for command in PROTOCOLS["compat"][0]}


# One good frame of each command, with every field that it may have.
GOOD: list[Json] = [
    {
        "type": "start",
        "id": "s",
        "data": {
            "token": "t",
            "device": "d",
            "client": {"name": "page", "ver": "1"},
            "caps": ["x"],
            "rooms": [{"r": 1, "mode": "summary"}, {"r": "2"}],
            "resume": {"user": {"useq": 1, "epoch": 1}, "rooms": {"1": 5, "2": {"seq": 1, "epoch": 2}}, "epoch": 1},
        },
    },
    {"type": "join", "id": "j", "room": 1, "data": {"after": 1, "epoch": 1, "mode": "full"}},
    {"type": "sync", "id": "y", "data": {"rooms": {"1": 5}, "user": 3}},
    {"type": "members", "id": "m", "room": "1", "data": {"after": 1, "limit": 5}},
    {"type": "block", "id": "b", "data": {"user": 2, "reason": "loud"}},
    {"type": "unblock", "id": "b", "data": {"user": 2}},
    {"type": "report", "id": "r", "data": {"message": 5, "reason": "rude"}},
    {"type": "report", "id": "r", "data": {"user": "5", "reason": "rude"}},
    {"type": "refresh", "id": "r", "data": {"token": "t"}},
    {"type": "leave", "id": "l", "room": 1, "data": {}},
    {"type": "send", "id": "m", "room": 1, "data": {"body": "hello", "clientId": "c", "attachments": []}},
    {"type": "history", "id": "h", "room": 1, "data": {"before": 5, "limit": 10}},
    {"type": "history", "id": "h", "room": 1, "data": {"at": 5}},
    {"type": "edit", "id": "e", "room": 1, "data": {"message": 5, "body": "x"}},
    {"type": "delete", "id": "d", "room": "1", "data": {"message": "5"}},
    {"type": "react", "id": "r", "room": 1, "data": {"message": 5, "reaction": "like"}},
    {"type": "unreact", "id": "r", "room": "1", "data": {"message": "5", "reaction": "like"}},
    {"type": "pin", "id": "p", "room": 1, "data": {"message": 5}},
    {"type": "unpin", "id": "p", "room": 1, "data": {"message": 5}},
    {"type": "read", "id": "r", "room": 1, "data": {"seq": 5, "private": True}},
    {"type": "typing", "id": "t", "room": 1, "data": {"on": True}},
    {"type": "presence", "id": "p", "room": 1, "data": {"status": "dnd", "note": "at work", "idle": False}},
    {"type": "watch", "id": "w", "data": {"users": [1, 2]}},
    {"type": "ping", "id": "p", "data": {}},
    {"type": "pong"},
]
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 2**53 - 1),
    st.just(1.5),
    st.sampled_from(["", "1", "x", "0", "online", "full", "12345678901234567", "x" * 70, "\u0661"]),
    st.just([]),
    st.just({}),
    st.lists(st.integers(0, 3), max_size=2),
    st.just({"r": 1}),
    st.just({"seq": 2}),
)


def test_there_is_a_good_frame_of_every_command() -> None:
    assert {frame["type"] for frame in GOOD} == set(reading.V1)
    for frame in GOOD:
        reading.V1[frame["type"]](frame)
        assert fault_in("v1", "client", frame) is None


@settings(deadline=None)  # the first of each kind compiles its check
@given(st.sampled_from(GOOD), st.data())
def test_the_server_takes_what_the_document_allows_and_nothing_else(good: Json, data: st.DataObject) -> None:
    """One place of a good frame is another value, or gone: both say the same of it."""
    frame = copy.deepcopy(good)
    place = data.draw(st.sampled_from(_places(frame) or [("type",)]))
    holder: Any = frame
    for step in place[:-1]:
        holder = holder[step]
    if data.draw(st.booleans()):
        holder[place[-1]] = data.draw(VALUES)
    else:
        del holder[place[-1]]
    try:
        _plain_check(f"v1.client.{good['type']}")(frame)
        is_allowed = True
    except fastjsonschema.JsonSchemaValueException:
        is_allowed = False
    try:
        reading.V1[good["type"]](frame)
        is_taken = True
    except ValidationError as fault:
        is_taken = False
        said, _ = reading.fault_in(fault)
        assert ": " in said
        assert len(said) < 300
    assert is_taken == is_allowed, frame


def _places(value: Any) -> list[tuple[Any, ...]]:
    """The paths of everything within, but for the `type` of the frame."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    found = []
    for name, inner in items:
        if name != "type":
            found.append((name,))
            found += [(name, *rest) for rest in _places(inner)]
    return found


@cache
def _plain_check(name: str) -> Any:
    schemas = document()["components"]["schemas"]
    return fastjsonschema.compile({**schemas[name], "components": {"schemas": schemas}}, use_default=False)


@settings(deadline=None)
@given(st.sampled_from(sorted(reading.COMPAT)), st.data())
def test_of_a_frame_of_the_existing_client_what_does_not_fit_is_left_out(kind: str, data: st.DataObject) -> None:
    names = [name for name in _compat_fields(kind) if name != "type"]
    given_fields = {name: data.draw(VALUES) for name in data.draw(st.sets(st.sampled_from(names)))}
    read = reading.COMPAT[kind]({"type": kind, **given_fields, "unknown": 1})
    assert set(read) <= set(given_fields)
    _plain_check(f"compat.client.{kind}")({"type": kind, **read})


def _compat_fields(kind: str) -> list[str]:
    properties = document()["components"]["schemas"][f"compat.client.{kind}"]["properties"]
    return [name for name in properties if name not in ("data", "payload")]


def test_a_hostile_list_is_not_read_to_its_end() -> None:
    for rooms in ([[]] * 40_000, list(range(1, 40_000)), {str(room): [] for room in range(1, 12_000)}):
        data = {"resume": {"rooms": rooms}} if isinstance(rooms, dict) else {"rooms": rooms}
        with pytest.raises(ValidationError) as caught:
            reading.V1["start"]({"type": "start", "data": data})
        assert caught.value.error_count() == 1
    assert reading.COMPAT["mark_read"]({"messageIds": [[]] * 40_000}) == {"messageIds": []}


# -- what tests see ----------------------------------------------------------------------------------------------------

MESSAGE: Json = {
    "type": "message",
    "room": 1,
    "seq": 1,
    "ts": 1,
    "data": {"id": 1, "sender": 1, "senderName": "Ann", "body": "hello"},
}
BAD_RECEIVED: dict[str, Json] = {
    "an unknown type": {"type": "massage"},
    "no type": {"room": 1},
    "a field too many": MESSAGE | {"extra": 1},
    "a field too many within": MESSAGE | {"data": MESSAGE["data"] | {"extra": 1}},
    "a field too few": {name: value for name, value in MESSAGE.items() if name != "seq"},
    "a field too few within": MESSAGE | {"data": {"id": 1}},
    "a field of another kind": MESSAGE | {"seq": "1"},
    "an ack of nothing that there is": {"type": "ack", "id": "c", "data": {"what": 1}},
    "the ack of another command": {"type": "ack", "id": "r", "room": 1, "data": {}},
}


@pytest.mark.parametrize("name", BAD_RECEIVED)
def test_a_frame_that_is_not_in_the_document_is_seen(name: str) -> None:
    with strictly() as found:
        seen = FramesSeen("v1")
        seen.sent({"type": "read", "id": "r", "room": 1, "data": {"seq": 1}})
        seen.received(MESSAGE)
        seen.received({"type": "ack", "id": "r", "room": 1, "data": {"seq": 1}})
    assert found == []
    with strictly() as found:
        seen.received(BAD_RECEIVED[name])
    assert len(found) == 1


def test_what_a_client_says_wrong_is_seen_unless_the_test_means_to() -> None:
    for is_meant in (False, True):
        with strictly(may_say_wrong=is_meant) as found:
            FramesSeen("v1").sent([{"type": "ping"}, {"type": "ping", "extra": 1}])
            FramesSeen("compat").sent({"type": "typing", "conversationId": 1, "data": {"isTyping": "yes"}})
            FramesSeen("compat").sent({"type": "pitch_view", "pitchId": 1})
        assert len(found) == (0 if is_meant else 3), found


def test_a_wrong_command_that_the_server_refuses_as_malformed_is_meant() -> None:
    error = {"error": "BAD_FRAME", "message": "no", "category": "protocol", "recoverable": False}
    for code, count in ((1002, 0), (5001, 1)):
        with strictly() as found:
            seen = FramesSeen("v1")
            seen.sent({"type": "read", "id": "r", "room": 1, "data": {}})
            seen.received({"type": "error", "id": "r", "data": error | {"code": code}})
        assert len(found) == count


def test_what_the_server_makes_in_this_process_is_seen_though_nobody_reads_it() -> None:
    with strictly() as found:
        events.v1("live", {"rooms": [1]})
        events.compat("unread_count", {"count": 1}, 0)
    assert found == []
    with strictly() as found:
        events.v1("live", {"roms": [1]})
        events.compat("unread_count", {"count": "1"}, 0)
    assert len(found) == 2


def test_what_the_server_takes_in_this_process_is_seen_whoever_says_it() -> None:
    read: Any = vars(v1)["read"]
    for is_meant in (False, True):
        with strictly(may_say_wrong=is_meant) as found:
            read("ping", {"type": "ping", "id": "p"})
            read("ping", {"type": "ping", "id": "p", "extra": 1})
            with suppress(BadCommand):
                read("read", {"type": "read", "id": "r", "room": 1, "data": {}})
        assert len(found) == (0 if is_meant else 1), found


def test_a_flood_is_one_shape_and_what_is_new_in_it_is_seen() -> None:
    shapes = Shapes(2)
    assert [shapes.is_new("a", {"rooms": {str(at): [at] * at}}) for at in range(1, 5)] == [True, True, False, False]
    assert shapes.is_new("a", {"rooms": {"5": ["5"]}})
    assert shapes.is_new("a", {"rooms": {"5": [5, "5"]}})
    assert shapes.is_new("b", {"rooms": {"1": [1]}})


IN_A_SERVER = """
from greenroom.http.ws import events, v1, v1_start
from greenroom.http.ws.v1_commands import BadCommand
v1_start.text_frame(b'{"type":"skip","room":1,"seq":1}')
for number in range(1, 1000):
    events.v1_ack_sent(str(number), number, number, number, is_duplicate=False)
events.v1("live", {"roms": [1]})
events.compat("unread_count", {"count": 1}, 0)
v1.read("ping", {"type": "ping", "id": "p", "extra": 1})
try:
    v1.read("read", {"type": "read", "id": "r", "room": 1, "data": {}, "extra": 1})
except BadCommand:
    pass
import os
os.kill(os.getpid(), 9)
"""


def ends_by_itself(folder: Path) -> tuple[Path, int]:
    """A Python of its own: the file that it tells, and from where on."""
    told = folder / "told"
    given = environment() | {"FRAMES_SEEN_IN": str(told)}
    done = subprocess.run([sys.executable, "-c", IN_A_SERVER], env=given, capture_output=True, text=True, timeout=60)
    assert done.returncode == -9, done.stderr
    return told, 0


def ends_forked(folder: Path) -> tuple[Path, int]:
    """As almost all servers of these tests are, which tell what all of them tell."""
    told, said = told_here().path, folder / "said"
    told_here().look()
    at = told.stat().st_size
    with said.open("wb") as output:
        server = ForkedProcess(["serve"], environment(), folder, output=output.fileno(), first=IN_A_SERVER)
        assert server.wait(60) == -9, said.read_text()
    return told, at


@pytest.mark.parametrize("ends", [ends_by_itself, ends_forked])
def test_what_a_server_of_its_own_makes_and_takes_is_seen_though_it_is_killed(
    tmp_path: Path, ends: Callable[[Path], tuple[Path, int]]
) -> None:
    path, at = ends(tmp_path)
    with strictly() as found:
        told_from(path, at).look()
    lines = path.read_bytes()[at:].splitlines()
    assert len(lines) < 30, "a flood is told a few times"
    kinds = {json.loads(line)[2]["type"] for line in lines}
    assert kinds == {"skip", "ack", "live", "unread_count", "ping"}
    assert ["['rooms']" in fault or "{'extra'}" in fault for fault in found] == [True, True], found
    with strictly(may_say_wrong=True) as found:
        told_from(path, at).look()
    assert len(found) == 1, "what the server says is right all the same"
    with strictly(may_say_wrong=True):
        told_here().look()


def told_from(path: Path, at: int) -> Told:
    """What stands in the file from there on."""
    told = Told(path)
    told._at = at
    return told


def test_the_very_test_that_sees_such_a_frame_fails(tmp_path: Path) -> None:
    (tmp_path / "test_one.py").write_text(
        "from frames_seen import FramesSeen\n"
        "def test_good(): FramesSeen('v1').received({'type': 'ping'})\n"
        "def test_bad(): FramesSeen('v1').received({'type': 'ping', 'extra': 1})\n"
        "def test_good_after_it(): FramesSeen('v1').received({'type': 'ping'})\n"
    )
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "frames_seen",
        "-p",
        "no:cacheprovider",
        "-rA",
        str(tmp_path),
    ]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": str(ROOT / "tests")}, timeout=120
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "FAILED test_one.py::test_bad" in done.stdout
    assert "must not contain {'extra'} properties" in done.stdout
