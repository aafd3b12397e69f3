"""The id of a room at the door of the client: a number, or its digits, as URLs and forms have it. Pure."""

from typing import Final

SAFE_MAX: Final = 2**53 - 1  # beyond it JSON numbers lose digits: RFC 8259 section 6


def room_id_of(given: int | str) -> int:
    """The number. Raises: ValueError."""
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= len(str(SAFE_MAX)):
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= SAFE_MAX:
        return given
    raise ValueError(f"{given!r:.40} is no id of a room: give the number, or its digits")
