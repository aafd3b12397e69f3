"""Whatever happens to whom: after quiet everybody believes what is true, and sees nobody whom they may not."""

import trio
import trio.lowlevel
from hypothesis import given, note, settings
from hypothesis import strategies as st
from presence_world import FILLER, open_world  # type: ignore[import-not-found]
from trio.testing import MockClock

from greenroom.http.ws.events import iso

USERS = st.integers(1, 5)
ROOMS = st.sampled_from([7, 8])
STATUSES = st.sampled_from(["online", "away", "busy", "dnd", "invisible"])
NUMBERS = st.integers(0, 50)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("connect"), USERS, st.booleans()),
        st.tuples(st.just("connect"), USERS, st.booleans()),
        st.tuples(st.just("drop"), NUMBERS, st.booleans()),
        st.tuples(st.just("join"), NUMBERS, ROOMS),
        st.tuples(st.just("watch"), NUMBERS, st.lists(USERS, max_size=5, unique=True)),
        st.tuples(st.just("status"), NUMBERS, STATUSES),
        st.tuples(st.just("idle"), NUMBERS, st.booleans()),
        st.tuples(st.just("input"), NUMBERS, st.none()),
        st.tuples(st.just("crash"), USERS, st.integers(1, 3)),
        st.tuples(st.just("member"), USERS, ROOMS),
        st.tuples(st.just("block"), USERS, USERS),
        st.tuples(st.just("stall"), NUMBERS, st.none()),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 1.0, 1.1, 4.0, 30.0]), st.none()),
    ),
    min_size=5,
    max_size=60,
)


def do(world, step, who, what):
    """One step, to the world and to its model."""
    world.forget_wishes()
    open_ones = [client for client in world.clients if client.is_open]
    client = open_ones[who % len(open_ones)] if open_ones and isinstance(who, int) else None
    if step == "connect":
        new = world.connect(who, is_v1=what)
        if what:
            for room, members in world.rooms.items():
                if who in members:
                    new.join(room)
        else:
            new.say("request_initial_data")
        if who in world.said_something and world.wishes.get(who, ("",))[0] != "invisible":
            say_status(world, new, "busy")  # whether an old word still counts depends on who looked meanwhile
    elif step == "crash":
        world.crashes_left = what
        world.look(who)
    elif step == "block":
        if who != what:
            world.block(who, what, is_blocked=(who, what) not in world.blocks)
    elif step == "member":
        world.change_member(what, who, is_active=who not in world.rooms[what])
    elif client is not None:
        do_with(world, client, step, what)
    world.forget_wishes()


def do_with(world, client, step, what):
    if step == "drop":
        client.end(is_noticed=what)
    elif step == "join" and client.is_v1 and client.user_id in world.rooms[what]:
        client.join(what)
    elif step == "watch" and client.is_v1:
        client.watch(what)
    elif step == "status":
        say_status(world, client, what)
    elif step == "idle" and client.is_v1:
        client.say("presence", idle=what)
        client.says_idle, client.input_at = what, client.input_at if what else trio.current_time()
    elif step == "input" and not client.is_v1:
        client.say("mark_read", is_input=True)
    elif step == "stall":
        client.is_reading = False
        client.connection.write(FILLER)


def say_status(world, client, status):
    world.wishes[client.user_id] = status, "note" if status != "invisible" else ""
    world.said_something.add(client.user_id)
    if client.is_v1:
        client.say("presence", is_input=True, status=status, note="note")
    else:
        client.say("presence_update", is_input=True, status=status, activity="note")


async def play(steps, clock):
    rooms = {7: {1, 2, 3}, 8: {3, 4, 5}}
    async with open_world(clock, rooms) as world:
        for step, who, what in steps:
            if step == "wait":
                await world.pass_time(who)
                for client in world.clients:  # 10 s without reading would end it
                    client.is_reading = client.is_reading or who > 1
            else:
                do(world, step, who, what)
                await trio.lowlevel.checkpoint()
        await world.become_quiet()
        note(str([(one.user_id, one.is_v1, one.is_open) for one in world.clients]))
        world.check()


@settings(max_examples=150, deadline=None)
@given(steps=STEPS)
def test_after_quiet_every_watcher_believes_what_is_true(steps):
    clock = MockClock(autojump_threshold=0)
    trio.run(play, steps, clock, clock=clock)


async def go_and_are_told_late(clock):
    async with open_world(clock, {7: {1, 2, 3}}) as world:
        watcher, page, goes = (world.connect(user, is_v1=user != 3) for user in (1, 3, 2))
        watcher.join(7)
        watcher.watch([2])
        await world.pass_time(3)
        for client in (watcher, page):
            client.is_reading = False
            client.connection.write(FILLER)
        goes.end()
        await world.pass_time(5)  # everybody else was told, and what is kept for that is forgotten
        assert world.presence.status_of(2)[0] == "offline"
        before = len(watcher.events), len(page.events)
        for client in (watcher, page):
            client.is_reading = True
        await world.pass_time(3)
        went_ms = world.kept.seen[2][1]
        leaves = [
            one
            for event in watcher.events[before[0] :]
            if event["type"] == "presence_diff"
            for one in event["data"]["leaves"]
        ]
        assert leaves == [{"user": 2, "name": "user-2", "status": "offline", "lastSeen": went_ms}] * 2
        (update,) = [event for event in page.events[before[1] :] if event["type"] == "presence_update"]
        assert (update["username"], update["lastSeen"]) == ("user-2", iso(went_ms))
        assert not world.presence._names.keys() & {2}
        assert not world.presence._left_ms


def test_who_reads_nothing_for_a_while_is_told_later_who_went_with_their_name_and_since_when():
    clock = MockClock(autojump_threshold=0)
    trio.run(go_and_are_told_late, clock, clock=clock)
