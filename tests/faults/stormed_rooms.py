"""Kill -9 under thousands who listen, for the test and for the bench: rooms in each of which somebody talks meanwhile.

rooms = StormedRooms(server, 50)
await rooms.prepare(100)                # members of each
await rooms.come(nursery, 100)          # so many of each listen from now on
await rooms.talk()
await rooms.storm()                     # kill -9, start, all live again: in how long, and what PostgreSQL was asked
await rooms.aftermath()                 # what was lost, and what came twice

What PostgreSQL may be asked is said by `questions_max`, in which nobody counts who listens:

QUESTIONS_OF_START  a process asks when it starts, with nobody there, and by the clock: some 40
QUESTIONS_PER_ROOM  a room asks 4 in a transaction of its own, when the first of its members comes: 6 statements. Who
                    comes is looked up, and so is the end of their stream: at once for all who came while others were
                    looked up, which is some 20 questions in a storm of 500, and some 35 in one of 5,000.
                    Two for each room are for these; were each asked for, it would be two for each who comes.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import trio
from questions import Questions  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]
from storm import Listener, Storm  # type: ignore[import-not-found]
from wire import Member, wait_until  # type: ignore[import-not-found]

from greenroom.settings import Settings

QUESTIONS_OF_START = 60
QUESTIONS_PER_ROOM = 8
PER_SECOND = Settings.model_fields["ws_connects_per_second"].default
SAID = 21
BACK_SECONDS_MAX = 60


@dataclass(frozen=True)
class Returned:
    """How a storm went. Seconds are from the kill: until the server answered, and until everybody was live again."""

    start_seconds: float
    live_seconds: float
    asked: Counter[str]


@dataclass(frozen=True)
class Aftermath:
    """What listeners did not have of what was said, or was not stored; and what they, or storage, had twice."""

    lost: int
    doubled: int


def questions_max(rooms: int) -> int:
    """What PostgreSQL may be asked from the start of the server until everybody is live again."""
    return QUESTIONS_OF_START + QUESTIONS_PER_ROOM * rooms


class StormedRooms:
    """Of one server, which runs."""

    def __init__(self, server: ServerProcess, rooms_count: int) -> None:
        self.rooms = range(1, rooms_count + 1)
        self.listeners: list[Listener] = []
        self.talkers: list[Member] = []
        self._server = server
        self._questions = Questions(server)
        self._said = 0

    async def prepare(self, members: int) -> None:
        """So many members besides who talks in each room."""
        await self._questions.begin()
        for room in self.rooms:
            await self._server.make_room(room, [room * 1000 + number for number in range(members + 1)])
            self.talkers.append(Member(self._server, room * 1000, [room]))

    async def come(self, nursery: trio.Nursery, members: int) -> None:
        """So many of each room listen until *nursery* ends, those who do already included, and one talks."""
        if not self.listeners:
            for talker in self.talkers:
                nursery.start_soon(talker.run)
        there = len(self.listeners) // len(self.rooms)
        more = [
            Listener(self._server.token(room * 1000 + number), room)
            for room in self.rooms
            for number in range(there + 1, members + 1)
        ]
        crowd = Storm(self._server.port, more)
        nursery.start_soon(_run, crowd)
        self.listeners += more
        await wait_until(self._who_is_not_live, 90)

    async def talk(self) -> None:
        """In every room, all but the last of what is said in a storm."""
        for number in range(SAID - 1):
            for talker in self.talkers:
                talker.say(next(iter(talker.logs)), f"{number}")
            await trio.sleep(0.02)

    async def storm(self) -> Returned:
        """Kill -9 amid the talk, and everybody is back. Raises AssertionError after BACK_SECONDS_MAX."""
        began = trio.current_time()
        await trio.to_thread.run_sync(self._server.kill)
        for talker in self.talkers:
            talker.say(next(iter(talker.logs)), "while nobody was there")
        self._said += SAID
        await wait_until(lambda: sum(one.is_live for one in self.listeners), 20)
        self._questions.forget()
        await trio.to_thread.run_sync(self._server.start)
        started = trio.current_time() - began
        await wait_until(self._who_is_not_live, BACK_SECONDS_MAX)
        took = trio.current_time() - began
        await wait_until(lambda: [talker.unacked for talker in self.talkers if talker.unacked], 30)
        return Returned(started, took, self._questions.asked())

    async def aftermath(self, seconds: float = 30.0) -> Aftermath:
        """Lay what everybody has beside what is stored, once it is the same, or after *seconds*."""
        stored = {room: [row["id"] for row in await self._server.log_of(room)] for room in self.rooms}
        with trio.move_on_after(seconds):
            while any(len(one.ids) < len(stored[one.room]) for one in self.listeners):  # noqa: ASYNC110
                await trio.sleep(0.05)
        lost = sum(_more(stored[one.room], one.ids) + one.holes + one.gaps for one in self.listeners)
        doubled = sum(_more(one.ids, stored[one.room]) + one.repeats for one in self.listeners)
        for ids in stored.values():
            lost += max(0, self._said - len(ids))
            doubled += max(0, len(ids) - self._said)
        return Aftermath(lost, doubled)

    def _who_is_not_live(self) -> int:
        return sum(not one.is_live for one in self.listeners)


async def _run(crowd: Storm) -> None:
    try:
        await trio.to_thread.run_sync(crowd.run, abandon_on_cancel=True)
    finally:
        crowd.stop()


def _more(some: Iterable[int], others: Iterable[int]) -> int:
    """How many of *some* are not among *others*, each as often as it is there."""
    return (Counter(some) - Counter(others)).total()
