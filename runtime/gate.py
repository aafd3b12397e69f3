"""The output gate: nothing leaves an actor before what it depends on is stored.

    turn ──writes──▶ unit ──▶ committer ──COMMITTED──▶ reply, then effects, in order
      └──no writes──▶ rides on the newest pending unit, or leaves at once when there is none
                                   └──anything else──▶ the gate breaks

Outputs wait for earlier writes and for no later ones; the next turn runs at once, so throughput is not one commit
per message. Writes that are unconfirmed are waited for by nobody, but break the gate like all others.

When a unit is not committed, every later unit of the actor is void: its memory was ahead of storage. The gate then
hands the turns back to its actor, which decides whether they are redone or their callers told.

The rules are those of workerd's io-gate.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import ActorFailed, CommitUnknown, StorageUnavailable, words_of
from greenroom.runtime.misuse import refuse_awaitable
from greenroom.runtime.pending import PendingBytes
from greenroom.runtime.ports import CommitOutcome, Committer

Effect = Callable[[], None]


class UnconfirmedWrites(list[object]):
    """The writes of a turn whose outputs need not wait for them."""

    __slots__ = ()


def stage(writes: list[object] | None, write: object, *, unconfirmed: bool) -> list[object]:
    """Add *write* to the writes of a draft. One that must be confirmed makes all of them so."""
    if writes is None:
        return UnconfirmedWrites((write,)) if unconfirmed else [write]
    if not unconfirmed and isinstance(writes, UnconfirmedWrites):
        return [*writes, write]
    writes.append(write)
    return writes


class Outputs:
    """What one turn wants to let out: the reply, or the error, first; then the effects in the order they were made.

    number: of the turn, in the order in which the turns of the actor began.
    """

    __slots__ = ("effects", "envelope", "error", "number", "value")

    def __init__(
        self,
        envelope: Envelope,
        value: object,
        effects: list[Effect] | None,
        error: Exception | None = None,
        number: int = 0,
    ) -> None:
        self.envelope = envelope
        self.value = value
        self.effects = effects
        self.error = error
        self.number = number


class Unit:
    """The commit unit of one turn, with the outputs that wait for it. size_bytes: as the committer counts it."""

    __slots__ = ("address", "afterwards", "gate", "is_void", "size_bytes", "token", "turns", "writes")

    def __init__(self, gate: "Gate", writes: Sequence[object]) -> None:
        self.address = gate.address
        self.token = gate.token
        self.writes = writes
        self.gate = gate
        self.turns: list[Outputs] = []
        self.afterwards: tuple[Effect, ...] = ()  # behind all outputs, those too that join later
        self.is_void = False
        self.size_bytes = 0

    def settle(self, outcome: CommitOutcome) -> None:
        """Called by the committer, once."""
        if not self.is_void:
            self.gate.settle(self, outcome)


class Gate:
    """The gate of one activation. A broken gate is never mended: the next activation has its own.

    on_broken(outcome, turns): called once, with every turn whose outputs were held, oldest first.
    on_settled(): called each time a unit is not pending any more, after its outputs have left.
    on_fault(error): an effect raised; the others still run.
    """

    __slots__ = (
        "_all_pending",
        "_committer",
        "_newest",
        "_on_broken",
        "_on_fault",
        "_on_settled",
        "address",
        "has_stored",
        "is_broken",
        "late_replies",
        "pending",
        "pending_bytes",
        "token",
    )

    def __init__(
        self,
        address: Address,
        token: int,
        committer: Committer,
        all_pending: PendingBytes,
        on_broken: Callable[[CommitOutcome, list[Outputs]], None],
        on_settled: Callable[[], None],
        on_fault: Callable[[Exception], None],
    ) -> None:
        self.address = address
        self.token = token
        self.pending: deque[Unit] | tuple[()] = ()  # a deque only while units are pending: an empty one takes 620 B
        self.pending_bytes = 0
        self.has_stored = False  # anything since its actor started
        self.is_broken = False
        self.late_replies = 0  # whose asker had given up
        self._newest: Unit | None = None  # of those that outputs wait for
        self._committer = committer
        self._all_pending = all_pending
        self._on_broken = on_broken
        self._on_settled = on_settled
        self._on_fault = on_fault

    def close_turn(
        self,
        envelope: Envelope,
        value: object,
        writes: list[object] | None,
        effects: list[Effect] | None,
        number: int = 0,
    ) -> None:
        """Let the outputs of a finished turn out, now or when its writes are stored. *number*: as of `Outputs`.

        Raises: ValueError when a write cannot be encoded; nothing was queued and nothing left.
        """
        if writes:
            unit = Unit(self, writes)
            unit.size_bytes = self._submit(unit)
            self.pending_bytes += unit.size_bytes
            self._all_pending.submitted(unit.size_bytes)
            if isinstance(self.pending, deque):
                self.pending.append(unit)
            else:
                self.pending = deque((unit,))
            if type(writes) is not UnconfirmedWrites:
                self._newest = unit
        if self._newest is not None:
            _is_on_its_way(envelope)
            self._newest.turns.append(Outputs(envelope, value, effects, number=number))
        else:
            self._release(envelope, value, effects)

    def _submit(self, unit: Unit) -> int:
        """Raises: ValueError, whatever a committer raises for what it cannot encode: TypeError is what json raises."""
        try:
            return self._committer.submit(unit)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(
                f"{self.address}: a write cannot be encoded ({type(error).__name__}: {words_of(error)})"
            ) from error

    def fail_turn(self, envelope: Envelope, error: Exception, number: int = 0) -> None:
        """Let the *error* of a turn that was asked out: it tells what the actor knew, which may not be stored yet."""
        if self._newest is not None:
            _is_on_its_way(envelope)
            self._newest.turns.append(Outputs(envelope, None, None, error, number))
        else:
            self._release(envelope, None, None, error)

    def run_after_pending(self, effect: Effect) -> None:
        """Run *effect* when everything that is pending now is stored, unconfirmed or not; never if the gate breaks.

        It comes after all outputs that wait for the same, whichever was first.
        """
        assert isinstance(self.pending, deque), f"{self.address}: nothing is pending"
        self.pending[-1].afterwards += (effect,)

    def settle(self, unit: Unit, outcome: CommitOutcome) -> None:
        """The committer's word on the oldest pending unit."""
        if outcome is not CommitOutcome.COMMITTED:
            self._break(outcome)
            return
        assert isinstance(self.pending, deque)
        assert self.pending[0] is unit, f"{self.address}: units are settled in order"
        self.pending.popleft()
        if not self.pending:
            self.pending = ()
        if self._newest is unit:
            self._newest = None
        self.pending_bytes -= unit.size_bytes
        self._all_pending.settled(unit.size_bytes)
        self.has_stored = True
        for turn in unit.turns:
            self._release(turn.envelope, turn.value, turn.effects, turn.error)
        self._run(unit.afterwards)
        self._on_settled()

    def _break(self, outcome: CommitOutcome) -> None:
        self.is_broken = True
        turns = [turn for unit in self.pending for turn in unit.turns]
        for unit in self.pending:
            unit.is_void = True
        self.pending = ()
        self._newest = None
        lost_bytes, self.pending_bytes = self.pending_bytes, 0
        self._on_broken(outcome, turns)
        self._all_pending.settled(lost_bytes)  # last: whom that wakes must see that this actor has ended

    def _release(
        self, envelope: Envelope, value: object, effects: list[Effect] | None, error: Exception | None = None
    ) -> None:
        try:
            if error is None:
                self.late_replies += envelope.resolve(value)
            else:
                envelope.fail(error)
        except Exception as error:
            self._on_fault(error)
        if effects is not None:
            self._run(effects)

    def _run(self, effects: Iterable[Effect]) -> None:
        for effect in effects:
            try:
                if (given := effect()) is not None:
                    refuse_awaitable(f"{self.address}: what `after_commit` was given", given)
            except Exception as error:
                self._on_fault(error)


def _is_on_its_way(envelope: Envelope) -> None:
    """What is settled stays so: its asker, who has given up, must hear of the end of its deadline alone."""
    if envelope.state != "settled":
        envelope.state = "committing"


def why_not_stored(outcome: CommitOutcome, address: Address, envelope: Envelope) -> Exception:
    """What the asker of a turn is told whose writes were not stored, or whose outcome nobody knows."""
    what = type(envelope.command).__name__
    if outcome is CommitOutcome.REFUSED:
        return ActorFailed(f"{address}: storage refuses a value of {what}; nothing was stored")
    if outcome is CommitOutcome.UNAVAILABLE:
        return StorageUnavailable(f"{address}: storage is away; {what} was not stored, send it again")
    return CommitUnknown(f"{address}: storage went away while {what} was being stored", is_outage=True)
