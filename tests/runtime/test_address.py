"""Addresses: what they print as stands on a line, tells apart what is two actors, and leads back to the address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import Address, address_in


@given(st.integers() | st.text(min_size=1))
def test_every_address_is_found_again_by_what_it_prints_as(key: int | str) -> None:
    address = Address("room", key)
    printed = str(address)
    found = address_in(printed)
    assert (found, type(found.key)) == (address, type(key))
    assert printed.isprintable()


@pytest.mark.parametrize(
    ("key", "printed"),
    [
        (42, "room/42"),
        (-1, "room/-1"),
        ("42", 'room/"42"'),
        ("general", "room/general"),
        ("a/b", "room/a/b"),
        ("two\nlines", r'room/"two\nlines"'),
        ('"', r'room/"\""'),
        ("Grüße", "room/Grüße"),
    ],
)
def test_plain_keys_print_plainly(key: int | str, printed: str) -> None:
    assert str(Address("room", key)) == printed


@pytest.mark.parametrize("text", ["", "room", "room/", 'room/"42', 'room/"', 'room/"4"2'])
def test_what_is_no_address_is_told(text: str) -> None:
    with pytest.raises(ValueError, match=r"an address is a kind and a key|no text in quotes"):
        address_in(text)
