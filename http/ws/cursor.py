"""The cursor: where a reader stands in its user's stream and in each room, as one text that it keeps. Pure.

    1~u17.1~1099511627776.42.1~1099511627779.7.1
    │ │     └ for each room: id . seq . epoch, or id . 0 . 0 of one that begins at its top (`AT_TOP`)
    │ └ the user's stream: u useq . epoch; not in a cursor from before there was one, whose reader begins there at now
    └ version

The same for all three transports: a WebSocket resumes with it, an event stream and a poll make it. It needs no
signature, because it gives no right: whose stream it is follows from the credential, whether the user is in a room is
asked of the room, a `useq`, `seq` or epoch that never was is answered with `gap`, and the text is bounded. It is read
strictly, so that what was cut or mixed up on its way is refused, and nobody resumes from somewhere else in silence.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from greenroom.http.decode import INTEGER_MAX

ROOMS_MAX: Final = 200
VERSION: Final = "1"
_TWO_NUMBERS: Final = f"{INTEGER_MAX}.{INTEGER_MAX}"
CURSOR_CHARACTERS_MAX: Final = len(f"{VERSION}~u{_TWO_NUMBERS}") + ROOMS_MAX * len(f"~{INTEGER_MAX}.{_TWO_NUMBERS}")
_AT: Final = r"(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})"
_USER: Final = re.compile(f"u{_AT}")
_ROOM: Final = re.compile(rf"([1-9][0-9]{{0,15}})\.{_AT}")


class BadCursor(ValueError):
    """The text is no cursor; the message may be shown to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader stands in one room, or in its user's stream: it has all up to *seq* of the log of that *epoch*."""

    seq: int
    epoch: int


# Of a room that had not answered yet when its reader began without a cursor: it begins at its top. No log has epoch 0.
AT_TOP: Final = Place(0, 0)


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a reader stands. rooms: by id, in the order of the text. user: in its user's stream; None: not said."""

    rooms: Mapping[int, Place]
    user: Place | None = None


def cursor_text(user: Place | None, rooms: Iterable[tuple[int, int, int]]) -> str:
    """The cursor of a place in the user's stream, and of (room, seq, epoch), of at most ROOMS_MAX rooms."""
    own = () if user is None else (f"u{user.seq}.{user.epoch}",)
    return "~".join((VERSION, *own, *[f"{room}.{seq}.{epoch}" for room, seq, epoch in rooms]))


def read_cursor(text: str) -> Cursor:
    """The places that *text* names. Raises: BadCursor."""
    if len(text) > CURSOR_CHARACTERS_MAX:
        raise BadCursor(f"the cursor is longer than {CURSOR_CHARACTERS_MAX} characters")
    version, *parts = text.split("~")
    if version != VERSION:
        raise BadCursor("this is not a cursor of this server: begin without one")
    user = None
    if parts and parts[0].startswith("u"):
        user = Place(*_numbers(_USER, parts.pop(0), "u, useq.epoch"))
    if len(parts) > ROOMS_MAX:
        raise BadCursor(f"the cursor names more than {ROOMS_MAX} rooms")
    rooms = dict(_room(part) for part in parts)
    if len(rooms) != len(parts):
        raise BadCursor("the cursor names a room twice")
    return Cursor(rooms, user)


def _room(part: str) -> tuple[int, Place]:
    room, seq, epoch = _numbers(_ROOM, part, "room.seq.epoch")
    return room, Place(seq, epoch)


def _numbers(pattern: re.Pattern[str], part: str, form: str) -> list[int]:
    match = pattern.fullmatch(part)
    if match is None:
        raise BadCursor(f"a part of the cursor is not {form}")
    numbers = [int(number) for number in match.groups()]
    if max(numbers) > INTEGER_MAX:
        raise BadCursor("a number of the cursor is beyond 2^53 - 1")
    return numbers
