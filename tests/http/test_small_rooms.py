"""Which rooms presence is told in: each watcher counts once, whatever size the room has by then."""

import trio

from greenroom.actors.events import MemberChanged
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX
from greenroom.http.ws.engine import SocketEngine
from greenroom.http.ws.hub import Hub
from greenroom.http.ws.small_rooms import SmallRooms, gone_from
from greenroom.runtime import SystemClock


def test_a_room_is_told_in_while_anybody_watches_it():
    rooms = SmallRooms()
    rooms.watch(7, {1, 2})
    rooms.watch(7, {1, 2})
    rooms.unwatch(7)
    assert rooms.members == {7: {1, 2}}
    rooms.unwatch(7)
    assert (rooms.members, rooms.rooms_of) == ({}, {})


def test_a_watcher_who_came_while_the_room_was_large_takes_no_other_with_them():
    rooms = SmallRooms()
    rooms.watch(7, ())
    rooms.watch(7, {1, 2})
    rooms.unwatch(7)
    assert rooms.members == {7: {1, 2}}
    rooms.unwatch(7)
    assert rooms.members == {}


def test_a_room_that_grows_too_large_is_told_in_no_more():
    rooms = SmallRooms()
    rooms.watch(7, set(range(1, PRESENCE_MEMBERS_MAX + 1)))
    rooms.member_changed(MemberChanged(7, 1, "member", is_active=True))
    assert 7 in rooms.members
    rooms.member_changed(MemberChanged(7, 999, "member", is_active=True))
    assert (rooms.members, rooms.rooms_of) == ({}, {})
    rooms.unwatch(7)


async def test_of_a_room_that_is_too_large_nobody_looks_who_is_in_it():
    """For each who comes into one of 20,000 the loop was held for as long as it takes to look at all of them."""

    class Crowd(list):
        def __iter__(self):
            raise AssertionError("somebody looks")

    async with trio.open_nursery() as nursery:
        Hub(SocketEngine(nursery), SystemClock()).room_made(7, Crowd(range(PRESENCE_MEMBERS_MAX + 1)))


def test_who_left_a_room_and_is_back_is_not_gone_from_it_nor_is_who_left_another():
    rooms = SmallRooms()
    with rooms.noting_changes() as changes, rooms.noting_changes() as others:
        for room, user, is_active in [(7, 1, False), (7, 2, False), (7, 1, True), (8, 3, False), (7, 4, True)]:
            rooms.member_changed(MemberChanged(room, user, "member", is_active))
    rooms.member_changed(MemberChanged(7, 4, "member", is_active=False))
    assert (gone_from(7, changes), gone_from(8, others)) == ({2}, {3})
