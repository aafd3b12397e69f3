"""Ends that PostgreSQL tells of: a session or an API key that ends, a user who signs out everywhere, whoever wrote it.

And who becomes invisible, or visible again, in another process: shown here as they were they would be seen. Who polls,
or says over REST that they are here, has no socket to end, and is looked at as well.

    NOTIFY ──▶ the users and keys, each once ──▶ what is remembered of them is dropped ──▶ their sockets are looked at
       while that is under way, who is told of next is gathered; after it a rest of REST_SECONDS
       storage is away, or fails ──▶ those who are here are looked at again, AWAY_REST_SECONDS later
    listening begins, again too ──▶ all who are here: what was told before was not heard

So the load is bounded whatever is told, what is told of users without a socket costs hardly anything, and where nothing
ends nothing is done. What is not heard behind a transaction pooler, the rounds of `Revocations` find, but for JWTs, and
for what keys have opened for a user: who signs out everywhere through one process then keeps what is open in another,
which takes their tokens for as long as it remembers the user. What a key opens after that stays: it is not the user's.
And who is here without a socket is so until they have not been heard from for long.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Final

import structlog
import trio

from greenroom.http.auth import Authenticator
from greenroom.http.claims import is_signed_out
from greenroom.http.ws.codes import FORBIDDEN
from greenroom.http.ws.connection import Connection
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.presence import SocketPresence
from greenroom.http.ws.revocation import CLOSES_WITHOUT_REST, Revocations
from greenroom.http.ws.typists import Begun
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.listening import listen
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.users import Users
from greenroom.storage.postgres.visibility import Visibility

log = structlog.get_logger()

# Of the triggers in storage/sql/migrations/: 0015_ends_told.sql, 0020_keys_told.sql, 0025_invisible_told.sql
CHANNEL: Final = "greenroom_ends"
KEYS_MAX: Final = 1000  # told of by name at once; more of them are all
KEY_CHARACTERS_MAX: Final = 64
REST_SECONDS: Final = 0.1
AWAY_REST_SECONDS: Final = 1.0
PAGE_USERS: Final = 1000


class Ends:
    """One per process. Run `run` in a nursery. look: called with a user of whom a device without a socket has ended."""

    def __init__(
        self,
        postgres: Postgres,
        users: Users,
        engine: SocketEngine,
        authenticator: Authenticator,
        revocations: Revocations,
        visibility: Visibility,
        presence: SocketPresence,
        look: Callable[[int], None],
    ) -> None:
        self._postgres = postgres
        self._users = users
        self._engine = engine
        self._authenticator = authenticator
        self._revocations = revocations
        self._visibility = visibility
        self._presence = presence
        self._look_at_user = look
        self._of_sessions: set[int] = set()
        self._unseen: set[int] | None = set()  # who may have become invisible, or visible; None: anybody
        self._signed_out: set[int] = set()
        self._keys: set[str] = set()  # '*' among them: all
        self._is_told = trio.Event()

    async def run(self) -> None:
        """Hear, and look, for ever."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(partial(listen, self._postgres, CHANNEL, self.heard, self.listening))
            while True:
                await self._is_told.wait()
                self._is_told = trio.Event()
                rest_seconds = REST_SECONDS
                try:
                    await self._look()
                except StorageUnavailable:  # the rounds of `Revocations` tell of it
                    rest_seconds = AWAY_REST_SECONDS
                except Exception:  # a fault here must not end every room; nor may it go unseen
                    log.exception("ends.failed")
                    rest_seconds = AWAY_REST_SECONDS
                await trio.sleep(rest_seconds)

    def listening(self) -> None:
        """From now on is heard what is told; before, somebody may have signed out."""
        self._authenticator.forget_everybody()
        self._signed_out.update(self._engine.users(), self._presence.leases.users(), self._presence.typists.users())
        self._of_sessions.update(self._presence.leases.users(), self._presence.typists.users())
        self._keys.add("*")
        self._unseen = None
        self._is_told.set()

    def heard(self, payload: str) -> None:
        """Take what was told: 'session <user>', 'user <user>', 'invisible <user>', 'key <id>', '*' for all.

        Others may write to it too.
        """
        kind, _, name = payload.partition(" ")
        if kind == "session" and name == "*":
            presence = self._presence
            self._of_sessions.update(self._engine.users(), presence.leases.users(), presence.typists.users())
        elif kind == "invisible" and name == "*":
            self._unseen = None
        elif kind == "key" and 0 < len(name) <= KEY_CHARACTERS_MAX:
            self._keys.add(name if len(self._keys) < KEYS_MAX else "*")
        elif name.isascii() and name.isdigit() and len(name) < 19 and kind in ("session", "user", "invisible"):
            users = {"session": self._of_sessions, "user": self._signed_out, "invisible": self._unseen}[kind]
            if users is not None:
                users.add(int(name))
        else:
            return
        self._is_told.set()

    async def _look(self) -> None:
        of_sessions, self._of_sessions = self._of_sessions, set()
        signed_out, self._signed_out = self._signed_out, set()
        keys, self._keys = self._keys, set()
        unseen, self._unseen = self._unseen, set()
        if "*" in keys:
            self._authenticator.forget_keys()
        for key_id in keys:
            self._authenticator.forget_key(key_id)
        if signed_out:
            self._authenticator.forget_users(signed_out)
        if of_sessions:
            self._authenticator.forget_sessions_of(of_sessions)
        try:
            if unseen is None or unseen:
                await self._visibility.look_again(unseen)
            await self._look_at_tokens([user_id for user_id in signed_out if self._is_here(user_id)])
            await self._revocations.look_at(self._connections_of(of_sessions))
            await self._look_at_polls(of_sessions)
            if keys:
                await self._revocations.look_at_keys(None if "*" in keys else keys)
        except Exception:  # whatever it is: nobody else would find who signed out
            self._of_sessions.update(user_id for user_id in of_sessions if self._is_here(user_id))
            self._signed_out.update(user_id for user_id in signed_out if self._is_here(user_id))
            self._keys |= keys
            self._unseen = None if unseen is None or self._unseen is None else self._unseen | unseen
            self._is_told.set()
            raise

    async def _look_at_tokens(self, user_ids: Sequence[int]) -> None:
        """Close what hangs on a JWT of before, or was opened before by a key that acts for the user.

        The natural end of a JWT is told of, and has its grace.
        """
        for start in range(0, len(user_ids), PAGE_USERS):
            moments = await self._users.signed_out(user_ids[start : start + PAGE_USERS])
            for count, (user_id, moment) in enumerate(moments.items(), 1):
                for connection in tuple(self._engine.connections_of(user_id)):
                    self._look_at_token(connection, moment)
                if self._presence.leases.forget_tokens(user_id, moment):
                    self._look_at_user(user_id)
                self._presence.end_typing(user_id, partial(_is_by_a_token_of_before, moment))
                if count % CLOSES_WITHOUT_REST == 0:
                    await trio.lowlevel.checkpoint()

    @staticmethod
    def _look_at_token(connection: Connection, signed_out_at: float) -> None:
        principal = connection.session.principal
        if principal is None or principal.kind == "session" or connection.is_closing:  # those end with their rows
            return
        if is_signed_out(principal.issued_at, signed_out_at):
            connection.end(FORBIDDEN)

    async def _look_at_polls(self, user_ids: Iterable[int]) -> None:
        """Those who are here by other sessions stay."""
        leases, typists = self._presence.leases, self._presence.typists
        under = [
            (session_id, user_id)
            for user_id in user_ids
            for session_id in leases.sessions_of(user_id) | typists.sessions_of(user_id)
        ]
        for count, (session_id, user_id) in enumerate(await self._revocations.ended(under), 1):
            self._presence.end_typing(user_id, partial(_is_under, session_id))
            if session_id in leases.sessions_of(user_id):
                leases.forget(user_id, session_id)
                self._look_at_user(user_id)
            if count % CLOSES_WITHOUT_REST == 0:
                await trio.lowlevel.checkpoint()

    def _is_here(self, user_id: int) -> bool:
        presence = self._presence
        return bool(self._engine.connections_of(user_id)) or user_id in presence.leases or user_id in presence.typists

    def _connections_of(self, user_ids: Iterable[int]) -> list[Connection]:
        return [connection for user_id in user_ids for connection in self._engine.connections_of(user_id)]


def _is_by_a_token_of_before(signed_out_at: float, begun: Begun) -> bool:
    return begun.token_issued_at is not None and is_signed_out(begun.token_issued_at, signed_out_at)


def _is_under(session_id: str, begun: Begun) -> bool:
    return begun.under == session_id
