"""Every named query is one that PostgreSQL understands, explains itself, and is used by somebody."""

import asyncio
import re
from functools import cache
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

import greenroom.storage.postgres.queries
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.queries import named_queries, query

ROOT = Path(__file__).parent.parent.parent


def test_every_query_is_understood_on_a_migrated_database(database: ServerAddress):
    async def prepare_all() -> dict[str, str]:
        connection = await asyncpg.connect(**database.connect_arguments())
        faults = {}
        try:
            for name, text in named_queries().items():
                try:
                    await connection.prepare(text)
                except asyncpg.PostgresError as error:
                    faults[name] = str(error)
        finally:
            await connection.close()
        return faults

    assert asyncio.run(prepare_all()) == {}


@pytest.mark.parametrize("name", sorted(named_queries()))
def test_every_query_says_what_it_does_and_is_used(name: str):
    first = query(name).splitlines()[0]
    assert re.match(r"-- [A-Z]", first), f"{name} begins without a sentence: {first!r}"
    users = [path for path, text in sources().items() if re.search(rf"""["']{name}["']""", text)]
    assert users, f"nobody uses {name}"


def test_the_time_is_a_parameter():
    """So that a test can set it. When a node lived is told by the one clock that nodes share."""
    clocks = re.compile(r"\b(now|clock_timestamp|statement_timestamp)\(\)|\bcurrent_timestamp\b")
    found = {name for name, text in named_queries().items() if clocks.search(re.sub(r"--.*", "", text).lower())}
    assert found == {"insert_node_run", "stop_node_run", "touch_node_run"}


def test_all_files_are_read():
    folder = files("greenroom.storage").joinpath("sql", "queries")
    named = re.findall(r"^-- name: (\w+)", "".join(file.read_text() for file in folder.iterdir()), re.MULTILINE)
    assert sorted(named) == sorted(named_queries())


def test_a_name_that_nobody_declared_is_an_error():
    with pytest.raises(KeyError):
        query("no_such_query")


def test_a_name_is_taken_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "sql" / "queries"
    folder.mkdir(parents=True)
    for file in ("a.sql", "b.sql"):
        (folder / file).write_text("-- name: one\n-- Twice.\nselect 1\n")
    monkeypatch.setattr(greenroom.storage.postgres.queries, "files", lambda _: tmp_path)
    with pytest.raises(ValueError, match=r"b\.sql: a query named one exists already"):
        named_queries.__wrapped__()


@cache
def sources() -> dict[str, str]:
    found = (
        path for folder in ("actors", "http", "storage", "src/greenroom") for path in (ROOT / folder).rglob("*.py")
    )
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in found}
