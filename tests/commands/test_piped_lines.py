"""What comes through a pipe is said as it is: bytes in, lines out."""

import pytest

from greenroom.commands.piped_lines import LINE_BYTES_MAX, BadLine, PipedLines


def lines_of(*parts: bytes) -> list[str | BadLine]:
    lines = PipedLines()
    return [line for part in parts for line in lines.feed(part)] + lines.end()


@pytest.mark.parametrize(
    ("parts", "lines"),
    [
        ([b"one\ntwo\n"], ["one", "two"]),
        ([b"one\ntw", b"o"], ["one", "two"]),
        ([b"one\r", b"\ntwo\r\n"], ["one", "two"]),
        ([b"\n\r\n\none\n\n"], ["one"]),
        ([b""], []),
        ([b"before\n\x04", b"after\n"], ["before", "\x04after"]),
        ([b"keep \x15gone\nab\bc\nword1 word2\x17\n"], ["keep \x15gone", "ab\bc", "word1 word2\x17"]),
        ([b"\x1b[31mred\x1b[0m\ta\rb\n"], ["\x1b[31mred\x1b[0m\ta\rb"]),
        ([b"  /quit  \n//\n   \n"], ["  /quit  ", "//", "   "]),
        (["👨‍👩 می‌خ a\u00a0b\u2028c\u0085d\x0b\x0c\n".encode()], ["👨‍👩 می‌خ a\u00a0b\u2028c\u0085d\x0b\x0c"]),
        (["ö".encode()[:1], "ö".encode()[1:] + b"\n"], ["ö"]),
    ],
)
def test_lines_are_what_stands_between_line_ends(parts: list[bytes], lines: list[str]):
    assert lines_of(*parts) == lines


@pytest.mark.parametrize("bad", [b"caf\xe9", b"\xff\xfe", b"\xed\xa0\x80", b"cut \xf0\x9f\x99"])
def test_what_is_no_utf_8_is_told_by_its_number_and_nothing_of_it_is_said(bad: bytes):
    first, told, last = lines_of(b"one\n\n" + bad + b"\nlast\n")
    assert (first, last) == ("one", "last")
    assert isinstance(told, BadLine)
    assert told.number == 3
    assert "not valid UTF-8" in told.why
    assert isinstance(lines_of(bad)[0], BadLine)


def test_a_line_has_a_limit_whatever_it_comes_in_and_takes_no_more_than_that():
    most, more = b"x" * LINE_BYTES_MAX, b"x" * (LINE_BYTES_MAX + 1)
    assert lines_of(most + b"\n") == [most.decode()]
    assert lines_of(more) == lines_of(more + b"\n") == [BadLine(1, "it is longer than 131,072 bytes")]
    lines = PipedLines()
    for _ in range(100):
        assert lines.feed(most) == []
        assert len(lines._rest) <= LINE_BYTES_MAX
    assert lines.feed(b"\nnext\n") == [BadLine(1, "it is longer than 131,072 bytes"), "next"]
