"""The outbox of e-mails: what was acknowledged, who sends it, and every attempt.

- `enqueue` is one transaction: mails, and the answer under their idempotency key. When it returns they are durable.
- `exchange` is what a queue does at each step, in one transaction: write the results of finished attempts, take
  the next mails, and write the row of each new attempt *before* the provider is called.
- Only the owner may write. Every transaction of a queue bumps the ownership row of its account first, and holds it; a
  queue whose token is not the newest gets `Fenced`, and nothing of its transaction is kept.
- A step whose commit is lost may be repeated: results that are known are not written twice, and attempts that were
  committed without anybody hearing of them are taken back (`lost_except`), because nobody called for them.
- A mail keeps its place in the queue (when it was due), whatever it waited for and whoever held it.

Times are milliseconds since 1970 and come from the caller. The request is text to this module: the mail as JSON.
"""

import os
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Any

from greenroom.runtime.ports import Address
from greenroom.storage.postgres.addresses import texts_of
from greenroom.storage.postgres.idempotency import IdempotencyClaim, KeptAnswer, answer_once
from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query

CLAIM_MAILS_MAX = 1_000
HAND_OVER_MAILS_MAX = 1000
GIVE_UP_MAILS_MAX = 1000
# A probe is the first mail, for so many attempts; then the next of so many gets as many. A mail that fails wherever it
# goes must not be the only one by which an account is judged.
PROBE_MAILS = 20
PROBE_ATTEMPTS = 4
ATTEMPTS_FIRST = 10  # of a story
ATTEMPTS_LAST = 40
# Error classes of attempts that the account was not there for: they count in no rate window.
NOT_THERE = ("unavailable", "config", "quota", "throttle", "not_started")
OWNER_KIND = "provider_queue"


class Fenced(Exception):
    """Another activation owns the queue of this account. Nothing was written."""

    def __init__(self, owner: "Owner") -> None:
        super().__init__(
            f"{OWNER_KIND}/{owner.account} is owned by somebody else since token {owner.token}: stand still"
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """The right to send for one provider account."""

    account: str
    token: int


@dataclass(frozen=True, slots=True)
class NewMail:
    """A mail to be kept, to leave at due_ms. priority: 0 first, 2 last."""

    id: str
    request: str
    priority: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Keyed:
    """An idempotency key with the answer that its first request gets."""

    route: str
    key: str
    body_sha256: bytes
    status: int
    answer: str


@dataclass(frozen=True, slots=True)
class Enqueued:
    """The mails are durable."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """The same request was answered before, with this; nothing was stored."""

    status: int
    answer: str


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """The key was used for another body; nothing was stored."""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A mail whose attempt row is committed: call the provider now. attempt: which it is. tries: of those before, the
    ones that count against attempts_max."""

    email_id: str
    attempt_id: str
    request: str
    attempt: int
    tries: int
    attempts_max: int
    due_ms: int


@dataclass(frozen=True, slots=True)
class Result:
    """What came of an attempt (state, provider_message_id, error_…), and of its mail (status … tries; failure, why)."""

    attempt_id: str
    state: str
    status: str
    account: str
    not_before_ms: int
    tries: int
    provider_message_id: str | None = None
    error_class: str | None = None
    error_text: str | None = None
    failure: str | None = None
    failure_text: str | None = None


@dataclass(frozen=True, slots=True)
class Away:
    """How an account stands, as it is kept. since_ms: it takes no mail since then; None: it does.

    parked_ms, until_ms: of the last park. parks: in a row.
    """

    since_ms: int | None
    parked_ms: int
    until_ms: int
    parks: int
    fault: str
    text: str


@dataclass(frozen=True, slots=True)
class HandOver:
    """Give due mails, mails_max at most, to another account."""

    to: str
    mails_max: int = HAND_OVER_MAILS_MAX


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Give up what was due before due_before_ms, for this reason."""

    due_before_ms: int
    failure: str
    text: str


@dataclass(frozen=True, slots=True)
class Exchanged:
    """claimed: in the order to send. next_due_ms: when the next pending mail is due, or None. given_up: ids."""

    claimed: list[Claimed]
    next_due_ms: int | None
    handed_over: int = 0
    given_up: tuple[str, ...] = ()


def new_id(prefix: str, at_ms: int) -> str:
    """An id that sorts by time (48 bits of milliseconds, as in UUIDv7) and cannot be guessed (80 random bits)."""
    return f"{prefix}_{at_ms:012x}{os.urandom(10).hex()}"


class Outbox:
    """The tables `emails` and `email_attempts`."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def enqueue(
        self,
        mails: Sequence[NewMail],
        *,
        principal: str,
        account: str,
        attempts_max: int,
        at_ms: int,
        keyed: Keyed | None = None,
    ) -> Enqueued | Replayed | KeyTaken:
        """Keep *mails*, all or none. Returned `Enqueued`: they are durable. Raises: StorageUnavailable."""

        async def run(connection: Any) -> Enqueued | Replayed | KeyTaken:
            if keyed is not None:
                earlier = await _take_key(connection, principal, keyed, at_ms)
                if earlier is not None:
                    return earlier
            await connection.execute(
                query("email_insert"),
                principal,
                account,
                attempts_max,
                at_ms,
                [mail.id for mail in mails],
                [mail.priority for mail in mails],
                [mail.request for mail in mails],
                [mail.due_ms for mail in mails],
            )
            return Enqueued()

        return await self._postgres.transaction(run)

    async def recover(self, owner: Owner, *, at_ms: int, is_redo_safe: bool) -> list[str]:
        """Settle what earlier owners left transmitting; the ids of those mails.

        is_redo_safe: sending twice is the same as sending once, so they wait again; otherwise they are unknown.
        Raises: Fenced, StorageUnavailable.
        """
        state, why, status = (
            ("failed", "the process ended during the call; sending again changes nothing", "pending")
            if is_redo_safe
            else ("unknown", "the process ended during the call: the provider may have taken the mail", "unknown")
        )

        async def run(connection: Any) -> list[str]:
            await _fence(connection, owner)
            rows = await connection.fetch(
                query("email_settle_left"), owner.account, owner.token, at_ms, state, "interrupted", why, status
            )
            return [row["id"] for row in rows]

        return await self._postgres.transaction(run)

    async def exchange(
        self,
        owner: Owner,
        results: Sequence[Result],
        *,
        claims_max: int,
        at_ms: int,
        is_probe: bool = False,
        away: Away | None = None,
        hand_over: HandOver | None = None,
        give_up: GiveUp | None = None,
        lost_except: Sequence[str] | None = None,
    ) -> Exchanged:
        """Write *results* and how the account stands (*away*), give due mails away or up, claim up to *claims_max*.

        is_probe: of the first mails, take those that were tried least.
        lost_except: the attempts this owner knows of, when an earlier exchange may have been lost.
        Raises: Fenced, StorageUnavailable; then nothing was written, or everything and nobody heard.
        """
        attempt_ids = [new_id("at", at_ms) for _ in range(min(claims_max, CLAIM_MAILS_MAX))]

        async def run(connection: Any) -> Exchanged:
            await _fence(connection, owner)
            if results:
                await _record(connection, results, at_ms)
            if lost_except is not None:
                await connection.fetch(
                    query("email_release_lost"), owner.account, owner.token, at_ms, list(lost_except)
                )
            if away is not None:
                await connection.execute(query("email_account_write"), owner.account, *astuple(away))
            handed_over = await _hand_over(connection, owner, hand_over, at_ms) if hand_over is not None else 0
            given_up = await _give_up(connection, owner, give_up, at_ms) if give_up is not None else ()
            claimed = await _claim(connection, owner, attempt_ids, at_ms, is_probe=is_probe) if attempt_ids else []
            next_due_ms = await connection.fetchval(query("email_next_due"), owner.account)
            return Exchanged(claimed, next_due_ms, handed_over, given_up)

        return await self._postgres.transaction(run)

    async def clock_back(self, owner: Owner, *, at_ms: int, wait_ms_max: int) -> None:
        """The clock may have gone back, to *at_ms*: let nothing wait for where it was.

        wait_ms_max: as long as a mail may wait after an attempt. Raises: Fenced, StorageUnavailable.
        """

        async def run(connection: Any) -> None:
            await _fence(connection, owner)
            await connection.execute(query("email_clock_back"), owner.account, at_ms, wait_ms_max)

        await self._postgres.transaction(run)

    async def away(self) -> dict[str, Away]:
        """The accounts that took no mail when they were last seen."""
        rows = await self._postgres.fetch("email_accounts_away")
        return {
            row["account"]: Away(
                since_ms=row["away_since_ms"],
                parked_ms=row["parked_at_ms"],
                until_ms=row["parked_until_ms"],
                parks=row["parks"],
                fault=row["error_class"],
                text=row["error_text"],
            )
            for row in rows
        }

    async def adopt(self, accounts: Sequence[str], *, folder: str) -> int:
        """Give mails that wait for hosted accounts nobody configures any more to the first of *accounts*."""
        return len(await self._postgres.fetch("email_adopt", accounts[0], list(accounts), folder))

    async def starts(self, account: str, *, since_ms: int, at_ms: int) -> list[tuple[int, int]]:
        """(time, count) of attempts started since *since_ms*, oldest first: what the rate windows begin with."""
        rows = await self._postgres.fetch("email_starts", account, since_ms, at_ms, list(NOT_THERE))
        return [(row["at_ms"], row["starts"]) for row in rows]

    async def mail(self, email_id: str) -> tuple[Any, list[Any]] | None:
        """The row of one mail and the rows of its attempts; None when there is no such mail.

        Of many attempts only the first and the last ones (ATTEMPTS_FIRST, ATTEMPTS_LAST).
        """
        row = await self._postgres.fetch_row("email_by_id", email_id)
        if row is None:
            return None
        return row, await self._postgres.fetch("email_attempts_by_email", email_id, ATTEMPTS_FIRST, ATTEMPTS_LAST)

    async def depths(self) -> list[Any]:
        """Rows of (account, status, mails, oldest_ms) for what is not finished."""
        return await self._postgres.fetch("email_depths")


async def _take_key(connection: Any, principal: str, keyed: Keyed, at_ms: int) -> Replayed | KeyTaken | None:
    """None when the key is ours now; it is kept with the transaction, or not at all."""
    claim = IdempotencyClaim(principal, keyed.route, keyed.key, keyed.body_sha256)
    earlier = await answer_once(connection, claim, KeptAnswer(keyed.status, keyed.answer), at_ms)
    if isinstance(earlier, KeptAnswer):
        return Replayed(earlier.status, earlier.body)
    return None if earlier is None else KeyTaken()


async def _fence(connection: Any, owner: Owner) -> None:
    """Hold the ownership row until the end of the transaction. Raises: Fenced."""
    row = texts_of(Address(OWNER_KIND, owner.account))
    if await connection.fetchval(query("email_fence"), *row, owner.token) is None:
        raise Fenced(owner)


async def _record(connection: Any, results: Sequence[Result], at_ms: int) -> None:
    await connection.fetch(
        query("email_record"),
        at_ms,
        [result.attempt_id for result in results],
        [result.state for result in results],
        [result.provider_message_id for result in results],
        [result.error_class for result in results],
        [result.error_text for result in results],
        [result.status for result in results],
        [result.account for result in results],
        [result.not_before_ms for result in results],
        [result.tries for result in results],
        [result.failure for result in results],
        [result.failure_text for result in results],
    )


async def _hand_over(connection: Any, owner: Owner, order: HandOver, at_ms: int) -> int:
    rows = await connection.fetch(query("email_hand_over"), owner.account, order.to, at_ms, order.mails_max)
    return len(rows)


async def _give_up(connection: Any, owner: Owner, order: GiveUp, at_ms: int) -> tuple[str, ...]:
    rows = await connection.fetch(
        query("email_give_up"),
        owner.account,
        at_ms,
        order.due_before_ms,
        order.failure,
        order.text,
        GIVE_UP_MAILS_MAX,
    )
    return tuple(row["id"] for row in rows)


async def _claim(connection: Any, owner: Owner, attempt_ids: list[str], at_ms: int, *, is_probe: bool) -> list[Claimed]:
    first = PROBE_MAILS if is_probe else len(attempt_ids)
    rows = await connection.fetch(
        query("email_claim"), owner.account, owner.token, at_ms, attempt_ids, first, PROBE_ATTEMPTS
    )
    return [
        Claimed(
            email_id=row["id"],
            attempt_id=row["attempt_id"],
            request=row["request"],
            attempt=row["attempts"],
            tries=row["tries"],
            attempts_max=row["attempts_max"],
            due_ms=row["due_ms"],
        )
        for row in rows
    ]
