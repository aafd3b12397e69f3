"""Places: so many of a kind at once, in all and of each user. In memory, of this process.

Once half of all are taken a user may have fewer, so that a few accounts cannot have them all.
"""

from collections import Counter
from types import TracebackType
from typing import Self

from greenroom.http.errors import ApiError


class Place:
    """One place, from `Places.take` on; left at the end of the `with`, unless it is kept, or when `leave` is called."""

    def __init__(self, places: "Places", user_id: int) -> None:
        self._places: Places | None = places
        self._user_id = user_id
        self._is_kept = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._is_kept or error is not None:
            self.leave()

    def keep(self) -> Self:
        """Have it beyond the `with`: whoever keeps it calls `leave`."""
        self._is_kept = True
        return self

    def leave(self) -> None:
        """Let somebody else have it. May be called again."""
        places, self._places = self._places, None
        if places is not None:
            places.left(self._user_id)


class Places:
    """at_once: in all. per_user: for each. per_user_if_many: for each, once half of all are taken. what: in words."""

    def __init__(self, what: str, at_once: int, per_user: int, per_user_if_many: int) -> None:
        self._what = what
        self._at_once = at_once
        self._per_user = per_user
        self._per_user_if_many = per_user_if_many
        self._taken = Counter[int]()
        self.count = 0

    def take(self, user_id: int) -> Place:
        """One of the places. Raises: ApiError 429 and 503, with Retry-After."""
        mine = self._taken.get(user_id, 0)
        if mine >= self._per_user:
            text = f"too many {self._what} at once: wait for those before this one"
            raise ApiError("RATE_LIMIT_EXCEEDED", text, retry_after=1)
        is_many = self.count >= self._at_once // 2
        if self.count >= self._at_once or (is_many and mine >= self._per_user_if_many):
            raise ApiError("SERVICE_UNAVAILABLE", f"too many {self._what} at once: try again soon", retry_after=1)
        self._taken[user_id] += 1
        self.count += 1
        return Place(self, user_id)

    def left(self, user_id: int) -> None:
        """Of a place: it is free."""
        self.count -= 1
        self._taken[user_id] -= 1
        if not self._taken[user_id]:
            del self._taken[user_id]
