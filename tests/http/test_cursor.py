"""The cursor: whatever places a reader has, its text says them and nothing else is read from any text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.decode import INTEGER_MAX
from greenroom.http.ws.cursor import (
    CURSOR_CHARACTERS_MAX,
    ROOMS_MAX,
    BadCursor,
    Cursor,
    Place,
    cursor_text,
    read_cursor,
)

numbers = st.integers(0, INTEGER_MAX)
a_place = st.builds(Place, numbers, numbers)
rooms = st.dictionaries(st.integers(1, INTEGER_MAX), a_place, max_size=ROOMS_MAX)
cursors = st.builds(Cursor, rooms, st.none() | a_place)


def text_of(cursor):
    return cursor_text(cursor.user, ((room, place.seq, place.epoch) for room, place in cursor.rooms.items()))


@given(cursors)
def test_what_is_written_is_read_again_in_its_order(cursor):
    again = read_cursor(text_of(cursor))
    assert (again.user, list(again.rooms.items())) == (cursor.user, list(cursor.rooms.items()))


def test_a_cursor_without_a_place_in_the_users_stream_is_read_as_before():
    assert read_cursor("1~7.42.1") == Cursor({7: Place(42, 1)})
    assert read_cursor("1") == Cursor({})
    assert read_cursor("1~u17.2~7.42.1") == Cursor({7: Place(42, 1)}, Place(17, 2))
    with pytest.raises(BadCursor, match="is not room"):
        read_cursor("1~7.42.1~u17.2")


@given(st.text(st.sampled_from("0123456789.~1u")) | st.text())
def test_any_text_is_the_cursor_that_it_spells_or_is_refused(text):
    with suppress(BadCursor):
        assert text_of(read_cursor(text)) == text


@given(cursors, st.data())
def test_a_cursor_with_a_character_less_is_refused_or_names_other_places(cursor, data):
    text = text_of(cursor)
    at = data.draw(st.integers(0, len(text) - 1))
    cut = text[:at] + text[at + 1 :]
    with suppress(BadCursor):
        assert read_cursor(cut) != cursor


def test_the_longest_cursor_fits_into_the_head_of_a_request():
    end = Place(INTEGER_MAX, INTEGER_MAX)
    most = cursor_text(end, ((INTEGER_MAX - number, INTEGER_MAX, INTEGER_MAX) for number in range(ROOMS_MAX)))
    assert len(most) == CURSOR_CHARACTERS_MAX < 12 * 1024
    assert len(read_cursor(most).rooms) == ROOMS_MAX
    for text in (most + "0", most + "~1.1.1"):
        with pytest.raises(BadCursor, match="longer"):
            read_cursor(text)
    with pytest.raises(BadCursor, match="more than"):
        read_cursor(cursor_text(None, ((number, 1, 1) for number in range(1, ROOMS_MAX + 2))))
