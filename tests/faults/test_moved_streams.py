"""Streams and polls, moved and let in as sockets are: their slots in a drain, and the line at the door."""

from functools import partial

import pytest
import trio
from streams import Stream, messages, polled
from wire import Refused, Socket, open_sockets, wait_until

from greenroom.http.door import WAIT_SECONDS_MAX, Bucket, Door
from greenroom.http.ws.drain import DrainState

SLOW_DOOR = [{"ws_connects_per_second": 2}]


async def a_room(house, *users):
    """Whose streams have told already that they came into it: a poll that hears that is answered."""
    await house.people(*users)
    room = await house.conversation(*users)
    async with open_sockets() as nursery:
        for user in users:
            await (await Stream.open(nursery, house, user)).expect("membership")
    await wait_until(lambda: house.house.engine.total and "the streams")
    return room


async def say(house, user, room, text):
    assert (await house.post(f"/api/conversations/{room}/messages", user, {"content": text})).status == 201


async def test_a_drain_ends_streams_and_polls_in_their_slots_and_tells_them_nothing_before(live_house):
    house, drain = live_house, live_house.house.engine.drain
    room = await a_room(house, 1, 2, 3)
    async with open_sockets() as nursery:
        ended, began = {}, trio.current_time()
        streams = [await Stream.open(nursery, house, user) for user in (1, 2)]
        for stream in streams:
            await stream.expect("live")
        _, cursor = await polled(house, 3)
        presence = house.house.presence  # a poll is answered with who is here: they have been told of that by now
        await wait_until(lambda: (presence.changed.is_set() or presence._owed) and "that it has been told")
        answer = []

        async def note_end(stream):
            ended[stream] = await stream.wait_closed() and trio.current_time() - began

        async def ask():
            answer.append(await polled(house, 3, cursor, wait=25))
            ended["poll"] = trio.current_time() - began

        nursery.start_soon(ask)
        await wait_until(lambda: house.house.engine.total != 3 and "the poll")
        await trio.sleep(0.5)
        began = trio.current_time()
        drain.begin(3.0)
        for stream in streams:
            nursery.start_soon(note_end, stream)
        await wait_until(lambda: len(ended) < 3 and "the ends", 6)
        first, second = (ended[stream] for stream in streams)
        assert 0 <= first < second < ended["poll"]
        assert (second >= 1.0, ended["poll"] >= 2.0) == (True, True), ended
        assert [stream.close_code for stream in streams] == [4200, 4200]
        assert not [event for stream in streams for event in stream.events if event["type"] == "reconnect"]
        events, moved_to = answer[0]
        assert (events[-1]["type"], events[-1]["data"]["code"], moved_to) == ("close", 4200, cursor)
        assert "reconnect" not in [event["type"] for event in events]
        await wait_until(lambda: drain.state is DrainState.DRAINING and drain.statistics())
        await say(house, 1, room, "meanwhile")
        again = await Stream.open(nursery, house, 2, streams[1].cursor)
        await again.expect("message")
        assert messages(again.events) == [(room, 1)]
        assert messages((await polled(house, 3, moved_to))[0]) == [(room, 1)]
        assert again.close_code is None


async def test_a_socket_is_told_of_its_slot_beside_streams_that_are_not(live_house):
    house = live_house
    await a_room(house, 1, 2)
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1)
        await stream.expect("live")
        sock = await Socket.open(nursery, house, 2)
        await sock.start()
        house.house.engine.drain.begin(1.0)
        advice = await sock.expect("reconnect")
        assert 400 <= advice["data"]["after"] <= 500
        assert await stream.wait_closed(2) == 4200


async def test_a_stop_moves_streams_that_open_meanwhile_and_after_it(live_house):
    house = live_house
    await a_room(house, 1)
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, house, 1)
        await stream.expect("live")
        with trio.move_on_after(2):
            await house.house.engine.drain.stop()
        assert await stream.wait_closed(2) == 4200
        late = await Stream.open(nursery, house, 1)  # its request was here already, in truth
        assert await late.wait_closed(2) == 4200


@pytest.mark.parametrize("house_settings", SLOW_DOOR)
async def test_streams_wait_in_line_at_the_door_and_polls_do_not(live_house, monkeypatch):
    house, waited, enter = live_house, [], Door.enter

    async def noted(door, **who):
        waited.append(await enter(door, **who))
        return waited[-1]

    monkeypatch.setattr(Door, "enter", noted)
    await house.people(*range(1, 5))
    await house.conversation(*range(1, 5))
    async with open_sockets() as nursery:
        opened, began = [], trio.current_time()

        async def open_one(user):
            stream = await Stream.open(nursery, house, user)
            await stream.expect("live")
            opened.append(trio.current_time() - began)

        async with trio.open_nursery() as coming:
            for user in range(1, 5):
                coming.start_soon(open_one, user)
            await trio.sleep(0.1)
            for user in range(1, 5):
                await polled(house, user)
        assert (len(waited), waited[:2]) == (4, [False, False]), "no poll goes to the door"
        opened.sort()
        assert opened[2] >= 0.4
        assert opened[3] >= 0.9


@pytest.mark.parametrize("house_settings", SLOW_DOOR)
async def test_whose_session_ends_while_they_wait_at_the_door_is_let_in_nowhere(live_house, monkeypatch):
    house, in_line, signed_out = live_house, [], trio.Event()

    async def wait_here(door, is_gone):
        in_line.append(is_gone)
        await signed_out.wait()

    await house.people(1)
    await house.conversation(1)
    session_id, _ = await house.house.storage.sessions.create(1, seconds=3600)
    cookies = [("Cookie", f"pitchey-session={session_id}")]
    async with open_sockets() as nursery:
        held = [await Stream.open(nursery, house, headers=cookies) for _ in range(2)]
        refused = []
        monkeypatch.setattr(Bucket, "take", lambda bucket, now: WAIT_SECONDS_MAX)
        monkeypatch.setattr(Door, "_wait_here", wait_here)

        async def come(open_one):
            try:
                await open_one()
            except Refused as refusal:
                refused.append(refusal.status)

        async with trio.open_nursery() as coming:
            coming.start_soon(come, partial(Stream.open, nursery, house, headers=cookies))
            coming.start_soon(come, partial(Socket.open, nursery, house, protocol=None, headers=cookies))
            await wait_until(lambda: 2 - len(in_line))
            assert (
                await house.post("/api/auth/sign-out", None, {}, cookie=cookies[0][1], origin=house.url)
            ).status == 200
            signed_out.set()
        assert refused == [401, 401]
        for stream in held:
            assert await stream.wait_closed() == 4003
