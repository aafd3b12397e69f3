"""Presence follows membership: who comes into a room is made known there, and who goes is shown there no more."""

from datetime import UTC, datetime

import pytest
import trio
from wire import V1, Socket, frame, open_sockets, wait_until

from greenroom.actors.room.state import PRESENCE_MEMBERS_MAX


async def page_of(nursery, house, user):
    page = await Socket.open(nursery, house, user, protocol=None)
    await page.expect("connected")
    await wait_until(lambda: not house.house.engine.connections_of(user)[-1].session.is_present and "its rooms")
    return page


async def v1_of(nursery, house, user, *rooms):
    sock = await Socket.open(nursery, house, user, protocol=V1)
    await sock.start(*rooms)
    return sock


def told_of(page, user):
    return [
        (event["type"], event.get("status"))
        for event in page.events
        if event.get("userId") == user and event["type"] in ("presence_update", "user_online", "user_offline")
    ]


def in_room(sock, room):
    """Who is online there, as a v1 client folds it."""
    people = set()
    for event in sock.events:
        if room in event.get("rooms", [event.get("room")]):
            data = event.get("data", {})
            if event["type"] == "presence_state":
                people = {one["user"] for one in data["users"]}
            elif event["type"] == "presence_diff":
                people |= {one["user"] for one in data["joins"]}
                people -= {one["user"] for one in data["leaves"]}
            elif event["type"] == "member" and data["change"] == "left":
                people.discard(data["user"])
    return people


async def sees(sock, room, *users):
    await wait_until(lambda: in_room(sock, room) != set(users) and f"{users}, not {in_room(sock, room)}", 5)


async def test_a_page_hears_online_and_offline_when_somebody_comes_or_goes_and_else_only_the_update(live_house):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        watcher = await page_of(nursery, live_house, 1)
        guest = await page_of(nursery, live_house, 2)
        await watcher.expect("user_online", userId=2)
        for status in ("busy", "dnd"):
            await guest.send({"type": "presence_update", "status": status, "activity": "writing"})
            await watcher.expect("presence_update", userId=2, status=status, activity="writing")
        guest.cut()
        await watcher.expect("user_offline", userId=2)
        assert told_of(watcher, 2) == [
            ("presence_update", "online"),
            ("user_online", None),
            ("presence_update", "busy"),
            ("presence_update", "dnd"),
            ("presence_update", "offline"),
            ("user_offline", None),
        ]


async def test_who_is_brought_in_and_who_was_there_see_each_other_without_asking(live_house):
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        v1, page = await v1_of(nursery, live_house, 2, room), await page_of(nursery, live_house, 3)
        new = await page_of(nursery, live_house, 4)
        await trio.sleep(1.2)
        assert not told_of(page, 4)
        assert (await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": [4]})).status == 200
        await sees(v1, room, 2, 3, 4)
        await page.expect("user_online", userId=4)
        for user in (2, 3):
            await new.expect("user_online", userId=user)


async def test_a_conversation_that_is_made_shows_its_members_to_each_other(live_house):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        pages = [await page_of(nursery, live_house, user) for user in (1, 2)]
        await trio.sleep(1.2)
        await live_house.conversation(1, 2)
        await pages[0].expect("user_online", userId=2)
        await pages[1].expect("user_online", userId=1)


async def test_who_goes_is_offline_to_those_with_whom_they_share_nothing_else_and_they_to_them(live_house):
    await live_house.people(1, 2, 3)
    room, _ = await live_house.conversation(1, 2, 3), await live_house.conversation(2, 3)
    async with open_sockets() as nursery:
        v1 = await v1_of(nursery, live_house, 1, room)
        one, two, three = [await page_of(nursery, live_house, user) for user in (1, 2, 3)]
        await sees(v1, room, 1, 2, 3)
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        await one.expect("user_offline", userId=2)
        await two.expect("user_offline", userId=1)
        await sees(v1, room, 1, 3)
        await trio.sleep(1.2)
        assert ("user_offline", None) not in told_of(three, 2) + told_of(two, 3) + told_of(one, 3)
        await two.send({"type": "presence_update", "status": "dnd"})
        await three.expect("presence_update", userId=2, status="dnd")
        assert told_of(one, 2)[-1] == ("user_offline", None)


async def test_a_room_that_grows_beyond_200_takes_back_what_it_told_and_answers_who_asks(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        v1, page = await v1_of(nursery, live_house, 2, room), await page_of(nursery, live_house, 3)
        await page.expect("user_online", userId=2)
        await sees(v1, room, 2, 3)
        crowd = list(range(1000, 1000 + PRESENCE_MEMBERS_MAX))
        await live_house.people(*crowd)
        grown = await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": crowd})
        assert grown.status == 200
        await sees(v1, room)
        await page.expect("user_offline", userId=2)
        before = len(v1.events)
        other = await v1_of(nursery, live_house, 1, room)
        await trio.sleep(1.3)
        assert not [event for event in v1.events[before:] if event["type"].startswith("presence")]
        online = (await v1.ask("presence", room))["data"]["users"]
        assert {one["user"] for one in online} == {1, 2}
        assert (await other.ask("watch", users=[2, 3]))["data"]["watching"] == [2, 3], "a watch knows no size"


async def test_a_page_is_told_who_is_there_and_who_went_meanwhile_by_the_frames_that_it_reads(live_house):
    """Of initial_data the existing client reads the notifications alone, and only `offline` empties its list."""
    await live_house.people(1, 2, 3, 4, 5)
    await live_house.conversation(1, 2, 3, 4)
    async with open_sockets() as nursery:
        _, goes = [await page_of(nursery, live_house, user) for user in (2, 3)]
        await page_of(nursery, live_house, 5)
        first = await page_of(nursery, live_house, 1)
        await first.send({"type": "request_initial_data", "data": {}})
        await first.expect("initial_data")
        for user in (2, 3):
            await first.expect("presence_update", userId=user, status="online")
            await first.expect("user_online", userId=user)
        first.cut()
        goes.cut()
        await wait_until(lambda: 3 in live_house.house.presence._names and "that it is told that they went")
        went_before = datetime.now(UTC).isoformat()
        await trio.sleep(0.05)
        again = await page_of(nursery, live_house, 1)
        await again.send({"type": "request_initial_data", "data": {}})
        await again.expect("presence_update", userId=2, status="online")
        gone = await again.expect("presence_update", userId=3, status="offline", username="user-3")
        assert gone["lastSeen"].replace("Z", "+00:00") < went_before
        await again.expect("user_offline", userId=3, username="user-3")
        await again.settle()
        told = {one["userId"] for one in again.of("presence_update")}
        assert told <= {1, 2, 3}, "nobody who was never here, or shares no conversation"


async def part(house, room, how):
    """1 and 2 share this room, and may see each other no more."""
    if how == "who is shown is removed":
        answer = await house.delete(f"/api/conversations/{room}/participants/2", 3)
    elif how == "who looks is removed":
        answer = await house.delete(f"/api/conversations/{room}/participants/1", 3)
    elif how == "a block":
        answer = await house.post("/api/users/1/block", 2, {})
    else:
        crowd = list(range(1000, 1000 + PRESENCE_MEMBERS_MAX))
        await house.people(*crowd)
        answer = await house.post(f"/api/conversations/{room}/participants", 3, {"userIds": crowd})
    assert answer.status == 200


@pytest.mark.parametrize("line", ["ended", "is dead, unnoticed"])
@pytest.mark.parametrize("how", ["who is shown is removed", "who looks is removed", "a block", "the room grows"])
async def test_a_page_that_comes_again_shows_nobody_whom_it_may_see_no_more(live_house, how, line):
    """It takes nobody from its list by itself."""
    await live_house.people(1, 2, 3, 4)
    room, _ = await live_house.conversation(3, 1, 2), await live_house.conversation(4, 1)
    async with open_sockets() as nursery:
        first = await page_of(nursery, live_house, 1)
        for user in (2, 4):
            await page_of(nursery, live_house, user)
            await first.expect("user_online", userId=user)
        if line == "ended":
            await first.close()
            await wait_until(lambda: live_house.house.engine.connections_of(1) and "its end")
        else:
            first.stop_reading()
        await part(live_house, room, how)
        again = await page_of(nursery, live_house, 1)
        await again.send({"type": "request_initial_data", "data": {}})
        await again.expect("user_offline", userId=2)
        await again.expect("user_online", userId=4)
        await again.settle()
        assert told_of(again, 2) == [("presence_update", "offline"), ("user_offline", None)]
        assert not told_of(again, 3)
        assert ("user_offline", None) not in told_of(again, 1) + told_of(again, 4)


async def test_who_may_see_somebody_no_more_is_told_the_same_whether_they_are_here_or_hide_or_are_away(live_house):
    """The frames say that they went: a name that is known of who is here alone would tell it."""
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    presence = live_house.house.presence
    told = {}

    async def come_again(nursery, how):
        page = await page_of(nursery, live_house, 1)
        await page.send({"type": "request_initial_data", "data": {}})
        await page.expect("user_offline", userId=2)
        await page.settle()
        told[how] = [but_for_moments(event) for event in page.events if event.get("userId") == 2]
        await page.close()

    async with open_sockets() as nursery:
        first, other = [await page_of(nursery, live_house, user) for user in (1, 2)]
        await first.expect("user_online", userId=2)
        await first.close()
        await wait_until(lambda: live_house.house.engine.connections_of(1) and "its end")
        assert (await live_house.post("/api/users/1/block", 2, {})).status == 200
        await come_again(nursery, "here")
        await other.send({"type": "presence_update", "status": "invisible"})
        await wait_until(lambda: presence.is_online(2) and "that they hide")
        await come_again(nursery, "invisible")
        other.cut()
        await wait_until(lambda: 2 in presence._names and "that they are gone")
        await come_again(nursery, "away")
    assert told["here"] == told["invisible"] == told["away"]
    assert [event["type"] for event in told["here"]] == ["presence_update", "user_offline"]


def but_for_moments(event):
    """All that a frame says but when, and its id."""
    if not isinstance(event, dict):
        return event
    return {key: but_for_moments(event[key]) for key in event if key not in ("id", "timestamp", "lastSeen")}


async def test_initial_data_that_is_asked_for_at_once_holds_who_is_there(live_house):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        await page_of(nursery, live_house, 2)
        early = frame('{"type":"request_initial_data","data":{}}')
        page = await Socket.open(nursery, live_house, 1, protocol=None, early=early)
        initial = await page.expect("initial_data")
        assert 2 in [one["userId"] for one in initial["data"]["presence"]["users"]]
        await trio.sleep(0.3)
        assert len(page.of("initial_data")) == 1
