"""Who watches whom by name: v1 sockets that asked to be told of users wherever these are, and may.

    watch ──▶ may they? ──▶ presence_state of those who may be seen ──▶ presence_diff, once a second
                   ▲                     │
                   ├─ asked again ◀── somebody left a conversation: not told meanwhile
                   │    └─ no more ──▶ presence_diff with `gone`
                   └─ asked again ◀── a block ended ◀── a block began: `gone` at once, and the watch rests
                                                    └── a block was there already: refused, and the watch rests

Whether one may see the other is asked of storage when the watch begins, and again of both sides when either leaves a
conversation. Until that is answered nothing of them is told: a watch fails closed. Of blocks the process knows more
than storage has said: what is read while a block begins is held against them.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import count
from typing import Any, Final

import structlog
import trio

from greenroom.http.ws import events
from greenroom.http.ws.connection import CONTROL, Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.presence import SocketPresence
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.last_seen import LastSeen, Seen
from greenroom.storage.postgres.visibility import Pair

log = structlog.get_logger()

TRIES: Final = 3
PAGE_PAIRS: Final = 1000
ROUND_SECONDS: Final = 0.2

MaySee = Callable[[Iterable[Pair]], Awaitable[set[Pair]]]
"""Of pairs (who looks, at whom) those in which the one may see the other. Raises: StorageUnavailable."""


class Watches:
    """One per process. Run `run` in a nursery. watchers: by user, the sockets that are told of them."""

    def __init__(
        self, engine: SocketEngine, hub: Hub, presence: SocketPresence, last_seen: LastSeen, may_see: MaySee
    ) -> None:
        self._engine = engine
        self._hub = hub
        self._presence = presence
        self._last_seen = last_seen
        self._may_see = may_see
        self.watchers: dict[int, dict[Connection, None]] = {}
        self._watched: dict[Connection, tuple[int, ...]] = {}
        self._doubted: dict[Connection, set[int]] = {}  # watched, and to be asked about again
        self._refused: dict[Connection, set[int]] = {}  # wanted, and never told of: for want of a room, or by a block
        self._numbers = count(1)
        self._newest: dict[Connection, int] = {}  # of each socket, the number of the latest `watch` that was answered
        self._doubts_came = trio.Event()

    def is_watched(self, connection: Connection, user_id: int) -> bool:
        """*connection* is told of the user now."""
        return connection in self.watchers.get(user_id, ())

    async def watch(
        self, connection: Connection, user_ids: Sequence[int], ack: Callable[[list[int] | None], None]
    ) -> None:
        """Have a v1 socket told of these users and of no others; of nobody when there are none.

        ack: called with those that may be seen, before the snapshot is sent; with None when a later call for the same
        socket was answered before. Raises: StorageUnavailable; then everything is as it was.
        """
        if connection.is_closing:
            return
        number = next(self._numbers)
        watcher_id = connection.session.user_id
        assert watcher_id is not None
        apart = self._hub.blocks.apart_from(watcher_id)
        visible, away = await self._look(watcher_id, user_ids) if user_ids else ([], {})
        if connection.is_closing or self._newest.get(connection, 0) > number:
            ack(None)
            return
        self._newest[connection] = number
        apart = apart | self._hub.blocks.apart_from(watcher_id)
        self._set(connection, visible, [one for one in user_ids if one not in visible])
        for user_id in self._refused.get(connection, set()) & apart:
            if not self._rests(connection, user_id):  # the block has ended since storage was asked
                self._doubt(connection, user_id)
        ack(visible)
        connection.write(self._state(visible, away), CONTROL)

    async def look_once(self, watcher_id: int, user_id: int, now_ms: int) -> dict[str, Any] | None:
        """How a user is now, for who has no socket; None of whom the watcher may not see.

        Shape: as in compat frames, `lastSeen` None of who was never here. Raises: StorageUnavailable.
        """
        visible, away = await self._look(watcher_id, (user_id,))
        if not visible:
            return None
        self._presence.note_asked({user_id})
        fields = self._presence.compat_fields(user_id, now_ms)
        seen = away.get(user_id)
        if seen is None or self._presence.is_online(user_id):
            return fields
        return fields | {"username": seen.name, "lastSeen": None if seen.at_ms is None else events.iso(seen.at_ms)}

    async def _look(self, watcher_id: int, user_ids: Sequence[int]) -> tuple[list[int], dict[int, Seen]]:
        """Who of them may be seen, and since when who is away."""
        visible, away = list(user_ids), dict[int, Seen]()
        for _ in range(TRIES):
            with self._hub.small_rooms.noting_changes() as changes:
                away = await self._last_seen.seen_by(watcher_id, visible)
            gone = {change.user_id for change in changes if not change.is_active}
            apart = self._hub.blocks.apart_from(watcher_id)
            visible = [user_id for user_id in visible if user_id in away and user_id not in apart]
            if watcher_id not in gone and gone.isdisjoint(visible):
                return visible, away
        return [one for one in visible if one == watcher_id or not gone & {one, watcher_id}], away

    def _set(self, connection: Connection, user_ids: Sequence[int], refused: Sequence[int]) -> None:
        self._clear(connection)
        if user_ids or refused:
            self._watched[connection] = (*user_ids, *refused)
            for user_id in user_ids:
                self.watchers.setdefault(user_id, {})[connection] = None
        if refused:
            self._refused[connection] = set(refused)

    def _clear(self, connection: Connection) -> None:
        self._doubted.pop(connection, None)
        self._refused.pop(connection, None)
        for user_id in self._watched.pop(connection, ()):
            watchers = self.watchers.get(user_id)
            if watchers is not None:  # `_remove`, a hundred times
                watchers.pop(connection, None)
                if not watchers:
                    del self.watchers[user_id]

    def _remove(self, connection: Connection, user_id: int) -> None:
        watchers = self.watchers.get(user_id)
        if watchers is not None:
            watchers.pop(connection, None)
            if not watchers:
                del self.watchers[user_id]

    def end(self, connection: Connection) -> None:
        """The socket is gone."""
        if connection in self._newest:
            del self._newest[connection]
            self._clear(connection)

    def _state(self, visible: Sequence[int], away: Mapping[int, Seen]) -> bytes:
        """All that is watched, as of now: who has gone since *away* was read went just now."""
        self._presence.note_asked(set(visible))
        online_first = sorted(visible, key=lambda user_id: not self._presence.is_online(user_id))
        items = [self._item(user_id, away.get(user_id)) for user_id in online_first]
        return events.v1_presence_state(None, items)

    def _item(self, user_id: int, seen: Seen | None) -> str:
        """How a user is now. seen: of who is away, since when; None: they went just now."""
        if seen is None or self._presence.is_online(user_id):
            return self._presence.v1_item(user_id)
        return events.v1_away(user_id, seen.name, seen.at_ms)

    # -- doubts -------------------------------------------------------------------------------------------------

    def look_again(self, user_id: int) -> None:
        """Somebody may be seen by fewer, or may see fewer: they left a conversation."""
        for connection in tuple(self.watchers.get(user_id, ())):
            self._doubt(connection, user_id)
        for connection in self._engine.connections_of(user_id):
            for watched_id in self._watched.get(connection, ()):
                if not self._rests(connection, watched_id):
                    self._doubt(connection, watched_id)

    def sight_changed(self, user_id: int, other_id: int) -> None:
        """A block of two began or ended: no word of them from now on, or it is asked again whether they may see."""
        for watcher_id, watched_id in ((user_id, other_id), (other_id, user_id)):
            for connection in tuple(self._engine.connections_of(watcher_id)):
                if watched_id not in self._watched.get(connection, ()):
                    continue
                if not self._rests(connection, watched_id):
                    self._doubt(connection, watched_id)
                elif self.is_watched(connection, watched_id):
                    self._remove(connection, watched_id)
                    connection.write(events.v1_unwatched(watched_id), CONTROL)

    def _rests(self, connection: Connection, user_id: int) -> bool:
        """A block is between the two: what is watched is not told, and asked about when the block ends."""
        watcher_id = connection.session.user_id
        return watcher_id is not None and self._hub.blocks.are_apart(watcher_id, user_id)

    def _doubt(self, connection: Connection, user_id: int) -> None:
        self._remove(connection, user_id)
        self._doubted.setdefault(connection, set()).add(user_id)
        self._doubts_came.set()

    async def run(self) -> None:
        """Settle doubts as they come. Without storage they stay, and nothing is told."""
        while True:
            await self._doubts_came.wait()
            self._doubts_came = trio.Event()
            try:
                await self._settle()
            except StorageUnavailable as error:
                log.warning("watches.not_looked_at", why=str(error))
                self._doubts_came.set()
            await trio.sleep(ROUND_SECONDS)

    async def _settle(self) -> None:
        doubts = [(connection, user_id) for connection, users in self._doubted.items() for user_id in users]
        for start in range(0, len(doubts), PAGE_PAIRS):
            page = doubts[start : start + PAGE_PAIRS]
            with self._hub.small_rooms.noting_changes() as changes:
                pairs = {(connection.session.user_id or 0, user_id) for connection, user_id in page}
                seen = await self._may_see(pairs)
                offline = {user_id for _, user_id in seen if not self._presence.is_online(user_id)}
                away = await self._last_seen.of(sorted(offline)) if offline else {}
            gone = {change.user_id for change in changes if not change.is_active}
            if gone:
                self._doubts_came.set()
            for connection, user_id in page:
                watcher_id = connection.session.user_id or 0
                if user_id in self._doubted.get(connection, ()) and gone.isdisjoint((watcher_id, user_id)):
                    self._settle_one(connection, user_id, away.get(user_id), may_see=(watcher_id, user_id) in seen)

    def _settle_one(self, connection: Connection, user_id: int, away: Seen | None, *, may_see: bool) -> None:
        doubted = self._doubted[connection]
        doubted.discard(user_id)
        if not doubted:
            del self._doubted[connection]
        if self._rests(connection, user_id):
            self._tell_gone(connection, user_id)
            return
        if may_see:
            self._refused.get(connection, set()).discard(user_id)
            self.watchers.setdefault(user_id, {})[connection] = None
            self._presence.note_asked({user_id})
            item = [self._item(user_id, away)]
            joins, leaves = (item, []) if self._presence.is_online(user_id) else ([], item)
            connection.write(events.v1_presence_diff((), joins, leaves), CONTROL)
            return
        rest = tuple(one for one in self._watched.get(connection, ()) if one != user_id)
        if rest:
            self._watched[connection] = rest
        else:
            self._watched.pop(connection, None)
        self._tell_gone(connection, user_id)
        self._refused.get(connection, set()).discard(user_id)

    def _tell_gone(self, connection: Connection, user_id: int) -> None:
        """Not of whom it was refused: that there was a block is not its business."""
        if user_id not in self._refused.get(connection, ()):
            connection.write(events.v1_unwatched(user_id), CONTROL)
