"""storage/postgres/migrate.py: each file once, in order, whole or not at all."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from importlib import resources
from pathlib import Path

import asyncpg
import pytest
import trio
import trio_asyncio
from asyncpg.serverversion import split_server_version_string
from trio_asyncio import aio_as_trio

from greenroom.storage.errors import (
    DatabaseIsNewer,
    DatabaseNotUtf8,
    MigrationChanged,
    MigrationFailed,
    MigrationsBroken,
    ServerTooOld,
)
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.migrate import ADVISORY_LOCK, check_server_version, migrate, pending, read_migrations


@asynccontextmanager
async def connected(database: ServerAddress) -> AsyncIterator[asyncpg.Connection]:
    """A connection whose search path is an empty schema, so nothing of ours is applied there yet."""
    connection = await aio_as_trio(asyncpg.connect)(**database.connect_arguments())
    try:
        await aio_as_trio(connection.execute)("CREATE SCHEMA IF NOT EXISTS fresh; SET search_path = fresh")
        yield connection
    finally:
        await aio_as_trio(connection.close)()


@pytest.fixture
async def connection(database: ServerAddress) -> AsyncIterator[asyncpg.Connection]:
    async with trio_asyncio.open_loop(), connected(database) as opened:
        yield opened


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "0001_rooms.sql").write_text("CREATE TABLE room (id bigint); INSERT INTO room VALUES (1);")
    (tmp_path / "0002_topics.sql").write_text("ALTER TABLE room ADD topic text;")
    return tmp_path


async def test_applies_all_files_in_order_and_says_which(connection, files):
    applied = await aio_as_trio(migrate)(connection, files)
    assert [migration.file_name for migration in applied] == ["0001_rooms.sql", "0002_topics.sql"]
    assert await aio_as_trio(connection.fetchval)("SELECT count(*) FROM room WHERE topic IS NULL") == 1
    rows = await aio_as_trio(connection.fetch)("SELECT * FROM schema_migrations ORDER BY version")
    assert [(row["version"], row["name"]) for row in rows] == [(1, "rooms"), (2, "topics")]
    assert all(row["applied_at"] is not None for row in rows)


async def test_a_second_run_applies_nothing(connection, files):
    await aio_as_trio(migrate)(connection, files)
    assert await aio_as_trio(migrate)(connection, files) == []


async def test_pending_names_what_is_missing_and_changes_nothing(connection, files):
    assert [migration.version for migration in await aio_as_trio(pending)(connection, files)] == [1, 2]
    assert await aio_as_trio(connection.fetchval)("SELECT to_regclass('schema_migrations')") is None
    await aio_as_trio(migrate)(connection, files)
    (files / "0003_more.sql").write_text("SELECT 1")
    assert [migration.name for migration in await aio_as_trio(pending)(connection, files)] == ["more"]


async def test_refuses_an_applied_file_that_changed_by_its_name(connection, files):
    await aio_as_trio(migrate)(connection, files)
    (files / "0001_rooms.sql").write_text("CREATE TABLE room (id integer)")
    (files / "0003_more.sql").write_text("CREATE TABLE more ()")
    with pytest.raises(MigrationChanged, match=r"0001_rooms\.sql"):
        await aio_as_trio(migrate)(connection, files)
    assert await aio_as_trio(connection.fetchval)("SELECT to_regclass('more')") is None


async def test_line_endings_are_not_a_change(connection, files):
    (files / "0001_rooms.sql").write_bytes(b"CREATE TABLE room\n(id bigint)")
    await aio_as_trio(migrate)(connection, files)
    (files / "0001_rooms.sql").write_bytes(b"CREATE TABLE room\r\n(id bigint)")
    assert await aio_as_trio(migrate)(connection, files) == []


async def test_reactions_that_there_are_are_counted(connection, tmp_path):
    given = resources.files("greenroom.storage") / "sql" / "migrations"
    ours = sorted((file.name, file.read_text()) for file in given.iterdir() if file.name.endswith(".sql"))
    at = next(place for place, (name, _) in enumerate(ours) if name.endswith("_reactions_counted.sql"))
    for name, text in ours[:at]:
        (tmp_path / name).write_text(text)
    await aio_as_trio(migrate)(connection, tmp_path)
    react = (
        "insert into message_reactions (message_id, user_id, reaction, seq, created_at) values ($1, $2, $3, 1, now())"
    )
    for row in ((1, 1, "like"), (1, 2, "like"), (1, 2, "wow"), (2, 1, "like")):
        await aio_as_trio(connection.execute)(react, *row)
    for name, text in ours[at:]:
        (tmp_path / name).write_text(text)
    await aio_as_trio(migrate)(connection, tmp_path)

    async def counts():
        rows = await aio_as_trio(connection.fetch)("select * from message_reaction_counts order by 1, 2")
        return [tuple(row) for row in rows]

    assert await counts() == [(1, "like", 2), (1, "wow", 1), (2, "like", 1)]
    await aio_as_trio(connection.execute)(f"{react} on conflict do nothing", 1, 1, "like")
    await aio_as_trio(connection.execute)(react, 2, 3, "like")
    await aio_as_trio(connection.execute)("delete from message_reactions where message_id = 1 and user_id = 2")
    assert await counts() == [(1, "like", 1), (2, "like", 2)]


async def test_refuses_a_database_that_a_newer_greenroom_has_migrated(connection, files):
    await aio_as_trio(migrate)(connection, files)
    (files / "0002_topics.sql").unlink()
    for use in (migrate, pending):
        with pytest.raises(DatabaseIsNewer, match="0002_topics"):
            await aio_as_trio(use)(connection, files)


async def test_a_failed_file_leaves_nothing_and_its_predecessors_stay(connection, files):
    (files / "0003_broken.sql").write_text("CREATE TABLE half (); SELECT nothing_of_that_name;")
    with pytest.raises(MigrationFailed, match=r"0003_broken\.sql.*nothing_of_that_name"):
        await aio_as_trio(migrate)(connection, files)
    assert await aio_as_trio(connection.fetchval)("SELECT to_regclass('half')") is None
    assert await aio_as_trio(connection.fetchval)("SELECT max(version) FROM schema_migrations") == 2


async def test_refuses_a_file_that_ends_its_own_transaction(connection, files):
    (files / "0003_commits.sql").write_text("COMMIT;")
    with pytest.raises(MigrationsBroken, match=r"0003_commits\.sql"):
        await aio_as_trio(migrate)(connection, files)


async def test_lets_go_of_the_lock_after_success_and_after_failure(connection, files):
    held = f"SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = {ADVISORY_LOCK & 0xFFFFFFFF}"
    (files / "0003_broken.sql").write_text("SELECT nothing_of_that_name")
    with pytest.raises(MigrationFailed):
        await aio_as_trio(migrate)(connection, files)
    assert await aio_as_trio(connection.fetchval)(held) == 0
    (files / "0003_broken.sql").unlink()
    await aio_as_trio(migrate)(connection, files)
    assert await aio_as_trio(connection.fetchval)(held) == 0


async def test_two_at_once_apply_each_file_once(connection, database, files):
    applied: list[int] = []

    async def apply(through: asyncpg.Connection) -> None:
        applied.extend(migration.version for migration in await aio_as_trio(migrate)(through, files))

    async with connected(database) as other, trio.open_nursery() as nursery:
        nursery.start_soon(apply, connection)
        nursery.start_soon(apply, other)
    assert sorted(applied) == [1, 2]


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("3_short.sql", "no name for"),
        ("0003_Upper.sql", "no name for"),
        ("0004_gap.sql", "number 0003"),
        ("0002_twice.sql", "number 0003"),
    ],
)
def test_files_are_well_named_and_without_gaps_or_doubles(files, name, complaint):
    (files / name).write_text("SELECT 1")
    with pytest.raises(MigrationsBroken, match=complaint):
        read_migrations(files)


def test_an_empty_set_is_a_broken_installation(tmp_path):
    with pytest.raises(MigrationsBroken, match="no migrations"):
        read_migrations(tmp_path)


def test_our_own_files_are_found_as_package_data():
    assert read_migrations()[0].version == 1


async def test_a_template_copy_is_already_migrated(database):
    async with trio_asyncio.open_loop():
        opened = await aio_as_trio(asyncpg.connect)(**database.connect_arguments())
        assert await aio_as_trio(pending)(opened) == []
        await aio_as_trio(opened.close)()


async def test_users_from_before_0007_keep_what_they_have_against_the_tokens_they_had(connection, tmp_path):
    own = resources.files("greenroom.storage.sql") / "migrations"
    for file in own.iterdir():
        if file.name < "0007":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    await aio_as_trio(migrate)(connection, tmp_path)
    rows = [(1, None, "Ann", "admin"), (2, None, "", "user"), (2**40, "auth|3", "", "user")]
    put = (
        "insert into users (id, external_id, name, role, created_at, updated_at) values ($1, $2, $3, $4, now(), now())"
    )
    await aio_as_trio(connection.executemany)(put, rows)
    await aio_as_trio(connection.execute)("update users set email = 'ben@example.org' where id = 2")
    await aio_as_trio(migrate)(connection)
    asked = "select name, told_at, extract(epoch from updated_at)::float8 as changed_at from users order by id"
    found = await aio_as_trio(connection.fetch)(asked)
    assert [row["name"] for row in found] == ["Ann", "ben", "auth|3"]
    for row in found:
        told_at = json.loads(row["told_at"])
        assert told_at.keys() == {"name", "email", "locale", "timezone", "role"}
        assert all(moment == pytest.approx(row["changed_at"] + 3, rel=0, abs=0.001) for moment in told_at.values())


def test_refuses_a_server_before_postgresql_14():
    with pytest.raises(ServerTooOld, match=r"PostgreSQL 13\.11, .*14 or newer"):
        check_server_version(split_server_version_string("13.11 (Debian 13.11-0+deb11u1)"))
    with pytest.raises(ServerTooOld, match=r"PostgreSQL 9\.6, .*14 or newer"):
        check_server_version(split_server_version_string("9.6.24"))
    check_server_version(split_server_version_string("14.0"))


@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
async def test_a_database_that_is_not_utf_8_is_refused_before_anything_is_made_in_it(database, files, encoding):
    name = f"other_{encoding.lower()}_{database.database}"
    locale = "encoding '{}' locale_provider libc lc_collate 'C' lc_ctype 'C' template template0"
    async with trio_asyncio.open_loop(), connected(database) as administrator:
        await aio_as_trio(administrator.execute)(f"create database {name} {locale.format(encoding)}")
        try:
            async with connected(replace(database, database=name)) as opened:
                for check in (migrate, pending):
                    with pytest.raises(DatabaseNotUtf8, match=rf"{encoding}.*encoding 'UTF8'"):
                        await aio_as_trio(check)(opened, files)
                assert await aio_as_trio(opened.fetchval)("select to_regclass('schema_migrations')") is None
        finally:
            await aio_as_trio(administrator.execute)(f"drop database {name} with (force)")
