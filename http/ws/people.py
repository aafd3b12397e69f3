"""What users are called on their open sockets, and which role they have there: as their row says last.

    a PUT, a new token ──▶ changed(user) ──all sockets say so──▶ nothing to do
                                └─ one says otherwise ──▶ the row is read, and what it says goes to every socket
    whose answer was lost ──▶ perhaps_changed(user) ──────────────┘ as soon as storage answers

Answers of storage do not come in the order of its commits, so what one change left behind may be old by the time that
it is heard. What a row says is newer than every change that was heard of before it was asked for; and of two readings
the one that was asked for later is at least as new, so what an earlier one finds does not undo it.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import trio

from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.presence import SocketPresence
from greenroom.runtime import StorageUnavailable
from greenroom.storage.postgres.users import User, Users

READ_SECONDS_MAX: Final = 5.0
AGAIN_SECONDS: Final = 1.0  # between two questions to a storage that does not answer


@dataclass(slots=True)
class _Readings:
    """Of one user, while there are any: how many are under way, how many were begun, and the latest that was used."""

    under_way: int = 0
    begun: int = 0
    used: int = 0


class People:
    """One per process."""

    def __init__(self, engine: SocketEngine, presence: SocketPresence, users: Users) -> None:
        self._engine = engine
        self._presence = presence
        self._users = users
        self._readings: dict[int, _Readings] = {}
        self._unsure: set[int] = set()  # whose row is yet to be read
        self._is_finding_out = False

    async def changed(self, user: User) -> None:
        """*user* was changed or heard of, and is in storage as told here or, by now, in a newer way.

        Cancellation waits, for READ_SECONDS_MAX at most: the change stands. Without an answer of storage *user* counts.
        """
        if user.id in self._readings or not self._is_said_by_all(user):
            with trio.CancelScope(shield=True):
                await self._read(user.id, user)
        else:
            await trio.lowlevel.checkpoint()

    async def catch_up(self, user_id: int) -> None:
        """A socket of the user came whose principal may be older than a change. Without storage it stays as it is."""
        await self._read(user_id, None)

    def perhaps_changed(self, user_id: int) -> None:
        """Nobody learned whether a change of the user was stored: their row is read, again until storage answers."""
        self._unsure.add(user_id)
        if not self._is_finding_out:
            self._is_finding_out = True
            self._engine.spawn(self._find_out)

    async def _find_out(self) -> None:
        """One question at a time, however many changes were lost."""
        try:
            while self._unsure:
                user_id = self._unsure.pop()  # before it is read: what is lost from here on is read again
                if self._engine.connections_of(user_id) and not await self._read(user_id, None):
                    self._unsure.add(user_id)
                    await trio.sleep(AGAIN_SECONDS)
        finally:
            self._is_finding_out = False

    async def _read(self, user_id: int, otherwise: User | None) -> bool:
        """Whether storage answered."""
        readings = self._readings.setdefault(user_id, _Readings())
        readings.under_way += 1
        readings.begun += 1
        number, user, is_answered = readings.begun, otherwise, False
        try:
            with trio.move_on_after(READ_SECONDS_MAX), suppress(StorageUnavailable):
                user = await self._users.by_id(user_id) or otherwise
                is_answered = True
            if user is not None and readings.used < number:
                readings.used = number
                self._say(user)
        finally:
            readings.under_way -= 1
            if not readings.under_way:
                del self._readings[user_id]
        return is_answered

    def _is_said_by_all(self, user: User) -> bool:
        principals = [connection.session.principal for connection in self._engine.connections_of(user.id)]
        return all(
            principal is None
            or (principal.name == user.name and (principal.kind == "api_key" or principal.role == user.role))
            for principal in principals
        )

    def _say(self, user: User) -> None:
        for connection in self._engine.connections_of(user.id):
            principal = connection.session.principal
            if principal is not None:
                role = principal.role if principal.kind == "api_key" else user.role
                connection.session.principal = replace(principal, name=user.name, role=role)
                self._presence.name(user.id, user.name)
