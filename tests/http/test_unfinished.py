"""Beginnings of messages: one budget for all; when it is spent the oldest is closed, and what it held is free."""

import gc
import math
import socket
import struct
import weakref

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from greenroom.http.adoption import Adopted
from greenroom.http.ws import unfinished
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import FrameReader

BUDGET = 20_000


class Session:
    """A session that remembers what it heard. fails: at its end."""

    principal = None
    first_beat_seconds = math.inf
    user_id = 1

    def __init__(self, is_v1):
        self.is_v1 = is_v1
        self.heard = []
        self.fails = False

    def receive(self, text):
        self.heard.append(len(text))

    def takes_more(self):
        return True

    def pause_for(self, seconds):
        """The machine was busy: it is read on all the same."""

    def farewell(self, code):
        return b""

    def seconds_left(self):
        return math.inf

    def closed(self):
        if self.fails:
            raise RuntimeError("a session that fails at its end")


class Peer:
    """A connection of the engine and its other end."""

    def __init__(self, engine, *, is_v1=True):
        near, self.sock = socket.socketpair()
        near.setblocking(False)
        self.session = Session(is_v1)
        adopted = Adopted(near, b"", ("127.0.0.1", 1), None)
        self.connection = engine.adopt(adopted, lambda _: self.session, "127.0.0.1")

    async def say(self, data):
        self.sock.sendall(data)
        await trio.testing.wait_all_tasks_blocked(0.002)

    def close_code(self):
        """None while it is open."""
        self.sock.setblocking(False)
        try:
            data = self.sock.recv(4096)
        except BlockingIOError:
            return None
        assert data[0] == 0x88, data
        return int.from_bytes(data[2:4])


def beginning(size, of=60_000):
    """A frame without its end: *size* of *of* bytes."""
    return b"\x81\xfe" + struct.pack("!H", of) + b"\0\0\0\0" + b"x" * size


@pytest.fixture
async def engine(nursery, monkeypatch):
    monkeypatch.setattr(unfinished, "UNFINISHED_BYTES_MAX", BUDGET)
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)
    await wait_all_tasks_blocked()
    return engine


@pytest.mark.parametrize(("is_v1", "code"), [(True, 4104), (False, 1013)])
async def test_when_the_budget_is_spent_who_began_longest_ago_is_closed_and_nobody_else(engine, is_v1, code):
    peers = [Peer(engine, is_v1=is_v1) for _ in range(5)]
    for peer in peers[:4]:
        await peer.say(beginning(5_000))
    assert (engine.unfinished.bytes, len(engine.unfinished)) == (BUDGET, 4)
    await peers[4].say(beginning(5_000))
    assert [peer.close_code() for peer in peers] == [code, None, None, None, None]
    await peers[1].say(b"x" * 5_000)
    assert [peer.close_code() for peer in peers[1:]] == [code, None, None, None]
    assert engine.unfinished.bytes == 15_000


async def test_a_message_that_gets_whole_is_heard_and_counts_no_more(engine):
    one, other = Peer(engine), Peer(engine)
    await one.say(beginning(9_000, of=10_000))
    await other.say(beginning(9_000))
    await one.say(b"x" * 1_000)
    assert one.session.heard == [10_000]
    assert (engine.unfinished.bytes, len(engine.unfinished)) == (9_000, 1)


async def test_whoever_says_one_long_message_after_the_other_is_among_the_youngest(engine):
    busy, slow, late = Peer(engine), Peer(engine), Peer(engine)
    await busy.say(beginning(6_000, of=10_000))
    await slow.say(beginning(6_000))
    await busy.say(b"x" * 4_000 + beginning(5_000, of=10_000))
    assert busy.session.heard == [10_000]
    await late.say(beginning(9_500))
    assert [peer.close_code() for peer in (busy, slow, late)] == [None, 4104, None]
    await busy.say(b"x" * 5_000)
    assert busy.session.heard == [10_000, 10_000]


async def test_fragments_and_small_frames_that_are_cut_count_too(engine):
    fragments, cut = Peer(engine), Peer(engine)
    await fragments.say(b"\x01\xfe" + struct.pack("!H", 3_000) + b"\0\0\0\0" + b"x" * 3_000 + b"\x80\xfe")
    await cut.say(b"\x81\xfe" + struct.pack("!H", 2_000) + b"\0\0\0\0" + b"x" * 100)
    assert (engine.unfinished.bytes, len(engine.unfinished)) == (3_000 + 108, 2)
    await cut.say(b"x" * 1_900)
    assert cut.session.heard == [2_000]
    assert engine.unfinished.bytes == 3_000


async def test_whole_messages_count_nothing_however_they_come(engine):
    peer = Peer(engine)
    small = b"\x81\x85\0\0\0\0hello"
    await peer.say(small * 500)
    await peer.say(b"\x89\x80\0\0\0\0" + small)  # after a ping it is the library that reads
    assert peer.session.heard == [5] * 501
    assert (engine.unfinished.bytes, len(engine.unfinished)) == (0, 0)


@pytest.mark.parametrize("end", ["a fault", "we close", "they leave"])
async def test_what_was_held_is_free_with_the_connection_and_waits_for_no_collection_of_cycles(engine, end):
    peer = Peer(engine)
    await peer.say(beginning(9_000))
    held = weakref.ref(peer.connection.reader._protocol.reader)
    assert (held() is not None, engine.unfinished.bytes) == (True, 9_000)
    gc.disable()
    try:
        if end == "a fault":
            await peer.say(b"x" * 51_000 + b"\xf1\x80\0\0\0\0")
            assert peer.close_code() == 1002
        elif end == "we close":
            peer.connection.close_with(1000)
        else:
            peer.sock.close()
            await wait_all_tasks_blocked(0.002)
        assert held() is None
        assert (engine.unfinished.bytes, len(engine.unfinished)) == (0, 0)
    finally:
        gc.enable()


async def test_a_session_that_fails_when_it_is_made_room_of_fails_alone(engine):
    fails, other, late = Peer(engine), Peer(engine), Peer(engine)
    fails.session.fails = True
    await fails.say(beginning(9_000))
    await other.say(beginning(9_000))
    await late.say(beginning(9_000))
    assert not fails.connection.is_open
    assert [peer.close_code() for peer in (other, late)] == [None, None]
    assert engine.unfinished.bytes == 18_000


def test_a_reader_that_was_dropped_says_nothing_more():
    reader = FrameReader()
    said = reader.feed(b"\x89\x80\0\0\0\0" + b"\x81\x82\0\0\0\0hi" * 3)
    assert next(said).text == "hi"
    reader.drop()
    assert list(said) == []
