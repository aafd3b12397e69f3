"""Who goes round: finds sockets that nobody sits at, and users who are shown otherwise than they are.

    every 15 s, of each user:  a device had no input for PRESENCE_IDLE_SECONDS  ──▶ it is idle
                               shown is not what devices and word say           ──▶ Look

That is the lease of presence. Whatever was lost, a word of the engine's, a command, an actor that had given up, a
client that polled and does so no more, stands for one round at most. Of a process that was killed nothing is shown by
another: people are shown by the process that holds their sockets.
"""

from collections.abc import Callable, Iterable
from typing import Final

import trio

from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.presence import SocketPresence
from greenroom.runtime import sleep_to_tick

ROUND_SECONDS: Final = 15.0
WITHOUT_REST: Final = 128  # users


class Attendance:
    """One per process. Run `run` in a nursery."""

    def __init__(self, engine: SocketEngine, presence: SocketPresence, look: Callable[[int], None]) -> None:
        self._engine = engine
        self._presence = presence
        self._look = look

    async def run(self) -> None:
        """Go round, for ever."""
        while True:
            await sleep_to_tick(ROUND_SECONDS)
            await self._go_round(self._engine.users())
            await self._go_round(self._presence.without_socket())

    async def _go_round(self, user_ids: Iterable[int]) -> None:
        before = self._presence.idle_before()
        for number, user_id in enumerate(user_ids, start=1):
            self._see(user_id, before)
            if number % WITHOUT_REST == 0:
                await trio.lowlevel.checkpoint()
                before = self._presence.idle_before()

    def _see(self, user_id: int, before: float) -> None:
        connections = self._engine.connections_of(user_id)
        if len(connections) == 1 and not connections[0].is_closing:
            session = connections[0].session
            is_in_use = session.is_present and not session.is_idle and session.input_at > before
            if is_in_use and self._presence.is_plainly_online(user_id):
                return
        self._find_idle(connections, before)
        if self._presence.is_shown_wrongly(user_id):
            self._look(user_id)

    def _find_idle(self, connections: list[Connection], before: float) -> None:
        for connection in connections:
            session = connection.session
            if session.is_present and not session.is_idle and session.input_at <= before:
                session.is_idle = True
