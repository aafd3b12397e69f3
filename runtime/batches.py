"""Batches: commands of one type that waited together, handed to a handler as a list.

The batch is one turn: stored as a whole or not at all, answered when it is. Its deadline is the latest of its askers',
and it is cancelled when all of them are gone; one that holds a tell has no deadline and is not. Redone, failed or put
aside it comes apart into its commands again, each with its own place and its own asker: one that is at fault takes no
other with it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope, EnvelopeState, Question
from greenroom.runtime.mailbox import Mailbox

if TYPE_CHECKING:
    from greenroom.runtime.turn import Turn


@dataclass(frozen=True, slots=True)
class Batch:
    """What stands in the place of the command."""

    commands: list[object]


class BatchEnvelope(Question):
    """Several envelopes as one. parts: in the order of the mailbox."""

    __slots__ = ("_state", "parts")

    def __init__(self, to: Address, parts: list[Envelope]) -> None:
        super().__init__(to, Batch([part.command for part in parts]), _nobody)
        self.parts: Sequence[Envelope] = parts
        self.ends_at = max(part.ends_at for part in parts)
        for part in parts:
            part.state = "running"

    @property
    def state(self) -> EnvelopeState:
        """Of the whole; its parts are stored with it, and may be settled before it."""
        return self._state

    @state.setter
    def state(self, state: EnvelopeState) -> None:
        self._state = state
        if state == "committing":
            for part in self.parts:
                if part.state == "running":
                    part.state = state

    @property
    def callers(self) -> "Sequence[Turn]":  # type: ignore[override]
        """The turns that wait for one of its answers, each once."""
        return list(dict.fromkeys(caller for part in self.parts for caller in part.callers))

    @property
    def is_ask(self) -> bool:
        """Whether anybody waits for any of the answers."""
        return any(part.is_ask for part in self.parts)

    @property
    def was_asked(self) -> bool:
        """Whether anybody waited for any of the answers."""
        return any(part.was_asked for part in self.parts)

    def resolve(self, value: object) -> int:
        """Hand out the replies, whose number fits; failures are told to each part by the activation.

        Raises: ExceptionGroup of what receivers raised, after everybody has had theirs.
        """
        self.state = "settled"
        each = value if isinstance(value, list) else [value] * len(self.parts)
        late, faults = 0, list[Exception]()
        for part, own in zip(self.parts, each, strict=True):
            try:
                late += part.resolve(own)
            except Exception as fault:
                faults.append(fault)
        if faults:
            raise ExceptionGroup(f"{self.to}: receivers of the replies to a batch raised", faults)
        return late


def _nobody(value: object, error: BaseException | None) -> None:
    """A batch is answered part by part."""


def gather(first: Envelope, mailbox: Mailbox | None, count_max: int) -> BatchEnvelope:
    """With *first*, what follows it of the same type. What was redone comes alone, so that it can be told apart.

    So does what runs inside a turn that waits for it, without a *mailbox*: a stranger must not slip into that turn.
    """
    parts, kind = [first], type(first.command)
    while mailbox is not None and len(parts) < count_max and not first.attempts:
        following = mailbox.peek()
        if following is None or type(following.command) is not kind or following.attempts:
            break
        mailbox.pop()
        if following.state == "queued":
            parts.append(following)
    return BatchEnvelope(first.to, parts)
