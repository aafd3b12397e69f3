"""Envelopes: a command on its way to an actor, with the way back.

    queued ──▶ running ──▶ committing ──▶ settled
       └──────────┴────────────┴── deadline ──▶ settled (AskTimeout naming the state it was in)

An envelope is settled exactly once; what comes later is counted as late and dropped. The reply goes to a plain
callable on the callee's side of the loop, so that an answer to a socket needs no task of its own.
"""

from collections.abc import Callable
from typing import Literal

from greenroom.runtime.address import Address
from greenroom.runtime.deadlines import Entry
from greenroom.runtime.errors import AskState, AskTimeout

ReplyTo = Callable[[object, BaseException | None], None]
EnvelopeState = Literal["queued", "running", "committing", "settled"]


class Envelope:
    """One command. Shape of the reply: ``reply_to(value, None)`` or ``reply_to(None, error)``."""

    __slots__ = ("attempts", "command", "deadline", "reply_to", "state", "to")

    def __init__(self, to: Address, command: object, reply_to: ReplyTo | None) -> None:
        self.to = to
        self.command = command
        self.reply_to = reply_to
        self.state: EnvelopeState = "queued"
        self.attempts = 0  # times it was redone because its batch was not committed
        self.deadline: Entry | None = None

    @property
    def is_ask(self) -> bool:
        """Somebody waits for the answer."""
        return self.reply_to is not None

    def resolve(self, value: object) -> bool:
        """Hand the reply back. False when it came too late."""
        return self._settle(value, None)

    def fail(self, error: BaseException) -> bool:
        """Hand an error back. False when it came too late, or when nobody asked."""
        return self._settle(None, error)

    def expire(self) -> bool:
        """The deadline passed: tell the caller what is known."""
        if self.state == "settled":
            return False
        known: AskState = self.state
        return self.fail(AskTimeout(self.to, self.command, known))

    def _settle(self, value: object, error: BaseException | None) -> bool:
        if self.state == "settled":
            return False
        self.state = "settled"
        if self.deadline is not None:
            self.deadline.cancel()
        reply_to, self.reply_to = self.reply_to, None
        if reply_to is None:
            return error is None
        reply_to(value, error)
        return True
