"""Mailboxes: a bounded queue of commands and a system lane that always goes first.

Not trio's memory channels: one message per scheduler turn caps those at 50-77 thousand a second, a plain deque
drained in slices carries 1-2.8 million (measured on 2 cores, CPython 3.11). Single thread, single consumer:
no lock, no event. Deques are made on first use and dropped when the mailbox is empty, so that an idle actor
costs neither.

Senders never park here, except through `wait_room`, which only edges of the system may use: it is how
backpressure reaches TCP instead of another actor.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorGone, MailboxFull

SYSTEM_ENVELOPES_MAX = 65_536  # timers and watches of one actor, and what of them waits: refused where they are made

DELETIONS_MAX = 8  # of more, the lane is made anew: each deletion walks to its place


@dataclass(frozen=True, slots=True)
class MailboxStatistics:
    """Counts of envelopes: waiting now, the most that ever waited, and those refused because it was full.

    Of a kind with a `Meter`: bytes that wait, commands whose place a newer one took, how long the oldest has waited.
    """

    depth: int
    depth_peak: int
    refused: int
    bytes: int = 0
    coalesced: int = 0
    head_seconds: float | None = None


class Mailbox:
    """The queue of one actor. *envelopes_max* bounds the user lane; the system lane is bounded where it is fed."""

    __slots__ = ("_room_waiters", "_system", "_user", "_wakes_left", "depth_peak", "envelopes_max", "refused")

    def __init__(self, envelopes_max: int) -> None:
        self.envelopes_max = envelopes_max
        self.depth_peak = 0
        self.refused = 0
        self._user: deque[Any] | None = None  # of envelopes here
        self._system: deque[Envelope] | None = None
        self._room_waiters: deque[trio.lowlevel.Task] | None = None
        self._wakes_left = 0

    def __len__(self) -> int:
        return (len(self._user) if self._user else 0) + (len(self._system) if self._system else 0)

    def __iter__(self) -> Iterator[Envelope]:
        """What waits, in the order in which it will be taken."""
        yield from self._system or ()
        yield from self._user or ()

    def put_nowait(self, envelope: Envelope) -> bool:
        """Queue a command. False when the mailbox is full: nothing was queued."""
        user = self._user
        if user is None:
            self._user = deque((envelope,))
            if not self.depth_peak:
                self.depth_peak = 1
            return True
        depth = len(user)
        if depth >= self.envelopes_max:
            self.refused += 1
            return False
        user.append(envelope)
        if depth >= self.depth_peak:
            self.depth_peak = depth + 1
        return True

    def put_tell(self, to: Address, command: object) -> bool:
        """Queue what *to*, whose mailbox it is, is told. False: nothing was queued nor counted; try `put_nowait`."""
        user = self._user
        if user is None:
            self._user = deque((Envelope(to, command),))
            if not self.depth_peak:
                self.depth_peak = 1
            return True
        depth = len(user)
        if depth >= self.envelopes_max:
            return False
        user.append(Envelope(to, command))
        if depth >= self.depth_peak:
            self.depth_peak = depth + 1
        return True

    def put_system(self, envelope: Envelope) -> bool:
        """Queue a command of the runtime itself, ahead of every user command and past their bound.

        A timer or a `Down` reaches a full actor: the lane refuses nothing, for it holds no more than the actor's own
        timers, watches and alarms. False when nobody will take it.
        """
        if self._system is None:
            self._system = deque()
        self._system.append(envelope)
        return True

    def take_out_system(self, is_one: Callable[[Envelope], bool]) -> list[Envelope]:
        """Take those for which *is_one* out of the system lane: nobody wants them any more. O(that lane)."""
        taken = [envelope for envelope in self._system or () if is_one(envelope)]
        if taken:
            gone = set(taken)
            self._system = deque(envelope for envelope in self._system or () if envelope not in gone)
        for envelope in taken:
            envelope.state = "settled"
        return taken

    @property
    def system_depth(self) -> int:
        """How many commands of the runtime itself wait."""
        return len(self._system) if self._system else 0

    def why_full(self, address: Address) -> MailboxFull:
        """The error for who was refused just now."""
        return MailboxFull(address, f"{self.envelopes_max} envelopes", "mailbox_envelopes_max")

    def why_never(self, address: Address, command: object) -> MailboxFull | None:
        """The error for a command that would not fit if nothing waited, or None."""
        return None

    def take_back(self, envelope: Envelope) -> None:
        """Take *envelope* out, which has just been queued. Of no effect when it is not the last command any more."""
        if self._user and self._user[-1] is envelope:
            self._user.pop()
            if self._room_waiters:
                self._wake_room_waiter()

    def make_room(self, command: object) -> list[Envelope]:
        """Take out the oldest tells, no more than must go for *command* to be put.

        Empty when all of them would not do: then nothing was taken. O(places before the last of them).
        """
        lane = self._user or deque()
        excess = len(lane) - self.envelopes_max + 1
        places = list(islice((place for place, one in enumerate(lane) if not one.is_ask), max(excess, 0)))
        return self._take_out(places) if len(places) == excess else []

    def drop_settled(self) -> bool:
        """Of a mailbox that has just refused: drop those whose asker has given up. False when none was found.

        They are looked for when the oldest is one, and now and then: a flood of refusals must not pay for a look each.
        """
        lane = self._user
        if not lane or (not self._is_settled(lane[0]) and (self.refused - 1) % (len(lane) // 8 + 1)):
            return False
        dropped = self._take_out([place for place, entry in enumerate(lane) if self._is_settled(entry)])
        if dropped:
            self.refused -= 1
        return bool(dropped)

    def take_newest(self) -> Envelope | None:
        """Take out the command that came last: its sender is told that it was not queued."""
        return self._take_out([len(self._user) - 1])[0] if self._user else None

    def put_back(self, envelopes: Iterable[Envelope]) -> None:
        """Put commands that must be redone in front of all others, in their old order, past the bound."""
        if self._user is None:
            self._user = deque()
        self._user.extendleft(reversed(list(envelopes)))

    def drop_lanes(self) -> None:
        """Of an empty one: hold nothing. A deque of no commands is 600 bytes."""
        self._user = self._system = None

    def pop(self) -> Envelope | None:
        """Take the next command, system lane first; None when there is none."""
        if self._system:
            return self._system.popleft()
        user = self._user
        if not user:
            self.drop_lanes()
            return None
        envelope: Envelope = user.popleft()
        if self._room_waiters:
            self._wake_room_waiter()
        return envelope

    def peek(self) -> Envelope | None:
        """The next command, left where it is."""
        if self._system:
            return self._system[0]
        head: Envelope | None = self._user[0] if self._user else None
        return head

    def peek_last(self) -> Envelope | None:
        """The command that has all others before it, left where it is."""
        lane = self._user or self._system
        return lane[-1] if lane else None

    def drain(self) -> list[Envelope]:
        """Take everything, in order."""
        taken = [*(self._system or ()), *(self._user or ())]
        self._user = self._system = None
        while self._room_waiters:
            self._wake_room_waiter()
        return taken

    def has_room(self, command: object | None = None) -> bool:
        """Whether *command* could be queued now; None for a small one."""
        return self._user is None or len(self._user) < self.envelopes_max

    async def wait_room(self, command: object | None = None) -> None:
        """Wait until there is room for *command*, or until one that waits is taken. Cancelled: nothing happened.

        That may be too little, and another sender may be quicker: the caller tries again in a loop. It calls
        `pass_room_on` in any case: the others sleep on.
        """
        if self.has_room(command):
            await trio.lowlevel.checkpoint()
            return
        if self._room_waiters is None:
            self._room_waiters = deque()
        waiters, task = self._room_waiters, trio.lowlevel.current_task()
        waiters.append(task)

        def abort(_: object) -> trio.lowlevel.Abort:
            waiters.remove(task)
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def statistics(self) -> MailboxStatistics:
        """Counts so far, and what waits now. O(1)."""
        return MailboxStatistics(len(self), self.depth_peak, self.refused)

    def _is_settled(self, entry: Any) -> bool:
        """Of what lies in the user lane: whether nobody waits for it any more."""
        return bool(entry.state == "settled")

    def _take_out(self, places: list[int]) -> list[Envelope]:
        """Take what lies at *places* of the user lane, which are in order."""
        lane = self._user or deque()
        taken: list[Any] = [lane[place] for place in places]
        if len(places) <= DELETIONS_MAX:
            for place in reversed(places):
                del lane[place]
        else:
            gone = set(places)
            self._user = deque(entry for place, entry in enumerate(lane) if place not in gone)
        return taken

    def pass_room_on(self) -> None:
        """Of one whom `wait_room` has let go, once it has taken what it wants: the next may want what is left.

        Each of those who waited when the room came is woken once at most, so nobody is woken for ever by the others.
        """
        if self._wakes_left and self._room_waiters and self.has_room():
            self._wakes_left -= 1
            self._wake_next()

    def _wake_room_waiter(self) -> None:
        if self._room_waiters is not None:
            self._wakes_left = len(self._room_waiters) - 1
            self._wake_next()

    def _wake_next(self) -> None:
        waiters = self._room_waiters
        assert waiters
        trio.lowlevel.reschedule(waiters.popleft())
        if not waiters:
            self._room_waiters = None


class ClosedMailbox(Mailbox):
    """Of an actor that will never take a command again. Whoever sends one gets an error of his own from *why*."""

    __slots__ = ("_why",)

    def __init__(self, why: Callable[[], ActorGone]) -> None:
        super().__init__(envelopes_max=0)
        self._why = why

    def put_tell(self, to: Address, command: object) -> bool:
        """False: `put_nowait` says why."""
        return False

    def put_nowait(self, envelope: Envelope) -> bool:
        """Raises: ActorGone."""
        raise self._why()

    def put_system(self, envelope: Envelope) -> bool:
        """False: nobody takes it."""
        return False
