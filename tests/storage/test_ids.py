"""Ids in blocks, on a real PostgreSQL."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import trio

from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.ids import BLOCK_IDS, Ids, NoIdsLeft, object_ids, user_ids
from greenroom.storage.postgres.pool import Postgres, open_postgres


@pytest.fixture
async def postgres(database: ServerAddress) -> AsyncIterator[Postgres]:
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as pool:
        yield pool


async def test_ids_start_at_2_to_the_40_and_are_never_given_twice(postgres: Postgres):
    here, there = object_ids(postgres), object_ids(postgres)
    taken = [await ids.take() for _ in range(BLOCK_IDS + 10) for ids in (here, there)]
    assert min(taken) == 2**40
    assert len(set(taken)) == len(taken)
    assert max(taken) < 2**53


async def test_users_and_objects_have_sequences_of_their_own(postgres: Postgres):
    assert await user_ids(postgres).take() == await object_ids(postgres).take() == 2**40


async def test_taking_without_waiting_fails_until_ids_were_fetched(postgres: Postgres):
    ids = object_ids(postgres)
    with pytest.raises(NoIdsLeft):
        ids.take_nowait()
    await ids.fill()
    assert ids.take_nowait() == 2**40
    assert ids.left == 8 * BLOCK_IDS - 1


async def test_the_keeper_fetches_before_the_last_id_is_taken(postgres: Postgres):
    ids = object_ids(postgres)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ids.keep_filled)
        await ids.fill()
        seen = set()
        for _ in range(10):
            for _ in range(4 * BLOCK_IDS):
                seen.add(ids.take_nowait())
            await ids.fill()
        nursery.cancel_scope.cancel()
    assert len(seen) == 40 * BLOCK_IDS


async def test_the_keeper_goes_on_after_an_error_it_does_not_expect(postgres: Postgres, monkeypatch: Any) -> None:
    ids, fill, failed, filled = object_ids(postgres), Ids.fill, trio.Event(), trio.Event()

    async def fails_first(self: Ids) -> None:
        if not failed.is_set():
            failed.set()
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        await fill(self)
        filled.set()

    monkeypatch.setattr(Ids, "fill", fails_first)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ids.keep_filled)
        with trio.fail_after(30):
            await filled.wait()
        nursery.cancel_scope.cancel()


async def test_many_who_find_it_empty_at_once_fetch_once(postgres: Postgres):
    ids = user_ids(postgres)
    taken: list[int] = []

    async def take() -> None:
        taken.append(await ids.take())

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(take)
    assert sorted(taken) == list(range(2**40, 2**40 + 50))
    assert ids.left == BLOCK_IDS - 50
