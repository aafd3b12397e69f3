"""How those are who are watched by name, folded from the frames of presence that name no room. Pure.

Unlike in a room everybody is told, who is offline too. Whom a block parts from us is gone, and told again when it ends.
"""

from collections.abc import Iterable
from typing import Any

from greenroom.client.events import Person
from greenroom.client.presence import person_of

Item = dict[str, Any]


class WatchList:
    """people: by id, as they were told last."""

    __slots__ = ("people",)

    def __init__(self) -> None:
        self.people: dict[int, Person] = {}

    def state(self, users: Iterable[Item]) -> bool:
        """Everybody who is watched, and nobody else; there is always something to tell."""
        self.people = {item["user"]: person_of(item) for item in users}
        return True

    def diff(self, joins: Iterable[Item], leaves: Iterable[Item], gone: Iterable[int] = ()) -> bool:
        """Who changed, and who may be seen no more: whether it is different from before."""
        before = dict(self.people)
        self.people |= {item["user"]: person_of(item) for item in (*joins, *leaves)}
        for user_id in gone:
            self.people.pop(user_id, None)
        return self.people != before
