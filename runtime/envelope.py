"""Envelopes: a command on its way to an actor, with the way back.

    queued ──▶ running ──▶ committing ──▶ settled
       └──────────┴────────────┴── deadline ──▶ settled (AskTimeout naming the state it was in)

An envelope is settled exactly once; what comes later is counted as late and dropped. The reply goes to a plain
callable on the callee's side of the loop, so that an answer to a socket needs no task of its own. When the asker gives
up, or its deadline passes, the turn that works on the command is cancelled, unless its handler is shielded.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import trio

from greenroom.runtime.address import Address
from greenroom.runtime.deadlines import Entry
from greenroom.runtime.errors import AskState, AskTimeout
from greenroom.runtime.misuse import refuse_awaitable

if TYPE_CHECKING:
    from greenroom.runtime.turn import Turn

ReplyTo = Callable[[Any, BaseException | None], None]
EnvelopeState = Literal["queued", "running", "committing", "settled"]


class Envelope:
    """One command that nobody waits for: a tell. What only asks have is None or without end here."""

    __slots__ = ("attempts", "command", "losses", "state", "to")

    losses: int  # times storage lost it; there from the first on, so that no other command pays for it
    reply_to: ReplyTo | None = None
    ends_at: float = math.inf
    caller: "Turn | None" = None
    turn: "Turn | None" = None
    stream: "trio.MemorySendChannel[Any] | None" = None
    has_handed_over: bool = False
    parts: "Sequence[Envelope]" = ()  # of a batch
    callers: "Sequence[Turn]" = ()  # the turns that wait for its answer

    def __init__(self, to: Address, command: object) -> None:
        self.to = to
        self.command = command
        self.state: EnvelopeState = "queued"
        self.attempts = 0  # times it was redone, whyever

    @property
    def is_ask(self) -> bool:
        """Somebody waits for the answer."""
        return self.reply_to is not None

    @property
    def was_asked(self) -> bool:
        """Somebody waited for the answer, and may have given up since."""
        return False

    def resolve(self, value: object) -> int:
        """Hand the reply back. How many of those who asked it came too late for."""
        return not self._settle(value, None)

    def fail(self, error: BaseException) -> bool:
        """Hand an error back. False when it came too late, or when nobody asked."""
        return self._settle(None, error)

    def _settle(self, value: object, error: BaseException | None) -> bool:
        if self.state == "settled":
            return False
        self.state = "settled"
        return error is None


class Question(Envelope):
    """One command whose answer somebody waits for. Shape of it: ``reply_to(value, None)`` or ``reply_to(None, error)``.

    caller: the turn that asks, when a turn does. turn: the one that works on it, while that waits. ends_at: trio time
    of the deadline; what that turn asks in its turn gets no longer one. stream: where a handler that streams yields to.
    has_handed_over: an item of its stream is out, so it is not decided again.
    """

    __slots__ = ("caller", "deadline", "ends_at", "has_handed_over", "reply_to", "stream", "turn")

    def __init__(self, to: Address, command: object, reply_to: ReplyTo, caller: "Turn | None" = None) -> None:
        self.to = to
        self.command = command
        self.state = "queued"
        self.attempts = 0
        self.reply_to = reply_to
        self.deadline: Entry | None = None
        self.ends_at = math.inf
        self.caller = caller
        self.turn = None
        self.stream = None
        self.has_handed_over = False

    @property
    def callers(self) -> "Sequence[Turn]":  # type: ignore[override]
        """The turns that wait for its answer: one at most, but of a batch."""
        return () if self.caller is None else (self.caller,)

    @property
    def was_asked(self) -> bool:
        """Somebody waited for the answer, and may have given up since."""
        return True

    def expire(self) -> None:
        """The deadline passed: tell the caller what is known."""
        if self.state == "settled":
            return
        known: AskState = self.state
        self.fail(AskTimeout(self.to, self.command, known))
        self._give_up_turn()

    def abandon(self) -> None:
        """The asker was cancelled: nobody waits any more."""
        self.reply_to = None
        self.resolve(None)
        self._give_up_turn()

    def _give_up_turn(self) -> None:
        if self.turn is not None:
            self.turn.abandon()

    def _settle(self, value: object, error: BaseException | None) -> bool:
        if self.state == "settled":
            return False
        self.state = "settled"
        if self.deadline is not None:
            self.deadline.cancel()
        reply_to, self.reply_to = self.reply_to, None
        if reply_to is None:
            return error is None
        if (given := reply_to(value, error)) is not None:
            refuse_awaitable(f"the reply_to of {self.to} {type(self.command).__name__}", given)
        return True
