"""Adoption with real sockets: no byte is lost, no socket is left over, nothing but HTTP/1.1 is adopted."""

import gc
import os
import socket
import struct
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio
import trio.lowlevel
from open_descriptors import open_descriptors
from quart import abort, websocket
from quart.testing import WebsocketResponseError
from quart_trio import QuartTrio
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from greenroom.http.adoption import NotAdoptable, adopt
from greenroom.http.listener import close_listeners, open_listeners
from greenroom.http.server import serve

UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\nSec-WebSocket-Protocol: chat\r\n\r\n"
)
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def masked(text):
    return Frame(Opcode.TEXT, text.encode()).serialize(mask=True)


def build_app(engine, seen):
    """An application whose `engine` channel stands for the engine: the new owner of sockets."""
    app = QuartTrio("adoption")

    def attach(adopted):
        sock = adopted.take()
        with suppress(OSError):  # the peer has gone
            sock.send(adopted.answer)
        engine.send_nowait((adopted, sock))

    @app.get("/")
    async def index():
        return {"ok": True}

    @app.websocket("/ws")
    async def plain():
        attach(await adopt(websocket))

    @app.websocket("/chat")
    async def chat():
        attach(await adopt(websocket, subprotocol="chat", headers={"x-mark": "1"}))

    @app.websocket("/slow")
    async def slow():
        await trio.sleep(0.05)
        attach(await adopt(websocket))
        await trio.sleep(0.05)

    @app.websocket("/twice")
    async def twice():
        attach(await adopt(websocket))
        try:
            await adopt(websocket)
        except NotAdoptable as fault:
            seen.append(str(fault))

    @app.after_websocket
    async def after(response):
        await trio.lowlevel.checkpoint()
        seen.append("after")
        return response

    @app.teardown_websocket
    async def teardown(fault):
        seen.append(("teardown", type(fault).__name__))

    add_views_that_do_not_pass_a_socket_on(app)
    return app


def add_views_that_do_not_pass_a_socket_on(app):
    @app.websocket("/denied")
    async def denied():
        abort(401)

    @app.websocket("/raises-before")
    async def raises_before():
        raise ValueError("before")

    @app.websocket("/raises-after")
    async def raises_after():
        await adopt(websocket)
        raise ValueError("after")

    @app.websocket("/forgets")
    async def forgets():
        await adopt(websocket)

    @app.websocket("/returns")
    async def returns():
        return None

    @app.websocket("/accepts-itself")
    async def accepts_itself():
        await websocket.accept()
        await websocket.send("frames are the engine's")

    @app.websocket("/wrong-subprotocol")
    async def wrong_subprotocol():
        await adopt(websocket, subprotocol="other")


class Front:
    def __init__(self, port, server, engine, seen):
        self.port, self.server, self.engine, self.seen = port, server, engine, seen

    async def connect(self):
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def adopted(self):
        with trio.fail_after(3):
            return await self.engine.receive()


@asynccontextmanager
async def open_front(app=None):
    send, receive = trio.open_memory_channel(10_000)
    seen = []
    listeners = await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        server = await nursery.start(partial(serve, app or build_app(send, seen), listeners))
        yield Front(listeners[0].socket.getsockname()[1], server, receive, seen)
        with trio.fail_after(5):
            await server.aclose()
    close_listeners(listeners)


@pytest.fixture
async def front():
    async with open_front() as front:
        yield front


async def read_until(stream, end):
    received = b""
    with trio.fail_after(3):
        while not received.endswith(end):
            data = await stream.receive_some()
            assert data, received
            received += data
    return received


async def read_head(stream):
    return await read_until(stream, b"\r\n\r\n")


async def read_to_end(stream):
    received = b""
    with trio.fail_after(3):
        while data := await stream.receive_some():
            received += data
    return received


async def upgrade(front, path=b"/ws"):
    stream = await front.connect()
    await stream.send_all(UPGRADE % path)
    return stream, await read_head(stream)


async def read_exactly(adopted, sock, size):
    """What the engine does: the early bytes first, then the socket."""
    received = adopted.early
    with trio.fail_after(3):
        while len(received) < size:
            await trio.lowlevel.wait_readable(sock)
            data = sock.recv(65536)
            if not data:
                break
            received += data
    return received


async def test_an_adopted_connection_is_a_plain_socket_and_hypercorn_knows_it_no_longer(front):
    stream, head = await upgrade(front)
    adopted, sock = await front.adopted()
    await trio.testing.wait_all_tasks_blocked()
    with sock:
        assert type(sock) is socket.socket
        assert sock.gettimeout() == 0
        assert sock.getpeername() == stream.socket.getsockname() == adopted.peer
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"extensions" not in head.lower()
        sock.send(b"from the engine")
        assert await stream.receive_some() == b"from the engine"
        assert front.server.statistics().connections_open == 0
        assert front.server.statistics().adopted == 1
        assert front.seen == ["after", ("teardown", "NoneType")]
    await stream.aclose()


async def test_the_subprotocol_and_the_headers_of_the_view_are_in_the_answer(front):
    stream, head = await upgrade(front, b"/chat")
    async with stream:
        assert b"\r\nsec-websocket-protocol: chat\r\n" in head
        assert b"\r\nx-mark: 1\r\n" in head
        adopted, sock = await front.adopted()
        sock.close()
        assert adopted.subprotocol == "chat"


async def test_the_answer_satisfies_a_websocket_client_that_offers_compression(front):
    protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{front.port}/ws"))
    protocol.send_request(protocol.connect())
    async with await front.connect() as stream:
        await stream.send_all(b"".join(protocol.data_to_send()))
        protocol.receive_data(await read_head(stream))
        assert protocol.handshake_exc is None
        assert not protocol.extensions
    (await front.adopted())[1].close()


async def test_frames_sent_on_receipt_of_the_101_are_never_lost(front):
    frames = masked("one") + masked("two") + masked("three")

    async def client():
        stream, _ = await upgrade(front, b"/slow")
        await stream.send_all(frames)
        return stream

    async def keep(streams):
        streams.append(await client())

    streams = []
    async with trio.open_nursery() as nursery:
        for _ in range(100):
            nursery.start_soon(keep, streams)
    for _ in range(100):
        adopted, sock = await front.adopted()
        with sock:
            assert await read_exactly(adopted, sock, len(frames)) == frames
    for stream in streams:
        await stream.aclose()


@pytest.mark.parametrize("path", [b"/ws", b"/slow"])
@pytest.mark.parametrize("size", [1, 60_000, 300_000])
async def test_what_comes_in_one_segment_with_the_upgrade_request_reaches_the_engine_in_order(front, path, size):
    sent = bytes(range(251)) * (size // 251 + 1)
    async with await front.connect() as stream:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, UPGRADE % path + sent)
            adopted, sock = await front.adopted()
            with sock:
                assert await read_exactly(adopted, sock, len(sent)) == sent
        assert adopted.early == sent[: len(adopted.early)] != b""


async def test_a_connection_serves_requests_before_it_is_upgraded(front):
    async with await front.connect() as stream:
        for _ in range(3):
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert b"200" in await read_until(stream, b'{"ok":true}\n')
        await stream.send_all(UPGRADE % b"/ws" + b"frame")
        assert (await read_head(stream)).startswith(b"HTTP/1.1 101 ")
        adopted, sock = await front.adopted()
        with sock:
            assert await read_exactly(adopted, sock, 5) == b"frame"


async def test_an_upgrade_pipelined_behind_a_request_keeps_its_frames_too(front):
    async with await front.connect() as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n" + UPGRADE % b"/ws" + b"frame")
        adopted, sock = await front.adopted()
        with sock:
            assert await read_exactly(adopted, sock, 5) == b"frame"


@pytest.mark.parametrize(
    ("path", "status"),
    [
        (b"/denied", b"401"),
        (b"/raises-before", b"500"),
        (b"/returns", b"500"),
        (b"/accepts-itself", b"500"),
        (b"/wrong-subprotocol", b"500"),
        (b"/unknown", b"404"),
    ],
)
async def test_a_refused_upgrade_is_answered_and_closed_even_if_frames_came_with_it(front, path, status):
    async with await front.connect() as stream:
        await stream.send_all(UPGRADE % path + masked("early") * 1000)
        answer = await read_to_end(stream)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert b"Traceback" not in answer


@pytest.mark.parametrize("path", [b"/raises-after", b"/forgets"])
async def test_a_socket_that_the_view_did_not_pass_on_is_answered_500_and_closed(front, path):
    async with await front.connect() as stream:
        await stream.send_all(UPGRADE % path + masked("early"))
        answer = await read_to_end(stream)
    assert answer.startswith(b"HTTP/1.1 500 ")
    assert b"\r\nconnection: close\r\n" in answer
    await trio.testing.wait_all_tasks_blocked(0.01)
    assert front.server.statistics().adopted == 0
    assert front.server.statistics().connections_open == 0


async def test_a_connection_is_adopted_once(front):
    stream, _ = await upgrade(front, b"/twice")
    async with stream:
        adopted, sock = await front.adopted()
        sock.close()
        with pytest.raises(NotAdoptable, match="taken before"):
            adopted.take()
        await trio.testing.wait_all_tasks_blocked()
        assert "an upgrade is adopted once" in front.seen[0]


async def test_a_peer_that_was_reset_before_its_101_is_adopted_at_its_end(front):
    stream = await front.connect()
    await stream.send_all(UPGRADE % b"/slow")
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    await stream.aclose()
    _, sock = await front.adopted()
    with sock, suppress(ConnectionResetError):  # which the send has met already
        assert sock.recv(1) == b""
    await trio.testing.wait_all_tasks_blocked(0.1)
    assert front.server.statistics().connections_open == 0


async def test_a_peer_that_half_closed_before_its_101_is_adopted_at_its_end(front):
    async with await front.connect() as stream:
        await stream.send_all(UPGRADE % b"/slow")
        await stream.send_eof()
        adopted, sock = await front.adopted()
        with sock:
            assert await read_exactly(adopted, sock, 1) == b""


async def test_the_server_closes_a_connection_whose_view_still_decides_when_it_stops():
    app, began = QuartTrio("deciding"), trio.Event()

    @app.websocket("/ws")
    async def decides():
        began.set()
        await trio.sleep_forever()

    async with open_front(app) as front:
        stream = await front.connect()
        await stream.send_all(UPGRADE % b"/ws")
        with trio.fail_after(3):
            await began.wait()
    async with stream:
        assert await read_to_end(stream) == b""


@pytest.mark.parametrize("extra", [b"Content-Length: 5\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_an_upgrade_request_with_a_body_is_refused(front, extra):
    async with await front.connect() as stream:
        await stream.send_all(UPGRADE.replace(b"Host", extra + b"Host") % b"/ws" + b"hello")
        assert (await read_to_end(stream)).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ((b"Version: 13", b"Version: 12"), b"426"),
        ((b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", b""), b"400"),
        ((b"HTTP/1.1", b"HTTP/1.0"), b"400"),
    ],
)
async def test_an_invalid_handshake_is_refused_and_closed(front, change, status):
    async with await front.connect() as stream:
        await stream.send_all(UPGRADE.replace(*change) % b"/ws" + masked("early"))
        answer = await read_to_end(stream)
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert b'"success": false' in answer


async def test_the_test_client_of_quart_is_refused_before_anything_is_accepted():
    app = QuartTrio("elsewhere")
    faults = []

    @app.websocket("/ws")
    async def view():
        try:
            await adopt(websocket)
        except NotAdoptable as fault:
            faults.append(str(fault))
        abort(426)

    async with app.test_app() as test_app, test_app.test_client().websocket("/ws") as connection:
        with pytest.raises(WebsocketResponseError):
            await connection.receive()
    assert faults == ["this connection was not accepted by greenroom.http.server"]


async def test_500_connections_leave_nothing_behind(front):
    async def connect_and_leave(number):
        stream, _ = await upgrade(front)
        if number % 5 == 0:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await stream.aclose()
        (await front.adopted())[1].close()

    async def round_of(count):
        for start in range(0, count, 25):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 25):
                    nursery.start_soon(connect_and_leave, number)
        await trio.testing.wait_all_tasks_blocked(0.01)
        gc.collect()
        return trio.lowlevel.current_statistics().tasks_living, open_descriptors(), resident_bytes()

    tasks, descriptors, resident = await round_of(200)
    growths = []
    for _ in range(5):  # what leaks leaks in each
        tasks_after, descriptors_after, resident_after = await round_of(500)
        assert tasks_after == tasks
        assert not descriptors_after - descriptors
        growths.append(resident_after - resident)
        resident = resident_after
    assert min(growths) < 100_000
    assert front.server.statistics().connections_open == 0
    assert front.server.statistics().adopted == 2700


def resident_bytes():
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
