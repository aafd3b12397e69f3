"""Tracing: what one actor was told, for a while, command by command.

    told ──wait──▶ running ──turn──▶ committing ──commit──▶ settled: one entry in the ring
                      └──▶ put back or aside: an entry too, and its life begins again

Who is not traced pays nothing, not even a test. A traced mailbox, and each envelope that goes into it, is given a class
of the same layout that tells the trace of what happens to it: so every way that a command can take is seen, and when
the trace is over the mailbox gets its own class back. A tell that lies bare in a metered mailbox knows since when, and
when its turn lets nothing out, four times of the clock are all there is to tell: they become an entry when somebody
looks.
"""

import math
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import trio

from greenroom.runtime.actor_alarms import name_of
from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope, EnvelopeState
from greenroom.runtime.errors import ActorFailed, TracedAlready
from greenroom.runtime.mailbox import Mailbox
from greenroom.runtime.metered_mailbox import MeteredMailbox
from greenroom.runtime.overflow import Overflow
from greenroom.runtime.stopwatch import stopwatch
from greenroom.runtime.turn import senders_of

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem

TRACE_SECONDS_MAX = 3600.0
TRACE_EVENTS_MAX = 10_000
_REFUSED = {Overflow.REFUSE: "mailbox_full", Overflow.DROP_NEWEST: "dropped_newest"}


@dataclass(frozen=True, slots=True)
class TraceEntry:
    """One command of a traced actor. Seconds are of trio's clock; None for what did not come to pass.

    number: counts from 0, without a gap. at_ms: when it was told, milliseconds since 1970.
    wait_seconds: in the mailbox; of what waited there already, since the trace began.
    turn_seconds: of a turn that waits its waits too. commit_seconds: from the end of the turn until its outputs left.
    outcome: `handled`, `redone`, `put_aside`, `abandoned` by its asker, `coalesced`, `dropped_oldest`,
    `dropped_newest`, `mailbox_full`, or the error that was answered. attempts: how often it was redone before.
    senders: as of a dead letter.
    """

    number: int
    command: str
    at_ms: int
    wait_seconds: float | None
    turn_seconds: float | None
    commit_seconds: float | None
    outcome: str
    attempts: int
    senders: tuple[str, ...]


Wall = tuple[int, float]
"""What the wall showed, milliseconds since 1970, when the stopwatch showed that."""

NO_WALL: Wall = (0, 0.0)
"""For who is not traced."""

BareTurn = tuple[type, float, float, float, Wall]
"""Of a command that was handled without an envelope: its type, when it was told, begun and ended, and the wall."""


@dataclass(slots=True)
class _Life:
    """Of one command under way. envelope: kept so that its id stays its own. Times are of the stopwatch."""

    envelope: Envelope
    at_ms: int
    told_at: float
    attempts: int
    begun_at: float | None = None
    ended_at: float | None = None
    outcome: str | None = None


class Trace:
    """Made by `ActorSystem.trace`."""

    def __init__(self, system: "ActorSystem", cell: "Activation", seconds: float, events_max: int) -> None:
        self.address: Address = cell.address
        self.overflow = cell.kind.overflow
        self._ring: deque[TraceEntry | BareTurn] = deque(maxlen=events_max)
        self._burst: list[BareTurn] = []  # of the drain under way: not in the ring yet
        self._count = 0
        self.is_over = False
        self.ends_at = trio.current_time() + seconds
        self._system = system
        self._cell = cell
        self._lives: dict[int, _Life] = {}
        self._classes: dict[type[Envelope], type[Envelope]] = {}
        self._changed: trio.Event | None = None  # there while somebody waits for the next entry
        self._now = stopwatch()
        self._mailbox, self._mailbox_class = cell.mailbox, type(cell.mailbox)
        self._end = system.deadlines.at(self.ends_at, self.end)
        for envelope in cell.mailbox:
            self.follow(envelope)
        cell.mailbox.__class__ = _telling(self._mailbox_class, self)
        cell.gauges.trace = self

    @property
    def newest(self) -> list[TraceEntry]:
        """What the ring holds, oldest entry first."""
        self._empty_burst()
        ring, first = self._ring, self._count - len(self._ring)
        for place, turn in enumerate(ring):
            if isinstance(turn, tuple):
                ring[place] = _entry_of(first + place, *turn)
        return list(ring)  # type: ignore[arg-type]

    @property
    def count(self) -> int:
        """Of all entries there were."""
        return self._count + len(self._burst)

    @property
    def under_way(self) -> int:
        """Commands that wait, run or are being stored."""
        if self.is_over or not isinstance(self._mailbox, MeteredMailbox):
            return len(self._lives)
        return len(self._lives) + self._mailbox.bare()

    async def entries(self) -> AsyncIterator[TraceEntry]:
        """Each entry, when it is there, until the trace is over. What the ring has lost meanwhile is left out."""
        number = 0
        while True:
            for entry in [entry for entry in self.newest if entry.number >= number]:
                number = entry.number + 1
                yield entry
            if self.is_over and number >= self.count:
                return
            if number >= self.count:
                self._changed = self._changed or trio.Event()
                await self._changed.wait()

    def end(self) -> None:
        """Trace no more. What is under way is not seen to its end. Twice is nothing."""
        if self.is_over:
            return
        self.is_over = True
        self._end.cancel()
        self._mailbox.__class__ = self._mailbox_class
        self._cell.gauges.trace = None
        self._lives.clear()
        self._empty_burst()
        self._burst = []  # what a drain under way still adds to the old one is seen by nobody
        self._tell_change()

    # -- told by what is traced ---------------------------------------------------------------------------------

    def begin_burst(self) -> tuple[Callable[[BareTurn], None], Wall]:
        """Of the runtime: what to call for each bare command that was handled, and the wall now."""
        return self._burst.append, (self._system.clock.wall_milliseconds(), self._now())

    def burst_is_over(self) -> None:
        """Of the runtime: the drain has ended."""
        if self._burst:
            self._empty_burst()
            self._tell_change()

    def follow(self, envelope: Envelope, told_at: float | None = None, begun_at: float | None = None) -> None:
        """Of the runtime: the actor was told *envelope*, now or before, and its turn may have begun."""
        kind = type(envelope)
        if kind in self._classes.values():  # put back: its life goes on
            return
        if kind not in self._classes:
            self._classes[kind] = _following(kind, self)
        envelope.__class__ = self._classes[kind]
        now, now_ms = self._now(), self._system.clock.wall_milliseconds()
        told_at = now if told_at is None else told_at
        at_ms = _at_ms(told_at, (now_ms, now))
        self._lives[id(envelope)] = _Life(envelope, at_ms, told_at, envelope.attempts, begun_at)

    def refused(self, envelope: Envelope, outcome: str) -> None:
        """It is not, or no longer, in the mailbox, and will not be handled."""
        now_ms = self._system.clock.wall_milliseconds()
        life = self._lives.pop(id(envelope), None) or _Life(envelope, now_ms, self._now(), envelope.attempts)
        self._note(life, outcome)

    def answered(self, envelope: Envelope, outcome: str) -> None:
        """What becomes of it; the first word counts."""
        life = self._lives.get(id(envelope))
        if life is not None and life.outcome is None:
            life.outcome = outcome

    def moved(self, envelope: Envelope, state: EnvelopeState) -> None:
        """Its state has changed."""
        life = self._lives.get(id(envelope))
        if life is None:
            return
        now = self._now()
        if state == "running":
            life.begun_at = now
        elif state == "committing":
            life.ended_at = now
        elif state == "queued":
            self._note(life, "redone" if envelope.attempts > life.attempts else "put_aside")
            self._lives[id(envelope)] = _Life(envelope, life.at_ms, now, envelope.attempts)
        else:
            del self._lives[id(envelope)]
            self._note(life, life.outcome or "handled")

    def _note(self, life: _Life, outcome: str) -> None:
        self._empty_burst()
        now, envelope = self._now(), life.envelope
        begun_at, ended_at = life.begun_at, life.ended_at
        entry = TraceEntry(
            self._count,
            name_of(envelope.command),
            life.at_ms,
            wait_seconds=(now if begun_at is None else begun_at) - life.told_at,
            turn_seconds=None if begun_at is None else (now if ended_at is None else ended_at) - begun_at,
            commit_seconds=None if ended_at is None else now - ended_at,
            outcome=outcome,
            attempts=life.attempts,
            senders=senders_of(envelope.caller),
        )
        self._count += 1
        self._ring.append(entry)
        self._tell_change()

    def _empty_burst(self) -> None:
        self._ring.extend(self._burst)
        self._count += len(self._burst)
        self._burst.clear()

    def _tell_change(self) -> None:
        if self._changed is not None:
            self._changed.set()
            self._changed = None


def _at_ms(told_at: float, wall: Wall) -> int:
    """When it was on the wall."""
    wall_ms, seen_at = wall
    return wall_ms - round(1000 * (seen_at - told_at))


def _entry_of(number: int, command: type, told_at: float, begun_at: float, ended_at: float, wall: Wall) -> TraceEntry:
    return TraceEntry(
        number,
        command.__name__,
        _at_ms(told_at, wall),
        wait_seconds=begun_at - told_at,
        turn_seconds=ended_at - begun_at,
        commit_seconds=None,
        outcome="handled",
        attempts=0,
        senders=(),
    )


def start_trace(system: "ActorSystem", address: Address, seconds: float, events_max: int) -> Trace:
    """As `ActorSystem.trace`."""
    if not 0 < seconds <= TRACE_SECONDS_MAX or math.isnan(seconds):
        raise ValueError(f"a trace takes more than 0 and at most {TRACE_SECONDS_MAX:g} seconds, not {seconds}")
    if not 1 <= events_max <= TRACE_EVENTS_MAX:
        raise ValueError(f"a trace keeps 1 to {TRACE_EVENTS_MAX} events, not {events_max}")
    cell = system.activation(address)
    running = cell.gauges.trace
    if running is not None:
        raise TracedAlready(address, running.ends_at - trio.current_time())
    return Trace(system, cell, seconds, events_max)


def _telling(kind: type[Mailbox], trace: Trace) -> type[Mailbox]:
    """The class of the traced mailbox: *kind*, which also tells *trace* what is put into it."""
    refused: list[Envelope] = []  # the newest, while an older one may still make room for it

    def put(into: Callable[[Mailbox, Envelope], bool]) -> Callable[[Mailbox, Envelope], bool]:
        def put_and_tell(self: Mailbox, envelope: Envelope) -> bool:
            if not into(self, envelope):
                refused[:] = [envelope]
                is_refused = envelope.is_ask or self.why_never(envelope.to, envelope.command) is not None
                if is_refused or trace.overflow is not Overflow.DROP_OLDEST:
                    trace.refused(envelope, _REFUSED[Overflow.REFUSE if is_refused else trace.overflow])
                return False
            if envelope.state == "settled":
                trace.refused(envelope, "coalesced")
            else:
                trace.follow(envelope)
            return True

        return put_and_tell

    def make_room(self: Mailbox, command: object) -> list[Envelope]:
        victims = kind.make_room(self, command)
        for victim in victims:
            if victim.state != "settled":
                trace.refused(victim, "dropped_oldest")
        if not victims and refused:
            trace.refused(refused[0], "mailbox_full")
        return victims

    def seal(self: MeteredMailbox, command: object, since: float) -> Envelope:
        envelope = cast("type[MeteredMailbox]", kind).seal(self, command, since)
        trace.follow(envelope, since)
        return envelope

    methods: dict[str, Any] = {
        "put_nowait": put(kind.put_nowait),
        "put_system": put(kind.put_system),
        "make_room": make_room,
    }
    if issubclass(kind, MeteredMailbox):
        methods["seal"] = seal
    else:
        methods["put_tell"] = lambda *_: False  # in an envelope, so that it is seen
    return type(kind.__name__, (kind,), {"__slots__": (), **methods})


def _following(kind: type[Envelope], trace: Trace) -> type[Envelope]:
    """The class of a traced envelope: *kind*, which also tells *trace* of each of its states."""
    state: Any = Envelope.__dict__["state"]  # the slot itself, which the property below stands before

    def move(self: Envelope, to: EnvelopeState) -> None:
        state.__set__(self, to)
        trace.moved(self, to)

    def settle(self: Envelope, value: object, error: BaseException | None) -> bool:
        trace.answered(self, "handled" if error is None else _word_for(error))
        return kind._settle(self, value, error)

    def abandon(self: Any) -> None:
        trace.answered(self, "abandoned")
        kind.abandon(self)  # type: ignore[attr-defined]

    methods: dict[str, Any] = {"state": property(state.__get__, move), "_settle": settle, "abandon": abandon}
    return type(kind.__name__, (kind,), {"__slots__": (), **methods})


def _word_for(error: BaseException) -> str:
    """The error by its name: what it says may hold what people wrote."""
    cause = error.__cause__ if isinstance(error, ActorFailed) else None
    return type(error).__name__ if cause is None else f"{type(error).__name__}: {type(cause).__name__}"
