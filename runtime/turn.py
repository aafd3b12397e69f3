"""Turns that wait: a handler at work in a task of its own, with its draft and the chain of those who wait for it.

    edge ──ask──▶ room/1.Post ──ask──▶ user/7.Notify ──ask──▶ room/1.Kick
                  └────────────── the chain of the last: a cycle, told at once ──────────────┘

The runtime knows in which turn code runs by a context variable, so `ref.ask` needs no argument for it. Turns of plain
`def` handlers cannot wait for anybody and have none.
"""

from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.envelope import Envelope
from greenroom.runtime.gate import Effect
from greenroom.runtime.handlers import Handler

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.context import Context

_current: ContextVar["Turn | None"] = ContextVar("greenroom_turn", default=None)


class Turn:
    """One turn that waits. writes, effects: its draft. was_flushed: a part of it is stored already.

    began_at: trio time.
    """

    __slots__ = (
        "_is_abandoned",
        "_scope",
        "activation",
        "began_at",
        "effects",
        "envelope",
        "handler",
        "is_over",
        "task",
        "was_flushed",
        "writes",
    )

    def __init__(self, activation: "Activation", envelope: Envelope, handler: Handler) -> None:
        self.activation = activation
        self.envelope = envelope
        self.handler = handler
        self.writes: list[object] | None = None
        self.effects: list[Effect] | None = None
        self.is_over = False
        self.was_flushed = False
        self.began_at = trio.current_time()
        self.task: trio.lowlevel.Task | None = None  # that it runs in, while it does
        self._is_abandoned = False
        self._scope: trio.CancelScope | None = None

    def take_draft(self) -> tuple[list[object] | None, list[Effect] | None]:
        """Empty the draft and return it."""
        draft = self.writes, self.effects
        self.writes = self.effects = None
        return draft

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
        """Whoever asked is gone: end the turn, unless its handler is shielded."""
        if not self.handler.is_shielded:
            self.cancel("nobody waits for it any more")

    def cancel(self, why: str) -> None:
        """End the turn as soon as it waits."""
        self._is_abandoned = True
        if self._scope is not None:
            self._scope.cancel(reason=f"{self}: {why}")

    def chain(self) -> Iterator["Turn"]:
        """This turn, the one that waits for it, and so on to the edge."""
        turn: Turn | None = self
        while turn is not None:
            yield turn
            turn = turn.envelope.caller

    def __str__(self) -> str:
        return f"{self.activation.address}.{type(self.envelope.command).__name__}"


def senders_of(sender: "Turn | Context | None") -> tuple[str, ...]:
    """Which turns led to what *sender* sends, as text, the first one first. Of a plain handler its actor alone."""
    if isinstance(sender, Turn):
        return tuple(str(turn) for turn in sender.chain())[::-1]
    return () if sender is None else (str(sender.address),)


def put_aside() -> None:
    """The effect that stands for "this command is put aside": seen where the turn ends, and never run."""


def leave() -> None:
    """The effect that stands for "this turn is the last of its activation": seen where the turn ends."""


def current_turn() -> Turn | None:
    """The turn that the running code is part of, if it waits at all."""
    turn = _current.get()
    return None if turn is None or turn.is_over else turn
