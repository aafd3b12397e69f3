"""What one pass of the loop has for a socket arrives whole and in order, however little the kernel takes of it."""

import os
import socket
from contextlib import suppress
from typing import Any, cast

import pytest
import trio
from silent import Silent  # type: ignore[import-not-found]
from trio.testing import wait_all_tasks_blocked

from greenroom.http.adoption import Adopted
from greenroom.http.listener import open_listeners
from greenroom.http.ws.connection import CONTROL, OUTBOX_BYTES_MAX
from greenroom.http.ws.engine import SocketEngine

PING, PONG = b"\x89\x80\x00\x00\x00\x00", b"\x8a\x00"
CLOSE = b"\x88\x82\x00\x00\x00\x00\x03\xe8"


@pytest.fixture
async def ends(nursery):
    """A connection of the engine over TCP, and its peer."""
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)
    (listener,) = await open_listeners("127.0.0.1", 0)
    with listener.socket, socket.socket(fileno=os.dup(listener.socket.fileno())) as listening:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.connect(listening.getsockname())
        peer.setblocking(False)
        listening.setblocking(True)
        near, address = listening.accept()
        near.setblocking(False)
    with peer:
        connection = engine.adopt(Adopted(near, b"", address, None), lambda _: cast("Any", Silent()), address[0])
        yield connection, peer
        connection.abort()


@pytest.mark.parametrize("size", [20, 3000, 60_000, 300_000])
async def test_nothing_that_was_collected_is_lost_when_the_kernel_is_full_in_the_middle(ends, size):
    connection, peer = ends
    frames = [bytes([number]) * size for number in range(min(900_000 // size, 200))]
    for frame in frames:
        connection.write(frame)
    wanted, received = b"".join(frames), bytearray()
    with trio.fail_after(20):
        while len(received) < len(wanted):
            try:
                received += peer.recv(65536)
            except BlockingIOError:
                await trio.sleep(0.001)
            if not connection.unsent_bytes and connection.is_clear and len(received) < len(wanted):
                await trio.sleep(0.05)
                try:
                    received += peer.recv(65536)
                except BlockingIOError:
                    break
    assert received == wanted
    assert not connection.is_closing


async def test_a_ping_goes_ahead_of_what_waits_between_two_whole_frames_and_is_bounded_like_it(ends):
    connection, peer = ends
    frames = [b"%08d" % number + b"x" * 9_992 for number in range(80)]
    for frame in frames:
        connection.write(frame)
        connection.flush()
    assert connection.unsent_bytes > 400_000
    for _ in range(3):
        connection.signal(b"PING")
    connection.write(b"LAST", CONTROL)
    received = bytearray()
    with trio.fail_after(20):
        while not received.endswith(b"LAST"):
            try:
                received += peer.recv(65536)
            except BlockingIOError:
                await trio.sleep(0.001)
    at = received.index(b"PING")
    assert received.replace(b"PING", b"") == b"".join(frames) + b"LAST"
    assert received[at : at + 12] == b"PING" * 3
    assert at % 10_000 == 0
    assert len(received) - at > 300_000, "they waited with the rest"
    for frame in frames:
        connection.write(frame)
        connection.flush()
    for _ in range(OUTBOX_BYTES_MAX // 4000):  # a peer that pings and never reads
        connection.signal(b"PING" * 1000)
    assert connection.is_closing
    assert connection.unsent_bytes <= OUTBOX_BYTES_MAX


@pytest.mark.parametrize("early", [b"", PING])
async def test_the_answer_to_the_handshake_and_the_first_frames_are_one_send(nursery, early):
    """Over a kind of socket that keeps sends apart."""
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)
    near, peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    near.setblocking(False)
    peer.setblocking(False)

    def say_hello(connection):
        connection.write(b"<hello>")
        connection.write(b"<again>")
        return cast("Any", Silent())

    connection = engine.adopt(Adopted(near, early, ("here", 1), None, b"<101>"), say_hello, "here")
    assert connection.is_clear
    connection.write(b"<later>")
    await wait_all_tasks_blocked()
    with peer:
        assert peer.recv(1000) == b"<101><hello><again>" + (PONG if early else b"")
        assert peer.recv(1000) == b"<later>"
        with pytest.raises(BlockingIOError):
            peer.recv(1000)


async def test_a_peer_that_left_before_the_answer_is_let_go(nursery):
    engine = SocketEngine(nursery)
    near, peer = socket.socketpair()
    peer.close()
    near.setblocking(False)
    engine.adopt(Adopted(near, b"", ("here", 1), None, b"<101>"), lambda _: cast("Any", Silent()), "here")
    assert engine.total == 0
    assert near.fileno() == -1


class Noting(Silent):
    """Notes what it is told."""

    def __init__(self, user_id=1):
        self.user_id, self.heard, self.closes = user_id, [], 0

    def receive(self, text):
        self.heard.append(text)

    def closed(self):
        self.closes += 1


def adopt(engine, make_session):
    """The peer of what was adopted, or of what was not, as *make_session* failed."""
    near, peer = socket.socketpair()
    for sock in (near, peer):
        sock.setblocking(False)
    with suppress(ZeroDivisionError):
        engine.adopt(Adopted(near, b"", ("here", 1), None, b"<101>"), make_session, "here")
    return peer


async def test_a_session_that_pauses_its_connection_while_it_is_made_is_read_when_it_resumes(nursery):
    engine, session, made = SocketEngine(nursery), Noting(), []
    nursery.start_soon(engine.run)

    def pauses(connection):
        made.append(connection)
        engine.pause(connection)
        return cast("Any", session)

    with adopt(engine, pauses) as peer:
        peer.send(b"\x81\x84\0\0\0\0text")
        await wait_all_tasks_blocked()
        assert (peer.recv(100), session.heard) == (b"<101>", [])
        engine.resume(made[0])
        await wait_all_tasks_blocked()
        assert session.heard == ["text"]
        made[0].abort()


async def test_of_a_session_that_cannot_be_made_nothing_is_left_and_who_writes_to_it_writes_to_nobody(nursery):
    engine, made = SocketEngine(nursery), []
    nursery.start_soon(engine.run)

    def fails(connection):
        connection.write(b"<hello>")
        made.append(connection)
        return 1 // 0

    with adopt(engine, lambda _: cast("Any", Noting(None))), adopt(engine, fails) as peer:
        assert (engine.total, engine.from_address("here"), engine.unauthenticated_from("here")) == (1, 1, 1)
        made[0].write(b"<message>")
        await wait_all_tasks_blocked()
        assert peer.recv(100) == b""
        assert (made[0].is_closing, made[0].unsent_bytes) == (True, 0)
        engine.all_connections()[0].abort()


async def test_a_session_whose_connection_fails_at_the_beginning_is_told_so(nursery):
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)

    class Fails(Noting):
        @property
        def first_beat_seconds(self):
            return 1 // 0

    session = Fails()
    with adopt(engine, lambda _: cast("Any", session)) as peer:
        assert peer.recv(100) == b""
    assert (engine.total, engine.of_user(1), session.closes) == (0, 0, 1)


async def test_a_close_of_the_peer_is_answered_and_the_socket_closed_at_once(ends):
    connection, peer = ends
    peer.send(CLOSE)
    await wait_all_tasks_blocked()
    assert not connection.is_open
    assert connection.sock.fileno() == -1
    assert peer.recv(100) == b"\x88\x02\x03\xe8"
    assert peer.recv(100) == b""


async def test_who_goes_on_after_its_close_is_heard_out_so_that_the_answer_is_not_taken_back(ends):
    connection, peer = ends
    peer.send(CLOSE + bytes(20_000))  # more than is read at once: to close over the rest would be a reset
    await wait_all_tasks_blocked()
    assert connection.is_closing
    assert connection.is_open
    assert peer.recv(100) == b"\x88\x02\x03\xe8"
    assert peer.recv(100) == b""
    peer.close()
    await wait_all_tasks_blocked()
    assert not connection.is_open
