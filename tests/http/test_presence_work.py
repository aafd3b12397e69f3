"""A change of presence is work for those who are told of it, and not for everybody else who is connected, nor for those
who would be told if they were here.

Counted is what the process does, not how long it takes: every line of ours that runs in a module of presence, or
beneath one, from the word of the user until all are told.
"""

import gc
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio
import trio.lowlevel
from presence_world import open_world  # type: ignore[import-not-found]
from trio.testing import MockClock

import greenroom
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX

SUBJECT, WATCHERS, OTHERS, ABSENT = 1, 1000, 2000, 3000  # the first of each
ROOM, HALL, SECOND_ROOM, OTHER_ROOMS = 7, 8, 9, 100
OTHERS_TOGETHER = 4  # in a room of theirs
PACKAGE = f"{Path(greenroom.__file__).parent}/"
OF_PRESENCE = ("actors/presence/", "http/ws/presence", "http/ws/v1_presence", "http/ws/watches")
ROUNDS = "http/ws/attendance.py"  # every 15 s it looks at every socket, whatever changed


class Work:
    """lines: how many ran."""

    def __init__(self):
        self.lines = 0

    @contextmanager
    def counted(self):
        before = sys.gettrace()
        gc.disable()  # what others have left might be tidied up beneath presence
        sys.settrace(self._called)
        try:
            yield
        finally:
            sys.settrace(before)
            gc.enable()

    def _called(self, frame, event, argument):
        is_ours = frame.f_code.co_filename.startswith(PACKAGE)  # and not what these tests check of each frame
        return self._ran if is_ours and is_of_presence(frame) else None

    def _ran(self, frame, event, argument):
        self.lines += event == "line"
        return self._ran


def is_of_presence(frame):
    """It is, or is called by, one of presence's own; and not by who goes round."""
    modules = []
    while frame is not None:
        modules.append(frame.f_code.co_filename.removeprefix(PACKAGE))
        frame = frame.f_back
    return ROUNDS not in modules and any(name.startswith(OF_PRESENCE) for name in modules)


def world_with(watchers, others, absent):
    """SUBJECT and its watchers share a small room; the others have rooms of theirs; all are in the large hall.

    absent: how many in the small room are not here. In the hall there are many.
    """
    watching, apart = range(WATCHERS, WATCHERS + watchers), range(OTHERS, OTHERS + others)
    away = range(ABSENT, ABSENT + PRESENCE_MEMBERS_MAX)
    rooms = {ROOM: {SUBJECT, *watching, *away[:absent]}, HALL: {SUBJECT, *watching, *apart, *away}}
    for number, user in enumerate(apart):
        rooms.setdefault(OTHER_ROOMS + number // OTHERS_TOGETHER, set()).add(user)
    return rooms, watching, apart


def connect(world, user, *, how):
    """A page, or a v1 socket in its rooms, or one that watches by name whom it shares the small one with."""
    client = world.connect(user, is_v1=how != "page")
    if how == "page":
        client.say("request_initial_data")
        return client
    small = next(room for room, members in world.rooms.items() if room != HALL and user in members)
    client.join(HALL)
    if how == "in the room":
        client.join(small)
    else:
        client.watch(sorted(world.rooms[small] - {user}))
    return client


def told(client):
    """How the subject stands with it."""
    if not client.is_v1:
        return client.online.get(SUBJECT, ("offline", ""))
    return client.rooms.get(ROOM, client.watched).get(SUBJECT, ("offline", ""))


def news(client):
    """All that it was told but signs of life."""
    return [event for event in client.events if event["type"] not in ("ping", "heartbeat")]


async def work_of(world, change):
    """The lines that run until all are told."""
    work = Work()
    with work.counted():
        change()
        await world.pass_time(3)
    return work.lines


async def work_of_each_change(how, *, watchers, others, absent):
    """The lines that run when the subject says that they are busy, when they go, and when they come."""
    rooms, watching, apart = world_with(watchers, others, absent)
    async with open_world(trio.lowlevel.current_clock(), rooms) as world:
        subject = connect(world, SUBJECT, how="in the room")
        watch = [connect(world, user, how=how) for user in watching]
        hows = ("in the room", "by name", "page")
        uninvolved = [connect(world, user, how=hows[number % 3]) for number, user in enumerate(apart)]
        await world.pass_time(5)

        def busy():
            subject.say("presence", is_input=True, status="busy", note="note")

        def come():
            connect(world, SUBJECT, how="in the room")

        lines = []
        for change, seen in ((busy, ("busy", "note")), (subject.end, ("offline", "")), (come, ("online", ""))):
            heard = [*map(news, uninvolved)]
            lines.append(await work_of(world, change))
            assert [told(client) for client in watch] == [seen] * watchers
            assert [*map(news, uninvolved)] == heard, "nobody else is told anything"
        return lines


async def work_of_each_arrival(*, absent):
    """The lines that run when the subject opens a page, and when they come into a second room."""
    watching, others, away = range(WATCHERS, WATCHERS + 4), range(OTHERS, OTHERS + 4), range(ABSENT, ABSENT + absent)
    rooms = {ROOM: {SUBJECT, *watching, *away}, SECOND_ROOM: {*others, *away}}
    async with open_world(trio.lowlevel.current_clock(), rooms) as world:
        for user, room in [(user, ROOM) for user in watching] + [(user, SECOND_ROOM) for user in others]:
            client = world.connect(user, is_v1=user % 2 == 0)
            if client.is_v1:
                client.join(room)
            else:
                client.say("request_initial_data")
        await world.pass_time(5)
        pages, lines = [], []

        def open_page():
            pages.append(world.connect(SUBJECT, is_v1=False))
            pages[0].say("request_initial_data")

        def come_in():
            world.change_member(SECOND_ROOM, SUBJECT, is_active=True)

        for change, seen in ((open_page, {*watching}), (come_in, {*watching, *others})):
            lines.append(await work_of(world, change))
            assert pages[0].online.keys() - {SUBJECT} == seen
            world.check()
        return lines


@pytest.fixture
def without_rests(monkeypatch):
    """It rests for no clock."""
    monkeypatch.setattr("greenroom.http.ws.presence_news.SLICE_SECONDS_MAX", 1000.0)


def run(case, *arguments, **counts):
    return trio.run(lambda: case(*arguments, **counts), clock=MockClock(autojump_threshold=0))


@pytest.mark.parametrize("how", ["in the room", "by name", "page"])
def test_a_change_is_as_much_work_with_ten_times_as_many_who_are_not_told(how, without_rests):
    def work(watchers, others):
        return run(work_of_each_change, how, watchers=watchers, others=others, absent=100)

    few, many = work(watchers=3, others=20), work(watchers=3, others=200)
    assert few == many
    for more, less in zip(work(watchers=12, others=20), few, strict=True):
        assert 0 < less < more <= 4 * less, "it is counted, and for each watcher once"


@pytest.mark.parametrize("how", ["in the room", "by name", "page"])
def test_a_change_is_as_much_work_in_a_room_of_ten_times_as_many_who_are_not_here(how, without_rests):
    few, many = [run(work_of_each_change, how, watchers=3, others=4, absent=absent) for absent in (15, 150)]
    assert few == many


def test_a_page_that_comes_is_as_much_work_in_rooms_of_ten_times_as_many_who_are_not_here(without_rests):
    few, many = [run(work_of_each_arrival, absent=absent) for absent in (15, 150)]
    assert few == many
    assert all(few), "it is counted"
