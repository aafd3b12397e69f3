"""A mailbox that knows of each command how large it is, since when it waits, and which it would replace.

    told ──▶ bare: (command, size, since) ──▶ handled by a plain turn that lets nothing out
               └── looked at, written by, failed, … ──▶ sealed: an envelope in its place, and from then on that

An envelope is what a command is followed by on its way; making one takes a tenth of what a tell costs, and most tells
go no further than from the mailbox into a plain handler. So a tell lies bare until somebody needs more of it than that.
"""

import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import Any, cast

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorBusy, CommandTooLarge, MailboxFull
from greenroom.runtime.limits import need_whole
from greenroom.runtime.mailbox import Mailbox, MailboxStatistics
from greenroom.runtime.overflow import Meter
from greenroom.runtime.stopwatch import stopwatch

Entry = tuple[Any, int, float, Hashable | None]
"""What waits: a bare command or an envelope, its size, since when, its key. Of one with a key the size may be older."""


class _Keyed:
    """The command of a key that waits, and its size now."""

    __slots__ = ("envelope", "size")

    def __init__(self, envelope: Envelope, size: int) -> None:
        self.envelope = envelope
        self.size = size


class MeteredMailbox(Mailbox):
    """The user lane is metered; the system lane is not. now: its `stopwatch`."""

    __slots__ = (
        "_by_key",
        "_bytes_max",
        "_head_seconds_max",
        "_key_of",
        "_late_at",
        "_meter",
        "_size_of",
        "_to",
        "bytes",
        "coalesced",
        "now",
    )

    _user: deque[Entry] | None

    def __init__(self, envelopes_max: int, meter: Meter) -> None:
        super().__init__(envelopes_max)
        self._meter = meter
        self._size_of = meter.size_of or _no_size
        self._bytes_max = meter.bytes_max or math.inf
        self._head_seconds_max = meter.head_seconds_max
        self._late_at = -math.inf  # until then no head can have waited for too long: set by `_is_late`
        self._key_of = meter.coalesce_by
        self._by_key: dict[Hashable, _Keyed] = {}
        self._to: Address | None = None  # whose it is: known as soon as something lies bare
        self.now: Callable[[], float] = stopwatch()
        self.bytes = 0
        self.coalesced = 0

    def __iter__(self) -> Iterator[Envelope]:
        """What waits, in the order in which it will be taken."""
        if self._user:
            self._user = deque(self._sealed(entry) for entry in self._user)
        yield from self._system or ()
        for envelope, _, _, _ in self._user or ():
            yield envelope

    def put_tell(self, to: Address, command: object) -> bool:
        """Queue what *to* is told, bare. False: nothing was queued nor counted; try `put_nowait`."""
        if self._key_of is not None:
            return False
        lane = self._user
        if lane is None:
            lane = self._user = deque()
        size_of, clock, depth = self._size_of, self.now, len(lane)  # called as locals: twice as fast in CPython 3.11
        size, now, held = size_of(command), clock(), self.bytes
        if not 0 <= size <= self._bytes_max - held or depth >= self.envelopes_max:
            return False
        if now > self._late_at and self._is_late(now):
            return False
        self._to = to
        lane.append((command, size, now, None))
        self.bytes = held + size
        if depth >= self.depth_peak:
            self.depth_peak = depth + 1
        return True

    def put_nowait(self, envelope: Envelope) -> bool:
        """Queue a command, or let it take the place of the one with its key. False when the mailbox is full."""
        size, key = self._measured(envelope.command), None
        if self._key_of is not None and not envelope.is_ask:
            key = self._key_of(envelope.command)
            if key is not None and key in self._by_key:
                return self._has_replaced(key, envelope, size)
        now = self.now()
        if self.bytes + size > self._bytes_max or (now > self._late_at and self._is_late(now)):
            self.refused += 1
            return False
        if not super().put_nowait(envelope):
            return False
        self._user[-1] = (envelope, size, now, key)  # type: ignore[index]
        self.bytes += size
        if key is not None:
            self._by_key[key] = _Keyed(envelope, size)
        return True

    def pop(self) -> Envelope | None:
        """Take the next command, system lane first; None when there is none."""
        if self._system:
            return self._system.popleft()
        entry = cast("Entry | None", super().pop())
        return None if entry is None else self._leaves(entry)

    def peek(self) -> Envelope | None:
        """The next command, left where it is."""
        if self._system or not self._user:
            return super().peek()
        entry = self._user[0] = self._sealed(self._user[0])
        return cast("Envelope", entry[0])

    def peek_last(self) -> Envelope | None:
        """The command that has all others before it, left where it is."""
        if not self._user:
            return super().peek_last()
        entry = self._user[-1] = self._sealed(self._user[-1])
        return cast("Envelope", entry[0])

    def why_full(self, address: Address) -> MailboxFull:
        """The error for who was refused just now."""
        lane = self._user or ()
        head_seconds = self.now() - lane[0][2] if lane else 0.0
        if head_seconds > self._head_seconds_max:
            return ActorBusy(address, head_seconds)
        if len(lane) >= self.envelopes_max:
            return super().why_full(address)
        return MailboxFull(address, f"{self.bytes} of {self._meter.bytes_max} bytes", "bytes_max of its meter")

    def take_back(self, envelope: Envelope) -> None:
        """Take *envelope* out, which has just been queued. Of no effect when it is not the last command any more."""
        if self._user and self._user[-1][0] is envelope:
            self._leaves(self._user.pop())
            if self._room_waiters:
                self._wake_room_waiter()

    def put_back(self, envelopes: Iterable[Envelope]) -> None:
        """Put commands that must be redone in front of all others, in their old order, past the bounds.

        They wait no less long than those behind them, so that the head is always the oldest.
        """
        since = self._user[0][2] if self._user else self.now()
        entries: list[Any] = [(envelope, self._size_again(envelope.command), since, None) for envelope in envelopes]
        super().put_back(entries)
        self.bytes += sum(entry[1] for entry in entries)

    def why_never(self, address: Address, command: object) -> MailboxFull | None:
        """The error for a command that would not fit if nothing waited, or None."""
        size = self._size_of(command)
        return None if size <= self._bytes_max else CommandTooLarge(address, command, size, self._meter.bytes_max)

    def has_room(self, command: object | None = None) -> bool:
        """Whether *command*, which nobody waits for, could be queued now; None for one of a byte."""
        lane = self._user or ()
        count, size, replaced = self._needs(command)
        return self._is_room(
            len(lane) + count, self.bytes + size, None if replaced is not None or not lane else lane[0][2]
        )

    def make_room(self, command: object) -> list[Envelope]:
        """Take out the oldest tells, no more than must go for *command* to be put.

        Empty when all of them would not do: then nothing was taken. O(places before the last of them).
        """
        lane, places = self._user or deque(), list[int]()
        heads = list[float]()  # since when those wait that stay
        more, size, replaced = self._needs(command)
        count, taken = len(lane) + more, self.bytes + size
        for place, (what, own, since, key) in enumerate(lane):
            head = heads[0] if heads else since
            if self._is_room(count, taken, head if replaced is None else None):
                return self._take_out(places)
            if (isinstance(what, Envelope) and what.is_ask) or (replaced is not None and key == replaced):
                heads.append(since)
            else:
                places.append(place)
                count, taken = count - 1, taken - (own if key is None else self._by_key[key].size)
        is_room = self._is_room(count, taken, heads[0] if heads and replaced is None else None)
        return self._take_out(places) if is_room else []

    def drain(self) -> list[Envelope]:
        """Take everything, in order."""
        taken = list(self)
        super().drain()
        self._by_key.clear()
        self.bytes = 0
        return taken

    def statistics(self) -> MailboxStatistics:
        """Counts so far, and what waits now. O(1)."""
        head_seconds = self.now() - self._user[0][2] if self._user else None
        return MailboxStatistics(len(self), self.depth_peak, self.refused, self.bytes, self.coalesced, head_seconds)

    def bare(self) -> int:
        """How many have no envelope. O(depth)."""
        return sum(not isinstance(entry[0], Envelope) for entry in self._user or ())

    def seal(self, command: object, since: float) -> Envelope:
        """The envelope of what was told *since*."""
        assert self._to is not None
        return Envelope(self._to, command)

    def _size_again(self, command: object) -> int:
        """Of what is put back, which has been let in, so it stays. What the runtime itself tells has no size."""
        try:
            return self._measured(command)
        except Exception:
            return 0

    def _measured(self, command: object) -> int:
        """Its size. Raises: TypeError, ValueError for what is none; what `size_of` raises."""
        size = self._size_of(command)
        need_whole(f"size_of a meter, of {type(command).__name__}", size, least=0)
        return size

    def _is_late(self, now: float) -> bool:
        """Whether the head has waited for too long, of a mailbox that was last asked a while ago.

        Each later head has come later: so the time at which this one would be late holds for all of them.
        """
        self._late_at = (self._user[0][2] if self._user else now) + self._head_seconds_max
        return now > self._late_at

    def _needs(self, command: object | None) -> tuple[int, int, Hashable | None]:
        """How many places and bytes more a tell takes, and whose place, if it takes another's."""
        if command is None:
            return 1, 1, None
        size = self._size_of(command)
        key = None if self._key_of is None else self._key_of(command)
        if key is None or key not in self._by_key:
            return 1, size, None
        return 0, size - self._by_key[key].size, key

    def _is_room(self, count: int, taken: int, head: float | None) -> bool:
        """Whether so many may wait, of so many bytes, the oldest since *head*."""
        is_late = head is not None and self.now() - head > self._head_seconds_max
        return count <= self.envelopes_max and taken <= self._bytes_max and not is_late

    def _is_settled(self, entry: Entry) -> bool:
        """Of what lies in the user lane: whether nobody waits for it any more."""
        return isinstance(entry[0], Envelope) and entry[0].state == "settled"

    def _take_out(self, places: list[int]) -> list[Envelope]:
        """Take what lies at *places* of the user lane, which are in order."""
        return [self._leaves(cast("Entry", entry)) for entry in super()._take_out(places)]

    def _sealed(self, entry: Entry) -> Entry:
        what, size, since, key = entry
        return entry if isinstance(what, Envelope) else (self.seal(what, since), size, since, key)

    def _leaves(self, entry: Entry) -> Envelope:
        envelope, size, _, key = self._sealed(entry)
        self.bytes -= size if key is None else self._by_key.pop(key).size
        return cast("Envelope", envelope)

    def _has_replaced(self, key: Hashable, envelope: Envelope, size: int) -> bool:
        """Let it take the place of the command of that key that waits. False when it is too large for that."""
        older = self._by_key[key]
        if self.bytes + size - older.size > self._bytes_max:
            self.refused += 1
            return False
        older.envelope.command, envelope.state = envelope.command, "settled"
        self.bytes += size - older.size
        older.size = size
        self.coalesced += 1
        return True


def _no_size(_: object) -> int:
    """Of a kind that declares none."""
    return 0
