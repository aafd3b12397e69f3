"""Users: who is known, under which id, and what to call them.

A user appears from the claims of a token, or because a service puts it. The subject decides the id:

- a whole number below 2^40 *is* the id: that range belongs to whoever issues tokens, and nothing is allocated in it;
- anything else is an external id, and the user's id comes from the sequence that starts at 2^40.

A token and a PUT may say different things about a field of a user (name, email, locale, time zone, role), and a user
may hold several live tokens that do not agree. So each field remembers since when it stands, and what the issuer said
last:

- a claim counts when its token was issued (iat) after that moment, and says something else than the issuer said before;
- a PUT always counts, and stands against every token issued until CLOCK_SKEW_SECONDS after it;
- a token without iat is as old as can be: it fills in what nobody has told yet.

So whatever the order in which tokens are shown, the latest issued decides; one that was around before a PUT never
undoes it, nor gives back a right that a later token has taken; and people who have set their own name keep it until the
issuer says something new. Of two tokens issued in the same second the first shown counts.

Many sign in at once after a restart, so callers of `know` share statements: while one batch is under way the next one
gathers, up to BATCH_USERS_MAX. So do those of `by_id`: of ten thousand who waited at the door each is looked at again.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import trio

from greenroom.runtime.ports import StorageUnavailable
from greenroom.storage.postgres.ids import Ids
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.together import Rest, Together
from greenroom.storage.subjects import ISSUER_ID_LIMIT, Subject

BATCH_USERS_MAX: Final = 500
CLOCK_SKEW_SECONDS: Final = 3.0  # how far the issuer's clock may be ahead of ours
_FIELDS: Final = ("name", "email", "locale", "timezone", "role")

Claims = Mapping[str, str]
_Told = dict[str, tuple[str, float]]  # by field: what was said, and when


@dataclass(frozen=True, slots=True)
class User:
    """A user as stored. signed_out_at: Unix seconds; no token that was issued before it is theirs any more."""

    id: int
    external_id: str | None
    name: str
    email: str | None
    locale: str
    timezone: str
    role: str
    signed_out_at: float | None = None


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

    told: dict[Subject, _Told] = field(default_factory=dict)
    users: dict[Subject, User] | None = None
    renamed: set[Subject] = field(default_factory=set)  # those who have another name or role by it
    fault: Exception | None = None


class Users:
    """The directory. `ids` gives the ids of users with a string subject; `clock` is Unix time in seconds."""

    def __init__(self, postgres: Postgres, ids: Ids, clock: Callable[[], float] = time.time) -> None:
        self._postgres = postgres
        self._ids = ids
        self._clock = clock
        self._gathering = _Batch()
        self._lock = trio.Lock()
        self._rest = Rest()
        self._by_id = Together(self._users_of)

    async def know(self, subject: Subject, claims: Claims, issued_at: float | None = None) -> User:
        """The user of *subject*, made or brought up to date by *claims* (name, email, locale, timezone, role).

        An int is the user's id and must be below ISSUER_ID_LIMIT; a str is an external id. issued_at: when that was
        said, in Unix seconds; None counts only for what nobody has told. Raises StorageUnavailable.
        """
        return (await self.hear(subject, claims, issued_at))[0]

    async def hear(self, subject: Subject, claims: Claims, issued_at: float | None = None) -> tuple[User, bool]:
        """As `know`, and whether the user, who was there before, has another name or role by it."""
        if isinstance(subject, int) and not 0 < subject < ISSUER_ID_LIMIT:
            raise ValueError(f"{subject} is no id that an issuer may give out")
        if len(self._gathering.told) >= BATCH_USERS_MAX:
            self._gathering = _Batch()
        batch = self._gathering
        _hear(batch.told.setdefault(subject, {}), claims, issued_at or 0.0)
        async with self._lock:
            if batch.users is None and batch.fault is None:
                await self._rest.wait()
                await self._settle(batch)
                self._rest.begin(len(batch.told))
        if isinstance(batch.fault, StorageUnavailable):
            raise StorageUnavailable(str(batch.fault)) from batch.fault
        if batch.fault is not None:
            raise RuntimeError("the directory could not store the users of a batch") from batch.fault
        assert batch.users is not None
        return batch.users[subject], subject in batch.renamed

    async def by_id(self, user_id: int) -> User | None:
        """The user of *user_id*, read after this was called. Raises: StorageUnavailable."""
        return await self._by_id.get(user_id)

    async def by_email(self, email: str) -> User | None:
        """The longest known user with that address."""
        row = await self._postgres.fetch_row("find_user_by_email", email)
        return None if row is None else _user(row)

    async def change(self, user_id: int, change: UserChange) -> User | None:
        """Change a user that exists; None when there is none."""
        row = await self._postgres.fetch_row("change_user", user_id, *self._values(change))
        return None if row is None else _user(row)

    async def put(self, user_id: int, change: UserChange) -> tuple[User, bool]:
        """Make or change the user of an id that the application gave out; True when it is new.

        Raises ValueError for an id of greenroom's own range: those exist already or belong to nobody.
        """
        if not 0 < user_id < ISSUER_ID_LIMIT:
            raise ValueError(f"{user_id} is no id that an application may give out")
        row = await self._postgres.fetch_row("put_user", user_id, *self._values(change))
        assert row is not None
        return _user(row), row["is_new"]

    async def sign_out(self, user_id: int) -> bool:
        """End all sessions of a user, and all tokens that were issued until now; False when there is no such user."""
        return await self._postgres.execute("sign_out_user", user_id, self._now()) > 0

    async def signed_out(self, user_ids: Collection[int]) -> dict[int, float]:
        """When these signed out everywhere last, in Unix seconds; those who never did are absent."""
        rows = await self._postgres.fetch("users_signed_out", list(user_ids)) if user_ids else []
        return {row["id"]: row["signed_out_at"].timestamp() for row in rows}

    async def names(self, user_ids: Collection[int]) -> dict[int, str]:
        """What to call these users where others see them; those who do not exist are absent."""
        rows = await self._postgres.fetch("user_names", list(user_ids)) if user_ids else []
        return {row["id"]: row["name"] for row in rows}

    async def exists(self, user_ids: Collection[int]) -> set[int]:
        """Those of *user_ids* that belong to somebody."""
        rows = await self._postgres.fetch("existing_users", list(user_ids)) if user_ids else []
        return {row["id"] for row in rows}

    async def _users_of(self, user_ids: list[int]) -> dict[int, User]:
        return {row["id"]: _user(row) for row in await self._postgres.fetch("find_users", user_ids)}

    async def _settle(self, batch: _Batch) -> None:
        if batch is self._gathering:
            self._gathering = _Batch()
        try:
            batch.users = await self._store(batch)
        except Exception as fault:
            batch.fault = fault  # for all who wait, or each would find out by a timeout of its own

    async def _store(self, batch: _Batch) -> dict[Subject, User]:
        told = batch.told
        numbers = [subject for subject in told if isinstance(subject, int)]
        words = [subject for subject in told if isinstance(subject, str)]
        rows = await self._postgres.fetch("find_users_by_subject", numbers, words)
        stored = {_subject(row): row for row in rows}
        users = {subject: _user(row) for subject, row in stored.items() if not _is_news(told[subject], row)}
        if named := [subject for subject in numbers if subject not in users]:
            said, said_at = _columns([told[subject] for subject in named])
            rows = await self._postgres.fetch("store_users_by_id", named, said, said_at, self._now())
            users.update((_subject(row), _user(row)) for row in rows)
        if heard := [subject for subject in words if subject not in users]:
            ids = [stored[word]["id"] if word in stored else await self._ids.take() for word in heard]
            said, said_at = _columns([told[subject] for subject in heard])
            rows = await self._postgres.fetch("store_users_by_external_id", ids, heard, said, said_at, self._now())
            users.update((_subject(row), _user(row)) for row in rows)
        batch.renamed.update(
            subject
            for subject, row in stored.items()
            if subject in users and _standing(users[subject]) != _standing(_user(row))
        )
        return users

    def _values(self, change: UserChange) -> tuple[object, ...]:
        """The fields of *change*, until when no token undoes them, and now: as `change_user` takes them."""
        until = self._clock() + CLOCK_SKEW_SECONDS
        told_at = {name: until for name in _FIELDS if getattr(change, name) is not None}
        return *(getattr(change, name) for name in _FIELDS), json.dumps(told_at), self._now()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock(), UTC)


def _hear(told: _Told, claims: Claims, issued_at: float) -> None:
    """Add what a token says to what others of the same user say at the same time: of each field the latest counts."""
    for name, value in claims.items():
        if name not in told or told[name][1] < issued_at:
            told[name] = value, issued_at


def _is_news(told: _Told, row: Any) -> bool:
    """Whether something was said later than what stands. The statements that store decide; this spares them."""
    told_at = json.loads(row["told_at"])
    return any(name not in told_at or told_at[name] < said_at for name, (_, said_at) in told.items())


def _columns(tellings: list[_Told]) -> tuple[list[str], list[str]]:
    said = [json.dumps({name: value for name, (value, _) in told.items()}) for told in tellings]
    return said, [json.dumps({name: said_at for name, (_, said_at) in told.items()}) for told in tellings]


def _subject(row: Any) -> Subject:
    subject: Subject = row["id"] if row["external_id"] is None else row["external_id"]
    return subject


def _standing(user: User) -> tuple[str, str]:
    return user.name, user.role


def _user(row: Any) -> User:
    return User(
        row["id"],
        row["external_id"],
        row["name"],
        row["email"],
        row["locale"],
        row["timezone"],
        row["role"],
        None if row["signed_out_at"] is None else row["signed_out_at"].timestamp(),
    )
