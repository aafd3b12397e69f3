"""An error of PostgreSQL that no loop of ours expects, as a deadlock with another process: it ends no room."""

import asyncpg
import pytest
import trio
from house_fixture import open_house_under_test
from structlog.testing import capture_logs

from greenroom.storage.postgres.last_seen import LastSeen
from greenroom.storage.postgres.outbox import Outbox
from greenroom.storage.postgres.uploads import Uploads


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (LastSeen, "flush", "last_seen.failed"),
        (Uploads, "expired", "files.sweep_failed"),
        (Outbox, "adopt", "emails.not_adopted"),
    ],
)
async def test_it_is_logged_and_everything_goes_on(database, tmp_path, monkeypatch, owner, name, told):
    work, failed = getattr(owner, name), trio.Event()

    async def fails_first(self, *args, **options):
        if not failed.is_set():
            failed.set()
            raise asyncpg.DeadlockDetectedError("deadlock detected")
        return await work(self, *args, **options)

    monkeypatch.setattr(owner, name, fails_first)
    settings = {"sendgrid_api_key": "SG.x", "sendgrid_from_email": "a@b.example"} if owner is Outbox else {}
    with capture_logs() as logs:
        async with open_house_under_test(database, tmp_path, listens=False, **settings) as house:
            await house.people(1)
            with trio.fail_after(30):
                await failed.wait()
            room = await house.conversation(1)
            assert (await house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"})).status == 201
        assert told in [line["event"] for line in logs]
