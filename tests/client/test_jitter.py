"""Many who were cut at once come back spread over their window. By chance; all of it fails once in a million times.

The windows themselves are in cases.json. The JavaScript client has the same tests in clients/js/test/jitter.test.js.
"""

import json
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, serve_websocket

from greenroom.client import backoff
from greenroom.client.connection import Connection

MANY = 80
WAIT_SECONDS_MAX = 20.0


class Herd:
    """Connections that are kept, and their server. retries: for how long each was told to wait; back: when it came."""

    def __init__(self) -> None:
        self.url = ""
        self.retries: dict[str, float] = {}
        self.lost_at: dict[str, float] = {}
        self.back_at: dict[str, float] = {}
        self.sockets: dict[str, Any] = {}

    async def serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol="greenroom.v1")
        headers = {bytes(name).lower(): bytes(value) for name, value in request.headers}
        who = headers[b"authorization"].decode()
        if who in self.sockets:
            self.back_at.setdefault(who, trio.current_time())
        self.sockets[who] = socket
        try:
            while True:
                await socket.get_message()
        except ConnectionClosed:
            return

    async def keep(self, number: int) -> None:
        who = f"Bearer t{number}"

        async def on_frame(frame: dict[str, Any]) -> None:
            """There is none."""

        async def on_lost(code: int, why: str, retry_seconds: float, *, is_expected: bool) -> None:
            self.retries.setdefault(who, retry_seconds)
            self.lost_at.setdefault(who, trio.current_time())

        await Connection(self.url, f"t{number}", on_frame=on_frame, on_lost=on_lost, is_awaiting=lambda: False).keep()

    async def all_in(self, places: dict[str, Any]) -> None:
        with trio.fail_after(WAIT_SECONDS_MAX):
            while len(places) < MANY:  # noqa: ASYNC110  many put something there
                await trio.sleep(0.01)


@asynccontextmanager
async def herd():
    many = Herd()
    async with trio.open_nursery() as nursery:
        serving = await nursery.start(partial(serve_websocket, many.serve, "127.0.0.1", 0, None))
        many.url = f"http://127.0.0.1:{serving.port}"
        for number in range(MANY):
            nursery.start_soon(many.keep, number)
        await many.all_in(many.sockets)
        yield many
        nursery.cancel_scope.cancel(reason="the test is over")


@pytest.mark.parametrize(("code", "least", "most"), [(4200, 0, 1), (4100, 1, 1.5), (1011, 0, 0.5)])
async def test_those_who_were_closed_at_once_come_back_spread_over_the_window_of_the_code(code, least, most):
    async with herd() as many:
        async with trio.open_nursery() as closing:
            for socket in many.sockets.values():
                closing.start_soon(partial(socket.aclose, code, ""))
        await many.all_in(many.back_at)
        waits = many.retries
        assert all(least <= seconds < most for seconds in waits.values())
        away = {who: at - many.lost_at[who] for who, at in many.back_at.items()}
        assert all(away[who] > seconds - 0.02 for who, seconds in waits.items()), "it was told, and not waited"
        quarters = [int(4 * (seconds - least) / (most - least)) for seconds in waits.values()]
        assert min(quarters.count(quarter) for quarter in range(4)) >= 3, sorted(waits.values())


async def test_those_who_are_moved_at_once_go_spread_over_the_time_that_there_is_for_it(monkeypatch):
    monkeypatch.setattr(backoff, "MOVE_SECONDS_MAX", 6.0)  # that many take a while to be told, on a busy machine
    async with herd() as many:
        began = trio.current_time()
        data = {"after": 0, "deadline": 60_000, "resume": True, "reason": "drain"}
        for socket in list(many.sockets.values()):
            await socket.send_message(json.dumps({"type": "reconnect", "data": data}))
        await many.all_in(many.back_at)
        delays = sorted(at - began for at in many.lost_at.values())
        assert median(delays) > 1.5, delays
        assert delays[-1] - delays[0] > 3, delays
