"""The pool of connections, on a real PostgreSQL."""

from typing import Any

from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.pool import open_postgres

ARRAYS = "select $1::bigint[] as numbers, $2::jsonb[] as documents, $3::timestamptz[] as times"


async def test_what_an_array_is_is_asked_once_and_not_on_each_connection(database: ServerAddress):
    async with (
        open_asyncio_bridge() as bridge,
        open_postgres(bridge, database.connect_arguments(), is_pooled=True) as pooled,  # it prepares without a name
        open_postgres(bridge, database.connect_arguments()) as direct,
    ):
        asked: list[str] = []

        async def ask(connection: Any) -> list[Any]:
            with connection.query_logger(lambda record: asked.append(record.query)):
                row = await connection.fetchrow(ARRAYS, [1, 2**53], ['{"a": 1}', None], [])
            await connection.close()
            return list(row)

        for postgres in (direct, pooled, direct):
            connection = await postgres.connect()
            asked.clear()
            assert await bridge.run(ask, connection) == [[1, 2**53], ['{"a": 1}', None], []]
    assert asked == [ARRAYS]


async def test_a_type_of_this_database_is_asked_for_on_each_connection(database: ServerAddress):
    """Its number is another one's elsewhere."""
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as postgres:
        asked: list[str] = []

        async def make(connection: Any) -> None:
            await connection.execute("create type mood as enum ('glad', 'sad')")

        async def ask(connection: Any) -> Any:
            with connection.query_logger(lambda record: asked.append(record.query)):
                return await connection.fetchval("select $1::mood[]", ["sad"])

        async def close(connection: Any) -> None:
            await connection.close()

        for number in range(2):
            connection = await postgres.connect()
            if number == 0:
                await bridge.run(make, connection)
            asked.clear()
            assert await bridge.run(ask, connection) == ["sad"]
            assert any("typeinfo_tree" in query for query in asked)
            await bridge.run(close, connection)
