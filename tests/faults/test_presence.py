"""Presence when things break: nobody is shown offline, or online, for ever; and nobody is told too often."""

import itertools

import pytest
import trio
from wire import V1, Socket, open_sockets, wait_until

from greenroom.actors.presence.commands import SetStatus
from greenroom.http.ws.ends import Ends
from greenroom.http.ws.presence import SocketPresence
from greenroom.http.ws.presence_news import TOLD_SECONDS
from greenroom.runtime.address import Address

RESTART_SECONDS = 6.0  # with the back-off of several crashes in a row


@pytest.fixture
def crashes(live_house, monkeypatch):
    """Lets the actor crash the next so many times that it would show somebody; what it was told is lost with it."""
    left, presence = [0], live_house.house.presence
    show = presence.show

    def crash_or_show(*arguments):
        if left[0]:
            left[0] -= 1
            raise RuntimeError("a bug of the presence actor")
        show(*arguments)

    monkeypatch.setattr(presence, "show", crash_or_show)

    def crash(times):
        left[0] = times

    return crash


async def open_as(nursery, house, user, protocol, room):
    sock = await Socket.open(nursery, house, user, protocol=protocol)
    if protocol is None:
        await sock.expect("connected")
        await wait_until(
            lambda: not house.house.engine.connections_of(user)[-1].session.is_present and "the small rooms"
        )
    else:
        await sock.start(room)
    return sock


def shown(house, user):
    return house.house.presence.status_of(user)[0]


async def becomes(house, user, status, seconds=RESTART_SECONDS):
    await wait_until(lambda: shown(house, user) != status and f"{user} is {shown(house, user)}", seconds)


async def both_hear(watchers, user, status, after):
    """The v1 and the compat socket of others are told, and told right."""
    v1, compat = watchers

    def last():
        diffs = [
            item["status"]
            for event in v1.events[after[0] :]
            if event["type"] == "presence_diff"
            for item in (*event["data"]["joins"], *event["data"]["leaves"])
            if item["user"] == user
        ]
        updates = [
            event["status"]
            for event in compat.of("presence_update")
            if compat.position(event) >= after[1] and event["userId"] == user
        ]
        return diffs[-1:], updates[-1:]

    await wait_until(lambda: last() != ([status], [status]) and f"{status}, not {last()}", 5)


@pytest.fixture
async def watched(live_house):
    """A room of 1 to 3, where 2 (v1) and 3 (compat) watch 1."""
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        watchers = await open_as(nursery, live_house, 2, V1, room), await open_as(nursery, live_house, 3, None, room)
        await trio.sleep(1.2)  # their own coming is told
        yield nursery, room, watchers


CRASHES = pytest.mark.parametrize(("protocol", "times"), [(V1, 1), (None, 3)], ids=["v1-once", "compat-thrice"])


@CRASHES
async def test_who_comes_while_the_actor_crashes_is_shown_online(live_house, watched, crashes, protocol, times):
    nursery, room, watchers = watched
    crashes(times)
    after = [len(sock.events) for sock in watchers]
    await open_as(nursery, live_house, 1, protocol, room)
    await becomes(live_house, 1, "online")
    await both_hear(watchers, 1, "online", after)


@CRASHES
async def test_who_goes_while_the_actor_crashes_is_shown_offline(live_house, watched, crashes, protocol, times):
    nursery, room, watchers = watched
    sock = await open_as(nursery, live_house, 1, protocol, room)
    await becomes(live_house, 1, "online")
    await trio.sleep(1.2)
    crashes(times)
    after = [len(sock.events) for sock in watchers]
    sock.cut()
    await becomes(live_house, 1, "offline")
    await both_hear(watchers, 1, "offline", after)


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_an_actor_that_crashed_asks_the_sockets_and_keeps_what_was_said(live_house, watched, crashes, protocol):
    """One of two devices goes in the very crash. The word that was being told was acknowledged: it counts."""
    nursery, room, _ = watched
    first = await open_as(nursery, live_house, 1, protocol, room)
    await open_as(nursery, live_house, 1, protocol, room)
    live_house.house.sockets.tell_presence(1, SetStatus("busy", "writing"))
    await becomes(live_house, 1, "busy")
    crashes(1)
    live_house.house.sockets.tell_presence(1, SetStatus("away", "in a train"))
    first.cut()
    cell = live_house.house.system.activations[Address("presence", 1)]
    await wait_until(lambda: not cell.restarts and "the crash")
    await wait_until(lambda: live_house.house.engine.of_user(1) != 1 and "the end of the first socket")
    await trio.sleep(2)
    assert live_house.house.presence.status_of(1) == ("away", "in a train")
    live_house.house.sockets.tell_presence(1, SetStatus("dnd", ""))
    await becomes(live_house, 1, "dnd")


async def test_who_is_invisible_stays_so_whatever_their_other_devices_do(live_house, watched):
    nursery, room, watchers = watched
    page = await open_as(nursery, live_house, 1, None, room)
    await becomes(live_house, 1, "online")
    await trio.sleep(1.2)
    await page.send({"type": "presence_update", "data": {"status": "offline"}})
    await becomes(live_house, 1, "offline")
    await trio.sleep(1.5)  # longer than an idle actor stays in memory
    after = [len(sock.events) for sock in watchers]
    other = await open_as(nursery, live_house, 1, V1, room)
    await trio.sleep(1)
    other.cut()
    await trio.sleep(2)
    assert shown(live_house, 1) == "offline"
    for sock, position in zip(watchers, after, strict=True):
        told = [event for event in sock.events[position:] if "presence" in event["type"] or "user_o" in event["type"]]
        assert not told, told
    await page.send({"type": "presence_update", "data": {"status": "online"}})
    await becomes(live_house, 1, "online")


@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_who_becomes_invisible_in_another_process_is_shown_to_nobody_in_this_one(live_house, watched, protocol):
    """While they are here, and when they come; and who becomes visible again is seen."""
    nursery, room, watchers = watched
    postgres, presence = live_house.house.storage.postgres, live_house.house.presence
    sock = await open_as(nursery, live_house, 1, protocol, room)
    await becomes(live_house, 1, "online")
    for statement, status in (
        ("insert_invisible_user", "offline"), ("delete_invisible_user", "online"), ("insert_invisible_user", "offline"),
    ):  # fmt: skip
        await trio.sleep(1.2 * TOLD_SECONDS)
        after = [len(one.events) for one in watchers]
        await postgres.execute(statement, 1)
        await becomes(live_house, 1, status)
        await both_hear(watchers, 1, status, after)
    sock.cut()
    await wait_until(lambda: live_house.house.engine.of_user(1) and "the end of the socket")
    await wait_until(lambda: 1 in presence._names and "the name of who is shown to nobody")
    after = [len(one.events) for one in watchers]
    await open_as(nursery, live_house, 1, protocol, room)
    await trio.sleep(2 * TOLD_SECONDS)
    assert shown(live_house, 1) == "offline"
    for one, position in zip(watchers, after, strict=True):
        told = [event for event in one.events[position:] if "presence" in event["type"] or "user_o" in event["type"]]
        assert not told, told


async def test_who_is_invisible_is_found_out_when_they_come_where_nothing_is_heard(live_house, watched, monkeypatch):
    """As behind a transaction pooler."""
    nursery, room, _ = watched
    monkeypatch.setattr(Ends, "heard", lambda self, payload: None)
    await live_house.house.storage.postgres.execute("insert_invisible_user", 1)
    await open_as(nursery, live_house, 1, V1, room)
    await trio.sleep(2 * TOLD_SECONDS)
    assert shown(live_house, 1) == "offline"


async def test_who_listens_to_a_room_that_becomes_small_hears_who_is_there(live_house):
    await live_house.people(*range(1, 202))
    room = await live_house.conversation(*range(1, 202))
    async with open_sockets() as nursery:
        one, _ = [await open_as(nursery, live_house, user, V1, room) for user in (1, 2)]
        await trio.sleep(2 * TOLD_SECONDS)
        assert not one.of("presence_diff")
        gone = await live_house.delete(f"/api/conversations/{room}/participants/201", 1)
        assert gone.status == 200
        diff = await one.expect("presence_diff")
        assert {item["user"] for item in diff["data"]["joins"]} == {1, 2}


async def test_a_page_in_a_room_that_became_small_is_told_who_goes_there_whoever_else_listens(live_house):
    await live_house.people(*range(1, 202))
    room = await live_house.conversation(*range(1, 202))
    async with open_sockets() as nursery:
        v1 = await open_as(nursery, live_house, 2, V1, room)
        page, other = [await open_as(nursery, live_house, user, None, room) for user in (3, 4)]
        await trio.sleep(2 * TOLD_SECONDS)  # that they came is told
        assert (await live_house.delete(f"/api/conversations/{room}/participants/201", 1)).status == 200
        await page.expect("user_online", userId=4)
        assert (await v1.ask("leave", room))["type"] == "ack"
        other.cut()
        await page.expect("user_offline", userId=4)


async def test_pages_alone_in_a_room_that_became_small_are_told_who_is_there(live_house):
    await live_house.people(*range(1, 202))
    room = await live_house.conversation(*range(1, 202))
    async with open_sockets() as nursery:
        one, two = [await open_as(nursery, live_house, user, None, room) for user in (3, 4)]
        await trio.sleep(2 * TOLD_SECONDS)  # that they came is told
        assert (await live_house.delete(f"/api/conversations/{room}/participants/201", 1)).status == 200
        await one.expect("user_online", userId=4)
        await two.expect("user_online", userId=3)


async def test_a_room_that_became_small_because_its_last_admin_left_says_who_is_there(live_house):
    """Its heir is told of first, at the size that it has then."""
    await live_house.people(*range(1, 202))
    room = await live_house.conversation(*range(1, 202))
    async with open_sockets() as nursery:
        v1 = await open_as(nursery, live_house, 2, V1, room)
        page, _ = [await open_as(nursery, live_house, user, None, room) for user in (3, 4)]
        await trio.sleep(2 * TOLD_SECONDS)  # that they came is told
        assert (await live_house.delete(f"/api/conversations/{room}/participants/1", 1)).status == 200
        diff = await v1.expect("presence_diff")
        assert {item["user"] for item in diff["data"]["joins"]} == {2, 3, 4}
        await page.expect("user_online", userId=4)


async def test_who_goes_in_a_flood_that_fills_the_mailbox_is_shown_offline(live_house, watched):
    nursery, room, watchers = watched
    sock = await open_as(nursery, live_house, 1, V1, room)
    await becomes(live_house, 1, "online")
    await trio.sleep(1.2)
    after = [len(one.events) for one in watchers]
    (connection,) = live_house.house.engine.connections_of(1)
    live_house.house.sockets.tell_presence(1, SetStatus("away", "awake"))
    await becomes(live_house, 1, "away")
    for number in range(300):  # more than the 256 that may wait, before the actor has its turn
        live_house.house.sockets.tell_presence(1, SetStatus("busy", str(number)))
    connection.abort()
    assert live_house.house.system.statistics().kinds["presence"].depth >= 256
    await becomes(live_house, 1, "offline")
    await both_hear(watchers, 1, "offline", after)
    assert await sock.wait_closed() == 1006


async def test_each_who_watches_is_told_at_most_once_a_second_and_the_last_word_is_the_truth(
    live_house, watched, monkeypatch
):
    nursery, room, watchers = watched
    crowd = [11, 12, 13, 14]
    await live_house.people(*crowd)
    await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": crowd})
    times, take_changes = [], SocketPresence.take_changes  # as it is told: when it is received a busy machine says

    def take(presence):
        times.append(trio.current_time())
        return take_changes(presence)

    monkeypatch.setattr(SocketPresence, "take_changes", take)
    told = [[], []]
    for sock, events in zip(watchers, told, strict=True):
        sock.on_event = lambda event, events=events: "presence_" in event["type"] and events.append(event)
    speaker = await open_as(nursery, live_house, 1, V1, room)

    async def comes_and_goes(user):
        while True:
            sock = await open_as(nursery, live_house, user, V1, room)
            try:
                await trio.sleep(0.1 + user * 0.01)
            finally:
                sock.cut()
            await trio.sleep(0.05)

    async with trio.open_nursery() as flapping:
        for user in crowd[:3]:
            flapping.start_soon(comes_and_goes, user)
        ends, number = trio.current_time() + 5, 0
        with trio.fail_after(60):
            while number <= 50 or trio.current_time() < ends:  # their word changes far more often than once a second
                number += 1
                await speaker.command("presence", status="busy" if number % 2 else "away", note=str(number))
                await trio.sleep(0.02)
        flapping.cancel_scope.cancel()
    for user in crowd:
        for connection in list(live_house.house.engine.connections_of(user)):  # cancelled while it came
            connection.abort()
    await speaker.ask("presence", status="dnd", note="the end")
    await open_as(nursery, live_house, crowd[3], V1, room)
    await trio.sleep(2.5)
    assert len(times) >= 4
    assert all(later - at >= TOLD_SECONDS for at, later in itertools.pairwise(times)), times
    diffs = [
        [*event["data"]["joins"], *event["data"]["leaves"]] for event in told[0] if event["type"] == "presence_diff"
    ]
    words = [item["activity"] for items in diffs for item in items if item["user"] == 1]
    assert 4 <= len(words) <= len(times), "each second the word as it is then, and once"
    shown = {item["user"]: item for items in diffs for item in items}
    changes = [event for event in told[1] if event["type"] == "presence_update"]
    assert 4 <= sum(event["userId"] == 1 for event in changes) <= len(times)
    updates = {event["userId"]: event for event in changes}
    assert (shown[1]["status"], shown[1]["activity"]) == ("dnd", "the end")
    assert (updates[1]["status"], updates[1]["activity"]) == ("dnd", "the end")
    for user in crowd:
        status = "online" if user == crowd[3] else "offline"
        assert live_house.house.presence.status_of(user)[0] == status
        if user in shown:
            assert shown[user]["status"] == status
        if user in updates:
            assert updates[user]["status"] == status
    assert shown[crowd[3]]["status"] == updates[crowd[3]]["status"] == "online"


@pytest.fixture
def held_reading(live_house, monkeypatch):
    """What the page of user 2 reads of its rooms arrives late: (set when it is read, set to let it arrive)."""
    last_seen, has_read, arrives = live_house.house.storage.last_seen, trio.Event(), trio.Event()
    read = last_seen.small_rooms_of

    async def read_and_wait(users):
        rooms = await read(users)
        if 2 in users:
            has_read.set()
            await arrives.wait()
        return rooms

    monkeypatch.setattr(last_seen, "small_rooms_of", read_and_wait)
    return has_read, arrives


def told_of(sock, user):
    return [event["type"] for event in sock.events if event.get("userId") == user and event["type"] != "connected"]


async def test_who_is_removed_while_their_page_connects_is_shown_nobody_and_to_nobody(live_house, held_reading):
    has_read, arrives = held_reading
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        gone = await Socket.open(nursery, live_house, 2, protocol=None)
        await has_read.wait()
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        arrives.set()
        await becomes(live_house, 2, "online")
        admin = await open_as(nursery, live_house, 1, None, room)
        await trio.sleep(2.2)
        assert (told_of(gone, 1), told_of(admin, 2)) == ([], [])


async def test_who_is_brought_in_while_their_page_connects_is_shown_who_is_there(live_house, held_reading):
    has_read, arrives = held_reading
    await live_house.people(1, 2)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        new = await Socket.open(nursery, live_house, 2, protocol=None)
        await has_read.wait()
        assert (await live_house.post(f"/api/conversations/{room}/participants", 1, {"userIds": [2]})).status == 200
        arrives.set()
        await becomes(live_house, 2, "online")
        admin = await open_as(nursery, live_house, 1, None, room)
        await wait_until(lambda: "user_online" not in told_of(new, 1) and f"only {told_of(new, 1)}", 4)
        assert admin.close_code is None


async def test_who_was_shown_to_somebody_who_asked_is_told_to_have_gone_within_the_same_second(live_house, watched):
    nursery, room, (v1, _) = watched
    visitor = await open_as(nursery, live_house, 1, V1, room)
    await becomes(live_house, 1, "online")
    before = len(v1.events)
    answer = await v1.ask("presence", room)
    assert [user["status"] for user in answer["data"]["users"] if user["user"] == 1] == ["online"]
    visitor.cut()
    await wait_until(
        lambda: (
            not [
                event
                for event in v1.events[before:]
                if event["type"] == "presence_diff" and [user for user in event["data"]["leaves"] if user["user"] == 1]
            ]
        ),
        5,
    )
