"""Who is there is told of a room before what changes there, also when a slow peer is told of it late, or when the room
was too large for it."""

from contextlib import asynccontextmanager, suppress

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

READER, OTHER, THIRD, NEW = 1, 2, 3, PRESENCE_MEMBERS_MAX + 1
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
        world.change_member(ROOM, NEW, is_active=True)
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


@asynccontextmanager
async def a_room_too_large(*, was_small, says=None):
    """(world, reader): the room has a member too many, NEW; of the others READER, OTHER and THIRD have a socket."""
    rooms = {ROOM: set(range(1, NEW if was_small else NEW + 1)), SECOND: {READER, OTHER}}
    async with open_world(trio.lowlevel.current_clock(), rooms) as world:
        reader, other, third = (world.connect(user, is_v1=True) for user in (READER, OTHER, THIRD))
        if says is not None:
            for client in reader, other, third:
                world.wishes[client.user_id] = says, ""
                client.say("presence", is_input=True, status=says)
        await world.pass_time(3)
        reader.join(ROOM)
        await world.pass_time(3)
        if was_small:
            world.change_member(ROOM, NEW, is_active=True)
            await world.pass_time(3)
        reader.events.clear()
        yield world, reader


def shrink(world):
    world.change_member(ROOM, NEW, is_active=False)


def everybody(*users):
    return "presence_diff", dict.fromkeys(users, "online")


@pytest.mark.parametrize("was_small", [True, False])
def test_a_room_that_shrinks_and_grows_before_all_were_told_has_nothing_to_take_back(was_small):
    async def case():
        async with a_room_too_large(was_small=was_small) as (world, reader):
            shrink(world)
            world.change_member(ROOM, NEW, is_active=True)
            await world.pass_time(3)
            assert told_of(reader, ROOM) == []
            shrink(world)
            await world.pass_time(3)
            assert told_of(reader, ROOM) == [everybody(READER, OTHER, THIRD)]
            world.check()

    run(case)


def test_what_was_owed_before_a_room_shrank_is_no_diff_that_stands_for_all():
    async def case():
        async with a_room_too_large(was_small=True) as (world, reader):
            reader.join(SECOND)
            await world.pass_time(3)
            stall(reader, FILLER)
            world.wishes[OTHER] = "busy", ""
            world.clients[1].say("presence", is_input=True, status="busy")
            await world.pass_time(3)
            shrink(world)
            reader.is_reading = True
            while not reader.connection.takes_ephemeral:  # before the next round
                reader.read()
                await trio.lowlevel.checkpoint()
            await world.pass_time(3)
            diffs = told_of(reader, ROOM)
            assert diffs
            assert all(shown == {READER: "online", OTHER: "busy", THIRD: "online"} for _, shown in diffs)
            world.check()

    run(case)


@pytest.mark.parametrize("is_blocked", [True, False])
def test_a_block_or_its_end_before_all_were_told_of_a_room_that_shrank_is_told_with_them(is_blocked):
    async def case():
        async with a_room_too_large(was_small=True) as (world, reader):
            if not is_blocked:
                world.block(READER, OTHER, is_blocked=True)
            shrink(world)
            world.block(READER, OTHER, is_blocked=is_blocked)
            await world.pass_time(3)
            seen = (READER, THIRD) if is_blocked else (READER, OTHER, THIRD)
            assert told_of(reader, ROOM) == [everybody(*seen)]
            world.check()

    run(case)


@pytest.mark.parametrize("says", [None, "invisible"])
@pytest.mark.parametrize("is_stalled", [False, True])
def test_who_is_there_is_told_of_a_room_that_shrank_also_late_and_also_when_it_is_nobody(is_stalled, says):
    async def case():
        async with a_room_too_large(was_small=False, says=says) as (world, reader):
            if is_stalled:
                stall(reader, FILLER)
            shrink(world)
            await world.pass_time(3)
            await read_again(world, reader)
            assert told_of(reader, ROOM) == [everybody(*(() if says else (READER, OTHER, THIRD)))]
            world.check()

    run(case)


def test_a_diff_of_nobody_is_told_of_a_room_that_shrank_alone():
    async def case():
        async with a_room_too_large(was_small=False, says="invisible") as (world, reader):
            shrink(world)
            await world.pass_time(3)
            world.change_member(ROOM, NEW - 1, is_active=False)
            world.change_member(ROOM, NEW, is_active=True)
            await world.pass_time(3)
            assert told_of(reader, ROOM) == [everybody()]

    run(case)
