"""What storage keeps waiting while a block lasts: whoever needs the same rows or tables waits for its end."""

from contextlib import asynccontextmanager

import asyncpg
import trio_asyncio


@asynccontextmanager
async def holding(database, statement, *arguments):
    """Execute *statement* in a transaction that ends with the block, and changes nothing."""
    async with trio_asyncio.open_loop():
        run = trio_asyncio.aio_as_trio
        connection = await run(asyncpg.connect)(**database.connect_arguments())
        await run(connection.execute)("begin")
        await run(connection.execute)(statement, *arguments)
        try:
            yield
        finally:
            await run(connection.execute)("rollback")
            await run(connection.close)()


def holding_room(database, room):
    """A room that sleeps does not wake while the block lasts."""
    return holding(database, "select from ownership where kind = 'room' and key = $1 for update", str(room))


def holding_table(database, table):
    """Nobody can read *table* while the block lasts."""
    return holding(database, f"lock table {table} in access exclusive mode")
