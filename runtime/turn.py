"""Turns that wait: a handler at work in a task of its own, with its draft and the chain of those who wait for it.

    edge ──ask──▶ room/1.Post ──ask──▶ user/7.Notify ──ask──▶ room/1.Kick
                  └────────────── the chain of the last: a cycle, told at once ──────────────┘

The runtime knows in which turn code runs by a context variable, so `ref.ask` needs no argument for it. Turns of plain
`def` handlers cannot wait for anybody and have none.
"""

import math
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.envelope import Envelope, Question
from greenroom.runtime.gate import Effect
from greenroom.runtime.handlers import Handler

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.context import Context
    from greenroom.runtime.waiting_turns import WaitingTurns

_current: ContextVar["Turn | None"] = ContextVar("greenroom_turn", default=None)


class Turn:
    """One turn that waits. writes, effects: its draft. was_flushed: a part of it was given to storage before its end.
    is_stored_in_part: … and is stored.

    number: in the order in which the turns of the actor begin. waiting: those of its activation; None of a `start`.
    began_at: trio time. cut_because: why its activation has ended it.
    """

    __slots__ = (
        "_is_abandoned",
        "_scope",
        "activation",
        "asks",
        "began_at",
        "cut_because",
        "effects",
        "envelope",
        "flushes",
        "handler",
        "has_ended_it",
        "is_over",
        "is_stored_in_part",
        "number",
        "task",
        "waiting",
        "was_flushed",
        "was_killed",
        "writes",
    )

    def __init__(self, activation: "Activation", envelope: Envelope, handler: Handler) -> None:
        self.activation = activation
        self.envelope = envelope
        self.handler = handler
        self.number = activation.turns
        self.waiting: WaitingTurns | None = None
        self.cut_because = ""
        self.flushes = 0  # times at which a part of it was let out
        self.writes: list[object] | None = None
        self.effects: list[Effect] | None = None
        self.is_over = False
        self.was_flushed = self.is_stored_in_part = False
        self.was_killed = False  # with its activation: not decided again unless it ends in order all the same
        self.has_ended_it = False  # a turn inside this one has failed and ended the activation of both
        self.began_at = trio.current_time()
        self.task: trio.lowlevel.Task | None = None  # that it runs in, while it does
        self.asks: Question | None = None  # what it has asked last
        self._is_abandoned = False
        self._scope: trio.CancelScope | None = None

    @property
    def is_start(self) -> bool:
        """It is the `start` of its actor: nothing runs inside it, and nothing of it is stored before its end."""
        return isinstance(self.envelope.command, Start)

    @property
    def ends_at(self) -> float:
        """Trio time at which nobody needs its answer any more; a shielded one goes on, and so does what it asks."""
        return math.inf if self.handler.is_shielded else self.envelope.ends_at

    def take_draft(self) -> tuple[list[object] | None, list[Effect] | None]:
        """Empty the draft and return it."""
        draft = self.writes, self.effects
        self.writes = self.effects = None
        return draft

    def part_stored(self) -> None:
        """Of the gate: what it flushed is stored."""
        self.is_stored_in_part = True

    @property
    def mark(self) -> tuple[int, int]:
        """Of what it has set since a part of it was last stored: that is taken back when it fails."""
        return self.number, self.flushes

    def drop_timers(self) -> None:
        """It has failed, or was cancelled."""
        if self.activation.context is not None:
            self.activation.context.drop_timers(self.mark)

    def enter(self) -> trio.CancelScope:
        """In the turn's own task: code from here on runs in this turn. The scope to run it in."""
        _current.set(self)
        self.task = trio.lowlevel.current_task()
        self._scope = trio.CancelScope()
        if self._is_abandoned:
            self._scope.cancel(reason=f"{self}: nobody waits for it any more")
        return self._scope

    def leave(self) -> None:
        """The handler has ended. Tasks that it left behind are in no turn from now on."""
        _current.set(None)
        self.task = None
        self.is_over = True

    def abandon(self) -> None:
        """One who asked is gone: when all are, end the turn, unless its handler is shielded. A tell never is."""
        if not self.handler.is_shielded and all(part.state == "settled" for part in self.envelope.parts):
            self._cancel("nobody waits for it any more")

    def cut(self, why: str) -> None:
        """Its activation ends: end the turn as soon as it waits, shielded or not."""
        self.cut_because = self.cut_because or why
        self._cancel(why)

    def _cancel(self, why: str) -> None:
        self._is_abandoned = True
        if self._scope is not None:
            self._scope.cancel(reason=f"{self}: {why}")

    def chain(self) -> Iterator["Turn"]:
        """This turn, those that wait for it, and so on to the edges: each once, the nearest first."""
        found: dict[Turn, None] = {self: None}
        ahead = deque(found)
        while ahead:
            turn = ahead.popleft()
            yield turn
            further = [asker for asker in turn.envelope.callers if asker not in found]
            found |= dict.fromkeys(further)
            ahead += further

    def __str__(self) -> str:
        return f"{self.activation.address}.{type(self.envelope.command).__name__}"


@dataclass(frozen=True, slots=True)
class Start:
    """Stands in the place of the command while an actor starts, which is a turn like any other to those outside."""


def senders_of(sender: "Turn | Context | None") -> tuple[str, ...]:
    """Which turns led to what *sender* sends, as text, the first one first. Of a plain handler its actor alone."""
    if isinstance(sender, Turn):
        return tuple(str(turn) for turn in sender.chain())[::-1]
    return () if sender is None else (str(sender.address),)


def put_aside() -> None:
    """The effect that stands for "this command is put aside": seen where the turn ends, and never run."""


def leave() -> None:
    """The effect that stands for "this turn is the last of its activation": seen where the turn ends."""


@contextmanager
def outside_of_turns() -> Iterator[None]:
    """Code in the block is part of no turn: effects, which may leave while the turn that made them goes on."""
    token = _current.set(None)
    try:
        yield
    finally:
        _current.reset(token)


def turn_of(task: trio.lowlevel.Task) -> Turn | None:
    """The turn that *task* works for, for who looks from a thread."""
    turn = task.context.get(_current)
    return None if turn is None or turn.is_over else turn


def current_turn() -> Turn | None:
    """The turn that the running code is part of, if it waits at all."""
    turn = _current.get()
    return None if turn is None or turn.is_over else turn
