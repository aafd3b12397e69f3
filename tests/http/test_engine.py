"""The tasks that all connections share: a fault of one session ends that session alone, wherever it comes up.

And what was told of a descriptor is not taken for news of the next connection that has it.
"""

import os
import socket
from contextlib import suppress
from typing import Any, cast

import pytest
import trio
from silent import Silent  # type: ignore[import-not-found]
from trio.testing import wait_all_tasks_blocked

from greenroom.http.adoption import Adopted
from greenroom.http.streams.connection import EventStream, Poll
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX, Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import EARLY_BYTES_MAX, text_frame


class Session(Silent):
    """fails: where it raises. heard: what it was told."""

    user_id = 1

    def __init__(self, connection=None, fails=(), wait_seconds: float | None = 5.0):
        self.connection, self.fails, self.wait_seconds = connection, fails, wait_seconds
        self.first_beat_seconds = 1.0
        self.heard, self.beats, self.ends = [], 0, 0

    def _may_fail(self, where):
        if where in self.fails:
            raise RuntimeError(f"a fault of ours, {where}")

    def beat(self, now):
        self.beats += 1
        return self.wait_seconds

    def cursor(self):
        self._may_fail("in its cursor")
        return "1"

    def receive(self, text):
        self.heard.append(text)

    def pause_for(self, seconds):
        self.connection.engine.pause(self.connection)

    def farewell(self, code):
        self._may_fail("in its farewell")
        return b""

    def closed(self):
        self.ends += 1
        self._may_fail("at its end")


def pair():
    near, peer = socket.socketpair()
    near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for sock in (near, peer):
        sock.setblocking(False)
    return near, peer


def adopt(engine, near, early=b"", make_connection=Connection, **of_session):
    def make_session(connection):
        return cast("Any", Session(connection, **of_session))

    return engine.adopt(Adopted(near, early, ("here", 1), None), make_session, "here", make_connection)


def stream(engine, sock, address):
    return EventStream(engine, sock, address, {}, "")


def poll_at_once(engine, sock, address):
    return Poll(engine, sock, address, {}, "", 0)


def poll(engine, sock, address):
    return Poll(engine, sock, address, {}, "", 20)


def received(peer):
    heard = b""
    with suppress(BlockingIOError):
        while data := peer.recv(65536):
            heard += data
    return heard


@pytest.fixture
def others(engine):
    """A connection that lives on, and its peer."""
    near, peer = pair()
    with peer:
        yield adopt(engine, near), peer


async def lives_on(engine, connection, peer):
    """Every task that all share: it is beaten for, flushed, read."""
    beats = connection.session.beats
    await trio.sleep(12)
    assert connection.session.beats > beats
    received(peer)
    connection.write(text_frame(b"hello"))
    await wait_all_tasks_blocked()
    assert received(peer) == text_frame(b"hello")
    peer.send(b"\x81\x80\0\0\0\0")
    await wait_all_tasks_blocked()
    assert connection.session.heard[-1:] == [""]
    assert engine.all_connections() == [connection]


ENDS = pytest.mark.parametrize(
    "fails", [["at its end"], ["in its farewell"], ["in its farewell", "at its end"]], ids=" and ".join
)


@ENDS
async def test_one_that_says_nothing_and_fails_when_it_is_closed_for_that_is_cut_and_the_clock_goes_on(
    engine, others, autojump_clock, fails
):
    near, peer = pair()
    with peer:
        adopt(engine, near, fails=fails, wait_seconds=None).session.is_v1 = False
        await trio.sleep(2)
        await lives_on(engine, *others)
        assert engine.statistics().faults >= 1
        received(peer)
        assert peer.recv(1) == b"", "it is closed"


@pytest.mark.parametrize("make_connection", [stream, poll_at_once, poll], ids=lambda make: make.__name__)
async def test_one_that_fails_as_what_it_collected_is_sent_fails_alone(engine, others, autojump_clock, make_connection):
    near, peer = pair()
    with peer:
        connection = adopt(engine, near, make_connection=make_connection, fails=["in its cursor"])
        session = connection.session
        connection.went_live()
        connection.write(text_frame(b'{"type":"news"}'))
        others[0].write(text_frame(b"of the same pass"))
        await wait_all_tasks_blocked()
        assert received(others[1]) == text_frame(b"of the same pass")
        await trio.sleep(1)
        assert (connection.is_closing, session.ends) == (True, 1)
        await lives_on(engine, *others)
        assert engine.statistics().faults == 1


@ENDS
async def test_who_writes_to_one_that_is_too_slow_and_fails_at_its_end_is_not_troubled(
    engine, others, autojump_clock, fails
):
    near, peer = pair()
    with peer:
        connection = adopt(engine, near, fails=fails)
        connection.session.is_v1 = "in its farewell" not in fails
        while not connection.is_closing:
            connection.write_now(text_frame(b"x" * 50_000))
        assert (connection.is_open, engine.outboxes.bytes) == (False, 0)
        assert connection.unsent_bytes < OUTBOX_BYTES_MAX
        await lives_on(engine, *others)


@ENDS
async def test_who_finds_that_the_peer_of_one_is_gone_that_fails_at_its_end_is_not_troubled(
    engine, others, autojump_clock, fails
):
    near, peer = pair()
    connection = adopt(engine, near, fails=fails)
    connection.session.is_v1 = False
    peer.close()
    connection.write_now(text_frame(b"x"))
    assert not connection.is_open
    await lives_on(engine, *others)
    assert engine.statistics().closed == {1006: 1}


EARLY = b"".join(b"\x81\x82\0\0\0\0%02d" % number for number in range(10)) * (EARLY_BYTES_MAX // 40)


@pytest.mark.parametrize("is_broken", [False, True], ids=["something to read", "the end of its peer"])
async def test_what_was_told_of_a_descriptor_is_not_news_of_the_next_that_has_it(nursery, is_broken):
    """A crowd is served for longer than a slice: meanwhile one of it ends, and another comes and has its descriptor.

    What that one said with its upgrade is much, so it is paused, and what it says after it must wait for its turn.
    """
    engine, coming = SocketEngine(nursery), []
    (first, first_peer), (last, last_peer), (new, new_peer) = pair(), pair(), pair()

    class Swaps(Session):
        def receive(self, text):
            fd = ends.fd
            ends.abort()
            moved = socket.socket(fileno=os.dup2(new.detach(), fd))
            new_peer.send(b"\x81\x85\0\0\0\0later")
            coming.append(adopt(engine, moved, EARLY))

    engine.adopt(Adopted(first, b"", ("here", 1), None), lambda one: cast("Any", Swaps(one)), "here")
    ends = adopt(engine, last)
    first_peer.send(b"\x81\x80\0\0\0\0")
    last_peer.send(b"\x81\x80\0\0\0\0")
    if is_broken:
        last_peer.close()
    with first_peer, last_peer, new_peer:
        nursery.start_soon(engine.run)
        await wait_all_tasks_blocked()
        (connection,) = coming
        assert connection.is_open
        while connection.is_paused:
            engine.resume(connection)
        await wait_all_tasks_blocked()
        heard = connection.session.heard
        assert heard == [f"{number:02d}" for number in range(10)] * (EARLY_BYTES_MAX // 40) + ["later"]
        for one in engine.all_connections():
            one.abort()


@pytest.mark.parametrize("is_full", [False, True], ids=["gone", "too slow"])
async def test_what_stands_behind_a_ping_whose_answer_is_the_end_is_not_done(engine, is_full):
    near, peer = pair()
    connection = adopt(engine, near)
    if is_full:
        connection.write(text_frame(b"x" * 60_000))
        connection.flush()
        connection.write(text_frame(b"x" * (OUTBOX_BYTES_MAX - connection._queued_bytes - 50)))
        connection.flush()
        assert not connection.is_closing, "there is room for less than a pong"
    peer.send(b"\x89\xfd\0\0\0\0" + b"p" * 125 + b"\x81\x80\0\0\0\0")
    if not is_full:
        peer.close()
    session = connection.session
    await wait_all_tasks_blocked()
    assert connection.is_closing
    assert session.ends == 1
    assert session.heard == []
    peer.close()
