"""The words of the control socket."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.control.protocol import BadLine, Lines, Request, decode_request, encode


def test_a_request_says_what_it_wants():
    line = b'{"id": 3, "do": "top", "with": {"by": "depth"}}'
    assert decode_request(line) == Request(3, "top", {"by": "depth"})
    assert decode_request(b'{"id": 4, "do": "tree"}') == Request(4, "tree", {})


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"\xff",
        b"17",
        b"[]",
        b'{"id": "1", "do": "top"}',
        b'{"id": true, "do": "top"}',
        b'{"id": 1}',
        b'{"id": 1, "do": 2}',
        b'{"id": 1, "do": "top", "with": []}',
        b"[" * 100_000,
    ],
)
def test_what_is_no_request_is_told(line: bytes):
    with pytest.raises(BadLine, match="a request"):
        decode_request(line)


@given(st.dictionaries(st.text(), st.text()), st.lists(st.integers(1, 40)))
def test_lines_arrive_however_they_are_cut(message: dict[str, str], cuts: list[int]):
    data, lines, heard = encode(message) * 3, Lines(1_000_000), []
    for cut in cuts:
        piece, data = data[:cut], data[cut:]
        heard += lines.feed(piece)
    heard += lines.feed(data)
    assert [json.loads(line) for line in heard] == [message] * 3


def test_a_line_that_does_not_end_is_refused():
    lines = Lines(10)
    assert lines.feed(b"12345\n12345") == [b"12345"]
    with pytest.raises(BadLine, match="at most 10 bytes"):
        lines.feed(b"678901")
