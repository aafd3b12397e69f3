"""docs/wire-protocol.md says what is so: its examples are frames of the protocol, its numbers those of the code.

The tables of frames are made from the schemas (`make docs`); these are what is written by hand.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from frames_seen import fault_in, strictly  # type: ignore[import-not-found]

from greenroom.http.errors import meta
from greenroom.http.ws import codes
from greenroom.http.ws.codes import CloseCode, ErrorCode
from greenroom.http.ws.cursor import cursor_text, read_cursor
from greenroom.settings import Settings

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "wire-protocol.md").read_text("utf-8")
SIDES = {"C": "client", "S": "server"}
PER_MINUTE = {name: Settings.model_fields[name].default for name in ("messages_per_minute", "ws_commands_per_minute")}

Json = dict[str, Any]


def section(heading: str) -> str:
    """What stands below a heading of the third level, up to the next heading."""
    found = re.search(rf"^### {re.escape(heading)}\n(.*?)(?=^#)", PAGE, re.M | re.S)
    assert found is not None, heading
    return found[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a table, without its head."""
    lines = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line] for line in lines[2:]]


def numbers(cell: str) -> list[int]:
    return [int(number) for number in re.findall(r"\b\d{4}\b", cell)]


def test_a_table_ends_where_a_paragraph_begins():
    """A line that begins with a bar and does not end with one is a cell with a line end in it: the rest is no table."""
    assert not [line for line in PAGE.splitlines() if line.startswith("|") and not line.endswith("|")]


# -- examples ----------------------------------------------------------------------------------------------------------


def spoken(text: str) -> Iterator[tuple[str, Json]]:
    """(side, frame) of each in a block; where nothing is said of the side it is the server's."""
    decoder, at = json.JSONDecoder(), 0
    while text[at:].strip():
        start = re.compile(r"\s*(?:([CS]) )?").match(text, at)
        assert start is not None
        frame, at = decoder.raw_decode(text, start.end())
        yield SIDES[start[1] or "S"], frame


BLOCKS = re.findall(r"^```json\n(.*?)^```$", PAGE, re.M | re.S)
FRAMES = [said for block in BLOCKS for said in spoken(block) if "type" in said[1]]
ANSWERS = [frame for block in BLOCKS for _, frame in spoken(block) if "type" not in frame]


def test_examples_are_found() -> None:
    assert len(BLOCKS) == PAGE.count("```json") > 8
    assert {side for side, _ in FRAMES} == {"client", "server"}
    assert len(FRAMES) > 12


@pytest.mark.parametrize(
    ("side", "frame"), FRAMES, ids=lambda value: value.get("type") if isinstance(value, dict) else None
)
def test_an_example_is_a_frame_of_the_document(side: str, frame: Json) -> None:
    assert fault_in("v1", side, frame) is None


@pytest.mark.parametrize("block", [block for block in BLOCKS if "\nS " in block])
def test_an_answer_in_an_example_is_that_of_its_command(block: str) -> None:
    command, *heard = [frame for _, frame in spoken(block)]
    for frame in heard:
        assert frame["type"] != "ack" or frame["id"] == command["id"]
        assert fault_in("v1", "server", frame, command["type"] if frame["type"] == "ack" else None) is None


def test_frames_within_sentences_are_frames_too() -> None:
    text = re.sub(r"^```.*?^```$", "", PAGE, flags=re.M | re.S)
    found = [json.loads(marked) for marked in re.findall(r'`(\{"type":[^`]*\})`', text)]
    assert len(found) > 3
    assert [fault for frame in found if (fault := fault_in("v1", "server", frame)) is not None] == []


def test_the_answer_to_a_poll_is_one() -> None:
    (answer,) = ANSWERS
    assert answer["success"] is True
    assert set(answer["data"]) == {"events", "cursor"}
    assert [fault_in("v1", "server", frame) for frame in answer["data"]["events"]] == [None]
    assert set(answer["meta"]) == set(meta("id"))


def test_every_cursor_on_the_page_can_be_read() -> None:
    found = re.findall(r"\b1~[u0-9.~]+\d", PAGE)
    assert len(found) > 3
    for text in found:
        cursor = read_cursor(text)
        rooms = [(room, place.seq, place.epoch) for room, place in cursor.rooms.items()]
        assert cursor_text(cursor.user, rooms) == text


@pytest.mark.parametrize("house_settings", [PER_MINUTE])
async def test_the_hello_of_the_page_is_what_a_server_says_by_default(live_house: Any) -> None:
    await live_house.people(1)
    async with live_house.socket(1) as socket:
        said = (await socket.hear("hello"))["data"]
    (shown,) = [frame["data"] for _, frame in FRAMES if frame["type"] == "hello"]
    assert shown["limits"] == said["limits"]
    of_the_day = {"node", "conn", "now"}
    assert {key: value for key, value in shown.items() if key not in of_the_day} == {
        key: value for key, value in said.items() if key not in of_the_day
    }


# -- tables ------------------------------------------------------------------------------------------------------------

ERRORS = {value.number: value.name for value in vars(codes).values() if isinstance(value, ErrorCode)}
CLOSES = {value.code: value.compat for value in vars(codes).values() if isinstance(value, CloseCode)}


def test_the_table_of_errors_is_that_of_the_code_by_number_and_name() -> None:
    cells = [cell for row in rows(section("Errors")) for cell in row if cell]
    shown = list(zip(map(int, cells[::2]), cells[1::2], strict=True))
    assert len(shown) == len(dict(shown)), "a number stands there twice"
    assert dict(shown) == ERRORS


def test_the_table_of_close_codes_is_that_of_the_code_in_both_protocols() -> None:
    """In compat none (–) where the code that closes with it is of greenroom.v1 alone."""
    shown: dict[int, str] = {}
    for code, compat, *_ in rows(section("Close codes")):
        for number in numbers(code):
            assert number not in shown, f"{number} stands there twice"
            shown[number] = str(number) if compat == "same" else compat
    known = {name: value for name, value in vars(codes).items() if isinstance(value, CloseCode)}
    assert shown == {
        value.code: "–" if {file[:2] for file in naming(name)} == {"v1"} else str(value.compat)
        for name, value in known.items()
    }


def naming(close: str) -> list[str]:
    """The files of the front that name this close, but for the one that defines it."""
    files = [path for path in (ROOT / "http").rglob("*.py") if path.name != "codes.py"]
    return [path.name for path in files if re.search(rf"\b{close}\b", path.read_text("utf-8"))]


def test_what_is_not_here_is_not() -> None:
    shown = [
        ("close" in cell, number) for cell, name, _ in rows(section("What is not here")) for number in numbers(cell)
    ]
    assert len(shown) > 15
    assert not {number for is_close, number in shown if is_close} & set(CLOSES)
    assert not {number for is_close, number in shown if not is_close} & set(ERRORS)


def test_an_example_that_is_wrong_is_seen() -> None:
    (message, *_) = [frame for side, frame in FRAMES if frame["type"] == "message"]
    with strictly():
        assert fault_in("v1", "server", message | {"extra": 1}) is not None
        assert fault_in("v1", "server", {name: value for name, value in message.items() if name != "seq"}) is not None
