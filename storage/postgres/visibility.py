"""Who may be seen, and by whom: the users who are invisible, kept and held in memory, and who shares a conversation.

Of two of whom one has blocked the other neither may see the other, whatever they share.
"""

from collections.abc import Iterable

from greenroom.storage.postgres.pool import Postgres

Pair = tuple[int, int]
"""(who looks, at whom): user ids."""


class Visibility:
    """One per process. `load` before anybody comes in.

    invisible: all of them, because each who connects is looked up here, and few are: eight bytes and a slot each.
    """

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self.invisible: set[int] = set()

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

    async def may_see(self, pairs: Iterable[Pair]) -> set[Pair]:
        """Those of *pairs* in which the one may see the other: who share a conversation, with no block between them.

        Raises: StorageUnavailable.
        """
        asked = list(pairs)
        watchers, users = [watcher_id for watcher_id, _ in asked], [user_id for _, user_id in asked]
        rows = await self._postgres.fetch("select_who_may_see", watchers, users)
        return {(row["watcher_id"], row["user_id"]) for row in rows}
