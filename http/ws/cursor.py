"""The cursor: where a reader stands in each room, as one text that it keeps and gives back. Pure.

    1~1099511627776.42.1~1099511627779.7.1          version, then for each room: id . seq . epoch

The same for all three transports: a WebSocket resumes with it, an event stream and a poll make it. It needs no
signature, because it gives no right: whether the user is in a room is asked of the room, a `seq` or an epoch that the
room never had is answered with `gap`, and the text is bounded. It is read strictly, so that what was cut or mixed up on
its way is refused, and nobody resumes from somewhere else in silence. The stream of a user will be one more part.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from greenroom.http.decode import INTEGER_MAX

ROOMS_MAX: Final = 200
VERSION: Final = "1"
CURSOR_CHARACTERS_MAX: Final = len(VERSION) + ROOMS_MAX * len(f"~{INTEGER_MAX}.{INTEGER_MAX}.{INTEGER_MAX}")
_PLACE: Final = re.compile(r"([1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})\.(0|[1-9][0-9]{0,15})")


class BadCursor(ValueError):
    """The text is no cursor; the message may be shown to whoever sent it."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a reader stands in one room: it has everything up to *seq* of the log of that *epoch*."""

    seq: int
    epoch: int


def cursor_text(places: Iterable[tuple[int, int, int]]) -> str:
    """The cursor of (room, seq, epoch), of at most ROOMS_MAX rooms."""
    return "~".join((VERSION, *[f"{room}.{seq}.{epoch}" for room, seq, epoch in places]))


def read_cursor(text: str) -> Mapping[int, Place]:
    """The place in each room that *text* names, in its order. Raises: BadCursor."""
    if len(text) > CURSOR_CHARACTERS_MAX:
        raise BadCursor(f"the cursor is longer than {CURSOR_CHARACTERS_MAX} characters")
    version, *parts = text.split("~")
    if version != VERSION:
        raise BadCursor("this is not a cursor of this server: begin without one")
    if len(parts) > ROOMS_MAX:
        raise BadCursor(f"the cursor names more than {ROOMS_MAX} rooms")
    places = dict(_place(part) for part in parts)
    if len(places) != len(parts):
        raise BadCursor("the cursor names a room twice")
    return places


def _place(part: str) -> tuple[int, Place]:
    match = _PLACE.fullmatch(part)
    if match is None:
        raise BadCursor("a part of the cursor is not room.seq.epoch")
    room, seq, epoch = map(int, match.groups())
    if max(room, seq, epoch) > INTEGER_MAX:
        raise BadCursor("a number of the cursor is beyond 2^53 - 1")
    return room, Place(seq, epoch)
