"""The queue of one provider account, and the senders that make its calls.

    POST ─▶ outbox (committed) ─▶ Wake ─▶ queue ──exchange──▶ attempt rows committed ─▶ Transmit ─▶ sender ─▶ provider
                                            ▲  └─ results, then the next claim: one transaction ─┘      │
                                            └───────────────────── Finished ─────────────────────────────┘

- One queue per account, one sender per call under way (EMAIL_QUEUE_CONCURRENT). A queue claims only what a free sender
  can call for at once, so `transmitting` is true to a few milliseconds, and a crash makes few mails unknown.
- Several results and the next claim share one transaction: while it runs, what else finishes waits in the mailbox.
- A queue that starts settles what its predecessor left transmitting: `unknown`, or `pending` when sending twice does no
  harm (the folder). A sender that outlived its queue tells the new one; a result that is known beats `unknown`.
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
    Parked,
    QueueHealth,
    Transmit,
    Turn,
    Wake,
)
from greenroom.actors.provider_queue.request import mail_from_json
from greenroom.actors.provider_queue.state import (
    QueuePolicy,
    Standing,
    judge,
    next_account,
    slots_free,
    wake_ms,
)
from greenroom.actors.provider_queue.windows import Windows
from greenroom.actors.providers.provider import Fault, Mail, Outcome, Provider, Rejected, Unknown, bounded
from greenroom.runtime import (
    Actor,
    ActorGone,
    Kind,
    MailboxFull,
    Randomness,
    RestartPolicy,
    StorageUnavailable,
    SystemRandomness,
    handles,
)
from greenroom.runtime.deadlines import Entry
from greenroom.storage.postgres.outbox import (
    CLAIM_MAILS_MAX,
    OWNER_KIND,
    Claimed,
    Exchanged,
    Fenced,
    Outbox,
    Owner,
    Result,
)

QUEUE_KIND = OWNER_KIND
SENDER_KIND = "provider_sender"
STORAGE_RETRY_MS = 500
PASSED_OVER_MS = 20

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
        self._others: dict[str, int] = {}  # until when the other accounts are parked
        self._free = list(range(services.policy.concurrent))
        self._in_flight: dict[str, int] = {}  # attempt id -> slot
        self._results: list[Result] = []  # known, not yet written
        self._counts = dict.fromkeys(("done", "retry", "fail_over", "give_up", "unknown"), 0)
        self._timer: Entry | None = None
        self._is_turn_told = self._is_claim_lost = self._is_fenced = self._is_draining = False

    async def start(self) -> None:
        """Settle what the last owner left, and learn how much of the rate windows is used."""
        token, now_ms = self.ctx.token, self.ctx.now_ms()
        assert token is not None, f"{self.ctx.address} is of a kind that creates its ownership"
        self._owner = Owner(self._account, token)
        left = await self._outbox.recover(self._owner, at_ms=now_ms, is_redo_safe=self._provider.is_redo_safe)
        if left:
            self._event("provider_queue.left_over_settled", account=self._account, count=len(left), emails=left[:20])
        span_ms = self._windows.span_ms
        for at_ms, starts in await self._outbox.starts(self._account, since_ms=now_ms - span_ms, at_ms=now_ms):
            self._windows.add(min(at_ms, now_ms), starts)

    @property
    def may_passivate(self) -> bool:
        """Never: it polls, and calls may be under way."""
        return False

    @handles(Wake)
    def wake(self, _: Wake) -> None:
        """Look for mail, once for all wakes that wait."""
        self._turn_soon()

    @handles(Finished)
    def finished(self, command: Finished) -> None:
        """Judge a call that ended; it is written with the next turn."""
        if self._in_flight.pop(command.claimed.attempt_id, None) is not None:
            self._free.append(command.slot)
        self._settle(command.claimed, command.outcome)
        self._turn_soon()

    @handles(Parked)
    def parked(self, command: Parked) -> None:
        """Remember how another account stands."""
        self._others[command.account] = command.until_ms

    @handles(Drain)
    def drain(self, _: Drain) -> None:
        """Claim nothing more."""
        self._is_draining = True

    @handles(GetHealth)
    def health(self, _: GetHealth) -> QueueHealth:
        """How the queue stands."""
        now_ms = self.ctx.now_ms()
        is_parked = self._standing.is_parked(now_ms)
        return QueueHealth(
            account=self._account,
            in_flight=len(self._in_flight),
            parked_until_ms=self._standing.parked_until_ms if is_parked else 0,
            reason=self._standing.reason if is_parked or self._standing.is_half_open else "",
            is_half_open=self._standing.is_half_open,
            is_fenced=self._is_fenced,
            opens_ms=self._windows.opens_ms(now_ms),
            done=self._counts["done"],
            retried=self._counts["retry"],
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
        now_ms = self.ctx.now_ms()
        taker, claims_max = self._taker(now_ms), self._claims_max(now_ms)
        results, self._results = self._results, []
        try:
            exchanged = await self._outbox.exchange(
                self._owner,
                results,
                claims_max=claims_max,
                at_ms=now_ms,
                hand_over_to=taker,
                lost_except=list(self._in_flight) if self._is_claim_lost else None,
            )
        except StorageUnavailable as error:
            self._results = results + self._results
            self._is_claim_lost = True
            self._event("provider_queue.storage_away", account=self._account, why=str(error))
            self._sleep(round(STORAGE_RETRY_MS * self._random.uniform(0.5, 1.5)))
            return
        except Fenced as error:
            self._is_fenced = True
            self._event("provider_queue.fenced", account=self._account, why=str(error), results_lost=len(results))
            return
        self._is_claim_lost = False
        self._wake_receivers(results, taker, exchanged.handed_over)
        self._windows.add(now_ms, len(exchanged.claimed))
        for claimed in exchanged.claimed:
            self._transmit(claimed)
        self._sleep_until_due(
            now_ms, exchanged, could_take_more=len(exchanged.claimed) < claims_max or taker is not None
        )

    # -- a turn -------------------------------------------------------------------------------------------------

    def _claims_max(self, now_ms: int) -> int:
        if self._is_draining:
            return 0
        slots = min(slots_free(self._standing, self._policy, len(self._in_flight), now_ms), len(self._free))
        return self._windows.room(now_ms, min(slots, CLAIM_MAILS_MAX))

    def _taker(self, now_ms: int) -> str | None:
        """The account that takes the due mails of this one while it is parked."""
        if self._is_draining or not self._standing.gives_away(now_ms):
            return None
        return next_account(self._policy, self._account, self._others, now_ms)

    def _wake_receivers(self, results: list[Result], taker: str | None, handed_over: int) -> None:
        receivers = {result.account for result in results if result.status == "pending"} - {self._account}
        if taker is not None and handed_over:
            self._event("provider_queue.handed_over", account=self._account, to=taker, count=handed_over)
            receivers.add(taker)
        for receiver in sorted(receivers):
            self.ctx.tell(self.ctx.ref(QUEUE_KIND, receiver), Wake())

    def _transmit(self, claimed: Claimed) -> None:
        slot = self._free.pop()
        self._in_flight[claimed.attempt_id] = slot
        try:
            self.ctx.ref(SENDER_KIND, f"{self._account}:{slot}").tell(Transmit(slot, claimed))
        except (MailboxFull, ActorGone) as error:  # it never began, so it is as if the provider had not been there
            del self._in_flight[claimed.attempt_id]
            self._free.append(slot)
            self._settle(claimed, Rejected(Fault.UNAVAILABLE, bounded(f"not started: {error}")))
            self._turn_soon()

    def _settle(self, claimed: Claimed, outcome: Outcome) -> None:
        now_ms, jitter = self.ctx.now_ms(), self._random.uniform(0, 1)
        if self._standing.note(outcome, self._policy, now_ms, jitter):
            self._tell_parked()
        verdict = judge(
            outcome,
            claimed,
            self._account,
            policy=self._policy,
            parked=self._others,
            now_ms=now_ms,
            jitter=jitter,
        )
        self._counts[verdict.move] += 1
        self._results.append(verdict.result)
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

    def _tell_parked(self) -> None:
        standing = self._standing
        self._event(
            "provider_queue.parked", account=self._account, until_ms=standing.parked_until_ms, why=standing.reason
        )
        for other in self._policy.accounts:
            if other != self._account:
                self.ctx.tell(self.ctx.ref(QUEUE_KIND, other), Parked(self._account, standing.parked_until_ms))

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

    def _sleep_until_due(self, now_ms: int, exchanged: Exchanged, *, could_take_more: bool) -> None:
        due_ms = exchanged.next_due_ms
        if could_take_more and due_ms is not None and due_ms <= now_ms:
            self._sleep(PASSED_OVER_MS)  # another transaction held it, or more was due than one exchange hands over
            return
        times = (due_ms, self._standing.parked_until_ms, self._windows.opens_ms(now_ms), *self._others.values())
        self._sleep(wake_ms(self._policy, now_ms, times))

    def _sleep(self, duration_ms: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self.ctx.tell_self_after(duration_ms / 1000, Turn())


class ProviderSender(Actor):
    """Makes one call at a time for one account."""

    def __init__(self, account: str, provider: Provider) -> None:
        self._account = account
        self._provider = provider

    @handles(Transmit)
    async def transmit(self, command: Transmit) -> None:
        """Call the provider and tell the queue what is known."""
        outcome = await self._send(command.claimed)
        queue = self.ctx.ref(QUEUE_KIND, self._account)
        try:
            # `offer`, though this is no edge: a result must not become a dead letter. The queue never waits for us.
            await queue.offer(Finished(command.slot, command.claimed, outcome))
        except ActorGone:
            await trio.lowlevel.checkpoint()  # the next owner calls the attempt unknown

    async def _send(self, claimed: Claimed) -> Outcome:
        mail = _readable(claimed)
        if isinstance(mail, Rejected):
            return mail
        try:
            return await self._provider.send(mail, claimed.attempt_id)
        except Exception as error:  # a fault of the adapter's: nobody knows how far it got
            return Unknown(bounded(f"the adapter failed: {type(error).__name__}: {error}"))


def _readable(claimed: Claimed) -> Mail | Rejected:
    try:
        return mail_from_json(claimed.request, claimed.email_id)
    except (ValueError, KeyError, TypeError) as error:
        return Rejected(Fault.CONTENT, bounded(f"the stored mail cannot be read: {error!r}"))


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
        Kind(SENDER_KIND, sender, mailbox_envelopes_max=4, stop_order=1),
    ]
