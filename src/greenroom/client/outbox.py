"""What was said and is not stored yet, as far as we know. Pure.

One line is under way at a time, so that they are stored in the order they were said; each keeps its client id through
every new try, so that none is stored twice.
"""

import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from greenroom.client.errors import OutboxFull

LINES_MAX: Final = 1000


@dataclass(frozen=True, slots=True)
class Line:
    """Something said in a room."""

    room_id: int
    body: str
    client_id: str = field(default_factory=lambda: uuid.uuid4().hex)


class Outbox:
    """At most LINES_MAX lines, the oldest first."""

    __slots__ = ("_is_under_way", "_lines")

    def __init__(self) -> None:
        self._lines: deque[Line] = deque()
        self._is_under_way = False

    def __len__(self) -> int:
        """How many are not known to be stored."""
        return len(self._lines)

    def put(self, line: Line) -> None:
        """Say one more. Raises: OutboxFull."""
        if len(self._lines) >= LINES_MAX:
            raise OutboxFull(f"{LINES_MAX} lines wait for the server already: wait until it is back")
        self._lines.append(line)

    def start(self) -> Line | None:
        """The line to send now, if there is one and none is under way."""
        if self._is_under_way or not self._lines:
            return None
        self._is_under_way = True
        return self._lines[0]

    def is_under_way(self, client_id: str) -> bool:
        """An answer to this concerns the line that is under way."""
        return self._is_under_way and self._lines[0].client_id == client_id

    def finish(self) -> Line:
        """The line under way is stored, or refused for good."""
        self._is_under_way = False
        return self._lines.popleft()

    def again(self) -> None:
        """Whatever was under way has to be sent again."""
        self._is_under_way = False
