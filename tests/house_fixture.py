"""All of greenroom on a database of its own, for tests that ask it from outside.

    async def test_something(house):
        await house.people(1, 2)                                   users 1 and 2 exist, called user-1 and user-2
        made = await house.post("/api/conversations", 1, {"recipientId": 2})
        assert (made.status, made.data["conversation"]["participant_name"]) == (200, "user-2")

`house` has no listening socket: requests go through Quart's test client. `live_house` is the same and listens, at
`house.url` and `house.ws_url`, with real sockets; `house.socket(user)` opens a greenroom.v1 WebSocket that has joined
nothing. Both are real to the last row: PostgreSQL, committer, actors, hub.

`house_in_thread` is for tests that are no coroutines, such as those that drive a command of the command line.

Settings other than the usual: `@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 2}])`.
"""

import json
import queue
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg
import jwt
import pytest
import trio
import trio_websocket

from greenroom.compose import House, compose_app, open_front, open_house
from greenroom.http.listener import close_listeners, open_listeners
from greenroom.http.tls import tls_context
from greenroom.settings import Settings
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.users import UserChange

SECRET = "a secret of this test session that has at least sixty-four bytes in it"
SUBPROTOCOL = "greenroom.v1"
FRAME_SECONDS_MAX = 5
THREAD_SECONDS_MAX = 60
_CROWD = """
    insert into users (id, name, role, created_at, updated_at)
    select id, 'user-' || id, 'user', now(), now() from unnest($1::bigint[]) id
"""


@dataclass(frozen=True)
class Reply:
    """An answer. data and error are those of the envelope."""

    status: int
    json: Any
    headers: Mapping[str, str]

    @property
    def data(self) -> Any:
        return self.json["data"]

    @property
    def code(self) -> str:
        code: str = self.json["error"]["code"]
        return code

    @property
    def message(self) -> str:
        message: str = self.json["error"]["message"]
        return message


@dataclass
class HouseUnderTest:
    """A running house and the ways to ask it."""

    house: House
    app: Any
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def token(self, user_id: int | str, **claims: Any) -> str:
        """A JWT of a user."""
        now = int(time.time())
        return jwt.encode({"sub": str(user_id), "iat": now, "exp": now + 600, **claims}, SECRET, "HS256")

    async def people(self, *user_ids: int, role: str = "user") -> None:
        """Make these users, called user-<id>."""
        for user_id in user_ids:
            await self.house.storage.users.put(user_id, UserChange(name=f"user-{user_id}", role=role))

    async def crowd(self, user_ids: Collection[int]) -> None:
        """Make these users at once: each on its own would take a second for 300."""

        async def make(connection: asyncpg.Connection) -> None:
            await connection.execute(_CROWD, list(user_ids))

        await self.house.storage.postgres.transaction(make)

    async def get(self, path: str, user: int | None = None, headers: Mapping[str, str] = {}, **query: Any) -> Reply:
        return await self.ask("GET", f"{path}?{urlencode(query)}" if query else path, user, headers=headers)

    async def post(self, path: str, user: int | None = None, body: Any = None, **headers: str) -> Reply:
        return await self.ask("POST", path, user, body, _spelled(headers))

    async def put(self, path: str, user: int | None = None, body: Any = None, **headers: str) -> Reply:
        return await self.ask("PUT", path, user, body, _spelled(headers))

    async def delete(self, path: str, user: int | None = None, **headers: str) -> Reply:
        return await self.ask("DELETE", path, user, None, _spelled(headers))

    async def ask(
        self, method: str, path: str, user: int | None = None, body: Any = None, headers: Mapping[str, str] = {}
    ) -> Reply:
        """Ask as *user*, nobody if None. body: bytes go out as they are, anything else as JSON."""
        given = dict(headers)
        if user is not None:
            given.setdefault("Authorization", f"Bearer {self.token(user)}")
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            given.setdefault("Content-Type", "application/json")
        client = self.app.test_client(use_cookies=False)
        response = await client.open(path, method=method, data=data, headers=given)
        return Reply(response.status_code, await response.get_json(), response.headers)

    async def conversation(self, creator: int, *others: int, **options: Any) -> int:
        """Make a group (a direct conversation with `isGroup=False`); its id."""
        body = {"participantIds": list(others), "isGroup": True, **options}
        made = await self.post("/api/conversations", creator, body)
        assert made.status == 200, made.json
        conversation_id: int = made.data["conversation"]["id"]
        return conversation_id

    @asynccontextmanager
    async def socket(self, user: int, *rooms: int) -> AsyncIterator["SocketUnderTest"]:
        """A greenroom.v1 WebSocket of *user*, ready and in *rooms*. Only with `live_house`."""
        authorization = (b"authorization", f"Bearer {self.token(user)}".encode())
        async with trio_websocket.open_websocket_url(
            self.ws_url, subprotocols=[SUBPROTOCOL], extra_headers=[authorization]
        ) as connection:
            socket = SocketUnderTest(connection)
            await socket.say({"type": "start", "data": {"rooms": [{"r": room} for room in rooms]}})
            await socket.hear("ready")
            yield socket

    @asynccontextmanager
    async def compat_socket(self, user: int) -> AsyncIterator["SocketUnderTest"]:
        """A WebSocket as the existing client opens it: no subprotocol, with a ticket. Only with `live_house`."""
        ticket = (await self.get("/api/ws/token", user)).json["token"]
        async with trio_websocket.open_websocket_url(f"{self.ws_url}?token={ticket}") as connection:
            socket = SocketUnderTest(connection)
            await socket.hear("connected")
            yield socket


class SocketUnderTest:
    """One WebSocket."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._passed_over: list[dict[str, Any]] = []

    async def say(self, frame: Any) -> None:
        await self._connection.send_message(json.dumps(frame))

    async def hear(self, *kinds: str) -> dict[str, Any]:
        """The next frame of one of these kinds; others wait until they are asked for."""
        for frame in self._passed_over:
            if frame["type"] in kinds:
                self._passed_over.remove(frame)
                return frame
        with trio.fail_after(FRAME_SECONDS_MAX):
            while (frame := json.loads(await self._connection.get_message()))["type"] not in kinds:
                self._passed_over.append(frame)
        return frame


@asynccontextmanager
async def open_house_under_test(
    address: ServerAddress, folder: Path, *, listens: bool, **settings: Any
) -> AsyncIterator[HouseUnderTest]:
    """A house on the database at *address*, its files in *folder*."""
    usual = {
        "database_url": f"postgresql://{address.user}@/{address.database}?host={address.host}&port={address.port}",
        "greenroom_data_dir": str(folder),
        "jwt_secret": SECRET,
        "messages_per_minute": 0,
        "ws_commands_per_minute": 0,
    }
    listeners = await open_listeners("127.0.0.1", 0) if listens else []
    port = listeners[0].socket.getsockname()[1] if listens else 8787
    try:
        given = Settings(**{**usual, "port": port, **settings})
        async with open_house(given, migrates=False) as house:
            app, _ = compose_app(house, port)
            under_test = HouseUnderTest(house, app, port)
            if listens:
                async with open_front(house, app, listeners, tls_context(given.tls_cert, given.tls_key)):
                    yield under_test
            else:
                yield under_test
    finally:
        close_listeners(listeners)


@contextmanager
def house_in_thread(address: ServerAddress, folder: Path, **settings: Any) -> Iterator[HouseUnderTest]:
    """A house that listens, in a thread with a trio of its own."""
    answers: queue.Queue[HouseUnderTest | BaseException] = queue.Queue()
    leave = trio.Event()
    tokens: list[trio.lowlevel.TrioToken] = []

    async def keep() -> None:
        tokens.append(trio.lowlevel.current_trio_token())
        async with open_house_under_test(address, folder, listens=True, **settings) as under_test:
            answers.put(under_test)
            await leave.wait()
        answers.put(under_test)  # it was left in order

    def run() -> None:
        try:
            trio.run(keep)
        except BaseException as error:
            answers.put(error)

    thread = threading.Thread(target=run, name="a house for a test")
    thread.start()
    found = answers.get(timeout=THREAD_SECONDS_MAX)
    if isinstance(found, BaseException):
        raise found
    try:
        yield found
    finally:
        tokens[0].run_sync_soon(leave.set)
        thread.join(THREAD_SECONDS_MAX)
        ended = answers.get(timeout=0)
    if isinstance(ended, BaseException):
        raise ended


@pytest.fixture
def house_settings() -> dict[str, Any]:
    """Settings of the house that differ from the usual; to be parametrised."""
    return {}


@pytest.fixture
async def house(
    database: ServerAddress, tmp_path: Path, house_settings: dict[str, Any]
) -> AsyncIterator[HouseUnderTest]:
    """All of greenroom without a listening socket."""
    async with open_house_under_test(database, tmp_path, listens=False, **house_settings) as under_test:
        yield under_test


@pytest.fixture
async def live_house(
    database: ServerAddress, tmp_path: Path, house_settings: dict[str, Any]
) -> AsyncIterator[HouseUnderTest]:
    """All of greenroom, listening on a port of 127.0.0.1."""
    async with open_house_under_test(database, tmp_path, listens=True, **house_settings) as under_test:
        yield under_test


def _spelled(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
