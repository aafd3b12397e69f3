"""Where the pages of users looked last, for a while after their sockets have ended.

The existing client says `join_conversation` when a conversation is selected, and not again after a reconnect
(existing-system.md section 2.3): its next socket is let in where the last one was, or it would hear no typing until
somebody selects another. Who several pages have: each of the next ones looks where any of them did. In memory of this
process: after a restart nothing is known.
"""

from collections import OrderedDict
from typing import Final

LOOKED_SECONDS: Final = 60.0  # the slowest retry of that client waits 30 s (section 2.7)
USERS_MAX: Final = 10_000
ROOMS_PER_USER_MAX: Final = 4


class LastLooked:
    """Of this process. now: trio time."""

    def __init__(self) -> None:
        # By user, who ended last at the end: until when, and the rooms, the newest at the end.
        self._rooms: OrderedDict[int, tuple[float, tuple[int, ...]]] = OrderedDict()

    def __len__(self) -> int:
        """Users."""
        return len(self._rooms)

    def note(self, user_id: int, room_id: int, now: float) -> None:
        """A page of the user ended that looked at this room."""
        others = [other for other in self.of(user_id, now) if other != room_id]
        self._rooms[user_id] = now + LOOKED_SECONDS, (*others[1 - ROOMS_PER_USER_MAX :], room_id)
        self._rooms.move_to_end(user_id)
        if len(self._rooms) > USERS_MAX:
            self._rooms.popitem(last=False)

    def of(self, user_id: int, now: float) -> tuple[int, ...]:
        """The rooms at which the user's pages looked that ended lately."""
        while self._rooms and next(iter(self._rooms.values()))[0] <= now:
            self._rooms.popitem(last=False)
        return self._rooms[user_id][1] if user_id in self._rooms else ()
