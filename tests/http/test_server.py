"""The HTTP server: what hostile and slow clients get, what is left of them, and how it stops."""

import errno
import gc
import json
import os
import resource
import socket
import struct
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial

import pytest
import trio
from open_descriptors import open_descriptors
from quart import request
from quart_trio import QuartTrio
from structlog.testing import capture_logs
from trio.testing import wait_all_tasks_blocked

from greenroom.http.adoption import adopt
from greenroom.http.connection import FrontProtocol, HttpLimits, Overdue
from greenroom.http.listener import close_listeners, open_listeners
from greenroom.http.server import HookFailed, serve
from greenroom.http.turnstile import PLACES

GET = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
POST_HEAD = b"POST /echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
FRAME = b"\x81\x85\x00\x00\x00\x00hello"
RESET_ON_CLOSE = struct.pack("ii", 1, 0)
QUICK = HttpLimits(idle_seconds_max=0.2, head_seconds_max=0.2, stalled_seconds_max=0.2, upgrade_seconds_max=0.2)


def build_app(events):
    app = QuartTrio("server")
    app.config["MAX_CONTENT_LENGTH"] = 1_000_000

    @app.before_serving
    async def startup():
        events.append("startup")

    @app.after_serving
    async def shutdown():
        await trio.sleep(0.01)
        events.append("shutdown")

    @app.get("/")
    async def index():
        return {"ok": True}

    @app.post("/echo")
    async def echo():
        return await request.get_data()

    @app.get("/long/<float:seconds>")
    async def long(seconds):
        await trio.sleep(seconds)
        return "done"

    @app.get("/stream")
    async def stream():
        async def chunks():
            for _ in range(6):
                await trio.sleep(0.1)
                yield b"chunk"

        return chunks()

    @app.get("/large")
    async def large():
        return bytes(20_000_000)

    @app.get("/raises")
    async def raises():
        raise ValueError("a secret")

    @app.websocket("/ws")
    async def ws():
        adopted = await adopt(request_websocket())
        sock = adopted.take()
        sock.send(adopted.answer)
        sock.close()

    @app.websocket("/waits")
    async def waits():
        await trio.sleep_forever()

    return app


def request_websocket():
    from quart import websocket

    return websocket


class Front:
    def __init__(self, listener, server, nursery):
        self.listener, self.server, self.nursery = listener, server, nursery
        self.port = listener.socket.getsockname()[1]

    async def connect(self):
        return await trio.open_tcp_stream("127.0.0.1", self.port)

    async def exchange(self, *parts):
        """Send the parts and return everything that comes until the server's end."""
        async with await self.connect() as stream:
            for part in parts:
                await stream.send_all(part)
                await wait_all_tasks_blocked()
            return await read_to_end(stream)

    def open_connections(self):
        return self.server.statistics().connections_open


@asynccontextmanager
async def open_front(limits=None, app=None, events=None):
    listeners = await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        app = app or build_app([] if events is None else events)
        server = await nursery.start(partial(serve, app, listeners, limits=limits))
        yield Front(listeners[0], server, nursery)
        with trio.fail_after(5):
            await server.aclose()
    close_listeners(listeners)


@pytest.fixture
async def front():
    async with open_front() as front:
        yield front


@pytest.fixture
async def quick():
    async with open_front(QUICK) as front:
        yield front


async def read_until(stream, end):
    received = b""
    with trio.fail_after(3):
        while not received.endswith(end):
            data = await stream.receive_some()
            assert data, received
            received += data
    return received


async def read_to_end(stream):
    received = b""
    with trio.fail_after(5):
        while data := await stream.receive_some():
            received += data
    return received


def costs():
    return trio.lowlevel.current_statistics().tasks_living, open_descriptors()


def see_nothing_left_since(before):
    tasks, descriptors = costs()
    assert tasks == before[0]
    assert not descriptors - before[1]


# What is answered.


@pytest.mark.parametrize(
    ("status", "parts"),
    [
        (400, [b"BAD@METHOD / HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"no request at all\r\n\r\n"]),
        (400, [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nNot A Name: c\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nName: a\x00b\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\n\r\n"]),
        (400, [b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"CONNECT example.com:443 HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (431, [b"GET / HTTP/1.1\r\nHost: x\r\nName: " + b"x" * 100_000 + b"\r\n\r\n"]),
        (431, [b"GET /" + b"x" * 20_000]),
        (400, [POST_HEAD + b"Content-Length: many\r\n\r\n"]),
        (400, [POST_HEAD + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"]),
        (400, [POST_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"zz\r\nabc\r\n"]),
        (400, [POST_HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"3\r\nabcdef\r\n"]),
        (400, [POST_HEAD + b"Content-Length: 3, 4\r\n\r\nabcd"]),
        (400, [POST_HEAD + b"Content-Length: +3\r\n\r\nabc"]),
        (400, [POST_HEAD + b"Content-Length: 0x3\r\n\r\nabc"]),
        (400, [POST_HEAD + b"Content-Length : 3\r\n\r\nabc"]),
        (400, [POST_HEAD + b"Content-Length: 3\r\n 4\r\n\r\nabcd"]),
        (400, [POST_HEAD + b"Transfer-Encoding: gzip\r\n\r\nabc"]),
        (400, [POST_HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"]),
        (400, [POST_HEAD + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"]),
        (400, [POST_HEAD + b"Transfer-Encoding: identity\r\n\r\nabc"]),
        (400, [POST_HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
        (400, [POST_HEAD + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n"]),
        (400, [POST_HEAD + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n"]),
        (400, [POST_HEAD.replace(b"/1.1", b"/1.0") + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\nHost: x\n\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\nName: a\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nName: a\r\n\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nName: a\rb\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nName: a\r\n b\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nName: a\r\n\tb\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\n Host: x\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n"]),
        (400, [b"get / HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"GET http://elsewhere/ HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"GET http://x:1/ HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: 127..0.1\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: .x\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: " + b"x" * 64 + b".example\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: user@x\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x/y\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x:y\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: \xc3\xa4.example\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n"]),
        (400, [UPGRADE[:-2].replace(b"%s", b"/ws") + b"Sec-WebSocket-Protocol: \xff\r\n\r\n"]),
        (400, [(UPGRADE % b"/ws").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"")]),
        (400, [(UPGRADE % b"/ws").replace(b"dGhlIHNhbXBsZSBub25jZQ==", b"dGhlIHNhbXBsZSBub25jZQ")]),
        (400, [UPGRADE[:-2].replace(b"%s", b"/ws") + b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"]),
        (400, [GET.replace(b"Host: localhost", b"Host: ..")]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nName : a\r\n\r\n"]),
        (400, [b"GET  / HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"GET /a b HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer a\r\nauthorization: Bearer b\r\n\r\n"]),
        (400, [b"GET / HTTP/1.1\r\nHost: x\r\nX-Act-As: 1\r\nX-Act-As: 2\r\n\r\n"]),
        (431, [b"GET / HTTP/1.1\r\nHost: x\r\nName: " + b"x" * 20_000 + b"\r\n\r\n"]),
        (431, [b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"]),
        (505, [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"]),
        (505, [b"GET / HTTP/3.0\r\nHost: x\r\n\r\n"]),
    ],
)
async def test_what_is_not_http_1_is_refused_in_the_envelope_and_closed(front, status, parts):
    head, _, body = (await front.exchange(*parts)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"connection: close" in head.lower()
    answer = json.loads(body)
    assert answer["success"] is False
    assert answer["error"]["code"] not in ("", "INTERNAL")  # the client's fault, 505 too
    assert answer["error"]["message"]
    assert b"x-request-id: " + answer["meta"]["requestId"].encode() in head.lower()
    assert front.server.statistics().faults_guarded == 0


SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("method", [b"POST", b"GET", b"DELETE"])
@pytest.mark.parametrize(
    "framing",
    [
        b"Content-Length: %d\r\nTransfer-Encoding: chunked" % (len(SMUGGLED) + 5),
        b"Transfer-Encoding: chunked\r\nContent-Length: 5",
        b"transfer-encoding: CHUNKED\r\ncontent-length: 0",
        b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 5",
        b"Transfer-Encoding: chunked, identity",
        b"Transfer-Encoding: xchunked\r\nContent-Length: 5",
        b"Content-Length: 5\r\nContent-Length: 6",
        b"Content-Length: 5\nContent-Length: 5",
    ],
)
async def test_nothing_is_read_behind_a_body_whose_length_is_in_doubt(front, method, framing):
    answer = await front.exchange(
        method + b" /echo HTTP/1.1\r\nHost: x\r\n" + framing + b"\r\n\r\n0\r\n\r\n" + SMUGGLED, SMUGGLED
    )
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"connection: close" in answer.lower()
    assert answer.count(b"HTTP/1.1 ") == 1
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["error"]["code"] == "BAD_REQUEST"


async def test_the_same_length_told_twice_is_told(front):
    assert (await front.exchange(POST_HEAD + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc")).endswith(b"abc")


@pytest.mark.parametrize(
    "body", [b"Content-Length: 9\r\n\r\nGET /evil", b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"]
)
async def test_the_body_of_a_get_is_read_past_and_the_next_request_is_found(front, body):
    answer = await front.exchange(
        GET[:-2] + body + GET.replace(b"/ ", b"/long/0.0 ")[:-2] + b"Connection: close\r\n\r\n"
    )
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b"done")


async def test_a_get_whose_body_has_not_come_is_answered_and_its_connection_is_closed(front):
    answer = await front.exchange(GET[:-2] + b"Content-Length: 100\r\n\r\n", SMUGGLED)
    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.endswith(b'{"ok":true}\n')


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (404, b"GET /%ff%00%2e%2e HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (404, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (405, b"TRACE / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
        (200, b"GET http://x/ HTTP/1.1\r\nHost: X\r\nConnection: close\r\n\r\n"),
        (200, b"GET / HTTP/1.0\r\n\r\n"),
        (413, POST_HEAD + b"Content-Length: 1000001\r\n\r\n"),
        (500, b"GET /raises HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    ],
)
async def test_odd_requests_get_an_answer_and_no_traceback(front, status, sent):
    answer = await front.exchange(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status)
    assert b"Traceback" not in answer
    assert b"secret" not in answer


@pytest.mark.parametrize(
    "sent",
    [
        b"HEAD nowhere HTTP/1.1\r\nHost: x\r\n\r\n",
        b"HEAD / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_a_refused_head_request_gets_no_body(front, sent):
    answer = await front.exchange(sent)
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 200 "))
    assert answer.endswith(b"\r\n\r\n")
    assert front.server.statistics().faults_guarded == 0


@pytest.mark.parametrize(
    "offer",
    [b"permessage-deflate; client_max_window_bits", b"permessage-deflate; client_max_window_bits=abc",
     b'permessage-deflate; server_max_window_bits="12"', b", a, ,b;c=1", b"x" * 3000],
)  # fmt: skip
async def test_extensions_that_the_view_does_not_agree_to_are_not_agreed_to(front, offer):
    request = UPGRADE[:-2].replace(b"%s", b"/ws") + b"Sec-WebSocket-Extensions: " + offer + b"\r\n\r\n"
    async with await front.connect() as stream:
        await stream.send_all(request)
        answer = await read_until(stream, b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in answer.lower()
    assert front.server.statistics().faults_guarded == 0


@pytest.mark.parametrize(
    "offer",
    [
        b"permessage-deflate; server_max_window_bits=",
        b"permessage-deflate;;=",
        b"\xff",
        b",,,",
        b"",
        b'a; b="c d"',
        b"a b",
    ],
)
async def test_extensions_that_are_no_list_are_400(front, offer):
    request = UPGRADE[:-2].replace(b"%s", b"/ws") + b"Sec-WebSocket-Extensions: " + offer + b"\r\n\r\n"
    async with await front.connect() as stream:
        await stream.send_all(request)
        assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 400 ")
    assert front.server.statistics().faults_guarded == 0


@pytest.mark.parametrize(
    "host",
    [b"", b"localhost", b"localhost.", b"LOCALHOST:8787", b"x:", b"a-b_c.example:1", b"127.0.0.1", b"[::1]:8787",
     b"[::ffff:127.0.0.1]", b"xn--4ca.example", b"x" * 63 + b".example"],
)  # fmt: skip
async def test_every_way_to_name_a_host_is_taken(front, host):
    answer = await front.exchange(b"GET / HTTP/1.1\r\nHost: " + host + b"\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    ("fields", "is_upgrade"),
    [
        (["Connection: Upgrade", "Upgrade: websocket"], True),
        (["connection: keep-alive ,UPGRADE", "upgrade: WebSocket"], True),
        (["Connection: Upgrade", "Connection: keep-alive", "Upgrade: websocket"], True),
        (["Connection: close", "Connection: Upgrade", "Upgrade: websocket"], True),
        (["Connection: Upgrade", "Connection: ,", "Upgrade: websocket", "Upgrade:"], True),
        (["Connection: Upgrade", "Upgrade: websocket, h2c"], True),
        (["Connection: Upgrade", "Upgrade: h2c,websocket"], True),
        (["Connection: Upgrade", "Upgrade: websocket", "Upgrade: h2c"], True),
        (["Connection: Upgrade", "Upgrade: h2c", "Upgrade: websocket"], True),
        (["Connection: keep-alive", "Connection: close", "Upgrade: websocket"], False),
        (["Connection: upgraded", "Upgrade: websocket"], False),
        (["Connection: Upgrade", "Upgrade: h2c"], False),
        (["Connection: Upgrade", "Upgrade: web, socket"], False),
        (["Connection: Upgrade"], False),
        (["Upgrade: websocket"], False),
    ],
)
async def test_an_upgrade_is_one_among_others_in_fields_that_are_lists(front, fields, is_upgrade):
    """RFC 6455 section 4.2.1 asks for a token in each; RFC 9110 section 5.3: several fields of a name are one list."""
    lines = "".join(f"{field}\r\n" for field in fields).encode()
    sent = UPGRADE.replace(b"Connection: Upgrade\r\nUpgrade: websocket\r\n", lines) % b"/ws"
    async with await front.connect() as stream:
        await stream.send_all(sent)
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101 ") == is_upgrade


async def test_an_upgrade_to_http_2_in_clear_text_is_answered_in_http_1(front):
    answer = await front.exchange(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close, Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"HTTP/1.1 101" not in answer


async def test_requests_in_one_segment_are_answered_in_order(front):
    answer = await front.exchange(GET + POST_HEAD + b"Content-Length: 5\r\n\r\nhello")
    assert answer.count(b"HTTP/1.1 200 ") == 2
    assert answer.endswith(b"hello")


@pytest.mark.parametrize(
    ("sent", "end"),
    [
        (GET, b'{"ok":true}\n'),
        (GET.replace(b"/ ", b"/long/0.1 "), b"done"),
        (GET + POST_HEAD + b"Content-Length: 5\r\n\r\nhello", b"hello"),
        (POST_HEAD + b"Content-Length: 5\r\n\r\nhel", b"}}"),
    ],
)
async def test_a_client_that_half_closes_after_its_request_gets_its_whole_answer(front, sent, end):
    async with await front.connect() as stream:
        await stream.send_all(sent)
        await stream.send_eof()
        assert (await read_to_end(stream)).endswith(end)
    await wait_all_tasks_blocked(0.02)
    assert front.open_connections() == 0


async def test_a_view_is_cancelled_when_its_client_is_reset(front):
    async with await front.connect() as stream:
        await stream.send_all(GET.replace(b"/ ", b"/long/60.0 "))
        await wait_all_tasks_blocked()
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
    await wait_all_tasks_blocked(0.02)
    assert front.open_connections() == 0


async def test_a_client_that_waits_for_100_gets_it(front):
    async with await front.connect() as stream:
        await stream.send_all(POST_HEAD + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n")
        assert (await read_until(stream, b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")
        await stream.send_all(b"hello")
        assert (await read_to_end(stream)).endswith(b"\r\n\r\nhello")


@pytest.mark.parametrize("status", [404, 413])
async def test_an_answer_given_before_the_body_has_come_can_be_read(front, status):
    path, size = (b"/none", 250_000) if status == 404 else (b"/echo", 1_000_001)
    async with await front.connect() as stream:
        await stream.send_all(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (path, size))
        await stream.send_all(bytes(200_000))
        answer = await read_to_end(stream)
        assert answer.startswith(b"HTTP/1.1 %d " % status)
        assert b"connection: close" in answer.lower()


async def test_a_connection_stays_open_when_the_body_that_nobody_wanted_was_there(front):
    async with await front.connect() as stream:
        await stream.send_all(b"POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello" + GET)
        answer = await read_until(stream, b'{"ok":true}\n')
        assert answer.startswith(b"HTTP/1.1 404 ")
        assert b"connection: close" not in answer.lower()


# Hostile and gone clients.


async def test_1000_upgrades_with_a_frame_in_the_same_segment_do_no_harm(front):
    before = costs()

    async def attack(path):
        async with await front.connect() as stream:
            await stream.send_all(UPGRADE % path + FRAME)
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 ")

    for start in range(0, 1000, 40):
        async with trio.open_nursery() as nursery:
            for number in range(start, start + 40):
                nursery.start_soon(attack, [b"/", b"/ws", b"/none", b"/raises"][number % 4])
    assert (await front.exchange(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))).endswith(b'{"ok":true}\n')
    await wait_all_tasks_blocked(0.05)
    assert front.server.statistics().faults_guarded == 0
    assert front.open_connections() == 0
    see_nothing_left_since(before)


async def test_500_requests_leave_nothing_behind(front):
    async def visit(number):
        stream = await front.connect()
        await stream.send_all(GET)
        await stream.receive_some()
        if number % 5 == 0:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
        await stream.aclose()

    await visit(0)
    await wait_all_tasks_blocked(0.05)
    before = costs()
    for start in range(0, 500, 50):
        async with trio.open_nursery() as nursery:
            for number in range(start, start + 50):
                nursery.start_soon(visit, number)
    await wait_all_tasks_blocked(0.05)
    see_nothing_left_since(before)
    assert front.open_connections() == 0


async def test_bodies_that_no_view_wants_leave_nothing_behind(front):
    """Hypercorn's own tasks wait here for ever: its queue of ten events is full and the view is gone."""
    before = costs()

    async def send_many_chunks():
        async with await front.connect() as stream:
            await stream.send_all(
                b"POST /none HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 1000
            )
            await stream.receive_some()

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(send_many_chunks)
    await wait_all_tasks_blocked(0.05)
    see_nothing_left_since(before)


async def test_a_fault_inside_hypercorn_ends_its_connection_only(front, monkeypatch):
    async def faulty(self, request):
        raise RuntimeError("as if Hypercorn had a defect")

    async with await front.connect() as innocent:
        with monkeypatch.context() as patch:
            patch.setattr(FrontProtocol, "_create_stream", faulty)
            assert await front.exchange(GET) == b""
        await innocent.send_all(GET)
        await read_until(innocent, b'{"ok":true}\n')
    assert front.server.statistics().faults_guarded == 1


async def test_without_descriptors_accepting_pauses_and_then_goes_on(front):
    gc.collect()  # and not in between: it may free the descriptors of earlier tests
    clients = [socket.socket() for _ in range(3)]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    os.close(lowest_free := os.open("/dev/null", os.O_RDONLY))
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        for client in clients:
            client.connect(("127.0.0.1", front.port))
        await trio.sleep(0.35)
        assert 1 <= front.server.statistics().accept_pauses <= 5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    for client in clients:
        client.setblocking(False)
        async with trio.SocketStream(trio.socket.from_stdlib_socket(client)) as stream:
            await stream.send_all(GET)
            await read_until(stream, b'{"ok":true}\n')


def next_descriptors(count):
    """The numbers of those that are opened next."""
    descriptors = [os.open("/dev/null", os.O_RDONLY) for _ in range(count)]
    for descriptor in descriptors:
        os.close(descriptor)
    return descriptors


async def test_when_few_descriptors_are_left_new_connections_wait_and_a_shortage_that_lasts_is_told_once():
    """Those are for all else that the process opens. Each time that one is free the next comes in."""
    gc.collect()  # as above
    with ExitStack() as stack, capture_logs() as logs:
        clients = [stack.enter_context(socket.socket()) for _ in range(5)]
        _, _, last = next_descriptors(3)  # the listener's, and those of two connections
        async with open_front(HttpLimits(descriptors_max=last + 1)) as front:
            for client in clients:
                client.connect(("127.0.0.1", front.port))
            for accepted in range(2, 6):
                before = front.server.statistics()
                with trio.fail_after(5):
                    while front.server.statistics().accepted < accepted:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                    while accepted < 5 and front.server.statistics().accept_pauses == before.accept_pauses:  # noqa: ASYNC110
                        await trio.sleep(0.02)
                found = front.server.statistics()
                assert (found.accepted, found.connections_open) == (accepted, 2)
                clients[accepted - 2].shutdown(socket.SHUT_WR)  # closed, its descriptor would be free, too
        assert [event["event"] for event in logs].count("http.accept_paused") == 1


async def test_at_the_limit_new_connections_wait_until_one_ends():
    async with open_front(HttpLimits(connections_max=2)) as front:
        first, second, third = [await front.connect() for _ in range(3)]
        await third.send_all(GET)
        await wait_all_tasks_blocked(0.02)
        assert front.open_connections() == 2
        await first.aclose()
        await read_until(third, b'{"ok":true}\n')
        await second.aclose()
        await third.aclose()


# The turnstile (test_turnstile.py has the rest).


async def test_views_and_heads_that_are_not_whole_hold_no_place(front):
    """Far more than there are places wait for something: a view, the rest of a head, a body."""
    async with trio.open_nursery() as nursery:
        streams = []
        for begun in (
            b"GET /long/2 HTTP/1.1\r\nHost: localhost\r\n\r\n",
            GET[:-2],
            POST_HEAD + b"Content-Length: 9\r\n\r\n",
        ):
            for _ in range(20):
                stream = await front.connect()
                streams.append(stream)
                nursery.start_soon(stream.send_all, begun)
        await wait_all_tasks_blocked(0.05)
        with trio.fail_after(10):
            assert (await front.exchange(GET[:-2] + b"Connection: close\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        for stream in streams:
            await stream.aclose()


async def test_who_queues_is_not_blamed_for_the_time_it_takes(quick):
    turnstile = quick.server._turnstile
    for _ in range(PLACES):
        await turnstile.enter()
    async with await quick.connect() as whole, await quick.connect() as cut:
        await whole.send_all(GET)
        await cut.send_all(GET[:-2])
        await trio.sleep(0.6)
        assert len(turnstile) == 2
        for _ in range(PLACES):
            turnstile.leave()
        await read_until(whole, b'{"ok":true}\n')
        assert b" 408 " in await read_to_end(cut), "its own time counts from here on"


# Limits of time.


@pytest.mark.parametrize("requests", [0, 2])
async def test_an_idle_connection_is_closed(quick, requests):
    began = trio.current_time()
    async with await quick.connect() as stream:
        for _ in range(requests):
            began = trio.current_time()
            await stream.send_all(GET)
            await read_until(stream, b'{"ok":true}\n')
        assert await read_to_end(stream) == b""
        assert trio.current_time() - began > QUICK.idle_seconds_max
    assert quick.server.statistics().swept == {Overdue.IDLE: 1}


async def test_who_has_asked_is_not_idle_however_late_that_is_read():
    """A process that is busy reads late. Ten thousand who came together were reset for it, after 15 s."""
    async with open_front(HttpLimits(idle_seconds_max=1.0)) as front:
        streams = [await front.connect() for _ in range(20)]
        await wait_all_tasks_blocked(0.02)
        for stream in streams:
            stream.socket._sock.send(GET)
        time.sleep(1.5)  # noqa: ASYNC251 - that is the point
        for stream in streams:
            await read_until(stream, b'{"ok":true}\n')
            await stream.aclose()
        assert front.server.statistics().swept == {}


@pytest.mark.parametrize("begun", [b"", GET])
async def test_a_head_that_comes_too_slowly_is_answered_408(begun):
    async with open_front(HttpLimits(head_seconds_max=0.2)) as quick, await quick.connect() as stream:
        await stream.send_all(begun)
        if begun:
            await read_until(stream, b'{"ok":true}\n')
        with trio.move_on_after(3):
            for byte in GET[:-2]:
                await trio.sleep(0.05)
                try:
                    await stream.send_all(bytes([byte]))
                except trio.BrokenResourceError:
                    break
                if quick.open_connections() == 0:
                    break
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 408 ")
        assert quick.server.statistics().swept == {Overdue.HEAD: 1}


async def test_a_body_that_stands_still_is_closed_and_its_view_cancelled(quick):
    assert await quick.exchange(POST_HEAD + b"Content-Length: 5\r\n\r\nhel") == b""
    assert quick.server.statistics().swept == {Overdue.STALLED: 1}
    assert quick.open_connections() == 0


async def test_a_body_that_makes_progress_is_not_cut():
    async with open_front(HttpLimits(stalled_seconds_max=1.0)) as front, await front.connect() as stream:
        await stream.send_all(POST_HEAD + b"Content-Length: 6\r\n\r\n")
        for byte in b"sloow!":
            await trio.sleep(0.25)
            await stream.send_all(bytes([byte]))
        assert (await read_to_end(stream)).endswith(b"\r\n\r\nsloow!")


@pytest.mark.parametrize(("path", "end"), [(b"/long/0.7", b"done"), (b"/stream", b"0\r\n\r\n")])
async def test_a_view_that_works_on_its_answer_is_not_cut(quick, path, end):
    answer = await quick.exchange(b"GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % path)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(end)


async def test_an_answer_that_is_not_read_is_given_up(quick):
    async with await quick.connect() as stream:
        await stream.send_all(GET.replace(b"/ ", b"/large "))
        with trio.fail_after(5):
            while quick.server.statistics().swept != {Overdue.STALLED: 1} or quick.open_connections():  # noqa: ASYNC110
                await trio.sleep(0.02)


async def test_an_answer_that_is_not_read_is_given_up_although_a_body_trickles_in(quick):
    async with await quick.connect() as stream:
        await stream.send_all(b"GET /large HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100000\r\n\r\n")
        with trio.fail_after(5), suppress(trio.BrokenResourceError):
            while not quick.server.statistics().swept:
                await stream.send_all(b"x")
                await trio.sleep(0.02)
        assert quick.server.statistics().swept == {Overdue.STALLED: 1}


async def test_an_answer_that_is_read_slowly_is_not_given_up():
    async with open_front(HttpLimits(stalled_seconds_max=1.0)) as front, await front.connect() as stream:
        await stream.send_all(GET.replace(b"/ ", b"/large ").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received = 0
        for _ in range(6):
            await trio.sleep(0.25)
            received += len(await stream.receive_some(1_000_000))
        while data := await stream.receive_some(1_000_000):
            received += len(data)
    assert received > 20_000_000


@pytest.mark.parametrize(("bytes_per_second", "is_ended"), [(20_000, True), (80_000, False)])
async def test_an_answer_that_trickles_is_given_up(bytes_per_second, is_ended):
    """The kernel takes 20 kB here and there from such a peer, so no byte for two seconds there never is."""
    async with open_front(HttpLimits(stalled_seconds_max=2.0)) as front:
        peer = trio.socket.socket()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with peer:
            await peer.connect(("127.0.0.1", front.port))
            await peer.send(GET.replace(b"/ ", b"/large "))
            began_at, taken = trio.current_time(), 0
            while (seconds := trio.current_time() - began_at) < 6 and front.open_connections():
                taken += len(await peer.recv(max(1, int(seconds * bytes_per_second) - taken)))
                await trio.sleep(0.05)
            assert front.server.statistics().swept == ({Overdue.STALLED: 1} if is_ended else {})
            assert front.open_connections() == (0 if is_ended else 1)


async def test_a_view_that_never_decides_about_an_upgrade_is_cut(quick):
    assert await quick.exchange(UPGRADE % b"/waits") == b""
    assert quick.server.statistics().swept == {Overdue.UPGRADE: 1}


# Start and stop.


async def test_the_hooks_of_the_application_run_also_when_the_server_is_cancelled():
    events = []
    async with open_front(events=events):
        assert events == ["startup"]
    assert events == ["startup", "shutdown"]
    async with trio.open_nursery() as nursery:
        listeners = await open_listeners("127.0.0.1", 0)
        await nursery.start(partial(serve, build_app(events), listeners))
        nursery.cancel_scope.cancel()
    close_listeners(listeners)
    assert events == ["startup", "shutdown"] * 2


async def test_a_startup_hook_that_fails_ends_the_server_with_its_words():
    app = QuartTrio("failing")

    @app.before_serving
    async def startup():
        raise OSError("no database")

    listeners = await open_listeners("127.0.0.1", 0)
    with trio.fail_after(3), pytest.raises(HookFailed, match=r"startup.*no database"):
        await serve(app, listeners)
    close_listeners(listeners)


async def test_a_shutdown_hook_that_fails_is_told_after_everything_is_closed():
    app = QuartTrio("failing")

    @app.after_serving
    async def shutdown():
        raise OSError("no disk")

    listeners = await open_listeners("127.0.0.1", 0)
    with trio.fail_after(3), pytest.RaisesGroup(pytest.RaisesExc(HookFailed, match=r"shutdown.*no disk")):
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve, app, listeners)
            await server.aclose()
    close_listeners(listeners)


async def test_after_stop_accepting_the_port_stays_open_and_clients_wait(front):
    async with await front.connect() as known:
        await known.send_all(GET)
        await read_until(known, b'{"ok":true}\n')
        front.server.stop_accepting()
        await wait_all_tasks_blocked()
        await known.send_all(GET)
        await read_until(known, b'{"ok":true}\n')
        async with await front.connect() as waiting:
            await waiting.send_all(GET)
            await front.server.aclose()
            async with await front.listener.accept() as taken_over:
                assert await taken_over.receive_some() == GET


async def test_a_drain_closes_the_idle_and_waits_for_answers_in_progress():
    app, may_end, drained = build_app([]), trio.Event(), trio.Event()

    @app.get("/held")
    async def held():
        await may_end.wait()
        return "done"

    async def drain(server):
        await server.drain()
        drained.set()

    async with (
        open_front(app=app) as front,
        await front.connect() as idle,
        await front.connect() as busy,
        await front.connect() as new,
        trio.open_nursery() as nursery,
    ):
        await idle.send_all(GET)
        await read_until(idle, b'{"ok":true}\n')
        await busy.send_all(GET.replace(b"/ ", b"/held "))
        await new.send_all(GET)
        await wait_all_tasks_blocked()
        front.server.stop_accepting()
        nursery.start_soon(drain, front.server)
        assert await read_to_end(idle) == b""
        await wait_all_tasks_blocked(0.05)
        assert not drained.is_set()
        may_end.set()
        with trio.fail_after(2):
            await drained.wait()
        answer = await read_to_end(busy)
        assert b"\r\nconnection: close\r\n" in answer.lower()
        assert answer.endswith(b"done")
        assert (await read_to_end(new)).endswith(b'{"ok":true}\n')


async def test_a_drain_answers_the_request_that_was_on_its_way():
    async with open_front() as front, await front.connect() as stream:
        await wait_all_tasks_blocked()
        front.server.stop_accepting()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(front.server.drain)
            await wait_all_tasks_blocked()
            await stream.send_all(GET)
            assert (await read_to_end(stream)).endswith(b'{"ok":true}\n')


async def test_closing_cuts_what_a_drain_with_a_deadline_has_left():
    async with open_front() as front, await front.connect() as stream:
        await stream.send_all(GET.replace(b"/ ", b"/long/60.0 "))
        await wait_all_tasks_blocked()
        with trio.move_on_after(0.1) as deadline:
            await front.server.drain()
        assert deadline.cancelled_caught
        await front.server.aclose()
        assert await read_to_end(stream) == b""


def test_the_faults_that_do_not_pause_accepting_are_not_shortages():
    from greenroom.http.server import _FAULTS_OF_ONE_PEER

    assert not _FAULTS_OF_ONE_PEER & {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
