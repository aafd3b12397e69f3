"""The servers of the conformance suite: the real process, once over TCP and once over TLS, with compression allowed.

Every test of a `wire` runs four times: on each server, and there with and without an agreement on permessage-deflate.
"""

import secrets
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "acceptance"))

from peer import OFFER, ROOM, USER, Peer, open_peer
from server_process import ServerProcess, sweep_abandoned
from tls_files import TlsFiles, make_tls_files


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What is said here has the size that is asked for, by a field that nobody knows (`pad`)."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.wrong_frames)


@dataclass(frozen=True)
class Wire:
    """A way to reach a server: which one, how, and what the client offers."""

    server: ServerProcess
    tls: TlsFiles | None
    offers: str | None

    def open(self, **changes: Any) -> "AbstractAsyncContextManager[Peer]":
        """A WebSocket of USER."""
        given: dict[str, Any] = {"offers": self.offers, "token": self.server.token(USER), **changes}
        context = self.tls.client if self.tls is not None else None
        opened: AbstractAsyncContextManager[Peer] = open_peer(self.server.port, context, **given)
        return opened

    @property
    def is_deflating(self) -> bool:
        """Whether compression is agreed to."""
        return self.offers is not None


@pytest.fixture(scope="session")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[ServerProcess, TlsFiles | None]]]:
    """Both servers, with USER in ROOM."""
    sweep_abandoned()
    tls = make_tls_files(tmp_path_factory.mktemp("tls"))
    with ExitStack() as stack:
        plain = stack.enter_context(ServerProcess(WS_COMPRESSION="true"))
        secure = stack.enter_context(ServerProcess(WS_COMPRESSION="true", TLS_CERT=tls.certificate, TLS_KEY=tls.key))
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(_start, (plain, secure)))
        yield {"tcp": (plain, None), "tls": (secure, tls)}


def _start(server: ServerProcess) -> None:
    server.start()
    server.rows("insert into users (id, name, created_at, updated_at) values ($1, 'user', now(), now())", USER)
    server.rows(
        "with room as (insert into conversations (id, is_group, is_open, title, created_by_id, created_at, updated_at)"
        " values ($1, true, false, 'room', $2, now(), now()) returning id),"
        " owner as (insert into ownership (kind, key) select 'room', id::text from room)"
        " insert into participants (conversation_id, user_id, role, is_active, joined_at)"
        " select id, $2, 'admin', true, now() from room",
        ROOM,
        USER,
    )


@pytest.fixture(params=["tcp", "tls"])
def transport(
    request: pytest.FixtureRequest, servers: dict[str, tuple[ServerProcess, TlsFiles | None]]
) -> Iterator[tuple[ServerProcess, TlsFiles | None]]:
    """A server; afterwards it must be the same process, and have met nothing unforeseen."""
    server, tls = servers[request.param]
    before, pid = len(server.faults()), server.pid
    yield server, tls
    assert server.is_running, server.log_tail()
    assert server.pid == pid
    faults = server.faults()[before:]
    assert not faults, f"{len(faults)} faults in the server's log, the first: {faults[0]}"


@pytest.fixture(params=["as it is", "deflate"])
def wire(request: pytest.FixtureRequest, transport: tuple[ServerProcess, TlsFiles | None]) -> Wire:
    """A server, and whether permessage-deflate is agreed to."""
    return Wire(*transport, OFFER if request.param == "deflate" else None)


@pytest.fixture
def deflating(transport: tuple[ServerProcess, TlsFiles | None]) -> Wire:
    """A server that agrees to permessage-deflate."""
    return Wire(*transport, OFFER)


@pytest.fixture
async def peer(wire: Wire) -> AsyncIterator[Peer]:
    """A WebSocket that has said nothing yet."""
    async with wire.open() as opened:
        assert (opened.agreed is not None) == wire.is_deflating
        yield opened


@pytest.fixture
async def member(wire: Wire) -> AsyncIterator[tuple[Peer, Callable[[str], Any]]]:
    """A WebSocket in ROOM, and what sends a message there and returns how it came back."""
    async with wire.open() as opened:
        await opened.start(ROOM)
        yield opened, partial(_echo, opened)


async def _echo(peer: Peer, body: str) -> str:
    client_id = secrets.token_hex(8)
    await peer.command("send", ROOM, body=body, clientId=client_id)
    while True:
        event = await peer.event("message", "error")
        if event["type"] == "error":
            raise AssertionError(event)
        if event["data"].get("clientId") == client_id:
            said: str = event["data"]["body"]
            return said
