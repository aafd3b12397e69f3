"""greenroom under load: the real process, `python -m greenroom serve`, on data that this file makes over REST.

Everything the benchmarks know of greenroom's ways stands here: its settings, how users come to exist, how rooms are
made, how tokens look. One data directory serves the whole bench: users and rooms are made at their first use and are
still there after the restart that comes before every run.

Its PostgreSQL starts as its child and would inherit the server's core; it is moved to the client's.
"""

import http.client
import json
import secrets
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import jwt
import processes
from scenarios import Scenario
from servers import RunFailed, Seat, Server, disk_folder

TOKEN_SECONDS = 24 * 3600

MAKERS = 16  # of users, at once


class Greenroom(Server):
    """Durable, authorised, with presence; spoken to in greenroom.v1."""

    name = "greenroom"
    dialect = "v1"
    path = "/ws"
    note = "durable (PostgreSQL), each user with a JWT that all their connections show, membership checked, presence on"

    def __init__(self, core: int, postgres_core: int) -> None:
        super().__init__(core)
        self.postgres_core = postgres_core
        self.data = disk_folder("greenroom")
        self.secret = secrets.token_hex(32)
        self.users = 0
        self.rooms: dict[tuple[int, int], list[str]] = {}

    def command(self) -> list[str]:
        return [sys.executable, "-m", "greenroom", "serve"]

    def environment(self) -> dict[str, str]:
        return {
            "ENVIRONMENT": "production",
            "HOST": "127.0.0.1",
            "JWT_SECRET": self.secret,
            "GREENROOM_DATA_DIR": str(self.data / "data"),
            "LOG_LEVEL": "warning",
            "MESSAGES_PER_MINUTE": "0",
            "WS_COMMANDS_PER_MINUTE": "0",
            "WS_COMPRESSION": "true",  # for a client that offers it: fanout-deflate alone
            "WS_MAX_PER_USER": "100",
            "WS_MAX_PER_ADDRESS": "0",
            "WS_CONNECTS_PER_SECOND": "0",
        }

    def start(self) -> None:
        super().start()
        self._wait_healthy()
        processes.pin_postgres(self.pid, self.postgres_core)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.data, ignore_errors=True)

    def seats(self, scenario: Scenario) -> list[Seat]:
        """Room number r has the users r * members + 1 to (r + 1) * members; the first of them made it.

        A process that made users remembers them and has the memory for it: another one is measured.
        """
        rooms = self.rooms.get((scenario.rooms, scenario.members))
        if rooms is None:
            self._make_users(scenario.rooms * scenario.members)
            rooms = self._make_rooms(scenario.rooms, scenario.members)
            self.stop()
            self.start()
        return [
            Seat(
                room=room,
                token=self._token(number * scenario.members + member + 1),
                sends=member < scenario.senders,
            )
            for number, room in enumerate(rooms)
            for member in range(scenario.members)
        ]

    def _make_users(self, count: int) -> None:
        """A user exists once a request came with a token of theirs."""
        missing = range(self.users + 1, count + 1)
        if missing:  # several at once share a commit; their threads are gone before anything is forked
            with ThreadPoolExecutor(MAKERS) as makers:
                list(makers.map(self._make_some, [missing[first::MAKERS] for first in range(MAKERS)]))
        self.users = max(self.users, count)

    def _make_some(self, users: range) -> None:
        with _Rest(self.port) as rest:
            for user in users:
                rest.call("GET", "/api/auth/session", self._token(user))

    def _make_rooms(self, count: int, members: int) -> list[str]:
        made = []
        with _Rest(self.port) as rest:
            for number in range(count):
                people = [number * members + member + 1 for member in range(members)]
                # Two people with isGroup false would be a direct conversation, of which there is one for each pair.
                body = {"participantIds": people[1:], "title": f"bench {count}x{members} {number}", "isGroup": True}
                answer = rest.call("POST", "/api/conversations", self._token(people[0]), body)
                made.append(str(answer["data"]["conversation"]["id"]))
        self.rooms[count, members] = made
        return made

    def _token(self, user: int) -> str:
        now = int(time.time())
        claims = {"sub": str(user), "name": f"user {user}", "iat": now, "exp": now + TOKEN_SECONDS}
        return jwt.encode(claims, self.secret, "HS256")

    def _wait_healthy(self) -> None:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                with _Rest(self.port) as rest:
                    rest.call("GET", "/api/health")
            except (OSError, http.client.HTTPException, RunFailed):
                time.sleep(0.05)
            else:
                return
        raise RunFailed(f"greenroom was not healthy within 30 s: {self._last_words()}")


class _Rest:
    """One kept-alive HTTP connection."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def __enter__(self) -> "_Rest":
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()

    def call(self, method: str, path: str, token: str = "", body: object = None) -> dict:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if token:
            headers["Authorization"] = f"Bearer {token}"
        self.connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = self.connection.getresponse()
        text = response.read().decode(errors="replace")
        if response.status >= 300:
            raise RunFailed(f"greenroom answered {method} {path} with {response.status}: {text[:300]}")
        return json.loads(text) if text else {}
