"""All that is kept, opened and migrated: the half of compose.py below the actors, which commands use alone too."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
import trio

from greenroom.attachments import blobs_of
from greenroom.settings import Settings
from greenroom.storage.asyncio_bridge import AsyncioBridge, open_asyncio_bridge
from greenroom.storage.postgres.api_keys import ApiKeys
from greenroom.storage.postgres.blocks import Blocks
from greenroom.storage.postgres.committer import PostgresCommitter
from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.embedded import EmbeddedServer, open_embedded
from greenroom.storage.postgres.ids import Ids, object_ids, user_ids
from greenroom.storage.postgres.last_seen import LastSeen
from greenroom.storage.postgres.migrate import apply_migrations, require_migrated
from greenroom.storage.postgres.notifications import Notifications
from greenroom.storage.postgres.outbox import Outbox
from greenroom.storage.postgres.pool import Postgres, open_postgres
from greenroom.storage.postgres.preferences import StoredPreferences
from greenroom.storage.postgres.reports import Reports
from greenroom.storage.postgres.search import MessageSearch
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.uploads import Uploads
from greenroom.storage.postgres.user_streams import UserStreams
from greenroom.storage.postgres.users import Users
from greenroom.storage.postgres.visibility import Visibility
from greenroom.this_machine import data_directory

log = structlog.get_logger()

LAST_SEEN_STOP_SECONDS = 0.5  # part of what a stop may take: see compose.py


@dataclass(frozen=True, slots=True)
class Storage:
    """Everything that is kept, opened and migrated."""

    directory: Path
    embedded: EmbeddedServer | None
    postgres: Postgres
    conversations: Conversations
    notifications: Notifications
    blocks: Blocks
    reports: Reports
    search: MessageSearch
    preferences: StoredPreferences
    user_streams: UserStreams
    users: Users
    sessions: Sessions
    api_keys: ApiKeys
    outbox: Outbox
    last_seen: LastSeen
    visibility: Visibility
    committer: PostgresCommitter
    ids: Ids
    uploads: Uploads


@asynccontextmanager
async def open_database(
    settings: Settings, directory: Path
) -> AsyncIterator[tuple[Postgres, AsyncioBridge, EmbeddedServer | None]]:
    """The database: the one of DATABASE_URL, or our own in *directory*. Raises: StorageError, StorageUnavailable."""
    async with AsyncExitStack() as stack:
        embedded = None
        if settings.database_url is not None:
            arguments: dict[str, Any] = {"dsn": settings.database_url.get_secret_value()}
        else:
            embedded = await stack.enter_async_context(open_embedded(directory))
            arguments = dict(embedded.address.connect_arguments())
        bridge = await stack.enter_async_context(open_asyncio_bridge())
        postgres = await stack.enter_async_context(
            open_postgres(
                bridge,
                arguments,
                connections_max=settings.database_connections_max,
                is_pooled=settings.database_pooled,
            )
        )
        yield postgres, bridge, embedded


@asynccontextmanager
async def open_storage(settings: Settings, *, migrates: bool = True) -> AsyncIterator[Storage]:
    """Open all that is kept, with the tasks that keep it."""
    directory = data_directory(settings)
    async with open_database(settings, directory) as (postgres, _, embedded):
        if migrates:
            for name in await apply_migrations(postgres):
                log.info("storage.migrated", migration=name)
        else:
            await require_migrated(postgres)
        ids, people, visibility = object_ids(postgres), user_ids(postgres), Visibility(postgres)
        storage = Storage(
            directory,
            embedded,
            postgres,
            Conversations(postgres),
            Notifications(postgres),
            Blocks(postgres),
            Reports(postgres),
            MessageSearch(postgres),
            StoredPreferences(postgres),
            UserStreams(postgres, visibility),
            Users(postgres, people),
            Sessions(postgres),
            ApiKeys(postgres),
            Outbox(postgres),
            LastSeen(postgres),
            visibility,
            PostgresCommitter(postgres),
            ids,
            Uploads(postgres, blobs_of(settings, directory)),
        )
        await ids.fill()
        await storage.visibility.load()
        async with trio.open_nursery() as nursery:
            for task in (storage.committer.run, ids.keep_filled, people.keep_filled, storage.last_seen.run):
                nursery.start_soon(task)
            try:
                yield storage
            finally:
                with trio.move_on_after(LAST_SEEN_STOP_SECONDS, shield=True):
                    await _stop_last_seen(storage.last_seen)
            nursery.cancel_scope.cancel(reason="greenroom stops")


async def _stop_last_seen(last_seen: LastSeen) -> None:
    try:
        await last_seen.stop()
    except Exception as error:  # the end of a process: the run's row says when it last lived
        log.warning("last_seen.not_written", why=str(error))
