"""What was said and is not stored yet, as far as we know. Pure.

One line of each room is under way at a time, so that a room gets them in the order they were said; each keeps its
client id through every new try, so that none is stored twice.

    waiting ──start──▶ under way ──finish──▶ gone: stored, or refused for good
       ▲                  │ again: the connection was lost
       └── release ── held ◀── hold: the server asked to wait
"""

import uuid
from dataclasses import dataclass, field
from typing import Final

from greenroom.client.errors import OutboxFull

LINES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """Something said in a room. attachments: the keys of its files."""

    room_id: int
    body: str
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attachments: tuple[str, ...] = ()


class Outbox:
    """At most LINES_MAX lines, the oldest first."""

    __slots__ = ("_held", "_lines", "_under_way")

    def __init__(self) -> None:
        self._lines: dict[str, Line] = {}  # by client id, as they were said
        self._under_way: dict[int, str] = {}  # room: client id
        self._held: set[int] = set()  # rooms

    def __len__(self) -> int:
        """How many are not known to be stored."""
        return len(self._lines)

    def of(self, room_id: int) -> list[Line]:
        """Those of one room, as they were said."""
        return [line for line in self._lines.values() if line.room_id == room_id]

    def put(self, line: Line) -> None:
        """Say one more. Raises: OutboxFull."""
        if len(self._lines) >= LINES_MAX:
            raise OutboxFull(f"{LINES_MAX} lines wait for the server already: wait until it is back")
        self._lines[line.client_id] = line

    def start(self) -> list[Line]:
        """The lines to send now: the first of each room that has none under way."""
        started = []
        for line in self._lines.values():
            if line.room_id not in self._under_way and line.room_id not in self._held:
                self._under_way[line.room_id] = line.client_id
                started.append(line)
        return started

    def find(self, client_id: str | None) -> Line | None:
        """The line of this client id, as long as it is not finished."""
        return None if client_id is None else self._lines.get(client_id)

    @property
    def under_way(self) -> list[Line]:
        """Those that were sent and have no answer yet."""
        return [self._lines[client_id] for client_id in self._under_way.values()]

    def finish(self, line: Line) -> None:
        """The line is stored, or refused for good."""
        del self._lines[line.client_id]
        self._stand_aside(line)

    def hold(self, line: Line) -> None:
        """The server asks to wait before this line is sent again."""
        self._held.add(line.room_id)
        self._stand_aside(line)

    def release(self, room_id: int) -> None:
        """The wait is over."""
        self._held.discard(room_id)

    def again(self) -> None:
        """Whatever was under way has to be sent again."""
        self._under_way.clear()

    def _stand_aside(self, line: Line) -> None:
        if self._under_way.get(line.room_id) == line.client_id:
            del self._under_way[line.room_id]
