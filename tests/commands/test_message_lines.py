"""Messages as lines of a chat."""

import re

import pytest

from greenroom.client import Changed, Said
from greenroom.commands.message_lines import line_of_change, lines_of, size

FILE = {"key": "k", "url": "/api/files/k", "originalName": "a.png", "fileSize": 12_345, "mimeType": "image/png"}
SERVER = "http://127.0.0.1:8787"


def said(**more: object) -> Said:
    return Said(1, 3, 7, "Ann", "look", 0, None, is_own=False, **more)  # type: ignore[arg-type]


def test_a_message_is_shown_with_its_files_and_where_they_are():
    lines = lines_of(said(attachments=(FILE, FILE)), SERVER).split("\n")
    assert re.fullmatch(r"\d\d:\d\d Ann: look", lines[0])
    assert lines[1:] == ["[a.png, 12.3 KB] http://127.0.0.1:8787/api/files/k"] * 2


def test_what_became_of_it_is_said():
    assert lines_of(said(edited_at_ms=5), SERVER).endswith("Ann: look (edited)")
    assert lines_of(said(is_deleted=True, edited_at_ms=5), SERVER).endswith("Ann: (deleted)")
    assert line_of_change(said(), Changed(1, 4, 3, 9, "here", 5)).endswith("Ann: here (edited)")
    assert line_of_change(said(), Changed(1, 4, 3, 9, None, 5)).endswith("Ann: (deleted)")


@pytest.mark.parametrize(
    ("count", "shown"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1 KB"),
        (999_999, "1 MB"),
        (52_428_800, "52.4 MB"),
        (10**13, "1e+04 GB"),
    ],
)
def test_a_size_is_for_people(count: int, shown: str):
    assert size(count) == shown
