"""Who types without a socket: where, until it ends by itself. For whoever has to end it sooner.

In memory, of this process, and no longer than a room believes it: what is over is forgotten with the next word of
anybody.
"""

from collections import deque
from typing import Final

from greenroom.actors.room.state import TYPING_SECONDS

ROOMS_PER_USER_MAX: Final = 200  # what was begun in more of them ends by expiry


class Typists:
    """All of them. now: trio time."""

    def __init__(self) -> None:
        self._until: dict[int, dict[int, float]] = {}  # user → room → when it ends by itself
        self._ends: deque[tuple[float, int, int]] = deque()  # the same, the first to end first; what was said again too

    def note(self, user_id: int, room_id: int, now: float, *, is_on: bool) -> None:
        """Somebody types in a room, or stopped."""
        self._forget(now)
        rooms = self._until.get(user_id, {})
        if not is_on:
            self._drop(user_id, room_id)
        elif room_id in rooms or len(rooms) < ROOMS_PER_USER_MAX:
            until = now + TYPING_SECONDS
            self._until.setdefault(user_id, {})[room_id] = until
            self._ends.append((until, user_id, room_id))

    def types_in(self, user_id: int, room_id: int, now: float) -> bool:
        """A user types in a room."""
        return now < self._until.get(user_id, {}).get(room_id, now)

    def take(self, user_id: int, now: float) -> list[int]:
        """The rooms where a user types: nowhere any more."""
        self._forget(now)
        return list(self._until.pop(user_id, ()))

    def __len__(self) -> int:
        """Users."""
        return len(self._until)

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, user_id, room_id = self._ends.popleft()
            if self._until.get(user_id, {}).get(room_id) == until:
                self._drop(user_id, room_id)

    def _drop(self, user_id: int, room_id: int) -> None:
        rooms = self._until.get(user_id, {})
        rooms.pop(room_id, None)
        if not rooms:
            self._until.pop(user_id, None)
