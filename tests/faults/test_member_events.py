"""Who comes and goes has a place in the log: told in the order of seq, without a hole, on every path, resumes too."""

import pytest
import trio
from streams import Stream, polled
from wire import Socket, open_sockets, wait_until

LOG = ("message", "member", "skip")


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    await sock.start(*rooms, **data)
    return sock


def log_of(sock, room):
    """What was told of the log of a room: (seq, what); of who came or went "user change role"."""
    return lines_of(sock.events, room)


def lines_of(events, room):
    return [
        (event["seq"], line_of(event))
        for event in events
        if event["type"] in LOG and event.get("room") == room and "seq" in event
    ]


def line_of(event):
    data = event.get("data", {})
    if event["type"] == "member":
        assert event["ts"] > 0
        return f"{data['user']} {data['change']} {data['role']}"
    return data.get("body", "skip")


async def add(house, room, by, *users):
    answer = await house.post(f"/api/conversations/{room}/participants", by, {"userIds": list(users)})
    assert answer.status == 200, answer
    return answer.data["added"]


async def remove(house, room, by, user):
    answer = await house.delete(f"/api/conversations/{room}/participants/{user}", by)
    assert answer.status == 200, answer


async def say(sock, room, body):
    reply = await sock.ask("send", room, body=body)
    assert reply["type"] == "ack", reply
    return reply["data"]["seq"]


def forget(house, room):
    """All that the process remembers of the log: it is read from storage again."""
    system = house.house.system
    system.kill(system.ref("room", room))
    if room in house.house.hub.channels:
        house.house.hub.channels[room].recent.clear()


async def some_come_and_go(house, nursery):
    """(The room, who spoke in it, what stands in its log); 1 is its admin, 2 stays, 3 and 4 come and go."""
    await house.people(1, 2, 3, 4)
    room = await house.conversation(1, 2, open=True)
    one = await ready(nursery, house, 1, room)
    assert await say(one, room, "first") == 1
    assert await add(house, room, 1, 3, 2) == [3]
    assert await add(house, room, 1, 3) == [], "who is in takes no place"
    assert (await house.post(f"/api/conversations/{room}/join", 4)).status == 200
    assert (await house.post(f"/api/conversations/{room}/join", 4)).status == 200
    assert await say(one, room, "second") == 4
    await remove(house, room, 1, 3)
    assert (await house.delete(f"/api/conversations/{room}/participants/3", 1)).status == 404
    await remove(house, room, 4, 4)
    assert await say(one, room, "third") == 7
    whole = [(1, "first"), (2, "3 joined member"), (3, "4 joined member"), (4, "second")]
    return room, one, [*whole, (5, "3 left member"), (6, "4 left member"), (7, "third")]


@pytest.mark.parametrize("sockets_min", [200, 0])  # told one by one, and by the walk of a large room
async def test_they_are_told_in_their_place_to_who_is_there(live_house, monkeypatch, sockets_min):
    monkeypatch.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", sockets_min)
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        await say(one, room, "first")
        await add(live_house, room, 1, 3)
        await remove(live_house, room, 3, 3)
        await say(one, room, "second")
        whole = [(1, "first"), (2, "3 joined member"), (3, "3 left member"), (4, "second")]
        for sock in (one, two):
            await sock.expect("message", body="second")
            assert log_of(sock, room) == whole


@pytest.mark.parametrize("is_forgotten", [False, True])
@pytest.mark.parametrize("road", ["socket", "stream", "poll"])
async def test_who_resumes_is_told_of_who_came_and_went_meanwhile(live_house, road, is_forgotten):
    async with open_sockets() as nursery:
        room, _, whole = await some_come_and_go(live_house, nursery)
        for after in (0, 1, 4, 5):
            if is_forgotten:
                forget(live_house, room)
            cursor = f"1~{room}.{after}.1"
            if road == "socket":
                events = (await ready(nursery, live_house, 2, resume={"cursor": cursor})).events
            elif road == "poll":
                events, cursor = await polled(live_house, 2, cursor)
                assert f"~{room}.7.1" in cursor
            else:
                stream = await Stream.open(nursery, live_house, 2, cursor)
                await stream.expect("live")
                events = stream.events
                assert f"~{room}.7.1" in stream.cursor
            assert lines_of(events, room) == whole[after:]


async def test_a_page_after_a_place_names_them_and_other_pages_are_messages(live_house):
    async with open_sockets() as nursery:
        room, one, _ = await some_come_and_go(live_house, nursery)
        page = (await one.ask("history", room, after=1))["data"]
        assert [item["seq"] for item in page["messages"]] == [4, 7]
        assert [(item["seq"], item["change"], item["user"], item["role"]) for item in page["changes"]] == [
            (2, "joined", 3, "member"), (3, "joined", 4, "member"), (5, "left", 3, "member"), (6, "left", 4, "member"),
        ]  # fmt: skip
        assert page["top"] == 7
        cut = (await one.ask("history", room, after=1, limit=2))["data"]
        assert (cut["messages"], [item["seq"] for item in cut["changes"]]) == ([], [2, 3])
        before = (await one.ask("history", room, before=8))["data"]
        assert ([item["seq"] for item in before["messages"]], "changes" in before) == ([1, 4, 7], False)
        rest = await live_house.get(f"/api/conversations/{room}/messages", 2, after_seq=0, limit=200)
        assert [message["seq"] for message in rest.data["messages"]] == [1, 4, 7]


async def test_they_count_for_nothing_that_is_unread_and_are_nobodys_newest_message(live_house):
    async with open_sockets() as nursery:
        room, _, _ = await some_come_and_go(live_house, nursery)
        await live_house.people(5)
        listed = (await live_house.get("/api/conversations", 2)).data["conversations"]
        updated = listed[0]["updated_at"]
        await add(live_house, room, 1, 5)
        listed = (await live_house.get("/api/conversations", 2)).data["conversations"]
        assert (listed[0]["last_message"], listed[0]["updated_at"]) == ("third", updated)
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
            for after, unread in ((1, 2), (3, 2), (4, 1), (6, 1), (7, 0), (8, 0)):
                reader = await ready(nursery, live_house, 2)
                view = await reader.ask("join", room)
                if view["data"]["read"] <= after:
                    assert (await reader.ask("read", room, seq=after))["data"]["seq"] == after
                    view = await reader.ask("join", room)
                    assert view["data"]["unread"] == unread, f"after {after}"
                reader.cut()
        assert (await live_house.get("/api/conversations", 2)).data["conversations"][0]["unread_count"] == 0
        summary = await ready(nursery, live_house, 2)
        await summary.ask("join", room, mode="summary")
        told = await summary.expect("room_summary")
        assert (told["data"]["top"], told["data"]["unread"], told["data"]["last"]["body"]) == (8, 0, "third")
        await remove(live_house, room, 1, 5)
        told = await summary.expect("room_summary", top=9)
        assert (told["data"]["top"], told["data"]["unread"], told["data"]["last"]["body"]) == (9, 0, "third")


async def test_who_is_removed_hears_that_and_no_later_place_and_who_is_back_has_no_hole(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        elsewhere = await ready(nursery, live_house, 2)
        await say(one, room, "first")
        await two.expect("message")
        await remove(live_house, room, 1, 2)
        await say(one, room, "while away")
        for sock, heard in ((two, [(1, "first"), (2, "2 left member")]), (elsewhere, [(2, "2 left member")])):
            await sock.settle()
            assert log_of(sock, room) == heard
        await add(live_house, room, 1, 2)
        await two.expect("member", change="joined")
        assert log_of(two, room)[-1] == (4, "2 joined member")
        await say(one, room, "back")
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
            again = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 1}}})
            # That they had left is over: of themselves that is the last of a room, wherever they are told it.
            assert log_of(again, room) == [(2, "skip"), (3, "while away"), (4, "2 joined member"), (5, "back")]
        page = (await again.ask("history", room, after=1))["data"]
        assert (page["skip"], [item["seq"] for item in page["changes"]]) == ([2], [4])
        late = await ready(nursery, live_house, 1, resume={"rooms": {str(room): {"seq": 1}}})
        assert log_of(late, room)[0] == (2, "2 left member")


async def test_who_has_blocked_them_is_told_all_the_same(live_house):
    """`members` names them too: a block hides what somebody says, and how they are."""
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2, room)
        assert (await two.ask("block", user=3))["type"] == "ack"
        await add(live_house, room, 1, 3)
        three = await ready(nursery, live_house, 3, room)
        await say(three, room, "unheard")
        await remove(live_house, room, 1, 3)
        whole = [(1, "3 joined member"), (2, "skip"), (3, "3 left member")]
        await two.expect("member", change="left")
        assert log_of(two, room) == whole
        for is_forgotten in (False, True):
            if is_forgotten:
                forget(live_house, room)
            again = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 0}}})
            assert log_of(again, room) == whole
        assert log_of(one, room) == [(1, "3 joined member"), (2, "unheard"), (3, "3 left member")]


async def test_the_heir_of_the_last_admin_is_told_in_the_log_before_they_leave(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        socks = [await ready(nursery, live_house, user, room) for user in (1, 2, 3)]
        await remove(live_house, room, 1, 1)
        whole = [(1, "2 joined admin"), (2, "1 left admin")]
        for sock in socks:
            await sock.expect("member", change="left")
            assert log_of(sock, room) == whole
        await say(socks[1], room, "mine now")
        forget(live_house, room)
        again = await ready(nursery, live_house, 2, resume={"rooms": {str(room): {"seq": 0}}})
        assert log_of(again, room) == [*whole, (3, "mine now")]


async def test_pages_of_the_existing_client_hear_what_they_heard(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        page = await Socket.open(nursery, live_house, 2, protocol=None)
        await page.expect("connected")
        await page.settle()
        at = len(page.events)
        await add(live_house, room, 1, 3)
        await remove(live_house, room, 1, 3)
        await say(one, room, "hello")
        said = await page.expect("new_message")
        assert said["seq"] == 3
        kinds = {event["type"] for event in page.events[at:]}
        assert kinds <= {"new_message", "presence_update", "user_online", "user_offline", "ping"}, kinds


async def test_many_who_come_at_once_each_have_a_place_and_begin_behind_all_of_them(live_house):
    crowd = list(range(10, 60))
    await live_house.people(1, *crowd)
    room = await live_house.conversation(1, crowd[0])
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        async with trio.open_nursery() as both:
            both.start_soon(add, live_house, room, 1, *crowd[1:30])
            both.start_soon(add, live_house, room, 1, *crowd[20:])
        await wait_until(lambda: len(one.of("member")) < 49 and "49 who came")
        told = log_of(one, room)
        assert [seq for seq, _ in told] == list(range(1, 50))
        assert sorted(line for _, line in told) == sorted(f"{user} joined member" for user in crowd[1:])
        for user in (crowd[1], crowd[-1]):
            sock = await ready(nursery, live_house, user, room)
            (item,) = sock.of("ready")[0]["data"]["rooms"]
            assert (item["top"], item["unread"], item["members"]) == (49, 0, 51)
            assert log_of(sock, room) == []


async def test_a_thousand_who_are_brought_in_are_told_to_a_large_room_from_memory(live_house, monkeypatch):
    """Nobody who hears it reads them from storage: not one who is told by a walk that is slower than storage."""
    monkeypatch.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", 0)
    monkeypatch.setattr("greenroom.http.ws.walk.WALK_SOCKETS_AT_ONCE", 1)
    monkeypatch.setattr("greenroom.http.ws.walk.WALK_SLICE_SECONDS_MAX", -1.0)
    hub, behind = live_house.house.hub, []
    monkeypatch.setattr(hub, "on_fallen_behind", lambda channel, attachment: behind.append(attachment.user_id))
    crowd = list(range(1000, 2000))
    await live_house.people(1, 2, 3, 4)
    await live_house.crowd(crowd)
    room = await live_house.conversation(1, 2, 3, 4)
    async with open_sockets() as nursery:
        socks = [await ready(nursery, live_house, user, room) for user in (1, 2, 3, 4)]
        assert await add(live_house, room, 1, *crowd) == crowd
        whole = [(seq, f"{user} joined member") for seq, user in enumerate(crowd, 1)]
        for sock in socks:
            await wait_until(lambda sock=sock: not behind and len(sock.of("member")) < 1000 and "a thousand")
            assert log_of(sock, room) == whole
        assert behind == []
        assert await add(live_house, room, 1, *crowd) == []


@pytest.mark.parametrize("road", ["socket", "stream", "poll"])
async def test_who_has_lost_a_room_while_away_is_told_that_and_nothing_else_of_it(live_house, road):
    await live_house.people(1, 2, 3)
    room, other = await live_house.conversation(1, 2), await live_house.conversation(1, 3)
    async with open_sockets() as nursery:
        one = await ready(nursery, live_house, 1, room)
        assert await say(one, room, "heard") == 1
        await say(one, room, "said while they were in")
        await remove(live_house, room, 1, 2)
        await say(one, room, "not for them")
        cursor = f"1~{room}.1.1~{other}.0.1"  # in the other one they never were
        if road == "socket":
            events = (await ready(nursery, live_house, 2, resume={"cursor": cursor})).events
        elif road == "poll":
            events, after = await polled(live_house, 2, cursor)
            assert str(room) not in after
            assert lines_of((await polled(live_house, 2, after, wait=0))[0], room) == []
        else:
            stream = await Stream.open(nursery, live_house, 2, cursor)
            await stream.expect("live")
            events = stream.events
        told = [event for event in events if room in (event.get("room"), event.get("r")) and "useq" not in event]
        assert lines_of(told, room) == [(3, "2 left member")]
        assert [event["type"] for event in told] == ["member"]
        assert not [event for event in events if event.get("room") == other]
        (start,) = (event["data"] for event in events if event["type"] == "ready")
        assert [item["error"] for item in start["refused"]] == ["NOT_MEMBER", "NOT_MEMBER"]
        await add(live_house, room, 1, 2)
        back = await ready(nursery, live_house, 2, resume={"cursor": cursor})
        assert [line for _, line in log_of(back, room)] == [
            *["said while they were in", "skip", "not for them", "2 joined member"],
        ]


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 3}])
async def test_to_come_and_go_without_end_is_held_to_the_limit_of_messages(live_house):
    """Each coming and each going has a place in everybody's log, and who goes has come."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, open=True)
    path = f"/api/conversations/{room}"
    statuses = []
    for number in range(4):
        statuses.append((await live_house.post(f"{path}/join", 2)).status)
        if statuses[-1] == 200:
            if not number:
                assert (await live_house.post(f"{path}/join", 2)).status == 200, "who is in is charged nothing"
            if number < 2:
                await remove(live_house, room, 2, 2)
    assert statuses == [200, 200, 200, 200], "the last time they were in it"
    await remove(live_house, room, 2, 2)
    assert (await live_house.post(f"{path}/join", 2)).status == 429
    for number in range(2):  # to make the room was the first of three
        assert (await live_house.post(f"{path}/participants", 1, {"userIds": [2]})).status == 200
        if number < 1:
            assert (await live_house.post(f"{path}/participants", 1, {"userIds": [2]})).status == 200, "they are in"
        await remove(live_house, room, 1, 2)
    assert (await live_house.post(f"{path}/participants", 1, {"userIds": [2]})).status == 429
