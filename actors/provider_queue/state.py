"""What a provider queue decides, without waiting for anything: what becomes of a mail, and of the account.

    outcome              mail                                          account              counts as a try
    accepted             done                                          healthy              -
    unknown              stays unknown: never sent again, by nobody    half a failure       -
    deferred (429)       waits for the reset; fails over if it is far  parked until reset   no
    quota                fails over at once, else waits                parked an hour       no
    config               fails over at once, else waits                parked, shown        no
    unavailable          fails over at once; when every account had    a failure; parked    yes
                         its try, waits (full jitter); gives up after  after several
                         tries_max tries at each account
    content, recipient   gives up                                      healthy              -

Waiting for a limit or for an operator never uses a mail up; only its age does (MAIL_MS_MAX). A parked account starts
nothing. It gives its due mails to another account that is open, unless it opens soon itself. After a park for anything
but a throttle it is half open: one mail at a time, until one goes through. In an outage that probe is all that uses
tries, so a backlog outlives it.

Times are milliseconds since 1970, jitter is a random number in [0, 1].
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from greenroom.actors.providers.provider import Accepted, Deferred, Fault, Outcome, Rejected, Unknown
from greenroom.storage.postgres.outbox import Claimed, Result

MAIL_MS_MAX = 24 * 3600 * 1000  # after this, a mail that still fails is given up
PARK_QUOTA_MS = 3600 * 1000
PARK_CONFIG_MS = 5 * 60 * 1000
THROTTLE_MS_FAR = 60 * 1000  # a reset further away than this is worth a failover
FAILURES_MAX = 5.0  # in a row; an unknown outcome is half of one
DOUBLINGS_MAX = 30

Move = Literal["done", "unknown", "retry", "fail_over", "give_up"]


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """The settings of the queues. accounts: all of them, first choice first.

    tries_max: of one mail at one account. windows: (span_ms, limit) pairs. concurrent: calls at a time per account.
    """

    accounts: tuple[str, ...]
    tries_max: int = 3
    retry_ms_min: int = 1_000
    retry_ms_max: int = 30_000
    concurrent: int = 5
    poll_ms: int = 10_000
    windows: tuple[tuple[int, int], ...] = ((60_000, 50), (3_600_000, 1_000), (86_400_000, 10_000))

    @property
    def attempts_max(self) -> int:
        """Tries of one mail at all accounts together."""
        return self.tries_max * len(self.accounts)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a mail (move), and what to write."""

    move: Move
    result: Result


def backoff_ms(policy: QueuePolicy, nth: int, jitter: float) -> int:
    """Full jitter under a ceiling that doubles: the first wait is at most retry_ms_min, none above retry_ms_max."""
    ceiling = min(policy.retry_ms_min << min(nth - 1, DOUBLINGS_MAX), policy.retry_ms_max)
    return round(ceiling * jitter)


def next_account(policy: QueuePolicy, account: str, parked: Mapping[str, int], now_ms: int) -> str | None:
    """The account after *account*, in a ring, that is open; None when none is. parked: until when, by account."""
    start = policy.accounts.index(account) if account in policy.accounts else -1
    ring = policy.accounts[start + 1 :] + policy.accounts[: max(start, 0)]
    return next((other for other in ring if parked.get(other, 0) <= now_ms), None)


def judge(
    outcome: Outcome,
    claimed: Claimed,
    account: str,
    *,
    policy: QueuePolicy,
    parked: Mapping[str, int],
    now_ms: int,
    jitter: float,
) -> Verdict:
    """Decide what becomes of a mail after an attempt at *account*. parked: the other accounts, as far as known."""
    case = _Case(claimed, account, policy, next_account(policy, account, parked, now_ms), now_ms, jitter)
    match outcome:
        case Accepted(provider_message_id):
            return case.end("done", "accepted", "sent", provider_message_id=provider_message_id)
        case Unknown(text):
            return case.end("unknown", "unknown", "unknown", "ambiguous", text)
        case Deferred(until_ms, text):
            return case.throttled(until_ms, text)
        case Rejected(Fault.THROTTLE, text):
            return case.throttled(None, text)
        case Rejected(Fault.QUOTA, text):
            return case.refused("quota", text, now_ms + PARK_QUOTA_MS)
        case Rejected(Fault.CONFIG, text):
            return case.refused("config", text, now_ms + PARK_CONFIG_MS)
        case Rejected(Fault.UNAVAILABLE, text):
            return case.unavailable(text)
        case Rejected(fault, text):
            return case.end("give_up", "rejected", "failed", fault.value, text)


@dataclass(frozen=True, slots=True)
class _Case:
    """One attempt to be judged."""

    claimed: Claimed
    account: str
    policy: QueuePolicy
    other: str | None
    now_ms: int
    jitter: float

    def throttled(self, until_ms: int | None, text: str) -> Verdict:
        wait_ms = until_ms if until_ms is not None else self.now_ms + backoff_ms(self.policy, 1, self.jitter)
        if self.other is not None and wait_ms - self.now_ms > THROTTLE_MS_FAR:
            return self._go("fail_over", "deferred", self.other, self.now_ms, "throttle", text)
        return self._go("retry", "deferred", self.account, wait_ms, "throttle", text)

    def refused(self, why: str, text: str, open_ms: int) -> Verdict:
        if self.other is not None:
            return self._go("fail_over", "rejected", self.other, self.now_ms, why, text)
        return self._go("retry", "rejected", self.account, open_ms, why, text)

    def unavailable(self, text: str) -> Verdict:
        tries, accounts = self.claimed.tries + 1, len(self.policy.accounts)
        if tries >= self.claimed.attempts_max:
            return self.end("give_up", "failed", "failed", "unavailable", text, tries=tries)
        if tries % accounts and self.other is not None:
            return self._go("fail_over", "failed", self.other, self.now_ms, "unavailable", text, tries=tries)
        wait_ms = self.now_ms + backoff_ms(self.policy, -(-tries // accounts), self.jitter)
        return self._go("retry", "failed", self.account, wait_ms, "unavailable", text, tries=tries)

    def end(
        self,
        move: Move,
        state: str,
        status: str,
        error_class: str | None = None,
        text: str | None = None,
        *,
        tries: int | None = None,
        provider_message_id: str | None = None,
    ) -> Verdict:
        result = Result(
            attempt_id=self.claimed.attempt_id,
            state=state,
            status=status,
            account=self.account,
            not_before_ms=self.now_ms,
            tries=self.claimed.tries if tries is None else tries,
            provider_message_id=provider_message_id,
            error_class=error_class,
            error_text=text,
        )
        return Verdict(move, result)

    def _go(
        self, move: Move, state: str, account: str, at_ms: int, error_class: str, text: str, *, tries: int | None = None
    ) -> Verdict:
        if at_ms > self.claimed.expires_ms:
            return self.end("give_up", state, "failed", error_class, text, tries=tries)
        result = Result(
            attempt_id=self.claimed.attempt_id,
            state=state,
            status="pending",
            account=account,
            not_before_ms=at_ms,
            tries=self.claimed.tries if tries is None else tries,
            error_class=error_class,
            error_text=text,
        )
        return Verdict(move, result)


@dataclass(slots=True)
class Standing:
    """How an account stands: open, parked until a time for a reason, or half open."""

    parked_until_ms: int = 0
    reason: str = ""
    is_half_open: bool = False
    failures: float = 0.0
    parks: int = field(default=0)  # in a row that came from failures

    def note(self, outcome: Outcome, policy: QueuePolicy, now_ms: int, jitter: float) -> bool:
        """Learn from an outcome. True when the account was parked, or parked for longer."""
        match outcome:
            case Deferred(until_ms, text):
                wait_ms = until_ms if until_ms is not None else now_ms + backoff_ms(policy, 1, jitter)
                return self._park(wait_ms, f"throttle: {text}")
            case Rejected(Fault.THROTTLE, text):
                return self._park(now_ms + backoff_ms(policy, 1, jitter), f"throttle: {text}")
            case Rejected(Fault.QUOTA, text):
                self.is_half_open = True
                return self._park(now_ms + PARK_QUOTA_MS, f"quota: {text}")
            case Rejected(Fault.CONFIG, text):
                self.is_half_open = True
                return self._park(now_ms + PARK_CONFIG_MS, f"config: {text}")
            case Rejected(Fault.UNAVAILABLE, text):
                return self._fail(1.0, f"unavailable: {text}", policy, now_ms, jitter)
            case Unknown(text):
                return self._fail(0.5, f"unknown: {text}", policy, now_ms, jitter)
            case _:  # it answered: it is there
                self.failures, self.parks, self.is_half_open = 0.0, 0, False
                return False

    def is_parked(self, now_ms: int) -> bool:
        """It starts nothing now."""
        return now_ms < self.parked_until_ms

    def gives_away(self, now_ms: int) -> bool:
        """It is parked, and for something that another account need not wait for."""
        if not self.is_parked(now_ms):
            return False
        return not self.reason.startswith("throttle") or self.parked_until_ms - now_ms > THROTTLE_MS_FAR

    def _fail(self, weight: float, reason: str, policy: QueuePolicy, now_ms: int, jitter: float) -> bool:
        self.failures += weight
        if not self.is_half_open and self.failures < FAILURES_MAX:
            return False
        if self.is_parked(now_ms):  # calls that were under way when it was parked
            return False
        self.is_half_open = True
        self.parks += 1
        return self._park(now_ms + max(1, backoff_ms(policy, self.parks, jitter)), reason)

    def _park(self, until_ms: int, reason: str) -> bool:
        if until_ms <= self.parked_until_ms:
            return False
        self.parked_until_ms, self.reason = until_ms, reason
        return True


def slots_free(standing: Standing, policy: QueuePolicy, in_flight: int, now_ms: int) -> int:
    """How many calls may be added now, as far as the account's standing goes."""
    if standing.is_parked(now_ms):
        return 0
    return max(0, (1 if standing.is_half_open else policy.concurrent) - in_flight)


def wake_ms(policy: QueuePolicy, now_ms: int, times_ms: Iterable[int | None]) -> int:
    """How long a queue may sleep: until the first of *times_ms* that is ahead, and never longer than a poll."""
    ahead = [time - now_ms for time in times_ms if time is not None and time > now_ms]
    return max(1, min([policy.poll_ms, *ahead]))
