"""What of a line stands on the last row of a terminal, and how what is said is broken into rows."""

import pytest

from greenroom.commands.screen import ROWS_MAX, end_of, rows_of


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


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("09:41 Ben: ok", ["09:41 Ben: ok"]),
        ("09:41 Ben: ok".ljust(20) + "09:41 Ann: yes", ["09:41 Ben: ok       ", "    09:41 Ann: yes"]),
        ("one\ntwo\n\nfour", ["one", "    two", "    ", "    four"]),
        ("x" * 40, ["x" * 20, "    " + "x" * 16, "    " + "x" * 4]),
        ("漢" * 12, ["漢" * 10, "    漢漢"]),
        ("x" + "漢" * 10, ["x" + "漢" * 9, "    漢"]),
        ("", [""]),
    ],
)
def test_only_the_first_row_of_what_somebody_says_begins_at_the_margin(text: str, rows: list[str]):
    assert rows_of(text, 20) == rows


def test_nobody_pushes_all_that_others_said_off_the_screen():
    rows = rows_of("Ben:" + "\n" * 9_999, 80)
    assert len(rows) == ROWS_MAX
    assert rows[-1] == "    … and 9901 lines more"
