"""A network between actors that loses, doubles, delays and reorders what they tell each other, and can be cut.

    actor ──tell──▶ its gate ──commit──▶ system.carry ──▶ mailbox
                                           └ here: lost · twice · later · past what others sent · cut off

It stands where a message between two nodes would travel: after the sender's commit, before the receiver's mailbox.
Asks, ends of watched actors, and what an edge tells, do not pass here. What arrives keeps its order for each receiver,
as over one connection, or for each sender and receiver, as over one connection each.
Without a network the seam is the system's own `deliver`, and costs what calling that costs.
"""

from collections import Counter, deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from greenroom.runtime.actor import Command
from greenroom.runtime.address import Address
from greenroom.runtime.context import Context
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorGone, MailboxFull
from greenroom.runtime.ports import Randomness
from greenroom.runtime.ref import Ref
from greenroom.runtime.tree import SERVICE_KEY
from greenroom.runtime.turn import Turn

if TYPE_CHECKING:
    from greenroom.runtime.system import ActorSystem

Place = str | Address | Ref
"""A kind by its name, or one actor."""

_Way = tuple[Address | None, Address]  # from whom, None for anybody, and to whom
_Side = frozenset[str | Address]


class UnreliableNetwork:
    """Lays itself between the actors of *system*, and is a perfect one until told otherwise.

    lost, doubled: the share of what is told, in [0, 1]. delay_seconds_max: each message is under way for up to so long.
    reorders_senders: of those that are late, what two senders tell one receiver may change places.
    Each may be changed at any time. counts: lost, doubled, delayed, carried, cut off until now.
    """

    def __init__(self, system: "ActorSystem", randomness: Randomness) -> None:
        self.lost = 0.0
        self.doubled = 0.0
        self.delay_seconds_max = 0.0
        self.reorders_senders = False
        self.counts: Counter[str] = Counter()
        self._system = system
        self._randomness = randomness
        self._under_way: dict[_Way, deque[tuple[Address | None, Envelope]]] = {}
        self._cuts: list[tuple[_Side, _Side]] = []
        self._sender: Address | None = None  # of what is being carried
        self._tell_or_bury = system.tell_or_bury
        system.tell_or_bury = self._note_sender  # type: ignore[method-assign]
        system.carry = self.carry

    def remove(self) -> None:
        """Let the actors reach each other directly again. What is under way still arrives."""
        self._system.carry = self._system.deliver
        self._system.tell_or_bury = self._tell_or_bury  # type: ignore[method-assign]

    def cut(self, one: Place | Iterable[Place], other: Place | Iterable[Place], *, one_way: bool = False) -> None:
        """Lose what *one* side and the *other* tell each other from now on, with what is under way, until `heal`.

        A side is the name of a kind, an actor, or several of these. one_way: what the other tells the one arrives.
        Cuts add up. Raises: ValueError for a side of nobody, UnknownKind, TypeError.
        """
        sides = self._side(one), self._side(other)
        self._cuts.append(sides)
        if not one_way:
            self._cuts.append(sides[::-1])

    def heal(self) -> None:
        """Everybody reaches everybody again. What was cut off is gone."""
        self._cuts.clear()

    @property
    def under_way(self) -> int:
        """Messages that have left and have not arrived."""
        return sum(map(len, self._under_way.values()))

    def carry(self, envelope: Envelope) -> None:
        """Bring *envelope* to its mailbox: not at all, once or twice, now or later. Raises as `deliver`, if now."""
        if self._is_cut(self._sender, envelope.to):
            self.counts["cut off"] += 1
            return
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

    def _note_sender(self, address: Address, command: Command[Any], sender: Turn | Context | None = None) -> None:
        """As `ActorSystem.tell_or_bury`, which carries what it is given."""
        who = sender.activation if isinstance(sender, Turn) else sender
        self._sender = None if who is None else who.address
        try:
            self._tell_or_bury(address, command, sender)
        finally:
            self._sender = None

    def _send(self, envelope: Envelope) -> None:
        way = self._way_of(envelope.to)
        queue = self._under_way.get(way)
        if queue is None and self.delay_seconds_max <= 0:
            self._system.deliver(envelope)
            return
        self.counts["delayed"] += 1
        if queue is not None:
            queue.append((self._sender, envelope))
            return
        self._under_way[way] = deque(((self._sender, envelope),))
        self._arrives_later(way)

    def _way_of(self, to: Address) -> _Way:
        """Behind what its sender has under way already, whatever was asked for when that left."""
        own, shared = (self._sender, to), (None, to)
        if own in self._under_way or (self.reorders_senders and shared not in self._under_way):
            return own
        return shared

    def _arrives_later(self, way: _Way) -> None:
        delay = self._randomness.uniform(0, self.delay_seconds_max)
        self._system.deadlines.after(delay, lambda: self._arrive(way))

    def _arrive(self, way: _Way) -> None:
        queue = self._under_way[way]
        sender, envelope = queue.popleft()
        if queue:
            self._arrives_later(way)
        else:
            del self._under_way[way]
        if self._is_cut(sender, envelope.to):
            self.counts["cut off"] += 1
            return
        try:
            self._system.deliver(envelope)
        except MailboxFull:
            self._system.bury(envelope, "mailbox_full")
        except ActorGone:
            self._system.bury(envelope, "stopped")

    def _is_cut(self, sender: Address | None, to: Address) -> bool:
        if not self._cuts or sender is None:
            return False
        return any(
            not senders.isdisjoint((sender, sender.kind)) and not receivers.isdisjoint((to, to.kind))
            for senders, receivers in self._cuts
        )

    def _side(self, given: Place | Iterable[Place]) -> _Side:
        places = [given] if isinstance(given, str | Address | Ref) else list(given)
        if not places:
            raise ValueError("a cut has somebody on each of its sides: name a kind, or an actor by its ref")
        for place in places:
            if not isinstance(place, str | Address | Ref):
                raise TypeError(f"a side of a cut is made of names of kinds, refs and addresses, not of {place!r}")
            if isinstance(place, str):
                self._system.check(Address(place, SERVICE_KEY))
        return frozenset(place.address if isinstance(place, Ref) else place for place in places)

    def _happens(self, share: float) -> bool:
        return share > 0 and self._randomness.uniform(0, 1) < share
