"""Where the rest of the product hands in mail: accept, wake, tell how it went.

`accept_…` returns when the mails are durable; then the queue of the first account is woken at once, so that a mail
leaves in milliseconds. `run` wakes every queue at each poll besides: a safety net, not the way.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import structlog
import trio

from greenroom.actors.provider_queue.actor import QUEUE_KIND
from greenroom.actors.provider_queue.commands import Drain, GetHealth, QueueHealth, Wake
from greenroom.actors.provider_queue.request import PRIORITY_NAMES, MailRequest
from greenroom.actors.provider_queue.state import QueuePolicy
from greenroom.actors.provider_queue.story import iso, masked, story
from greenroom.actors.providers.accounts import FOLDER
from greenroom.runtime import ActorError, ActorSystem, MailboxFull, StorageUnavailable
from greenroom.storage.postgres.outbox import Enqueued, Keyed, KeyTaken, NewMail, Outbox, Replayed, new_id

log = structlog.get_logger()

ACCEPTED_STATUS = 202
HEALTH_SECONDS_MAX = 1.0
DEPTH_WARNING_MAILS = 1000  # guide A's alert threshold


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """As the caller gave it. body: what it must be the same for."""

    route: str
    key: str
    body: object


@dataclass(frozen=True, slots=True)
class Taken:
    """The answer to a request: its data. is_replay: the same request was answered before, with this."""

    status: int
    data: Any
    is_replay: bool = False


class PostOffice:
    """Made once; `run` it in a nursery beside the actor system."""

    def __init__(self, outbox: Outbox, system: ActorSystem, policy: QueuePolicy) -> None:
        self._outbox = outbox
        self._system = system
        self._policy = policy

    @property
    def provider(self) -> str:
        """The account that a mail goes to first."""
        return self._policy.accounts[0]

    async def run(self) -> None:
        """Wake every queue now and at each poll: a queue that crashed or gave up comes back for what waits."""
        is_adopted = self._policy.accounts[0] == FOLDER
        while True:
            if not is_adopted:
                is_adopted = await self._adopt()
            for account in self._policy.accounts:
                self._wake(account)
            await trio.sleep(self._policy.poll_ms / 1000)

    async def accept_one(
        self, request: MailRequest, *, principal: str, key: IdempotencyKey | None = None
    ) -> Taken | KeyTaken:
        """Keep one mail. Raises: StorageUnavailable."""
        at_ms = self._system.clock.wall_milliseconds()
        (mail,) = _new_mails([request], at_ms)
        return await self._accept([mail], _receipt(mail, request, at_ms), principal, key, at_ms)

    async def accept_batch(
        self, requests: Sequence[MailRequest], *, principal: str, key: IdempotencyKey | None = None
    ) -> Taken | KeyTaken:
        """Keep several mails, all or none. Raises: StorageUnavailable."""
        at_ms = self._system.clock.wall_milliseconds()
        mails = _new_mails(requests, at_ms)
        receipts = [_receipt(mail, request, at_ms) for mail, request in zip(mails, requests, strict=True)]
        data = {"success": len(receipts), "failed": 0, "results": receipts}
        return await self._accept(mails, data, principal, key, at_ms)

    async def status(self, email_id: str) -> tuple[str, dict[str, object]] | None:
        """Who handed the mail in, and its story; None when there is no such mail. Raises: StorageUnavailable."""
        found = await self._outbox.mail(email_id)
        if found is None:
            return None
        row, attempts = found
        now_ms = self._system.clock.wall_milliseconds()
        return row["created_by"], story(row, attempts, now_ms=now_ms, mail_ms_max=self._policy.mail_ms_max)

    async def health(self) -> dict[str, object]:
        """How the queues stand, and how many mails wait. Raises: StorageUnavailable."""
        queues = [await self._queue_health(account) for account in self._policy.accounts]
        depths = [dict(row) for row in await self._outbox.depths()]
        waiting = sum(depth["mails"] for depth in depths if depth["status"] == "pending")
        return {
            "status": _health_word(queues, waiting),
            "provider": self.provider,
            "accounts": [
                _account_health(account, queue) for account, queue in zip(self._policy.accounts, queues, strict=True)
            ],
            "pending": waiting,
            "unknown": sum(depth["mails"] for depth in depths if depth["status"] == "unknown"),
            "depths": [
                {
                    "account": row["account"],
                    "status": row["status"],
                    "mails": row["mails"],
                    "oldest": iso(row["oldest_ms"]),
                }
                for row in depths
            ],
        }

    def drain(self) -> None:
        """The process stops: no queue claims anything more. Leaving the actor system then lets calls end."""
        for account in self._policy.accounts:
            self._system.tell_or_bury(self._system.ref(QUEUE_KIND, account).address, Drain())

    # -- parts --------------------------------------------------------------------------------------------------

    async def _accept(
        self, mails: list[NewMail], data: object, principal: str, key: IdempotencyKey | None, at_ms: int
    ) -> Taken | KeyTaken:
        account = self._policy.accounts[0]
        keyed = None
        if key is not None:
            keyed = Keyed(key.route, key.key, digest(key.body), ACCEPTED_STATUS, json.dumps(data))
        outcome = await self._outbox.enqueue(
            mails,
            principal=principal,
            account=account,
            attempts_max=self._policy.attempts_max,
            at_ms=at_ms,
            keyed=keyed,
        )
        match outcome:
            case Enqueued():
                self._wake(account)
                return Taken(ACCEPTED_STATUS, data)
            case Replayed(status, answer):
                return Taken(status, json.loads(answer), is_replay=True)
            case KeyTaken():
                return outcome

    async def _adopt(self) -> bool:
        """Take over what waits for accounts that are gone from the settings. False when storage is away."""
        try:
            await self._outbox.adopt(self._policy.accounts, folder=FOLDER)
        except StorageUnavailable:
            return False
        except Exception:  # a fault here must not end every room; nor may it go unseen
            log.exception("emails.not_adopted")
            return False
        return True

    def _wake(self, account: str) -> None:
        try:
            self._system.ref(QUEUE_KIND, account).tell(Wake())
        except MailboxFull:
            return  # it is awake
        except ActorError:
            return  # the system stops; the mail is durable, and the next start wakes the queue

    async def _queue_health(self, account: str) -> QueueHealth | None:
        ref = self._system.ref(QUEUE_KIND, account)
        try:
            return await ref.ask(GetHealth(), deadline=trio.current_time() + HEALTH_SECONDS_MAX)
        except ActorError:
            return None


def digest(body: object) -> bytes:
    """SHA-256 of a JSON body, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode()).digest()


def _new_mails(requests: Sequence[MailRequest], at_ms: int) -> list[NewMail]:
    """Mails whose ids sort as they were handed in: so they leave."""
    ids = sorted(new_id("em", at_ms) for _ in requests)
    return [
        NewMail(email_id, request.to_json(), request.priority, request.send_at_ms or at_ms)
        for email_id, request in zip(ids, requests, strict=True)
    ]


def _receipt(mail: NewMail, request: MailRequest, at_ms: int) -> dict[str, object]:
    """The answer for one mail, with the names of the old EmailResult beside ours."""
    return {
        "id": mail.id,
        "messageId": mail.id,
        "success": True,
        "status": "pending",
        "to": [masked(address) for address in request.mail.to],
        "priority": PRIORITY_NAMES[mail.priority],
        "sendAt": iso(request.send_at_ms),
        "timestamp": iso(at_ms),
    }


def _account_health(account: str, queue: QueueHealth | None) -> dict[str, object]:
    if queue is None:
        return {"account": account, "status": "unavailable"}
    return {
        "account": account,
        "status": _account_word(queue),
        "inFlight": queue.in_flight,
        "awaySince": iso(queue.since_ms),
        "parkedUntil": iso(queue.parked_until_ms or None),
        "reason": queue.reason or None,
        "rateLimitOpensAt": iso(queue.opens_ms),
        "sent": queue.done,
        "retried": queue.retried,
        "held": queue.held,
        "failedOver": queue.failed_over,
        "failed": queue.given_up,
        "unknown": queue.unknown,
    }


def _account_word(queue: QueueHealth) -> str:
    if queue.is_fenced:
        return "fenced"
    if queue.parked_until_ms:
        return "parked"
    return "healthy" if queue.since_ms is None else "probing"


def _health_word(queues: Sequence[QueueHealth | None], waiting: int) -> str:
    words = ["" if queue is None else _account_word(queue) for queue in queues]
    if not {"healthy", "probing"} & set(words):  # probing: it was away, and the next mail will tell
        return "unhealthy"
    return "degraded" if set(words) != {"healthy"} or waiting > DEPTH_WARNING_MAILS else "healthy"
