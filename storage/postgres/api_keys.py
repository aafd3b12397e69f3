"""API keys: `grk_<id>_<secret>`, for programs.

Only the SHA-256 of the secret is stored. A plain hash is right here: the secret is 256 random bits, so there is nothing
to guess and no need for a slow one. A key's scopes say what it may do; `act_as` lets it act for a user.
"""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from greenroom.storage.postgres.pool import Postgres

KEY_PREFIX: Final = "grk_"
KNOWN_SCOPES: Final = ("act_as", "email:send", "notifications:send", "reports:read", "users:write")
KEY_ROLES: Final = ("service", "admin")


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key as stored."""

    id: str
    secret_sha256: bytes
    name: str
    role: str
    scopes: frozenset[str]
    created_at: datetime
    revoked_at: datetime | None

    def matches(self, secret: str) -> bool:
        """Whether *secret* is this key's, in constant time."""
        return hmac.compare_digest(_digest(secret), self.secret_sha256)


def split_key(token: str) -> tuple[str, str] | None:
    """(id, secret) of a token that looks like a key; None otherwise."""
    key_id, _, secret = token.removeprefix(KEY_PREFIX).partition("_")
    return (key_id, secret) if token.startswith(KEY_PREFIX) and key_id and secret else None


class ApiKeys:
    """Find, make, list and revoke keys."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def find(self, key_id: str) -> ApiKey | None:
        """The key of that id, also when it is revoked. Raises StorageUnavailable."""
        row = await self._postgres.fetch_row("find_api_key", key_id)
        return None if row is None else _key(row)

    async def without(self, key_ids: Sequence[str], scope: str) -> set[str]:
        """Those of *key_ids* that are gone, revoked, or do not have *scope*. Raises StorageUnavailable."""
        return {row["id"] for row in await self._postgres.fetch("select_keys_without", key_ids, scope)}

    async def create(self, *, name: str, role: str, scopes: Sequence[str]) -> tuple[str, str]:
        """Make a key; its id, and the token, which is shown once. Raises StorageUnavailable."""
        key_id, secret = secrets.token_hex(8), secrets.token_urlsafe(32)
        await self._postgres.execute(
            "create_api_key", key_id, _digest(secret), name, role, sorted(set(scopes)), datetime.now(UTC)
        )
        return key_id, f"{KEY_PREFIX}{key_id}_{secret}"

    async def all(self) -> list[ApiKey]:
        """All keys, the newest first."""
        return [_key(row) for row in await self._postgres.fetch("list_api_keys")]

    async def revoke(self, key_id: str) -> bool:
        """End a key; False when there is none of that id that was still good."""
        return await self._postgres.execute("revoke_api_key", key_id, datetime.now(UTC)) > 0


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "surrogateescape")).digest()


def _key(row: Any) -> ApiKey:
    return ApiKey(
        row["id"],
        bytes(row["secret_sha256"]),
        row["name"],
        row["role"],
        frozenset(row["scopes"]),
        row["created_at"],
        row["revoked_at"],
    )
