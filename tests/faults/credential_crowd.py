"""Connections without sockets, each under a session, for numbers that a test cannot open."""

from types import SimpleNamespace
from typing import Any

import trio

from greenroom.http.auth import Principal
from greenroom.http.ws.codes import CloseCode
from greenroom.http.ws.credentials import Credentials


class Crowd:
    """What `Revocations` needs of the engine, and `Ends`. closed: by session, the code and when, by the clock *now*."""

    def __init__(self) -> None:
        self.now = trio.current_time
        self.credentials = Credentials()
        self.closed: dict[str | None, tuple[int, float]] = {}
        self._by_user: dict[int, list[Any]] = {}

    def add(self, principal: Principal) -> None:
        """One more."""
        connection: Any = Person(self, principal)
        self.credentials.add(connection, principal)
        self._by_user.setdefault(principal.require_user(), []).append(connection)

    def connections_of(self, user_id: int) -> list[Any]:
        """As of the engine."""
        return self._by_user.get(user_id, [])

    def users(self) -> list[int]:
        """As of the engine."""
        return list(self._by_user)


class Person:
    """One connection."""

    def __init__(self, crowd: Crowd, principal: Principal) -> None:
        self.session, self.crowd, self.is_closing = SimpleNamespace(principal=principal), crowd, False

    def end(self, code: CloseCode) -> None:
        """As of a connection."""
        self.is_closing = True
        self.crowd.closed[self.session.principal.session_id] = (code.code, self.crowd.now())
