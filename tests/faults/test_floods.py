"""One connection that says more than its share: it rests, it loses nothing, and nobody else is kept waiting by it."""

import json
import time

import pytest
from wire import Socket, frame, open_sockets, wait_until

from greenroom.http.ws import engine
from greenroom.http.ws.frames import FRAGMENTS_MAX


@pytest.fixture
def everybody_takes_too_long(monkeypatch):
    """As if every read of a connection kept the loop for longer than its share."""
    monkeypatch.setattr(engine, "TURN_SECONDS_MAX", -1.0)
    monkeypatch.setattr(engine, "REST", 1e9)
    monkeypatch.setattr(engine, "REST_SECONDS_MAX", 0.2)


def connection_of(live_house, user):
    (connection,) = live_house.house.engine.connections_of(user)
    return connection


async def test_what_takes_too_long_rests_and_is_answered_in_order(live_house, everybody_takes_too_long):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        connection = connection_of(live_house, 1)
        for turn in range(3):
            pings = [json.dumps({"type": "ping", "id": f"{turn}-{number}"}) for number in range(400)]
            await sock.send_bytes(b"".join(map(frame, pings)))  # more than one read takes
        rested = False

        def missing():
            nonlocal rested
            rested = rested or connection.is_paused
            return 1200 - len(sock.of("pong"))

        await wait_until(missing, 20)
        expected = [f"{turn}-{number}" for turn in range(3) for number in range(400)]
        assert [event["id"] for event in sock.of("pong")] == expected
        assert rested
        await wait_until(lambda: connection.is_paused, 5)


async def test_others_are_read_while_one_rests(live_house, everybody_takes_too_long, monkeypatch):
    monkeypatch.setattr(engine, "REST_SECONDS_MAX", 60.0)
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        flood, other = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
        await flood.command("start")
        await flood.expect("ready")
        await flood.command("ping")
        await other.command("start")
        await other.expect("ready")
        assert connection_of(live_house, 1).is_paused
        assert flood.of("pong") == []


@pytest.mark.parametrize(("works", "rests"), [(False, False), (True, True)], ids=["who is interrupted", "who works"])
async def test_only_the_processor_time_of_a_connection_counts(live_house, without_collector, monkeypatch, works, rests):
    """What the system took meanwhile for other programs is not its share, however long that was."""
    monkeypatch.setattr(engine, "TURN_SECONDS_MAX", 0.02)  # more than a turn takes that does nothing
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        session, paused = connection_of(live_house, 1).session, []

        def long(text):
            ends = time.thread_time() + 0.05
            while works and time.thread_time() < ends:
                pass
            if not works:
                time.sleep(0.05)

        monkeypatch.setattr(type(session), "receive", lambda self, text: long(text))
        monkeypatch.setattr(type(session), "pause_for", lambda self, seconds: paused.append(seconds))
        before = live_house.house.engine.statistics().frames_in
        await sock.send_bytes(frame("{}"))
        await wait_until(lambda: live_house.house.engine.statistics().frames_in == before and "the frame")
        assert bool(paused) is rests


async def test_fragments_without_end_are_closed_and_leave_nothing(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send_bytes(frame(b"", final=False) + frame(b"", 0, final=False) * (FRAGMENTS_MAX + 10))
        assert await sock.wait_closed() == 1009
        await wait_until(lambda: live_house.house.engine.total)
