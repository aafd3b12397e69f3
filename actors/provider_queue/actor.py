"""The queue of one provider account.

    POST ─▶ outbox (committed) ─▶ Wake ─▶ queue ──exchange──▶ attempt rows committed ─▶ Transmit ─▶ sender ─▶ provider
                                            ▲  └─ results, then the next claim: one transaction ─┘      │
                                            └───────────────────── Finished ─────────────────────────────┘

- One queue per account, one sender per call under way (EMAIL_QUEUE_CONCURRENT). A queue claims only what a free sender
  can call for at once, so `transmitting` is true to a few milliseconds, and a crash makes few mails unknown.
- Several results and the next claim share one transaction: while it runs, what else finishes waits in the mailbox.
- A queue that starts settles what its predecessor left transmitting: `unknown`, or `pending` when sending twice does no
  harm (the folder). A sender that outlived its queue tells the new one; a result that is known beats `unknown`.
- While its account is away the queue costs a probe at each end of a park and a look at each poll, however many mails it
  holds: no mail has a task or a timer of its own, and a wake that could change nothing asks storage nothing.
- The wall clock may jump: what was still to wait is still to wait, and what was due stays due.
- Storage that is away stops nothing but the writing: results are kept and written when it is back.
- Fenced, it stands still for good: another process owns the account now, and two would call each other's mails unknown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import trio

from greenroom.actors.provider_queue.commands import (
    Drain,
    Finished,
    GetHealth,
    QueueHealth,
    Stands,
    Transmit,
    Turn,
    Wake,
)
from greenroom.actors.provider_queue.sender import SENDER_KIND, ProviderSender
from greenroom.actors.provider_queue.state import (
    EXPIRED,
    QueuePolicy,
    Stand,
    Standing,
    expired_text,
    judge,
    next_account,
    slots_free,
    wake_ms,
)
from greenroom.actors.provider_queue.windows import Windows
from greenroom.actors.providers.accounts import FOLDER
from greenroom.actors.providers.provider import Fault, Outcome, Provider, Rejected, bounded
from greenroom.runtime import (
    Actor,
    ActorGone,
    Kind,
    MailboxFull,
    Randomness,
    RestartPolicy,
    StorageUnavailable,
    SystemRandomness,
    Timer,
    handles,
)
from greenroom.storage.postgres.outbox import (
    GIVE_UP_MAILS_MAX,
    HAND_OVER_MAILS_MAX,
    NOT_THERE,
    OWNER_KIND,
    Claimed,
    Exchanged,
    Fenced,
    GiveUp,
    HandOver,
    Outbox,
    Owner,
    Result,
)

QUEUE_KIND = OWNER_KIND
STORAGE_RETRY_MS = 500
PASSED_OVER_MS = 20
CLOCK_STEP_MS = 2_000  # wall and monotonic clock differ by more than that: somebody set the wall clock, or we slept

EventHook = Callable[..., None]


@dataclass(frozen=True, slots=True)
class QueueServices:
    """What every queue needs. event(name, **facts): as of the actor system."""

    outbox: Outbox
    providers: Mapping[str, Provider]
    policy: QueuePolicy
    event: EventHook
    randomness: Randomness


class ProviderQueue(Actor):
    """The queue of one account."""

    def __init__(self, account: str, services: QueueServices) -> None:
        self._account = account
        self._outbox = services.outbox
        self._provider = services.providers[account]
        self._policy = services.policy
        self._event = services.event
        self._random = services.randomness
        self._standing = Standing()
        self._windows = Windows(services.policy.windows)
        self._stands: dict[str, Stand] = {}  # of the other accounts
        self._free = list(range(services.policy.concurrent))
        self._in_flight: dict[str, tuple[int, int]] = {}  # attempt id -> slot, when it started
        self._results: list[Result] = []  # known, not yet written
        self._counts = dict.fromkeys(("done", "retry", "hold", "fail_over", "give_up", "unknown"), 0)
        self._timer: Timer | None = None
        self._wall_ms, self._ticks = 0, 0.0  # the clocks at the last look
        self._is_turn_told = self._is_claim_lost = self._is_fenced = self._is_draining = False
        self._is_stand_unwritten = self._is_clock_back = False

    async def start(self) -> None:
        """Settle what the last owner left, and learn how much of the rate windows is used."""
        self._wall_ms, self._ticks = self.ctx.now_ms(), trio.current_time()
        token, now_ms = self.ctx.token, self._wall_ms
        assert token is not None, f"{self.ctx.address} is of a kind that creates its ownership"
        self._owner = Owner(self._account, token)
        left = await self._outbox.recover(self._owner, at_ms=now_ms, is_redo_safe=self._provider.is_redo_safe)
        if left:
            self._event("provider_queue.left_over_settled", account=self._account, count=len(left), emails=left[:20])
        span_ms = self._windows.span_ms
        for at_ms, starts in await self._outbox.starts(self._account, since_ms=now_ms - span_ms, at_ms=now_ms):
            self._windows.add(min(at_ms, now_ms), starts)
        away = {name: Standing.restored(kept, now_ms) for name, kept in (await self._outbox.away()).items()}
        self._standing = away.pop(self._account, self._standing)
        self._stands = {name: away[name].stand() for name in self._policy.accounts if name in away}
        await self._outbox.clock_back(self._owner, at_ms=now_ms, wait_ms_max=self._policy.retry_ms_max)

    @property
    def may_passivate(self) -> bool:
        """Never: it polls, and calls may be under way."""
        return False

    @handles(Wake)
    def wake(self, _: Wake) -> None:
        """Look for mail, once for all wakes that wait."""
        if self._timer is None or not self._is_idle(self._now_ms()):
            self._turn_soon()

    @handles(Finished)
    def finished(self, command: Finished) -> None:
        """Judge a call that ended; it is written with the next turn."""
        _, started_ms = self._in_flight.get(command.claimed.attempt_id, (0, None))
        self._settle(command.claimed, command.outcome, started_ms)
        if self._in_flight.pop(command.claimed.attempt_id, None) is not None:
            self._free.append(command.slot)
        self._turn_soon()

    @handles(Stands)
    def stands(self, command: Stands) -> None:
        """Remember how another account stands; if it takes mail again, it may take that of this one."""
        now_ms = self._now_ms()  # first: a jump of the clock moves what was known, not what is said after it
        self._stands[command.account] = command.stand
        if self._hand_over(now_ms) is not None:
            self._turn_soon()

    @handles(Drain)
    def drain(self, _: Drain) -> None:
        """Claim nothing more."""
        self._is_draining = True

    @handles(GetHealth)
    def health(self, _: GetHealth) -> QueueHealth:
        """How the queue stands."""
        now_ms = self._now_ms()
        is_parked = self._standing.is_parked(now_ms)
        return QueueHealth(
            account=self._account,
            in_flight=len(self._in_flight),
            parked_until_ms=self._standing.parked_until_ms if is_parked else 0,
            since_ms=self._standing.since_ms,
            reason=self._standing.reason,
            is_fenced=self._is_fenced,
            opens_ms=self._windows.opens_ms(now_ms),
            done=self._counts["done"],
            retried=self._counts["retry"],
            held=self._counts["hold"],
            failed_over=self._counts["fail_over"],
            given_up=self._counts["give_up"],
            unknown=self._counts["unknown"],
        )

    @handles(Turn)
    async def turn(self, _: Turn) -> None:
        """Write what is known, take what is due, and call for it."""
        self._is_turn_told = False
        if self._is_fenced:
            return
        now_ms = self._now_ms()
        hand_over, claims_max = self._hand_over(now_ms), self._claims_max(now_ms)
        results, self._results = self._results, []
        is_stand_unwritten, self._is_stand_unwritten = self._is_stand_unwritten, False
        try:
            if self._is_clock_back:
                await self._outbox.clock_back(self._owner, at_ms=now_ms, wait_ms_max=self._policy.retry_ms_max)
                self._is_clock_back = False
            exchanged = await self._outbox.exchange(
                self._owner,
                results,
                claims_max=claims_max,
                at_ms=now_ms,
                is_probe=self._standing.is_away,
                away=self._standing.kept() if is_stand_unwritten else None,
                hand_over=hand_over,
                give_up=self._give_up(now_ms),
                lost_except=list(self._in_flight) if self._is_claim_lost else None,
            )
        except StorageUnavailable as error:
            self._results = results + self._results
            self._is_claim_lost = True
            self._is_stand_unwritten |= is_stand_unwritten
            self._event("provider_queue.storage_away", account=self._account, why=str(error))
            self._sleep(round(STORAGE_RETRY_MS * self._random.uniform(0.5, 1.5)))
            return
        except Fenced as error:
            self._is_fenced = True
            self._event("provider_queue.fenced", account=self._account, why=str(error), results_lost=len(results))
            return
        self._is_claim_lost = False
        self._wake_receivers(results, hand_over, exchanged.handed_over, now_ms)
        self._tell_given_up(exchanged.given_up)
        self._windows.add(now_ms, len(exchanged.claimed))
        for claimed in exchanged.claimed:
            self._transmit(claimed, now_ms)
        self._sleep_until_due(
            now_ms,
            exchanged,
            could_take_more=len(exchanged.claimed) < claims_max or exchanged.handed_over == HAND_OVER_MAILS_MAX,
        )

    # -- a turn -------------------------------------------------------------------------------------------------

    def _claims_max(self, now_ms: int) -> int:
        if self._is_draining:
            return 0
        slots = min(slots_free(self._standing, self._policy, len(self._in_flight), now_ms), len(self._free))
        return self._windows.room(now_ms, min(slots, self._policy.claims_max))

    def _hand_over(self, now_ms: int) -> HandOver | None:
        """Who takes the due mails of this account while it is away: all of them, or one to see whether it is there."""
        if self._is_draining or not self._standing.gives_away(now_ms, len(self._in_flight)):
            return None
        taker = self._other(now_ms)
        if taker is None:
            return None
        return HandOver(taker) if self._stands.get(taker, Stand()).is_proven else HandOver(taker, mails_max=1)

    def _give_up(self, now_ms: int) -> GiveUp | None:
        """What is too old is given up, but not on the word of a clock alone: only while no account is there."""
        if not self._standing.is_parked(now_ms) or self._other(now_ms) is not None:
            return None
        why = f"{self._account}: {self._standing.reason}"
        return GiveUp(now_ms - self._policy.mail_ms_max, EXPIRED, expired_text(self._policy, why))

    def _other(self, now_ms: int) -> str | None:
        return next_account(self._policy, self._account, self._stands, now_ms)

    def _is_idle(self, now_ms: int) -> bool:
        """A turn could change nothing before the timer: the account is parked, and nobody takes its mail."""
        is_settled = not self._results and not self._is_stand_unwritten and not self._is_claim_lost
        return is_settled and self._standing.is_parked(now_ms) and self._hand_over(now_ms) is None

    def _wake_receivers(self, results: list[Result], order: HandOver | None, handed_over: int, now_ms: int) -> None:
        receivers = {result.account for result in results if result.status == "pending"} - {self._account}
        if order is not None and handed_over:
            self._event("provider_queue.handed_over", account=self._account, to=order.to, count=handed_over)
            receivers.add(order.to)
            if order.mails_max == 1:  # it has its probe, and says itself what came of it
                self._stands[order.to] = Stand(now_ms + self._policy.poll_ms, is_proven=False)
        for receiver in sorted(receivers):
            self.ctx.tell(self.ctx.ref(QUEUE_KIND, receiver), Wake())

    def _tell_given_up(self, emails: tuple[str, ...]) -> None:
        if not emails:
            return
        self._counts["give_up"] += len(emails)
        self._event(
            "email.given_up",
            account=self._account,
            count=len(emails),
            why=self._standing.reason,
            emails=list(emails[:20]),
        )
        if len(emails) == GIVE_UP_MAILS_MAX:
            self._turn_soon()

    def _transmit(self, claimed: Claimed, now_ms: int) -> None:
        slot = self._free.pop()
        self._in_flight[claimed.attempt_id] = (slot, now_ms)
        try:
            self.ctx.ref(SENDER_KIND, f"{self._account}:{slot}").tell(Transmit(slot, claimed))
        except (MailboxFull, ActorGone) as error:  # it never began, so it is as if the provider had not been there
            del self._in_flight[claimed.attempt_id]
            self._free.append(slot)
            self._settle(claimed, Rejected(Fault.UNAVAILABLE, bounded(f"not started: {error}")), now_ms)
            self._turn_soon()

    def _settle(self, claimed: Claimed, outcome: Outcome, started_ms: int | None) -> None:
        now_ms, jitter = self._now_ms(), self._random.uniform(0, 1)
        was_away, away_ms = self._standing.is_away, now_ms - (self._standing.since_ms or now_ms)
        if self._standing.note(outcome, self._policy, now_ms, jitter):
            self._tell_stand(was_away=was_away, away_ms=away_ms)
        verdict = judge(
            outcome,
            claimed,
            self._account,
            policy=self._policy,
            standing=self._standing,
            stands=self._stands,
            now_ms=now_ms,
            jitter=jitter,
        )
        self._counts[verdict.move] += 1
        self._results.append(verdict.result)
        if started_ms is not None and verdict.result.error_class in NOT_THERE:
            self._windows.take_back(started_ms)
        if verdict.move != "done":
            self._event(
                "email.not_accepted",
                email=claimed.email_id,
                attempt=claimed.attempt_id,
                account=self._account,
                move=verdict.move,
                fault=verdict.result.error_class,
                why=verdict.result.error_text,
            )

    def _tell_stand(self, *, was_away: bool, away_ms: int) -> None:
        standing = self._standing
        self._is_stand_unwritten = True
        if standing.is_away:
            self._event(
                "provider_queue.parked",
                account=self._account,
                until_ms=standing.parked_until_ms,
                parks=standing.parks,
                why=standing.reason,
            )
        elif was_away:
            self._event("provider_queue.reopened", account=self._account, away_seconds=away_ms // 1000)
        self._tell_others()

    def _tell_others(self) -> None:
        for other in self._policy.accounts:
            if other != self._account:
                self.ctx.tell(self.ctx.ref(QUEUE_KIND, other), Stands(self._account, self._standing.stand()))

    # -- when ---------------------------------------------------------------------------------------------------

    def _turn_soon(self) -> None:
        """Take a turn after what waits in the mailbox now. Full: the commands that fill it will ask again."""
        if self._is_turn_told:
            return
        try:
            self.ctx.ref(QUEUE_KIND, self._account).tell(Turn())
            self._is_turn_told = True
        except (MailboxFull, ActorGone):
            self._is_turn_told = False

    def _now_ms(self) -> int:
        """The wall clock. If it jumped since the last look, what waits in memory moves with it."""
        now_ms, ticks = self.ctx.now_ms(), trio.current_time()
        step_ms = now_ms - self._wall_ms - round((ticks - self._ticks) * 1000)
        self._wall_ms, self._ticks = now_ms, ticks
        if abs(step_ms) > CLOCK_STEP_MS:
            self._event("provider_queue.clock_jumped", account=self._account, step_ms=step_ms)
            self._standing.shift(step_ms)
            self._windows.shift(step_ms)
            self._in_flight = {key: (slot, at_ms + step_ms) for key, (slot, at_ms) in self._in_flight.items()}
            self._stands = {
                name: Stand(stand.opens_ms + step_ms, stand.is_proven) for name, stand in self._stands.items()
            }
            self._is_stand_unwritten = True
            self._is_clock_back |= step_ms < 0
            self._tell_others()  # they may have shifted what was said of the new time already
        return now_ms

    def _sleep_until_due(self, now_ms: int, exchanged: Exchanged, *, could_take_more: bool) -> None:
        due_ms = exchanged.next_due_ms
        if could_take_more and due_ms is not None and due_ms <= now_ms:
            self._sleep(PASSED_OVER_MS)  # another transaction held it, or more was due than one exchange hands over
            return
        opens_ms = [stand.opens_ms for stand in self._stands.values()]
        times = (due_ms, self._standing.parked_until_ms, self._windows.opens_ms(now_ms), *opens_ms)
        self._sleep(wake_ms(self._policy, now_ms, times))

    def _sleep(self, duration_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.ctx.tell_self_after(duration_ms / 1000, Turn())


def provider_queue_kinds(
    outbox: Outbox,
    providers: Mapping[str, Provider],
    policy: QueuePolicy,
    *,
    event: EventHook = lambda name, **facts: None,
    randomness: Randomness | None = None,
) -> list[Kind]:
    """The two kinds to start the actor system with. Every account of the policy has its provider."""
    assert set(policy.accounts) == set(providers), f"accounts {policy.accounts}, providers {sorted(providers)}"
    services = QueueServices(outbox, providers, policy, event, randomness or SystemRandomness())
    hosted = [provider.sender for name, provider in providers.items() if name != FOLDER]
    if hosted and not hosted[0].is_own:
        event(
            "email.sender_not_set",
            setting="SENDGRID_FROM_EMAIL",
            why=f"mail leaves as {hosted[0].name} <{hosted[0].email}>, the default: set it to an address of your own",
        )

    def sender(key: int | str) -> Actor:
        account = str(key).rpartition(":")[0]
        return ProviderSender(account, providers[account])

    return [
        Kind(
            QUEUE_KIND,
            lambda key: ProviderQueue(str(key), services),
            ownership="create",
            mailbox_envelopes_max=4096,
            restart=RestartPolicy(mode="permanent"),
        ),
        Kind(SENDER_KIND, sender, mailbox_envelopes_max=4),
    ]
