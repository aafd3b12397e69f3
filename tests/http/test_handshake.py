"""The upgrade as RFC 6455 section 4.2 has it, over TCP and over TLS: what is right gets its 101, what is not its status
and nothing more. Afterwards nothing is left: no task, no descriptor, no connection that is counted.
"""

import base64
import hashlib
import json
import ssl
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio
import trio.testing
from open_descriptors import open_descriptors
from quart import Response, abort, g, websocket
from quart_trio import QuartTrio
from tls_files import make_tls_files

from greenroom.http.adoption import adopt
from greenroom.http.connection import HttpLimits
from greenroom.http.handshake import HandshakeOnly, switching_protocols
from greenroom.http.listener import close_listeners, open_listeners
from greenroom.http.server import serve
from greenroom.http.tls import tls_context

KEY = b"dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 section 1.3, and so is the next
ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
FRAME = b"\x81\x85\x00\x00\x00\x00early"
ANSWER_SECONDS_MAX = 30
FIELDS = {
    "Host": b"localhost",
    "Connection": b"Upgrade",
    "Upgrade": b"websocket",
    "Sec-WebSocket-Version": b"13",
    "Sec-WebSocket-Key": KEY,
}


def request(target=b"/ws", *more, method=b"GET", version=b"1.1", **changes):
    """The bytes of an upgrade. changes: of FIELDS, with _ for -; None leaves a field out."""
    fields = FIELDS | {name.replace("_", "-"): value for name, value in changes.items()}
    lines = [b"%b %b HTTP/%b" % (method, target, version)]
    lines += [b"%b: %b" % (name.encode(), value) for name, value in fields.items() if value is not None]
    return b"\r\n".join([*lines, *more, b"", b""])


def build_app(engine, seen):
    """What a view saw goes to `seen`, and the socket it adopted to `engine`, which stands for the socket engine."""
    app = QuartTrio("handshake")
    app.asgi_websocket_class = HandshakeOnly

    @app.before_websocket
    async def before():
        g.mark = websocket.headers.get("X-Mark", "none")
        if g.mark == "stop":
            return Response("stopped by a hook", 403)
        return None

    @app.errorhandler(PermissionError)
    async def denied(fault):
        return Response(str(fault), 401, {"X-Fault": "denied"})

    @app.websocket("/ws")
    async def ws():
        seen.append((websocket.requested_subprotocols, websocket.args.to_dict(), websocket.cookies.to_dict(), g.mark))
        wanted = websocket.args.get("protocol")
        adopted = await adopt(websocket, subprotocol=wanted, headers={"X-Answer": "1"} if "header" in seen else None)
        sock = adopted.take()
        sock.send(adopted.answer)
        engine.send_nowait((adopted, sock))

    @app.websocket("/rooms/<int:room>")
    async def in_room(room):
        seen.append((room, websocket.scheme, websocket.host, websocket.remote_addr))
        abort(409)

    add_views_that_adopt_nothing(app)
    return app


def add_views_that_adopt_nothing(app):
    @app.websocket("/denies")
    async def denies():
        raise PermissionError("not you")

    @app.websocket("/streams")
    async def streams():
        async def parts():
            for _ in range(3):
                yield b"part"

        return Response(parts(), 403)

    @app.websocket("/breaks-off")
    async def breaks_off():
        async def parts():
            yield b"part"
            raise ValueError("in the middle")

        return Response(parts(), 403)

    @app.websocket("/receives")
    async def receives():
        await websocket.receive()

    @app.websocket("/closes")
    async def closes():
        await websocket.close(1008)

    @app.websocket("/bad-header")
    async def bad_header():
        await adopt(websocket, headers={"X:Y": "z"})


class Front:
    """tls: the context of a client that trusts the server; None where TCP is all there is."""

    def __init__(self, port, server, engine, seen, tls):
        self.port, self.server, self.engine, self.seen, self.tls = port, server, engine, seen, tls

    async def connect(self):
        if self.tls is None:
            return await trio.open_tcp_stream("127.0.0.1", self.port)
        stream = await trio.open_ssl_over_tcp_stream("127.0.0.1", self.port, ssl_context=self.tls)
        await stream.do_handshake()
        return stream

    async def exchange(self, *parts):
        """Send the parts and return what comes until the server's end."""
        async with await self.connect() as stream:
            for part in parts:
                await stream.send_all(part)
            return await read_to_end(stream)

    async def upgrade(self, sent, every=None):
        """Send it whole or in pieces. Returns the head of the answer and what the engine would read first."""
        async with await self.connect() as stream:
            for start in range(0, len(sent), every or len(sent)):
                await stream.send_all(sent[start : start + (every or len(sent))])
                await trio.lowlevel.checkpoint()
            head = await read_head(stream)
            with trio.fail_after(ANSWER_SECONDS_MAX):
                adopted, sock = await self.engine.receive()
            sock.close()
            return head, adopted


async def read_head(stream):
    received = b""
    with trio.fail_after(ANSWER_SECONDS_MAX):
        while not received.endswith(b"\r\n\r\n"):
            data = await stream.receive_some()
            assert data, received
            received += data
    return received


async def read_to_end(stream):
    received = b""
    with trio.fail_after(ANSWER_SECONDS_MAX):
        while data := await stream.receive_some():
            received += data
    return received


def tasks_below(nursery):
    return sum(1 + sum(map(tasks_below, task.child_nurseries)) for task in nursery.child_tasks)


@asynccontextmanager
async def open_front(limits=None, tls=None):
    send, receive = trio.open_memory_channel(1000)
    seen = []
    listeners = await open_listeners("127.0.0.1", 0)
    async with trio.open_nursery() as nursery:
        context = tls_context(tls.certificate, tls.key) if tls is not None else None
        server = await nursery.start(partial(serve, build_app(send, seen), listeners, limits=limits, tls=context))
        port = listeners[0].socket.getsockname()[1]
        front = Front(port, server, receive, seen, tls.client if tls is not None else None)
        await trio.testing.wait_all_tasks_blocked()
        tasks, descriptors = tasks_below(nursery), open_descriptors()
        yield front
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert tasks_below(nursery) == tasks
        assert not open_descriptors() - descriptors
        assert server.statistics().connections_open == 0
        assert server.statistics().faults_guarded == 0
        with trio.fail_after(5):
            await server.aclose()
    close_listeners(listeners)


@pytest.fixture(scope="module")
def tls_files(tmp_path_factory):
    files = make_tls_files(tmp_path_factory.mktemp("tls"))
    files.client.set_alpn_protocols(["http/1.1"])  # as browsers offer for a WebSocket
    return files


@pytest.fixture(params=["tcp", "tls"])
def tls(request, tls_files):
    return tls_files if request.param == "tls" else None


@pytest.fixture
async def front(tls):
    async with open_front(tls=tls) as front:
        yield front


# -- what is right ----------------------------------------------------------------------------------------------------


async def test_the_answer_has_what_section_4_2_2_asks_for_and_no_more(front):
    head, adopted = await front.upgrade(request())
    assert head == (
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n"
        b"sec-websocket-accept: " + ACCEPT + b"\r\n\r\n"
    )
    assert (adopted.early, adopted.subprotocol) == (b"", None)


@pytest.mark.parametrize("size", [0, 1, 15, 16])
def test_the_accept_is_the_hash_of_the_key_and_the_guid(size):
    key = base64.b64encode(bytes(range(size)))
    digest = hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()
    assert b"\r\nsec-websocket-accept: " + base64.b64encode(digest) + b"\r\n" in switching_protocols(key, None, ())


@pytest.mark.parametrize("header", [(b"a", b"b\r\nc: d"), (b"a\n", b"b"), (b"a:b", b"c"), (b"a", b"\r")])
def test_no_header_of_an_answer_can_smuggle_another(header):
    with pytest.raises(ValueError, match="is no header"):
        switching_protocols(KEY, None, [header])


@pytest.mark.parametrize(
    "changes",
    [
        {"Upgrade": b"WebSocket"},
        {"Upgrade": b"WEBSOCKET"},
        {"Connection": b"keep-alive, Upgrade"},
        {"Connection": b"UPGRADE ,x"},
        {"Host": b"[::1]:8787"},
        {"Origin": b"null"},
        {"Content-Length": b"0"},
        {"Sec-WebSocket-Protocol": b"a, b ,c"},
        {"Sec-WebSocket-Extensions": b"permessage-deflate; client_max_window_bits, x"},
        {"Sec-WebSocket-Key": b"AAAAAAAAAAAAAAAAAAAAAA=="},
        {"X-Unknown": b"\xff"},
    ],
)
async def test_every_right_form_of_a_header_is_taken(front, changes):
    head, _ = await front.upgrade(request(**changes))
    assert head.startswith(b"HTTP/1.1 101 ")
    assert b"extensions" not in head
    assert b"sec-websocket-protocol" not in head  # the view chose none


async def test_the_names_of_headers_have_no_case(front):
    sent = request().replace(b"Sec-WebSocket-Key", b"sEC-wEBsOCKET-kEY").replace(b"Upgrade:", b"UPGRADE:")
    head, _ = await front.upgrade(sent)
    assert ACCEPT in head


async def test_a_target_that_is_a_url_is_taken_by_its_path(front):
    head, _ = await front.upgrade(request(b"http://localhost/ws"))
    assert head.startswith(b"HTTP/1.1 101 ")


async def test_subprotocols_in_several_fields_are_one_list(front):
    """Section 11.3.4: the field may appear several times."""
    sent = request(b"/ws?protocol=second", b"Sec-WebSocket-Protocol: first,, x", b"Sec-WebSocket-Protocol: second")
    head, adopted = await front.upgrade(sent)
    assert b"\r\nsec-websocket-protocol: second\r\n" in head
    assert adopted.subprotocol == "second"
    assert front.seen[0][0] == ["first", "x", "second"]


async def test_the_view_sees_query_cookies_and_what_a_hook_found(front):
    await front.upgrade(request(b"/ws?token=a%20b", Cookie=b"c=d", X_Mark=b"m"))
    assert front.seen == [([], {"token": "a b"}, {"c": "d"}, "m")]


async def test_headers_of_the_view_are_in_the_answer(front):
    front.seen.append("header")
    head, _ = await front.upgrade(request())
    assert b"\r\nx-answer: 1\r\n" in head


async def test_a_route_has_its_variables_and_the_request_its_address(front):
    answer = await front.exchange(request(b"/rooms/17"))
    assert answer.startswith(b"HTTP/1.1 409 ")
    assert front.seen == [(17, "ws" if front.tls is None else "wss", "localhost", "127.0.0.1")]


# -- how it arrives ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("every", [1, 2, 7, None])
async def test_a_request_is_read_however_it_is_cut(front, every):
    head, adopted = await front.upgrade(request(Sec_WebSocket_Protocol=b"a"), every)
    assert ACCEPT in head
    assert adopted.early == b""


@pytest.mark.parametrize("frames", [FRAME[:1], FRAME, FRAME * 1000])
async def test_frames_in_one_segment_with_the_request_reach_the_engine(front, frames):
    _, adopted = await front.upgrade(request() + frames)
    assert adopted.early == frames


async def test_a_refused_upgrade_is_answered_although_frames_came_with_it(front):
    answer = await front.exchange(request(b"/unknown") + FRAME * 1000)
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_a_second_request_behind_an_upgrade_is_no_request(front):
    """It is what the peer says on its WebSocket, and behind a refusal nothing."""
    _, adopted = await front.upgrade(request() + request())
    assert adopted.early == request()
    assert (await front.exchange(request(b"/unknown") + request())).count(b"HTTP/1.1 ") == 1
    assert len(front.seen) == 1


async def test_a_head_that_does_not_end_is_408(tls):
    async with open_front(HttpLimits(head_seconds_max=0.2), tls) as front:
        assert (await front.exchange(request()[:-2])).startswith(b"HTTP/1.1 408 ")


# -- what is wrong ----------------------------------------------------------------------------------------------------

BAD_REQUEST, UPGRADE_REQUIRED, TOO_LARGE = b"400", b"426", b"431"


@pytest.mark.parametrize(
    ("status", "sent"),
    [
        (BAD_REQUEST, request(version=b"1.0")),
        (BAD_REQUEST, request(version=b"1.0", Host=None)),
        (BAD_REQUEST, request(Host=None)),
        (BAD_REQUEST, request(b"/ws", b"Host: localhost")),
        (BAD_REQUEST, request(Host=b"a b")),
        (BAD_REQUEST, request(b"ws://localhost/ws")),
        (BAD_REQUEST, request(b"http://elsewhere/ws")),
        (BAD_REQUEST, request(b"ws")),
        (BAD_REQUEST, request(method=b"get")),
        (BAD_REQUEST, request(Content_Length=b"5") + b"hello"),
        (BAD_REQUEST, request(Transfer_Encoding=b"chunked") + b"0\r\n\r\n"),
        (BAD_REQUEST, request(Sec_WebSocket_Key=None)),
        (BAD_REQUEST, request(Sec_WebSocket_Key=b"")),
        (BAD_REQUEST, request(Sec_WebSocket_Key=KEY[:-1])),
        (BAD_REQUEST, request(Sec_WebSocket_Key=KEY[:-2] + b"AA")),
        (BAD_REQUEST, request(Sec_WebSocket_Key=KEY + b"AAAA")),
        (BAD_REQUEST, request(Sec_WebSocket_Key=b"*" * 22 + b"==")),
        (BAD_REQUEST, request(Sec_WebSocket_Key=KEY + b", " + KEY)),
        (BAD_REQUEST, request(b"/ws", b"Sec-WebSocket-Key: " + KEY)),
        (BAD_REQUEST, request(b"/ws", b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==")),
        (BAD_REQUEST, request(b"/ws", b"Sec-WebSocket-Version: 13")),
        (BAD_REQUEST, request(b"/ws", b"Sec-WebSocket-Version: 8")[:-2] + b"Sec-WebSocket-Version: 13\r\n\r\n"),
        (BAD_REQUEST, request(b"/ws", b"Origin: a", b"Origin: b")),
        (BAD_REQUEST, request(b"/ws", b"Authorization: Bearer a", b"Authorization: Bearer b")),
        (BAD_REQUEST, request(Sec_WebSocket_Protocol=b"\xff")),
        (BAD_REQUEST, request(Sec_WebSocket_Extensions=b"a b")),
        (BAD_REQUEST, request().replace(b"\r\n", b"\n")),
        (BAD_REQUEST, request(b"/ws", b" folded")),
        (BAD_REQUEST, request(b"/ws", b"Name : a")),
        (UPGRADE_REQUIRED, request(Sec_WebSocket_Version=None)),
        (UPGRADE_REQUIRED, request(Sec_WebSocket_Version=b"")),
        (UPGRADE_REQUIRED, request(Sec_WebSocket_Version=b"8")),
        (UPGRADE_REQUIRED, request(Sec_WebSocket_Version=b"013")),
        (UPGRADE_REQUIRED, request(Sec_WebSocket_Version=b"13, 8")),
        (TOO_LARGE, request(X_Large=b"x" * 20_000)),
        (TOO_LARGE, request(Sec_WebSocket_Protocol=b"x" * 20_000)),
        (TOO_LARGE, request(b"/ws?" + b"x" * 20_000)),
        (TOO_LARGE, request(b"/ws", *(b"X-%d: y" % number for number in range(3000)))),
        (b"505", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (b"505", request(version=b"2.0")),
    ],
)
async def test_what_is_wrong_is_refused_in_the_envelope_and_closed(front, status, sent):
    head, _, body = (await front.exchange(sent + FRAME)).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %b " % status), head
    assert b"\r\nconnection: close" in head.lower()
    assert json.loads(body)["success"] is False
    assert json.loads(body)["error"]["message"]
    assert not front.seen


async def test_a_426_names_the_version_that_is_spoken(front):
    """Section 4.4."""
    head = (await front.exchange(request(Sec_WebSocket_Version=b"7"))).partition(b"\r\n\r\n")[0]
    assert b"\r\nsec-websocket-version: 13" in head
    assert b"\r\nupgrade: websocket" in head


@pytest.mark.parametrize(
    "sent",
    [
        request(method=b"POST", Content_Length=b"0"),
        request(method=b"PUT", Content_Length=b"0"),
        request(method=b"DELETE"),
        request(method=b"HEAD"),
        request(Upgrade=None),
        request(Upgrade=b"h2c"),
        request(Upgrade=b"websockets"),
        request(Connection=None),
        request(Connection=b"close"),
        request(Connection=b"upgraded"),
    ],
)
async def test_what_asks_for_no_websocket_is_a_request_like_others(front, sent):
    """Here there is none at that path. It is never a 101, and the connection is good for another request."""
    answer = await front.exchange(sent, b"GET /unknown HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert b"HTTP/1.1 101" not in answer
    assert answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))  # Quart's word for a path of WebSockets
    assert not front.seen


async def test_a_hello_of_tls_where_a_request_is_due_is_400(front):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    assert (await front.exchange(outgoing.read())).startswith(b"HTTP/1.1 400 ")


async def test_the_preface_of_http_2_behind_an_upgrade_is_no_protocol_of_ours(front):
    _, adopted = await front.upgrade(request() + b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    assert adopted.early.startswith(b"PRI ")


# -- what the view makes of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "sent", "words"),
    [
        (b"401", request(b"/denies"), b"x-fault: denied"),
        (b"403", request(b"/ws", X_Mark=b"stop"), b"stopped by a hook"),
        (b"403", request(b"/closes"), b'"success": false'),
        (b"403", request(b"/streams"), b"part"),
        (b"403", request(b"/breaks-off"), b"part"),
        (b"404", request(b"/unknown"), b""),
        (b"500", request(b"/receives"), b""),
        (b"500", request(b"/bad-header"), b""),
    ],
)
async def test_what_is_no_adoption_is_an_answer_and_the_end(front, status, sent, words):
    answer = await front.exchange(sent + FRAME)
    assert answer.startswith(b"HTTP/1.1 %b " % status)
    assert words in answer
    assert b"\r\nconnection: close\r\n" in answer.lower()
    assert b"Traceback" not in answer
    assert answer.count(b"HTTP/1.1 ") == 1


async def test_300_upgrades_at_once_right_and_wrong_leave_nothing(front):
    async def one(number):
        sent = request(
            b"/denies" if number % 3 == 0 else b"/ws", Sec_WebSocket_Version=b"8" if number % 3 == 1 else b"13"
        )
        async with await front.connect() as stream:
            await stream.send_all(sent)
            head = await read_head(stream) if number % 3 == 2 else await read_to_end(stream)
            assert head.startswith(b"HTTP/1.1 %b " % [b"401", b"426", b"101"][number % 3])

    async with trio.open_nursery() as nursery:
        for number in range(300):
            nursery.start_soon(one, number)
    for _ in range(100):
        (await front.engine.receive())[1].close()
    assert front.server.statistics().adopted == 100
