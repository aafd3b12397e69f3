"""An error of PostgreSQL that nothing of ours expects, as a deadlock with another process: it ends no room.

A session ends that cannot go on without what was asked, and its client comes again.
"""

from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
import trio
from house_fixture import open_house_under_test
from streams import Stream
from structlog.testing import capture_logs
from wire import V1, Socket, open_sockets, wait_until

from greenroom.storage.postgres.conversations import Conversations
from greenroom.storage.postgres.last_seen import LastSeen
from greenroom.storage.postgres.outbox import Outbox
from greenroom.storage.postgres.uploads import Uploads
from greenroom.storage.postgres.user_streams import UserStreams


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


@dataclass(frozen=True)
class Way:
    """A way to come, and what storage is asked then."""

    owner: type
    name: str
    resume: dict[str, Any] = field(default_factory=dict)
    protocol: str | None = V1


WAYS = {
    "a page of a room": Way(Conversations, "log_after", {"rooms": {"heard": {"seq": 0}}}),
    "when a room was left": Way(Conversations, "ends_of", {"rooms": {"left": {"seq": 1}}}),
    "a page of the user's stream": Way(UserStreams, "events_after", {"user": {"useq": 0}}),
    "how far the stream is": Way(UserStreams, "standing"),
    "how far it is, for a page": Way(UserStreams, "standing", protocol=None),
}


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)
async def test_who_cannot_be_brought_up_is_told_so_and_is_when_they_come_again(live_house, monkeypatch, way):
    """Else they would wait for ever for what was missed, and hear nothing that comes after it."""
    house = live_house.house
    await live_house.people(1, 2)
    rooms = {name: await live_house.conversation(1, 2) for name in ("heard", "left")}
    assert (await live_house.delete(f"/api/conversations/{rooms['left']}/participants/2", 2)).status == 200
    work, fails = getattr(way.owner, way.name), True

    async def fails_once(self, *args, **options):
        nonlocal fails
        if fails:
            fails = False
            raise asyncpg.InternalServerError("could not read block 7")
        return await work(self, *args, **options)

    resume = dict(way.resume)
    if "rooms" in resume:
        resume["rooms"] = {str(rooms[name]): place for name, place in resume["rooms"].items()}

    async def come():
        sock = await Socket.open(nursery, live_house, 2, protocol=way.protocol)
        if way.protocol is not None:
            await sock.send({"type": "start", "id": "s", "data": {"resume": resume}})
        return sock

    async with open_sockets() as nursery:
        author = await Socket.open(nursery, live_house, 1)
        await author.start(rooms["heard"])
        await author.ask("send", rooms["heard"], body="x")
        house.hub.channels[rooms["heard"]].recent.clear()  # it is read from storage
        stream = await Stream.open(nursery, live_house, 2)
        await stream.expect("membership", count=3)
        stream.cut()
        await wait_until(lambda: house.engine.connections_of(2))
        if way.name == "standing":
            house.sockets.streams.forget(2)
        monkeypatch.setattr(way.owner, way.name, fails_once)
        faults = house.engine.statistics().faults
        sock = await come()
        assert await sock.wait_closed() == (1011 if way.protocol is None else 4100)
        assert house.engine.statistics().faults == faults + 1
        assert not house.hub.coming
        again = await come()
        await again.expect("connected" if way.protocol is None else "live")
        if way.name == "log_after":
            assert [event["data"]["body"] for event in again.of("message")] == ["x"]
