"""What waits for a peer: pings and pongs overtake it, frames stay whole and in order, and it is bounded.

Over TLS too, where what the kernel takes in part is a record, that is many frames: nothing overtakes what is in one.
"""

import contextlib
import random
import socket

import pytest
from silent import Silent  # type: ignore[import-not-found]
from tls_files import make_tls_files
from tls_pair import connected, read_some

from greenroom.http.adoption import Adopted
from greenroom.http.tls import RECORD_BYTES_MAX
from greenroom.http.ws.codes import DRAINING, SLOW_CONSUMER
from greenroom.http.ws.connection import CONTROL, DURABLE, JOINED_BYTES_MAX, OUTBOX_BYTES_MAX
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.frames import text_frame

PING = text_frame(b'{"type":"ping"}')


class Line:
    """A connection, and a peer who reads when it is told to. begun_max: frames of 500 bytes that nothing overtakes."""

    def __init__(self, engine, files):
        self.begun_max = 0 if files is None else RECORD_BYTES_MAX // 500 + 1
        if files is None:
            near, self.peer = socket.socketpair()
            near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for sock in (near, self.peer):
                sock.setblocking(False)
        else:
            near, self.peer = connected(files, buffer=4096)
        self.connection = engine.adopt(Adopted(near, b"", ("127.0.0.1", 1), None), lambda _: Silent(), "127.0.0.1")
        self.heard = bytearray()

    def read(self, size):
        """What came, up to so many bytes; then the engine writes on."""
        with contextlib.suppress(BlockingIOError):
            self.heard += self.peer.recv(size) if self.begun_max == 0 else read_some(self.peer, size)
        if self.connection.unsent_bytes:
            self.connection.writable()

    def frames(self):
        """The payloads of all frames that came. Raises when one is not whole."""
        found, data, at = [], bytes(self.heard), 0
        while at < len(data):
            opcode, size, start = data[at], data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[start : start + 2]), start + 2
            elif size == 127:
                size, start = int.from_bytes(data[start : start + 8]), start + 8
            assert opcode in (0x81, 0x88), data[at : at + 40]
            at = start + size
            assert len(data) >= at
            found.append(data[start:at])
            assert opcode == 0x81 or len(data) == at, "after the close comes nothing"
        return found


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return make_tls_files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(params=["tcp", "tls"])
async def line(nursery, files, request):
    return Line(SocketEngine(nursery), files if request.param == "tls" else None)


def read_all(line):
    """Until all that was written is here."""
    while line.connection.unsent_bytes:
        line.read(50_000)
    for _ in range(1000):
        line.read(50_000)


def number(count, size=500):
    return text_frame(f"{count} ".encode().ljust(size, b"x"))


def blocked(line, count=0):
    """Write until the kernel takes no more."""
    while not line.connection.unsent_bytes:
        line.connection.write_now(number(count))
        count += 1
    return count


def numbers(frames):
    return [int(frame.split()[0]) for frame in frames if frame[:1].isdigit()]


async def test_a_ping_overtakes_everything_but_the_frame_that_is_out_in_part(line):
    count = blocked(line)
    for index in range(count, count + 200):
        line.connection.write(number(index))
    line.connection.signal(PING)
    read_all(line)
    frames = line.frames()
    assert numbers(frames) == list(range(count + 200))
    assert frames.index(b'{"type":"ping"}') <= count + line.begun_max


async def test_it_overtakes_what_was_handed_over_in_one_piece_and_taken_in_part(line):
    connection = line.connection
    for index in range(300):
        connection.write(number(index))
    connection.flush()
    assert connection.unsent_bytes > 100_000
    connection.write_ahead(PING)
    for _ in range(3):  # what is taken in part again and again stays in its pieces
        line.read(700)
    connection.write_ahead(text_frame(b"{second}"))
    read_all(line)
    frames = line.frames()
    assert numbers(frames) == list(range(300))
    assert frames.index(b'{"type":"ping"}') < 30 + line.begun_max
    assert frames.index(b"{second}") < 60 + line.begun_max


async def test_signs_of_life_keep_their_order_and_cost_no_object_each(line):
    count = blocked(line)
    for index in range(count, count + 50):
        line.connection.write(number(index))
    entries = len(line.connection._queue)
    for index in range(100):
        line.connection.write_ahead(text_frame(b"{pong %d}" % index))
    assert len(line.connection._queue) - entries <= 100 * 12 // JOINED_BYTES_MAX + 1
    read_all(line)
    pongs = [frame for frame in line.frames() if frame.startswith(b"{pong")]
    assert pongs == [b"{pong %d}" % index for index in range(100)]


async def test_signs_of_life_that_nobody_reads_are_bounded_like_everything(line):
    blocked(line)
    for _ in range(OUTBOX_BYTES_MAX // len(PING) + 1):
        line.connection.write_ahead(PING)
        if line.connection.is_closing:
            break
    assert line.connection.is_closing
    assert line.connection.unsent_bytes < 10_000 + line.begun_max * 500


async def test_a_close_whose_flush_is_too_much_for_the_peer_is_one_close(line):
    """What was collected goes out before it, and of a peer who has too much waiting that is the end already."""
    connection, closes = line.connection, []
    connection.session.closed = lambda: closes.append(1)
    for index in range(2 * OUTBOX_BYTES_MAX // 500):
        connection.write(number(index))
    connection.close(DRAINING)
    read_all(line)
    assert connection.engine.statistics().closed == {SLOW_CONSUMER.code: 1}
    assert len(closes) == 1
    *before, last = line.frames()
    assert int.from_bytes(last[:2]) == SLOW_CONSUMER.code
    assert numbers(before) == list(range(len(before)))


def chances(line, dice):
    """Write and read whatever; gives how many messages were written, and how many pings."""
    connection, count, pings = line.connection, 0, 0
    for _ in range(400):
        match dice.randrange(5):
            case 0 | 1:
                for _ in range(dice.randrange(1, 20)):
                    connection.write(number(count, dice.choice([20, 500, 5000])), dice.choice([DURABLE, CONTROL]))
                    count += 1
                if dice.random() < 0.7:
                    connection.flush()
            case 2:
                dice.choice([connection.signal, connection.write_ahead])(PING)
                pings += 1
            case _:
                line.read(dice.choice([1, 100, 2000, 50_000]))
        assert not connection.is_closing
        if connection.unsent_bytes > OUTBOX_BYTES_MAX // 2:
            while connection.unsent_bytes > 1000 + line.begun_max * 500:
                line.read(50_000)
                connection.flush()
    connection.flush()
    return count, pings


@pytest.mark.parametrize("seed", range(30))
async def test_whatever_is_written_and_however_it_is_read_frames_stay_whole_and_in_order(line, seed):
    count, pings = chances(line, random.Random(seed))
    read_all(line)
    frames = line.frames()
    assert numbers(frames) == list(range(count))
    assert frames.count(b'{"type":"ping"}') == pings


@pytest.mark.parametrize("seed", range(30))
async def test_a_close_comes_whole_behind_whole_frames_and_ahead_of_what_waits(line, seed):
    count, _ = chances(line, random.Random(seed))
    for index in range(count, count + 200):
        line.connection.write(number(index))
    line.connection.flush()
    while seed % 3 and line.connection.unsent_bytes < 50_000:  # else it closes with what is there
        line.connection.write(number(count + 200))
        line.connection.flush()
        count += 1
    line.connection.close(SLOW_CONSUMER)
    read_all(line)
    *before, last = line.frames()
    assert int.from_bytes(last[:2]) == SLOW_CONSUMER.code
    said = numbers(before)
    assert said == list(range(len(said)))
