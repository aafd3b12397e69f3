"""Who may be seen, and by whom: the users who are invisible, kept and held in memory, and who shares a conversation.

Of two of whom one has blocked the other neither may see the other, whatever they share.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from greenroom.storage.changed import Changed
from greenroom.storage.postgres.pool import Postgres

Pair = tuple[int, int]
"""(who looks, at whom): user ids."""


class Visibility:
    """One per process. `load` before anybody comes in.

    invisible: all of them, because each who connects is looked up here, and few are: eight bytes and a slot each. What
    another process was told is heard (`http/ws/ends.py`), or found out when the user comes, and told to `on_found`.
    changed: what was stored by this one, or found, of each.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.invisible: set[int] = set()
        self.changed = Changed()
        self.on_found: Callable[[int], None] = lambda user_id: None

    async def load(self) -> None:
        """Learn who is invisible. Raises: StorageUnavailable."""
        self.invisible = {row["user_id"] for row in await self._postgres.fetch("select_invisible_users")}

    async def put(self, user_id: int, *, is_invisible: bool) -> None:
        """Store it, then know it. Raises: StorageUnavailable; what is known here stands then."""
        if is_invisible:
            await self._postgres.execute("insert_invisible_user", user_id)
            self.invisible.add(user_id)
        else:
            await self._postgres.execute("delete_invisible_user", user_id)
            self.invisible.discard(user_id)
        self.changed.note(user_id)

    async def look_again(self, user_ids: Collection[int] | None) -> None:
        """Somebody else may have stored something of these users; None: of anybody. Raises: StorageUnavailable.

        Of whom something was stored or found here meanwhile is asked once more: which of the two is newer is not known.
        """
        while user_ids is None or user_ids:
            asked_at = self.changed.version
            if user_ids is None:
                rows = await self._postgres.fetch("select_invisible_users")
            else:
                rows = await self._postgres.fetch("select_invisible_among", list(user_ids))
            invisible = {row["user_id"] for row in rows}
            asked = invisible | self.invisible if user_ids is None else user_ids
            user_ids = self.found({user_id: user_id in invisible for user_id in asked}, asked_at)

    def found(self, are_invisible: Mapping[int, bool], asked_at: int) -> set[int]:
        """So it was in storage, which was asked at that version of `changed`.

        Returns of whom that may be out of date: of them nothing is believed.
        """
        older = {user_id for user_id in are_invisible if self.changed.since(user_id, asked_at)}
        for user_id, is_invisible in are_invisible.items():
            if user_id not in older and is_invisible != (user_id in self.invisible):
                (self.invisible.add if is_invisible else self.invisible.discard)(user_id)
                self.changed.note(user_id)
                self.on_found(user_id)
        return older

    async def may_see(self, pairs: Iterable[Pair]) -> set[Pair]:
        """Those of *pairs* in which the one may see the other: who share a conversation, with no block between them.

        Raises: StorageUnavailable.
        """
        asked = list(pairs)
        watchers, users = [watcher_id for watcher_id, _ in asked], [user_id for _, user_id in asked]
        (found,) = await self._postgres.fetch("select_who_may_see", watchers, users)
        return set(zip(found["watchers"], found["users"], strict=True))
