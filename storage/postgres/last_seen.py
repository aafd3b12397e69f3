"""Last seen: who is online, written in batches, with one row per process as the proof that it lives.

A person costs a write when they come and when they go, at most FLUSH_SECONDS late; staying online costs nothing.
After kill -9 the people of that run were last seen when the run's own row was last touched.
"""

import uuid
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import structlog
import trio

from greenroom.runtime.ports import StorageUnavailable, sleep_to_tick
from greenroom.storage.postgres.pool import Postgres

log = structlog.get_logger()

FLUSH_SECONDS: Final = 5.0
SMALL_ROOM_MEMBERS_MAX: Final = 200


class Seen(NamedTuple):
    """A user who is away. at_ms: milliseconds since 1970; None of who was never here."""

    name: str
    at_ms: int | None


class LastSeen:
    """Run `run` in a nursery; `flush` once more at the end."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres
        self._run_id = uuid.uuid4()
        self._changes: dict[int, tuple[bool, int]] = {}
        self._written: dict[int, tuple[bool, int]] = {}  # just now: who reads may read what was before

    def put(self, user_id: int, *, is_online: bool, at_ms: int) -> None:
        """Remember that the user came or went; the last word of a batch counts."""
        self._changes[user_id] = (is_online, at_ms)

    async def of(self, user_ids: list[int]) -> dict[int, Seen]:
        """By user. Raises: StorageUnavailable."""
        return await self._fetch("select_last_seen", user_ids)

    async def seen_by(self, watcher_id: int, user_ids: Sequence[int]) -> dict[int, Seen]:
        """Of these users those whom *watcher_id* may see (`Visibility.may_see`). Raises: StorageUnavailable."""
        return await self._fetch("select_who_may_see", [watcher_id] * len(user_ids), user_ids)

    async def _fetch(self, name: str, *args: object) -> dict[int, Seen]:
        """What is not written yet is newer than what is read."""
        before = self._written | self._changes
        (found,) = await self._postgres.fetch(name, *args)
        waiting = before | self._written | self._changes
        seen: dict[int, Seen] = {}
        for user_id, called, stored_ms in zip(found["users"], found["names"], found["times"], strict=True):
            at_ms = waiting[user_id][1] if user_id in waiting and called is not None else stored_ms
            seen[user_id] = Seen(called or "", at_ms)
        return seen

    async def small_rooms_of(self, user_ids: Iterable[int]) -> dict[int, dict[int, list[int]]]:
        """The conversations of at most 200 members of each of these users: user → id → members."""
        found: dict[int, dict[int, list[int]]] = {user_id: {} for user_id in user_ids}
        for row in await self._postgres.fetch("select_small_rooms_of", list(found), SMALL_ROOM_MEMBERS_MAX):
            for user_id in row["users"]:
                found[user_id][row["conversation_id"]] = row["members"]
        return found

    async def run(self) -> None:
        """Register this process, then write batch after batch. Storage away: what waits is kept."""
        is_registered = False
        while True:
            try:
                if not is_registered:
                    await self._postgres.execute("insert_node_run", self._run_id)
                    is_registered = True
                await self.flush()
                await self._postgres.execute("touch_node_run", self._run_id)
            except StorageUnavailable as error:
                log.warning("last_seen.not_written", waiting=len(self._changes), why=str(error))
            except Exception:  # a deadlock with another process, say: what waits is kept, and nobody's room ends
                log.exception("last_seen.failed", waiting=len(self._changes))
            await sleep_to_tick(FLUSH_SECONDS)

    async def flush(self) -> None:
        """Write what waits. Raises: StorageUnavailable; nothing is lost then."""
        changes, self._changes = self._changes, {}
        self._written = changes
        if not changes:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._postgres.execute(
                "put_presence",
                list(changes),
                [is_online for is_online, _ in changes.values()],
                [at_ms for _, at_ms in changes.values()],
                self._run_id,
            )
        except BaseException:
            self._changes = changes | self._changes
            raise
        finally:
            self._written = {}

    async def stop(self) -> None:
        """Everybody who is still here goes now; the run is over. Raises: StorageUnavailable."""
        await self.flush()
        await self._postgres.execute("stop_node_run", self._run_id)
