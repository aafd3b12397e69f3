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
from greenroom.storage.postgres.notifications import Notifications
from greenroom.storage.postgres.outbox import Outbox
from greenroom.storage.postgres.uploads import Uploads
from greenroom.storage.postgres.user_streams import UserStreams
from greenroom.storage.postgres.users import Users


def fail_once(monkeypatch, owner, name):
    """Have the next question of that name fail as none is expected to."""
    work, fails = getattr(owner, name), True

    async def fails_first(self, *args, **options):
        nonlocal fails
        if fails:
            fails = False
            raise asyncpg.InternalServerError("could not read block 7")
        return await work(self, *args, **options)

    monkeypatch.setattr(owner, name, fails_first)


@pytest.mark.parametrize(
    ("owner", "name", "told"),
    [
        (LastSeen, "flush", "last_seen.failed"),
        (Uploads, "expired", "files.sweep_failed"),
        (Notifications, "expired", "notifications.expiry_failed"),
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
        fail_once(monkeypatch, way.owner, way.name)
        faults = house.engine.statistics().faults
        sock = await come()
        assert await sock.wait_closed() == (1011 if way.protocol is None else 4100)
        assert house.engine.statistics().faults == faults + 1
        assert not house.hub.coming
        again = await come()
        await again.expect("connected" if way.protocol is None else "live")
        if way.name == "log_after":
            assert [event["data"]["body"] for event in again.of("message")] == ["x"]


@dataclass(frozen=True)
class Question:
    """What is asked, by its kind; where the answer is read; and the kind of the answer, of a page."""

    kind: str
    owner: type
    name: str
    data: dict[str, Any] = field(default_factory=dict)
    of_room: bool = False
    answer: str | None = None


QUESTIONS = [
    Question("history", Conversations, "messages_before", of_room=True),
    Question("members", Conversations, "participants", of_room=True),
    Question("presence", LastSeen, "of", of_room=True),
    Question("watch", LastSeen, "seen_by", {"users": [1]}),
    Question("block", Users, "exists", {"user": 1}),
    Question("request_initial_data", Notifications, "page", answer="initial_data"),
    Question("get_unread_count", Notifications, "counts", answer="unread_count"),
]


@pytest.mark.parametrize("asked", QUESTIONS, ids=lambda asked: asked.kind)
async def test_who_asks_what_cannot_be_read_is_not_left_without_an_answer(live_house, monkeypatch, asked):
    """A page asks for its initial data once for a socket; a client of v1 waits with all that it may ask at a time."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    protocol = V1 if asked.answer is None else None

    async def come():
        sock = await Socket.open(nursery, live_house, 2, protocol=protocol)
        if protocol is None:
            await sock.expect("connected")
        else:
            await sock.start()
        return sock

    async with open_sockets() as nursery:
        sock = await come()
        fail_once(monkeypatch, asked.owner, asked.name)
        faults = live_house.house.engine.statistics().faults
        frame = {"type": asked.kind, "id": "c", "data": asked.data, **({"room": room} if asked.of_room else {})}
        await sock.send(frame)
        assert await sock.wait_closed() == (1011 if protocol is None else 4100)
        assert live_house.house.engine.statistics().faults == faults + 1
        again = await come()
        await again.send(frame)
        await again.expect(asked.answer or "ack")


async def test_pages_that_come_while_their_rooms_cannot_be_read_come_again_and_those_behind_them_arrive(
    live_house, monkeypatch
):
    """Else none of them would appear, nor have its initial data, before another page came, or at all."""
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    house, begun, fails = live_house.house, trio.Event(), trio.Event()
    work = LastSeen.small_rooms_of

    async def fails_first(self, user_ids):
        if not begun.is_set():
            begun.set()
            await fails.wait()
            raise asyncpg.InternalServerError("could not read block 7")
        return await work(self, user_ids)

    async def come(user):
        sock = await Socket.open(nursery, live_house, user, protocol=None)
        await sock.expect("connected")
        await sock.send({"type": "request_initial_data"})
        return sock

    monkeypatch.setattr(LastSeen, "small_rooms_of", fails_first)
    async with open_sockets() as nursery:
        first = await come(1)
        await begun.wait()
        second = await come(2)
        await wait_until(lambda: not house.engine.connections_of(2)[0].session.initial_data_is_due and "it to ask")
        fails.set()
        assert await first.wait_closed() == 1011
        await second.expect("initial_data")
        again = await come(1)
        await again.expect("initial_data")
        await second.expect("presence_update", userId=1, status="online")
