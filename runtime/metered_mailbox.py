"""A mailbox that knows of each command how large it is, since when it waits, and which it would replace.

The facts of a command are a tuple and its clock is asked directly: a class for them and `trio.current_time` took a
tenth of what a tell to such a mailbox costs.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorBusy, MailboxFull
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.overflow import Meter

Fact = tuple[int, float, Hashable | None]
"""Of one command that waits: its size, since when (trio time), its key. Of one with a key the size may be older."""


class _Keyed:
    """The command of a key that waits, and its size now."""

    __slots__ = ("envelope", "size")

    def __init__(self, envelope: Envelope, size: int) -> None:
        self.envelope = envelope
        self.size = size


class MeteredMailbox(Mailbox):
    """The user lane is metered; the system lane is not. Statistics as of `Mailbox`."""

    __slots__ = ("_by_key", "_bytes_max", "_facts", "_meter", "_now", "_size_of", "bytes", "coalesced")

    def __init__(self, envelopes_max: int, meter: Meter) -> None:
        super().__init__(envelopes_max)
        self._meter = meter
        self._size_of = meter.size_of
        self._bytes_max = meter.bytes_max or math.inf
        self._facts: deque[Fact] = deque()  # in the order of the user lane
        self._by_key: dict[Hashable, _Keyed] = {}
        self._now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self.bytes = 0
        self.coalesced = 0

    def put_nowait(self, envelope: Envelope) -> bool:
        """Queue a command, or let it take the place of the one with its key. False when the mailbox is full."""
        meter, facts, size_of, key = self._meter, self._facts, self._size_of, None
        size = 0 if size_of is None else size_of(envelope.command)
        if meter.coalesce_by is not None and not envelope.is_ask:
            key = meter.coalesce_by(envelope.command)
            if key is not None and self._has_replaced(key, envelope, size):
                return True
        now = self._now()
        if self.bytes + size > self._bytes_max or (facts and now - facts[0][1] > meter.head_seconds_max):
            self.refused += 1
            return False
        if not super().put_nowait(envelope):
            return False
        facts.append((size, now, key))
        self.bytes += size
        if key is not None:
            self._by_key[key] = _Keyed(envelope, size)
        return True

    def pop(self) -> Envelope | None:
        """Take the next command, system lane first; None when there is none."""
        is_system = bool(self._system)
        envelope = super().pop()
        if envelope is not None and not is_system:
            size, _, key = self._facts.popleft()
            self.bytes -= size if key is None else self._by_key.pop(key).size
        return envelope

    def why_full(self, address: Address) -> MailboxFull:
        """The error for who was refused just now."""
        head_seconds = self._now() - self._facts[0][1] if self._facts else 0.0
        if head_seconds > self._meter.head_seconds_max:
            return ActorBusy(address, head_seconds)
        if len(self._facts) >= self.envelopes_max:
            return super().why_full(address)
        return MailboxFull(address, f"{self.bytes} of {self._meter.bytes_max} bytes", "bytes_max of its meter")

    def put_back(self, envelopes: Iterable[Envelope]) -> None:
        """Put commands that must be redone in front of all others, in their old order, past the bounds."""
        envelopes, now = list(envelopes), self._now()
        super().put_back(envelopes)
        for envelope in reversed(envelopes):
            size = 0 if self._size_of is None else self._size_of(envelope.command)
            self._facts.appendleft((size, now, None))
            self.bytes += size

    def take_oldest_tell(self) -> Envelope | None:
        """Take out the oldest command that nobody waits for. O(asks before it)."""
        place = next((place for place, one in enumerate(self._user or ()) if not one.is_ask), 0)
        victim = super().take_oldest_tell()
        if victim is not None:
            size, _, key = self._facts[place]
            del self._facts[place]
            self.bytes -= size if key is None else self._by_key.pop(key).size
        return victim

    def drain(self) -> list[Envelope]:
        """Take everything, in order."""
        self._facts.clear()
        self._by_key.clear()
        self.bytes = 0
        return super().drain()

    def _has_replaced(self, key: Hashable, envelope: Envelope, size: int) -> bool:
        """Whether a command of that key waits, whose place the new one has taken."""
        older = self._by_key.get(key)
        if older is None:
            return False
        older.envelope.command, envelope.state = envelope.command, "settled"
        self.bytes += size - older.size
        older.size = size
        self.coalesced += 1
        return True
