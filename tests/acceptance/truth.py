"""What the model test knows of one play: who said what, who is in, who has blocked whom, each with its step.

A step is a moment of no length to the model, so of what overlaps in one step nothing is certain. Whatever is shown or
hidden was decided between two steps, `lo` and `hi`; a message must be hidden when a block was acknowledged before `lo`
and its end is not asked for yet, and may be hidden when some block overlaps the two.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass
class Said:
    """What somebody says. place: message id and seq, as they were first answered. is_lost: nobody heard the answer."""

    room: int
    user: int
    client_id: str
    text: str
    step: int
    place: tuple[int, int] | None = None
    is_lost: bool = False


@dataclass
class Move:
    """Somebody has come or gone, at this place of the log."""

    user: int
    change: str  # joined, left

    def text_at(self, seq: int) -> str:
        """How devices note it."""
        return f"{self.user} {self.change} at {seq}"


@dataclass
class Span:
    """From the step in which it was acknowledged until that in which its end was asked for."""

    begin: int
    end: int | None = None


@dataclass
class Hiding:
    """One block: when it and its end were asked for, and when these were acknowledged."""

    asked: int
    begin: int | None = None
    end_asked: int | None = None
    end: int | None = None

    @property
    def is_on(self) -> bool:
        """Nobody has asked for its end."""
        return self.end_asked is None


class Truth:
    """Of one play; devices ask it, and tell it what they were shown."""

    def __init__(self, users: list[int]) -> None:
        self.users = users
        self.step = 0
        self.rooms: list[int] = []
        self.said: list[Said] = []
        self.by_place: dict[tuple[int, int], Said] = {}
        self.by_text: dict[str, Said] = {}
        self.moves: dict[tuple[int, int], Move] = {}  # by room and seq
        self.tops: Counter[int] = Counter()
        self.inside: dict[tuple[int, int], list[Span]] = {}
        self.entry_tops: dict[tuple[int, int], int] = {}
        self.ceilings: dict[tuple[int, int], int] = {}
        self.blocks: dict[tuple[int, int], list[Hiding]] = {}
        self.moving: set[tuple[int, int]] = set()  # who comes or goes in this step, and where
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()  # what the play met
        self._skips: list[tuple[int, int, int, int, int]] = []  # of messages that nobody has answered for yet

    # -- what devices ask and tell --

    def now(self) -> int:
        """The number of the step."""
        return self.step

    def top_at_entry(self, user: int, room: int) -> int:
        """The newest message when *user* was last let into the room."""
        if (user, room) in self.moving:  # nobody knows yet before which message that will be
            return self.tops[room] + 1000
        return self.entry_tops.get((user, room), 0)

    def shown(self, user: int, room: int, seq: int, text: str, since: int) -> str | None:
        """*user* is shown a message, decided in step *since* or later. What is wrong with that, if anything is."""
        said = self.by_text.get(text)
        if said is None or said.room != room or (said.place is not None and said.place[1] != seq):
            return "it was never said there"
        if seq > self.ceilings.get((user, room), seq):
            return "it was said while they were out"
        lo = max(said.step, since)
        if any(hiding.is_on and (hiding.begin or lo) < lo for hiding in self.hidings(user, said.user)):
            return "they have blocked who said it"
        return None

    def moved(self, user: int, room: int, seq: int, mover: int, change: str) -> str | None:
        """*user* is told in the log that somebody came or went. What is wrong with that, if anything is."""
        self.counts["moves told"] += 1
        if seq > self.ceilings.get((user, room), seq):
            return "it was while they were out"
        return "of oneself it is no part of the log" if (mover, change) == (user, "left") else None

    def is_move(self, room: int, seq: int) -> bool:
        """Whether no message stands there."""
        return (room, seq) in self.moves

    def skipped(self, user: int, room: int, seq: int, since: int) -> None:
        """A message is hidden from *user*, decided in step *since* or later."""
        self.counts["skips"] += 1
        self._skips.append((user, room, seq, since, self.step))
        if len(self._skips) > 50:
            self.judge_skips()

    def judge_skips(self) -> None:
        """Whether they were right, as far as it is known who said what."""
        waiting, self._skips = self._skips, []
        for user, room, seq, since, step in waiting:
            said, move = self.by_place.get((room, seq)), self.moves.get((room, seq))
            if move is not None:
                if (move.user, move.change) != (user, "left"):
                    self.faults.append(f"{seq} of room {room}, {move}, is hidden from {user}")
            elif said is None:
                self._skips.append((user, room, seq, since, step))
            elif not self.may_hide(user, said, max(said.step, since), step):
                self.faults.append(f"{seq} of room {room} is hidden from {user} in step {step}, who does not hide it")

    def may_be_left_out(self, user: int, room: int, seq: int, since: int) -> bool:
        """Whether a page that was read since step *since* may be without a message of it."""
        said = self.by_place.get((room, seq))
        return said is not None and self.may_hide(user, said, max(said.step, since), self.step)

    # -- blocks --

    def hidings(self, user: int, sender: int) -> Iterable[Hiding]:
        """The blocks of *sender* by *user*."""
        return self.blocks.get((user, sender), ())

    def may_hide(self, user: int, said: Said, lo: int, hi: int) -> bool:
        """Whether a block overlaps these steps."""
        return any(
            hiding.asked <= hi and (hiding.end is None or hiding.end >= lo) for hiding in self.hidings(user, said.user)
        )

    def hides_now(self, user: int, sender: int) -> bool:
        """Between two steps, when it is certain."""
        return any(hiding.is_on for hiding in self.hidings(user, sender))

    def are_apart(self, one: int, other: int) -> bool | None:
        """Whether one of the two has blocked the other; None: that changes in this step."""
        both = (*self.hidings(one, other), *self.hidings(other, one))
        if any(hiding.is_on and hiding.begin is not None and hiding.begin < self.step for hiding in both):
            return True
        if any(hiding.end is None or hiding.end >= self.step for hiding in both):
            return None
        return False

    # -- messages and members --

    def is_in(self, user: int, room: int) -> bool:
        """As far as it is acknowledged."""
        spans = self.inside.get((user, room), [])
        return bool(spans) and spans[-1].end is None

    def say(self, user: int, room: int, name: str, more: str = "") -> Said:
        """Somebody is about to say something."""
        number = len(self.said)
        said = Said(room, user, f"{name}-{number}", f"{user} says {number} {more}", self.step)
        self.said.append(said)
        self.by_text[said.text] = said
        return said

    def came_or_went(self, room: int, moves: Iterable[tuple[int, int, str]]) -> None:
        """Who came and went, as it is stored: seq, user, what."""
        for seq, user, change in moves:
            if self.moves.setdefault((room, seq), Move(user, change)) != Move(user, change):
                self.faults.append(f"step {self.step}: two have come or gone at {room}/{seq}")
            self.tops[room] = max(self.tops[room], seq)

    def placed(self, said: Said, place: tuple[int, int]) -> None:
        """It was answered."""
        if said.place is None:
            said.place = place
            if self.by_place.setdefault((said.room, place[1]), said) is not said:
                self.faults.append(f"two messages were acknowledged at {said.room}/{place[1]}")
            self.tops[said.room] = max(self.tops[said.room], place[1])
        elif said.place != place:
            self.faults.append(f"step {self.step}: {said} was sent again and answered with {place}")
