"""What names rooms, people and files, at the door of the client. Pure.

Rooms and people are numbers, or their digits, as URLs and forms have them; files have keys.
"""

from collections.abc import Iterable
from typing import Final

SAFE_MAX: Final = 2**53 - 1  # beyond it JSON numbers lose digits: RFC 8259 section 6

GivenId = int | str  # the number, or its digits; else ValueError


def room_id_of(given: GivenId) -> int:
    """The number. Raises: ValueError."""
    return _number_of(given, "a room")


def people_of(given: Iterable[GivenId]) -> tuple[int, ...]:
    """The numbers, each once, in their order. Raises: ValueError."""
    return tuple(dict.fromkeys(_number_of(one, "a user") for one in given))


def keys_of(given: Iterable[str]) -> tuple[str, ...]:
    """The keys of files, as they were given. Raises: ValueError."""
    keys = () if isinstance(given, str) else tuple(given)
    if isinstance(given, str) or not all(isinstance(key, str) for key in keys):
        raise ValueError(f"{given!r:.40} are no keys of files: give a list of texts, each the `key` of an upload")
    return keys


def _number_of(given: GivenId, whose: str) -> int:
    if isinstance(given, str) and given.isascii() and given.isdigit() and len(given) <= len(str(SAFE_MAX)):
        given = int(given)
    if isinstance(given, int) and not isinstance(given, bool) and 0 < given <= SAFE_MAX:
        return given
    raise ValueError(f"{given!r:.40} is no id of {whose}: give the number, or its digits")
