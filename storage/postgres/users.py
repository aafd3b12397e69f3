"""Users: who is known, under which id, and what to call them.

A user appears from the claims of a token, or because a service puts it. The subject decides the id:

- a whole number below 2^40 *is* the id: that range belongs to whoever issues tokens, and nothing is allocated in it;
- anything else is an external id, and the user's id comes from the sequence that starts at 2^40.

The claims a user was last seen with are kept. They change the row only when they differ from those: a user who has set
their own name keeps it until the issuer says something new.

Many sign in at once after a restart, so callers of `know` share statements: while one batch is under way the next one
gathers, up to BATCH_USERS_MAX.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.postgres.ids import Ids
from greenroom.storage.postgres.pool import Postgres

ISSUER_ID_LIMIT: Final = 2**40
BATCH_USERS_MAX: Final = 500

Subject = int | str
Claims = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored."""

    id: int
    external_id: str | None
    name: str
    email: str | None
    locale: str
    timezone: str
    role: str


@dataclass(frozen=True, slots=True)
class UserChange:
    """What to set; None leaves a field as it is."""

    name: str | None = None
    email: str | None = None
    locale: str | None = None
    timezone: str | None = None
    role: str | None = None


@dataclass(slots=True, eq=False)
class _Batch:
    """Callers of `know` that are answered by the same statements."""

    claims: dict[Subject, Claims] = field(default_factory=dict)
    users: dict[Subject, User] | None = None
    fault: Exception | None = None


class Users:
    """The directory. `ids` gives the ids of users with a string subject."""

    def __init__(self, postgres: Postgres, ids: Ids) -> None:
        self._postgres = postgres
        self._ids = ids
        self._gathering = _Batch()
        self._lock = trio.Lock()

    async def know(self, subject: Subject, claims: Claims) -> User:
        """The user of *subject*, made or brought up to date by *claims* (name, email, locale, timezone, role).

        An int is the user's id and must be below ISSUER_ID_LIMIT; a str is an external id. Of callers with the same
        subject at the same time, the claims of the last one count. Raises StorageUnavailable.
        """
        if isinstance(subject, int) and not 0 < subject < ISSUER_ID_LIMIT:
            raise ValueError(f"{subject} is no id that an issuer may give out")
        if len(self._gathering.claims) >= BATCH_USERS_MAX:
            self._gathering = _Batch()
        batch = self._gathering
        batch.claims[subject] = claims
        async with self._lock:
            if batch.users is None and batch.fault is None:
                await self._settle(batch)
        if isinstance(batch.fault, StorageUnavailable):
            raise StorageUnavailable(str(batch.fault)) from batch.fault
        if batch.fault is not None:
            raise RuntimeError("the directory could not store the users of a batch") from batch.fault
        assert batch.users is not None
        return batch.users[subject]

    async def by_id(self, user_id: int) -> User | None:
        """The user of *user_id*."""
        row = await self._postgres.fetch_row("find_user", user_id)
        return None if row is None else _user(row)

    async def by_email(self, email: str) -> User | None:
        """The longest known user with that address."""
        row = await self._postgres.fetch_row("find_user_by_email", email)
        return None if row is None else _user(row)

    async def change(self, user_id: int, change: UserChange) -> User | None:
        """Change a user that exists; None when there is none."""
        row = await self._postgres.fetch_row("change_user", user_id, *_values(change), _now())
        return None if row is None else _user(row)

    async def put(self, user_id: int, change: UserChange) -> tuple[User, bool]:
        """Make or change the user of an id that the application gave out; True when it is new.

        Raises ValueError for an id of greenroom's own range: those exist already or belong to nobody.
        """
        if not 0 < user_id < ISSUER_ID_LIMIT:
            raise ValueError(f"{user_id} is no id that an application may give out")
        row = await self._postgres.fetch_row("put_user", user_id, *_values(change), _now())
        assert row is not None
        return _user(row), row["is_new"]

    async def names(self, user_ids: Collection[int]) -> dict[int, str]:
        """What to call these users where others see them; those who do not exist are absent."""
        rows = await self._postgres.fetch("user_names", list(user_ids)) if user_ids else []
        return {row["id"]: row["name"] for row in rows}

    async def exists(self, user_ids: Collection[int]) -> set[int]:
        """Those of *user_ids* that belong to somebody."""
        rows = await self._postgres.fetch("existing_users", list(user_ids)) if user_ids else []
        return {row["id"] for row in rows}

    async def _settle(self, batch: _Batch) -> None:
        if batch is self._gathering:
            self._gathering = _Batch()
        try:
            batch.users = await self._store(batch.claims)
        except Exception as fault:
            batch.fault = fault  # for all who wait, or each would find out by a timeout of its own

    async def _store(self, claims: dict[Subject, Claims]) -> dict[Subject, User]:
        numbers = [subject for subject in claims if isinstance(subject, int)]
        words = [subject for subject in claims if isinstance(subject, str)]
        rows = await self._postgres.fetch("find_users_by_subject", numbers, words)
        stored = {_subject(row): row for row in rows}
        users = {subject: _user(row) for subject, row in stored.items() if json.loads(row["claims"]) == claims[subject]}
        if told := [subject for subject in numbers if subject not in users]:
            rows = await self._postgres.fetch("store_users_by_id", told, _texts(told, claims), _now())
            users.update((_subject(row), _user(row)) for row in rows)
        if heard := [subject for subject in words if subject not in users]:
            ids = [stored[word]["id"] if word in stored else await self._ids.take() for word in heard]
            rows = await self._postgres.fetch("store_users_by_external_id", ids, heard, _texts(heard, claims), _now())
            users.update((_subject(row), _user(row)) for row in rows)
        return users


def _subject(row: Any) -> Subject:
    subject: Subject = row["id"] if row["external_id"] is None else row["external_id"]
    return subject


def _texts(subjects: Sequence[Subject], claims: Mapping[Subject, Claims]) -> list[str]:
    return [json.dumps(dict(claims[subject])) for subject in subjects]


def _user(row: Any) -> User:
    return User(row["id"], row["external_id"], row["name"], row["email"], row["locale"], row["timezone"], row["role"])


def _values(change: UserChange) -> tuple[str | None, ...]:
    return change.name, change.email, change.locale, change.timezone, change.role


def _now() -> datetime:
    return datetime.now(UTC)
