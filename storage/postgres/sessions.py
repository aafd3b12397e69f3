"""Sessions: rows that say "whoever shows this id is that user until then".

Written by the application's own auth service, by demo sign-in and by `greenroom token --session`. The id is the secret
(at least 128 bits). A session that is deleted is refused from then on; callers that cache do so for a second at most,
and who holds on to one for longer, as a socket does, asks again whether it is as it was.
"""

import secrets
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from greenroom.storage.postgres.pool import Postgres

SESSION_SECONDS: Final = 7 * 24 * 3600


@dataclass(frozen=True, slots=True)
class Session:
    """A session and its user."""

    id: str
    user_id: int
    expires_at: datetime
    name: str
    role: str


@dataclass(frozen=True, slots=True)
class SessionInUse:
    """What somebody who holds on to a session believes of it. expires_at: Unix seconds."""

    id: str
    user_id: int
    expires_at: float


class Sessions:
    """Find, make and end sessions."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, session_id: str) -> Session | None:
        """The session of that id, also when it has expired. Raises StorageUnavailable."""
        row = await self._postgres.fetch_row("find_session", session_id)
        return None if row is None else Session(row["id"], row["user_id"], row["expires_at"], row["name"], row["role"])

    async def changed(self, believed: Collection[SessionInUse]) -> dict[str, SessionInUse | None]:
        """Those that are otherwise than *believed*, by id, as they are now; None when gone. Raises StorageUnavailable.

        One query, whose answer is empty while nothing changes.
        """
        rows = await self._postgres.fetch(
            "select_changed_sessions",
            [session.id for session in believed],
            [session.user_id for session in believed],
            [session.expires_at for session in believed],
        )
        return {row["id"]: None if row["user_id"] is None else SessionInUse(*row) for row in rows}

    async def create(
        self,
        user_id: int,
        *,
        seconds: int = SESSION_SECONDS,
        user_agent: str | None = None,
        ip_address: str | None = None,
    ) -> tuple[str, datetime]:
        """Make a session of a user that exists; its id and when it expires. Raises StorageUnavailable."""
        session_id, now = secrets.token_urlsafe(32), datetime.now(UTC)
        expires_at = now + timedelta(seconds=seconds)
        await self._postgres.execute("create_session", session_id, user_id, expires_at, user_agent, ip_address, now)
        return session_id, expires_at

    async def delete(self, session_id: str) -> bool:
        """End a session; False when there was none. Raises StorageUnavailable."""
        return await self._postgres.execute("delete_session", session_id) > 0
