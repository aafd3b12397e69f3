"""How much of a page of history fits into one answer: what is told counts, and nothing else."""

from greenroom.http.ws.v1_history import HISTORY_BYTES_MAX, bounded
from greenroom.storage.postgres.conversations import StoredMessage

LONG = "x" * 10_000


def message(seq: int, content: str = "x", **more: object) -> StoredMessage:
    return StoredMessage(seq, seq, 1, None, content, 1000, **more)  # type: ignore[arg-type]


def test_whatever_is_told_with_a_message_counts() -> None:
    for field in ("attachments", "details", "reactions"):
        page, is_cut = bounded([message(seq, **{field: LONG}) for seq in range(1, 101)], 0)
        assert is_cut
        assert sum(len(getattr(entry, field)) for entry in page) <= HISTORY_BYTES_MAX


def test_what_a_change_is_not_told_with_does_not_count() -> None:
    for kind in ("reacted", "unreacted", "pinned", "unpinned", "deleted"):
        page, is_cut = bounded([message(seq, LONG, change=kind, reaction="like") for seq in range(1, 201)], 0)
        assert (len(page), is_cut) == (200, False), kind
    assert bounded([message(seq, LONG, change="edited") for seq in range(1, 201)], 0)[1]
    assert not bounded([message(seq, LONG, is_hidden=True) for seq in range(1, 201)], 0)[1]
