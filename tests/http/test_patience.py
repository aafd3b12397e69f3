"""Whoever waits for a peer is woken when it has taken enough, or is gone; until then nobody looks."""

import pytest
import trio
from slow_peer import FRAME, Peer  # type: ignore[import-not-found]
from trio.testing import wait_all_tasks_blocked

from greenroom.http.ws import outboxes
from greenroom.http.ws.codes import SLOW_CONSUMER
from greenroom.http.ws.replay import UNSENT_BYTES_MAX, wait_drained

BUDGET = 600_000
MUCH = UNSENT_BYTES_MAX + 100_000


@pytest.fixture
def small_budget(monkeypatch):
    monkeypatch.setattr(outboxes, "OUTBOXES_BYTES_MAX", BUDGET)


class Steps(trio.abc.Instrument):
    """Counts what the tasks called *name* do."""

    def __init__(self, name):
        self.count, self._name = 0, name

    def before_task_step(self, task):
        self.count += self._name in task.name


async def test_nobody_looks_while_peers_take_nothing(engine, autojump_clock):
    peers, steps = [Peer(engine) for _ in range(50)], Steps("wait_drained")
    async with trio.open_nursery() as nursery:
        for peer in peers:
            peer.waits(MUCH)
            nursery.start_soon(wait_drained, peer.connection)
        await wait_all_tasks_blocked()
        trio.lowlevel.add_instrument(steps)
        await trio.sleep(5)
        assert (steps.count, len(nursery.child_tasks)) == (0, 50)
        await peers[0].read(MUCH - UNSENT_BYTES_MAX - 50_000)
        assert steps.count == 0, "it has taken some, but not enough"
        await peers[0].read(100_000)
        await wait_all_tasks_blocked()
        assert (steps.count, len(nursery.child_tasks)) == (1, 49)
        assert 0 < peers[0].connection.unsent_bytes <= UNSENT_BYTES_MAX
        nursery.cancel_scope.cancel()
    trio.lowlevel.remove_instrument(steps)


ENDS = {
    "closed": lambda peer: peer.connection.close(SLOW_CONSUMER),
    "aborted": lambda peer: peer.connection.abort(),
    "gone": lambda peer: peer.sock.close(),
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("is_one_frame", [True, False])
async def test_who_waits_for_a_peer_that_ends_waits_no_more(engine, end, is_one_frame):
    peer = Peer(engine)
    if is_one_frame:
        peer.connection.write_now(FRAME * (MUCH // len(FRAME)))
    else:
        peer.waits(MUCH)
    with trio.fail_after(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_drained, peer.connection)
            await wait_all_tasks_blocked()
            assert nursery.child_tasks
            end(peer)


async def test_of_many_who_wait_for_one_peer_each_looks_again_before_it_writes(engine):
    peer, wrote = Peer(engine), []
    peer.waits(MUCH)

    async def say(number):
        await wait_drained(peer.connection)
        assert peer.connection.unsent_bytes <= UNSENT_BYTES_MAX
        peer.connection.write(FRAME * 10)
        wrote.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(say, number)
        while len(wrote) < 20:
            assert peer.connection.unsent_bytes <= MUCH + len(FRAME)
            await peer.read(10_000)
    await peer.read_all()
    assert bytes(peer.heard) == FRAME * (len(peer.heard) // len(FRAME))


async def test_who_was_written_to_and_not_sent_to_yet_is_sent_to_first(engine):
    peer = Peer(engine)
    for _ in range(MUCH // len(FRAME) + 1):
        peer.connection.write(FRAME)
    assert peer.connection.pending is not None
    with trio.move_on_after(0.2) as scope:
        await wait_drained(peer.connection)
    assert scope.cancelled_caught
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.read_all)
        with trio.fail_after(2):
            await wait_drained(peer.connection)


async def test_who_waits_until_all_is_taken_goes_on_when_the_crowd_is_over(engine, small_budget, autojump_clock):
    others, reader = [Peer(engine) for _ in range(3)], Peer(engine)
    for peer in others:
        peer.waits(150_000)
    reader.waits(20_000)
    assert engine.outboxes.is_crowded
    with trio.fail_after(4.1):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_drained, reader.connection)
            await trio.sleep(3)
            assert nursery.child_tasks
            for peer in others[:2]:
                await peer.read_all()
            assert not engine.outboxes.is_crowded
    assert reader.connection.unsent_bytes > 0


async def test_a_crowd_whose_rest_is_shared_is_over_too(engine, small_budget, autojump_clock):
    others, reader = [Peer(engine) for _ in range(5)], Peer(engine)
    reader.waits(20_000)
    others[0].waits(320_000)
    for frame in [FRAME[:1] + FRAME[1:] for _ in range(15)]:
        for peer in others[1:]:
            peer.is_told(frame)
    await wait_all_tasks_blocked()
    assert engine.outboxes.is_crowded
    with trio.fail_after(4):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_drained, reader.connection)
            await trio.sleep(1.5)
            assert nursery.child_tasks
            await others[0].read_all()
    assert engine.outboxes.bytes * 2 > outboxes.OUTBOXES_BYTES_MAX
    assert reader.connection.unsent_bytes > 0
