"""What was said and is not stored yet, as far as we know. Pure.

One line of each room is under way at a time, so that a room gets them in the order they were said; each keeps its
client id through every new try, so that none is stored twice. The command of each try has an id of its own, by which
its answer is known: a client id is for the room alone to know, may be longer, and may be the same in another room.

    waiting ──start──▶ under way ──finish──▶ gone: stored, or refused for good
       ▲                  │ again: the connection was lost
       └── release ── held ◀── hold: the server asked to wait
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from greenroom.client.errors import OutboxFull, Refused

LINES_MAX: Final = 1000
_CLIENT_ID_CONFLICT: Final = 3010


@dataclass(frozen=True, slots=True)
class Line:
    """Something said in a room. attachments: the keys of its files. details: what else is said of it."""

    room_id: int
    body: str
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)
    attachments: tuple[str, ...] = ()
    details: Mapping[str, Any] = field(default_factory=dict)


class Outbox:
    """At most LINES_MAX lines, the oldest first. ids: of commands; none of them comes twice."""

    __slots__ = ("_held", "_ids", "_lines", "_sent", "_under_way")

    def __init__(self, ids: Iterator[str]) -> None:
        self._ids = ids
        self._lines: dict[tuple[int, str], Line] = {}  # by room and client id, as they were said
        self._under_way: dict[int, str] = {}  # room: the id of the command
        self._sent: dict[str, Line] = {}  # by that
        self._held: set[int] = set()  # rooms

    def __len__(self) -> int:
        """How many are not known to be stored."""
        return len(self._lines)

    def of(self, room_id: int) -> list[Line]:
        """Those of one room, as they were said."""
        return [line for line in self._lines.values() if line.room_id == room_id]

    def put(self, line: Line) -> None:
        """Say one more; a line that waits already is the same one. Raises: OutboxFull, Refused."""
        known = self._lines.get((line.room_id, line.client_id))
        if known is not None and known != line:
            what = f"another line waits for room {line.room_id} under the client id {line.client_id!r:.40}"
            raise Refused(_CLIENT_ID_CONFLICT, what)
        if known is None and len(self._lines) >= LINES_MAX:
            raise OutboxFull(f"{LINES_MAX} lines wait for the server already: wait until it is back")
        self._lines.setdefault((line.room_id, line.client_id), line)

    def start(self) -> list[tuple[str, Line]]:
        """(id of the command, line) of what is to be sent now: the first of each room that has none under way."""
        started = []
        for line in self._lines.values():
            if line.room_id not in self._under_way and line.room_id not in self._held:
                command_id = self._under_way[line.room_id] = next(self._ids)
                self._sent[command_id] = line
                started.append((command_id, line))
        return started

    def find(self, room_id: int, client_id: str | None) -> Line | None:
        """The line of this client id, as long as it is not finished."""
        return None if client_id is None else self._lines.get((room_id, client_id))

    def sent(self, command_id: str) -> Line | None:
        """The line that this command carries, as long as it is under way."""
        return self._sent.get(command_id)

    @property
    def under_way(self) -> list[Line]:
        """Those that were sent and have no answer yet."""
        return list(self._sent.values())

    def finish(self, line: Line) -> None:
        """The line is stored, or refused for good."""
        del self._lines[line.room_id, line.client_id]
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
        self._sent.clear()

    def _stand_aside(self, line: Line) -> None:
        command_id = self._under_way.get(line.room_id)
        if command_id is not None and self._sent[command_id] is line:
            del self._under_way[line.room_id], self._sent[command_id]
