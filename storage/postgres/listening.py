"""Listening: what PostgreSQL is told to tell (NOTIFY), as it is committed, on a connection of its own.

    connect ──▶ LISTEN ──▶ payloads, as they come ──▶ the connection is lost ──▶ a rest ──▶ connect …

What is told while nobody listens is lost, so this makes faster what is found by looking as well, and replaces no look;
whoever has no other look is told each time that listening begins. PostgreSQL may also refuse the connection, or to
listen: a password that was changed, a database that takes nobody now, a standby. That passes, like an outage.
Costs nothing while nothing is told but a probe every PROBE_SECONDS, without which a line that died in silence would
never be missed. A transaction pooler gives no connection of one's own: behind one nothing is heard.
"""

from collections.abc import Callable
from typing import Any, Final

import asyncpg
import structlog
import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.postgres.pool import CONNECT_SECONDS_MAX, Postgres, answered_within
from greenroom.storage.postgres.queries import query

log = structlog.get_logger()

PROBE_SECONDS: Final = 60.0
RETRY_SECONDS: Final = 1.0


async def listen(
    postgres: Postgres, channel: str, heard: Callable[[str], None], begun: Callable[[], None] = lambda: None
) -> None:
    """Have *heard* called with each payload on *channel*, for ever; *begun* each time that they come from now on.

    Neither may raise, nor take time. Returns at once behind a transaction pooler.
    """
    await trio.lowlevel.checkpoint()
    is_told = False
    while not postgres.is_pooled:
        try:
            await _listen_once(postgres, channel, heard, begun)
        except (StorageUnavailable, asyncpg.PostgresError) as error:
            if not is_told:  # others tell of an outage: this is for what only the listener cannot do
                log.info("storage.not_listening", channel=channel, why=str(error))
            is_told = True
        await trio.sleep(RETRY_SECONDS)


async def _listen_once(
    postgres: Postgres, channel: str, heard: Callable[[str], None], begun: Callable[[], None]
) -> None:
    """Until the connection is over. Raises: StorageUnavailable, and what PostgreSQL refuses."""
    is_over = trio.Event()

    def told(connection: Any, pid: int, channel: str, payload: str) -> None:
        heard(payload)

    connection = await postgres.connect(listens=True)
    try:
        connection.add_termination_listener(lambda _: is_over.set())
        with answered_within(CONNECT_SECONDS_MAX):
            await connection.add_listener(channel, told)
        begun()
        while not is_over.is_set():
            with trio.move_on_after(PROBE_SECONDS):
                await is_over.wait()
                return
            with answered_within(CONNECT_SECONDS_MAX):
                await connection.fetchval(query("probe"))
    finally:
        connection.terminate()
