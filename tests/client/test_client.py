"""The client against a scripted server, over real sockets: for what the real one does once in a blue moon.

What the real server does, and every cut of the line, is in tests/clients/. The JavaScript client has the same tests in
clients/js/test.
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

from greenroom.client import (
    CaughtUp,
    Client,
    ClientRefused,
    Confirmed,
    Connected,
    Delayed,
    Disconnected,
    Entered,
    Event,
    Member,
    Missed,
    Other,
    OutboxFull,
    Person,
    Personal,
    Presence,
    Refused,
    Replaced,
    RoomRefused,
    Said,
    ServerAway,
    Typing,
    Undelivered,
    Watched,
    open_client,
)
from greenroom.client.asking import Asking, Reply
from greenroom.client.backoff import HEEDED_SECONDS_MAX
from greenroom.client.client import EVENTS_MAX
from greenroom.client.connection import _End
from greenroom.client.frame_limit import FrameLimit
from greenroom.client.frames import entries as entries_of
from greenroom.client.frames import frames_of
from greenroom.client.outbox import LINES_MAX
from greenroom.client.pace import Pace
from greenroom.client.requests import ask
from greenroom.http.ws import codes
from greenroom.http.ws.limits_told import limits_told
from greenroom.http.ws.services import SettingLimits

ROOM = 42
WAIT_SECONDS_MAX = 10.0
T = TypeVar("T", bound=Event)
LIMITS = limits_told(SettingLimits()) | {"inflight": 64, "rooms": 100, "summaries": 1000, "commands": 100}
HELLO = {
    "v": 1,
    "node": "here",
    "conn": "c",
    "now": 1,
    "features": [],
    "limits": LIMITS,
    "hb": 25000,
    "hbGrace": 10000,
    "authWithin": 10000,
}
FOURTH = {"id": 4, "seq": 4, "ts": 1, "sender": 8, "senderName": "Ben", "body": "m4"}
PLACE = {"read": 0, "unread": 0, "mention": 0, "members": 2, "mode": "full"}
EARLY: tuple[dict[str, Any], ...] = (  # before `ready`: a room that has answered is heard at once, another may be slow
    {"type": "typing", "room": ROOM, "data": {"users": [9], "names": {"9": "Cem"}}},
    {"type": "member", "room": ROOM, "seq": 1, "ts": 1, "data": {"user": 9, "change": "joined", "role": "member"}},
    {"type": "block", "useq": 1, "ts": 1, "data": {"user": 9, "blocked": True}},
    {"type": "presence_state", "data": {"users": [{"user": 9, "name": "Cem", "status": "online", "activity": ""}]}},
    {"type": "of tomorrow", "room": ROOM, "data": {}},
)
ERRORS = {code.number: code for code in vars(codes).values() if isinstance(code, codes.ErrorCode)}
IN_ROOM = ("join", "leave", "read", "history", "members", "edit")  # commands whose acks say where


class Line:
    """One connection, seen from the server."""

    def __init__(self, socket: WebSocketConnection, credential: str) -> None:
        self.socket = socket
        self.credential = credential
        self.start: dict[str, Any] = {}
        self.stream: dict[str, int] = {"useq": 0, "userEpoch": 1}

    async def say(self, *frames: dict[str, Any]) -> None:
        for frame in frames:
            await self.socket.send_message(json.dumps(frame))

    async def ready(self, *rooms: tuple[int, int, int]) -> None:
        """Let it in: (room, top, epoch)."""
        await self.ready_with(*({**PLACE, "r": room, "top": top, "epoch": epoch} for room, top, epoch in rooms))
        await self.say({"type": "live", "data": {"rooms": [room for room, _, _ in rooms]}})

    async def ready_with(self, *items: dict[str, Any], **more: Any) -> None:
        who = {"user": 7, "name": "Ann", "device": "", "session": "c", "resumed": True}
        await self.say({"type": "ready", "id": "start", "data": {**who, **self.stream, "rooms": items, **more}})

    async def message(self, seq: int, **data: Any) -> None:
        told = {"id": seq, "sender": 8, "senderName": "Ben", "body": f"m{seq}", **data}
        await self.say({"type": "message", "room": ROOM, "seq": seq, "ts": 1, "data": told})

    async def personal(self, useq: int, kind: str = "block") -> None:
        await self.say({"type": kind, "useq": useq, "ts": 1000 + useq, "data": {"user": useq, "blocked": True}})

    async def heard(self, kind: str) -> dict[str, Any]:
        """The next command, which must be of this kind."""
        with trio.fail_after(WAIT_SECONDS_MAX):
            frame: dict[str, Any] = json.loads(await self.socket.get_message())
        assert frame["type"] == kind, frame
        return frame

    async def ack(self, command: dict[str, Any], **data: Any) -> None:
        where = {"room": command["room"]} if command.get("type") in IN_ROOM else {}
        await self.say({"type": "ack", "id": command["id"], **where, "data": data})

    async def error(self, command: dict[str, Any], code: int, **more: Any) -> None:
        error = ERRORS[code]
        told = {"code": code, "error": error.name, "message": f"error {code}", "category": error.category}
        told |= {"recoverable": error.is_recoverable, **more}
        await self.say({"type": "error", "id": command["id"], "data": told})

    async def closed(self) -> int:
        """With what the other side closes."""
        try:
            with trio.fail_after(WAIT_SECONDS_MAX):
                while True:
                    await self.socket.get_message()
        except ConnectionClosed as closed:
            return int(closed.reason.code)


class Scripted:
    """A server whose next connection the test takes in its hands."""

    def __init__(self, hello: dict[str, Any]) -> None:
        self.hello = hello
        self.url = ""
        self._put, self._lines = trio.open_memory_channel[Line](10)

    async def serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol="greenroom.v1")
        headers = {bytes(name).lower(): bytes(value) for name, value in request.headers}
        line = Line(socket, headers[b"authorization"].decode().removeprefix("Bearer "))
        await line.say({"type": "hello", "data": self.hello})
        await self._put.send(line)
        await trio.sleep_forever()

    async def line(self) -> Line:
        """The next connection, with its start."""
        with trio.fail_after(WAIT_SECONDS_MAX):
            line = await self._lines.receive()
        line.start = (await line.heard("start"))["data"]
        return line


@asynccontextmanager
async def scripted_server(**hello: Any) -> AsyncIterator[Scripted]:
    server = Scripted(HELLO | hello)
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(serve_websocket, server.serve, "127.0.0.1", 0, None))
        server.url = f"http://127.0.0.1:{serving.port}"
        yield server
        nursery.cancel_scope.cancel(reason="the test is over")


@asynccontextmanager
async def entered(token: Any = "a token", **hello: Any) -> AsyncIterator[tuple[Scripted, Client, Line]]:
    """A server, a client that is in ROOM, whose log is empty, and their connection."""
    async with (
        scripted_server(**hello) as server,
        open_client(server.url, token) as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.join, ROOM)
        line = await server.line()
        await line.ready((ROOM, 0, 1))
        await told(client, Connected)
        yield server, client, line
        nursery.cancel_scope.cancel(reason="the test is over")


async def told(client: Client, kind: type[T]) -> T:
    """The next event of this kind."""
    with trio.fail_after(WAIT_SECONDS_MAX):
        async for event in client.events:
            if isinstance(event, kind):
                return event
    raise AssertionError("no more events")


async def refusal_of(act: Callable[[], Awaitable[None]]) -> ClientRefused:
    """With what the client ends, out of whatever nurseries the test has around it."""
    refused: list[ClientRefused] = []
    try:
        await act()
    except* ClientRefused as group:
        leaf: BaseException = group
        while isinstance(leaf, BaseExceptionGroup):
            (leaf,) = leaf.exceptions
        assert isinstance(leaf, ClientRefused)
        refused.append(leaf)
    (found,) = refused
    return found


async def test_a_token_that_can_be_asked_for_is_asked_for_at_each_connection_and_once_more_after_4002():
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return f"token {asked}"

    async def come_and_be_expired() -> None:
        async with entered(token) as (server, client, first):
            assert first.credential == "token 1"
            await first.socket.aclose(4002, "token expired")
            assert (await told(client, Disconnected)).retry_seconds == 0
            second = await server.line()
            assert second.credential == "token 2"
            await second.socket.aclose(4002, "token expired")
            await trio.sleep(WAIT_SECONDS_MAX)

    refused = await refusal_of(come_and_be_expired)
    assert (refused.code, str(refused), asked) == (4002, "token expired", 2)


async def test_a_token_that_cannot_be_asked_for_ends_it_with_4002_at_once():
    async def be_expired() -> None:
        async with entered() as (_, _, line):
            await line.socket.aclose(4002, "token expired")
            await trio.sleep(WAIT_SECONDS_MAX)

    assert (await refusal_of(be_expired)).code == 4002


async def test_a_client_that_comes_back_as_another_user_ends_and_nothing_of_the_one_reaches_the_other():
    clients, lines = list[Client](), list[Line]()

    async def come_back(server: Scripted) -> None:
        async with open_client(f"{server.url}/elsewhere", "a token") as client:
            first = await server.line()
            await first.ready()
            await told(client, Connected)
            client.send(ROOM, "of the first")
            await first.heard("send")
            await first.socket.aclose(4200)
            await told(client, Disconnected)
            second = await server.line()  # its token is asked for at each connection: it may be somebody else's
            clients.append(client)
            lines.append(second)
            ready = {"type": "ready", "id": "start", "data": {"user": 8, "name": "Ben", "rooms": []}}
            await second.socket.send_message(json.dumps([ready, {"type": "of tomorrow"}]))
            await trio.sleep(WAIT_SECONDS_MAX)

    async with scripted_server() as server:
        refused = await refusal_of(partial(come_back, server))
        assert (refused.code, str(refused)) == (4001, "another user is signed in")
        with trio.fail_after(WAIT_SECONDS_MAX), pytest.raises(ConnectionClosed) as closed:
            await lines[0].socket.get_message()  # nothing was sent
        assert closed.value.reason.code == 1000
        (client,) = clients
        assert (client.user_id, client.unsent, client.is_connected) == (7, 1, False)
        with pytest.raises(trio.WouldBlock):
            client.events.receive_nowait()


async def test_what_comes_before_the_ready_of_another_user_is_not_told():
    clients = list[Client]()

    async def come_back() -> None:
        async with entered() as (server, client, first):
            await told(client, CaughtUp)
            await first.socket.aclose(4200)
            await told(client, Disconnected)
            clients.append(client)
            second = await server.line()
            await second.say(*EARLY)
            await second.ready_with(user=8, name="Ben")
            await trio.sleep(WAIT_SECONDS_MAX)

    assert (await refusal_of(come_back)).code == 4001
    (client,) = clients
    assert client._rooms[ROOM].log.seq == 0
    with pytest.raises(trio.WouldBlock):
        client.events.receive_nowait()


async def test_what_comes_before_ready_is_told_after_connected_in_order_and_not_if_the_connection_is_lost_before():
    async with entered() as (server, client, first):
        await told(client, CaughtUp)
        await first.socket.aclose(4200)
        await told(client, Disconnected)
        second = await server.line()
        await second.say({"type": "typing", "room": ROOM, "data": {"users": [8], "names": {"8": "Ben"}}})
        await second.socket.aclose(4200)
        with trio.fail_after(WAIT_SECONDS_MAX):
            assert isinstance(await client.events.receive(), Disconnected)
        third = await server.line()
        await third.say(*EARLY)
        await third.ready((ROOM, 1, 1))
        await third.message(2)
        events = list[Event]()
        with trio.fail_after(WAIT_SECONDS_MAX):
            while not events or not isinstance(events[-1], Said):
                events.append(await client.events.receive())
        kinds = [Connected, Entered, Typing, Member, Personal, Watched, Other, CaughtUp, Said]
        assert [type(event) for event in events] == kinds
        assert events[2] == Typing(ROOM, {9: "Cem"})


async def test_that_we_left_a_room_is_over_where_ready_lets_us_in_again():
    async with entered() as (server, client, first):
        await told(client, CaughtUp)
        await first.socket.aclose(4200)
        await told(client, Disconnected)
        second = await server.line()
        for seq, change in ((1, "left"), (2, "joined")):
            data = {"user": 7, "change": change, "role": "member"}
            await second.say({"type": "member", "room": ROOM, "seq": seq, "ts": 1, "data": data})
        await second.ready((ROOM, 2, 1))
        await second.ack(await second.heard("history"), messages=[], skip=[1], top=2, epoch=1)
        events = list[Event]()
        with trio.fail_after(WAIT_SECONDS_MAX):
            while not events or not isinstance(events[-1], CaughtUp):
                events.append(await client.events.receive())
        assert [type(event) for event in events] == [Connected, Entered, Member, CaughtUp]
        assert events[2] == Member(ROOM, 7, is_active=True, seq=2, at_ms=1, role="member")


async def test_a_token_function_that_fails_is_tried_again_unless_it_says_that_there_is_no_use():
    async def token() -> str:
        fault = faults.pop(0)
        raise fault

    faults: list[Exception] = [OSError("the network is away"), ClientRefused(0, "signed out")]

    async def ask_twice() -> None:
        async with open_client("http://127.0.0.1:9", token) as client:
            assert "the network is away" in (await told(client, Disconnected)).why
            await trio.sleep(WAIT_SECONDS_MAX)

    assert str(await refusal_of(ask_twice)) == "signed out"


async def test_token_expiring_is_answered_with_refresh_on_the_same_connection():
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return f"token {asked}"

    async with entered(token) as (_, client, line):
        await line.say({"type": "token_expiring", "data": {"at": 1}})
        refresh = await line.heard("refresh")
        assert refresh["data"] == {"token": "token 2"}
        await line.ack(refresh, expires=None)
        await line.say({"type": "token_expiring", "data": {"at": 1}})
        await line.error(await line.heard("refresh"), 1004)  # of a server that does not know it
        await line.message(1)
        assert (await told(client, Said)).seq == 1
        assert client.is_connected


async def test_the_token_is_renewed_once_at_a_time_however_often_the_server_says_that_it_expires():
    asked, may_go = 0, trio.Event()

    async def token() -> str:
        nonlocal asked
        asked += 1
        if asked > 1:
            await may_go.wait()
        return f"token {asked}"

    async with entered(token) as (_, client, line):
        for _ in range(50):
            await line.say({"type": "token_expiring", "data": {"at": 1}})
        await line.message(1)
        assert (await told(client, Said)).seq == 1
        assert asked == 2
        may_go.set()
        first = await line.heard("refresh")
        await line.say({"type": "token_expiring", "data": {"at": 2}})  # of the new one, maybe
        await line.message(2)
        assert (await told(client, Said)).seq == 2
        assert asked == 2
        await line.ack(first, expires=None)
        second = await line.heard("refresh")
        assert second["data"] == {"token": "token 3"}
        await line.ack(second, expires=None)
        await line.say({"type": "token_expiring", "data": {"at": 3}})
        assert (await line.heard("refresh"))["data"] == {"token": "token 4"}


async def test_a_token_that_comes_when_the_connection_that_it_was_asked_for_is_lost_is_shown_to_nobody():
    asked, late = 0, trio.Event()

    async def token() -> str:
        nonlocal asked
        asked += 1
        name = f"token {asked}"
        if asked == 2:
            await late.wait()
        if asked == 3:
            late.set()  # it comes behind this one, and before the next connection is there
        return name

    async with entered(token) as (server, client, first), trio.open_nursery() as nursery:
        await first.say({"type": "token_expiring", "data": {"at": 1}})
        await first.message(1)
        await told(client, Said)
        await first.socket.aclose(4200)
        second = await server.line()
        assert second.credential == "token 3"
        await second.ready((ROOM, 1, 1))
        await told(client, Connected)
        nursery.start_soon(client.request, "members", ROOM)
        await second.ack(await second.heard("members"), members=[])  # and no `refresh`


async def test_no_wait_that_a_server_names_is_heeded_for_longer_than_five_minutes():
    async with entered() as (_, client, line):
        client.send(ROOM, "later")
        await line.error(await line.heard("send"), 4291, recoverable=True, retryAfter=86_400)
        assert (await told(client, Delayed)).retry_seconds == HEEDED_SECONDS_MAX == 300
        await line.say({"type": "slow_down", "data": {"class": "cmds", "retryAfter": 86_400}})
        await line.message(1)
        await told(client, Said)
        assert 299 < client._pace.wait_seconds("cmds", trio.current_time()) <= 300

    async with scripted_server() as server, open_client(server.url, "a token") as client:
        line = await server.line()
        await line.error({"id": "start"}, 5002, retryAfter=86_400)
        assert 300 <= (await told(client, Disconnected)).retry_seconds < 301


async def test_a_message_right_behind_the_answer_to_a_join_is_not_lost():
    for _ in range(10):  # which of two tasks goes first is by chance
        async with (
            scripted_server() as server,
            open_client(server.url, "a token") as client,
            trio.open_nursery() as nursery,
        ):
            line = await server.line()
            await line.ready()
            await told(client, Connected)
            nursery.start_soon(client.join, ROOM)
            asked = await line.heard("join")
            async with trio.open_nursery() as together:
                together.start_soon(partial(line.ack, asked, **PLACE, r=ROOM, epoch=1, top=5))
                await trio.testing.wait_all_tasks_blocked()
                together.start_soon(line.message, 6)
            assert (await told(client, Said)).seq == 6


async def test_a_hole_is_filled_from_history_and_a_skip_takes_its_place():
    async with entered() as (_, client, line):
        for seq in (1, 1, 2, 5):
            await line.message(seq)
        asked = await line.heard("history")
        assert asked["data"]["after"] == 2
        page = [FOURTH | {"id": seq, "seq": seq, "body": f"m{seq}"} for seq in (3, 4)]
        await line.ack(asked, messages=page, top=7, epoch=1)
        await line.say(
            {"type": "skip", "room": ROOM, "seq": 6}, {"type": "of tomorrow", "room": ROOM, "seq": 7, "data": {}}
        )
        await line.message(8)
        assert [(await told(client, Said)).seq for _ in range(6)] == [1, 2, 3, 4, 5, 8]


async def test_a_log_that_was_replaced_while_the_line_was_cut_between_ready_and_gap_is_still_found_out():
    async with entered() as (server, client, first):
        await first.message(1)
        await told(client, Said)
        await first.socket.aclose(4200)
        second = await server.line()  # the database was restored meanwhile
        await second.ready((ROOM, 0, 2))
        await second.socket.aclose(4200)
        third = await server.line()
        assert third.start["resume"]["rooms"] == {str(ROOM): {"seq": 1, "epoch": 1}}
        await third.ready((ROOM, 0, 2))
        await third.say({"type": "gap", "room": ROOM, "data": {"from": 1, "to": 0, "top": 0, "reset": True}})
        await told(client, Replaced)
        await third.message(1)
        assert (await told(client, Said)).seq == 1


async def test_everybody_who_waits_until_all_is_sent_is_told():
    async with entered() as (_, client, line):
        client.send(ROOM, "hello")
        with trio.fail_after(WAIT_SECONDS_MAX):
            async with trio.open_nursery() as nursery:
                for _ in range(2):
                    nursery.start_soon(client.wait_sent)
                await trio.testing.wait_all_tasks_blocked()
                await line.ack(await line.heard("send"), messageId=1, seq=1, ts=1)


async def test_a_line_whose_ack_was_lost_is_confirmed_by_its_own_copy():
    async with entered() as (server, client, first):
        client_id = client.send(ROOM, "hello")
        client.send(ROOM, "and on")
        assert [line.body for line in client.pending(ROOM)] == ["hello", "and on"]
        assert (await first.heard("send"))["data"] == {"body": "hello", "clientId": client_id}
        await first.socket.aclose(4200)
        second = await server.line()
        await second.ready((ROOM, 1, 1))
        again = await second.heard("send")
        assert again["data"]["clientId"] == client_id
        await second.message(1, sender=7, body="hello", clientId=client_id)
        assert await told(client, Confirmed) == Confirmed(ROOM, client_id, 1)
        other = await second.heard("send")
        await second.ack(again, messageId=1, seq=1, ts=1, duplicate=True)
        await second.ack(other, messageId=2, seq=2, ts=1)
        await client.wait_sent()
        assert (client.unsent, client.pending(ROOM)) == (0, [])


async def test_an_error_that_may_pass_is_waited_out_and_one_for_good_is_told():
    async with entered() as (_, client, line):
        client_id = client.send(ROOM, "too fast")
        client.send(ROOM, "next")
        before = trio.current_time()
        await line.error(await line.heard("send"), 4291, recoverable=True, retryAfter=1)
        assert await told(client, Delayed) == Delayed(ROOM, client_id, 1.0, "error 4291")
        again = await line.heard("send")
        assert again["data"]["clientId"] == client_id
        assert trio.current_time() - before >= 1.0
        await line.error(again, 1005, recoverable=False)
        assert await told(client, Undelivered) == Undelivered(ROOM, client_id, "too fast", 1005, "error 1005")
        assert (await line.heard("send"))["data"]["body"] == "next"


UNREADABLE = [
    {"type": "ack", "data": {}},
    {"type": "ack", "data": {"seq": "1"}},
    {"type": "error", "data": {"error": "X", "recoverable": False}},
    {"type": "error", "data": {"code": {}, "error": "X", "recoverable": True}},
    {"type": "error", "data": {"code": 4291, "error": "X", "recoverable": True, "retryAfter": {}}},
    {"type": "error", "data": {"code": 4291, "error": "X", "recoverable": True, "retryAfter": 10**400}},
]


@pytest.mark.parametrize("answer", UNREADABLE, ids=[f"{one['type']} {number}" for number, one in enumerate(UNREADABLE)])
async def test_of_an_answer_that_cannot_be_read_the_line_is_said_again(answer: dict[str, Any]):
    """It was forgotten, or its room held for ever; a number beyond all floats ended the client."""
    async with scripted_server() as server, open_client(f"{server.url}/elsewhere", "t") as client:
        first = await server.line()
        await first.ready()
        client_id = client.send(ROOM, "hello")
        await first.say({**answer, "id": (await first.heard("send"))["id"]})
        assert "no greenroom" in (await told(client, Disconnected)).why
        second = await server.line()
        await second.ready()
        again = await second.heard("send")
        assert again["data"]["clientId"] == client_id
        await second.ack(again, messageId=1, seq=1, ts=1)
        assert await told(client, Confirmed) == Confirmed(ROOM, client_id, 1)


@pytest.mark.parametrize("answer", [{"code": {}, "error": "X"}, {"code": None, "error": "X"}, {"error": "X"}], ids=str)
async def test_an_error_without_a_number_costs_a_try_and_not_the_client(answer: dict[str, Any]):
    async with (
        scripted_server() as server,
        open_client(f"{server.url}/elsewhere", "t") as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(client.watch, [8])
        first = await server.line()
        await first.ready()
        await first.say({"type": "error", "id": (await first.heard("watch"))["id"], "data": answer})
        assert "no greenroom" in (await told(client, Disconnected)).why
        second = await server.line()
        await second.ready()
        await second.ack(await second.heard("watch"), watching=[8], refused=[])


async def test_a_line_that_an_earlier_client_was_given_is_said_again_under_its_id():
    async with entered() as (_, client, line):
        assert client.send(ROOM, "kept", client_id="an id of before") == "an id of before"
        sent = await line.heard("send")
        assert sent["data"] == {"body": "kept", "clientId": "an id of before"}
        await line.ack(sent, messageId=1, seq=1, ts=1, duplicate=True)
        await client.wait_sent()


async def test_whatever_a_client_id_is_each_answer_finds_what_was_asked():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:
        answers: list[dict[str, Any]] = []
        answered = trio.Event()

        async def ask() -> None:
            answers.append(await client.request("members", ROOM))
            answered.set()

        nursery.start_soon(ask)
        asked = await line.heard("members")
        client_ids = ["c1", "c2", "c3", "c4", "start", "x" * 65, "x" * 255, "ключ\n"]
        for client_id in client_ids:
            assert client.send(ROOM, f"said as {client_id}", client_id=client_id) == client_id
        client.send(43, "elsewhere", client_id="c1")
        sent = [await line.heard("send"), await line.heard("send")]
        assert len({asked["id"], *(command["id"] for command in sent)}) == 3
        await line.ack(sent[1], messageId=9, seq=9, ts=1)
        assert await told(client, Confirmed) == Confirmed(43, "c1", 9)
        command = sent[0]
        for seq, client_id in enumerate(client_ids, 1):
            assert (command["data"]["clientId"], len(command["id"]) <= 64) == (client_id, True)
            await line.ack(command, messageId=seq, seq=seq, ts=1)
            assert await told(client, Confirmed) == Confirmed(ROOM, client_id, seq)
            command = await line.heard("send") if client_id != client_ids[-1] else {}
        assert (answers, client.unsent) == ([], 0)
        await line.ack(asked, members=[])
        with trio.fail_after(WAIT_SECONDS_MAX):
            await answered.wait()
        assert answers == [{"members": []}]


async def test_a_client_id_that_is_pending_is_the_same_line_or_refused_at_the_door():
    async with entered() as (_, client, line):
        for _ in range(2):
            client.send(ROOM, "once", client_id="k")
        with pytest.raises(Refused, match="another line waits") as caught:
            client.send(ROOM, "else", client_id="k")
        assert (caught.value.code, client.unsent) == (codes.CLIENT_ID_CONFLICT.number, 1)
        client.send(43, "else", client_id="k")
        sent = [await line.heard("send"), await line.heard("send")]
        assert [(command["room"], command["data"]["body"]) for command in sent] == [(ROOM, "once"), (43, "else")]
        for command in sent:
            await line.ack(command, messageId=1, seq=1, ts=1)
        assert [(await told(client, Confirmed)).room_id for _ in range(2)] == [ROOM, 43]
        await client.wait_sent()


async def test_a_message_of_ours_that_says_something_else_under_the_client_id_of_a_line_does_not_confirm_it():
    async with entered() as (_, client, line):
        client.send(ROOM, "of now", client_id="k")
        sent = await line.heard("send")
        await line.message(1, sender=7, body="of before", clientId="k")
        assert (await told(client, Said)).body == "of before"
        assert client.unsent == 1
        await line.error(sent, 3010)
        assert (await told(client, Undelivered)).code == 3010


async def test_what_is_no_line_is_refused_at_the_door_and_disturbs_nobody():
    async with entered() as (_, client, line):
        wrongs: list[dict[str, Any]] = [
            {"body": wrong} for wrong in (b"bytes", None, 42, ["a"], {"a": 1}, bytearray(b"x"))
        ]
        wrongs += [{"client_id": wrong} for wrong in ("", "x" * 256, 42, b"k")]
        wrongs += [{"attachments": wrong} for wrong in ({"k1": 1}, None, 7, b"k1", [b"k1"])]
        for wrong in wrongs:
            with pytest.raises(ValueError, match=r"no text|no client id|no keys of files"):
                client.send(ROOM, **{"body": "hello", **wrong})
        for edited in (b"bytes", None):
            with pytest.raises(ValueError, match="no text"):
                await client.edit(ROOM, 1, edited)  # type: ignore[arg-type]
        for seq in ("7", -1, 1.5, None, {1, 2}, True):
            with pytest.raises(ValueError, match="cannot be `seq`"):
                client.read(ROOM, seq)  # type: ignore[arg-type]
        for data in ({"a": {1}}, {"a": float("nan")}):
            with pytest.raises((TypeError, ValueError)):
                await client.request("members", ROOM, data)
        assert (client.unsent, len(client._asking)) == (0, 0)
        client.send(ROOM, "hello")
        assert (await line.heard("send"))["data"]["body"] == "hello"


async def test_how_many_are_recent_is_a_whole_number():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:
        wrongs: list[Any] = ["20", 1.5, -1, None, True, float("nan")]
        for wrong in wrongs:
            for room in (43, ROOM):  # also one that is joined already
                with pytest.raises(ValueError, match="cannot be `recent`"):
                    await client.join(room, recent=wrong)
        nursery.start_soon(partial(client.join, 43, recent=2))
        asked = await line.heard("join")
        await line.ack(asked, **PLACE, r=43, epoch=1, top=5)
        assert (await line.heard("history"))["data"]["after"] == 3
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("wrong", ["", "a token\n", " a token", "a\ttoken", "a\0token", "ü", "\ud800"], ids=repr)
async def test_a_token_that_no_header_can_carry_ends_the_client_with_4001(wrong: str):
    async def ask_for_it() -> str:
        return wrong

    for token in (wrong, ask_for_it):

        async def open_with(token: Any = token) -> None:
            async with open_client("http://127.0.0.1:9", token) as client:
                with trio.fail_after(WAIT_SECONDS_MAX):
                    await client.join(ROOM)

        async def ask_with(token: Any = token) -> None:
            async with open_client("http://127.0.0.1:9", token) as client:
                await client.http("GET", "/api/conversations")

        for act in (open_with, ask_with):
            refused = await refusal_of(act)
            assert (refused.code, "the token is" in str(refused)) == (4001, True)


async def test_what_a_function_answers_that_is_no_text_is_no_token():
    for wrong in (None, b"a token", 42):

        async def token(wrong: Any = wrong) -> Any:
            return wrong

        async def open_with(token: Any = token) -> None:
            async with open_client("http://127.0.0.1:9", token) as client:
                await client.join(ROOM)

        assert (await refusal_of(open_with)).code == 4001


async def test_what_it_cannot_work_with_is_refused_before_it_is_opened():
    wrongs: list[dict[str, Any]] = [{"url": wrong} for wrong in ("ftp://x", "127.0.0.1:8787", b"http://x", None)]
    wrongs += [{"url": f"http://{name}"} for name in ("a..b", "x" * 64)]
    wrongs += [{"token": wrong} for wrong in (None, b"a token", 42)]
    wrongs += [{"device": wrong} for wrong in (None, b"phone", "x" * 65)]
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"no address|a token is|no name of a device"):
            async with open_client(**{"url": "http://127.0.0.1:9", "token": "t", **wrong}):
                raise AssertionError("it is open")


async def test_the_address_may_be_one_of_a_socket():
    async with scripted_server() as server:
        url = server.url.replace("http://", "WS://someone@") + "/"
        async with open_client(url, "a token") as client:
            line = await server.line()
            await line.ready()
            await told(client, Connected)
            assert client.url == server.url


async def test_on_each_connection_it_is_told_how_a_room_stands():
    async with entered() as (server, client, first):
        assert await told(client, Entered) == Entered(ROOM, 0, 0, 0, 2)
        await first.socket.aclose(4200)
        item = {"r": ROOM, "epoch": 1, "top": 9, "read": 7, "unread": 2, "mention": 0, "members": 3, "mode": "full"}
        await (await server.line()).ready_with(item)
        assert await told(client, Entered) == Entered(ROOM, 9, 7, 2, 3)


async def test_a_line_that_no_frame_can_carry_is_told_and_never_sent():
    async with entered(limits=LIMITS | {"frame": 400}) as (_, client, line):
        client.send(ROOM, "ü" * 200)
        client.send(ROOM, "short")
        assert (await told(client, Undelivered)).code == 1003
        assert (await line.heard("send"))["data"]["body"] == "short"


async def test_a_connection_that_is_closed_with_1009_gives_up_the_line_that_was_too_big():
    async with entered() as (_, client, line):
        client.send(ROOM, "too big for who sits in between")
        await line.heard("send")
        await line.socket.aclose(1009)
        assert (await told(client, Undelivered)).code == 1003
        assert (await told(client, Disconnected)).retry_seconds >= 1


async def test_a_command_that_no_frame_can_carry_is_refused_and_never_sent():
    async with entered(limits=LIMITS | {"frame": 400}) as (_, client, line), trio.open_nursery() as nursery:
        for act in (
            partial(client.edit, ROOM, 1, "ü" * 200),
            partial(client.request, "report", ROOM, {"reason": "x" * 400}),
        ):
            with trio.fail_after(WAIT_SECONDS_MAX), pytest.raises(Refused) as refused:
                await act()
            assert refused.value.code == 1003
        assert (len(client._asking), client.is_connected) == (0, True)
        nursery.start_soon(client.request, "members", ROOM)
        await line.ack(await line.heard("members"), members=[])


@pytest.mark.parametrize("is_answered", [False, True])
async def test_a_connection_that_is_closed_with_1009_costs_no_line_anything_when_a_command_was_longer(
    is_answered: bool,
):
    async def edit() -> None:
        try:
            await client.edit(ROOM, 1, "x" * 500)
        except ServerAway:
            outcomes.append("away")
        else:
            outcomes.append("edited")
        edited.set()

    outcomes, edited = list[str](), trio.Event()
    async with entered() as (server, client, first), trio.open_nursery() as nursery:
        nursery.start_soon(edit)
        asked = await first.heard("edit")
        if is_answered:  # it got through, and so does what is shorter
            await first.ack(asked, messageId=1, seq=2, ts=1)
            with trio.fail_after(WAIT_SECONDS_MAX):
                await edited.wait()
        client.send(ROOM, "short")
        await first.heard("send")
        await first.socket.aclose(1009)
        await told(client, Disconnected)
        with trio.fail_after(WAIT_SECONDS_MAX):
            await edited.wait()
        assert outcomes == ["edited" if is_answered else "away"]
        second = await server.line()
        await second.ready((ROOM, 0, 1))
        await second.ack(await second.heard("send"), messageId=1, seq=1, ts=1)
        await told(client, Confirmed)


async def test_a_connection_that_is_closed_with_1009_costs_no_line_anything_when_its_start_was_longer():
    async with scripted_server() as server, open_client(server.url, "a token", device="ü" * 64) as client:
        first = await server.line()
        await first.ready()  # it got through, and so does what is shorter
        await told(client, Connected)
        client.send(ROOM, "short")
        await first.heard("send")
        await first.socket.aclose(1009)
        with trio.fail_after(WAIT_SECONDS_MAX):
            assert isinstance(await client.events.receive(), Disconnected)
        second = await server.line()
        await second.ready()
        await second.ack(await second.heard("send"), messageId=1, seq=1, ts=1)
        await told(client, Confirmed)


async def test_of_several_lines_a_connection_that_is_closed_with_1009_gives_up_the_longest_with_all_that_goes_with_it():
    async with entered() as (server, client, first), trio.open_nursery() as nursery:
        nursery.start_soon(client.watch, [8])  # is under way as well
        await first.heard("watch")
        client.send(ROOM, "files", attachments=["k" * 100])
        client.send(43, "x" * 50)
        client.send(44, "ü" * 40)
        for _ in range(3):
            await first.heard("send")
        await first.socket.aclose(1009)
        assert (await told(client, Undelivered)).body == "files"
        second = await server.line()
        await second.ready((ROOM, 0, 1))
        assert [(await second.heard("send"))["room"] for _ in range(2)] == [43, 44]
        await second.socket.aclose(1009)
        assert (await told(client, Undelivered)).room_id == 44
        third = await server.line()
        await third.ready((ROOM, 0, 1))
        await third.ack(await third.heard("send"), messageId=1, seq=1, ts=1)
        assert (await told(client, Confirmed)).room_id == 43
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_more_than_it_keeps_is_refused():
    async with open_client("http://127.0.0.1:9", "a token") as client:
        for _ in range(LINES_MAX):
            client.send(ROOM, "said")
        with pytest.raises(OutboxFull):
            client.send(ROOM, "one more")


async def test_it_moves_when_the_server_says_so_at_its_own_moment_and_nobody_needs_to_be_told():
    async with entered() as (server, client, line):
        client.send(ROOM, "under way")
        await line.heard("send")
        before = trio.current_time()
        await line.say(
            {"type": "reconnect", "data": {"after": 200, "deadline": 400, "reason": "drain", "resume": True}}
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(closed_with, line.closed, 1000)
            moved = await server.line()
            assert 0.19 <= trio.current_time() - before < 3.0
        await moved.ready((ROOM, 0, 1))
        assert (await moved.heard("send"))["data"]["body"] == "under way"
        lost = await told(client, Disconnected)
        assert (lost.code, lost.is_expected) == (4200, True)
        await told(client, Connected)
        await moved.socket.aclose(1012)
        lost = await told(client, Disconnected)
        assert (lost.code, lost.is_expected) == (1012, True)


async def test_what_comes_in_the_moment_of_a_move_is_left_to_the_next_connection():
    """It was handed over when the conversation was cancelled: a log that took it could not tell it any more."""
    async with entered() as (server, client, _), trio.open_nursery() as nursery:
        await told(client, Entered)
        client._connection._over(_End(4200, "the server asks to connect again", wait=0.0))
        data = {"id": 1, "sender": 8, "body": "m1"}
        heard = json.dumps({"type": "message", "room": ROOM, "seq": 1, "ts": 1, "data": data})
        await client._connection._heard(heard, nursery)
        assert client._rooms[ROOM].log.seq == 0
        moved = await server.line()
        await moved.ready((ROOM, 1, 1))
        await moved.message(1)
        assert (await told(client, Said)).seq == 1


async def test_a_move_in_the_middle_of_telling_waits_for_it():
    async with entered() as (server, client, line), trio.open_nursery() as nursery:
        await told(client, CaughtUp)
        for _ in range(EVENTS_MAX):  # somebody is told slowly
            client._told.send_nowait(Connected(7, "Ann", is_again=False))
        await line.message(1)
        await trio.sleep(0.2)  # it is taken, and waits to be told
        nursery.start_soon(client._connection._move_after, 0.0)  # it came before, and is due now
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert (await told(client, Said)).seq == 1
        moved = await server.line()
        assert moved.start["resume"]["rooms"] == {str(ROOM): {"seq": 1, "epoch": 1}}


async def test_what_the_server_did_not_ask_for_is_not_expected():
    async with entered() as (server, client, line):
        await line.socket.aclose(4201)
        assert not (await told(client, Disconnected)).is_expected
        await (await server.line()).ready((ROOM, 0, 1))


async def test_whoever_does_not_want_to_wait_does_not():
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        raise OSError("away")

    async with open_client("http://127.0.0.1:9", token) as client:
        for tries in range(1, 7):
            await told(client, Disconnected)
            assert asked == tries
            client.retry_now()


async def test_what_the_user_is_told_comes_once_and_in_order_and_a_hole_is_filled_by_sync():
    async with scripted_server() as server, open_client(server.url, "a token") as client:
        first = await server.line()
        first.stream["useq"] = 4
        await first.ready()
        for useq in (4, 5, 5, 8, 7):
            await first.personal(useq)
        assert await told(client, Personal) == Personal(5, "block", None, {"user": 5, "blocked": True}, 1005)
        asked = await first.heard("sync")
        assert asked["data"] == {"user": {"useq": 5, "epoch": 1}}
        for useq in (6, 7, 8):
            await first.personal(useq)
        await first.ack(asked, rooms=[])
        await first.personal(9, "of tomorrow")
        assert [(await told(client, Personal)).useq for _ in range(4)] == [6, 7, 8, 9]
        await first.socket.aclose(4200)
        second = await server.line()
        assert second.start["resume"]["user"] == {"useq": 9, "epoch": 1}
        second.stream["useq"] = 700
        await second.ready()
        await second.say({"type": "gap", "data": {"user": True, "from": 10, "to": 700, "top": 700}})
        assert await told(client, Missed) == Missed(10, 700, is_reset=False)
        await second.say({"type": "read_sync", "room": ROOM, "useq": 701, "ts": 1, "data": {"seq": 3}})
        assert (await told(client, Personal)).room_id == ROOM
        await second.socket.aclose(4200)
        third = await server.line()  # the database was restored meanwhile
        third.stream = {"useq": 20, "userEpoch": 2}
        await third.ready()
        await third.say({"type": "gap", "data": {"user": True, "from": 1, "to": 20, "top": 20, "reset": True}})
        assert (await told(client, Missed)).is_reset
        await third.personal(21)
        assert (await told(client, Personal)).useq == 21


async def test_a_class_that_is_told_to_slow_down_waits_and_typing_is_dropped():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:
        client.send(ROOM, "one too many")
        refused = await line.heard("send")
        before = trio.current_time()
        await line.say({"type": "slow_down", "data": {"class": "send", "retryAfter": 1}})
        await line.error(refused, 4291, recoverable=True, retryAfter=1)
        await line.personal(1)
        await told(client, Personal)  # and so it knows what was said before
        nursery.start_soon(client.join, 43)  # of another class
        await line.ack(await line.heard("join"), **PLACE, r=43, epoch=1, top=0)
        client.send(43, "held, too")
        sent = [await line.heard("send"), await line.heard("send")]
        assert trio.current_time() - before >= 0.9
        assert sorted(command["data"]["body"] for command in sent) == ["held, too", "one too many"]
        for at, command in enumerate(sent, 1):
            await line.ack(command, messageId=at, seq=1, ts=1)
        await client.wait_sent()
        before = trio.current_time()
        await line.say({"type": "slow_down", "data": {"class": "cmds", "retryAfter": 1}})
        await line.personal(2)
        await told(client, Personal)
        client.typing(ROOM, is_typing=True)
        client.read(ROOM, 1)
        client.read(ROOM, 2)
        nursery.start_soon(client.request, "members", ROOM)
        client.send(ROOM, "a command as well")
        heard = [json.loads(await line.socket.get_message()) for _ in range(3)]
        assert trio.current_time() - before >= 0.9
        assert sorted((command["type"], command["data"].get("seq")) for command in heard) == [
            ("members", None),
            ("read", 2),
            ("send", None),
        ]
        await line.ack(next(command for command in heard if command["type"] == "members"), members=[])
        await line.say({"type": "slow_down", "data": {"class": "cmds", "retryAfter": 30}})
        await line.personal(3)
        await told(client, Personal)
        nursery.start_soon(line.socket.aclose, 4200)
        with trio.fail_after(5), pytest.raises(ServerAway):  # not after half a minute
            await client.request("members", ROOM)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_what_waits_goes_in_the_order_in_which_it_was_said_and_of_one_marker_the_newest(mock_clock):
    def write(text):
        said.append(json.loads(text))

    pace, said, answers = Pace(), [], []
    async with trio.open_nursery() as nursery:
        asking = Asking(map("c{}".format, range(1, 9)), FrameLimit(), pace, write, nursery)

        async def ask(kind):
            answers.append(await asking.ask({"type": kind}, Reply()))

        async def ask_soon(kind):
            nursery.start_soon(ask, kind)
            await trio.testing.wait_all_tasks_blocked()

        asking.ready()
        pace.slow_down("cmds", 1.0, trio.current_time())
        for kind in ("members", "presence"):
            await ask_soon(kind)
        asking.say("read 1", {"type": "read 1", "data": 1})
        with trio.CancelScope() as gone:
            async with trio.open_nursery() as inner:
                inner.start_soon(asking.ask, {"type": "nobody waits for it any more"}, Reply())
                await trio.testing.wait_all_tasks_blocked()
                gone.cancel(reason="enough")
        await ask_soon("history")
        asking.say("read 2", {"type": "read 2"})
        asking.say("read 1", {"type": "read 1", "data": 2})
        assert not said
        mock_clock.jump(1.0)  # its time has come, and its task has not run
        asking.say("leave", {"type": "leave"})
        await ask_soon("sync")
        kinds = ["members", "presence", "history", "read 2", "read 1", "leave", "sync"]
        assert [command["type"] for command in said] == kinds
        assert said[4]["data"] == 2
        for command in said:
            if "id" in command:
                await asking.answered(command["id"], {}, None)
    assert len(answers) == 4
    assert len(asking) == 0


async def test_a_marker_or_a_leave_that_is_refused_for_a_moment_is_said_again_if_it_is_still_the_newest():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:
        client.read(41, 1)
        client.read(ROOM, 2)
        client.read(ROOM, 3)
        client.leave(43)
        client.leave(44)
        client.read(45, 1)
        client.read(46, 1)
        first = [await line.heard(kind) for kind in ("read", "read", "read", "leave", "leave", "read", "read")]
        for command, code in zip(first, (4291, 5002, 4292, 4292, 5003, 3004, 4291), strict=True):
            await line.error(command, code)
        nursery.start_soon(client.join, 44)  # the server has not detached us: to be left again would lose it
        await line.ack(await line.heard("join"), **PLACE, r=44, epoch=1, top=0)
        with trio.fail_after(WAIT_SECONDS_MAX):
            again = [json.loads(await line.socket.get_message()) for _ in range(4)]
        said = [(command["type"], command["room"], command.get("data", {}).get("seq", 0)) for command in again]
        assert sorted(said) == [("leave", 43, 0), ("read", 41, 1), ("read", 42, 3), ("read", 46, 1)]
        for command in again:
            await line.ack(command, **command.get("data", {}))
        await line.personal(1)
        await told(client, Personal)
        assert len(client._asking) == 0
        nursery.start_soon(client.request, "members", ROOM)
        await line.ack(await line.heard("members"), members=[])


async def test_a_start_that_is_refused_without_a_close_is_told_and_tried_again():
    async def refused():
        async with scripted_server() as server, open_client(server.url, "a token") as client:
            first = await server.line()
            await first.error({"id": "start"}, 5002, retryAfter=1)
            lost = await told(client, Disconnected)
            assert (lost.code, lost.why) == (1006, "start was refused with 5002: error 5002")
            assert 1 <= lost.retry_seconds < 2
            second = await server.line()
            await second.error({"id": "start"}, 2001)
            await trio.testing.wait_all_tasks_blocked(0.1)
            assert client.events.statistics().current_buffer_used == 0, "the close that follows says more"
            await second.socket.aclose(4001)
            await trio.sleep_forever()

    assert (await refusal_of(refused)).code == 4001


@pytest.mark.parametrize("seconds", ["soon", "nan", "inf", [5], 10**400, -1000], ids="{!r:.8}".format)
async def test_a_start_that_is_refused_with_a_wait_that_is_none_costs_a_try_and_not_the_client(seconds: object):
    """It ended the client, and all that was not sent with it."""
    async with scripted_server() as server, open_client(f"{server.url}/elsewhere", "t") as client:
        client.send(ROOM, "kept")
        first = await server.line()
        data = {"code": 5002, "error": "X", "retryAfter": seconds}
        await first.say({"type": "error", "id": "start", "data": data})
        assert 0 <= (await told(client, Disconnected)).retry_seconds <= 0.5
        second = await server.line()
        await second.ready()
        assert (await second.heard("send"))["data"]["body"] == "kept"


async def test_a_room_that_is_left_and_joined_anew_while_all_must_wait_is_joined():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:
        await told(client, CaughtUp)
        for _ in range(5):  # of what wakes together either may be first
            client._pace.slow_down("cmds", 0.1, trio.current_time())
            client.leave(ROOM)
            nursery.start_soon(client.join, ROOM)
            await line.heard("leave")
            await line.ack(await line.heard("join"), **PLACE, r=ROOM, epoch=1, top=0)
            await client.join(ROOM)


async def test_what_is_typed_in_no_room_is_refused_while_typing_must_wait_too():
    async with entered() as (_, client, line):
        await line.say({"type": "slow_down", "data": {"class": "typing", "retryAfter": 30}})
        await line.personal(1)
        await told(client, Personal)
        with pytest.raises(ValueError, match="no id of a room"):
            client.typing("the green room", is_typing=True)


async def test_a_page_of_nothing_but_what_is_hidden_is_passed_over_and_what_lies_beyond_it_is_fetched():
    async with entered() as (_, client, line):
        await line.message(6)
        await line.ack(await line.heard("history"), messages=[], skip=[1, 2, 3], top=6, epoch=1)
        second = await line.heard("history")
        assert second["data"]["after"] == 3
        await line.ack(second, messages=[FOURTH], skip=[5], top=6, epoch=1)
        assert [(await told(client, Said)).seq for _ in range(2)] == [4, 6]


async def closed_with(closed: Callable[[], Awaitable[int]], code: int) -> None:
    assert await closed() == code


async def test_presence_is_known_while_the_line_is_up_and_what_changed_over_a_cut_is_told():
    ann, ben = (
        {"user": user, "name": name, "status": "online", "activity": ""} for user, name in ((7, "Ann"), (8, "Ben"))
    )
    async with entered() as (server, client, first):
        assert client.here(ROOM) is None
        await first.say({"type": "presence_state", "room": ROOM, "data": {"users": [ann, ben]}})
        assert len((await told(client, Presence)).here) == 2
        assert sorted(client.here(ROOM) or ()) == [7, 8]
        await first.socket.aclose(4200)
        await told(client, Disconnected)
        assert client.here(ROOM) is None
        second = await server.line()
        await second.ready((ROOM, 0, 1))
        await second.say({"type": "presence_state", "room": ROOM, "data": {"users": [ann]}})
        changed = await told(client, Presence)
        assert (changed.here, [person.name for person in changed.gone]) == ((), ["Ben"])


async def test_nobody_types_any_more_once_the_line_is_lost():
    """The server tells who comes in that somebody types, and nothing where nobody does."""

    def typing(user_id: int, name: str) -> dict[str, Any]:
        return {"type": "typing", "room": ROOM, "data": {"users": [user_id], "names": {str(user_id): name}}}

    async with entered() as (server, client, first):
        await first.say(typing(8, "Ben"))
        assert await told(client, Typing) == Typing(ROOM, {8: "Ben"})
        await first.socket.aclose(4200)
        with trio.fail_after(WAIT_SECONDS_MAX):
            events = [await client.events.receive() for _ in range(2)]
        assert (events[0], type(events[1])) == (Typing(ROOM, {}), Disconnected)
        second = await server.line()
        await second.ready((ROOM, 0, 1))
        await second.say(typing(8, "Ben"), typing(7, "Ann"))  # our own is left out
        await second.socket.aclose(4200)
        events.clear()
        with trio.fail_after(WAIT_SECONDS_MAX):
            while not events or not isinstance(events[-1], Disconnected):
                events.append(await client.events.receive())
        assert [event for event in events if isinstance(event, Typing)] == [Typing(ROOM, {8: "Ben"}), Typing(ROOM, {})]


async def test_who_is_removed_from_a_room_is_told_and_does_not_ask_for_it_again():
    async with entered() as (server, client, line):
        await line.say({"type": "member", "room": ROOM, "data": {"user": 7, "role": "member", "change": "left"}})
        assert await told(client, RoomRefused) == RoomRefused(ROOM, 3004, "no member any more")
        await line.socket.aclose(4200)
        assert (await server.line()).start == {
            "device": "",
            "rooms": [],
            "resume": {"user": {"useq": 0, "epoch": 1}, "rooms": {}},
        }


def member(seq: int, user: int, change: str, role: str = "member") -> dict[str, Any]:
    data = {"user": user, "role": role, "change": change}
    return {"type": "member", "room": ROOM, "seq": seq, "ts": 9, "data": data}


async def test_who_came_or_went_is_told_in_its_place_and_once():
    async with entered() as (_, client, line):
        await line.say({"type": "skip", "room": ROOM, "seq": 1})
        await line.say(member(3, 8, "left"))
        await line.say(member(2, 8, "joined"))
        await line.say(member(2, 8, "joined"))
        await line.say(member(4, 9, "joined", "admin"))
        assert await told(client, Member) == Member(ROOM, 8, is_active=True, seq=2, at_ms=9, role="member")
        assert await told(client, Member) == Member(ROOM, 8, is_active=False, seq=3, at_ms=9, role="member")
        assert await told(client, Member) == Member(ROOM, 9, is_active=True, seq=4, at_ms=9, role="admin")
        await line.say(member(900, 7, "left"))  # our own end comes wherever we are
        assert await told(client, Member) == Member(ROOM, 7, is_active=False, seq=900, at_ms=9, role="member")
        assert await told(client, RoomRefused) == RoomRefused(ROOM, 3004, "no member any more")


async def test_who_leaves_the_room_is_here_no_more_also_when_history_tells_it_and_who_is_back_since_stays():
    people = [{"user": user, "name": f"P{user}", "status": "online", "activity": ""} for user in (7, 8, 9, 10)]
    went = {"ts": 9, "change": "left", "role": "member"}
    async with (
        scripted_server() as server,
        open_client(server.url, "a token") as client,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(partial(client.join, ROOM, recent=2))
        line = await server.line()
        await line.ready((ROOM, 2, 1))
        await line.say({"type": "presence_state", "room": ROOM, "data": {"users": people}})
        page = [{**went, "seq": 1, "user": 8}, {**went, "seq": 2, "user": 8, "change": "joined"}]
        await line.ack(await line.heard("history"), messages=[], changes=page, top=2, epoch=1)
        await line.say(member(3, 9, "left"))
        assert len((await told(client, Presence)).here) == 4
        while (await told(client, Member)).user_id != 9:
            pass
        assert sorted(client.here(ROOM) or ()) == [7, 8, 10]  # as `member` is told already
        gone = await told(client, Presence)
        assert (gone.here, [(one.user_id, one.status) for one in gone.gone]) == ((), [(9, "offline")])
        assert sorted(client.here(ROOM) or ()) == [7, 8, 10]
        await line.message(5)
        page = [{**went, "seq": 4, "user": 10}]
        await line.ack(await line.heard("history"), messages=[], changes=page, top=5, epoch=1)
        assert [one.user_id for one in (await told(client, Presence)).gone] == [10]
        await line.say({"type": "member", "room": ROOM, "data": {"user": 8, "role": "member", "change": "left"}})
        assert [one.user_id for one in (await told(client, Presence)).gone] == [8]
        assert list(client.here(ROOM) or ()) == [7]


async def back_in_none(server: Scripted, line: Line, *ends: dict[str, Any]) -> None:
    """The line is lost, and on the next one ROOM is refused, with what follows; then something personal."""
    await line.socket.aclose(4200)
    line = await server.line()
    await line.ready_with(refused=[{"r": ROOM, "code": 3004, "error": "NOT_MEMBER"}])
    await line.say(*ends, {"type": "live", "data": {"rooms": []}}, member(5, 7, "left"))
    await line.personal(1)


async def test_who_was_removed_while_they_were_away_is_told_so_behind_the_refusal_and_once():
    async with entered() as (server, client, line):
        end = member(3, 7, "left")
        await back_in_none(server, line, member(2, 8, "left"), end, end)
        assert (await told(client, RoomRefused)).code == 3004
        assert await told_before_personal(client) == [Member(ROOM, 7, is_active=False, seq=3, at_ms=9, role="member")]


async def test_an_end_that_comes_when_the_rooms_are_live_is_of_none_of_ours():
    async with entered() as (server, client, line):
        await back_in_none(server, line)
        await told(client, RoomRefused)
        assert await told_before_personal(client) == []


async def told_before_personal(client: Client) -> list[Event]:
    found = list[Event]()
    with trio.fail_after(WAIT_SECONDS_MAX):
        async for event in client.events:
            if isinstance(event, Personal):
                break
            found.append(event)
    return found


async def test_what_was_asked_for_is_told_when_the_connection_is_lost():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:

        async def ask() -> None:
            with pytest.raises(ServerAway):
                await client.history(ROOM, 10)

        nursery.start_soon(ask)
        await line.heard("history")
        await line.socket.aclose(4200)
    with pytest.raises(ServerAway):
        await client.request("ping", None)


async def test_a_ping_that_was_asked_for_is_answered_by_its_pong_and_a_pong_is_not_asked_for():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:

        async def answer() -> None:
            asked = await line.heard("ping")
            await line.say({"type": "pong", "ts": 1})  # that of a probe
            await line.say({"type": "pong", "id": asked["id"], "ts": 1})

        nursery.start_soon(answer)
        with trio.fail_after(WAIT_SECONDS_MAX):
            assert await client.request("ping", None) == {}
        with pytest.raises(ValueError, match="pong has no answer"):
            await client.request("pong", None)


async def test_a_silent_line_is_given_up():
    async with entered(hb=1000, hbGrace=1000) as (server, client, line):
        await line.say({"type": "ping"})
        await line.heard("pong")
        lost = await told(client, Disconnected)
        assert (lost.code, lost.why) == (1006, "nothing was heard for too long")
        await (await server.line()).ready((ROOM, 0, 1))
        await told(client, Connected)


async def test_more_rooms_than_a_connection_joins_are_refused_here():
    async with open_client("http://127.0.0.1:9", "a token") as client, trio.open_nursery() as nursery:
        for room in range(200):
            nursery.start_soon(client.join, 1 + room)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(Refused, match="200 rooms"):
            await client.join(1000)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_the_id_of_a_room_may_come_as_its_digits_and_nothing_else_is_one():
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        nursery.start_soon(client.join, str(ROOM))
        line = await server.line()
        assert line.start["rooms"] == [{"r": ROOM}]
        await line.ready((ROOM, 0, 1))
        await client.join(ROOM)  # the same one
        await line.message(1)
        assert (await told(client, Said)).room_id == ROOM
        client.send(str(ROOM), "hello")
        sent = await line.heard("send")
        assert sent["room"] == ROOM
        assert len(client.pending(ROOM)) == len(client.pending(str(ROOM))) == 1
        await line.ack(sent, messageId=2, seq=2, ts=1)
        await client.wait_sent()
        wrongs: list[Any] = ["", "Lobby", "4.2", "0", -1, 1.5, None, 2**53, "9" * 16, True, {}]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="no id of a room"):
                await client.join(wrong)
            with pytest.raises(ValueError, match="no id of a room"):
                client.send(wrong, "hello")
            with pytest.raises(ValueError, match="no id of a room"):
                await client.history(wrong, 1)
        assert client.unsent == 0


async def test_who_is_watched_is_asked_for_on_each_connection_and_who_is_refused_is_told():
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def watch(*people: int | str) -> None:
            answers.append(await client.watch(people))

        nursery.start_soon(watch, 8, "9", 8)
        first = await server.line()
        await first.ready()
        asked = await first.heard("watch")
        assert asked["data"] == {"users": [8, 9]}
        await first.ack(asked, watching=[8], refused=[9])
        ben = {"user": 8, "name": "Ben", "status": "online", "activity": ""}
        await first.say({"type": "presence_state", "data": {"users": [ben]}})
        assert await told(client, Watched) == Watched((Person(8, "Ben", "online", ""),))
        away = {"user": 8, "name": "Ben", "status": "offline", "lastSeen": 5}
        await first.say({"type": "presence_diff", "data": {"joins": [], "leaves": [away]}})
        assert await told(client, Watched) == Watched((Person(8, "Ben", "offline", "", 5),))
        await first.say({"type": "presence_diff", "data": {"joins": [], "leaves": [], "gone": [8]}})
        assert await told(client, Watched) == Watched(())
        await first.socket.aclose(4200)
        second = await server.line()
        await second.ready()
        again = await second.heard("watch")
        assert again["data"] == {"users": [8, 9]}
        await second.ack(again, watching=[8], refused=[9])
        nursery.start_soon(watch)
        end = await second.heard("watch")
        assert end["data"] == {"users": []}
        await second.ack(end, watching=[], refused=[])
        await second.say({"type": "presence_state", "data": {"users": []}})
        await told(client, Watched)
        assert answers == [[9], []]
        await second.socket.aclose(4200)
        third = await server.line()
        await third.ready()
        client.send(ROOM, "nobody is watched any more")
        await third.heard("send")
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_of_lists_of_people_the_newest_counts_and_one_that_is_refused_for_good_changes_nothing():
    async with entered() as (server, client, line), trio.open_nursery() as nursery:
        answers: dict[int, Any] = {}
        answered = {user_id: trio.Event() for user_id in (8, 9, 10, 11)}

        async def watch(user_id: int) -> None:
            try:
                answers[user_id] = await client.watch([user_id])
            except Refused as refused:
                answers[user_id] = refused.code
            answered[user_id].set()

        nursery.start_soon(watch, 8)
        asked = await line.heard("watch")
        for user_id in (9, 10):
            nursery.start_soon(watch, user_id)
            await trio.testing.wait_all_tasks_blocked()
        assert answers == {8: None, 9: None}
        await line.ack(asked, watching=[8], refused=[])
        newest = await line.heard("watch")  # not before the answer, so that none overtakes
        assert newest["data"] == {"users": [10]}
        await line.error(newest, 5002)
        await line.ack(await line.heard("watch"), watching=[10], refused=[])
        with trio.fail_after(WAIT_SECONDS_MAX):
            await answered[10].wait()
        nursery.start_soon(watch, 11)
        wrong = await line.heard("watch")
        assert wrong["data"] == {"users": [11]}
        await line.error(wrong, 5001)
        assert (await line.heard("watch"))["data"] == {"users": [10]}
        assert answers == {8: None, 9: None, 10: [], 11: 5001}
        await line.socket.aclose(4200)
        other = await server.line()
        await other.ready((ROOM, 0, 1))
        assert (await other.heard("watch"))["data"] == {"users": [10]}
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_what_is_no_list_of_people_or_too_long_a_one_is_refused_at_the_door():
    async with entered() as (_, client, line), trio.open_nursery() as nursery:
        for nothing in ("23", "", b"23", None, 23, {23: "Ben"}):
            with pytest.raises(ValueError, match="no list of users"):
                await client.watch(nothing)  # type: ignore[arg-type]
        wrongs: list[Any] = [[0], ["Ben"], [None], [True], [2**53]]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="no id of a user"):
                await client.watch(wrong)
        with pytest.raises(Refused, match="at most 200") as caught:
            await client.watch(range(1, 202))
        assert caught.value.code == 1002
        nursery.start_soon(client.watch, [*range(2, 202), 2, "3"])
        assert len((await line.heard("watch"))["data"]["users"]) == 200
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_what_the_client_does_not_fold_is_told_as_it_came():
    async with entered() as (_, client, line):
        summary: dict[str, Any] = {"top": 4, "unread": 2, "mention": 0, "last": None}
        await line.say({"type": "room_summary", "room": 43, "data": summary})
        assert await told(client, Other) == Other("room_summary", 43, summary, None)
        await line.say({"type": "of tomorrow", "room": ROOM, "ts": 9})
        assert await told(client, Other) == Other("of tomorrow", ROOM, {}, 9)
        error = {"code": 1001, "error": "BAD_JSON", "message": "no JSON", "category": "protocol", "recoverable": False}
        await line.say({"type": "error", "data": error})
        assert await told(client, Other) == Other("error", None, error, None)
        await line.say({"type": "of tomorrow", "rooms": [ROOM, 44], "data": {}})
        assert [(await told(client, Other)).room_id for _ in range(2)] == [ROOM, 44]
        await line.say({"type": "presence_state", "room": 43, "data": {"users": []}})  # of a room that was left
        await line.say({"type": "of tomorrow", "room": 43, "seq": 1, "data": {}})
        await line.say({"type": "of tomorrow", "data": {"is": "last"}})
        assert await told(client, Other) == Other("of tomorrow", None, {"is": "last"}, None)


async def test_nothing_is_told_of_a_room_that_was_left_and_each_message_once_of_one_that_is_joined_anew():
    page = [{**FOURTH, "id": seq, "seq": seq, "body": f"m{seq}"} for seq in (1, 2, 3)]
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.join, ROOM, recent=3))
        line = await server.line()
        await line.ready((ROOM, 3, 1))
        early = await line.heard("history")
        client.leave(ROOM)
        await line.heard("leave")
        nursery.start_soon(partial(client.join, ROOM, recent=3))
        again = await line.heard("join")
        await line.ack(early, messages=page, top=3, epoch=1)
        await line.ack(again, r=ROOM, epoch=1, top=3, **PLACE)
        await line.ack(await line.heard("history"), messages=page, top=3, epoch=1)
        await line.message(4)
        assert [(await told(client, Said)).seq for _ in range(4)] == [1, 2, 3, 4]


async def test_a_room_that_was_left_while_something_is_missing_costs_nothing(monkeypatch):
    began, fetch = [], Client._fetch

    async def counted(client, room, wait_seconds):
        began.append(room.id)
        await fetch(client, room, wait_seconds)

    monkeypatch.setattr(Client, "_fetch", counted)
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.join, ROOM, recent=3))
        line = await server.line()
        await line.ready((ROOM, 3, 1))
        early = await line.heard("history")
        client.leave(ROOM)
        await line.ack(early, messages=[], top=3, epoch=1)
        await trio.sleep(0.1)
        assert began == [ROOM]


async def test_a_page_that_cannot_be_read_costs_a_try_and_not_the_client(monkeypatch):
    odd = [True]

    def entries(*page):
        if odd:
            raise KeyError(odd.pop())  # as of a page that has no messages
        return entries_of(*page)

    monkeypatch.setattr("greenroom.client.client.entries", entries)
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.join, ROOM, recent=3))
        line = await server.line()
        await line.ready((ROOM, 3, 1))
        await line.ack(await line.heard("history"), messages=[], top=3, epoch=1)
        assert "no greenroom" in (await told(client, Disconnected)).why
        again = await server.line()
        await again.ready((ROOM, 3, 1))
        page = [{**FOURTH, "id": seq, "seq": seq, "body": f"m{seq}"} for seq in (1, 2, 3)]
        await again.ack(await again.heard("history"), messages=page, top=3, epoch=1)
        assert [(await told(client, Said)).seq for _ in range(3)] == [1, 2, 3]


@asynccontextmanager
async def left_while_joining() -> AsyncIterator[tuple[Client, Line, dict[str, Any], trio.Nursery]]:
    """A client that has left ROOM before its `join` was answered: it, its connection, that `join`."""
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        line = await server.line()
        await line.ready()
        await told(client, Connected)

        async def join() -> None:
            with pytest.raises(Refused, match="left"):
                await client.join(ROOM)

        nursery.start_soon(join)
        asked = await line.heard("join")
        client.leave(ROOM)
        await line.heard("leave")
        yield client, line, asked, nursery


async def test_a_page_that_was_asked_for_and_cannot_be_read_costs_a_try_and_is_told_as_no_answer():
    async with scripted_server() as server, open_client(f"{server.url}/elsewhere", "t") as client:
        line = await server.line()
        await line.ready()
        await told(client, Connected)

        async def ask_in_vain() -> None:
            with pytest.raises(ServerAway):
                await client.history(ROOM, 5)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_in_vain)
            await line.ack(await line.heard("history"), messages=[{"seq": 1}])
        assert "no greenroom" in (await told(client, Disconnected)).why
        await (await server.line()).ready()


async def test_a_room_that_was_left_while_it_was_asked_for_is_left_again_when_the_server_lets_us_in():
    async with left_while_joining() as (client, line, asked, _):
        await line.ack(asked, r=ROOM, epoch=1, top=3, **PLACE)  # as where it waited, and came behind `leave`
        assert (await line.heard("leave"))["room"] == ROOM
        await line.personal(1)
        assert isinstance(await client.events.receive(), Personal), "told of a room that was left"


async def test_what_was_live_of_a_room_that_was_left_says_nothing_of_the_one_that_is_joined_anew():
    page = [{**FOURTH, "id": seq, "seq": seq, "body": f"m{seq}"} for seq in (1, 2)]
    live = {"type": "live", "data": {"rooms": [ROOM]}}
    async with left_while_joining() as (client, line, first, nursery):
        nursery.start_soon(partial(client.join, ROOM, recent=2))
        second = await line.heard("join")
        await line.ack(first, r=ROOM, epoch=1, top=2, **PLACE)
        await line.say(live)
        await line.ack(second, r=ROOM, epoch=1, top=2, **PLACE)
        await line.say(live)
        await line.ack(await line.heard("history"), messages=page, top=2, epoch=1)
        await line.personal(1)
        heard = [await client.events.receive() for _ in range(5)]
        kinds = [Entered, Said, Said, CaughtUp, Personal]
        assert sorted(map(str, map(type, heard))) == sorted(map(str, kinds))
        assert heard.index(next(event for event in heard if isinstance(event, CaughtUp))) > 2


async def test_a_room_that_may_let_us_in_later_is_not_asked_again_when_it_was_left():
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        line = await server.line()
        await line.ready()
        await told(client, Connected)

        async def join(room_id: int) -> None:
            with pytest.raises(Refused, match="left"):
                await client.join(room_id)

        for room_id in (ROOM, ROOM + 1):
            nursery.start_soon(join, room_id)
            await line.error(await line.heard("join"), 5002)
        await line.personal(1)
        await told(client, Personal)  # both errors are heard
        client.leave(ROOM)
        assert (await line.heard("leave"))["room"] == ROOM
        for _ in range(2):
            asked = await line.heard("join")
            assert asked["room"] == ROOM + 1, "it asks for the room that was left"
            await line.error(asked, 5002)
        client.leave(ROOM + 1)


@pytest.mark.parametrize("was_left", [False, True])
async def test_a_room_that_is_joined_as_connected_is_told_is_asked_for_once_also_when_it_was_left_since_start(
    was_left: bool,
):
    async def join() -> None:
        with suppress(Refused):  # the first time it is left
            await client.join(ROOM)

    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        if was_left:
            nursery.start_soon(join)
        line = await server.line()
        if was_left:
            client.leave(ROOM)
        for _ in range(EVENTS_MAX):  # so that `connected` waits to be told
            client._told.send_nowait(Connected(7, "Ann", is_again=False))
        await line.ready(*([(ROOM, 0, 1)] if was_left else []))
        with trio.fail_after(WAIT_SECONDS_MAX):
            while not client.is_connected:
                await trio.testing.wait_all_tasks_blocked(0.01)
        nursery.start_soon(join)
        await line.ack(await line.heard("join"), **PLACE, r=ROOM, epoch=1, top=0)
        await line.personal(1)
        entries = [event for event in await told_before_personal(client) if isinstance(event, Entered)]
        assert entries == [Entered(ROOM, 0, 0, 0, 2)]
        nursery.start_soon(client.request, "members", ROOM)
        await line.ack(await line.heard("members"), members=[])


async def test_a_room_that_may_let_us_in_later_is_asked_again_on_the_same_connection_alone():
    """The next one asks anyway: it was entered twice there."""
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        for room_id in (ROOM, ROOM + 1):
            nursery.start_soon(client.join, room_id)
        first = await server.line()
        here = {**PLACE, "top": 0, "epoch": 1}
        away = {"code": 5002, "error": "STORAGE_UNAVAILABLE"}
        await first.ready_with({**here, "r": ROOM + 1}, refused=[{**away, "r": ROOM}])
        assert (await told(client, Entered)).room_id == ROOM + 1
        await first.socket.aclose(4200)
        await told(client, Disconnected)
        client.retry_now()
        second = await server.line()
        await second.ready_with({**here, "r": ROOM}, refused=[{**away, "r": ROOM + 1}])
        asked = await second.heard("join")
        assert asked["room"] == ROOM + 1  # ROOM would be before it
        await second.ack(asked, **here, r=ROOM + 1)
        assert [(await told(client, Entered)).room_id for _ in range(2)] == [ROOM, ROOM + 1]


NO_GREENROOM = {
    "no HTTP": b"garbage\r\n\r\n",
    "bytes": bytes(range(256)),
    "a wrong key": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: x\r\n\r\n",
    "no end": b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
}


@pytest.mark.parametrize("answer", NO_GREENROOM.values(), ids=NO_GREENROOM)
async def test_something_else_that_answers_costs_a_try_and_not_the_client(answer: bytes):
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            with suppress(trio.BrokenResourceError):
                await stream.receive_some()
                await stream.send_all(answer)
                await stream.receive_some()

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = serving[0].socket.getsockname()[1]
        async with open_client(f"http://127.0.0.1:{port}", "t") as client:
            lost = [await told(client, Disconnected) for _ in range(2)]
        assert [(each.code, "no greenroom" in each.why) for each in lost] == [(1006, True)] * 2
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize(
    "said",
    [
        '{"type":"hello"}',
        f'{{"type":"hello","data":{{"hb":{"9" * 400},"hbGrace":1}}}}',
        '{"type":"hello","data":{"hb":1,"hbGrace":1,"limits":{"frame":"x"}}}',
        '{"type":"reconnect","data":3}',
        f'{{"type":"reconnect","data":{{"after":{"9" * 400}}}}}',
        '{"type":"ack","id":["c1"]}',
    ],
)
@pytest.mark.parametrize("subprotocol", [None, "greenroom.v1"])
async def test_a_socket_that_is_no_greenroom_costs_a_try_and_not_the_client(said: str, subprotocol: str | None):
    async def serve(request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol=subprotocol)
        with suppress(ConnectionClosed):
            await socket.send_message(said)
            await socket.get_message()

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(serve_websocket, serve, "127.0.0.1", 0, None))
        async with open_client(f"http://127.0.0.1:{serving.port}/elsewhere", "t") as client:
            lost = [await told(client, Disconnected) for _ in range(2)]
        assert [(each.code, "no greenroom" in each.why) for each in lost] == [(1006, True)] * 2
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_token_is_shown_to_nobody_whom_the_server_points_at(method: str):
    shown: list[bytes] = []

    async def answer(stream: trio.SocketStream, head: bytes) -> None:
        async with stream:
            shown.append(bytes(await stream.receive_some()))
            await stream.send_all(head)

    async with trio.open_nursery() as nursery:
        found = b'HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{"data":{}}'
        elsewhere = await nursery.start(partial(trio.serve_tcp, partial(answer, head=found), 0, host="127.0.0.1"))
        address = f"http://localhost:{elsewhere[0].socket.getsockname()[1]}/"
        points = f"HTTP/1.1 302 Found\r\nLocation: {address}\r\nContent-Length: 0\r\n\r\n".encode()
        here = await nursery.start(partial(trio.serve_tcp, partial(answer, head=points), 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{here[0].socket.getsockname()[1]}"
        with pytest.raises(Refused, match="answers 302"):
            await trio.to_thread.run_sync(ask, url, "secret", method, "/api/conversations", None)
        assert [b"secret" in head for head in shown] == [True]
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_an_error_that_is_cut_in_the_middle_of_its_words_is_one_still():
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 503 Away\r\nContent-Length: 99\r\n\r\n{")

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = serving[0].socket.getsockname()[1]
        async with open_client(f"http://127.0.0.1:{port}", "t") as client:
            with pytest.raises(Refused, match="answers 503"):
                await client.http("GET", "/api/conversations")
        nursery.cancel_scope.cancel(reason="the test is over")


DEEP = b"[" * 200_000  # in which the decoder of Python loses itself


@pytest.mark.parametrize("body", [DEEP, b'{"data":' + DEEP, b'{"data":[1]}', b'{"data":"text"}', b"[]", b"null", b""])
@pytest.mark.parametrize("status", [200, 409])
async def test_an_http_answer_that_is_none_of_greenroom_is_told_as_one(body: bytes, status: int):
    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await stream.receive_some()
            await stream.send_all(b"HTTP/1.1 %d Odd\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))

    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        url = f"http://127.0.0.1:{serving[0].socket.getsockname()[1]}"
        with pytest.raises(ServerAway if status == 200 else Refused, match=r"no greenroom|answers 409"):
            await trio.to_thread.run_sync(ask, url, "t", "GET", "/api/conversations", None)
        nursery.cancel_scope.cancel(reason="the test is over")


def test_a_frame_with_a_number_that_json_has_not_is_nothing_of_ours():
    """Of a wait without an end, or of a room that is no number, everything would hang, or end."""
    for number in ("NaN", "Infinity", "-Infinity", "1e400"):
        assert frames_of(f'{{"type":"slow_down","data":{{"class":"cmds","retryAfter":{number}}}}}') == []


async def test_it_is_told_when_a_room_is_caught_up_on_each_connection_behind_what_was_there():
    async with scripted_server() as server, open_client(server.url, "t") as client, trio.open_nursery() as nursery:
        nursery.start_soon(partial(client.join, ROOM, recent=2))
        first = await server.line()
        await first.ready((ROOM, 4, 1))
        asked = await first.heard("history")
        await first.message(5)
        page = [FOURTH | {"id": seq, "seq": seq, "body": f"m{seq}"} for seq in (3, 4)]
        await first.ack(asked, messages=page, top=4, epoch=1)
        with trio.fail_after(WAIT_SECONDS_MAX):
            heard = [await client.events.receive() for _ in range(6)]
        assert [event.seq for event in heard if isinstance(event, Said)] == [3, 4, 5]
        assert heard[-1] == CaughtUp(ROOM)
        await first.message(6)
        assert (await told(client, Said)).seq == 6
        await first.socket.aclose(4200)
        await (await server.line()).ready((ROOM, 6, 1))
        await told(client, CaughtUp)
        nursery.cancel_scope.cancel(reason="the test is over")


async def test_files_and_details_go_with_their_line_again_and_again_until_it_is_stored():
    async with entered() as (server, client, first):
        wrongs: list[Any] = ["key", [1], [None]]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="no keys of files"):
                client.send(ROOM, "look", attachments=wrong)
        wrongs = ["kind", ["kind"], {"knid": "poll"}, {"kind": object()}, {"thread": float("nan")}, 7]
        for wrong in wrongs:
            with pytest.raises(ValueError, match="details"):
                client.send(ROOM, "look", details=wrong)
        details: dict[str, Any] = {"replyTo": "4", "mentions": [2]}
        client_id = client.send(ROOM, "look", attachments=["k1", "k2"], details=details)
        details["mentions"].append(3)  # too late
        details = {"replyTo": "4", "mentions": [2]}
        assert client.send(ROOM, "look", client_id=client_id, attachments=["k1", "k2"], details=details) == client_id
        with pytest.raises(Refused):
            client.send(ROOM, "look", client_id=client_id, attachments=["k1", "k2"])
        assert [(line.attachments, line.details) for line in client.pending(ROOM)] == [(("k1", "k2"), details)]
        expected = {"body": "look", "clientId": client_id, "attachments": ["k1", "k2"], **details}
        assert (await first.heard("send"))["data"] == expected
        await first.socket.aclose(4200)
        second = await server.line()
        await second.ready((ROOM, 0, 1))
        again = await second.heard("send")
        assert again["data"] == expected
        await second.error(again, 3014)
        refused = await told(client, Undelivered)
        assert (refused.code, refused.attachments, refused.details) == (3014, ("k1", "k2"), details)
