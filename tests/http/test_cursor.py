"""The cursor: whatever places a reader has, its text says them and nothing else is read from any text."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.decode import INTEGER_MAX
from greenroom.http.ws.cursor import CURSOR_CHARACTERS_MAX, ROOMS_MAX, BadCursor, Place, cursor_text, read_cursor

numbers = st.integers(0, INTEGER_MAX)
places = st.dictionaries(st.integers(1, INTEGER_MAX), st.builds(Place, numbers, numbers), max_size=ROOMS_MAX)


def text_of(places):
    return cursor_text((room, place.seq, place.epoch) for room, place in places.items())


@given(places)
def test_what_is_written_is_read_again_in_its_order(given_places):
    assert list(read_cursor(text_of(given_places)).items()) == list(given_places.items())


@given(st.text(st.sampled_from("0123456789.~1")) | st.text())
def test_any_text_is_the_cursor_that_it_spells_or_is_refused(text):
    with suppress(BadCursor):
        assert text_of(read_cursor(text)) == text


@given(places.filter(bool), st.data())
def test_a_cursor_with_a_character_less_is_refused_or_names_other_places(given_places, data):
    text = text_of(given_places)
    at = data.draw(st.integers(0, len(text) - 1))
    cut = text[:at] + text[at + 1 :]
    with suppress(BadCursor):
        assert read_cursor(cut) != given_places


def test_the_longest_cursor_fits_into_the_head_of_a_request():
    most = cursor_text((INTEGER_MAX - number, INTEGER_MAX, INTEGER_MAX) for number in range(ROOMS_MAX))
    assert len(most) == CURSOR_CHARACTERS_MAX < 12 * 1024
    assert len(read_cursor(most)) == ROOMS_MAX
    for text in (most + "0", most + "~1.1.1"):
        with pytest.raises(BadCursor, match="longer"):
            read_cursor(text)
    with pytest.raises(BadCursor, match="more than"):
        read_cursor(cursor_text((number, 1, 1) for number in range(1, ROOMS_MAX + 2)))
