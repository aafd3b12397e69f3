"""Who types without a socket: where, under what, until it ends by itself. For whoever has to end it sooner.

In memory, of this process, and no longer than a room believes it: what is over is forgotten with the next word of
anybody.
"""

from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple

from greenroom.actors.room.state import TYPING_SECONDS
from greenroom.http.ws.last_inputs import WITHOUT_SESSION

ROOMS_PER_USER_MAX: Final = 200  # what was begun in more of them ends by expiry


class Begun(NamedTuple):
    """By whom somebody types: the id of a session, or WITHOUT_SESSION, and as `token_issued_at` gives it.

    until: trio time, when it ends by itself.
    """

    until: float
    under: str = WITHOUT_SESSION
    token_issued_at: float | None = None


class Typists:
    """All of them. now: trio time."""

    def __init__(self) -> None:
        self._begun: dict[int, dict[int, Begun]] = {}  # user → room
        self._ends: deque[tuple[float, int, int]] = deque()  # the same, the first to end first; what was said again too

    def __contains__(self, user_id: int) -> bool:
        return user_id in self._begun

    def note(
        self,
        user_id: int,
        room_id: int,
        now: float,
        *,
        is_on: bool,
        under: str = WITHOUT_SESSION,
        token_issued_at: float | None = None,
    ) -> None:
        """Somebody types in a room, or stopped."""
        self._forget(now)
        rooms = self._begun.get(user_id, {})
        if not is_on:
            self._drop(user_id, room_id)
        elif room_id in rooms or len(rooms) < ROOMS_PER_USER_MAX:
            begun = Begun(now + TYPING_SECONDS, under, token_issued_at)
            self._begun.setdefault(user_id, {})[room_id] = begun
            self._ends.append((begun.until, user_id, room_id))

    def types_in(self, user_id: int, room_id: int, now: float) -> bool:
        """A user types in a room."""
        begun = self._begun.get(user_id, {}).get(room_id)
        return begun is not None and now < begun.until

    def take(self, user_id: int, now: float, is_over: Callable[[Begun], bool] = lambda begun: True) -> list[int]:
        """The rooms where a user types by what is over: not any more."""
        self._forget(now)
        rooms = [room_id for room_id, begun in self._begun.get(user_id, {}).items() if is_over(begun)]
        for room_id in rooms:
            self._drop(user_id, room_id)
        return rooms

    def users(self) -> list[int]:
        """Who types somewhere, or did a moment ago."""
        return list(self._begun)

    def sessions_of(self, user_id: int) -> set[str]:
        """The ids of the sessions under which a user types; not those of tokens."""
        begun = self._begun.get(user_id, {}).values()
        return {one.under for one in begun if one.token_issued_at is None}

    def __len__(self) -> int:
        """Users."""
        return len(self._begun)

    def _forget(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            until, user_id, room_id = self._ends.popleft()
            begun = self._begun.get(user_id, {}).get(room_id)
            if begun is not None and begun.until == until:
                self._drop(user_id, room_id)

    def _drop(self, user_id: int, room_id: int) -> None:
        rooms = self._begun.get(user_id, {})
        rooms.pop(room_id, None)
        if not rooms:
            self._begun.pop(user_id, None)
