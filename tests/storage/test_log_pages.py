"""The log of a room in pages bounded in bytes: each has an entry, none has much more, and nothing is left out."""

import asyncio
import random
from typing import Any

import asyncpg
import pytest

from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.queries import query

ENTRIES, COUNT = 120, 40
FILL = """
insert into users (id, name, created_at, updated_at) select g, 'u' || g, now(), now() from generate_series(1, 2) g;
insert into conversations (id, is_group, created_by_id, top_seq, created_at, updated_at)
values (1, true, 1, 1000, now(), now());
insert into participants (conversation_id, user_id, role, is_active, joined_at) values (1, 1, 'member', true, now());
"""
MESSAGE = """
insert into messages (id, conversation_id, seq, sender_id, content, content_digest, attachments, details, created_at)
values ($1, 1, $1, 2, $2, '', $3, $4, now())
"""
CHANGE = """
insert into message_changes (conversation_id, seq, message_id, kind, by_id, changed_at)
values (1, $1, $2, 'edited', 2, now())
"""
MEMBER = """
insert into member_changes (conversation_id, seq, user_id, kind, role, changed_at)
values (1, $1, 2, 'joined', 'member', now())
"""


async def fill(connection: Any, chance: random.Random) -> None:
    """Messages of any length, changes of them, people who come."""
    await connection.execute(FILL)
    messages: list[int] = []
    for seq in range(1, ENTRIES + 1):
        kind = chance.choice(["message", "message", "change", "member"])
        if kind == "change" and messages:
            await connection.execute(CHANGE, seq, chance.choice(messages))
        elif kind == "member":
            await connection.execute(MEMBER, seq)
        else:
            words = chance.choice(["x", "é", "𝄞"]) * chance.choice([0, 1, 100, 3_000, 10_000])
            beside = [chance.choice([None, "[]", '["%s"]' % ("f" * 2_000)]) for _ in range(2)]
            await connection.execute(MESSAGE, seq, words, *beside)
            messages.append(seq)


def bytes_of(entry: Any) -> int:
    return sum(len(entry[name].encode()) for name in ("content", "attachments", "details"))


@pytest.mark.parametrize("bytes_max", [1, 500, 5_000, 40_000, 10**7, None])
def test_pages_end_with_the_entry_that_reaches_so_many_bytes(
    database: ServerAddress, seed: int, bytes_max: int | None
) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(**database.connect_arguments())
        try:
            await fill(connection, random.Random(seed))
            whole = await connection.fetch(query("select_log_after"), 1, 1, 0, 1000, None)
            assert [entry["seq"] for entry in whole] == list(range(1, ENTRIES + 1))
            told: list[Any] = []
            while page := await connection.fetch(query("select_log_after"), 1, 1, len(told), COUNT, bytes_max):
                expected: list[Any] = []
                for entry in whole[len(told) : len(told) + COUNT]:
                    expected.append(entry)
                    if bytes_max is not None and sum(map(bytes_of, expected)) >= bytes_max:
                        break
                assert page == expected
                told += page
            assert told == whole
            assert await connection.fetch(query("select_log_after"), 1, 2, 0, COUNT, bytes_max) == []
        finally:
            await connection.close()

    asyncio.run(run())
