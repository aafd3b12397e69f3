"""Who of the people that are here blocks whom: what fan-out asks, without waiting.

    hides(a)          whose messages a is not shown: of those a `skip` stands in their place
    are_apart(a, b)   one of them blocked the other: neither sees presence, typing or receipts of the other

Loaded with a user's stream, before any of the user's sockets hears anything, and kept right by the notifiers' word.
While nobody here blocks anybody, which is nearly always, asking is one look at an empty dict.
"""

from collections.abc import Collection, Iterable
from typing import Final

from greenroom.storage.changed import Changed

NOBODY: Final[frozenset[int]] = frozenset()


class SocketBlocks:
    """Of this process. hiders: sender → users here that are not shown what the sender says; read it, and no more."""

    def __init__(self) -> None:
        self.hiders: dict[int, set[int]] = {}
        self._hides: dict[int, frozenset[int]] = {}
        self._blocked_by: dict[int, frozenset[int]] = {}
        self.changed = Changed()  # of users

    def are_any(self) -> bool:
        """Whether somebody here blocks, or is blocked."""
        return bool(self._hides or self._blocked_by)

    def hides(self, user_id: int) -> frozenset[int]:
        """Whose messages this user, who is here, is not shown."""
        return self._hides.get(user_id, NOBODY) if self._hides else NOBODY

    def are_apart(self, user_id: int, other_id: int) -> bool:
        """Whether one of two has blocked the other. user_id: somebody who is here."""
        return other_id in self.apart_from(user_id)

    def apart_from(self, user_id: int) -> frozenset[int]:
        """Those whom this user, who is here, has blocked, or who have blocked them."""
        if not self._hides and not self._blocked_by:
            return NOBODY
        hides, blocked_by = self._hides.get(user_id, NOBODY), self._blocked_by.get(user_id, NOBODY)
        return hides | blocked_by if hides and blocked_by else hides or blocked_by

    def not_shown(self, senders: Iterable[int]) -> set[int]:
        """Users here that are not shown what one of *senders* says."""
        if not self.hiders:
            return set()
        return {user_id for sender_id in senders for user_id in self.hiders.get(sender_id, ())}

    def hiders_of(self, sender_id: int, other_id: int = 0) -> Collection[int]:
        """Users here that are not shown what one of the two says; 0: nobody."""
        hiders = self.hiders.get(sender_id, NOBODY)
        return hiders | self.hiders[other_id] if other_id in self.hiders else hiders

    def put(self, user_id: int, hides: Collection[int], blocked_by: Collection[int]) -> None:
        """What storage says of a user who is here."""
        self._put_hides(user_id, frozenset(hides))
        _set(self._blocked_by, user_id, frozenset(blocked_by))

    def change(self, blocker_id: int, blocked_id: int, *, is_blocked: bool) -> None:
        """Stored just now."""
        for user_id in (blocker_id, blocked_id):
            self.changed.note(user_id)
        hides, blocked_by = self._hides.get(blocker_id, NOBODY), self._blocked_by.get(blocked_id, NOBODY)
        if is_blocked:
            self._put_hides(blocker_id, hides | {blocked_id})
            _set(self._blocked_by, blocked_id, blocked_by | {blocker_id})
        else:
            self._put_hides(blocker_id, hides - {blocked_id})
            _set(self._blocked_by, blocked_id, blocked_by - {blocker_id})

    def drop(self, user_id: int) -> None:
        """The user is not here, and may be changed without our knowing."""
        if self._hides or self._blocked_by:
            self.put(user_id, NOBODY, NOBODY)

    def _put_hides(self, user_id: int, hides: frozenset[int]) -> None:
        before = self._hides.get(user_id, NOBODY)
        for sender_id in before - hides:
            hiders = self.hiders[sender_id]
            hiders.discard(user_id)
            if not hiders:
                del self.hiders[sender_id]
        for sender_id in hides - before:
            self.hiders.setdefault(sender_id, set()).add(user_id)
        _set(self._hides, user_id, hides)


def _set(table: dict[int, frozenset[int]], user_id: int, people: frozenset[int]) -> None:
    if people:
        table[user_id] = people
    else:
        table.pop(user_id, None)
