"""Credentials in use: which sockets hang on which session or API key.

A JWT is good until it expires, or until its user signs out everywhere, which is found by user (`ends.py`): its sockets
are not kept here and cost nothing. A socket under a session or a key costs about 300 bytes. It hangs on what it was
*opened* by, also when it has shown a JWT since (`start`, `refresh`): who signs out ends what was begun under that
session, whatever it goes on with.
"""

from dataclasses import replace
from typing import Final

from greenroom.http.auth import Principal
from greenroom.http.ws.connection import Connection

_REVOCABLE: Final = ("session", "api_key")


class Credentials:
    """sessions and api_keys: the sockets of each, by the id of the credential. Read them, and do not change them."""

    def __init__(self) -> None:
        self.sessions: dict[str, list[Connection]] = {}
        self.api_keys: dict[str, list[Connection]] = {}
        self._shown: dict[Connection, Principal] = {}  # at the opening; a session may have another by now

    def add(self, connection: Connection, principal: Principal | None) -> None:
        """A socket was opened by *principal*."""
        if principal is not None and principal.kind in _REVOCABLE:
            self._shown[connection] = principal
            by_id, credential_id = self._place(principal)
            by_id.setdefault(credential_id, []).append(connection)

    def shown_by(self, connection: Connection) -> Principal | None:
        """What the socket hangs on, with the expiry that was last known; None when on nothing."""
        return self._shown.get(connection)

    def renew(self, connection: Connection, expires_at: float) -> None:
        """The session that the socket hangs on has another end now. expires_at: Unix seconds."""
        self._shown[connection] = replace(self._shown[connection], expires_at=expires_at)

    def discard(self, connection: Connection) -> None:
        """The socket is over, or hangs on nothing any more."""
        principal = self._shown.pop(connection, None)
        if principal is not None:
            by_id, credential_id = self._place(principal)
            mine = by_id[credential_id]
            mine.remove(connection)
            if not mine:
                del by_id[credential_id]

    def _place(self, principal: Principal) -> tuple[dict[str, list[Connection]], str]:
        credential_id = principal.session_id if principal.kind == "session" else principal.key_id
        assert credential_id is not None
        return self.sessions if principal.kind == "session" else self.api_keys, credential_id
