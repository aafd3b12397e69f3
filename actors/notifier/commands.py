"""What a user's notifier can be told."""

from dataclasses import dataclass

from greenroom.runtime import Command


@dataclass(frozen=True, slots=True)
class FoldNotes(Command[None]):
    """Put into the stream what was left for the user. Of several that wait, one is enough."""
