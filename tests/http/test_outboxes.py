"""What waits for all peers together: one budget of bytes that exist; beyond it who took nothing for longest is closed.

Of those, that is, who hold a share that is worth it. What many wait for exists once.
"""

import random
from functools import partial

import pytest
import trio
from slow_peer import FRAME, Peer  # type: ignore[import-not-found]
from trio.testing import wait_all_tasks_blocked

from greenroom.http.ws import outboxes
from greenroom.http.ws.codes import SLOW_CONSUMER
from greenroom.http.ws.connection import CONTROL, DURABLE, EPHEMERAL
from greenroom.http.ws.contract import OutboxStatistics
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.replay import UNSENT_BYTES_MAX, wait_drained

BUDGET = 600_000


def held(peers):
    return sum(peer.connection._queued_bytes for peer in peers)


def existing(engine):
    """The bytes of all frames that wait for somebody."""
    frames = {id(frame): frame for one in engine.all_connections() for frame in one._queue or ()}
    return sum(map(len, frames.values()))


def news(count):
    """Frames for everybody."""
    return [FRAME[:1] + FRAME[1:] for _ in range(count)]


async def until(condition):
    """Wait for what a look brings about: one that was in vain rests before the next."""
    for _ in range(5_000):
        if condition():
            return
        await trio.sleep(0.001)
    raise AssertionError("it does not come about in 5 s")


@pytest.fixture
async def engine(nursery, monkeypatch):
    monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", BUDGET)
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)
    await wait_all_tasks_blocked()
    return engine


@pytest.mark.parametrize(("is_v1", "code"), [(True, 4201), (False, 1012)])
async def test_when_the_budget_is_spent_who_took_nothing_for_longest_is_closed_and_nobody_else(engine, is_v1, code):
    peers = [Peer(engine, is_v1=is_v1) for _ in range(5)]
    for peer in peers:
        peer.waits(100_000)
    await wait_all_tasks_blocked()
    assert not any(peer.is_closed for peer in peers)
    await peers[0].read(20_000)  # it does read
    peers[4].waits(250_000)
    await wait_all_tasks_blocked()
    assert [peer.is_closed for peer in peers] == [False, True, False, False, False]
    assert engine.outboxes.bytes == held(peers) <= BUDGET
    await peers[1].read_all()
    assert bytes(peers[1].heard).rpartition(b"\x88")[2][1:3] == code.to_bytes(2, "big")
    for peer in (peers[0], *peers[2:]):
        await peer.read_all()
        assert bytes(peer.heard) == FRAME * (len(peer.heard) // len(FRAME))
    assert engine.outboxes.bytes == 0


async def test_one_who_holds_a_share_and_reads_nothing_goes_before_one_who_holds_more_and_reads(engine):
    idle = [Peer(engine) for _ in range(4)]
    reader = Peer(engine)
    for size in range(10_000, 300_000, 10_000):
        reader.waits(170_000)
        await reader.read(30_000)
        for peer in idle:
            peer.waits(size)
        await wait_all_tasks_blocked()
        assert existing(engine) <= BUDGET
    assert not reader.is_closed
    assert any(peer.is_closed for peer in idle)
    await reader.read_all()
    assert bytes(reader.heard) == FRAME * (len(reader.heard) // len(FRAME))


async def test_one_who_holds_less_than_a_share_is_not_closed_for_those_who_hold_more(engine):
    little, much = [Peer(engine) for _ in range(20)], [Peer(engine) for _ in range(3)]
    for peer in little:
        peer.waits(1)
    for peer in much:
        peer.waits(140_000)
    await wait_all_tasks_blocked()
    assert not any(peer.is_closed for peer in (*little, *much))
    much[2].waits(300_000)
    await wait_all_tasks_blocked()
    assert [peer.is_closed for peer in much] == [True, False, False]
    assert not any(peer.is_closed for peer in little)


async def test_what_many_wait_for_exists_once_and_closes_nobody(engine, autojump_clock):
    bystander, crowd = Peer(engine), [Peer(engine) for _ in range(20)]
    bystander.waits(20_000)
    for _ in range(3):
        for frame in news(5):
            for peer in crowd:
                peer.is_told(frame)
            await wait_all_tasks_blocked()
        await trio.sleep(1)
    assert engine.outboxes.bytes > 4 * BUDGET
    assert not engine.outboxes.is_crowded
    assert not any(peer.is_closed for peer in (bystander, *crowd))
    for peer in (bystander, *crowd):
        await peer.read_all()
        assert bytes(peer.heard) == FRAME * (len(peer.heard) // len(FRAME))
    assert (engine.outboxes.bytes, engine.outboxes.is_crowded) == (0, False)


async def test_behind_what_many_wait_for_a_flood_of_ones_own_is_bounded_as_ever(engine, autojump_clock):
    crowd, flood = [Peer(engine) for _ in range(20)], [Peer(engine) for _ in range(5)]
    for frame in news(10):
        for peer in crowd:
            peer.is_told(frame)
    await until(lambda: not engine.outboxes.is_crowded)
    for size in range(10_000, 300_000, 10_000):
        for peer in flood:
            peer.waits(size)
        await until(lambda: existing(engine) <= BUDGET)
    assert engine.outboxes.is_crowded
    assert not any(peer.is_closed for peer in crowd), "to close one of them frees nothing"
    assert 0 < sum(peer.is_closed for peer in flood) < len(flood)


async def test_all_that_was_shared_is_taken_and_what_takes_its_place_is_counted(engine, autojump_clock):
    crowd = [Peer(engine) for _ in range(20)]
    for frame in news(10):
        for peer in crowd:
            peer.is_told(frame)
    await until(lambda: not engine.outboxes.is_crowded)
    for peer in crowd:
        await peer.read_all()
        peer.waits(30_000)
        await until(lambda: existing(engine) <= BUDGET)
    assert existing(engine) > BUDGET / 2
    assert engine.outboxes.is_crowded


async def test_a_look_at_what_exists_lets_others_have_the_loop(engine, monkeypatch):
    monkeypatch.setattr(outboxes, "LOOK_SLICE_SECONDS_MAX", 0.0)
    crowd = [Peer(engine) for _ in range(20)]
    for frame in news(10):
        for peer in crowd:
            peer.is_told(frame)
    passes = 0
    while engine.outboxes.is_crowded:
        await trio.lowlevel.checkpoint()
        passes += 1
    assert passes >= 20


async def test_one_whose_last_word_is_not_taken_either_is_ended_before_others_are_closed(engine, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.connection.SEND_BYTES_MAX", 1)  # the kernel takes no more at the end
    peers = [Peer(engine) for _ in range(3)]
    for peer in peers:
        peer.connection.write_now(text_frame(b"x" * 250_000))
    await wait_all_tasks_blocked()
    assert [peer.connection.is_open for peer in peers] == [False, True, True]
    assert [peer.is_closed for peer in peers[1:]] == [False, False]
    assert engine.outboxes.bytes == held(peers) <= BUDGET


async def test_a_session_that_fails_when_it_is_made_room_of_fails_alone(engine):
    fails, *others = [Peer(engine) for _ in range(3)]
    fails.session.fails = True
    for peer in (fails, *others):
        peer.waits(220_000)
    await wait_all_tasks_blocked()
    assert (fails.connection.is_open, engine.outboxes.bytes) == (False, held(others))
    assert not any(peer.is_closed for peer in others)


@pytest.mark.parametrize("number", range(4))
async def test_whatever_befalls_them_the_sum_is_what_they_hold(engine, seed, number):
    chance, peers = random.Random(seed + number), [Peer(engine) for _ in range(8)]
    for _ in range(300):
        peer = chance.choice(peers)
        match chance.choice(["write"] * 6 + ["now", "ahead", "read", "read", "end"]):
            case "write":
                peer.connection.write(FRAME[: chance.randint(1, 9_000)], chance.choice([CONTROL, DURABLE, EPHEMERAL]))
            case "now":
                for other in (peer, *peers):
                    other.connection.write_now(FRAME)
            case "ahead":
                peer.connection.write_ahead(b"\x8a\x00")
            case "read":
                await peer.read(chance.randint(1, 50_000))
            case "end":
                chance.choice([peer.connection.abort, peer.sock.close, partial(peer.connection.close_with, 1000)])()
                peers.remove(peer)
                peers.append(Peer(engine))
        await wait_all_tasks_blocked()
        open_ones = engine.all_connections()
        assert engine.outboxes.bytes == sum(connection._queued_bytes for connection in open_ones)
        await until(lambda: existing(engine) <= BUDGET)
        open_ones = engine.all_connections()
        assert set(engine.outboxes._waiting) == {one for one in open_ones if one._queued_bytes}
    for connection in engine.all_connections():
        connection.abort()
    assert (engine.outboxes.bytes, engine.outboxes._waiting) == (0, {})


async def test_a_replay_waits_until_all_is_taken_while_much_waits_for_others(engine, autojump_clock):
    others, reader = [Peer(engine) for _ in range(2)], Peer(engine)
    reader.waits(100_000)
    assert reader.connection.unsent_bytes < UNSENT_BYTES_MAX
    with trio.fail_after(1):
        await wait_drained(reader.connection)
    for peer in others:
        peer.waits(150_000)
    assert engine.outboxes.is_crowded
    with trio.move_on_after(1) as scope:
        await wait_drained(reader.connection)
    assert scope.cancelled_caught
    await reader.read_all()
    with trio.fail_after(1):
        await wait_drained(reader.connection)


@pytest.mark.parametrize(("is_v1", "protocol"), [(True, "greenroom.v1"), (False, "compat")])
async def test_it_is_told_for_whom_most_waits_and_how_many_were_too_slow(engine, autojump_clock, is_v1, protocol):
    assert engine.statistics().outboxes == OutboxStatistics(0, 0, BUDGET, 0, ())
    peers = [Peer(engine, is_v1=is_v1) for _ in range(outboxes.WORST_MAX + 2)]
    for number, peer in enumerate(peers):
        peer.waits(10_000 * (number + 1) // 4)
    await wait_all_tasks_blocked()
    await trio.sleep(3)
    told = engine.statistics().outboxes
    assert (told.sockets, told.bytes, told.closed) == (len(peers), held(peers), 0)
    assert len(told.worst) == outboxes.WORST_MAX
    assert [one.bytes for one in told.worst] == sorted((one.bytes for one in told.worst), reverse=True)
    worst = max(peers, key=lambda peer: peer.connection.queued_bytes).connection
    first = told.worst[0]
    assert (first.user, first.address, first.protocol, first.seconds) == (1, "127.0.0.1", protocol, 3.0)
    assert first.bytes == worst.queued_bytes
    peers[0].connection.end(SLOW_CONSUMER)
    peers[0].connection.end(SLOW_CONSUMER)
    peers[1].connection.close_with(1000)
    assert engine.statistics().outboxes.closed == 1, "once, and not who ends for another reason"
    await trio.sleep(11)
    assert engine.statistics().outboxes.closed == len(peers) - 1, "by time too"
