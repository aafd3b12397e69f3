"""The log of one room as a client has it: every message once, in the order of its seq. Pure.

    take(seq, said) ──▶ it is the next one: told, with those that waited for it
                    ──▶ it was told before: nothing
                    ──▶ something is missing: it waits, and `is_missing` says that there is something to fetch

What is fetched is taken like what is heard. What is said is a message, a change of one, or who came or went; None where
nothing at that seq is for us (`skip`). A seq that the server leaves out, in the midst of what it shows, is passed over.
"""

from collections.abc import Sequence
from typing import Final

from greenroom.client.events import Changed, Member, Pinned, Reacted, Said

AHEAD_MAX: Final = 1000  # messages that wait for earlier ones; more are fetched again

Told = Said | Changed | Reacted | Pinned | Member
Entry = tuple[int, Told | None]  # (seq, what is there for us)


class RoomLog:
    """seq: of the newest message told. goal: what must be fetched up to. recent: how many old ones are wanted first.

    lives: how often it was replaced; what was fetched in an earlier life is of another log.
    """

    __slots__ = ("_ahead", "_epoch_there", "epoch", "goal", "lives", "recent", "seq")

    def __init__(self, recent: int = 0) -> None:
        self.recent = recent
        self.seq: int | None = None  # None: the room was not entered yet
        self.epoch: int | None = None
        self.goal = 0
        self.lives = 0
        self._epoch_there: int | None = None
        self._ahead: dict[int, Told | None] = {}

    @property
    def is_missing(self) -> bool:
        """Something must be fetched, with `history` after `seq`."""
        return self.seq is not None and self.seq < self.goal

    @property
    def top(self) -> int:
        """The newest seq that is known of, told or not."""
        return max(self.seq or 0, self.goal, *self._ahead)

    def entered(self, top: int, epoch: int) -> None:
        """The server lets us in. The first time what is old begins *recent* below the top.

        A log that we know keeps its epoch until the server has said that it was replaced: a cut between the two must
        not hide it.
        """
        self._epoch_there = epoch
        if self.seq is None:
            self.epoch = epoch
            self.seq = max(0, top - self.recent)
            self.goal = top

    def skipped(self, up_to: int) -> None:
        """The server will not replay what lies up to there."""
        self.goal = max(self.goal, up_to)

    def replaced(self, top: int) -> None:
        """The log is another one: begin anew."""
        self._ahead.clear()
        self.lives += 1
        self.epoch = self._epoch_there
        self.seq = max(0, top - self.recent)
        self.goal = top

    def take(self, seq: int, said: Told | None) -> list[Told]:
        """What is to be told now that this has come."""
        if self.seq is None or seq <= self.seq:
            return []
        if seq > self.seq + 1:
            has_place = seq in self._ahead or len(self._ahead) < AHEAD_MAX
            if has_place:
                self._ahead[seq] = said
            self.goal = max(self.goal, seq - 1 if has_place else seq)
            return []
        self.seq = seq
        self._ahead.pop(seq, None)
        return ([] if said is None else [said]) + self._follow()

    def take_page(self, page: Sequence[Entry], goal: int) -> list[Told]:
        """What is to be told of a page of `history` after `seq`, which was asked for to reach *goal*."""
        told: list[Told] = []
        for seq, said in page:
            told += self._pass_over(seq - 1)
            told += self.take(seq, said)
        if not page:
            told += self._pass_over(goal)
        return told

    def _pass_over(self, seq: int) -> list[Told]:
        """Nothing more comes up to *seq*; what waited there is told."""
        assert self.seq is not None
        waited = [(at, self._ahead.pop(at)) for at in sorted(self._ahead) if at <= seq]
        told = [said for at, said in waited if said is not None and at > self.seq]
        self.seq = max(self.seq, seq)
        return told + self._follow()

    def _follow(self) -> list[Told]:
        """Those that waited and are next now."""
        assert self.seq is not None
        told = []
        while self.seq + 1 in self._ahead:
            self.seq += 1
            if (said := self._ahead.pop(self.seq)) is not None:
                told.append(said)
        return told
