"""Revocation: a session or API key that ends takes its open sockets with it, whoever ended it.

    told of (`ends.py`): the sessions of a user, keys ──────────────┐
    once a second: the sessions and keys that sockets hang on ──a page at a time──▶ PostgreSQL ──▶ what is otherwise now
        gone, revoked, another user's, without act_as ──▶ 4003 (compat 1008), and refused at every door from then on
        over ──▶ 4002 (compat 1008)                   another expiry ──▶ its sockets take it, sooner or later alike
        a socket that has shown a JWT since outlives the natural end of what opened it, and no other end

Signing out through greenroom closes at once; this is for what others do to the rows: the application's auth service,
`greenroom key revoke`, another node. PostgreSQL tells of sessions and keys that end; their sockets are closed within a
second. The rounds are for sessions that last longer or have come to their end, and for what was not heard: up to a few
thousand credentials are looked at within one to two seconds.

The load is bounded whatever the number of sockets: one question at a time, of at most PAGE_CREDENTIALS ids, with a rest
of PAGE_REST_SECONDS after each, so at most ten questions and 10,000 index look-ups a second; 50,000 sockets of as many
sessions are gone through in 5.3 s, at 4 % of a core (measured). Sockets under a JWT are not looked at, and without
others nothing is asked.

When storage does not answer nobody is closed: not to know is no revocation. A session whose end is known and past is
then closed by its heartbeat (`session.py`).
"""

from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog
import trio

from greenroom.http.auth import ACT_AS_SCOPE, Authenticator, Principal
from greenroom.http.ws.codes import FORBIDDEN, TOKEN_EXPIRED, CloseCode
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.credentials import Credentials
from greenroom.runtime import Clock, StorageUnavailable, sleep_to_tick
from greenroom.storage.postgres.api_keys import ApiKeys
from greenroom.storage.postgres.sessions import SessionInUse, Sessions

log = structlog.get_logger()

ROUND_SECONDS: Final = 1.0
PAGE_CREDENTIALS: Final = 1000
PAGE_REST_SECONDS: Final = 0.1
CLOSES_WITHOUT_REST: Final = 64


@dataclass(frozen=True, slots=True)
class RevocationStatistics:
    """Since the start: rounds, questions asked, sockets closed, and sockets whose session has another expiry now."""

    rounds: int
    questions: int
    closed: int
    renewed: int


class Revocations:
    """One per process. Run `run` in a nursery."""

    def __init__(
        self,
        credentials: Credentials,
        sessions: Sessions,
        api_keys: ApiKeys,
        authenticator: Authenticator,
        clock: Clock,
    ) -> None:
        self._credentials = credentials
        self._sessions = sessions
        self._api_keys = api_keys
        self._authenticator = authenticator
        self._clock = clock
        self._is_blind = False
        self._rounds = self._questions = self._closed = self._renewed = 0

    def statistics(self) -> RevocationStatistics:
        """Counts since the start."""
        return RevocationStatistics(self._rounds, self._questions, self._closed, self._renewed)

    async def run(self) -> None:
        """Look, round after round, for ever."""
        while True:
            try:
                await self._look()
            except StorageUnavailable as error:
                if not self._is_blind:  # once for each time that storage is away
                    log.warning("revocations.not_looked", why=str(error))
                self._is_blind = True
            except Exception:  # a fault here must not end every room; nor may it go unseen
                log.exception("revocations.failed")
            await sleep_to_tick(ROUND_SECONDS)

    async def look_at(self, connections: Iterable[Connection]) -> None:
        """Look at the sessions that these hang on, now. Raises: StorageUnavailable."""
        principals = [self._credentials.shown_by(connection) for connection in connections]
        session_ids = {shown.session_id for shown in principals if shown is not None and shown.kind == "session"}
        for page in _pages(session_ids):
            await self._look_at_sessions(page)

    async def ended(self, sessions: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
        """Of sessions, each (id, user), those that are gone, over, or another's. Raises: StorageUnavailable."""
        ended, now = list[tuple[str, int]](), self._clock.wall_milliseconds() / 1000
        for start in range(0, len(sessions), PAGE_CREDENTIALS):
            page = sessions[start : start + PAGE_CREDENTIALS]
            self._questions += 1
            found = await self._sessions.changed([SessionInUse(*session, expires_at=0.0) for session in page])
            for session_id, user_id in page:
                session = found.get(session_id)  # each of them is told: none ends in 1970 and is not over
                if session is None or session.user_id != user_id or session.expires_at <= now:
                    ended.append((session_id, user_id))
        return ended

    async def look_at_keys(self, key_ids: Container[str] | None) -> None:
        """Look at those of these keys that sockets hang on, now; None: at all. Raises: StorageUnavailable."""
        hanging = [key_id for key_id in self._credentials.api_keys if key_ids is None or key_id in key_ids]
        for page in _pages(hanging):
            await self._look_at_keys(page)

    async def _look(self) -> None:
        """One round. Keys first: they are few, and each may act for many."""
        for key_ids in _pages(self._credentials.api_keys):
            await self._look_at_keys(key_ids)
            await trio.sleep(PAGE_REST_SECONDS)
        for session_ids in _pages(self._credentials.sessions):
            await self._look_at_sessions(session_ids)
            await trio.sleep(PAGE_REST_SECONDS)
        self._rounds += 1

    async def _look_at_keys(self, key_ids: Sequence[str]) -> None:
        self._questions += 1
        for key_id in await self._api_keys.without(key_ids, ACT_AS_SCOPE):
            self._authenticator.forget_key(key_id)
            for connection, _ in self._hanging_on("api_key", key_id):
                await self._close(connection, FORBIDDEN)
        self._is_blind = False

    async def _look_at_sessions(self, session_ids: Sequence[str]) -> None:
        believed = {
            SessionInUse(session_id, principal.user_id, principal.expires_at)
            for session_id in session_ids
            for _, principal in self._hanging_on("session", session_id)
            if principal.user_id is not None and principal.expires_at is not None
        }
        if not believed:  # they have gone by themselves
            return
        self._questions += 1
        changed = await self._sessions.changed(believed)
        self._is_blind = False
        for session_id in changed:
            self._authenticator.forget_session(session_id)
        now = self._clock.wall_milliseconds() / 1000
        for session_id in session_ids:
            for connection, _ in self._hanging_on("session", session_id):
                await self._settle(connection, session_id, changed, now)

    async def _settle(
        self, connection: Connection, session_id: str, changed: dict[str, SessionInUse | None], now: float
    ) -> None:
        """Close a socket, note the new end of its session, or leave it as it is."""
        shown = self._credentials.shown_by(connection)  # as of now: closing others takes time
        principal = connection.session.principal
        if shown is None or shown.expires_at is None or shown.user_id is None or principal is None:
            return
        found = changed.get(session_id, SessionInUse(session_id, shown.user_id, shown.expires_at))
        if found is not None and found.user_id != shown.user_id:
            found = None
        if principal.kind == "session":
            await self._settle_by_session(connection, principal, found, now)
        else:
            await self._settle_by_token(connection, shown.expires_at, found, now)

    async def _settle_by_session(
        self, connection: Connection, principal: Principal, found: SessionInUse | None, now: float
    ) -> None:
        if found is None:
            await self._close(connection, FORBIDDEN)
            return
        if found.expires_at != principal.expires_at:
            connection.session.principal = replace(principal, expires_at=found.expires_at)
            self._credentials.renew(connection, found.expires_at)
            self._renewed += 1
        if found.expires_at <= now:
            await self._close(connection, TOKEN_EXPIRED)

    async def _settle_by_token(
        self, connection: Connection, ends_at: float, found: SessionInUse | None, now: float
    ) -> None:
        """Its time is that of the JWT it has shown since; but who ends its session before its time ends it too."""
        if found is not None and found.expires_at > ends_at:
            self._credentials.renew(connection, found.expires_at)
        elif ends_at <= now:  # the session had its time: nobody can sign out of it any more
            self._credentials.discard(connection)
        elif found is None or found.expires_at <= now:
            await self._close(connection, FORBIDDEN)

    async def _close(self, connection: Connection, code: CloseCode) -> None:
        if not connection.is_closing:
            connection.end(code)
            self._closed += 1
            if self._closed % CLOSES_WITHOUT_REST == 0:
                await trio.lowlevel.checkpoint()

    def _hanging_on(self, kind: str, credential_id: str) -> list[tuple[Connection, Principal]]:
        """The open sockets under a credential, each with what it believes of it."""
        by_id = self._credentials.sessions if kind == "session" else self._credentials.api_keys
        found = []
        for connection in by_id.get(credential_id, ()):
            shown = self._credentials.shown_by(connection)
            if shown is not None and not connection.is_closing:
                found.append((connection, shown))
        return found


def _pages(credential_ids: Iterable[str | None]) -> Iterator[list[str]]:
    """The ids now, a page at a time; those that come meanwhile wait for the next round."""
    ids = [credential_id for credential_id in credential_ids if credential_id is not None]
    for start in range(0, len(ids), PAGE_CREDENTIALS):
        yield ids[start : start + PAGE_CREDENTIALS]
