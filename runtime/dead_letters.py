"""Dead letters: every command that was accepted and will never be handled, with the reason.

The newest are kept in a ring for people to look at; the counts are for ever. A lost command is never silent.
"""

from collections import Counter, deque
from dataclasses import dataclass

from greenroom.runtime.address import Address

RING_LETTERS_MAX = 256


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A command that was not handled. at_ms: milliseconds since 1970."""

    to: Address
    command: str
    reason: str
    at_ms: int


class DeadLetters:
    """The ring of the newest letters and the count by reason."""

    def __init__(self) -> None:
        self.newest: deque[DeadLetter] = deque(maxlen=RING_LETTERS_MAX)
        self.counts: Counter[str] = Counter()

    def add(self, to: Address, command: object, reason: str, at_ms: int) -> None:
        """Record one. *reason* is a short closed word such as ``crashed``: it is counted by."""
        self.newest.append(DeadLetter(to, type(command).__name__, reason, at_ms))
        self.counts[reason] += 1
