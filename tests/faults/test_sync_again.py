"""A room that is asked for again while it is being replayed: nothing between the two places is left out.

Each list of `asked` is said in one frame, so that the second finds the first under way.
"""

from itertools import count

import pytest
import trio
from stalled import stalled_at
from wire import Socket, open_sockets, wait_until

TOP = 6
numbers = count()


def sync(room, seq):
    return {"type": "sync", "data": {"rooms": {str(room): seq}}}


def join(room, after=None):
    return {"type": "join", "room": room, "data": {} if after is None else {"after": after}}


async def filled(house, *, body="m", messages=TOP):
    """A room of 1 and 2 with messages of 2."""
    await house.people(1, 2)
    room = await house.conversation(1, 2)
    for number in range(messages):
        sent = {"conversationId": room, "content": f"{number} {body}", "clientId": f"c{number}"}
        assert (await house.post("/api/messages/send", 2, sent)).status == 200
    return room


async def said(sock, *commands):
    await sock.send([{"id": f"{command['type']}-{next(numbers)}", **command} for command in commands])


def told(sock, position):
    """Seqs of messages, `gap` and `live`, in order."""
    kinds = ("message", "live", "gap")
    return [event.get("seq") or event["type"] for event in sock.events[position:] if event["type"] in kinds]


ASKED = {
    "farther on": (lambda room: [sync(room, 0), sync(room, 3)], 0),
    "farther back": (lambda room: [sync(room, 3), sync(room, 0)], 0),
    "three times": (lambda room: [sync(room, 4), sync(room, 1), sync(room, 5)], 1),
    "a join farther on": (lambda room: [sync(room, 0), join(room, 4)], 0),
    "a join from now on": (lambda room: [sync(room, 2), join(room)], 2),
    "a sync during a join": (lambda room: [join(room, 1), sync(room, 5)], 1),
    "a place that is none": (lambda room: [sync(room, 2), sync(room, 99)], 2),
}


@pytest.mark.parametrize("is_remembered", [True, False], ids=["from memory", "from storage"])
@pytest.mark.parametrize("asked", ASKED)
async def test_a_replay_that_is_begun_again_begins_at_the_lesser_of_both_places(live_house, asked, is_remembered):
    commands, after = ASKED[asked]
    room = await filled(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        position = await sock.settle()
        if not is_remembered:
            live_house.house.hub.channels[room].recent.clear()
        await said(sock, *commands(room))
        await sock.expect("live", after=position)
        await trio.sleep(0.2)
        await sock.settle()
        found = [one for one in told(sock, position) if one != "gap"]
        if is_remembered:  # the first was told before the second was asked, in part or as a whole
            assert found[-1] == "live"
            assert set(found) == {*range(after + 1, TOP + 1), "live"}
        else:
            assert found == [*range(after + 1, TOP + 1), "live"]
        assert (await sock.ask("send", room, body="and on"))["data"]["seq"] == TOP + 1
        await sock.expect("message", seq=TOP + 1)


@pytest.mark.parametrize(("again_at", "is_told_once"), [(None, True), (70, True), (3, False)])
async def test_what_a_slow_reader_was_told_already_is_not_told_again_unless_it_is_asked_for(
    live_house, again_at, is_told_once
):
    room = await filled(live_house, body="x" * 9_990, messages=80)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1, receive_buffer=4096)
        await sock.start(room)
        position = await sock.settle()
        sock.stop_reading()
        await said(sock, sync(room, 0))
        engine = live_house.house.engine
        (connection,) = engine.connections_of(1)
        at = await stalled_at(live_house.house.hub.channels[room].attachments, connection)
        assert 10 < at < 60
        frames = engine.statistics().frames_in
        await said(sock, join(room) if again_at is None else sync(room, again_at))
        await wait_until(lambda: engine.statistics().frames_in == frames and "the second")
        await trio.sleep(0.1)
        sock.read_again()
        await sock.expect("live", after=position)
        await sock.settle()
        again = [] if is_told_once else range(again_at + 1, at + 1)
        assert told(sock, position) == [*range(1, at + 1), *again, *range(at + 1, 81), "live"]


async def test_live_names_the_rooms_of_a_start_that_are_told_and_not_the_one_that_was_begun_again(live_house):
    room, other = await filled(live_house), await filled(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await said(sock, {"type": "start", "data": {"resume": {"rooms": {str(room): 0, str(other): 0}}}})
        await sock.expect("ready")
        await said(sock, sync(other, 3))
        await sock.expect("live", rooms=[other])
        await trio.sleep(0.2)
        lives = [event["data"]["rooms"] for event in sock.of("live")]
        assert lives in ([[room], [other]], [[room, other], [other]])  # begun again, or told before it was asked
        for one in (room, other):
            seqs = [event["seq"] for event in sock.of("message") if event["room"] == one]
            assert seqs[:TOP] == list(range(1, TOP + 1))


@pytest.mark.parametrize("places", [(3, 0), (0, 3), (2, 0, 3), (0, 99)])
async def test_the_stream_of_the_user_that_is_asked_for_again_begins_at_the_lesser_place_too(live_house, places):
    room = await filled(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        for seq in range(1, TOP):
            await sock.ask("read", room, seq=seq)
            await sock.expect("read_sync", seq=seq)
        position = await sock.settle()
        await said(sock, *({"type": "sync", "data": {"user": place}} for place in places))
        await trio.sleep(0.3)
        await sock.ask("read", room, seq=TOP)
        await sock.expect("read_sync", seq=TOP)
        events = sock.events[position:]
        useqs = [event["useq"] for event in events if "useq" in event]  # the first is that they came into the room
        assert sorted(set(useqs)) == list(range(1, TOP + 2))
        assert useqs[-1] == TOP + 1
        assert ("gap" in [event["type"] for event in events]) is (99 in places)
