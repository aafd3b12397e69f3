"""Malformed everything: a clear error or the right close code, nothing of our inside shown, nobody else disturbed."""

import json
import os
import random
import struct
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from stopwatch import open_stopwatch
from wire import (  # type: ignore[import-not-found]
    Gone,
    Refused,
    Socket,
    connect_tcp,
    cut,
    frame,
    http,
    open_sockets,
    raw_http,
    receive_some,
    send_all,
    upgrade_request,
    wait_until,
)

MIB = 1024 * 1024


@asynccontextmanager
async def bystander(server, user):
    """Somebody who talks meanwhile: must never wait for long, and never hear a word of it."""
    room = await server.make_room(user, [user])
    slowest = 0.0
    async with open_sockets() as nursery, open_stopwatch() as watch:
        sock = await Socket.open(nursery, server, user)
        await sock.start(room)

        talking = trio.CancelScope()

        async def talk():
            nonlocal slowest
            with talking:
                while True:
                    began = watch.seconds
                    ack = await sock.ask("send", room, body="I am still here")
                    assert ack["type"] == "ack"
                    slowest = max(slowest, watch.seconds - began)
                    await trio.sleep(0.01)

        nursery.start_soon(talk)
        yield sock
        talking.cancel()  # before its socket is closed
        await sock.settle()
        assert sock.close_code is None
        assert {event["type"] for event in sock.events} <= {
            "hello", "ready", "live", "presence_state", "presence_diff", "ack", "message", "pong", "ping",
        }  # fmt: skip
        print(f"the slowest answer to the bystander: {slowest * 1000:.0f} ms")
        assert slowest < 2.5  # on a machine that does much else besides


def nested(depth: int) -> str:
    return "[" * depth + "]" * depth


# What a v1 client may send as text and must be told is wrong: (text, number of the error). The connection stays.
BAD_TEXT = [
    ("", 1001),
    ("{", 1001),
    ("nonsense", 1001),
    ("NaN", 1001),
    ('{"type":"ping","id":NaN}', 1001),
    ('{"type":"ping","n":1e999}', 1001),
    ('{"type":"ping","n":9007199254740993}', 1001),
    ('{"type":"ping","n":' + "9" * 60_000 + "}", 1001),
    ('{"type":"ping","x":"\\u0000"}', 1001),
    ('{"type":"ping","x":"\\ud800"}', 1001),
    ('{"type":"ping","x":' + nested(40) + "}", 1001),
    (nested(60_000), 1001),
    ('{"a":' * 20_000 + "1" + "}" * 20_000, 1001),
    ('{"type":"ping","x":"' + "y" * 70_000 + '"}', 1001),
    ("null", 1002),
    ("1", 1002),
    ('"text"', 1002),
    ("[]", 1002),
    (json.dumps([{"type": "ping"}] * 17), 1002),
    ("[1]", 1002),
    ("{}", 1004),
    ('{"type":null}', 1004),
    ('{"type":5}', 1004),
    ('{"type":["send"]}', 1004),
    ('{"type":{"a":1}}', 1004),
    ('{"type":"no such command"}', 1004),
    ('{"type":"__class__"}', 1004),
    ('{"type":"ping","id":5}', 1002),
    ('{"type":"ping","id":""}', 1002),
    ('{"type":"ping","id":"' + "x" * 65 + '"}', 1002),
    ('{"type":"send"}', 1002),
    ('{"type":"send","room":ROOM}', 1002),
    ('{"type":"send","id":"a","room":ROOM,"data":[]}', 1002),
    ('{"type":"send","id":"a","room":ROOM,"data":{}}', 1002),
    ('{"type":"send","id":"a","room":ROOM,"data":{"body":5}}', 1002),
    ('{"type":"send","room":ROOM,"data":{"body":"no id at all"}}', 1002),
    ('{"type":"send","id":"a","room":ROOM,"data":{"body":"x","clientId":5}}', 1002),
    ('{"type":"send","id":"a","room":ROOM,"data":{"body":""}}', 1005),
    ('{"type":"send","id":"a","room":ROOM,"data":{"body":"' + "x" * 10_001 + '"}}', 1005),
    ('{"type":"send","id":"a","room":-1,"data":{"body":"x"}}', 1002),
    ('{"type":"send","id":"a","room":0,"data":{"body":"x"}}', 1002),
    ('{"type":"send","id":"a","room":1.5,"data":{"body":"x"}}', 1002),
    ('{"type":"send","id":"a","room":true,"data":{"body":"x"}}', 1002),
    ('{"type":"send","id":"a","room":"1; drop table messages","data":{"body":"x"}}', 1002),
    ('{"type":"send","id":"a","room":"\u0661\u0662","data":{"body":"x"}}', 1002),
    ('{"type":"send","id":"a","room":9007199254740991,"data":{"body":"x"}}', 3001),
    ('{"type":"join","id":"a"}', 1002),
    ('{"type":"join","id":"a","room":[]}', 1002),
    ('{"type":"join","id":"a","room":ROOM,"data":5}', 1002),
    ('{"type":"join","id":"a","room":ROOM,"data":{"after":-1}}', 1002),
    ('{"type":"join","id":"a","room":ROOM,"data":{"after":"x"}}', 1002),
    ('{"type":"leave","id":"a","room":null}', 1002),
    ('{"type":"typing","id":"a","room":ROOM,"data":{"on":1}}', 1002),
    ('{"type":"read","id":"a","room":ROOM,"data":{"seq":-1}}', 1002),
    ('{"type":"read","id":"a","room":ROOM,"data":{"seq":true}}', 1002),
    ('{"type":"read","id":"a","room":ROOM,"data":{}}', 1002),
    ('{"type":"history","id":"a","room":ROOM,"data":{"limit":0}}', 1002),
    ('{"type":"history","id":"a","room":ROOM,"data":{"limit":201}}', 1002),
    ('{"type":"history","id":"a","room":ROOM,"data":{"before":1,"after":1}}', 1002),
    ('{"type":"history","id":"a","room":ROOM,"data":{"before":"1"}}', 1002),
    ('{"type":"presence","id":"a","data":{"status":"asleep"}}', 1002),
    ('{"type":"presence","id":"a","data":{"status":["online"]}}', 1002),
    ('{"type":"presence","id":"a","data":{"status":"online","note":5}}', 1002),
    ('{"type":"presence","id":"a"}', 1002),
    ('{"type":"start","id":"a","data":{}}', 1002),
]


async def test_bad_text_is_answered_with_its_number_and_the_connection_stays(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with bystander(server, fresh + 1), open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        await sock.start(room)
        wrong = []
        for text, number in BAD_TEXT:
            before = len(sock.of("error"))
            await sock.send_bytes(frame(text.replace("ROOM", str(room))))
            if number in (1005, 3001):  # it is the room that says so, and a pong overtakes it
                await wait_until(lambda n=before: len(sock.of("error")) == n and "the error")
            await sock.settle()
            assert sock.close_code is None, f"{text[:80]!r} closed the connection with {sock.close_code}"
            errors = [event["data"] for event in sock.of("error")[before:]]
            if [error["code"] for error in errors] != [number]:
                wrong.append((text[:80], number, errors))
            for error in errors:
                assert set(error) >= {"code", "error", "message", "category", "recoverable"}, error
                assert "Traceback" not in error["message"]
                assert len(error["message"]) < 300
        assert not wrong, wrong
        before = len(sock.of("error"))
        await sock.send_bytes(frame(b"\x00\x01\x02", 2))
        await sock.settle()
        assert [event["data"]["code"] for event in sock.of("error")[before:]] == [1002]
        assert await server.log_of(room) == []


@pytest.mark.parametrize("text", [text for text, _ in BAD_TEXT if not text.startswith('{"type"')] + ["\u00ff"])
async def test_text_that_is_wrong_before_start_changes_nothing(server, fresh, text):
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        await sock.send_bytes(frame(text))
        await sock.settle()
        assert len(sock.of("error")) == 1
        await sock.start()


async def test_commands_before_start_are_refused(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        for kind in ("send", "join", "leave", "typing", "read", "history", "presence"):
            reply = await sock.ask(kind, room, body="x", on=True, seq=1)
            assert reply["data"]["code"] == 1002, reply
        assert await server.log_of(room) == []


START_FAULTS: list[dict[str, Any]] = [
    {"rooms": 5},
    {"rooms": {}},
    {"rooms": [None]},
    {"rooms": [{"r": -1}]},
    {"rooms": [{"x": 1}]},
    {"rooms": [True]},
    {"rooms": [[[]]]},
    {"rooms": list(range(1, 202))},
    {"resume": 5},
    {"resume": {"rooms": []}},
    {"resume": {"rooms": {"x": 1}}},
    {"resume": {"rooms": {"1": -1}}},
    {"resume": {"rooms": {"1": None}}},
    {"resume": {"rooms": {"1": {"seq": "5"}}}},
    {"resume": {"epoch": "x", "rooms": {"1": 1}}},
    {"device": 5},
    {"device": "x" * 65},
    {"token": 5},
]


async def test_a_bad_start_is_refused_and_a_good_one_may_follow(server, fresh):
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        for data in START_FAULTS:
            reply = await sock.ask("start", **data)
            assert reply["type"] == "error", (data, reply)
            assert reply["data"]["code"] in (1002, 4293), (data, reply)
        for number, empty in enumerate(([], 0, "", False, "x")):
            await sock.send({"type": "start", "id": f"bad-{number}", "data": empty})
            assert (await sock.expect("error", id=f"bad-{number}"))["data"]["code"] == 1002
        await sock.start()


# What breaks the framing itself, and the code that closes the connection for it.
BAD_FRAMES = {
    "unmasked": (frame('{"type":"ping"}', masked=False), 1002),
    "a reserved opcode": (frame("x", 3), 1002),
    "a reserved control opcode": (frame("x", 11), 1002),
    "a reserved bit": (bytes([0xC1, 0x81, 0, 0, 0, 0]) + b"x", 1002),
    "a control frame of 126 bytes": (frame(b"x" * 126, 9), 1002),
    "a fragmented ping": (frame(b"x", 9, final=False), 1002),
    "a fragmented close": (frame(struct.pack("!H", 1000), 8, final=False), 1002),
    "a continuation of nothing": (frame(b"x", 0), 1002),
    "text within a fragmented text": (frame("x", final=False) + frame("y"), 1002),
    "binary within a fragmented text": (frame("x", final=False) + frame("y", 2), 1002),
    "128 KiB and one byte": (frame(b"x" * (128 * 1024 + 1)), 1009),
    "2^62 bytes declared": (bytes([0x81, 0xFF]) + struct.pack("!Q", 1 << 62) + b"\0\0\0\0", 1009),
    "2^63 bytes declared": (bytes([0x81, 0xFF]) + struct.pack("!Q", 1 << 63) + b"\0\0\0\0", (1002, 1009)),
    "fragments that join to more": (frame(b"x" * 100_000, final=False) + frame(b"x" * 100_000, 0), 1009),
    "a close of one byte": (frame(b"\x03", 8), 1002),
    "a close with 999": (frame(struct.pack("!H", 999), 8), 1002),
    "a close with 1005": (frame(struct.pack("!H", 1005), 8), 1002),
    "a close with 1006": (frame(struct.pack("!H", 1006), 8), 1002),
    "a close with 5000": (frame(struct.pack("!H", 5000), 8), 1002),
    "a close with a reason that is not UTF-8": (frame(struct.pack("!H", 1000) + b"\xff", 8), (1002, 1007)),
    "text that is not UTF-8": (frame(b"\xff\xfe"), 1007),
    "text with a surrogate": (frame(b"\xed\xa0\x80"), 1007),
    "text that ends within a character": (frame(b'{"type":"ping"}\xc3'), 1007),
    "fragments that join to no UTF-8": (frame(b"\xc3", final=False) + frame(b"\x28", 0), 1007),
    "large text that is not UTF-8": (frame(b"x" * 70_000 + b"\xff"), 1007),
    "HTTP again": (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", 1002),
}


@pytest.mark.parametrize("protocol", ["greenroom.v1", None])
async def test_what_breaks_the_framing_is_closed_with_its_code(server, fresh, protocol):
    await server.make_people(fresh)
    wrong = []
    async with bystander(server, fresh + 1), open_sockets() as nursery:
        for name, (data, expected) in BAD_FRAMES.items():
            for pieces in ([data], [data[i : i + 1] for i in range(len(data))] if len(data) < 200 else [data]):
                sock = await Socket.open(nursery, server, fresh, protocol=protocol)
                with suppress(Gone):
                    for piece in pieces:
                        await sock.send_bytes(piece)
                code = await sock.wait_closed()
                if code not in (expected if isinstance(expected, tuple) else (expected,)):
                    wrong.append((name, len(pieces), code, expected))
        assert not wrong, wrong


async def test_what_is_allowed_though_odd_works(server, fresh):
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        await sock.start()
        ping = '{"type":"ping","id":"p%d"}'
        for number, pieces in enumerate(
            (
                [frame(ping % 0)[i : i + 1] for i in range(len(frame(ping % 0)))],
                [frame((ping % 1)[:5], final=False), frame("", 0, final=False), frame((ping % 1)[5:], 0)],
                [frame((ping % 2)[:5], final=False), frame("between", 9), frame((ping % 2)[5:], 0)],
                [frame("", final=False), frame(ping % 3, 0)],
                [frame("", 9), frame("", 10), frame(ping % 4)],
                [frame(ping % 5 + " " * 100_000)],
                [frame("\u20ac".encode()[:1], final=False), frame("\u20ac".encode()[1:], 0), frame(ping % 6)],
            )
        ):
            for piece in pieces:
                await sock.send_bytes(piece)
            await wait_until(lambda number=number: f"p{number}" not in sock.replies and (number, sock.close_code), 5)
        assert [event["data"] for event in sock.of("(pong frame)")] == [b"between", b""]


async def grows_once_at_most(mib, measure):
    """What *measure* does costs no more than that. Once it may: an arena of the allocator or a thread more is chance,
    and serves the next time; what is kept each time shows again."""
    for is_last in (False, True):
        grown = await measure()
        print(f"{grown / MIB:.1f} MiB")
        if grown < mib * MIB:
            return
        assert not is_last, f"{grown / MIB:.1f} MiB, again"


async def grow(server, user, data, times, protocol="greenroom.v1"):
    """The memory that a client costs who sends *data* so often and reads nothing: in bytes."""
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, user, protocol=protocol)
        await sock.settle()
        sock.stop_reading()
        before = server.usage().memory_bytes
        with suppress(Gone), trio.move_on_after(20):
            for _ in range(times):
                await sock.send_bytes(data)
        await trio.sleep(0.3)
        return server.usage().memory_bytes - before


async def test_a_message_fragmented_for_ever_is_closed_with_1009_and_costs_no_memory(server, fresh):
    await server.make_people(fresh)
    empty = frame("", 0, final=False) * 10_000

    async def a_million_empty_fragments():
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, server, fresh)
            await sock.send_bytes(frame("x", final=False))
            await trio.sleep(0.1)
            before = server.usage().memory_bytes
            with suppress(Gone):
                for _ in range(100):
                    await sock.send_bytes(empty)
            assert await sock.wait_closed() == 1009
            return server.usage().memory_bytes - before

    async with bystander(server, fresh + 1):
        await grow(server, fresh, frame("", final=False) + empty, 1)
        await grows_once_at_most(3, a_million_empty_fragments)


@pytest.mark.parametrize(
    "data",
    [frame(b"x" * 125, 9) * 400, frame('{"type":"ping"}') * 2000, frame("nonsense") * 2000, frame("{}") * 2000],
    ids=["ping frames", "pings", "bad JSON", "unknown commands"],
)
async def test_asking_without_reading_costs_at_most_the_outbox(server, fresh, data):
    await server.make_people(fresh)
    await grow(server, fresh, data, 5)
    async with bystander(server, fresh + 1):
        await grows_once_at_most(3, lambda: grow(server, fresh, data, 200))


@pytest.mark.wrong_frames  # some are taken, with a field whose name is garbled
async def test_random_bytes_end_connections_and_nothing_else(server, fresh, seed):
    chance = random.Random(seed)
    await server.make_people(fresh)
    samples = [data for data, _ in BAD_FRAMES.values() if len(data) < 1000]
    samples += [frame(text) for text, _ in BAD_TEXT if len(text) < 1000]

    def mutated() -> bytes:
        data = bytearray(b"".join(chance.choices(samples, k=chance.randint(1, 6))))
        for _ in range(chance.randint(0, 8)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        return bytes(data)

    async def one(protocol):
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, server, fresh, protocol=protocol)
            with suppress(Gone):
                await sock.send_bytes(mutated() if chance.random() < 0.8 else chance.randbytes(chance.randint(1, 5000)))
                if chance.random() < 0.5:
                    sock.half_close()
            await trio.sleep(0.01)
            echoed = sock.close_code in range(1007, 1015) or 3000 <= (sock.close_code or 0) < 5000
            assert sock.close_code in (None, 1000, 1001, 1002, 1003, 1005, 1006) or echoed

    async with bystander(server, fresh + 1):
        for _ in range(20):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(one, chance.choice(["greenroom.v1", None]))


@pytest.mark.wrong_frames
async def test_compat_is_told_of_malformed_text_and_not_of_unknown_types(server, fresh):
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh, protocol=None)
        await sock.expect("connected")
        for text in ("", "{", nested(50_000), '{"type":"ping","x":"\\u0000"}'):
            before = len(sock.of("error"))
            await sock.send_bytes(frame(text))
            await sock.settle()
            (error,) = sock.of("error")[before:]
            assert error["message"] == error["data"]["message"] == "Invalid message format", (text[:20], error)
        before = len(sock.of("error"))
        for value in (
            [],
            5,
            None,
            [1],
            {},
            {"type": 5},
            {"type": "nobody knows"},
            {"type": ["x"]},
            {"type": "ping", "data": 7},
        ):
            await sock.send(value)
        for kind in ("typing_start", "typing", "join_conversation", "leave_conversation", "mark_read", "subscribe"):
            for wrong in (None, -1, 1.5, True, [], {}, "x", 2**53 - 1, "9" * 400):
                await sock.send({"type": kind, "conversationId": wrong, "messageId": wrong, "channelId": wrong})
        await sock.settle()
        assert sock.close_code is None
        assert {error["code"] for error in sock.of("error")[before:]} <= {3001, 3002}


# -- HTTP -------------------------------------------------------------------------------------------------------------

GOOD_HEAD = "Host: 127.0.0.1\r\nConnection: close\r\n"
BAD_REQUESTS = {
    "nothing but an end of line": (b"\r\n\r\n", (400,)),
    "nonsense": (b"nonsense\r\n\r\n", (400,)),
    "binary": (bytes(range(256)) + b"\r\n\r\n", (400,)),
    "TLS": (bytes.fromhex("16030100a5010000a10303") + b"\0" * 160 + b"\r\n\r\n", (400,)),
    "no Host": (b"GET /api/health HTTP/1.1\r\nConnection: close\r\n\r\n", (400,)),
    "a version from the future": (f"GET / HTTP/3.7\r\n{GOOD_HEAD}\r\n".encode(), (400, 505)),
    "prior knowledge of HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
    "a header without a colon": (f"GET /api/health HTTP/1.1\r\n{GOOD_HEAD}nonsense\r\n\r\n".encode(), (400,)),
    "a header with NUL": (f"GET /api/health HTTP/1.1\r\n{GOOD_HEAD}a: b\0c\r\n\r\n".encode(), (400,)),
    "a head of 100 KB": (f"GET / HTTP/1.1\r\n{GOOD_HEAD}a: {'x' * 100_000}\r\n\r\n".encode(), (400, 431)),
    "ten thousand headers": (
        f"GET / HTTP/1.1\r\n{GOOD_HEAD}{'a: b' + chr(13) + chr(10)}".encode() * 10_000,
        (400, 431),
    ),
    "a path of 60 KB": (f"GET /{'x' * 60_000} HTTP/1.1\r\n{GOOD_HEAD}\r\n".encode(), (400, 404, 414, 431)),
    "a negative length": (
        f"POST /api/conversations HTTP/1.1\r\n{GOOD_HEAD}Content-Length: -1\r\n\r\n".encode(),
        (400,),
    ),
    "two lengths": (
        f"POST / HTTP/1.1\r\n{GOOD_HEAD}Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx".encode(),
        (400,),
    ),
    "an unknown transfer coding": (
        f"POST /api/conversations HTTP/1.1\r\n{GOOD_HEAD}Transfer-Encoding: gzip\r\n\r\n".encode(),
        (400, 501),
    ),
    "a chunk that is none": (
        f"POST /api/conversations HTTP/1.1\r\n{GOOD_HEAD}Transfer-Encoding: chunked\r\n\r\nzz\r\n".encode(),
        (400, 401),
    ),
    "dots": (f"GET /../../etc/passwd HTTP/1.1\r\n{GOOD_HEAD}\r\n".encode(), (400, 404)),
    "escapes that are none": (f"GET /api/%zz%00%ff HTTP/1.1\r\n{GOOD_HEAD}\r\n".encode(), (400, 404)),
    "an absolute address": (f"GET http://x/api/nothing HTTP/1.1\r\n{GOOD_HEAD}\r\n".encode(), (400, 404)),
    "CONNECT": (f"CONNECT x:80 HTTP/1.1\r\n{GOOD_HEAD}\r\n".encode(), (400, 404, 405)),
    "a method nobody knows": (f"BREW /api/health HTTP/1.1\r\n{GOOD_HEAD}\r\n".encode(), (400, 405, 501)),
}


def check_envelope(answer, name):
    assert b"Traceback" not in answer.body, name
    assert b".py" not in answer.body, name
    body = answer.json()
    assert body["success"] is False, (name, body)
    assert body["error"]["code"], name
    assert body["error"]["message"], name


async def test_malformed_requests_are_answered_with_4xx_in_the_envelope(server, fresh):
    wrong = []
    async with bystander(server, fresh):
        for name, (data, statuses) in BAD_REQUESTS.items():
            try:
                with trio.fail_after(5):
                    answer = await raw_http(server.port, data)
            except (Gone, trio.TooSlowError) as error:
                wrong.append((name, repr(error)))
                continue
            if answer.status not in statuses:
                wrong.append((name, answer))
            else:
                check_envelope(answer, name)
    assert not wrong, wrong


BAD_BODIES = [
    b"",
    b"{",
    b"null",
    b"[]",
    b"5",
    b'"x"',
    b"\xff\xfe",
    b'{"recipientId":NaN}',
    b'{"recipientId":1e999}',
    b'{"recipientId":99999999999999999999}',
    b'{"recipientId":"\\u0000"}',
    b'{"recipientId":"\\ud800"}',
    b'{"recipientId":' + b"[" * 5000 + b"]" * 5000 + b"}",
    b'{"recipientId":{}}',
    b'{"recipientId":[1]}',
    b'{"recipientId":-1}',
    b'{"recipientId":1.5}',
    b'{"recipientId":true}',
    b'{"recipientId":null}',
    b'{"participantIds":5}',
    b'{"participantIds":[null]}',
    b'{"participantIds":["x",{}]}',
    b'{"content":5,"conversationId":[]}',
    b'{"name":5}',
]


async def test_malformed_bodies_are_4xx_never_500_and_change_nothing(server, fresh):
    await server.make_people(fresh)
    room = await server.make_room(fresh, [fresh])
    paths = [
        ("POST", "/api/conversations"),
        ("POST", f"/api/conversations/{room}/messages"),
        ("POST", f"/api/conversations/{room}/participants"),
        ("POST", "/api/messages/send"),
        ("POST", f"/api/conversations/{room}/read"),
    ]
    before = await server.query("select (select count(*) from conversations) c, (select count(*) from messages) m")
    wrong: list[Any] = []
    async with bystander(server, fresh + 1) as _:
        for method, path in paths:
            for body in BAD_BODIES:
                answer = await http(server, method, path, body, user=fresh)
                # A marker may be moved with an empty object; nothing else here is good.
                if not 400 <= answer.status < 500 and not (path.endswith("/read") and answer.status == 200):
                    wrong.append((method, path, body[:40], answer))
                elif answer.status >= 400:
                    check_envelope(answer, (path, body[:40]))
            answer = await http(server, method, path, b"{}", user=fresh, headers={"Content-Type": "text/plain"})
            if answer.status not in (400, 415):
                wrong.append((method, path, "text/plain", answer))
            answer = await http(server, method, path, b'{"content":"' + b"x" * 12 * MIB + b'"}', user=fresh)
            if answer.status not in (400, 413):
                wrong.append((method, path, "12 MiB", answer))
        assert not wrong, wrong
    after = await server.query(
        "select (select count(*) from conversations where id <> $1) c,"
        " (select count(*) from messages where conversation_id <> $1) m",
        fresh + 1,
    )
    assert [tuple(row) for row in after] == [tuple(row) for row in before]


@pytest.mark.parametrize(
    "authorization",
    ["x", "Bearer", "Bearer ", "Basic eDp5", "Bearer a.b.c", "Bearer " + "x" * 9000, "Bearer grk_1_2", "Bearer \xff"],
)
async def test_a_credential_that_is_none_is_401_on_every_road(server, fresh, authorization):
    for path in ("/api/conversations", "/api/ws/token"):
        answer = await http(server, "GET", path, headers={"Authorization": authorization})
        assert answer.status == 401, answer
        check_envelope(answer, path)
    for protocol in ("greenroom.v1", None):
        async with open_sockets() as nursery:
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, server, protocol=protocol, headers=[("Authorization", authorization)])
            assert refused.value.status == 401


BAD_UPGRADES = {
    "no key": (b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
               b"Sec-WebSocket-Version: 13\r\n\r\n"),
    "an old version": (b"GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                       b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 8\r\n\r\n"),
    "by POST": (b"POST /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nContent-Length: 0\r\n"
                b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"),
    "another path": upgrade_request("/api/health"),
    "no path at all": upgrade_request("/nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_UPGRADES)
async def test_a_malformed_upgrade_is_refused(server, name):
    request = BAD_UPGRADES[name].replace(
        b"Host: x\r\n", b"Host: x\r\nAuthorization: Bearer %s\r\n" % server.token(1).encode()
    )
    with trio.fail_after(5):
        answer = await raw_http(server.port, request.replace(b"Connection: Upgrade", b"Connection: Upgrade, close"))
    assert 400 <= answer.status < 500, answer
    assert b"Traceback" not in answer.body
    if name == "an old version":
        assert answer.status == 426
        assert answer.headers["sec-websocket-version"] == "13"
        check_envelope(answer, "/ws")


async def test_slow_and_silent_connections_disturb_nobody_and_end(server, fresh):
    async with bystander(server, fresh):
        before, socks = server.usage().descriptors, []
        for number in range(200):
            sock = await connect_tcp(server.port)
            await send_all(sock, b"GET /api/health HT"[: number % 18])
            socks.append(sock)
        await wait_until(lambda: server.usage().descriptors < before + 190 and server.usage(), 5)
        for sock in socks[:100]:
            cut(sock)
        await wait_until(lambda: server.usage().descriptors > before + 110 and server.usage(), 5)
        for sock in socks[100:]:
            with trio.fail_after(20):  # the head must be there within 10 s, its first byte within 15
                with suppress(ConnectionResetError):
                    while await receive_some(sock):
                        pass
            sock.close()


async def test_an_upgrade_and_a_frame_in_one_segment_on_any_path_a_thousand_times(server, fresh):
    await server.make_people(fresh)
    before = server.usage()
    paths = ["/", "/ws", "/api/health", "/nowhere", "/api/ws/token", "/docs", "/ws?token=x", "/api/conversations"]
    frames = [frame("{}"), frame(b"", 8), b"\xff" * 40, frame(b"x" * 125, 9), frame(b"x" * 2000, 2), b"\x88\x7e\xff"]

    async def one(number: int) -> None:
        sock = await connect_tcp(server.port)
        try:
            headers = [] if number % 3 else [("Sec-WebSocket-Protocol", "greenroom.v1")]
            await send_all(sock, upgrade_request(paths[number % 8], headers, server.port) + frames[number % 6])
            with trio.move_on_after(5), suppress(ConnectionResetError):
                await receive_some(sock)
        finally:
            sock.close()

    async with bystander(server, fresh):
        for start in range(0, 1000, 50):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 50):
                    nursery.start_soon(one, number)
    await wait_until(lambda: server.usage().is_more_than(before, spare=3) and (before, server.usage()), 20)
    assert server.usage().memory_bytes < before.memory_bytes + 20 * MIB


async def test_a_frame_in_the_same_segment_as_the_request_and_one_upon_the_101_are_never_lost(server, fresh):
    await server.make_people(fresh)
    lost = []

    async def one(number):
        async with open_sockets() as nursery:
            early = frame('{"type":"ping","id":"early"}') if number % 2 else b""
            sock = await Socket.open(nursery, server, fresh, early=early)
            await sock.send({"type": "ping", "id": "first"})
            await wait_until(lambda: "first" not in sock.replies and f"the pong; {sock.events}", 10)
            if early and "early" not in sock.replies:
                lost.append(number)

    for _ in range(6):
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(one, number)
    assert not lost


async def test_five_hundred_connects_and_disconnects_leave_nothing_behind():
    with ServerProcess(ENVIRONMENT="development") as server:  # where its tasks can be counted
        await trio.to_thread.run_sync(server.start)
        await connect_and_disconnect(server)


async def connect_and_disconnect(server):
    users = list(range(1, 51))
    room = await server.make_room(1, users)

    async def one(number):
        async with open_sockets() as nursery:
            sock = await Socket.open(
                nursery, server, users[number % 50], protocol=None if number % 3 == 0 else "greenroom.v1"
            )
            if number % 3:
                await sock.start(room)
            else:
                await sock.send({"type": "join_conversation", "conversationId": room})
                await sock.expect("conversation_joined")
            if number % 4 == 0:
                await sock.close()
            elif number % 4 == 1:
                sock.half_close()

    async def round_trip():
        for start in range(0, 500, 50):
            async with trio.open_nursery() as nursery:
                for number in range(start, start + 50):
                    nursery.start_soon(one, number)

    async def grown():
        before, tasks = server.usage(), server.tasks()
        await round_trip()
        await wait_until(lambda: server.usage().is_more_than(before, spare=2) and (before, server.usage()), 20)
        await wait_until(lambda: server.tasks() > tasks and (tasks, server.tasks()), 20)
        # A worker of trio's ends when it had nothing to do for 10 s.
        await wait_until(lambda: server.usage().threads > before.threads and (before, server.usage()), 30, every=0.1)
        after = server.usage()
        print(f"before {before}, after {after}, pid {os.getpid()}")
        return after.memory_bytes - before.memory_bytes

    await round_trip()
    await round_trip()
    await wait_until(lambda: server.usage().descriptors > 60 and server.usage(), 20)
    await grows_once_at_most(1.5, grown)
