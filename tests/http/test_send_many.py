"""The same bytes to many sockets: with a ring and without, each socket gets what it is said to have taken."""

import ctypes
import errno
import gc
import os
import random
import socket
import struct
import time
from array import array

import pytest
from open_descriptors import open_descriptors

from greenroom.http.ws import send_many
from greenroom.http.ws.send_many import AT_ONCE, LoopSender, RingSender, open_sender


@pytest.fixture(params=[RingSender, LoopSender])
def sender(request):
    return ring_of_the_system() if request.param is RingSender else LoopSender()


@pytest.fixture
def ring():
    return ring_of_the_system()


def ring_of_the_system():
    """Skips only where the system itself refuses one."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    parameters = bytearray(120)
    struct.pack_into("I", parameters, 8, 1 << 7)
    fd = call(425, 8, (ctypes.c_char * 120).from_buffer(parameters))
    if fd < 0:
        pytest.skip("no io_uring here")
    os.close(fd)
    sender = open_sender()
    assert isinstance(sender, RingSender)
    return sender


class Crowd:
    """Sockets of which some are slow and some have gone, and what each must have been given."""

    def __init__(self, chance, count):
        self.chance = chance
        self.pairs = [self._pair() for _ in range(count)]
        self.given = [b""] * count

    def _pair(self):
        if self.chance.random() < 0.5:
            listener = socket.create_server(("127.0.0.1", 0))
            far = socket.create_connection(listener.getsockname())
            near, _ = listener.accept()
            listener.close()
        else:
            near, far = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1)

        near.setblocking(False)
        far.setblocking(False)
        return near, far

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for near, far in self.pairs:
            near.close()
            far.close()

    def befall(self):
        for near, far in self.chance.sample(self.pairs, len(self.pairs) // 20 + 1):
            if self.chance.random() < 0.3:
                (far if self.chance.random() < 0.5 else near).close()

    def places(self):
        """Some of them, in whatever order, and nobody in between."""
        places = self.chance.sample(range(len(self.pairs)), self.chance.choice((1, 7, 100, AT_ONCE, AT_ONCE)))
        return [place if self.chance.random() < 0.9 else None for place in places]

    def fds(self, places):
        return array("i", [-1 if place is None else self.pairs[place][0].fileno() for place in places])

    def took(self, data, places, took_less):
        less = dict(took_less)
        assert list(less) == sorted(less)
        for at, place in enumerate(places):
            if place is None or self.pairs[place][0].fileno() < 0:
                assert at not in less, "nobody takes less"
                continue
            size = less.get(at, len(data))
            assert size < 0 or at not in less or size < len(data)
            assert size >= 0 or -size in (errno.EAGAIN, errno.EPIPE, errno.ECONNRESET)
            self.given[place] += data[: max(size, 0)]

    def read(self):
        for place, (_, far) in enumerate(self.pairs):
            if self.chance.random() < 0.5:
                self._read(place, far)

    def read_all(self, alive):
        """A kernel hands a slow reader's bytes over in its own time."""
        deadline = time.monotonic() + 20
        while any(self.given[place] for place in alive) and time.monotonic() < deadline:
            time.sleep(0.002)
            for place in alive:
                self._read(place, self.pairs[place][1])

    def _read(self, place, far):
        while far.fileno() >= 0:
            try:
                data = far.recv(65536)
            except (BlockingIOError, ConnectionResetError):
                return
            if not data:
                return
            assert self.given[place].startswith(data), "what it was said to have taken, in order, once"
            self.given[place] = self.given[place][len(data) :]


@pytest.mark.parametrize("number", range(3))
def test_each_socket_has_what_it_is_said_to_have_taken(sender, seed, number):
    chance = random.Random(seed + number)
    with Crowd(chance, 300) as crowd:
        for turn in range(60):
            data = bytes([turn % 256]) * chance.choice((0, 1, 2, 126, 300, 5000, 60_000))
            for _ in range(chance.randint(1, 3)):
                places = crowd.places()
                crowd.took(data, places, sender.send(data, crowd.fds(places)))
            crowd.read()
            if turn % 10 == 9:
                crowd.befall()
        alive = [place for place, (near, far) in enumerate(crowd.pairs) if near.fileno() >= 0 and far.fileno() >= 0]
        assert alive
        crowd.read_all(alive)
        assert not any(crowd.given[place] for place in alive)


@pytest.mark.parametrize("taken", [0, 1, 5])
def test_what_the_kernel_has_no_memory_for_is_blocked_and_sent_to_nobody_later(ring, monkeypatch, taken):
    """It takes fewer entries than it was given, and none the next time; those are not in the ring any more."""
    pairs = [socket.socketpair() for _ in range(9)]
    fds = array("i", [near.fileno() for near, _ in pairs])
    call, answers = RingSender._call, [taken, 0]

    def short(self, number, *arguments):
        if not answers:
            return call(self, number, *arguments)
        if (wanted := answers.pop(0)) == 0:
            ctypes.set_errno(errno.EAGAIN)
            return -1
        return call(self, number, arguments[0], wanted, *arguments[2:])

    if taken == 0:
        answers.pop()
    monkeypatch.setattr(RingSender, "_call", short)
    monkeypatch.setattr(ctypes, "get_errno", lambda: errno.EAGAIN)
    assert ring.send(b"one", fds) == [(place, -errno.EAGAIN) for place in range(taken, 9)]
    monkeypatch.undo()
    for _ in range(40):  # around the ring
        assert ring.send(b"two", fds) == []
    for place, (near, far) in enumerate(pairs):
        assert far.recv(1000) == (b"one" if place < taken else b"") + b"two" * 40
        near.close()
        far.close()


def test_a_ring_waits_for_nobody_also_where_the_socket_would(ring):
    near, far = socket.socketpair()
    with near, far:
        for _ in range(1000):
            if took_less := ring.send(b"x" * 9000, array("i", [near.fileno()])):
                break
        assert took_less[0][1] == -errno.EAGAIN or 0 <= took_less[0][1] < 9000


def test_what_failed_before_is_sent_to_nobody(ring, monkeypatch):
    """It was said of sockets that may be closed by now, and their numbers others'."""
    pairs = [socket.socketpair() for _ in range(4)]
    fds = array("i", [near.fileno() for near, _ in pairs])

    def fails(self, *_):
        raise MemoryError

    monkeypatch.setattr(RingSender, "_have_done", fails)
    with pytest.raises(MemoryError):
        ring.send(b"one", fds[:3])
    monkeypatch.undo()
    monkeypatch.setattr(send_many, "_around", fails)
    with pytest.raises(MemoryError):
        ring.send(b"two", fds[:3])
    monkeypatch.undo()
    assert ring.send(b"three", fds[3:]) == []
    for place, (near, far) in enumerate(pairs):
        assert far.recv(100) == (b"three" if place == 3 else b"two")
        near.close()
        far.close()


def test_where_a_ring_is_refused_each_is_sent_to_for_itself(monkeypatch):
    def refused(self, *_):
        ctypes.set_errno(errno.EPERM)
        return -1

    monkeypatch.setattr(RingSender, "_call", refused)
    assert isinstance(open_sender(), LoopSender)


def test_a_ring_that_does_nothing_is_none(ring, monkeypatch):
    monkeypatch.setattr(RingSender, "send", lambda self, data, fds: [])
    assert isinstance(open_sender(), LoopSender)


def test_what_it_has_of_the_system_is_given_back(ring):
    gc.collect()
    before = open_descriptors()
    for _ in range(20):
        RingSender()
    gc.collect()
    assert not open_descriptors() - before


def test_it_is_not_handed_to_programs_that_are_started(ring):
    mapped = [os.get_inheritable(int(fd)) for fd in os.listdir("/proc/self/fd") if _is_ring(fd)]
    assert mapped
    assert not any(mapped)


def _is_ring(fd):
    try:
        return "io_uring" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False
