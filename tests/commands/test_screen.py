"""What of a line stands on the last row of a terminal."""

import pytest

from greenroom.commands.screen import end_of


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("hello", "hello"),
        ("hello world", "o world"),
        ("漢字漢字漢字", "字漢字"),
        ("abc漢字漢", "c漢字漢"),
        ("🙂" * 9, "🙂" * 3),
        ("", ""),
    ],
)
def test_as_much_of_its_end_as_seven_columns_hold(text: str, end: str):
    assert end_of(text, 7) == end
