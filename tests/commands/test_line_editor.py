"""One line as it is typed: bytes in, finished lines out."""

import pytest

from greenroom.commands.line_editor import LineEditor


@pytest.mark.parametrize(
    ("typed", "lines", "left"),
    [
        (b"hello\n", ["hello"], ""),
        (b"one\rtwo\nthr", ["one", "two"], "thr"),
        (b"abd\x7fc", [], "abc"),
        (b"\x7f\x7fa", [], "a"),
        (b"all gone\x15new", [], "new"),
        (b"two words\x17", [], "two "),
        (b"word\x17", [], ""),
        (b"a\x1b[Db\x1b[1;5Cc\x1bOA", [], "abc"),
        (b"a\tb\x00\x07c", [], "a bc"),
        ("größe 🙂\n".encode(), ["größe 🙂"], ""),
        (b"\xff\n", ["\ufffd"], ""),
    ],
)
def test_what_is_typed_becomes_lines(typed: bytes, lines: list[str], left: str):
    editor = LineEditor()
    assert editor.feed(typed) == lines
    assert editor.text == left


@pytest.mark.parametrize("parts", [(b"a\x1b", b"[Db"), (b"a\x1b[", b"Db"), (b"a\x1b[1;", b"5Cb"), (b"a\x1bO", b"Ab")])
def test_the_sequence_of_a_key_may_come_in_two_parts(parts: tuple[bytes, bytes]):
    editor = LineEditor()
    for part in parts:
        editor.feed(part)
    assert editor.text == "ab"


def test_what_is_typed_after_the_key_escape_is_typed():
    editor = LineEditor()
    for part in (b"\x1b", b"O", b"K\x1b", b"\n"):
        lines = editor.feed(part)
    assert lines == ["OK"]


def test_a_character_may_come_in_two_parts():
    editor = LineEditor()
    first, second = "ö".encode()[:1], "ö".encode()[1:]
    assert editor.feed(first) == []
    assert editor.feed(second + b"\n") == ["ö"]


def test_ctrl_d_ends_only_on_an_empty_line():
    editor = LineEditor()
    editor.feed(b"a\x04")
    assert not editor.is_at_end
    editor.feed(b"\x15\x04")
    assert editor.is_at_end
