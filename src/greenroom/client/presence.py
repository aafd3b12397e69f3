"""Who is here in one room, folded from `presence_state` and `presence_diff`, and from who leaves the room. Pure.

All answer with what changed for the reader: who came or appears otherwise now, and who went. What was believed before
a cut is kept to compare the next state with, but is not known any more until that comes. So it is in a room that grows
too large for the server to tell, which says so with an empty state; the first one behind `live` says that nobody is
here. Of a room that is too large when it is live no state is told. When it shrinks to a size that is told again, a diff
holds everybody.

That somebody left stands in the log alone, and may come late, with a page of `history`: it counts unless they were told
of when the log was as far already. A *top* is the newest seq of it that is known of.
"""

from dataclasses import replace
from typing import Any

from greenroom.client.events import Person

Item = dict[str, Any]
Changed = tuple[tuple[Person, ...], tuple[Person, ...]]


class Presence:
    """is_known: the server has told of everybody on this connection."""

    __slots__ = ("_is_live", "_is_too_large", "_tops", "is_known", "people")

    def __init__(self) -> None:
        self.is_known = False
        self._is_live = False
        self._is_too_large = False  # and the server has said so
        self.people: dict[int, Person] = {}
        self._tops: dict[int, int] = {}  # when each of them was told of last

    def heard(self, frame: Item, top: int) -> Changed:
        """What a `presence_state` or `presence_diff` of the room tells: (who came or changed, who went)."""
        data = frame["data"]
        is_state = frame["type"] == "presence_state"
        return self.state(data["users"], top) if is_state else self.diff(data["joins"], data["leaves"], top)

    def state(self, users: list[Item], top: int) -> Changed:
        """Everybody who is here, and nobody else: (who came or changed, who went)."""
        is_coming_in = self._is_live and not self.is_known and not self._is_too_large
        if users or is_coming_in:
            return self._replaced(users, top)
        self.is_known = False  # an empty room is told on coming in alone: this one is too large from now on
        self._is_too_large = True
        return (), ()

    def diff(self, joins: list[Item], leaves: list[Item], top: int) -> Changed:
        """Some people came, changed or went: (who came or changed, who went)."""
        if self._is_live and not self.is_known:
            return self._replaced(joins, top)
        came = [person_of(item) for item in joins if _is_here(item)]
        here = tuple(person for person in came if self.people.get(person.user_id) != person)
        self.people |= {person.user_id: person for person in here}
        self._tops |= {person.user_id: top for person in came}
        left = [person_of(item) for item in (*leaves, *(item for item in joins if not _is_here(item)))]
        gone = tuple(person for person in left if self.people.pop(person.user_id, None) is not None)
        return here, gone

    def left(self, user_id: int, seq: int | None) -> Changed:
        """Somebody has left the room, at this place of its log (None: now): as above."""
        person = self.people.get(user_id)
        if person is None or (seq is not None and seq <= self._tops[user_id]):
            return (), ()
        del self.people[user_id]
        return (), (replace(person, status="offline"),)

    def live(self) -> None:
        """The room is caught up: a state follows, unless it is too large."""
        self._is_live = True

    def forget(self) -> None:
        """The connection is lost: nobody says who comes and goes."""
        self.is_known = self._is_live = self._is_too_large = False

    def _replaced(self, users: list[Item], top: int) -> Changed:
        people = {item["user"]: person_of(item) for item in users if _is_here(item)}
        left = [person for user_id, person in self.people.items() if user_id not in people]
        gone = tuple(replace(person, status="offline") for person in left)
        here = tuple(person for user_id, person in people.items() if self.people.get(user_id) != person)
        self.people, self.is_known, self._is_too_large = people, True, False
        self._tops = dict.fromkeys(people, top)
        return here, gone


def person_of(item: Item) -> Person:
    """As a frame of presence tells of them."""
    user_id = item["user"]
    name = item.get("name") or f"user {user_id}"
    return Person(user_id, name, item.get("status") or "online", item.get("activity") or "", item.get("lastSeen"))


def _is_here(item: Item) -> bool:
    return bool(item.get("status") != "offline")
