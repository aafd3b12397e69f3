"""The log of one room as a client has it: every message once, in the order of its seq. Pure.

    take(message) ──▶ it is the next one: told, with those that waited for it
                  ──▶ it was told before: nothing
                  ──▶ something is missing: it waits, and `missing` says that there is something to fetch

What is fetched is taken like what is heard. A seq that the server does not show us, in the middle of what it does, is
passed over: nothing of ours is there.
"""

from typing import Final

from greenroom.client.events import Said

AHEAD_MAX: Final = 1000  # messages that wait for earlier ones; more are fetched again


class RoomLog:
    """seq: of the newest message told. goal: what must be fetched up to. recent: how many old ones are wanted first."""

    __slots__ = ("_ahead", "epoch", "goal", "recent", "seq")

    def __init__(self, recent: int = 0) -> None:
        self.recent = recent
        self.seq: int | None = None  # None: the room was not entered yet
        self.epoch: int | None = None
        self.goal = 0
        self._ahead: dict[int, Said] = {}

    @property
    def is_missing(self) -> bool:
        """Something must be fetched, with `history` after `seq`."""
        return self.seq is not None and self.seq < self.goal

    def entered(self, top: int, epoch: int) -> None:
        """The server lets us in. The first time what is old begins *recent* below the top."""
        self.epoch = epoch
        if self.seq is None:
            self.seq = max(0, top - self.recent)
            self.goal = top

    def skipped(self, up_to: int) -> None:
        """The server will not replay what lies up to there."""
        self.goal = max(self.goal, up_to)

    def replaced(self, top: int) -> None:
        """The log is another one: begin anew."""
        self._ahead.clear()
        self.seq = max(0, top - self.recent)
        self.goal = top

    def take(self, said: Said) -> list[Said]:
        """What is to be told now that this has come."""
        if self.seq is None or said.seq <= self.seq:
            return []
        if said.seq > self.seq + 1:
            if len(self._ahead) < AHEAD_MAX:
                self._ahead[said.seq] = said
            self.goal = max(self.goal, said.seq - 1 if said.seq in self._ahead else said.seq)
            return []
        self.seq = said.seq
        self._ahead.pop(said.seq, None)
        return [said, *self._follow()]

    def take_page(self, page: list[Said], goal: int) -> list[Said]:
        """What is to be told of a page of `history` after `seq`, which was asked for to reach *goal*."""
        told: list[Said] = []
        for said in page:
            self._pass_over(said.seq - 1)
            told += self.take(said)
        if not page:
            self._pass_over(goal)
            told += self._follow()
        return told

    def _pass_over(self, seq: int) -> None:
        assert self.seq is not None
        self.seq = max(self.seq, seq)

    def _follow(self) -> list[Said]:
        """Those that waited and are next now."""
        told = []
        while self.seq is not None and (following := self._ahead.pop(self.seq + 1, None)) is not None:
            self.seq = following.seq
            told.append(following)
        return told
