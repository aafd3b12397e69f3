"""Tickets: single-use keys to one WebSocket, for pages whose cookie does not reach us.

`GET /api/ws/token` issues one; `/ws?token=…` redeems it. An address may end up in a log or a history, so what stands in
one must be worth nothing afterwards: 256 random bits, kept here as a SHA-256 in memory, bound to the principal (whose
session is checked again when it is redeemed), good for TICKET_SECONDS, gone at first use, at a restart, and when its
user signs out everywhere.

Bounded: TICKETS_PER_USER_MAX unused ones of a user, then 429; TICKETS_MAX in all, then 503.
"""

import hashlib
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from greenroom.http.auth import Principal
from greenroom.http.errors import ApiError

TICKET_SECONDS: Final = 60
TICKETS_MAX: Final = 100_000
TICKETS_PER_USER_MAX: Final = 100


@dataclass(frozen=True, slots=True)
class _Ticket:
    expires_at: float
    principal: Principal


class Tickets:
    """Issues and redeems. `clock` is in seconds and never goes back."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tickets: dict[bytes, _Ticket] = {}  # all live equally long, so in the order in which they expire
        self._of_user: Counter[int] = Counter()

    def __len__(self) -> int:
        """How many are held, expired ones among them until the next is issued."""
        return len(self._tickets)

    def issue(self, principal: Principal) -> str:
        """A ticket for *principal*, who must have a user. Raises ApiError at the limits."""
        user_id = principal.require_user()
        self._drop_expired()
        if self._of_user[user_id] >= TICKETS_PER_USER_MAX:
            raise ApiError("RATE_LIMIT_EXCEEDED", "too many unused tickets: use them", retry_after=TICKET_SECONDS)
        if len(self._tickets) >= TICKETS_MAX:
            raise ApiError("SERVICE_UNAVAILABLE", "too many tickets are waiting to be used", retry_after=5)
        text = secrets.token_urlsafe(32)
        self._tickets[_digest(text)] = _Ticket(self._clock() + TICKET_SECONDS, principal)
        self._of_user[user_id] += 1
        return text

    def holder_of(self, text: str) -> Principal | None:
        """Whose ticket it is, which stays good; None as for `redeem`."""
        ticket = self._tickets.get(_digest(text))
        return ticket.principal if ticket is not None and self._clock() < ticket.expires_at else None

    def redeem(self, text: str) -> Principal | None:
        """Whose ticket it is, once; None for anything that is no ticket (any more)."""
        ticket = self._tickets.pop(_digest(text), None)
        if ticket is None:
            return None
        self._count_out(ticket)
        return ticket.principal if self._clock() < ticket.expires_at else None

    def void(self, user_id: int) -> None:
        """Take back all tickets of a user, in one pass over all that are held."""
        if self._of_user[user_id]:
            for digest in [digest for digest, ticket in self._tickets.items() if ticket.principal.user_id == user_id]:
                del self._tickets[digest]
        del self._of_user[user_id]

    def _drop_expired(self) -> None:
        now = self._clock()
        while self._tickets:
            oldest = next(iter(self._tickets))
            if self._tickets[oldest].expires_at > now:
                return
            self._count_out(self._tickets.pop(oldest))

    def _count_out(self, ticket: _Ticket) -> None:
        user_id = ticket.principal.require_user()
        self._of_user[user_id] -= 1
        if not self._of_user[user_id]:
            del self._of_user[user_id]


def _digest(text: str) -> bytes:
    # Looked up by hash: the time of a lookup tells nothing about the text of a ticket.
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
