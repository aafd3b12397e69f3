"""How fast a peer takes what waits for it: what it is told is not old, unless its line is merely slow.

    a look, once a second ──▶ noted: what waits ──OUTBOX_SECONDS_MAX──▶ all of that is out, or TAKEN_BYTES_MIN of it
                                                                           └─ neither ──▶ closed with 4201

So ends who takes nothing, and who takes a little now and then, and would be told for ever what is minutes old. Who
takes 16 KiB a second stays, however much waits, and hears what is 64 seconds old at most, as more than OUTBOX_BYTES_MAX
never waits. Of a replay (`replay.py`) or of pages of history 320 KiB and more may wait; a line of 32 KB a second has
taken that after ten seconds, and what stands behind it later. A third of what it takes is asked for, because a kernel
takes in pieces: of about 43 KB, with the buffer that `listener.py` gives it.
"""

from typing import Final

OUTBOX_SECONDS_MAX: Final = 10.0
TAKEN_BYTES_MIN: Final = 112 * 1024  # in OUTBOX_SECONDS_MAX, where so much waits: three pieces are more


class Pace:
    """Of a connection for which something waits; others have none. taken_at: when its peer took some of it last.

    What goes ahead of what waits is no progress: it is taken off beforehand, and counts for nothing when it is out.
    """

    __slots__ = ("_goals", "_taken", "taken_at")

    def __init__(self, now: float) -> None:
        self.taken_at = now
        self._taken = 0  # bytes, less those that went ahead
        self._goals: list[tuple[float, int]] = []  # (when it was noted, what must be taken soon), not reached yet

    def took(self, size: int, now: float) -> None:
        """The peer took so many bytes."""
        self._taken += size
        self.taken_at = now
        while self._goals and self._taken >= self._goals[0][1]:
            self._goals.pop(0)

    def went_ahead(self, size: int) -> None:
        """So many bytes were put before others that wait."""
        self._taken -= size

    def is_kept(self, waiting_bytes: int, now: float) -> bool:
        """Whether what waited so long ago is out, or enough of it; and note what waits now. Asked at each look."""
        is_missed = bool(self._goals) and now - self._goals[0][0] >= OUTBOX_SECONDS_MAX
        if is_missed or now - self.taken_at > OUTBOX_SECONDS_MAX:
            return False
        self._goals.append((now, self._taken + min(waiting_bytes, TAKEN_BYTES_MIN)))
        return True
