"""What a notifier decides. Pure: neither trio nor a driver, and nothing here waits."""

from collections.abc import Iterable

from greenroom.storage.postgres.user_streams import Note, UserEvent

EVENTS_KEPT = 1000  # at least, of each stream; who is farther behind is told of the gap
TRIM_EVENTS = 256  # how often the beginning is forgotten


def fold(useq: int, notes: Iterable[Note]) -> list[UserEvent]:
    """The events of *notes* behind *useq*, one each, in the order they were left."""
    return [
        UserEvent(number, note.kind, note.conversation_id, note.data, note.at_ms)
        for number, note in enumerate(notes, start=useq + 1)
    ]


def trimmed_up_to(before: int, after: int) -> int | None:
    """Up to where a stream that grew from *before* to *after* is forgotten now; None when it is not time."""
    if before // TRIM_EVENTS == after // TRIM_EVENTS or after <= EVENTS_KEPT:
        return None
    return after - EVENTS_KEPT
