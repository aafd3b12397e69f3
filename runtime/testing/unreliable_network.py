"""A network between actors that loses, doubles and delays what they tell each other.

    actor ──tell──▶ its gate ──commit──▶ system.carry ──▶ mailbox
                                           └ here: lost · twice · later

It stands where a message between two nodes would travel: after the sender's commit, before the receiver's mailbox.
Asks, and what an edge tells, do not pass here. What arrives keeps its order for each receiver, as over one connection.
Without a network the seam is the system's own `deliver`, and costs what calling that costs.
"""

from collections import Counter, deque
from typing import TYPE_CHECKING

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorGone, MailboxFull
from greenroom.runtime.ports import Randomness

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem


class UnreliableNetwork:
    """Lays itself between the actors of *system*, and is a perfect one until told otherwise.

    lost, doubled: the share of what is told, in [0, 1]. delay_seconds_max: each message is under way for up to so long.
    Each may be changed at any time. counts: lost, doubled, delayed, carried until now.
    """

    def __init__(self, system: "ActorSystem", randomness: Randomness) -> None:
        self.lost = 0.0
        self.doubled = 0.0
        self.delay_seconds_max = 0.0
        self.counts: Counter[str] = Counter()
        self._system = system
        self._randomness = randomness
        self._under_way: dict[Address, deque[Envelope]] = {}
        system.carry = self.carry

    def remove(self) -> None:
        """Let the actors reach each other directly again. What is under way still arrives."""
        self._system.carry = self._system.deliver

    @property
    def under_way(self) -> int:
        """Messages that have left and have not arrived."""
        return sum(map(len, self._under_way.values()))

    def carry(self, envelope: Envelope) -> None:
        """Bring *envelope* to its mailbox: not at all, once or twice, now or later. Raises as `deliver`, if now."""
        if self._happens(self.lost):
            self.counts["lost"] += 1
            return
        copies = [envelope]
        if self._happens(self.doubled):
            self.counts["doubled"] += 1
            copies.append(Envelope(envelope.to, envelope.command))
        for copy in copies:
            self.counts["carried"] += 1
            self._send(copy)

    def _send(self, envelope: Envelope) -> None:
        queue = self._under_way.get(envelope.to)
        if queue is None and self.delay_seconds_max <= 0:
            self._system.deliver(envelope)
            return
        self.counts["delayed"] += 1
        if queue is not None:
            queue.append(envelope)
            return
        self._under_way[envelope.to] = deque((envelope,))
        self._arrives_later(envelope.to)

    def _arrives_later(self, to: Address) -> None:
        delay = self._randomness.uniform(0, self.delay_seconds_max)
        self._system.deadlines.after(delay, lambda: self._arrive(to))

    def _arrive(self, to: Address) -> None:
        queue = self._under_way[to]
        envelope = queue.popleft()
        if queue:
            self._arrives_later(to)
        else:
            del self._under_way[to]
        try:
            self._system.deliver(envelope)
        except MailboxFull:
            self._system.bury(envelope, "mailbox_full")
        except ActorGone:
            self._system.bury(envelope, "stopped")

    def _happens(self, share: float) -> bool:
        return share > 0 and self._randomness.uniform(0, 1) < share
