"""The close frame of one who does not read: the kernel has it, so it is heard however late, and held by nobody here."""

import os
import socket

import trio
from silent import Silent  # type: ignore[import-not-found]

from greenroom.http.adoption import Adopted
from greenroom.http.listener import open_listeners
from greenroom.http.ws.codes import DRAINING, SLOW_CONSUMER
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX
from greenroom.http.ws.frames import close_frame, text_frame

FRAME = text_frame(b"x" * 60_000)  # about the largest message


async def connect(engine):
    """A connection of the engine over TCP, as our listener makes them, and its peer, who does not read."""
    (listener,) = await open_listeners("127.0.0.1", 0)
    with listener.socket, socket.socket(fileno=os.dup(listener.socket.fileno())) as listening:
        peer = socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        peer.settimeout(5)
        peer.connect(listening.getsockname())
        listening.setblocking(True)
        near, address = listening.accept()
        near.setblocking(False)
    return engine.adopt(Adopted(near, b"", address, None), lambda _: Silent(), address[0]), peer


def read_to_the_end(peer):
    """All bytes until the end. Raises: ConnectionResetError when it is no orderly end."""
    data = bytearray()
    while piece := peer.recv(65536):
        data += piece
    return bytes(data)


def frames_before(data, last):
    """How many whole FRAMEs stand before the frame *last*, and nothing else."""
    assert data.endswith(last)
    count, rest = divmod(len(data) - len(last), len(FRAME))
    assert rest == 0
    assert data == FRAME * count + last
    return count


async def test_one_who_reads_again_when_it_is_long_forgotten_hears_why_it_was_closed(engine, autojump_clock):
    connection, peer = await connect(engine)
    with peer:
        for _ in range(OUTBOX_BYTES_MAX // len(FRAME) + 10):
            connection.write_now(FRAME)
        assert connection.is_closing
        assert connection.unsent_bytes == 0, "what waits for the peer is the kernel's"
        await trio.sleep(7)
        assert engine.total == 0
        assert 0 < frames_before(read_to_the_end(peer), close_frame(SLOW_CONSUMER.code, SLOW_CONSUMER.reason)) < 10


async def test_so_does_one_who_had_not_taken_little_for_ten_seconds(engine, autojump_clock):
    connection, peer = await connect(engine)
    with peer:
        for _ in range(5):
            connection.write_now(FRAME)
        assert connection.unsent_bytes > 0
        await trio.sleep(20)
        assert engine.total == 0
        assert frames_before(read_to_the_end(peer), close_frame(SLOW_CONSUMER.code, SLOW_CONSUMER.reason)) > 0


async def test_an_end_in_order_waits_for_nobody_who_does_not_read_and_is_told_all_the_same(engine, autojump_clock):
    connection, peer = await connect(engine)
    with peer:
        for _ in range(5):
            connection.write_now(FRAME)
        with trio.move_on_after(1):
            await engine.drain.stop()
        assert engine.total == 0
        assert frames_before(read_to_the_end(peer), close_frame(DRAINING.code, DRAINING.reason)) > 0


async def test_the_kernel_keeps_the_word_for_longer_than_it_keeps_a_peer_who_is_gone(engine):
    connection, peer = await connect(engine)
    with peer:
        while not connection.unsent_bytes:
            connection.write_now(FRAME)
        connection.close(SLOW_CONSUMER)
        seconds = connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) / 1000
        assert seconds >= 60
        connection.abort()
