"""Where the pages of users looked last, and whom they may show as typing or online, after their sockets have ended.

The existing client says `join_conversation` when a conversation is selected, and not again after a reconnect
(existing-system.md section 2.3): its next socket is let in where the last one was, or it would hear no typing until
somebody selects another. Who several pages have: each of the next ones looks where any of them did. In memory of this
process: after a restart nothing is known.

Nor does it take anybody out of its list of who types unless it is told to. Who types when a socket ends may stop before
the next one comes, and of a line that broke unnoticed the last minutes were not heard: the next socket is told of all
of them that they stopped, before it is told who types then. So it is where such a line is still thought to be open.

Alike its list of who is online: who may be seen no more when the next socket comes is told to have gone.
"""

from array import array
from collections import OrderedDict
from collections.abc import Iterable
from typing import Final, TypeVar

LOOKED_SECONDS: Final = 60.0  # the slowest retry of that client waits 30 s (section 2.7)
USERS_MAX: Final = 10_000
ROOMS_PER_USER_MAX: Final = 4
SHOWN_SECONDS: Final = 86_400.0  # a tab may be hidden for long, and shows what it showed
SHOWN_PER_USER_MAX: Final = 50
ONLINE_PER_USER_MAX: Final = 200  # a full small room

T = TypeVar("T")
Typist = tuple[int, int]
"""A room, and who types there."""


class LastLooked:
    """Of this process. now: trio time."""

    def __init__(self) -> None:
        # By user, who ended last at the end: until when, and the rooms, the newest at the end.
        self._rooms: OrderedDict[int, tuple[float, tuple[int, ...]]] = OrderedDict()
        self._shown: OrderedDict[int, tuple[float, dict[Typist, str]]] = OrderedDict()  # alike; with their names
        # Alike; whom, and until when each of them, the first at the beginning: two arrays, at most 32 MB.
        self._online: OrderedDict[int, tuple[float, tuple[array[int], array[float]]]] = OrderedDict()

    def __len__(self) -> int:
        """Users."""
        return len(self._rooms)

    def note(self, user_id: int, room_id: int, now: float) -> None:
        """A page of the user ended that looked at this room."""
        others = [other for other in self.of(user_id, now) if other != room_id]
        _keep(self._rooms, user_id, now + LOOKED_SECONDS, (*others[1 - ROOMS_PER_USER_MAX :], room_id))

    def of(self, user_id: int, now: float) -> tuple[int, ...]:
        """The rooms at which the user's pages looked that ended lately."""
        _drop_old(self._rooms, now)
        return self._rooms[user_id][1] if user_id in self._rooms else ()

    def note_shown(self, user_id: int, typists: dict[Typist, str], now: float) -> None:
        """A page of the user ended that may show these as typing."""
        shown = self.shown(user_id, now) | typists
        _keep(self._shown, user_id, now + SHOWN_SECONDS, dict([*shown.items()][-SHOWN_PER_USER_MAX:]))

    def shown(self, user_id: int, now: float) -> dict[Typist, str]:
        """Whom the user's pages may show as typing, by their name."""
        _drop_old(self._shown, now)
        return self._shown[user_id][1] if user_id in self._shown else {}

    def note_online(self, user_id: int, people: Iterable[int], now: float) -> None:
        """A page of the user may show these as online: it ended, or may not have heard that it sees them no more."""
        until, noted = now + SHOWN_SECONDS, self.online(user_id, now)
        for one in people:
            noted.pop(one, None)
            noted[one] = until
        newest = [*noted][-ONLINE_PER_USER_MAX:]
        _keep(self._online, user_id, until, (array("q", newest), array("d", [noted[one] for one in newest])))

    def online(self, user_id: int, now: float) -> dict[int, float]:
        """Whom the user's pages may show as online, whether the user may see them still or not, and until when."""
        _drop_old(self._online, now)
        if user_id not in self._online:
            return {}
        people, untils = self._online[user_id][1]
        return {one: until for one, until in zip(people, untils, strict=True) if until > now}


def _keep(noted: OrderedDict[int, tuple[float, T]], user_id: int, until: float, what: T) -> None:
    noted[user_id] = until, what
    noted.move_to_end(user_id)
    if len(noted) > USERS_MAX:
        noted.popitem(last=False)


def _drop_old(noted: OrderedDict[int, tuple[float, T]], now: float) -> None:
    while noted and next(iter(noted.values()))[0] <= now:
        noted.popitem(last=False)
