"""What a provider queue decides, without waiting for anything: what becomes of a mail, and of the account.

    outcome             mail                                              account                 uses a try
    accepted            done                                              is there                -
    unknown             stays unknown: never sent again, by nobody        a doubt                 -
    throttle (429)      held; fails over if it lasts                      away until the reset    no
    quota               fails over at once, else held                     away for an hour        no
    config              fails over at once, else held                     away                    no
    unavailable         fails over at once, else held                     away                    no
    temporary           fails over, then waits (full jitter); given up    a doubt                 yes
                        after tries_max tries for each account there is,
                        at whichever took mail when one was due
    content, recipient  given up at once                                  is there                yes

An account that is not there is no mail's fault. The first such answer parks it, and so does the second doubt in a row:
for full jitter under a ceiling that doubles up to retry_ms_max, never shorter than the provider asked for. A parked
account starts nothing: its mails are held, or go to an account that takes mail. When the park is over one mail probes,
then one more call is added for each mail that is taken, until all are in use again: a recovery is no burst.

    THERE ──not there──▶ PARKED ──time──▶ PROBING ──taken──▶ RECOVERING (2, 3, … calls) ──▶ THERE
                            ▲                │ not there           │
                            └────────────────┴─────────────────────┘

A held mail keeps its place. It waits for the account alone, however long, and is given up only when it has been due for
longer than mail_ms_max and still no account is there. A mail that fails where others are taken in between waits for
itself besides, longer each time, so that it cannot stop them.

Times are milliseconds since 1970, jitter is a random number in [0, 1].
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from greenroom.actors.providers.provider import ASKED_MS_MAX, Accepted, Deferred, Fault, Outcome, Rejected, Unknown
from greenroom.storage.postgres.outbox import Away, Claimed, Result

MAIL_MS_MAX = 72 * 3600 * 1000
PARK_QUOTA_MS = 3600 * 1000
THROTTLE_MS_LONG = 60 * 1000  # a throttle that lasts longer, from its first word to its reset, is worth a failover
DOUBTS_MAX = 2  # in a row, and the account counts as away: half of what a clear word of its absence counts
DOUBLINGS_MAX = 30
RECOVERY_CALLS = 2  # at a time, when the probe was taken
EXPIRED = "expired"

Move = Literal["done", "unknown", "retry", "hold", "fail_over", "give_up"]


@dataclass(frozen=True, slots=True)
class QueuePolicy:
    """The settings of the queues. accounts: all of them, first choice first.

    tries_max: of one mail, for each account; one that is parked leaves its tries to the others. windows: (span_ms,
    limit) pairs. concurrent: calls at a time per account. claims_max: mails of one claim.
    mail_ms_max: a mail that has been due for longer is given up while no account is there.
    """

    accounts: tuple[str, ...]
    tries_max: int = 4
    retry_ms_min: int = 1_000
    retry_ms_max: int = 30_000
    mail_ms_max: int = MAIL_MS_MAX
    concurrent: int = 5
    claims_max: int = 100
    poll_ms: int = 10_000
    windows: tuple[tuple[int, int], ...] = ((60_000, 50), (3_600_000, 1_000), (86_400_000, 10_000))

    @property
    def attempts_max(self) -> int:
        """Tries of one mail at all accounts together."""
        return self.tries_max * len(self.accounts)

    def is_overdue(self, due_ms: int, now_ms: int) -> bool:
        """Whether a mail that was to leave at *due_ms* is too old to wait on."""
        return now_ms - due_ms > self.mail_ms_max


@dataclass(frozen=True, slots=True)
class Stand:
    """How an account stands, as the others know it. is_proven: it takes mail; else one may try from opens_ms on.

    opens_ms is 0 for one that takes mail, so that no jump of a clock can close it.
    """

    opens_ms: int = 0
    is_proven: bool = True


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do about a mail (move), and what to write."""

    move: Move
    result: Result


def backoff_ms(policy: QueuePolicy, nth: int, jitter: float) -> int:
    """Full jitter under a ceiling that doubles: the first wait is at most retry_ms_min, none above retry_ms_max."""
    ceiling = min(policy.retry_ms_min << min(nth - 1, DOUBLINGS_MAX), policy.retry_ms_max)
    return round(ceiling * jitter)


def expired_text(policy: QueuePolicy, why: str) -> str:
    """What the story of a mail says that was given up for its age."""
    minutes = policy.mail_ms_max / 60_000
    limit = f"{minutes / 60:g} h" if minutes >= 60 else f"{minutes:g} min"
    return f"no account took it within {limit}; last: {why}"


def next_account(policy: QueuePolicy, account: str, stands: Mapping[str, Stand], now_ms: int) -> str | None:
    """The account after *account*, in a ring, that takes mail, or else may be probed; None when all are parked."""
    open_ones = [other for other in _ring(policy, account) if _stand(stands, other).opens_ms <= now_ms]
    return next((other for other in open_ones if _stand(stands, other).is_proven), next(iter(open_ones), None))


def judge(
    outcome: Outcome,
    claimed: Claimed,
    account: str,
    *,
    policy: QueuePolicy,
    standing: "Standing",
    stands: Mapping[str, Stand],
    now_ms: int,
    jitter: float,
) -> Verdict:
    """Decide what becomes of a mail after an attempt at *account*.

    standing: of that account, after it was told of the outcome. stands: of the others, as far as known.
    """
    case = _Case(claimed, account, policy, standing, stands, now_ms, jitter)
    match outcome:
        case Accepted(provider_message_id):
            return case.end("done", "accepted", "sent", provider_message_id=provider_message_id)
        case Unknown(text):
            return case.end("unknown", "unknown", "unknown", error_class="ambiguous", text=text)
        case Deferred(_, text):
            return case.throttled(text)
        case Rejected(Fault.THROTTLE, text):
            return case.throttled(text)
        case Rejected(Fault.QUOTA | Fault.CONFIG as fault, text):
            return case.away("rejected", fault.value, text)
        case Rejected(Fault.UNAVAILABLE, text):
            return case.away("failed", "unavailable", text)
        case Rejected(Fault.TEMPORARY, text):
            return case.temporary(text)
        case Rejected(fault, text):
            return case.give_up("rejected", fault.value, text, tries=claimed.tries + 1)


@dataclass(frozen=True, slots=True)
class _Case:
    """One attempt to be judged."""

    claimed: Claimed
    account: str
    policy: QueuePolicy
    standing: "Standing"
    stands: Mapping[str, Stand]
    now_ms: int
    jitter: float

    @property
    def other(self) -> str | None:
        return next_account(self.policy, self.account, self.stands, self.now_ms)

    def throttled(self, text: str) -> Verdict:
        """It is asked to wait: another account gets the mail only if that takes long."""
        if self.standing.is_worth_a_failover or self.policy.is_overdue(self.claimed.due_ms, self.now_ms):
            return self.away("deferred", "throttle", text)
        return self._hold(self.account, "deferred", "throttle", text)

    def away(self, state: str, error_class: str, text: str) -> Verdict:
        """The account is not there: the mail goes to one that is, or waits for the first that opens."""
        if self.other is not None:
            return self._pending("fail_over", self.other, self.now_ms, state, error_class, text)
        return self._hold(self._first_to_open(), state, error_class, text)

    def temporary(self, text: str) -> Verdict:
        """Not this mail, not now: counted, and tried at every account before it waits."""
        tries, accounts = self.claimed.tries + 1, len(self.policy.accounts)
        if tries >= self.claimed.attempts_max:
            return self.give_up("failed", "temporary", text, tries=tries)
        if tries % accounts and self.other is not None:
            return self._pending("fail_over", self.other, self.now_ms, "failed", "temporary", text, tries=tries)
        if self.policy.is_overdue(self.claimed.due_ms, self.now_ms):
            return self._expire("failed", "temporary", text, tries=tries)
        at_ms = self.now_ms + backoff_ms(self.policy, -(-tries // accounts), self.jitter)
        return self._pending("retry", self.account, at_ms, "failed", "temporary", text, tries=tries)

    def give_up(self, state: str, error_class: str, text: str, *, tries: int) -> Verdict:
        return self.end(
            "give_up", state, "failed", error_class=error_class, text=text, tries=tries, failure=(error_class, text)
        )

    def end(
        self,
        move: Move,
        state: str,
        status: str,
        *,
        error_class: str | None = None,
        text: str | None = None,
        tries: int | None = None,
        provider_message_id: str | None = None,
        failure: tuple[str | None, str | None] = (None, None),
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
            failure=failure[0],
            failure_text=failure[1],
        )
        return Verdict(move, result)

    def _hold(self, account: str, state: str, error_class: str, text: str) -> Verdict:
        if self.policy.is_overdue(self.claimed.due_ms, self.now_ms):
            return self._expire(state, error_class, text, tries=self.claimed.tries)
        return self._pending("hold", account, self.now_ms + self._own_wait_ms(), state, error_class, text)

    def _own_wait_ms(self) -> int:
        """How long the mail waits whatever the account does: not at all, unless it alone fails again and again."""
        rounds = -(-(self.claimed.attempt - self.claimed.tries) // len(self.policy.accounts))
        return backoff_ms(self.policy, rounds, self.jitter) if rounds > self.standing.parks else 0

    def _first_to_open(self) -> str:
        opens_ms = {other: _stand(self.stands, other).opens_ms for other in _ring(self.policy, self.account)}
        return min([self.account, *opens_ms], key=lambda name: opens_ms.get(name, self.standing.parked_until_ms))

    def _expire(self, state: str, error_class: str, text: str, *, tries: int) -> Verdict:
        failure = (EXPIRED, expired_text(self.policy, text))
        return self.end("give_up", state, "failed", error_class=error_class, text=text, tries=tries, failure=failure)

    def _pending(
        self,
        move: Move,
        account: str,
        at_ms: int,
        state: str,
        error_class: str,
        text: str,
        *,
        tries: int | None = None,
    ) -> Verdict:
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
    """How an account stands; the drawing is in the module.

    since_ms: it takes no mail since then. parked_ms: when it was parked last. parks: in a row. calls_max: at a time
    while it recovers; 0 for all.
    """

    parked_ms: int = 0
    parked_until_ms: int = 0
    since_ms: int | None = None
    fault: str = ""
    text: str = ""
    parks: int = 0
    doubts: int = 0
    calls_max: int = 0

    @classmethod
    def restored(cls, away: Away, now_ms: int) -> "Standing":
        """As the last owner left it. A wait that the provider asked for holds; for any other one may look again now.

        It is no longer than it was when it was asked for, whatever became of the clock meanwhile.
        """
        asked_ms = min(away.until_ms - away.parked_ms, ASKED_MS_MAX) if away.fault == "throttle" else 0
        return cls(
            parked_ms=min(away.parked_ms, now_ms),
            parked_until_ms=min(away.until_ms, now_ms + asked_ms),
            since_ms=None if away.since_ms is None else min(away.since_ms, now_ms),
            fault=away.fault,
            text=away.text,
            parks=away.parks,
        )

    def note(self, outcome: Outcome, policy: QueuePolicy, now_ms: int, jitter: float) -> bool:
        """Learn from an outcome. True when others must know: it was parked, or for longer, or takes mail again."""
        match outcome:
            case Deferred(until_ms, text):
                return self._park("throttle", text, until_ms, policy, now_ms, jitter)
            case Rejected(Fault.QUOTA, text):
                return self._park("quota", text, now_ms + PARK_QUOTA_MS, policy, now_ms, jitter)
            case Rejected(Fault.THROTTLE | Fault.CONFIG | Fault.UNAVAILABLE as fault, text, until_ms):
                return self._park(fault.value, text, until_ms, policy, now_ms, jitter)
            case Rejected(Fault.TEMPORARY, text):
                return self._doubt("temporary", text, policy, now_ms, jitter)
            case Unknown(text):
                return self._doubt("unknown", text, policy, now_ms, jitter)
            case _:
                return self._is_there(policy, now_ms)

    @property
    def is_away(self) -> bool:
        """It is parked, or being probed."""
        return self.since_ms is not None

    @property
    def reason(self) -> str:
        """Why it is away; empty when it is not."""
        return f"{self.fault}: {self.text}" if self.is_away else ""

    @property
    def is_worth_a_failover(self) -> bool:
        """It is away, and not just throttled for a moment."""
        if self.since_ms is None:
            return False
        return self.fault != "throttle" or self.parked_until_ms - self.since_ms > THROTTLE_MS_LONG

    def is_parked(self, now_ms: int) -> bool:
        """It starts nothing now."""
        return now_ms < self.parked_until_ms

    def gives_away(self, now_ms: int, in_flight: int) -> bool:
        """Another account need not wait for it: it is parked for long, or a probe is under way."""
        if not self.is_parked(now_ms):
            return self.is_away and in_flight > 0
        return self.is_worth_a_failover

    def stand(self) -> Stand:
        """What the others need to know."""
        return Stand(self.parked_until_ms, is_proven=False) if self.is_away else Stand()

    def kept(self) -> Away:
        """What is stored of it."""
        return Away(self.since_ms, self.parked_ms, self.parked_until_ms, self.parks, self.fault, self.text)

    def shift(self, step_ms: int) -> None:
        """The clock jumped: what was still to wait is still to wait."""
        self.parked_ms += step_ms
        self.parked_until_ms += step_ms
        if self.since_ms is not None:
            self.since_ms += step_ms

    def _is_there(self, policy: QueuePolicy, now_ms: int) -> bool:
        if self.is_parked(now_ms):  # a call from before, which says nothing about now
            return False
        self.doubts = 0
        if self.is_away:
            self.since_ms, self.parks, self.calls_max = None, 0, RECOVERY_CALLS
            return True
        if self.calls_max:
            self.calls_max = 0 if self.calls_max + 1 >= policy.concurrent else self.calls_max + 1
        return False

    def _doubt(self, fault: str, text: str, policy: QueuePolicy, now_ms: int, jitter: float) -> bool:
        self.doubts += 1
        if not self.is_away and self.doubts < DOUBTS_MAX:
            return False
        return self._park(fault, text, None, policy, now_ms, jitter)

    def _park(
        self, fault: str, text: str, asked_ms: int | None, policy: QueuePolicy, now_ms: int, jitter: float
    ) -> bool:
        if self.is_parked(now_ms):  # by another call of the same moment: only to be asked for longer is news
            until_ms = asked_ms or 0
        else:
            self.parks += 1
            until_ms = max(asked_ms or 0, now_ms + max(1, backoff_ms(policy, self.parks, jitter)))
        if until_ms <= self.parked_until_ms:
            return False
        self.parked_ms, self.parked_until_ms, self.fault, self.text = now_ms, until_ms, fault, text
        if self.since_ms is None:
            self.since_ms = now_ms
        return True


def slots_free(standing: Standing, policy: QueuePolicy, in_flight: int, now_ms: int) -> int:
    """How many calls may be added now, as far as the account's standing goes."""
    if standing.is_parked(now_ms):
        return 0
    calls_max = 1 if standing.is_away else min(policy.concurrent, standing.calls_max or policy.concurrent)
    return max(0, calls_max - in_flight)


def wake_ms(policy: QueuePolicy, now_ms: int, times_ms: Iterable[int | None]) -> int:
    """How long a queue may sleep: until the first of *times_ms* that is ahead, and never longer than a poll."""
    ahead = [time - now_ms for time in times_ms if time is not None and time > now_ms]
    return max(1, min([policy.poll_ms, *ahead]))


def _ring(policy: QueuePolicy, account: str) -> tuple[str, ...]:
    start = policy.accounts.index(account) if account in policy.accounts else -1
    return policy.accounts[start + 1 :] + policy.accounts[: max(start, 0)]


def _stand(stands: Mapping[str, Stand], account: str) -> Stand:
    return stands.get(account, Stand())
