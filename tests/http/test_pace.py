"""How fast a peer takes what waits for it: who is told what is old is closed with 4201, who is merely slow is not."""

import contextlib
import random
import socket
from collections import deque

import pytest
import trio
from silent import Silent  # type: ignore[import-not-found]

from greenroom.http.adoption import Adopted
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.pace import OUTBOX_SECONDS_MAX, TAKEN_BYTES_MIN, Pace
from greenroom.http.ws.replay import PACK_BYTES_MAX, UNSENT_BYTES_MAX, wait_drained

PING = text_frame(b'{"type":"ping"}')
LATE_SECONDS = 2.0  # a look a second, and what the kernel holds


class Listening(Silent):
    """It is never closed for its silence."""

    def beat(self, now):
        return 60.0


class Peer:
    """A connection, and one who reads so many bytes a second, in pieces."""

    def __init__(self, engine, bytes_a_second, piece=None):
        near, self.sock = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for sock in (near, self.sock):
            sock.setblocking(False)
        self.connection = engine.adopt(Adopted(near, b"", ("here", 1), None), lambda _: Listening(), "here")
        self.heard = 0
        self._piece = piece or bytes_a_second // 4
        self._rest_seconds = self._piece / bytes_a_second

    async def read(self):
        while True:
            await trio.sleep(self._rest_seconds)
            left = self._piece
            with contextlib.suppress(BlockingIOError):
                while left:
                    data = self.sock.recv(min(left, 2000))
                    if not data:
                        return
                    self.heard += len(data)
                    left -= len(data)
                    self.connection.writable()


def closed_with(engine):
    return engine.statistics().closed


async def test_who_trickles_in_a_busy_room_is_closed_when_its_head_is_old_and_who_keeps_up_slowly_stays(
    engine, nursery, autojump_clock
):
    trickler, reader = Peer(engine, 3_000), Peer(engine, 50_000)
    frame, said = text_frame(b"x" * 9_996), 0
    for peer in (trickler, reader):
        nursery.start_soon(peer.read)
        for _ in range(20):  # behind from the beginning
            peer.connection.write_now(frame)
            said += len(frame)
    began, closed_at = trio.current_time(), None
    for _ in range(120):
        await trio.sleep(0.25)
        if trickler.connection.is_closing and closed_at is None:
            closed_at = trio.current_time()
        for peer in (trickler, reader):
            peer.connection.write_now(frame)
    assert OUTBOX_SECONDS_MAX <= closed_at - began <= OUTBOX_SECONDS_MAX + LATE_SECONDS
    assert closed_with(engine) == {4201: 1}
    assert not reader.connection.is_closing
    assert reader.heard > 1_200_000


@pytest.mark.parametrize(
    ("bytes_a_second", "piece"),
    [(32_000, 8_000), (32_000, 43_000), (20_000, 5_000), (16_384, 43_690)],
    ids=["32 KB", "in pieces", "20", "16 in pieces"],
)
async def test_a_replay_to_a_slow_line_goes_on_for_as_long_as_it_takes(
    engine, nursery, autojump_clock, bytes_a_second, piece
):
    """With a page of history on top of it: half as much as an outbox holds waits all the time."""
    peer = Peer(engine, bytes_a_second, piece)
    connection, pack = peer.connection, text_frame(b"x" * PACK_BYTES_MAX)
    connection.write_now(pack * 3)
    nursery.start_soon(peer.read)
    most = 0
    with trio.move_on_after(120):
        while not connection.is_closing:
            connection.write(pack)
            connection.flush()
            most = max(most, connection.unsent_bytes)
            assert len(connection._pace._goals) <= OUTBOX_SECONDS_MAX + 1
            await wait_drained(connection)
    assert closed_with(engine) == {}
    assert most > UNSENT_BYTES_MAX
    assert peer.heard > 100 * bytes_a_second


async def test_who_takes_too_little_of_a_replay_for_ten_seconds_is_closed_though_it_takes_something(
    engine, nursery, autojump_clock
):
    peer = Peer(engine, 3_000)
    peer.connection.write_now(text_frame(b"x" * UNSENT_BYTES_MAX))
    nursery.start_soon(peer.read)
    await trio.sleep(OUTBOX_SECONDS_MAX - 0.5)
    assert not peer.connection.is_closing
    await trio.sleep(0.5 + LATE_SECONDS)
    assert closed_with(engine) == {4201: 1}


async def test_what_goes_ahead_of_what_waits_is_no_progress_of_it(engine, nursery, autojump_clock):
    peer = Peer(engine, 1_000)
    peer.connection.write_now(text_frame(b"x" * 5_000))
    while peer.connection.queued_bytes < 5_000:
        peer.connection.write_now(text_frame(b"y" * 1_000))
    nursery.start_soon(peer.read)
    for _ in range(4 * int(OUTBOX_SECONDS_MAX + LATE_SECONDS)):
        await trio.sleep(0.25)
        for _ in range(20):  # more than it takes
            peer.connection.write_ahead(PING)
    assert closed_with(engine) == {4201: 1}


async def test_a_little_that_is_taken_in_time_closes_nobody_and_leaves_nothing(engine, nursery, autojump_clock):
    peer = Peer(engine, 2_000)
    nursery.start_soon(peer.read)
    for _ in range(8):
        while peer.connection.queued_bytes < 5_000:
            peer.connection.write_now(text_frame(b"x" * 1_000))
        assert peer.connection._pace is not None
        await trio.sleep(11)
        assert peer.connection._pace is None
    assert closed_with(engine) == {}


@pytest.mark.parametrize("number", range(40))
def test_whatever_is_written_and_taken_only_who_is_told_what_is_old_is_too_slow(seed, number):
    """Against each byte that waits, and since when: (since, size, whether it went ahead)."""
    chance = random.Random(seed + number)
    pace, waiting, now, looks = Pace(0.0), deque([(0.0, 5_000, False)]), 0.0, []
    rate = chance.choice([0, 300, 3_000, 30_000, 100_000])
    taken = 0  # but for what went ahead
    while now < 60:
        match chance.choice(["say", "say", "ahead", "take", "look", "look"]):
            case "say":
                waiting.append((now, chance.randint(1, 40_000), False))
            case "ahead":
                size = chance.randint(1, 2_000)
                waiting.appendleft((now, size, True))
                pace.went_ahead(size)
            case "take":
                left = size = min(chance.randint(0, rate), sum(size for _, size, _ in waiting) - 1)
                while left:
                    since, first, is_ahead = waiting.popleft()
                    part = min(first, left)
                    taken += 0 if is_ahead else part
                    left -= part
                    if part < first:
                        waiting.appendleft((since, first - part, is_ahead))
                if size:
                    pace.took(size, now)
            case "look":
                now += 1.0
                looks.append((now, taken - sum(size for _, size, is_ahead in waiting if is_ahead)))
                oldest = min(since for since, _, _ in waiting)
                if not pace.is_kept(sum(size for _, size, _ in waiting), now):
                    assert now - oldest >= OUTBOX_SECONDS_MAX
                    return
                before = [then for at, then in looks if now - at >= OUTBOX_SECONDS_MAX]
                if before and now - oldest >= OUTBOX_SECONDS_MAX + 1:
                    assert taken - before[-1] >= TAKEN_BYTES_MIN  # what was ahead then counts
                if sum(size for _, size, _ in waiting) > OUTBOX_BYTES_MAX:
                    return
    assert rate > 0
