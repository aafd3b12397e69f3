"""What one pass of the loop has for a socket arrives whole and in order, however little the kernel takes of it."""

import os
import socket
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
    return engine.adopt(Adopted(near, b"", address, None), lambda _: cast("Any", Silent()), address[0]), peer


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
