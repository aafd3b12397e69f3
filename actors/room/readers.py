"""How many members of a large room have read up to where, as storage has it and as others may know. Pure.

    markers   7 7 9 12        newest()   (12, 1) (9, 2) (7, 4): up to 12 has read one, up to 9 two, up to 7 four

Made once from all markers of a room; then each one that moves costs the same, however many members there are.
"""

from bisect import bisect_left, insort
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Final

STEPS_MAX: Final = 16  # different seqs of which it is told

Counts = tuple[tuple[int, int], ...]  # (seq, members who have read up to it or further), the newest seq first


class Readers:
    """Of one room. markers: (user id, up to where others may know that they have read); 0: nothing."""

    __slots__ = ("_at", "_seq_of", "_seqs")

    def __init__(self, markers: Iterable[tuple[int, int]]) -> None:
        self._seq_of = {user_id: seq for user_id, seq in markers if seq}
        self._at = Counter(self._seq_of.values())
        self._seqs = sorted(self._at)

    def moved(self, user_id: int, seq: int) -> None:
        """Stored: the member's marker stands there. 0: they are out, or have read nothing."""
        before = self._seq_of.pop(user_id, 0)
        if before:
            self._at[before] -= 1
            if not self._at[before]:
                del self._at[before], self._seqs[bisect_left(self._seqs, before)]
        if seq:
            self._seq_of[user_id] = seq
            if seq not in self._at:
                insort(self._seqs, seq)
            self._at[seq] += 1

    def newest(self, without: Collection[int] = ()) -> Counts:
        """The newest STEPS_MAX places where markers stand. without: users who are not counted."""
        left_out = Counter(self._seq_of[user_id] for user_id in without if user_id in self._seq_of)
        counts: list[tuple[int, int]] = []
        readers = 0
        for seq in reversed(self._seqs):
            here = self._at[seq] - left_out[seq]
            if here:
                readers += here
                counts.append((seq, readers))
                if len(counts) == STEPS_MAX:
                    break
        return tuple(counts)
