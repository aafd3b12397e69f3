"""The pool of connections, on a real PostgreSQL; and who is lent one, with connections that do nothing."""

from random import Random
from typing import Any

import asyncpg
import pytest
import trio
import trio.testing

from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.connections import Connections
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
            connection.terminate()
            return list(row)

        for postgres in (direct, pooled, direct):
            connection = await postgres.connect()
            asked.clear()
            assert await ask(connection) == [[1, 2**53], ['{"a": 1}', None], []]
    assert asked == [ARRAYS]


async def test_a_type_of_this_database_is_asked_for_on_each_connection(database: ServerAddress):
    """Its number is another one's elsewhere."""
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as postgres:
        asked: list[str] = []

        async def ask(connection: Any) -> Any:
            with connection.query_logger(lambda record: asked.append(record.query)):
                return await connection.fetchval("select $1::mood[]", ["sad"])

        for number in range(2):
            connection = await postgres.connect()
            if number == 0:
                await connection.execute("create type mood as enum ('glad', 'sad')")
            asked.clear()
            assert await ask(connection) == ["sad"]
            assert any("typeinfo_tree" in query for query in asked)
            connection.terminate()


# -- who is lent a connection, and when --------------------------------------------------------------------------------


class FakeConnection:
    """Of which only is known whether it is over. The real ones are behind every other test of storage."""

    def __init__(self):
        self.is_over = False

    def is_there(self):
        return not self.is_over

    def terminate(self):
        self.is_over = True


class Lender:
    """Connections, and what may never be of them: more than there may be, or one that two have."""

    MAX = 3

    def __init__(self, random):
        self._random = random
        self.made, self.used, self.served = [], set(), 0
        self.connections = Connections(self._connect, self.MAX)

    async def _connect(self):
        await trio.sleep(self._random.choice([0, 0.001]))
        if self._random.random() < 0.2:
            raise OSError("nobody is there")
        self.made.append(FakeConnection())
        assert sum(not one.is_over for one in self.made) <= self.MAX
        return self.made[-1]

    async def use(self, scope):
        with scope:
            try:
                connection = await self.connections.acquire()
            except OSError:
                self.served += 1
                return
            try:
                assert connection not in self.used
                assert not connection.is_over
                self.used.add(connection)
                await trio.sleep(self._random.choice([0, 0, 0.001, 0.002]))
                if self._random.random() < 0.2:
                    connection.terminate()
                self.served += 1
            finally:
                self.used.discard(connection)
                self.connections.release(connection)


@pytest.mark.parametrize("seed", range(30))
async def test_everybody_is_lent_a_connection_alone_whoever_else_is_cancelled(seed):
    random = Random(seed)
    lender, scopes = Lender(random), []
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            for _ in range(200):
                scopes.append(trio.CancelScope())
                nursery.start_soon(lender.use, scopes[-1])
                if random.random() < 0.3:
                    random.choice(scopes).cancel()
                if random.random() < 0.2:
                    await trio.sleep(random.choice([0, 0.001]))
    assert lender.served > 50
    connections = lender.connections
    assert connections.size == connections.idle <= lender.MAX
    with trio.fail_after(1):
        await connections.close()
    assert all(one.is_over for one in lender.made)


async def one_connection():
    await trio.lowlevel.checkpoint()
    return FakeConnection()


async def test_those_who_wait_are_served_in_the_order_in_which_they_came():
    connections, order = Connections(one_connection, 1), []
    first = await connections.acquire()

    async def use(number):
        connection = await connections.acquire()
        order.append(number)
        await trio.lowlevel.checkpoint()
        connections.release(connection)

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(use, number)
                await trio.testing.wait_all_tasks_blocked()
            assert order == []
            connections.release(first)
            nursery.start_soon(use, 5)
    assert order == [0, 1, 2, 3, 4, 5]


async def test_a_pool_that_closes_waits_for_who_has_a_connection_and_lends_no_more():
    connections, refused = Connections(one_connection, 1), []
    lent = await connections.acquire()

    async def refuse():
        with pytest.raises(asyncpg.InterfaceError) as error:
            await connections.acquire()
        refused.append(error.value)

    async def close():
        await connections.close()
        assert lent.is_over

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refuse)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(close)
            await trio.testing.wait_all_tasks_blocked()
            assert len(refused) == 1
            await refuse()
            assert not lent.is_over
            connections.release(lent)
