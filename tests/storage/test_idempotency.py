"""Answers are kept under their keys: once, for one body, for a day; a claim whose request died is taken over."""

from collections.abc import AsyncIterator

import pytest

from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.blobs import BLOB_SECONDS_MAX
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.idempotency import (
    CLAIM_MS,
    KEPT_MS,
    IdempotencyClaim,
    IdempotencyKeys,
    KeptAnswer,
    KeyConflict,
    KeyInFlight,
    answer_once,
)
from greenroom.storage.postgres.pool import QUERY_SECONDS_MAX, open_postgres

NOW = 1_800_000_000_000
CLAIM = IdempotencyClaim("user:1", "POST /api/things", "k", b"a" * 32)
OTHER_BODY = IdempotencyClaim("user:1", "POST /api/things", "k", b"b" * 32)
ANSWER = KeptAnswer(201, '{"id": 1}')


@pytest.fixture
async def keys(database: ServerAddress) -> AsyncIterator[IdempotencyKeys]:
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as postgres:
        yield IdempotencyKeys(postgres)


async def test_the_first_takes_the_key_and_the_others_get_its_answer(keys):
    assert await keys.claim(CLAIM, NOW) is None
    assert isinstance(await keys.claim(CLAIM, NOW), KeyInFlight)
    assert isinstance(await keys.claim(OTHER_BODY, NOW), KeyConflict)
    await keys.keep(CLAIM, ANSWER)
    assert await keys.claim(CLAIM, NOW + 1) == KeptAnswer(201, '{"id": 1}', is_replay=True)
    assert isinstance(await keys.claim(OTHER_BODY, NOW + 1), KeyConflict)


@pytest.mark.parametrize(
    "other",
    [
        IdempotencyClaim("user:2", CLAIM.route, "k", CLAIM.body_sha256),
        IdempotencyClaim("user:1", "POST /api/others", "k", CLAIM.body_sha256),
        IdempotencyClaim("user:1", CLAIM.route, "k2", CLAIM.body_sha256),
    ],
)
async def test_a_key_is_one_persons_on_one_route(keys, other):
    assert await keys.claim(CLAIM, NOW) is None
    assert await keys.claim(other, NOW) is None


async def test_a_key_that_was_released_is_free_for_any_body(keys):
    assert await keys.claim(CLAIM, NOW) is None
    await keys.release(CLAIM)
    assert await keys.claim(OTHER_BODY, NOW) is None


async def test_an_answer_that_is_kept_is_not_released_or_replaced(keys):
    assert await keys.claim(CLAIM, NOW) is None
    await keys.keep(CLAIM, ANSWER)
    await keys.release(CLAIM)
    await keys.keep(CLAIM, KeptAnswer(200, "{}"))
    earlier = await keys.claim(CLAIM, NOW)
    assert isinstance(earlier, KeptAnswer)
    assert earlier.status == 201


async def test_a_claim_whose_request_died_is_taken_over_after_a_while(keys):
    assert await keys.claim(CLAIM, NOW) is None
    assert isinstance(await keys.claim(CLAIM, NOW + CLAIM_MS), KeyInFlight)
    assert await keys.claim(CLAIM, NOW + CLAIM_MS + 1) is None
    assert isinstance(await keys.claim(CLAIM, NOW + CLAIM_MS + 2), KeyInFlight)


def test_no_request_that_still_works_on_it_loses_its_claim():
    assert CLAIM_MS > (BLOB_SECONDS_MAX + QUERY_SECONDS_MAX) * 1000


async def test_an_answer_is_forgotten_after_a_day(keys):
    assert await keys.claim(CLAIM, NOW) is None
    await keys.keep(CLAIM, ANSWER)
    assert isinstance(await keys.claim(CLAIM, NOW + KEPT_MS), KeptAnswer)
    assert await keys.claim(OTHER_BODY, NOW + KEPT_MS + 1) is None


async def test_an_answer_that_is_known_beforehand_is_kept_with_the_key(database):
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as postgres:

        async def once(claim: IdempotencyClaim, at_ms: int) -> object:
            return await postgres.transaction(lambda connection: answer_once(connection, claim, ANSWER, at_ms))

        assert await once(CLAIM, NOW) is None
        for known in (await once(CLAIM, NOW + KEPT_MS), await IdempotencyKeys(postgres).claim(CLAIM, NOW)):
            assert known == KeptAnswer(201, '{"id": 1}', is_replay=True)
        assert isinstance(await once(OTHER_BODY, NOW), KeyConflict)
        assert await once(OTHER_BODY, NOW + KEPT_MS + 1) is None
