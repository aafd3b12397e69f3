"""A mailbox that knows of each command how large it is, since when it waits, and which it would replace."""

from collections import deque
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorBusy, MailboxFull
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.overflow import Meter


@dataclass(slots=True)
class _Fact:
    """Of one command that waits. at: trio time."""

    envelope: Envelope
    size: int
    at: float
    key: Hashable | None


class MeteredMailbox(Mailbox):
    """The user lane is metered; the system lane is not. Statistics as of `Mailbox`."""

    __slots__ = ("_by_key", "_facts", "_meter", "bytes", "coalesced")

    def __init__(self, envelopes_max: int, meter: Meter) -> None:
        super().__init__(envelopes_max)
        self._meter = meter
        self._facts: deque[_Fact] = deque()  # in the order of the user lane
        self._by_key: dict[Hashable, _Fact] = {}
        self.bytes = 0
        self.coalesced = 0

    def put_nowait(self, envelope: Envelope) -> bool:
        """Queue a command, or let it take the place of the one with its key. False when the mailbox is full."""
        meter, now = self._meter, trio.current_time()
        size = meter.size_of(envelope.command) if meter.size_of is not None else 0
        key = meter.coalesce_by(envelope.command) if meter.coalesce_by is not None and not envelope.is_ask else None
        older = self._by_key.get(key) if key is not None else None
        if older is not None:
            older.envelope.command, envelope.state = envelope.command, "settled"
            self.bytes += size - older.size
            older.size = size
            self.coalesced += 1
            return True
        if (meter.bytes_max and self.bytes + size > meter.bytes_max) or self._head_is_old(now):
            self.refused += 1
            return False
        if not super().put_nowait(envelope):
            return False
        self._note(_Fact(envelope, size, now, key))
        return True

    def pop(self) -> Envelope | None:
        """Take the next command, system lane first; None when there is none."""
        is_system = bool(self._system)
        envelope = super().pop()
        if envelope is not None and not is_system:
            self._forget(self._facts.popleft())
        return envelope

    def why_full(self, address: Address) -> MailboxFull:
        """The error for who was refused just now."""
        now = trio.current_time()
        if self._head_is_old(now):
            return ActorBusy(address, now - self._facts[0].at)
        if len(self._facts) >= self.envelopes_max:
            return super().why_full(address)
        return MailboxFull(address, f"{self.bytes} of {self._meter.bytes_max} bytes", "bytes_max of its meter")

    def put_back(self, envelopes: Iterable[Envelope]) -> None:
        """Put commands that must be redone in front of all others, in their old order, past the bounds."""
        envelopes, now = list(envelopes), trio.current_time()
        super().put_back(envelopes)
        size_of = self._meter.size_of
        for envelope in reversed(envelopes):
            fact = _Fact(envelope, size_of(envelope.command) if size_of is not None else 0, now, None)
            self._facts.appendleft(fact)
            self.bytes += fact.size

    def take_oldest_tell(self) -> Envelope | None:
        """Take out the oldest command that nobody waits for."""
        victim = super().take_oldest_tell()
        if victim is not None:
            fact = next(fact for fact in self._facts if fact.envelope is victim)
            self._facts.remove(fact)
            self._forget(fact)
        return victim

    def drain(self) -> list[Envelope]:
        """Take everything, in order."""
        self._facts.clear()
        self._by_key.clear()
        self.bytes = 0
        return super().drain()

    def _note(self, fact: _Fact) -> None:
        self._facts.append(fact)
        self.bytes += fact.size
        if fact.key is not None:
            self._by_key[fact.key] = fact

    def _forget(self, fact: _Fact) -> None:
        self.bytes -= fact.size
        if fact.key is not None:
            del self._by_key[fact.key]

    def _head_is_old(self, now: float) -> bool:
        return bool(self._facts) and now - self._facts[0].at > self._meter.head_seconds_max
