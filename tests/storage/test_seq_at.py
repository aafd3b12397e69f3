"""The place of a moment in a log is found by halving: a few rows are looked at, however long the log is."""

import asyncio
import json
import random
from typing import Any

import asyncpg
import pytest

from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.queries import query

MESSAGES = 100_000
PAGES_MAX = 150  # of the index and of the table; a log of a million takes some 20 halvings too
FILL = """
insert into users (id, name, created_at, updated_at) values (1, 'u', now(), now());
insert into conversations (id, is_group, created_by_id, top_seq, created_at, updated_at)
values (1, true, 1, 3 * {messages}, now(), now());
insert into messages (id, conversation_id, seq, sender_id, content, content_digest, created_at)
select s, 1, 3 * s - s % 2, 1, 'hello', '', to_timestamp(s) from generate_series(1, {messages}) s;
analyze messages;
"""


def seq_of(number: int) -> int:
    """Changes have taken some seqs, so that the log of messages has holes."""
    return 3 * number - number % 2


async def with_log(database: ServerAddress, messages: int, do: Any) -> Any:
    connection = await asyncpg.connect(**database.connect_arguments())
    try:
        await connection.execute(FILL.format(messages=messages))
        return await do(connection)
    finally:
        await connection.close()


def test_a_few_pages_are_read_of_a_long_log(database: ServerAddress) -> None:
    async def look(connection: Any) -> list[dict[str, Any]]:
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare asked as {query('select_seq_at')}")
        told = []
        for number in (1, 777, MESSAGES // 2, MESSAGES - 1):
            plan = await connection.fetchval(
                f"explain (analyze, buffers, format json) execute asked (1, {number * 1000})"
            )
            told.append(json.loads(plan)[0]["Plan"])
        return told

    for plan in asyncio.run(with_log(database, MESSAGES, look)):
        pages = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        assert pages <= PAGES_MAX, pages


@pytest.mark.parametrize("messages", [1, 2, 3, 7, 64, 65])
def test_it_is_the_first_that_is_not_earlier(database: ServerAddress, messages: int) -> None:
    async def look(connection: Any) -> list[tuple[int, int]]:
        asked = [0, *[second * 1000 + more for second in range(1, messages + 1) for more in (-1, 0, 1)]]
        return [(at, await connection.fetchval(query("select_seq_at"), 1, at)) for at in asked]

    for at_ms, found in asyncio.run(with_log(database, messages, look)):
        first = next((number for number in range(1, messages + 1) if number * 1000 >= at_ms), None)
        after_newest = range(seq_of(messages) + 1, 3 * messages + 2)
        if first is None:
            assert found in after_newest
        else:
            previous = seq_of(first - 1) if first > 1 else 0
            assert previous < found <= seq_of(first), (at_ms, found)


def test_where_the_clock_went_back_it_is_a_place_where_the_time_is_passed(database: ServerAddress) -> None:
    async def look(connection: Any) -> None:
        chance = random.Random(5)
        times = [chance.randrange(1000) for _ in range(200)]
        await connection.executemany(
            "update messages set created_at = to_timestamp($1) where id = $2",
            [(time, number) for number, time in enumerate(times, start=1)],
        )
        for moment in range(0, 1000, 37):
            found = await connection.fetchval(query("select_seq_at"), 1, moment * 1000)
            before = [time for number, time in enumerate(times, start=1) if seq_of(number) < found][-1:]
            after = [time for number, time in enumerate(times, start=1) if seq_of(number) >= found][:1]
            assert not before or before[0] < moment
            assert not after or after[0] >= moment

    asyncio.run(with_log(database, 200, look))
