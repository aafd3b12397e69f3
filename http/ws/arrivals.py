"""Arrivals: compat sockets that have just opened learn in which rooms their users show, and are shown, presence.

One reader takes those who wait, BATCH_SESSIONS_MAX at a time, with one query for a batch and one row for a room. With a
task and a query for each socket four thousand pages that came at once kept the loop for two seconds and a half.

Who came or went while storage was read is not in what it said: that is made good after it, or somebody who was removed
in that moment would be shown who is online there. Who came into a room meanwhile is read again: who is in it is news.
While storage is away nobody waits for it: those who came appear, and are shown presence when it is back. Any other
error ends the sessions it was read for: nobody would ask again for them, and their pages come again.
"""

from collections import deque
from collections.abc import Iterable
from typing import Final, Protocol

import trio

from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.replay import STORAGE_PAUSE_SECONDS
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.last_seen import LastSeen

BATCH_SESSIONS_MAX: Final = 64
TRIES_MAX: Final = 3


class Arriving(Protocol):
    """A session of a user who is known."""

    connection: Connection
    user_id: int | None
    is_present: bool

    def appear(self) -> None:
        """The user is here."""
        ...

    def arrived(self) -> None:
        """Its rooms are watched, and its user has appeared."""
        ...


class Arrivals:
    """Those who wait, in the order in which they came; at most one for each open socket."""

    def __init__(self, engine: SocketEngine, hub: Hub, last_seen: LastSeen) -> None:
        self._engine = engine
        self._hub = hub
        self._last_seen = last_seen
        self._waiting: deque[tuple[Arriving, int]] = deque()  # and how often it was read for them
        self._is_reading = False
        self._put_off: list[Arriving] = []  # storage was away

    def add(self, session: Arriving) -> None:
        """Have *session* watch its rooms; then it has arrived. Never waits."""
        self._waiting.append((session, 0))
        if not self._is_reading:
            self._is_reading = True
            self._engine.spawn(self._read_all)

    def put_off(self, session: Arriving) -> None:
        """Have *session* arrive in a while: storage was away. Never waits."""
        self._put_off.append(session)
        if len(self._put_off) == 1:
            self._engine.spawn(self._pause)

    async def _pause(self) -> None:
        await trio.sleep(STORAGE_PAUSE_SECONDS)
        sessions, self._put_off = self._put_off, []
        for session in sessions:
            if not session.connection.is_closing:
                self.add(session)

    async def _read_all(self) -> None:
        count = BATCH_SESSIONS_MAX
        try:
            while self._waiting:
                batch = [self._waiting.popleft() for _ in range(min(count, len(self._waiting)))]
                is_away = await self._read([entry for entry in batch if not entry[0].connection.is_closing])
                # One question in vain takes seconds: the answer is that of all who wait.
                count = len(self._waiting) if is_away else BATCH_SESSIONS_MAX
        finally:
            self._is_reading = False

    async def _read(self, batch: list[tuple[Arriving, int]]) -> bool:
        """Read for *batch*, and let its rooms be watched. True when storage is away."""
        small_rooms, is_away = self._hub.small_rooms, False
        rooms: dict[int, dict[int, list[int]]] = {}
        with small_rooms.noting_changes() as changes:
            try:
                rooms = await self._last_seen.small_rooms_of(_users_of(batch))
            except StorageUnavailable:
                is_away = True
                await trio.lowlevel.checkpoint()
            except Exception as error:
                for session, _ in batch:
                    self._engine.session_failed(session.connection, error)
                await trio.lowlevel.checkpoint()
        news = {change.user_id for change in changes if change.is_active}
        for session, tries in batch:
            assert session.user_id is not None
            if session.user_id in news and tries + 1 < TRIES_MAX:
                self._waiting.append((session, tries + 1))
            elif not session.connection.is_closing:
                self._hub.watch_small_rooms(session.connection, rooms.get(session.user_id, {}))
                for change in changes:
                    small_rooms.member_changed(change)
                self._let_in(session, is_away=is_away)
        return is_away

    def _let_in(self, session: Arriving, *, is_away: bool) -> None:
        try:
            if not session.is_present:
                session.appear()
            if is_away:
                self.put_off(session)
            else:
                session.arrived()
        except Exception as error:  # of one page: those who wait with it are to arrive
            self._engine.session_failed(session.connection, error)


def _users_of(batch: Iterable[tuple[Arriving, int]]) -> set[int]:
    return {session.user_id for session, _ in batch if session.user_id is not None}
