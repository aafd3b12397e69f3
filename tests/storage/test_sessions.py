"""Sessions and API keys, on a real PostgreSQL."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.api_keys import ApiKeys, split_key
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.pool import Postgres, open_postgres
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.users import Users


@pytest.fixture
async def postgres(database: ServerAddress) -> AsyncIterator[Postgres]:
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as pool:
        yield pool


async def test_a_session_lives_until_it_is_deleted(postgres: Postgres):
    await Users(postgres, user_ids(postgres)).know(1, {"name": "One", "role": "creator"})
    sessions = Sessions(postgres)
    session_id, expires_at = await sessions.create(1, seconds=60, user_agent="tests", ip_address="127.0.0.1")
    found = await sessions.find(session_id)
    assert found is not None
    assert (found.user_id, found.name, found.role, found.expires_at) == (1, "One", "creator", expires_at)
    assert timedelta(seconds=50) < expires_at - datetime.now(UTC) <= timedelta(seconds=60)
    assert await sessions.delete(session_id)
    assert await sessions.find(session_id) is None
    assert not await sessions.delete(session_id)


async def test_session_ids_hold_256_random_bits(postgres: Postgres):
    await Users(postgres, user_ids(postgres)).know(1, {})
    ids = [(await Sessions(postgres).create(1))[0] for _ in range(2)]
    assert ids[0] != ids[1]
    assert all(len(session_id) == 43 for session_id in ids)


async def test_a_key_matches_its_own_secret_only_and_the_secret_is_not_stored(postgres: Postgres):
    keys = ApiKeys(postgres)
    key_id, token = await keys.create(name="backend", role="service", scopes=["users:write", "act_as", "act_as"])
    parts = split_key(token)
    assert parts is not None
    assert parts[0] == key_id
    found = await keys.find(key_id)
    assert found is not None
    assert found.scopes == {"users:write", "act_as"}
    assert found.matches(parts[1])
    assert not found.matches(parts[1][:-1])
    assert not found.matches("\udcff")
    assert parts[1].encode() not in found.secret_sha256


async def test_a_key_is_revoked_once(postgres: Postgres):
    keys = ApiKeys(postgres)
    key_id, _ = await keys.create(name="", role="service", scopes=[])
    assert await keys.revoke(key_id)
    assert not await keys.revoke(key_id)
    assert [key.revoked_at is not None for key in await keys.all()] == [True]


@pytest.mark.parametrize("text", ["", "grk_", "grk_id", "grk_id_", "grk__secret", "other_id_secret"])
def test_what_does_not_look_like_a_key_is_none(text: str):
    assert split_key(text) is None
