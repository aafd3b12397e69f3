"""Crowds that misbehave, against the real process: memory is bounded, others are not disturbed, everything returns.

Each test brings a crowd that does one thing wrong, while two people talk to each other. Afterwards the server must hold
as many descriptors and tasks as before, and no more memory than it had: what a heap keeps of a small crowd serves the
next, so that a second one adds next to nothing; what a large one has left free goes back to the system, but for what is
not worth it (commands/spare_memory.py). The full numbers are marked slow.
"""

import itertools
import resource
import struct
import zlib
from collections import Counter
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio
from crowd import Crowd, leave_all  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]
from stopwatch import open_stopwatch  # type: ignore[import-not-found]
from tls_files import make_tls_files  # type: ignore[import-not-found]
from wire import (  # type: ignore[import-not-found]
    DEFLATE_TAIL,
    OFFER,
    V1,
    Socket,
    connect_tcp,
    frame,
    open_sockets,
    upgrade_request,
    wait_until,
)

from greenroom.commands.spare_memory import LOOK_SECONDS, WORTH_BYTES
from greenroom.control.client import connect
from greenroom.http.door import RETRY_SECONDS_MAX, WAIT_SECONDS_MAX, WAITING_MAX
from greenroom.http.ws.connection import LINGER_SECONDS
from greenroom.http.ws.pace import OUTBOX_SECONDS_MAX
from greenroom.http.ws.unfinished import UNFINISHED_BYTES_MAX
from greenroom.http.ws.v1_start import SILENCE_SECONDS
from greenroom.settings import Settings

MIB = 1024 * 1024
PEOPLE = 200
RETURN_SECONDS_MAX = 30.0
LOOK_EVERY = 0.1
MANY = 1000  # of whom a crowd leaves enough behind to be given back
AGAIN_MIB = 8  # of what a second crowd adds: an arena of the allocator more or less is chance
SPARE_MIB = WORTH_BYTES / MIB + 16  # that is not worth giving back, and what moves by itself
UNFINISHED_MIB = 2 * UNFINISHED_BYTES_MAX // MIB  # twice: they grow as they come
PER_SECOND = 500
FEW_PER_SECOND = 80
VERY_FEW_PER_SECOND = 20  # who is slow to come is refused all the same
STUCK_ROUNDS = 22  # 160 KB, of which the kernel takes 130
_rooms = itertools.count(1_000_001)


@dataclass(frozen=True)
class Scale:
    """How many come, and how long the server they come to waits for what."""

    count: int
    server_name: str
    per_second: int = PER_SECOND  # of the door, if it has one
    silence_seconds: float = SILENCE_SECONDS
    outbox_seconds: float = OUTBOX_SECONDS_MAX
    linger_seconds: float = LINGER_SECONDS

    def __str__(self):
        return str(self.count)


HURRIED = {"silence_seconds": 4.0, "outbox_seconds": 3.0, "linger_seconds": 1.0}
HURRY = f"""
from greenroom.http.ws import connection, pace, v1
v1.PING_SECONDS, v1.SILENCE_SECONDS = 2.0, {HURRIED["silence_seconds"]}
pace.OUTBOX_SECONDS_MAX, connection.LINGER_SECONDS = {HURRIED["outbox_seconds"]}, {HURRIED["linger_seconds"]}
"""


@contextmanager
def server_for_crowds(**settings):
    """A server whose tasks can be counted."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ServerProcess(ENVIRONMENT="development", **settings) as server:
        server.start()
        yield server


@pytest.fixture(scope="module")
def hard_server():
    """With a compat heartbeat that need not be waited for."""
    with server_for_crowds(WS_HEARTBEAT_INTERVAL=2000, WS_CONNECTION_TIMEOUT=4000) as server:
        yield server


@pytest.fixture(scope="module")
def deflating_server():
    """It compresses for who offers it."""
    with server_for_crowds(WS_COMPRESSION="true") as server:
        yield server


@pytest.fixture(scope="module")
def secure_server(tmp_path_factory):
    """Over TLS. tls: the context of its clients."""
    files = make_tls_files(tmp_path_factory.mktemp("tls"))
    with server_for_crowds(TLS_CERT=files.certificate, TLS_KEY=files.key) as server:
        server.tls = files.client
        yield server


@pytest.fixture(params=["tcp", "tls"])
def server_of_either(request):
    """A plain one, and one that speaks TLS, with the context of its clients, or None."""
    server = request.getfixturevalue("hard_server" if request.param == "tcp" else "secure_server")
    return server, getattr(server, "tls", None)


@pytest.fixture(scope="module")
def hurried_server():
    """It waits for nobody as long as the design says, and its door lets few in."""
    with server_for_crowds(WS_CONNECTS_PER_SECOND=FEW_PER_SECOND) as server:
        with connect(server.data) as running:
            running.ask("attach", source=HURRY)
        yield server


@pytest.fixture
def server_of(request):
    """The server that a Scale names, started when it is asked for."""
    return lambda scale: request.getfixturevalue(scale.server_name)


@pytest.fixture(autouse=True)
def nobody_stays():
    """A test that fails leaves no thousands of descriptors to the next."""
    yield
    leave_all()


@asynccontextmanager
async def undisturbed(server, *, memory_mib, rest_mib, slowest=2.0, usual=None, returns_within=RETURN_SECONDS_MAX):
    """Two people talk while the block lasts and until all has returned. memory_mib: that may be held more, at any time.

    rest_mib: that may be held more in the end, when there was time to give back what is spare.
    slowest: seconds that an ack and its copy to the other may take. Generous: the machine does much else besides.
    usual: seconds that half of them may take at most.
    """
    await server.make_people(*range(1, PEOPLE + 1))
    room = next(_rooms)
    await server.make_room(room, [1_000_001, 1_000_002])
    waits, peak = [], 0
    async with open_sockets() as nursery:
        talkers = [await Socket.open(nursery, server, user) for user in (1_000_001, 1_000_002)]
        for sock in talkers:
            await sock.start(room)
        await trio.sleep(0.3)
        before, tasks = server.usage(), server.tasks()
        is_over = False

        async def talk():
            async with open_stopwatch() as watch:
                await talk_by(watch)

        async def talk_by(watch):
            nonlocal peak
            while not is_over:
                began = watch.seconds
                ack = await talkers[0].ask("send", room, body="meanwhile", seconds=60)
                await talkers[1].expect(
                    "message", 60, after=max(0, len(talkers[1].events) - 50), seq=ack["data"]["seq"]
                )
                waits.append(watch.seconds - began)
                peak = max(peak, server.memory_bytes())
                await trio.sleep(0.02)

        async with trio.open_nursery() as talking:
            talking.start_soon(talk)
            yield talkers
            await wait_until(
                lambda: server.usage().descriptors > before.descriptors + 3 and (before, server.usage()),
                returns_within,
                every=LOOK_EVERY,
            )
            await wait_until(lambda: server.tasks() > tasks + 3 and (tasks, server.tasks()), 10, every=LOOK_EVERY)
            is_over = True
        after = server.usage()
        held = (max(peak, after.memory_bytes) - before.memory_bytes) / MIB
        half = sorted(waits)[len(waits) // 2]
        print(f"slowest {max(waits):.2f} s of {len(waits)}, half {half * 1000:.0f} ms, held at most {held:.1f} MiB")
        print(f"{before} then {after}")
        assert [sock.close_code for sock in talkers] == [None, None]
        assert max(waits) < slowest, f"a message took {max(waits):.2f} s"
        assert usual is None or half < usual, f"half of the messages took {half:.3f} s"
        assert held < memory_mib, f"{held:.1f} MiB more were held"

        def kept():
            more = (server.memory_bytes() - before.memory_bytes) / MIB
            return more > rest_mib and f"{more:.1f} MiB, of {held:.1f}, to be given back to {rest_mib:g}"

        try:
            await wait_until(kept, 2 * LOOK_SECONDS + 10, every=LOOK_EVERY)
        except AssertionError as said:
            raise NotGivenBackError(str(said)) from None
        print(f"keeps {(server.usage().memory_bytes - before.memory_bytes) / MIB:.1f} MiB")
    assert not server.faults(), server.faults()[0]


async def withstands(server, come, count, *, memory_mib, each_bytes=0, is_kept=False, **options):
    """*come* brings a crowd of so many, and takes it away. each_bytes: on their way at once, or not, as it happens.

    is_kept: what it leaves free lies between things that stay, so that it serves the next crowd, and is not given back.
    """
    again_mib = AGAIN_MIB + count * each_bytes / MIB if count < MANY or is_kept else SPARE_MIB
    if count < MANY or is_kept:
        async with undisturbed(server, memory_mib=memory_mib, rest_mib=memory_mib, **options):
            await come()
    for is_last in (False, True) if count < MANY else (True,):
        try:
            async with undisturbed(server, memory_mib=memory_mib, rest_mib=again_mib, **options):
                await come()
                return
        except NotGivenBackError:  # more of this crowd was there at once than of the one before: the next one tells
            if is_last:
                raise


class NotGivenBackError(AssertionError):
    """More memory is held than before the crowd came."""


def upgrades(server, count, protocol=V1, extensions=""):
    """Upgrade requests of so many sockets, of PEOPLE users."""
    tokens = [server.token(user) for user in range(1, PEOPLE + 1)]
    given = {"Sec-WebSocket-Protocol": protocol or "", "Sec-WebSocket-Extensions": extensions}
    headers = [(name, value) for name, value in given.items() if value]
    return [
        upgrade_request("/ws", [("Authorization", f"Bearer {tokens[number % PEOPLE]}"), *headers], server.port)
        for number in range(count)
    ]


async def arrive(server, count, protocol=V1, extensions=""):
    crowd = Crowd(server.port, upgrades(server, count, protocol, extensions))
    await crowd.arrive(120)
    assert crowd.statuses[101] == count, (crowd.statuses, crowd.refusal)
    return crowd


def scaled(few, many, seconds):
    """Few in `make test`, many in `make test-slow`."""
    return [few, pytest.param(many, marks=pytest.mark.slow(seconds=seconds))]


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
@pytest.mark.parametrize("count", scaled(800, 10_000, 60))
async def test_all_who_connect_at_once_come_in_and_nobody_else_waits_for_it(hard_server, count, protocol):
    async def come():
        crowd = await arrive(hard_server, count, protocol)
        crowd.leave()

    warm = await arrive(hard_server, 200, protocol)
    warm.leave()
    await withstands(hard_server, come, count, memory_mib=20 + count * 12 / 1024)


@pytest.fixture(scope="module")
def door_server():
    """Its door is as the settings have it where nothing is set."""
    per_second = Settings.model_fields["ws_connects_per_second"].default
    assert per_second == PER_SECOND
    with server_for_crowds(WS_CONNECTS_PER_SECOND=per_second) as server:
        yield server


@pytest.fixture(scope="module")
def narrow_server():
    """Its door lets very few in."""
    with server_for_crowds(WS_CONNECTS_PER_SECOND=VERY_FEW_PER_SECOND) as server:
        yield server


def hurried(few, server_name, many, seconds):
    """The same crowd as *few* before a server that waits for nobody long, and as *many* before one as it is."""
    return scaled(Scale(few, "hurried_server", FEW_PER_SECOND, **HURRIED), Scale(many, server_name), seconds)


OVER_TLS = pytest.param(Scale(200, "secure_server"), marks=pytest.mark.slow(seconds=120))


@pytest.mark.parametrize("scale", hurried(300, "door_server", 10_000, 90), ids=str)
async def test_pages_that_all_come_at_once_wait_at_the_door_and_all_come_in(server_of, scale):
    """Nobody is refused, nobody waits longer than the door says, and those in line disturb nobody."""
    server, count, seconds = server_of(scale), scale.count, []

    async def come():
        crowd = await arrive(server, count, None)
        assert crowd.statuses == {101: count}
        seconds.append(max(crowd.seconds))
        in_line = sum(1 for one in crowd.seconds if one > 1)
        print(f"the last was in after {seconds[-1]:.1f} s, {in_line} waited for more than a second")
        assert in_line >= min(WAITING_MAX, count - 2 * scale.per_second) / 2  # of the door: it had a line
        await trio.sleep(1)
        assert crowd.ended() == 0
        crowd.leave()

    await withstands(server, come, count, memory_mib=40 + count * 20 / 1024, usual=0.25, is_kept=True)
    assert max(seconds) < WAIT_SECONDS_MAX + 5


@pytest.mark.parametrize(
    "scale",
    scaled(Scale(300, "narrow_server", VERY_FEW_PER_SECOND), Scale(10_000, "door_server"), 90),
    ids=str,
)
async def test_v1_clients_that_all_come_at_once_come_in_or_are_told_when_to_come_back(server_of, scale):
    """Who is refused learns when to come, each a little later than the one before; who comes then is let in."""
    server, count, per_second = server_of(scale), scale.count, scale.per_second

    async def come():
        crowd = Crowd(server.port, upgrades(server, count))
        await crowd.arrive(60)
        assert set(crowd.statuses) == {101, 503}, crowd.statuses
        assert per_second <= crowd.statuses[101] <= per_second * (2 + max(crowd.seconds))
        told = crowd.retry_after
        print(f"{crowd.statuses}, the last after {max(crowd.seconds):.1f} s; told to wait {min(told)} to {max(told)} s")
        assert len(told) == crowd.statuses[503]
        assert None not in told
        assert min(told) >= 1
        assert max(told) <= RETRY_SECONDS_MAX
        assert max(Counter(told).values()) <= per_second * (1 + max(crowd.seconds)), "more than may come in a second"
        crowd.leave()
        back = Crowd(server.port, upgrades(server, per_second // 2))
        await trio.sleep(2)
        await back.arrive(20)
        assert back.statuses == {101: per_second // 2}
        back.leave()

    await withstands(server, come, count, memory_mib=40 + count * 12 / 1024, usual=0.25)


@pytest.mark.parametrize("count", scaled(100, 2000, 40))
async def test_pages_that_fall_silent_without_a_word_are_ended_by_the_heartbeat(hard_server, count):
    async def come():
        crowd = await arrive(hard_server, count, None)
        await wait_until(lambda: count - crowd.ended(), 15)
        crowd.leave()

    await withstands(hard_server, come, count, memory_mib=20 + count * 12 / 1024)


@pytest.mark.parametrize("scale", hurried(80, "hard_server", 2000, 60), ids=str)
async def test_v1_peers_that_fall_silent_without_a_word_are_ended_by_the_heartbeat(server_of, scale):
    server, count = server_of(scale), scale.count

    async def come():
        crowd = await arrive(server, count)
        began = trio.current_time()
        crowd.send(frame('{"type":"start"}'))
        await trio.sleep(scale.silence_seconds * 6 / 7)
        are_there = crowd.ended() == 0
        assert are_there or trio.current_time() - began > scale.silence_seconds, "they have not been silent too long"
        await wait_until(lambda: count - crowd.ended(), 20)
        crowd.leave()

    await withstands(server, come, count, memory_mib=21 + count * 12 / 1024, returns_within=50)


@pytest.mark.parametrize("count", scaled(50, 1000, 60))
async def test_who_never_reads_costs_an_outbox_at_most(server_of_either, count):
    """Each asks for more than an outbox holds, from the first moment on, and takes not a byte."""
    server, tls = server_of_either
    pings = frame(b"x" * 120, 9) * 60 + frame('{"type":"ping","id":"' + "x" * 60 + '"}') * 60

    async def come():
        crowd = Crowd(server.port, [one + pings for one in upgrades(server, count)], receive_buffer=2048, tls=tls)
        await crowd.arrive(120)
        assert crowd.statuses[101] == count
        for _ in range(60):
            crowd.send(pings)
            await trio.sleep(0.02)
        crowd.leave()

    await withstands(server, come, count, memory_mib=10 + count * 1.3, returns_within=60)


@pytest.mark.parametrize(
    "scale", [*hurried(60, "hard_server", 1000, 90), OVER_TLS], ids=lambda scale: f"{scale.server_name} {scale}"
)
async def test_sends_that_are_stuck_end_with_4201_cost_little_and_disturb_nobody(server_of, scale):
    """Peers whose kernels take nothing more, with far less waiting than an outbox holds, and who stay.

    What all of them say is read before the end of the first, or its reset would take back the reason. Over TLS 200.
    Time alone ends each, and what it held returns though its peer is still there; who reads later learns why.
    """
    server = server_of(scale)
    count, silence = scale.count, scale.outbox_seconds + scale.linger_seconds + 5
    pings = frame(b"x" * 120, 9) * 60

    async def come():
        crowd = Crowd(server.port, upgrades(server, count), receive_buffer=2048, tls=getattr(server, "tls", None))
        await crowd.arrive(120)
        assert crowd.statuses[101] == count
        crowd.send(frame('{"type":"start"}'))
        await trio.sleep(1)
        connections, began = server.usage().connections, trio.current_time()
        for _ in range(STUCK_ROUNDS):
            crowd.send(pings)
            await wait_until(lambda: unread_bytes(server), 60, every=0.02)
        await trio.sleep(scale.outbox_seconds / 2)
        are_there = server.usage().connections >= connections
        assert are_there or trio.current_time() - began > scale.outbox_seconds, "they have not waited too long yet"
        await wait_until(lambda: server.usage().connections > connections - count, silence, every=LOOK_EVERY)
        codes = await trio.to_thread.run_sync(crowd.read_to_the_end, 30)
        print(codes)
        assert codes == {4201: count}
        crowd.leave()

    await withstands(server, come, count, memory_mib=40 + count * 0.3)


def unread_bytes(server):
    """What has come for the server, and waits in the kernel until it is read."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    theirs = [row for row in rows if row[1].endswith(f":{server.port:04X}") and row[3] == "01"]  # established
    return sum(int(row[4].partition(":")[2], 16) for row in theirs)


OVERSIZED = {
    "a frame of 2^63 bytes": b"\x81\xff" + struct.pack("!Q", 2**63 - 1) + b"\0\0\0\0",
    "a frame of 4 GiB": b"\x81\xff" + struct.pack("!Q", 2**32) + b"\0\0\0\0" + b"x" * 2000,
    "a frame one byte too long": b"\x81\xff" + struct.pack("!Q", 128 * 1024 + 1) + b"\0\0\0\0" + b"x" * 2000,
    "fragments that are too long together": frame(b"x" * 60_000, final=False)
    + frame(b"x" * 70_000, 0, final=False) * 2,
}


@pytest.mark.parametrize("count", scaled(100, 2000, 40))
@pytest.mark.parametrize("what", OVERSIZED)
async def test_what_is_too_big_is_closed_with_1009_and_never_held(hard_server, what, count):
    """Again and again: what one crowd has left behind the next one would add to."""

    async def come():
        for _ in range(3):
            crowd = await arrive(hard_server, count)
            crowd.send(OVERSIZED[what])
            await wait_until(lambda crowd=crowd: count - crowd.ended(), 20)
            async with open_sockets() as nursery:
                one = await Socket.open(nursery, hard_server, 1)
                await one.send_bytes(OVERSIZED[what])
                assert await one.wait_closed() == 1009
            crowd.leave()

    await withstands(hard_server, come, count, memory_mib=30 + UNFINISHED_MIB + count * 12 / 1024)


@pytest.mark.parametrize("count", scaled(60, 1000, 40))
async def test_messages_that_never_end_share_a_budget(hard_server, count):
    """Just below the cap, and then nothing but dribble. Together they have one budget, whoever they are."""

    async def come():
        crowd = await arrive(hard_server, count, None)
        head = b"\x01\xff" + struct.pack("!Q", 100_000) + b"\0\0\0\0"
        crowd.send(head + b"x" * 60_000)
        for _ in range(20):
            crowd.send(b"x")
            await trio.sleep(0.05)
        crowd.leave()

    await withstands(hard_server, come, count, memory_mib=20 + UNFINISHED_MIB + count * 12 / 1024)


def deflated(payload):
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    return stream.compress(payload) + stream.flush(zlib.Z_SYNC_FLUSH)


def bomb(payload, *, final=True):
    """A text message, or the beginning of one, that inflates to *payload*."""
    first, *rest = frame(deflated(payload).removesuffix(DEFLATE_TAIL if final else b""), final=final)
    return bytes([first | 0x40, *rest])


BOMBS = {
    "100 MiB": lambda: bomb(b" " * 100 * MIB),
    "one byte too many": lambda: bomb(b" " * (128 * 1024 + 1)),
    "fragments that are too long together": lambda: (
        bomb(b" " * 100_000, final=False) + frame(deflated(b" " * 100_000), 0, final=False)
    ),
}  # made by the test: whoever collects would pack 100 MiB, in each process of the run


@pytest.mark.parametrize("count", scaled(100, 2000, 60))
@pytest.mark.parametrize("what", BOMBS)
async def test_what_inflates_too_far_is_closed_with_1009_and_never_held(deflating_server, what, count):
    made = BOMBS[what]()

    async def come():
        for _ in range(3):
            crowd = await arrive(deflating_server, count, extensions=OFFER)
            crowd.send(made)
            await wait_until(lambda crowd=crowd: count - crowd.ended(), 20)
            async with open_sockets() as nursery:
                one = await Socket.open(nursery, deflating_server, 1, deflate=True)
                assert one.is_deflating
                await one.send_bytes(made)
                assert await one.wait_closed() == 1009
            crowd.leave()

    await withstands(
        deflating_server, come, count, memory_mib=30 + UNFINISHED_MIB + count * 12 / 1024, each_bytes=len(made)
    )


@pytest.mark.parametrize("count", scaled(60, 1000, 60))
async def test_what_inflates_as_far_as_it_may_without_an_end_shares_the_budget(deflating_server, count):
    """Each has begun a message of 120,000 bytes with 150, and says again and again that there is more, of nothing."""

    async def come():
        crowd = await arrive(deflating_server, count, extensions=OFFER)
        crowd.send(bomb(b" " * 120_000, final=False))
        for _ in range(20):
            crowd.send(frame(b"", 0, final=False))
            await trio.sleep(0.05)
        crowd.leave()

    memory_mib = 20 + UNFINISHED_MIB + count * 12 / 1024
    # 1,000 that inflate as much as they may at once are 0.8 s of one turn each, alone on the machine.
    await withstands(deflating_server, come, count, memory_mib=memory_mib, slowest=2.0 if count < MANY else 4.0)


@pytest.mark.slow(seconds=40)
async def test_handshakes_that_dribble_and_connections_that_say_nothing_end_and_disturb_nobody(hard_server):
    """Slowloris: 2,000 that send a byte of their head a second, 1,000 that send none."""

    async def come():
        socks = [await connect_tcp(hard_server.port) for _ in range(3000)]
        head = upgrades(hard_server, 1)[0]
        for at in range(13):
            for sock in socks[:2000]:
                try:
                    sock.send(head[at : at + 1])
                except OSError:
                    continue
            await trio.sleep(1)
        await trio.sleep(4)
        refused = [sock for sock in socks[:2000] if b" 408 " in _received(sock)]
        assert len(refused) == 2000
        for sock in socks:
            sock.close()

    await withstands(hard_server, come, 3000, memory_mib=90, returns_within=30)


def _received(sock):
    try:
        return sock.recv(4096)
    except OSError:
        return b""


async def test_pages_that_come_together_are_read_for_together(live_house):
    await live_house.people(*range(1, 41))
    room = await live_house.conversation(1, *range(2, 41))
    last_seen, asked = live_house.house.storage.last_seen, []
    read, all_came = last_seen.small_rooms_of, trio.Event()

    async def counted(users):
        asked.append(len(users))
        if len(asked) == 1:  # the rest come while that is read
            await all_came.wait()
        return await read(users)

    last_seen.small_rooms_of = counted
    async with open_sockets() as nursery:
        pages = []

        async def come(user):
            pages.append(await Socket.open(nursery, live_house, user, protocol=None))

        async with trio.open_nursery() as coming:
            for user in range(1, 41):
                coming.start_soon(come, user)
        waiting = live_house.house.sockets.arrivals._waiting
        await wait_until(lambda: 40 - sum(asked) - len(waiting), 10)  # who is read for, and who waits
        all_came.set()
        shown = live_house.house.presence
        await wait_until(lambda: [user for user in range(1, 41) if not shown.is_online(user)], 10)
        assert sum(asked) == 40
        assert len(asked) <= 2
        assert live_house.house.hub.small_rooms.members[room] == set(range(1, 41))
