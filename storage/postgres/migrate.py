"""Bring a database to the schema of this greenroom: numbered SQL files, applied once, in order, forward only.

The files are `storage/sql/migrations/0001_name.sql`, `0002_…`, without gaps. Each runs in one transaction together with
its row in `schema_migrations (version, name, checksum, applied_at)`: it is there whole or not at all. One advisory lock
is held from before the first look to after the last file, so two processes that start together apply each file once.

An applied file is history: when its text is no longer what was applied, or the database holds versions that we do not
know, nothing runs. Line endings do not count as a change. No file may end its own transaction (no COMMIT, no CREATE
INDEX CONCURRENTLY).

These are coroutines over one connection of asyncpg, under trio (`Connection`) or asyncio. The lock belongs to the
session, so the connection must not go through a pooler that shares sessions.
"""

import hashlib
import importlib.resources
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.resources.abc import Traversable

import asyncpg
from asyncpg.types import ServerVersion

from greenroom.storage.errors import (
    DatabaseIsNewer,
    DatabaseNotUtf8,
    MigrationChanged,
    MigrationFailed,
    MigrationsBroken,
    NotMigrated,
    ServerTooOld,
)
from greenroom.storage.postgres.pool import Postgres

SERVER_MAJOR_MIN = 14
ADVISORY_LOCK = 0x67_72_65_65_6E  # "green"
_FILE_NAME = re.compile(r"(?P<version>\d{4})_(?P<name>[a-z0-9_]+)\.sql")

_HAS_TABLE = "SELECT to_regclass('schema_migrations') IS NOT NULL"
_APPLIED = "SELECT version, name, checksum FROM schema_migrations ORDER BY version"
_RECORD = "INSERT INTO schema_migrations (version, name, checksum) VALUES ($1, $2, $3)"
_CREATE_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    checksum   text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: its number, the name after the number, its text, and the SHA-256 of the text."""

    version: int
    name: str
    sql: str
    checksum: str

    @property
    def file_name(self) -> str:
        """How the file is called."""
        return f"{self.version:04}_{self.name}.sql"


def check_server(connection: asyncpg.Connection) -> None:
    """Refuse a server or a database that greenroom cannot keep its data in. Raises ServerTooOld, DatabaseNotUtf8."""
    check_server_version(connection.get_server_version())
    check_encoding(connection.get_settings().server_encoding)


def check_server_version(version: ServerVersion) -> None:
    """Refuse a server older than PostgreSQL 14. `version` is `connection.get_server_version()`."""
    if version.major < SERVER_MAJOR_MIN:
        # asyncpg gives 13.11 as 13, 0, 11: before PostgreSQL 10 there were three numbers.
        minor = version.micro if version.major >= 10 else version.minor
        raise ServerTooOld(
            f"the server behind DATABASE_URL is PostgreSQL {version.major}.{minor}, and greenroom needs "
            f"{SERVER_MAJOR_MIN} or newer: upgrade it, or unset DATABASE_URL to use the PostgreSQL that comes with us"
        )


def check_encoding(encoding: str) -> None:
    """Refuse a database that cannot hold what people write: every emoji would be a fault. encoding: server_encoding."""
    if encoding != "UTF8":
        raise DatabaseNotUtf8(
            f"the database of DATABASE_URL keeps text as {encoding}, which cannot hold all that people write: make one "
            "with `create database … encoding 'UTF8' template template0`, and name that"
        )


def read_migrations(source: Traversable | None = None) -> tuple[Migration, ...]:
    """Read the files in order. Raises MigrationsBroken unless they are well named and count from 1 without gaps."""
    # An empty set is a wheel that was built without its .sql files: setuptools leaves them out in silence.
    files = [entry for entry in (source or _own_source()).iterdir() if entry.name.endswith(".sql")]
    migrations = tuple(sorted((_read(file) for file in files), key=lambda migration: migration.version))
    if not migrations:
        raise MigrationsBroken(
            "there are no migrations in this installation: its .sql files are missing; install it again"
        )
    for expected, migration in enumerate(migrations, start=1):
        if migration.version != expected:
            raise MigrationsBroken(
                f"{migration.file_name} stands where number {expected:04} should: migrations count from 0001 without "
                "gaps or doubles; rename it, or find the file that is missing"
            )
    return migrations


async def pending(connection: asyncpg.Connection, source: Traversable | None = None) -> list[Migration]:
    """The migrations that `migrate` would apply, without applying any. Raises as `migrate` does."""
    check_server(connection)
    return await _pending(connection, read_migrations(source))


async def migrate(connection: asyncpg.Connection, source: Traversable | None = None) -> list[Migration]:
    """Apply what is pending, and return it.

    Raises ServerTooOld, DatabaseNotUtf8, MigrationsBroken, MigrationChanged and DatabaseIsNewer before anything has
    run; MigrationFailed when PostgreSQL refuses a file, whose predecessors stay applied. Waits while another process
    migrates.
    """
    check_server(connection)
    migrations = read_migrations(source)
    async with _advisory_lock(connection):
        await connection.execute(_CREATE_TABLE)
        missing = await _pending(connection, migrations)
        for migration in missing:
            await _apply(connection, migration)
    return missing


async def apply_migrations(postgres: Postgres) -> list[str]:
    """Bring the database up to date; the names of what was applied. Raises: StorageError, StorageUnavailable."""
    connection = await postgres.connect()
    try:
        return [migration.file_name for migration in await migrate(connection)]
    finally:
        connection.terminate()


async def require_migrated(postgres: Postgres) -> None:
    """Refuse a database that is not as this greenroom needs it, and change nothing. Raises: StorageError."""
    connection = await postgres.connect()
    try:
        missing = await pending(connection)
    finally:
        connection.terminate()
    if missing:
        names = ", ".join(migration.file_name for migration in missing)
        raise NotMigrated(f"the database lacks {names}: run `greenroom migrate`, or start without --no-migrate")


async def _pending(connection: asyncpg.Connection, migrations: Sequence[Migration]) -> list[Migration]:
    applied = await connection.fetch(_APPLIED) if await connection.fetchval(_HAS_TABLE) else []
    known = {migration.version: migration for migration in migrations}
    for row in applied:
        _check_applied(known.get(row["version"]), row)
    done = {row["version"] for row in applied}
    return [migration for migration in migrations if migration.version not in done]


def _check_applied(ours: Migration | None, row: asyncpg.Record) -> None:
    if ours is None:
        raise DatabaseIsNewer(
            f"the database holds the migration {row['version']:04}_{row['name']}, which this greenroom does not know: "
            "a newer one was here; start that one, or restore a database from before it"
        )
    if ours.checksum != row["checksum"]:
        raise MigrationChanged(
            f"{ours.file_name} was applied to this database with another text: an applied migration never changes; "
            "restore the file, and put the change into a new migration"
        )


async def _apply(connection: asyncpg.Connection, migration: Migration) -> None:
    try:
        async with connection.transaction():
            await connection.execute(migration.sql)
            if not connection.is_in_transaction():
                raise MigrationsBroken(
                    f"{migration.file_name} ends its own transaction: take its COMMIT or ROLLBACK out"
                )
            await connection.execute(_RECORD, migration.version, migration.name, migration.checksum)
    except asyncpg.PostgresError as error:
        before = " The migrations before it stay applied." if migration.version > 1 else ""
        raise MigrationFailed(
            f"{migration.file_name} was refused and rolled back: {error}.{before} Is this database another program's? "
            "Give greenroom one of its own (DATABASE_URL)"
        ) from error


@asynccontextmanager
async def _advisory_lock(connection: asyncpg.Connection) -> AsyncIterator[None]:
    await connection.execute("SELECT pg_advisory_lock($1)", ADVISORY_LOCK)
    try:
        yield
    finally:
        if not connection.is_closed():  # else the server has already let go of it
            await connection.execute("SELECT pg_advisory_unlock($1)", ADVISORY_LOCK)


def _read(file: Traversable) -> Migration:
    matched = _FILE_NAME.fullmatch(file.name)
    if matched is None:
        raise MigrationsBroken(f"{file.name} is no name for a migration: call it like 0007_add_markers.sql")
    sql = file.read_bytes().replace(b"\r\n", b"\n").decode("utf-8")
    return Migration(int(matched["version"]), matched["name"], sql, hashlib.sha256(sql.encode()).hexdigest())


def _own_source() -> Traversable:
    return importlib.resources.files("greenroom.storage.sql") / "migrations"
