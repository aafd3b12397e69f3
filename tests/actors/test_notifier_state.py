"""What a notifier decides: the next useq for every note, and what of a stream is old enough to be forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from greenroom.actors.notifier.state import EVENTS_KEPT, TRIM_EVENTS, fold, trimmed_up_to
from greenroom.storage.postgres.user_streams import Note


@given(st.integers(0, 10_000), st.lists(st.sampled_from(["read_sync", "membership"]), max_size=20))
def test_every_note_becomes_the_next_event_in_the_order_it_was_left(useq: int, kinds: list[str]) -> None:
    notes = [Note(100 + n, kind, 7, n, f'{{"seq":{n}}}', 1000 + n) for n, kind in enumerate(kinds)]
    events = fold(useq, notes, 3)
    assert [event.useq for event in events] == list(range(useq + 1, useq + 1 + len(notes)))
    assert [event[1:] for event in events] == [
        (note.kind, note.conversation_id, note.data, note.at_ms) for note in notes
    ]


def test_what_has_expired_is_told_with_how_many_are_unread_now() -> None:
    note = Note(1, "notification_deleted", None, 0, '{"ids" : [9, 11]}', 1000)
    assert [event.data for event in fold(5, [note], 3)] == ['{"ids":[9,11],"unread":3}']


@given(st.lists(st.integers(1, 300), max_size=40))
def test_a_stream_keeps_what_anybody_is_brought_up_from_and_does_not_grow_for_ever(pages: list[int]) -> None:
    useq = forgotten = 0
    for size in pages:
        before, useq = useq, useq + size
        up_to = trimmed_up_to(before, useq)
        forgotten = max(forgotten, up_to or 0)
        assert useq - forgotten >= min(useq, EVENTS_KEPT)
        assert useq - forgotten < EVENTS_KEPT + TRIM_EVENTS + max(pages)
