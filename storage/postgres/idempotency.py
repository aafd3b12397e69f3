"""Idempotency keys: the answer to an unsafe request, kept for KEPT_MS under (principal, route, key).

    claim ──▶ None: it is ours; do the work ──▶ keep (its answer) or release (it changed nothing)
          └─▶ an Answer: it was done before · KeyConflict: for another body · KeyInFlight: it is being done now

Where the work is a transaction of ours, claim and keep belong to that transaction: the coroutines `claim_key` and
`keep_answer` take its connection; where its answer is known before it is done, `answer_once` is both. Where the work is
an actor's, which commits by itself, use `IdempotencyKeys`; such work must be harmless to repeat, because a process that
dies between the work and `keep` leaves a claim that is taken over after CLAIM_MS.

Times are milliseconds since 1970 and come from the caller.
"""

from dataclasses import dataclass
from typing import Any, Final

from greenroom.storage.postgres.pool import Postgres
from greenroom.storage.postgres.queries import query

KEPT_MS: Final = 24 * 3600 * 1000
CLAIM_MS: Final = 90_000  # longer than the slowest work: to keep a file may take a minute


@dataclass(frozen=True, slots=True)
class IdempotencyClaim:
    """A request with a key. route: method and path with its ids; body_sha256: of the body, however it is compared."""

    principal: str
    route: str
    key: str
    body_sha256: bytes

    @property
    def name(self) -> tuple[str, str, str]:
        """The primary key."""
        return self.principal, self.route, self.key


@dataclass(frozen=True, slots=True)
class KeptAnswer:
    """What was answered: the HTTP status, and `data` as JSON text."""

    status: int
    body: str
    is_replay: bool = False


class KeyConflict:
    """The key was used for another body; nothing was done."""


class KeyInFlight:
    """A request with this key is under way; nothing was done."""


Earlier = KeptAnswer | KeyConflict | KeyInFlight


class IdempotencyKeys:
    """Keys of work that commits by itself."""

    def __init__(self, postgres: Postgres) -> None:
        self._postgres = postgres

    async def claim(self, claim: IdempotencyClaim, at_ms: int) -> Earlier | None:
        """Take the key: None when it is ours now. Raises: StorageUnavailable."""
        return await self._postgres.transaction(lambda connection: _claim(connection, claim, at_ms))

    async def keep(self, claim: IdempotencyClaim, answer: KeptAnswer) -> None:
        """Keep the answer of the work. Raises: StorageUnavailable."""
        await self._postgres.execute("idempotency_keep", *claim.name, answer.status, answer.body)

    async def release(self, claim: IdempotencyClaim) -> None:
        """The work was refused and changed nothing: the key is free again. Raises: StorageUnavailable."""
        await self._postgres.execute("idempotency_release", *claim.name)


# -- for `Postgres.transaction` ---------------------------------------------------------------------------------------


async def claim_key(connection: Any, claim: IdempotencyClaim, at_ms: int) -> Earlier | None:
    """Take the key within a transaction; it is taken when that commits, and free again when it does not."""
    if not await connection.fetchval(query("idempotency_lock"), *claim.name):
        return KeyInFlight()
    return await _claim(connection, claim, at_ms)


async def keep_answer(connection: Any, claim: IdempotencyClaim, answer: KeptAnswer) -> None:
    """Keep the answer within the transaction that took the key."""
    await connection.execute(query("idempotency_keep"), *claim.name, answer.status, answer.body)


async def answer_once(connection: Any, claim: IdempotencyClaim, answer: KeptAnswer, at_ms: int) -> Earlier | None:
    """Take the key and keep the answer within a transaction, which then does the work; None when the key is ours.

    Waits for a transaction that is taking the key now: such work is short, and the second caller gets its answer too.
    """
    earlier = await _claim(connection, claim, at_ms)
    if earlier is None:
        await keep_answer(connection, claim, answer)
    return earlier


async def _claim(connection: Any, claim: IdempotencyClaim, at_ms: int) -> Earlier | None:
    forgotten_before, abandoned_before = at_ms - KEPT_MS, at_ms - CLAIM_MS
    await connection.execute(query("idempotency_prune"), forgotten_before)
    taken = await connection.fetchval(
        query("idempotency_claim"), *claim.name, claim.body_sha256, forgotten_before, abandoned_before, at_ms
    )
    if taken is not None:
        return None
    row = await connection.fetchrow(query("idempotency_answer"), *claim.name)
    if row is None:
        return KeyInFlight()  # released this moment
    if row["body_sha256"] != claim.body_sha256:
        return KeyConflict()
    return KeptAnswer(row["status"], row["body"], is_replay=True) if row["status"] else KeyInFlight()
