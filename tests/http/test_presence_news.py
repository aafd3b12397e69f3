"""Who is there is told of a room before what changes there, also when a slow peer is told of it late."""

from contextlib import suppress

import pytest
import trio
import trio.lowlevel
from presence_world import FILLER, open_world  # type: ignore[import-not-found]
from trio.testing import MockClock

from greenroom.actors.room.commands import RoomView
from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX
from greenroom.http.ws.connection import OUTBOX_BYTES_MAX
from greenroom.http.ws.frames import text_frame
from greenroom.http.ws.replay import UNSENT_BYTES_MAX

READER, OTHER = 1, 2
ROOM, SECOND = 7, 8
MUCH = text_frame(b'{"type":"filler","data":"' + b"x" * 400_000 + b'"}')  # no state is told, but what may be dropped is
assert UNSENT_BYTES_MAX < len(MUCH) < OUTBOX_BYTES_MAX // 2 < len(FILLER)


def run(case, *arguments):
    trio.run(case, *arguments, clock=MockClock(autojump_threshold=0))


def stall(client, filler=MUCH):
    client.is_reading = False
    client.connection.write(filler)


async def read_again(world, client):
    client.is_reading = True
    await world.pass_time(3)


def told_of(client, room):
    """Its frames of presence there, in order: (type, who is shown in which status)."""
    return [
        (event["type"], {one["user"]: one["status"] for one in event["data"].get("users", event["data"].get("joins"))})
        for event in client.events
        if event["type"] in ("presence_state", "presence_diff") and room in (event.get("room"), *event.get("rooms", ()))
    ]


async def comes_and_is_told_late(change, shown):
    async with open_world(trio.lowlevel.current_clock(), {ROOM: {READER, OTHER}}) as world:
        other = world.connect(OTHER, is_v1=True)
        if change == "an unblock":
            world.block(READER, OTHER, is_blocked=True)
        await world.pass_time(3)
        reader = world.connect(READER, is_v1=True)
        stall(reader)
        reader.join(ROOM)
        await world.pass_time(1)
        if change == "a status":
            world.wishes[OTHER] = "busy", "note"
            other.say("presence", is_input=True, status="busy", note="note")
        else:
            world.block(READER, OTHER, is_blocked=change == "a block")
        await world.pass_time(3)
        await read_again(world, reader)
        assert told_of(reader, ROOM) == [("presence_state", {READER: "online"} | shown)]
        other.end()
        await world.pass_time(3)
        world.check()


@pytest.mark.parametrize(
    ("change", "shown"), [("a status", {OTHER: "busy"}), ("a block", {}), ("an unblock", {OTHER: "online"})]
)
def test_what_changes_before_who_is_there_was_told_is_told_with_it(change, shown):
    run(comes_and_is_told_late, change, shown)


async def is_owed_news_of_two_rooms():
    async with open_world(trio.lowlevel.current_clock(), {ROOM: {READER, OTHER}, SECOND: {READER, OTHER}}) as world:
        other, reader = (world.connect(user, is_v1=True) for user in (OTHER, READER))
        reader.join(ROOM)
        await world.pass_time(3)
        stall(reader, FILLER)
        reader.join(SECOND)
        world.wishes[OTHER] = "busy", "note"
        other.say("presence", is_input=True, status="busy", note="note")
        await world.pass_time(3)
        while reader.connection.unsent_bytes > len(MUCH):
            with suppress(BlockingIOError):
                reader.received += reader.far.recv(1 << 16)
            await trio.lowlevel.checkpoint()
        assert reader.connection.unsent_bytes > UNSENT_BYTES_MAX
        await world.pass_time(3)
        await read_again(world, reader)
        assert told_of(reader, ROOM)[-1] == ("presence_diff", {OTHER: "busy"})
        assert told_of(reader, SECOND) == [("presence_state", {READER: "online", OTHER: "busy"})]
        world.check()


def test_what_a_socket_is_owed_is_told_of_the_rooms_alone_of_which_it_was_told_who_is_there():
    run(is_owed_news_of_two_rooms)


async def is_in_a_room_that_outgrows(when):
    members = range(1, PRESENCE_MEMBERS_MAX + 1)
    async with open_world(trio.lowlevel.current_clock(), {ROOM: members}) as world:
        reader = world.connect(READER, is_v1=True)
        await world.pass_time(3)
        if when == "when it was told":
            reader.join(ROOM)
            await world.pass_time(3)
        if when == "before it is live":
            view = RoomView(ROOM, 1, 0, 0, len(members), frozenset(members))
            attachment = world.hub.attach(reader.connection, READER, view, 0)
            reader.session.ready((ROOM,))
        else:
            stall(reader)
            reader.join(ROOM)
        world.change_member(ROOM, PRESENCE_MEMBERS_MAX + 1, is_active=True)
        if when == "before it is live":
            reader.session.replay([(ROOM, attachment)])
        await read_again(world, reader)
        return told_of(reader, ROOM)


@pytest.mark.parametrize("when", ["before it is live", "before it is told"])
def test_a_room_that_outgrows_before_who_is_there_was_told_has_nothing_to_take_back(when):
    async def case():
        assert await is_in_a_room_that_outgrows(when) == []

    run(case)


def test_who_is_in_a_room_again_was_told_before_and_goes_on_hearing_what_changes():
    async def case():
        told = await is_in_a_room_that_outgrows("when it was told")
        assert told == [("presence_state", {READER: "online"}), ("presence_state", {})]

    run(case)
