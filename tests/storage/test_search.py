"""Search finds what a reader may read, and all of it by going on; what one looks at is bounded."""

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast

import asyncpg
import pytest

import greenroom.storage.postgres.search as under_test
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.queries import query
from greenroom.storage.postgres.search import LOOKED_AT_BYTES_MAX, LOOKED_AT_MAX, Found, MessageSearch

T = TypeVar("T")
READER, BLOCKED = 1, 2
WORDS = ("apple", "APPLE pie", "pineapple", "pear", "Äpfel", "äPFEL", "Straße", "東京タワー", "100%", "a_b", "a\\b", "")
LOOKED_FOR = ("apple", "PIE", "äpf", "ÄPF", "京タ", "%", "_", "\\", "e", "nowhere")
MEMBERS = """
insert into users (id, name, created_at, updated_at) select g, 'u' || g, now(), now() from generate_series(1, 4) g;
insert into user_blocks (blocker_id, blocked_id, blocked_at) values (1, 2, now()), (3, 1, now());
"""
ROOM = """
insert into conversations (id, is_group, created_by_id, top_seq, last_message_at, created_at, updated_at)
values ($1, true, 3, $2, to_timestamp($1::bigint), now(), now())
"""
MEMBER = """
insert into participants (conversation_id, user_id, role, is_active, joined_at) values ($1, 1, 'member', $2, now())
"""
MESSAGE = """
insert into messages (id, conversation_id, seq, sender_id, content, content_digest, created_at, deleted_at)
values ($1, $2, $3, $4, $5, '', to_timestamp($6::bigint), case when $7 then now() end)
"""


class OneConnection:
    """A pool of one."""

    def __init__(self, connection: Any) -> None:
        self.connection = connection

    async def fetch(self, name: str, *arguments: object) -> Any:
        return await self.connection.fetch(query(name), *arguments)

    async def fetch_value(self, name: str, *arguments: object) -> Any:
        return await self.connection.fetchval(query(name), *arguments)

    async def transaction(self, do: Callable[[Any], Awaitable[T]]) -> T:
        async with self.connection.transaction():
            return await do(self.connection)


def search_on(connection: Any) -> MessageSearch:
    return MessageSearch(cast("Any", OneConnection(connection)))


def on(database: ServerAddress, do: Callable[[Any], Awaitable[T]]) -> T:
    async def run() -> T:
        connection = await asyncpg.connect(**database.connect_arguments())
        try:
            await connection.execute(MEMBERS)
            return await do(connection)
        finally:
            await connection.close()

    return asyncio.run(run())


class Log:
    """Conversations with random messages, and what a reader may find of them: (room, seq, second) by text."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._shown: list[tuple[int, int, int, str]] = []

    async def fill(self, connection: Any) -> None:
        chance, number = self._chance, 0
        for room in range(1, 6):
            messages = chance.randrange(0, 40)
            is_member = room != 5
            await connection.execute(ROOM, room, messages * 2)
            await connection.execute(MEMBER, room, is_member)
            for place in range(messages):
                number += 1
                text = " ".join(chance.choice(WORDS) for _ in range(3)) or "."
                sender, second, is_deleted = chance.randrange(1, 5), chance.randrange(10_000), chance.random() < 0.1
                seq = place * 2 + 1
                await connection.execute(MESSAGE, number, room, seq, sender, text, second, is_deleted)
                if is_member and not is_deleted and sender != BLOCKED:
                    self._shown.append((room, seq, second, text))

    def places(self, text: str, room: int | None = None) -> list[tuple[int, int]]:
        """Where it stands, newest first: of all by their clocks, of one by its order."""
        found = [it for it in self._shown if text.lower() in it[3].lower() and room in (None, it[0])]
        found.sort(key=lambda it: it[1] if room is not None else (it[2], it[0], it[1]), reverse=True)
        return [(it[0], it[1]) for it in found]


def places_of(found: Found | None) -> list[tuple[int, int]]:
    assert found is not None
    return [(message.conversation_id, message.seq) for message in found.messages]


@pytest.mark.parametrize("seed", range(4))
def test_all_that_may_be_read_is_found_newest_first(database: ServerAddress, seed: int) -> None:
    log = Log(seed)

    async def look(connection: Any) -> None:
        await log.fill(connection)
        search = search_on(connection)
        for text in LOOKED_FOR:
            found = await search.find(READER, text, None, None, 1000)
            assert places_of(found) == log.places(text)
            assert found == (found and found.messages, False, None)
            few = await search.find(READER, text, None, None, 3)
            assert places_of(few) == log.places(text)[:3]
            assert few == (few and few.messages, len(log.places(text)) > 3, None)
        assert await search.find(READER, "apple", 5, None, 10) is None, "who is in it no more"
        assert await search.find(READER, "apple", 99, None, 10) is None
        assert places_of(await search.find(4, "apple", None, None, 10)) == [], "who is in none"

    on(database, look)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("bounds", [(7, 10**9), (10**9, 60), (1, 10**9), (10**9, 1)])
def test_going_on_finds_all_of_a_conversation_once(
    database: ServerAddress, monkeypatch: pytest.MonkeyPatch, seed: int, bounds: tuple[int, int]
) -> None:
    monkeypatch.setattr(under_test, "LOOKED_AT_MAX", bounds[0])
    monkeypatch.setattr(under_test, "LOOKED_AT_BYTES_MAX", bounds[1])
    log = Log(seed)

    async def look(connection: Any) -> None:
        await log.fill(connection)
        search = search_on(connection)
        for room in range(1, 5):
            for text in ("apple", "e", "nowhere"):
                before_seq, places = None, list[tuple[int, int]]()
                while True:
                    found = await search.find(READER, text, room, before_seq, 2)
                    places += places_of(found)
                    assert found is not None
                    assert found.has_more is (found.before_seq is not None)
                    if found.before_seq is None:
                        break
                    assert before_seq is None or found.before_seq < before_seq, "each goes on"
                    before_seq = found.before_seq
                assert places == log.places(text, room)
            over_all = await search.find(READER, "e", None, None, 1000)
            assert over_all is not None
            assert set(places_of(over_all)) <= set(log.places("e"))
            assert over_all.has_more or places_of(over_all) == log.places("e")

    on(database, look)


def test_of_many_conversations_those_with_the_newest_are_looked_into(
    database: ServerAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "CONVERSATIONS_MAX", 2)

    async def look(connection: Any) -> None:
        for room in (1, 2, 3):
            await connection.execute(ROOM, room, 1)
            await connection.execute(MEMBER, room, True)
            await connection.execute(MESSAGE, room, room, 1, 4, "apple", room, False)
        found = await search_on(connection).find(READER, "apple", None, None, 10)
        assert places_of(found) == [(3, 1), (2, 1)]
        assert found == (found and found.messages, True, None), "the third was not looked into"

    on(database, look)


def test_what_stands_there_now_is_found_again(database: ServerAddress) -> None:
    log = Log(7)

    async def look(connection: Any) -> None:
        await log.fill(connection)
        search = search_on(connection)
        found = await search.find(READER, "apple", None, None, 1000)
        assert found is not None
        assert await search.find_again(READER, "apple", None, found) == found
        rooms = {message.conversation_id for message in found.messages}
        gone, edited, parted = found.messages[0], found.messages[1], min(rooms)
        await connection.execute("update messages set deleted_at = now(), content = '' where id = $1", gone.id)
        await connection.execute("update messages set content = 'pear', edited_at = now() where id = $1", edited.id)
        await connection.execute("update participants set is_active = false where conversation_id = $1", parted)
        left = [it for it in found.messages if it not in (gone, edited) and it.conversation_id != parted]
        assert await search.find_again(READER, "apple", None, found) == found._replace(messages=left)
        of_parted = found._replace(messages=[it for it in found.messages if it.conversation_id == parted])
        assert await search.find_again(READER, "apple", parted, of_parted) is None

    on(database, look)


def test_what_is_looked_at_does_not_grow_with_the_log(database: ServerAddress) -> None:
    """And of long messages no more than the bytes of all that is looked at."""
    messages, long_ones, letters = 200_000, 3_000, 10_000
    fill = f"""
        alter table messages alter content set storage external;
        insert into messages (id, conversation_id, seq, sender_id, content, content_digest, created_at)
        select s, 1, s, 4,
            case when s > {messages - long_ones} then repeat(md5(s::text), {letters // 32}) else 'hello ' || s end,
            '', now()
        from generate_series(1, {messages}) s;
        analyze messages;
    """

    async def look(connection: Any) -> list[dict[str, Any]]:
        await connection.execute(ROOM, 1, messages)
        await connection.execute(MEMBER, 1, True)
        await connection.execute(fill)
        await connection.execute("set plan_cache_mode = force_generic_plan")
        await connection.execute(f"prepare asked as {query('search_messages')}")
        told = []
        for text, before_seq, bytes_max in (
            ("nowhere", messages - long_ones, LOOKED_AT_BYTES_MAX),
            ("hello", 30_000, LOOKED_AT_BYTES_MAX),
            ("nowhere", "null", LOOKED_AT_BYTES_MAX),
            ("nowhere", "null", LOOKED_AT_BYTES_MAX // 4),
            ("nowhere", "null", 1),
        ):
            given = f"1, '{text}', 1, {before_seq}, {LOOKED_AT_MAX}, {bytes_max}, 100, 21"
            plan = await connection.fetchval(f"explain (analyze, buffers, format json) execute asked ({given})")
            told.append(json.loads(plan)[0]["Plan"])
        return told

    def rows_read(plan: dict[str, Any]) -> int:
        own = plan["Actual Rows"] + plan.get("Rows Removed by Filter", 0) if "Relation Name" in plan else 0
        return int(own * plan["Actual Loops"]) + sum(map(rows_read, plan.get("Plans", ())))

    plans = on(database, look)
    assert all(rows_read(plan) <= LOOKED_AT_MAX + 100 for plan in plans)
    assert all(rows_read(plan) >= LOOKED_AT_MAX for plan in plans[:2])
    pages = [plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for plan in plans[2:]]
    whole, quarter = pages[0] - pages[2], pages[1] - pages[2]
    assert whole == pytest.approx(4 * quarter, rel=0.1), "texts are read as far as their bytes go, and no further"
    assert quarter > LOOKED_AT_BYTES_MAX // letters // 4
