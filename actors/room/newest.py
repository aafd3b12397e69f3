"""The newest messages of a room, as far as they are counted: who said them, and whether they were deleted. Pure.

    ring      j j j j j j j …                      256 places of the log: hundreds who come in at once are all of it
    newest    3 Ann · 9 Bob (deleted) · 11 Ann     256 messages, wherever in the log they stand
    older     1,000 more, once somebody has come who has not read all of them

What is unread is counted by them, and whose messages a reader has just read.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from greenroom.storage.postgres.conversations import COUNTED_MESSAGES

OLDER_MESSAGES: Final = 1000


class NewestMessages:
    """Of one room, the oldest first: COUNTED_MESSAGES at least, twice as many at most; or all that there are.

    messages: (seq, sender, id, whether it was deleted). Held in arrays, for a quarter of what as many tuples take.
    """

    __slots__ = ("_deleted", "_ids", "_senders", "_seqs", "reaches_back")

    def __init__(self, messages: Iterable[tuple[int, int, int, bool]] = ()) -> None:
        self._seqs, self._senders, self._ids, self._deleted = array("q"), array("q"), array("q"), bytearray()
        self.reaches_back = False  # OLDER_MESSAGES farther, or to the beginning
        for seq, sender_id, message_id, is_deleted in messages:
            self.add(seq, sender_id, message_id, is_deleted=is_deleted)

    def __len__(self) -> int:
        return len(self._seqs)

    def add(self, seq: int, sender_id: int, message_id: int, *, is_deleted: bool = False) -> None:
        """The next of the log is a message."""
        self._seqs.append(seq)
        self._senders.append(sender_id)
        self._ids.append(message_id)
        self._deleted.append(is_deleted)
        if len(self._seqs) > 2 * COUNTED_MESSAGES + (OLDER_MESSAGES if self.reaches_back else 0):
            for column in (self._seqs, self._senders, self._ids, self._deleted):
                del column[:COUNTED_MESSAGES]

    def reach_back(self, older: Iterable[tuple[int, int, int, bool]]) -> None:
        """The OLDER_MESSAGES before them, or all that there are."""
        longer = NewestMessages()
        longer.reaches_back = self.reaches_back = True
        for seq, sender_id, message_id, is_deleted in older:
            longer.add(seq, sender_id, message_id, is_deleted=is_deleted)
        for column in ("_seqs", "_senders", "_ids", "_deleted"):
            setattr(self, column, getattr(longer, column) + getattr(self, column))

    def delete(self, seq: int) -> None:
        """The message that stands there counts no more; one that is older than these is not looked for."""
        index = bisect_left(self._seqs, seq)
        if index < len(self._seqs) and self._seqs[index] == seq:
            self._deleted[index] = True

    def oldest_seq(self) -> int | None:
        """Where the first of them stands; None when nothing was said yet."""
        return self._seqs[0] if self._seqs else None

    def count(self, after_seq: int, without: Collection[int]) -> int:
        """How many stand after a place, but for deleted ones, and those that were said by one of *without*."""
        first = bisect_right(self._seqs, after_seq)
        return sum(
            not self._deleted[index] and self._senders[index] not in without for index in range(first, len(self._seqs))
        )

    def between(self, after_seq: int, up_to_seq: int) -> Iterator[tuple[int, int]]:
        """(Id, sender) of those after a place and up to another, deleted ones too."""
        for index in range(bisect_right(self._seqs, after_seq), bisect_right(self._seqs, up_to_seq)):
            yield self._ids[index], self._senders[index]
