"""Dead letters: every command that was accepted and will never be handled, with the reason.

The counts are exact and for ever. The newest of each reason are kept in a ring for people to look at, so that a flood
of one reason does not wash away the few of another. Each is an event (`dead_letter.buried`) until there are more than
EVENTS_MAX of its reason within a second; the rest of that second is one event with their number
(`dead_letter.summed`). A lost command is never silent, and a flood of them does not become one of the log.
"""

from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from greenroom.runtime.address import Address
from greenroom.runtime.deadlines import DeadlineHeap
from greenroom.runtime.sampled_events import SampledEvents

RING_LETTERS_MAX = 256
RING_OF_REASON_LETTERS_MAX = 64
EVENTS_MAX = 10
EVENTS_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A command that was not handled. at_ms: milliseconds since 1970.

    senders: the turns that led to it as far as that is known, the first one first, such as ``room/1.Post``. It is
    known where a turn's command is refused at the door, and of every command that somebody asked for.
    """

    to: Address
    command: str
    reason: str
    at_ms: int
    senders: tuple[str, ...] = ()


class DeadLetters:
    """The rings of the newest letters, of all and of each reason, and the count by reason."""

    def __init__(self, deadlines: DeadlineHeap, event: Callable[..., None]) -> None:
        self.newest: deque[DeadLetter] = deque(maxlen=RING_LETTERS_MAX)
        self.by_reason: dict[str, deque[DeadLetter]] = {}
        self.counts: Counter[str] = Counter()
        self._events = SampledEvents(
            event,
            deadlines,
            summed_as="dead_letter.summed",
            key_as="reason",
            tellings_max=EVENTS_MAX,
            window_seconds=EVENTS_SECONDS,
        )

    def add(self, to: Address, command: object, reason: str, at_ms: int, senders: tuple[str, ...] = ()) -> None:
        """Record one. *reason* is a short closed word such as ``crashed``: it is counted by."""
        letter = DeadLetter(to, type(command).__name__, reason, at_ms, senders)
        self.newest.append(letter)
        ring = self.by_reason.get(reason)
        if ring is None:
            ring = self.by_reason[reason] = deque(maxlen=RING_OF_REASON_LETTERS_MAX)
        ring.append(letter)
        self.counts[reason] += 1
        self._tell(letter)

    @property
    def sums_to_come(self) -> int:
        """Reasons of which a sum is told at the end of its window."""
        return self._events.sums_to_come

    def close(self) -> None:
        """The system ends: tell the sums of what was not told yet."""
        self._events.close()

    def _tell(self, letter: DeadLetter) -> None:
        def facts() -> dict[str, object]:
            found: dict[str, object] = {
                "address": str(letter.to),
                "command": letter.command,
                "reason": letter.reason,
            }
            return {**found, "senders": list(letter.senders)} if letter.senders else found

        self._events.tell(letter.reason, "dead_letter.buried", facts)
