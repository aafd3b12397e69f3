"""The database for a command: that of DATABASE_URL, or our own, whether or not a server runs on it now.

A running server holds the data directory; its PostgreSQL is reached through the socket that postmaster.pid names. When
none runs, PostgreSQL is started for the time of the command, and brought up to date.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import trio

from greenroom.commands.failure import CommandFailed
from greenroom.compose_storage import open_database
from greenroom.settings import Settings
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.errors import DataDirectoryHeld
from greenroom.storage.postgres.data_directory import postgres_place
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.left_behind import postmaster_file
from greenroom.storage.postgres.migrate import apply_migrations, require_migrated
from greenroom.storage.postgres.pool import Postgres, open_postgres
from greenroom.this_machine import data_directory

START_SECONDS_MAX = 20.0
_POLL_SECONDS = 0.05


@asynccontextmanager
async def open_for_command(settings: Settings) -> AsyncIterator[tuple[Postgres, Path]]:
    """The database, migrated, and the data directory. Raises StorageError, StorageUnavailable, CommandFailed."""
    directory = data_directory(settings)
    async with AsyncExitStack() as stack:
        try:
            postgres, _, embedded = await stack.enter_async_context(open_database(settings, directory))
        except DataDirectoryHeld:
            postgres = await stack.enter_async_context(_open_running(directory))
        else:
            if embedded is not None:
                await apply_migrations(postgres)
        await require_migrated(postgres)
        yield postgres, directory


@asynccontextmanager
async def _open_running(directory: Path) -> AsyncIterator[Postgres]:
    address = await _running_address(directory)
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, address.connect_arguments(), connections_max=2) as postgres,
    ):
        yield postgres


async def _running_address(directory: Path) -> ServerAddress:
    with trio.move_on_after(START_SECONDS_MAX):
        while True:
            data = postgres_place(directory) / "postgres" / "cluster" / "data"
            lines = postmaster_file(data)
            if len(lines) >= 8 and lines[7].strip() == "ready":
                return ServerAddress(host=lines[4].strip())
            await trio.sleep(_POLL_SECONDS)  # between two processes there is nothing to wait on
    raise CommandFailed(f"{directory} is held by another greenroom whose PostgreSQL does not come up: look at its log")
