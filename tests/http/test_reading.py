"""What is read of one connection in one pass of the loop, however its frames are cut; who broke is let go of."""

import math
import socket
import struct
from itertools import pairwise
from typing import Any

import pytest
import trio

from greenroom.http.adoption import Adopted
from greenroom.http.ws.engine import READ_BYTES, SocketEngine

PING = b"\x89\x80\0\0\0\0"
EMPTY = b"\x81\x80\0\0\0\0"


def text(size):
    return b"\x81\xfe" + struct.pack("!H", size) + b"\0\0\0\0" + b"x" * size


class Session:
    """A session that counts what it hears. has_room: for more of a frame that has begun."""

    user_id = 1
    principal = None
    is_v1 = True
    first_beat_seconds = math.inf

    def __init__(self, connection):
        self.connection = connection
        self.heard = 0
        self.has_room = True
        self.is_over = trio.Event()

    def receive(self, text):
        self.heard += 1

    def takes_more(self):
        if not self.has_room:
            self.connection.engine.pause(self.connection)
        return self.has_room

    def pause_for(self, seconds):
        """The machine was busy: it is read on all the same."""

    def seconds_left(self):
        return math.inf

    def closed(self):
        self.is_over.set()


def note_passes(engine, value, monkeypatch):
    """What *value* was at each look of the engine at who is ready."""
    values, poll = [], engine._readiness.poll

    def poll_and_note():
        values.append(value())
        return poll()

    monkeypatch.setattr(engine._readiness, "poll", poll_and_note)
    return values


async def until(condition):
    """Wait for what a read brings about."""
    for _ in range(5_000):
        if condition():
            return
        await trio.sleep(0.001)
    raise AssertionError("it does not come about in 5 s")


async def say(peer, data):
    stream = trio.SocketStream(trio.socket.from_stdlib_socket(peer))
    await stream.send_all(data)


@pytest.fixture
async def ends(nursery):
    """(the engine, a connection of it over TCP, its peer)."""
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.create_connection(listening.getsockname()) as peer:
        near, address = listening.accept()
        for sock in (near, peer):
            sock.setblocking(False)
        make_session: Any = Session
        connection = engine.adopt(Adopted(near, b"", address, None), make_session, address[0])
        yield engine, connection, peer
        connection.abort()


WAYS = pytest.mark.parametrize("before", [b"", PING], ids=["on the quick path", "by the library"])


@WAYS
async def test_with_the_rest_of_a_frame_no_more_is_read_than_ever(ends, monkeypatch, before):
    """Behind it may stand thousands that keep the loop, one for six bytes: its beginning makes none of them cheap."""
    engine, connection, peer = ends
    session, empties = connection.session, 10_900
    passes = note_passes(engine, lambda: session.heard, monkeypatch)
    for turn in range(1, 4):
        await say(peer, before + text(1_200)[:1_108])
        await until(lambda: connection.reader.rest_bytes == 100)
        await say(peer, b"x" * 100 + EMPTY * empties)
        await until(lambda turn=turn: session.heard == turn * (1 + empties))
    acted_on = [after - before for before, after in pairwise([*passes, session.heard])]
    assert max(acted_on) <= READ_BYTES // len(EMPTY) + 2


@WAYS
async def test_one_that_is_reset_while_it_is_not_read_inside_a_frame_ends_at_once(ends, monkeypatch, before):
    """A broken socket is told of whatever is asked for, for ever: who leaves it unread keeps a processor busy."""
    engine, connection, peer = ends
    session = connection.session
    passes = note_passes(engine, lambda: session.heard, monkeypatch)
    await say(peer, before + text(60_000)[:3_000])
    await until(lambda: connection.reader.rest_bytes)
    session.has_room = False
    await say(peer, b"x")
    await until(lambda: connection.is_paused)
    looks = len(passes)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
    peer.close()
    with trio.fail_after(5):
        await session.is_over.wait()
    assert not connection.is_open
    assert engine.total == 0
    assert len(passes) - looks <= 3
