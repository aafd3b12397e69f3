"""The turns of one activation that wait, each in a task of its own.

Made when a handler first waits, and gone with the activation: a turn that outlives it, because it was cancelled and is
still cleaning up, belongs to nobody any more. One turn waits at a time, but for two cases: turns of @reads handlers
overlap with each other, and what a waiting turn itself waits for, directly or not, runs inside it.
"""

from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.errors import ActorGone, AskTimeout
from greenroom.runtime.faults import failed_while_cancelled, fault_in
from greenroom.runtime.gate import Effect
from greenroom.runtime.handlers import Handler
from greenroom.runtime.ports import CommitOutcome
from greenroom.runtime.turn import Turn, leave, outside_of_turns, put_aside

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


class WaitingTurns:
    """Of one activation, oldest first. nested: commands that run inside one of them, before all others.

    then: called once when the last of them has ended in order. broken_by: what broke their gate.
    """

    __slots__ = ("_activation", "_flushing", "_gate", "_others", "broken_by", "commands", "nested", "then", "turns")

    def __init__(self, activation: "Activation") -> None:
        assert activation.gate is not None
        self._activation = activation
        self._gate = activation.gate
        self.commands = 0  # that are in the turns
        self._flushing: set[trio.Event] = set()
        self._others = 0  # turns that are not of @reads handlers
        self.broken_by: CommitOutcome | None = None
        self.turns: list[Turn] = []
        self.nested: deque[Envelope] = deque()
        self.then: Callable[[], None] | None = None

    @property
    def takes_reads(self) -> bool:
        """Whether another @reads turn may begin beside them."""
        return not self._others and self.commands < self._activation.kind.reads_max

    @property
    def is_over(self) -> bool:
        """The activation has ended, or its gate was broken: what these turns saw is not, or no longer, so."""
        return self._gate.is_broken or self._activation.gate is not self._gate

    def begin(self, turn: Turn, value: Awaitable[object] | AsyncGenerator[object, None]) -> None:
        """Give *turn* a task, for what its handler gave back."""
        turn.waiting = self
        self._count(turn, 1)
        _is_worked_on_by(turn.envelope, turn)
        self.turns.append(turn)
        self._activation.system.waiting_turns[turn] = None
        awaitable = self._pump(turn, value) if isinstance(value, AsyncGenerator) else value
        self._activation.system.spawn(self._run, turn, awaitable)

    def cancel(self, why: str) -> None:
        """The activation ends: end all of them as soon as they wait."""
        for turn in self.turns:
            turn.cut(why)
        if self.is_over:
            for settled in self._flushing:
                settled.set()

    async def flush(self, turn: Turn) -> None:
        """Store what *turn* has written so far, and wait until everything of this actor is stored.

        Raises: RuntimeError when it has put its command aside; ActorGone when it cleans up after the end of its
        activation; ValueError as the gate.
        """
        if turn.cut_because:
            raise _gone(turn)
        draft = writes, effects = turn.take_draft()
        if effects is not None and (put_aside in effects or leave in effects):
            effects = _without_marks(turn, effects)
        if writes or effects:
            try:
                with outside_of_turns():
                    self._gate.close_turn(Envelope(turn.envelope.to, None), None, writes, effects)
            except ValueError:
                turn.writes, turn.effects = draft  # so that it is seen that memory is ahead
                raise
            if writes:
                turn.was_flushed = True
                self._gate.run_after_pending(turn.part_stored)
            turn.flushes += 1
        if self._gate.pending:
            await self._settled()
            if turn.cut_because:
                raise _gone(turn)
        else:
            await trio.lowlevel.checkpoint()

    async def _settled(self) -> None:
        """Wait until all that is pending is stored, or the activation ends: a turn may wait behind a shield here."""
        settled = trio.Event()
        self._gate.run_after_pending(settled.set)
        self._flushing.add(settled)
        try:
            await settled.wait()
        finally:
            self._flushing.discard(settled)

    async def flush_until(self, deadline: float, turn: Turn, envelope: Envelope) -> None:
        """As `flush`, before *envelope* is sent. Raises: AskTimeout when storage takes longer than its *deadline*."""
        with trio.CancelScope(deadline=deadline) as scope:
            await self.flush(turn)
        if scope.cancelled_caught:
            raise AskTimeout(envelope.to, envelope.command, "queued")

    async def _run(self, turn: Turn, awaitable: Awaitable[object]) -> None:
        value: object = None
        error: Exception | None = None
        is_done = False
        try:
            with turn.enter():
                try:
                    value = await awaitable
                    is_done = True
                except BaseException as raised:
                    fault = fault_in(self._activation, raised, type(turn.envelope.command).__name__)
                    if trio.current_effective_deadline() == float("-inf"):
                        if fault is not None:
                            failed_while_cancelled(self._activation, fault)
                        await trio.lowlevel.checkpoint()
                    error, is_done = fault, fault is None
        finally:  # also when the system ends: whoever asked must hear of it
            self._end(turn, value, error, is_done=is_done)

    def _end(self, turn: Turn, value: object, error: Exception | None, *, is_done: bool) -> None:
        turn.leave()
        self.turns.remove(turn)
        self._count(turn, -1)
        del self._activation.system.waiting_turns[turn]
        _is_worked_on_by(turn.envelope, None)
        if not is_done or (turn.effects is not None and put_aside in turn.effects):
            turn.drop_timers()
        self._activation.waiting_turn_ended(self, turn, value, error, is_done=is_done)
        if self.then is not None and not self.turns and not self.is_over:
            then, self.then = self.then, None
            then()

    def _count(self, turn: Turn, sign: int) -> None:
        self.commands += sign * (len(turn.envelope.parts) or 1)
        self._others += 0 if turn.handler.is_reads else sign

    async def _pump(self, turn: Turn, items: AsyncGenerator[object, None]) -> None:
        """Hand over what a handler yields, each item when everything written before it is stored."""
        asked = turn.envelope
        assert isinstance(asked, Question)
        channel = asked.stream
        assert channel is not None
        async with aclosing(items):  # the channel is closed with the reply: an error comes before the end
            async for item in items:
                await self.flush(turn)
                try:
                    await channel.send(item)
                except (trio.BrokenResourceError, trio.ClosedResourceError):  # nobody follows it any more
                    return
                asked.has_handed_over = True


def batch_max_of(cell: "Activation", handler: Handler) -> int:
    """How many commands a batch of *handler* may hold now: those of a read that may wait all count as under way."""
    if not handler.is_reads or not handler.may_wait:
        return handler.batch_max
    under_way = 0 if cell.waiting is None else cell.waiting.commands
    return min(handler.batch_max, cell.kind.reads_max - under_way)


def _without_marks(turn: Turn, effects: list[Effect]) -> list[Effect]:
    """Of the *effects* of a turn that goes on, those that may leave now: that it is the last one is kept for its end.

    Raises: RuntimeError when it has put its command aside: it would be answered with what it does from here on.
    """
    if put_aside in effects:
        turn.effects = [put_aside]
        raise RuntimeError(
            f"{turn} has put its command aside, so it may not wait for anybody after that: ask, flush or yield first, "
            "and put it aside last"
        )
    turn.effects = [leave]
    return [effect for effect in effects if effect is not leave]


def _is_worked_on_by(envelope: Envelope, turn: Turn | None) -> None:
    """Note it where an asker that gives up, and a look for cycles, will find it."""
    for asked in (envelope, *envelope.parts):
        if isinstance(asked, Question):
            asked.turn = turn


def _gone(turn: Turn) -> ActorGone:
    why = (
        f"{turn.cut_because}. {type(turn.envelope.command).__name__} may be decided again, so"
        " what it still asks or stores while it cleans up goes nowhere: do that before, or in a turn of another actor"
    )
    return ActorGone(turn.activation.address, why)
