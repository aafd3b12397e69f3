"""What became of resumes, by transport, and how soon after its commit a message was given to the sockets."""

import pytest
from streams import Stream, poll
from wire import Socket, open_in, open_sockets

from greenroom.http.ws import hub as hubs
from greenroom.http.ws import v1_commands


def counted(house):
    return {via: dict(outcomes) for via, outcomes in house.house.hub.delivery.statistics().resumes.items()}


@pytest.mark.parametrize("sockets_min", [200, 1], ids=["told at once", "by a walk"])
async def test_each_message_and_each_change_is_taken_once_and_nothing_else(live_house, monkeypatch, sockets_min):
    monkeypatch.setattr(hubs, "WALK_SOCKETS_MIN", sockets_min)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    delivery = live_house.house.hub.delivery
    async with open_sockets() as nursery:
        one, two = [await open_in(nursery, live_house, user, room) for user in (1, 2)]
        message = (await one.ask("send", room, body="x"))["data"]["messageId"]
        await two.expect("message")
        await one.ask("edit", room, message=message, body="y")
        await two.expect("message_edited")
        await two.ask("read", room, seq=2)
        await one.expect("receipts")
    found = delivery.statistics()
    assert found.told == 2
    assert 0 < found.lag_seconds_max < 5
    assert delivery.committed_at() is None, "nothing is told now"


async def test_a_start_counts_each_room_of_a_resume_and_the_stream_of_the_user(live_house):
    await live_house.people(1, 2)
    mine, theirs = await live_house.conversation(1, 2), await live_house.conversation(2)
    async with open_sockets() as nursery:
        await open_in(nursery, live_house, 1, mine)
        assert counted(live_house) == {}, "what is joined afresh is no resume"
        again = await Socket.open(nursery, live_house, 1)
        await again.start(resume={"rooms": {str(mine): 0, str(theirs): 0}, "user": {"useq": 0, "epoch": 99}})
        assert counted(live_house) == {"websocket": {"refused": 1, "replayed": 1, "reset": 1}}


async def test_what_is_asked_for_again_is_counted_by_what_came_of_it(live_house, monkeypatch):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await open_in(nursery, live_house, 1, room)
        for number in range(3):
            await one.ask("send", room, body=str(number))
        await one.ask("join", room, after=1)
        assert counted(live_house) == {"websocket": {"replayed": 1}}
        await one.ask("join", room, after=1, epoch=77)
        monkeypatch.setattr(v1_commands, "REPLAY_MESSAGES_MAX", 2)
        await one.ask("sync", rooms={str(room): 0}, user=0)
        stranger = await Socket.open(nursery, live_house, 3)
        await stranger.start()
        await stranger.ask("join", room, after=1)
        await stranger.ask("join", room)
        assert counted(live_house) == {"websocket": {"gap": 1, "refused": 1, "replayed": 2, "reset": 1}}


async def test_streams_and_polls_are_counted_by_themselves(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        stream = await Stream.open(nursery, live_house, 1)
        await stream.expect("live")
        assert counted(live_house) == {}
        await poll(live_house, 1, f"1~{room}.0.1", wait=0)
        again = await Stream.open(nursery, live_house, 1, f"1~{room}.0.99")
        await again.expect("live")
        assert counted(live_house) == {"poll": {"replayed": 1}, "events": {"reset": 1}}
