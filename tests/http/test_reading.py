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
        self.last = None
        self.heard_until_rests = []
        self.has_room = True
        self.is_over = trio.Event()

    def receive(self, text):
        self.heard += 1
        self.last = text

    def takes_more(self):
        if not self.has_room:
            self.connection.engine.pause(self.connection)
        return self.has_room

    def pause_for(self, seconds):
        if not self.connection.is_paused:
            self.heard_until_rests.append(self.heard)
            self.connection.engine.pause(self.connection)
            self.connection.engine.spawn(self.resume_after, seconds)

    async def resume_after(self, seconds):
        await trio.sleep(seconds)
        self.connection.engine.resume(self.connection)

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
async def test_what_came_with_the_upgrade_has_its_turn_in_the_same_shares_and_before_all_else(nursery, before):
    engine, empties = SocketEngine(nursery), 10_900
    nursery.start_soon(engine.run)
    near, peer = socket.socketpair()
    near.setblocking(False)
    with peer:
        peer.sendall(b"\x81\x84\0\0\0\0last")
        make_session: Any = Session
        early = before + EMPTY * empties
        connection = engine.adopt(Adopted(near, early, ("here", 1), None), make_session, "here")
        session: Any = connection.session
        await until(lambda: session.heard == empties + 1)
        connection.abort()
    assert session.last == "last"
    shares = [after - before for before, after in pairwise([0, *session.heard_until_rests])]
    assert len(shares) == len(early) // READ_BYTES
    assert max(shares) <= READ_BYTES // len(EMPTY) + 1


@pytest.mark.parametrize("where", ["inside a frame", "inside one, by the library", "between frames"])
async def test_one_that_is_reset_while_it_is_not_read_ends_at_once(ends, monkeypatch, where):
    """A broken socket is told of for ever, whatever is asked for; and what lies in it unread is as much as it takes."""
    engine, connection, peer = ends
    session = connection.session
    passes = note_passes(engine, lambda: session.heard, monkeypatch)
    if where == "between frames":
        engine.pause(connection)
    else:
        await say(peer, (b"" if where == "inside a frame" else PING) + text(60_000)[:3_000])
        await until(lambda: connection.reader.rest_bytes)
        session.has_room = False
        await say(peer, b"x" * 100)
        await until(lambda: connection.is_paused)
        await say(peer, b"x" * 56_908)
    await say(peer, EMPTY * 5_000)
    assert not session.heard
    looks = len(passes)
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # its end is a reset
    peer.close()
    with trio.fail_after(5):
        await session.is_over.wait()
    assert session.heard == 0
    assert not connection.is_open
    assert engine.total == 0
    assert len(passes) - looks <= 2
