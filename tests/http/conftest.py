"""What the tests of the front share: an app over a real PostgreSQL, asked through Quart's test client."""

import json
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jwt
import pytest
from trio.testing import wait_all_tasks_blocked

from greenroom.http.app import OPERATIONS, make_app
from greenroom.http.auth import Authenticator
from greenroom.http.checkup import Checkup
from greenroom.http.development import DevelopmentGate
from greenroom.http.origins import Origins, Proxies
from greenroom.http.route import Operations
from greenroom.http.services import Services
from greenroom.http.tickets import Tickets
from greenroom.http.ws.engine import SocketEngine
from greenroom.settings import Settings
from greenroom.storage.asyncio_bridge import open_asyncio_bridge
from greenroom.storage.postgres.api_keys import ApiKeys
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.ids import user_ids
from greenroom.storage.postgres.pool import Postgres, open_postgres
from greenroom.storage.postgres.sessions import Sessions
from greenroom.storage.postgres.users import Users

# What several tests of this folder share, and the wire of the acceptance tests.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parent.parent / "acceptance")]

SECRET = "a secret of this test session that has at least sixty-four bytes in it"
COOKIE_SECRET = "the cookie secret of the auth service"
OWN = "http://127.0.0.1:8787"
DEVELOPMENT_KEY = "the-key-of-this-start"


class Clock:
    """Unix time that only tests move."""

    def __init__(self) -> None:
        self.now = time.time()

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True)
class Front:
    """An app and what it stands on. `client` and `services_with` take settings other than the usual."""

    SECRET = SECRET
    COOKIE_SECRET = COOKIE_SECRET
    OWN = OWN
    DEVELOPMENT_KEY = DEVELOPMENT_KEY

    services: Services
    postgres: Postgres
    api_keys: ApiKeys
    clock: Clock
    operations: tuple[Operations, ...] = OPERATIONS

    def client(self, **settings: Any) -> Any:
        return make_app(self.services_with(**settings), self.operations).test_client(use_cookies=False)

    def services_with(self, **settings: Any) -> Services:
        if not settings:
            return self.services
        changed = Settings(**{**self.services.settings.model_dump(), **settings})
        return replace(
            self.services,
            settings=changed,
            origins=Origins.from_settings(changed),
            proxies=Proxies(changed.trusted_proxies),
            development=DevelopmentGate(changed, DEVELOPMENT_KEY),
        )

    async def ask(self, client: Any, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any, Any]:
        """Status, body and headers of an answer. In the names of *headers*, _ stands for -."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent["Content-Type"] = "application/json"
        data = None if body is None else json.dumps(body).encode()
        response = await client.open(path, method=method, data=data, headers=sent)
        return response.status_code, json.loads(await response.get_data()), response.headers

    def token(self, sub: Any = "17", *, secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
        stated = {"sub": sub, "iat": int(self.clock.now), "exp": int(self.clock.now) + 600, **claims}
        return jwt.encode({name: value for name, value in stated.items() if value is not None}, secret, algorithm)

    def bearer(self, sub: Any = "17", **claims: Any) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token(sub, **claims)}"}

    async def session(self, user_id: int = 17, seconds: int = 600, **claims: str) -> str:
        await self.services.users.know(user_id, claims, self.clock.now)
        return (await self.services.sessions.create(user_id, seconds=seconds))[0]

    async def key(self, *scopes: str, role: str = "service") -> dict[str, str]:
        _, token = await self.api_keys.create(name="tests", role=role, scopes=scopes)
        return {"Authorization": f"Bearer {token}"}


@pytest.fixture
async def front(database: ServerAddress) -> AsyncIterator[Front]:
    async with open_asyncio_bridge() as bridge, open_postgres(bridge, database.connect_arguments()) as postgres:
        yield make_front(postgres)


def make_front(postgres: Postgres) -> Front:
    settings, clock = Settings(), Clock()
    users, sessions, keys = Users(postgres, user_ids(postgres), clock), Sessions(postgres), ApiKeys(postgres)

    async def probe() -> None:
        await postgres.fetch_value("probe")

    services = Services(
        settings=settings,
        users=users,
        sessions=sessions,
        authenticator=Authenticator(
            users=users,
            sessions=sessions,
            api_keys=keys,
            jwt_secret=SECRET.encode(),
            cookie_secret=COOKIE_SECRET.encode(),
            clock=clock,
        ),
        tickets=Tickets(clock),
        origins=Origins.from_settings(settings),
        proxies=Proxies(),
        development=DevelopmentGate(settings, DEVELOPMENT_KEY),
        checkup=Checkup({"database": probe}),
    )
    return Front(services, postgres, keys, clock)


@pytest.fixture
async def engine(nursery):
    """Sockets that no app has opened."""
    engine = SocketEngine(nursery)
    nursery.start_soon(engine.run)
    await wait_all_tasks_blocked()
    return engine
