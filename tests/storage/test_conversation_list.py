"""The list of conversations is cut before it is counted, and one conversation is looked up alone."""

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.queries import query

ROOMS, MESSAGES, PAGE = 500, 20, 20
FILL = f"""
insert into users (id, name, created_at, updated_at) select g, 'u' || g, now(), now() from generate_series(1, 20) g;
insert into conversations
    (id, is_group, created_by_id, top_seq, last_message_id, last_message_at, created_at, updated_at)
select g, true, 1, {MESSAGES}, g * 100 + {MESSAGES}, now() - make_interval(secs => g), now() - interval '1 day', now()
from generate_series(1, {ROOMS}) g;
insert into participants (conversation_id, user_id, role, is_active, joined_at)
select g, u, 'member', true, now() from generate_series(1, {ROOMS}) g, unnest(array[1, 2 + g % 19]) u;
insert into messages (id, conversation_id, seq, sender_id, content, content_digest, created_at)
select g * 100 + s, g, s, 2 + g % 19, 'hello', '', now() - make_interval(secs => g + {MESSAGES} - s)
from generate_series(1, {ROOMS}) g, generate_series(1, {MESSAGES}) s;
insert into user_blocks (blocker_id, blocked_id, blocked_at) values (1, 5, now());
analyze;
"""


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan and all its parts."""
    yield plan
    for part in plan.get("Plans", ()):
        yield from nodes(part)


def explained(database: ServerAddress, name: str, *arguments: int) -> list[dict[str, Any]]:
    """The parts of the plan that serves whatever the arguments are, as it ran."""

    async def run() -> list[dict[str, Any]]:
        connection = await asyncpg.connect(**database.connect_arguments())
        try:
            await connection.execute(FILL)
            await connection.execute("set plan_cache_mode = force_generic_plan")
            await connection.execute(f"prepare asked as {query(name)}")
            given = ", ".join(map(str, arguments))
            told = await connection.fetchval(f"explain (analyze, format json) execute asked ({given})")
            return list(nodes(json.loads(told)[0]["Plan"]))
        finally:
            await connection.close()

    return asyncio.run(run())


def loops_over(parts: list[dict[str, Any]], table: str) -> int:
    return max((part["Actual Loops"] for part in parts if part.get("Relation Name") == table), default=0)


def test_members_and_unread_messages_are_counted_for_a_page_alone(database: ServerAddress) -> None:
    parts = explained(database, "select_conversations_of", 1, PAGE, 0)
    counted = [part for part in parts if part["Node Type"] == "Aggregate"]
    assert [part["Actual Loops"] for part in counted] == [PAGE, PAGE]
    scanned = {part["Relation Name"] for part in parts if part["Node Type"] == "Seq Scan"}
    assert "messages" not in scanned
    of_last = [part for part in parts if part.get("Relation Name") == "messages" and part["Actual Loops"] > PAGE]
    # One look for the newest message of each, by its place; it goes on only past what is hidden.
    assert [(part["Node Type"], part["Index Name"]) for part in of_last] == [
        ("Index Scan", "messages_conversation_id_seq_key")
    ]


def test_one_conversation_is_looked_up_alone(database: ServerAddress) -> None:
    parts = explained(database, "select_conversation_of", 7, 1)
    for table in ("messages", "participants", "conversations", "user_blocks"):
        assert loops_over(parts, table) <= MESSAGES
    scanned = {part["Relation Name"] for part in parts if part["Node Type"] == "Seq Scan"}
    assert not scanned & {"messages", "participants", "conversations"}


@pytest.mark.parametrize("offset", [0, 480])
def test_pages_are_whole_wherever_they_begin(database: ServerAddress, offset: int) -> None:
    (top, *_) = explained(database, "select_conversations_of", 1, PAGE, offset)
    assert top["Actual Rows"] == PAGE
