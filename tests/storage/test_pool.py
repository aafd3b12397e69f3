"""The pool of connections, on a real PostgreSQL; and who is lent one, with connections that do nothing."""

import asyncio
from functools import partial
from random import Random
from typing import Any

import asyncpg
import pytest

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


# -- who is lent a connection, and when --------------------------------------------------------------------------------


class FakeConnection:
    """Of which only is known whether it is closed. The real ones are behind every other test of storage."""

    def __init__(self):
        self.is_over = False

    def is_closed(self):
        return self.is_over

    def terminate(self):
        self.is_over = True

    async def close(self):
        await asyncio.sleep(0)
        self.is_over = True


class Lender:
    """Connections, and what may never be of them: more than there may be, or one that two have."""

    MAX = 3

    def __init__(self, random):
        self._random = random
        self.made, self.used, self.served = [], set(), 0
        self.connections = Connections(self._connect, self.MAX)

    async def _connect(self):
        await asyncio.sleep(self._random.choice([0, 0.001]))
        if self._random.random() < 0.2:
            raise OSError("nobody is there")
        self.made.append(FakeConnection())
        assert sum(not one.is_over for one in self.made) <= self.MAX
        return self.made[-1]

    async def use(self):
        try:
            connection = await self.connections.acquire()
        except OSError:
            self.served += 1
            return
        try:
            assert connection not in self.used
            assert not connection.is_over
            self.used.add(connection)
            await asyncio.sleep(self._random.choice([0, 0, 0.001, 0.002]))
            if self._random.random() < 0.2:
                connection.terminate()
            self.served += 1
        finally:
            self.used.discard(connection)
            self.connections.release(connection)


@pytest.mark.parametrize("seed", range(30))
def test_everybody_is_lent_a_connection_alone_whoever_else_is_cancelled(seed):
    random = Random(seed)

    async def run():
        lender = Lender(random)
        tasks = []
        for _ in range(200):
            tasks.append(asyncio.create_task(lender.use()))
            if random.random() < 0.3:
                random.choice(tasks).cancel()
            if random.random() < 0.2:
                await asyncio.sleep(random.choice([0, 0.001]))
        outcomes = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 10)
        faults = [one for one in outcomes if isinstance(one, Exception)]
        assert faults == []
        assert lender.served > 50
        connections = lender.connections
        assert connections.size == connections.idle <= lender.MAX
        await asyncio.wait_for(connections.close(), 1)
        assert all(one.is_over for one in lender.made)

    asyncio.run(run())


def test_those_who_wait_are_served_in_the_order_in_which_they_came():
    async def run():
        connections, order = Connections(partial(asyncio.sleep, 0, FakeConnection()), 1), []
        first = await connections.acquire()

        async def use(number):
            connection = await connections.acquire()
            order.append(number)
            await asyncio.sleep(0)
            connections.release(connection)

        tasks = [asyncio.create_task(use(number)) for number in range(5)]
        await asyncio.sleep(0.01)
        assert order == []
        connections.release(first)
        tasks.append(asyncio.create_task(use(5)))
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        assert order == [0, 1, 2, 3, 4, 5]

    asyncio.run(run())


def test_a_pool_that_closes_waits_for_who_has_a_connection_and_lends_no_more():
    async def run():
        made = []

        async def connect():
            made.append(FakeConnection())
            return made[-1]

        connections = Connections(connect, 1)
        lent = await connections.acquire()
        waits = asyncio.create_task(connections.acquire())
        await asyncio.sleep(0)
        closing = asyncio.create_task(connections.close())
        with pytest.raises(asyncpg.InterfaceError):
            await waits
        with pytest.raises(asyncpg.InterfaceError):
            await connections.acquire()
        assert not closing.done()
        connections.release(lent)
        await asyncio.wait_for(closing, 1)
        assert [one.is_over for one in made] == [True]

    asyncio.run(run())
