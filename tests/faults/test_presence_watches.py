"""Presence asked for by name, devices that nobody sits at, clients without a socket, and users whom nobody sees."""

import time

import pytest
import trio
from wire import V1, Socket, open_sockets, wait_until

from greenroom.actors.presence.commands import Device, Heartbeat
from greenroom.http.ws import attendance
from greenroom.http.ws.last_inputs import WITHOUT_SESSION
from greenroom.runtime import StorageUnavailable


async def open_as(nursery, house, user, *rooms, protocol=V1):
    sock = await Socket.open(nursery, house, user, protocol=protocol)
    if protocol is None:
        await sock.expect("connected")
        await wait_until(lambda: not house.house.engine.connections_of(user)[-1].session.is_present and "its rooms")
    else:
        await sock.start(*rooms)
    return sock


def shown(house, user):
    return house.house.presence.status_of(user)[0]


async def becomes(house, user, status, seconds=6.0):
    await wait_until(lambda: shown(house, user) != status and f"{user} is {shown(house, user)}", seconds)


def about(sock, user, after=0):
    """What a v1 socket was told of a user outside of rooms, newest last."""
    told = []
    for event in sock.events[after:]:
        if event["type"].startswith("presence_") and "room" not in event and "rooms" not in event:
            data = event["data"]
            people = data.get("users", []) + data.get("joins", []) + data.get("leaves", [])
            told += [person["status"] for person in people if person["user"] == user]
            told += ["gone" for one in data.get("gone", []) if one == user]
    return told


async def hears(sock, user, status, after=0, seconds=4.0):
    await wait_until(
        lambda: about(sock, user, after)[-1:] != [status] and f"{status}, heard {about(sock, user)}", seconds
    )


@pytest.fixture
def quick_rounds(monkeypatch):
    monkeypatch.setattr(attendance, "ROUND_SECONDS", 0.2)


# -- watching by name -------------------------------------------------------------------------------------------------


async def test_a_watch_is_answered_with_a_snapshot_and_then_what_changes_whatever_rooms_were_joined(live_house):
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        await open_as(nursery, live_house, 2)
        await becomes(live_house, 2, "online")
        watcher = await open_as(nursery, live_house, 1)
        answer = await watcher.ask("watch", users=[2, 3, 99, 1])
        assert answer["data"] == {"watching": [2, 3, 1], "refused": [99]}
        state = await watcher.expect("presence_state")
        assert watcher.position(state) == watcher.position(answer) + 1
        assert [(one["user"], one["status"]) for one in state["data"]["users"] if one["user"] != 1] == [
            (2, "online"),
            (3, "offline"),
        ]
        never_here = {"user": 3, "name": "user-3", "status": "offline"}
        assert never_here in state["data"]["users"]
        three = await open_as(nursery, live_house, 3)
        await hears(watcher, 3, "online")
        await three.ask("presence", status="busy", note="writing")
        await hears(watcher, 3, "busy")
        three.cut()
        await hears(watcher, 3, "offline")
        answer = await watcher.ask("watch", users=[3])
        state = await watcher.expect("presence_state", after=watcher.position(answer))
        (gone,) = state["data"]["users"]
        assert (gone["user"], gone["name"], gone["status"]) == (3, "user-3", "offline")
        assert abs(gone["lastSeen"] - time.time() * 1000) < 60_000


async def test_a_watch_replaces_the_one_before_and_an_empty_one_ends_it(live_house):
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 1)
        await watcher.ask("watch", users=[2])
        await watcher.ask("watch", users=[3])
        await open_as(nursery, live_house, 2)
        three = await open_as(nursery, live_house, 3)
        await hears(watcher, 3, "online")
        assert about(watcher, 2) == ["offline"]
        await watcher.ask("watch", users=[])
        before = len(watcher.events)
        three.cut()
        await becomes(live_house, 3, "offline")
        await trio.sleep(1.3)
        assert not about(watcher, 3, before)
        assert not live_house.house.sockets.watches.watchers


async def test_strangers_cannot_be_watched_and_nobody_learns_whether_they_exist(live_house):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        assert (await watcher.ask("watch", users=[2, 404]))["data"] == {"watching": [], "refused": [2, 404]}
        await trio.sleep(1.3)
        assert about(watcher, 2) == about(watcher, 404) == []


async def block(house, blocker, *, is_on):
    path = f"/api/users/{3 - blocker}/block"
    answer = await (house.post(path, blocker, {}) if is_on else house.delete(path, blocker))
    assert answer.status in {200, 201}, answer.json


@pytest.mark.parametrize("blocker", [1, 2])
async def test_who_was_refused_because_of_a_block_is_told_of_when_it_ends(live_house, blocker):
    """As a client that comes back within a block, and asks again for whom it watched before."""
    await live_house.people(1, 2, 3)
    await live_house.conversation(3, 1, 2)
    await block(live_house, blocker, is_on=True)
    async with open_sockets() as nursery:
        watched = await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        assert (await watcher.ask("watch", users=[2, 3]))["data"] == {"watching": [3], "refused": [2]}
        await watched.ask("presence", status="busy")
        await trio.sleep(1.3)
        assert about(watcher, 2) == []
        await block(live_house, blocker, is_on=False)
        await hears(watcher, 2, "busy")
        await watched.ask("presence", status="dnd")
        await hears(watcher, 2, "dnd")
        await block(live_house, blocker, is_on=True)
        await hears(watcher, 2, "gone")
        await watcher.ask("watch", users=[3])  # nobody waits for 2 any more
        await block(live_house, blocker, is_on=False)
        before = len(watcher.events)
        await trio.sleep(1.3)
        assert about(watcher, 2, before) == []


async def test_who_was_refused_and_may_not_be_seen_when_the_block_ends_is_told_of_with_no_word(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(3, 1, 2)
    await block(live_house, 2, is_on=True)
    async with open_sockets() as nursery:
        await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        assert (await watcher.ask("watch", users=[2]))["data"] == {"watching": [], "refused": [2]}
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 3)).status == 200
        await block(live_house, 2, is_on=False)
        watches = live_house.house.sockets.watches
        await wait_until(lambda: watches._watched and "the watch is not settled")
        assert about(watcher, 2) == []


async def test_a_block_that_storage_knows_first_is_one_too(live_house, monkeypatch):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    watches = live_house.house.sockets.watches
    seen_by = watches._last_seen.seen_by

    async def blocked(watcher_id, user_ids):
        await seen_by(watcher_id, user_ids)
        return {}

    async with open_sockets() as nursery:
        await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        with monkeypatch.context() as patched:
            patched.setattr(watches._last_seen, "seen_by", blocked)
            assert (await watcher.ask("watch", users=[2]))["data"] == {"watching": [], "refused": [2]}
        await block(live_house, 2, is_on=True)
        await block(live_house, 2, is_on=False)
        await hears(watcher, 2, "online")


async def test_a_block_that_ends_while_the_watch_is_read_leaves_nobody_out(live_house, monkeypatch):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    await block(live_house, 2, is_on=True)
    watches = live_house.house.sockets.watches
    seen_by, is_read, goes_on = watches._last_seen.seen_by, trio.Event(), trio.Event()

    async def slowly(*arguments):
        found = await seen_by(*arguments)
        is_read.set()
        await goes_on.wait()
        return found

    async with open_sockets() as nursery:
        await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        monkeypatch.setattr(watches._last_seen, "seen_by", slowly)
        await watcher.send({"type": "watch", "id": "w", "data": {"users": [2]}})
        await is_read.wait()
        await block(live_house, 2, is_on=False)
        await wait_until(lambda: live_house.house.sockets.hub.blocks.are_apart(1, 2) and "the block is known here")
        goes_on.set()
        await hears(watcher, 2, "online")


@pytest.mark.parametrize("who_leaves", [1, 2])
async def test_who_shares_no_conversation_any_more_is_watched_no_more(live_house, who_leaves):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(3, 1, 2)
    async with open_sockets() as nursery:
        watched = await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        await watcher.ask("watch", users=[2, 3])
        assert (await live_house.delete(f"/api/conversations/{room}/participants/{who_leaves}", 3)).status == 200
        await hears(watcher, 2, "gone")
        before = len(watcher.events)
        await watched.ask("presence", status="dnd")
        await trio.sleep(1.5)
        assert not about(watcher, 2, before)
        assert (about(watcher, 3)[-1] == "gone") == (who_leaves == 1)


async def test_who_still_shares_another_conversation_stays_watched_and_is_told_as_they_are(live_house):
    await live_house.people(1, 2)
    rooms = [await live_house.conversation(2, 1), await live_house.conversation(2, 1)]
    async with open_sockets() as nursery:
        watched = await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        await watcher.ask("watch", users=[2])
        assert (await live_house.delete(f"/api/conversations/{rooms[0]}/participants/1", 2)).status == 200
        await watched.ask("presence", status="dnd")
        await hears(watcher, 2, "dnd")
        assert "gone" not in about(watcher, 2)


async def test_who_is_offline_when_a_doubt_about_them_ends_is_told_with_their_name_and_since_when(live_house):
    await live_house.people(1, 2, 3, 4)
    rooms = [await live_house.conversation(1, 2, 3, 4) for _ in range(2)]
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 1)
        await watcher.ask("watch", users=[2, 3, 4])  # 4 is never here
        for user in (2, 3):
            sock = await open_as(nursery, live_house, user)
            await hears(watcher, user, "online")
            await sock.close()
            await hears(watcher, user, "offline")
        known = live_house.house.presence
        await wait_until(lambda: known._names.keys() & {2, 3})  # that they went was told to all, and is forgotten
        seen = await live_house.house.storage.last_seen.of([2, 3])
        before = len(watcher.events)
        assert (await live_house.delete(f"/api/conversations/{rooms[0]}/participants/1", 1)).status == 200
        told = {}

        def missing():
            for event in watcher.events[before:]:
                if event["type"] == "presence_diff" and "room" not in event:
                    told.update({one["user"]: (one["name"], one.get("lastSeen")) for one in event["data"]["leaves"]})
            return {2, 3, 4} - told.keys()

        await wait_until(missing)
        assert told == {user: (f"user-{user}", seen[user].at_ms) for user in (2, 3)} | {4: ("user-4", None)}


async def test_while_storage_does_not_say_whether_one_may_be_seen_nothing_is_told(live_house, monkeypatch):
    await live_house.people(1, 2)
    rooms = [await live_house.conversation(2, 1), await live_house.conversation(2, 1)]
    watches = live_house.house.sockets.watches
    is_away = [True]

    def or_not(ask):
        async def asked(*about):
            if is_away[0]:
                raise StorageUnavailable("a test says so")
            return await ask(*about)

        return asked

    async with open_sockets() as nursery:
        watched = await open_as(nursery, live_house, 2)
        watcher = await open_as(nursery, live_house, 1)
        await watcher.ask("watch", users=[2])
        monkeypatch.setattr(watches, "_may_see", or_not(watches._may_see))
        monkeypatch.setattr(watches._last_seen, "seen_by", or_not(watches._last_seen.seen_by))
        refused = await watcher.ask("watch", users=[2, 1])
        assert (refused["type"], refused["data"]["code"]) == ("error", 5002)
        assert (await live_house.delete(f"/api/conversations/{rooms[0]}/participants/1", 2)).status == 200
        before = len(watcher.events)
        await watched.ask("presence", status="dnd")
        await trio.sleep(1.5)
        assert about(watcher, 2, before) == []
        is_away[0] = False
        await hears(watcher, 2, "dnd", before)


@pytest.fixture
def held_watch(live_house, monkeypatch):
    """The look-up of the first `watch` waits for go_on; those after it fail while fail holds anything."""
    last_seen = live_house.house.sockets.watches._last_seen
    seen_by, held, go_on, fail = last_seen.seen_by, trio.Event(), trio.Event(), []

    async def slowly(*about):
        if not held.is_set():
            held.set()
            await go_on.wait()
        elif fail:
            raise StorageUnavailable("a test says so")
        return await seen_by(*about)

    monkeypatch.setattr(last_seen, "seen_by", slowly)
    return held, go_on, fail


async def test_a_watch_that_fails_leaves_the_one_before_it_that_is_still_being_read(live_house, held_watch):
    held, go_on, fail = held_watch
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 1)
        first = await watcher.command("watch", users=[2])
        await held.wait()
        fail.append(True)
        refused = await watcher.ask("watch", users=[3])
        assert (refused["type"], refused["data"]["code"]) == ("error", 5002)
        go_on.set()
        assert (await watcher.expect("ack", id=first))["data"] == {"watching": [2], "refused": []}
        await open_as(nursery, live_house, 2)
        await hears(watcher, 2, "online")


async def test_a_watch_whose_answer_comes_after_that_of_a_later_one_is_replaced_by_it(live_house, held_watch):
    held, go_on, _ = held_watch
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 1)
        first = await watcher.command("watch", users=[2])
        await held.wait()
        assert (await watcher.ask("watch", users=[3]))["data"] == {"watching": [3], "refused": []}
        go_on.set()
        assert (await watcher.expect("ack", id=first))["data"] == {"replaced": True}
        assert list(live_house.house.sockets.watches.watchers) == [3]


@pytest.mark.parametrize("users", [None, 7, "2", [True], ["two"], [0], [-1], [1.5], [2**60], [*range(1, 202)], [None]])
async def test_a_watch_that_cannot_be_understood_is_told_so_and_changes_nothing(live_house, users):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 1)
        await watcher.ask("watch", users=[2])
        fault = await watcher.ask("watch", users=users)
        assert fault["type"] == "error"
        assert fault["data"]["code"] in (1001, 1002)
        await open_as(nursery, live_house, 2)
        await hears(watcher, 2, "online")


# -- asking who is in a room -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["page", "summary", "none", "elsewhere"])
async def test_who_asks_about_a_room_is_told_who_is_online_though_no_socket_hears_it_in_full(live_house, mode):
    """The asker does not, and the other only follows it, or sits at a page that selected nothing."""
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3, 4)
    assert (await live_house.post("/api/users/4/block", 1, {})).status in (200, 201)
    async with open_sockets() as nursery:
        for user in (2, 4):
            if mode == "page":
                await open_as(nursery, live_house, user, protocol=None)
            else:
                sock = await Socket.open(nursery, live_house, user)
                await sock.start(**({} if mode == "elsewhere" else {"rooms": [{"r": room, "mode": mode}]}))
            await becomes(live_house, user, "online")
        asker = await open_as(nursery, live_house, 1)
        await becomes(live_house, 1, "online")
        answer = await asker.ask("presence", room)
        people = {one["user"]: (one["name"], one["status"]) for one in answer["data"]["users"]}
        assert people == {1: ("user-1", "online"), 2: ("user-2", "online"), 3: ("user-3", "offline")}  # 4 is blocked
        assert [one for one in answer["data"]["users"] if "lastSeen" in one] == []  # 3 was never here


@pytest.fixture
def held_answer(live_house, monkeypatch):
    """What storage says of who is away arrives late: (set when it is read, set to let it arrive)."""
    last_seen, has_read, arrives = live_house.house.storage.last_seen, trio.Event(), trio.Event()
    read = last_seen.of

    async def read_and_wait(users):
        seen = await read(users)
        has_read.set()
        await arrives.wait()
        return seen

    monkeypatch.setattr(last_seen, "of", read_and_wait)
    return has_read, arrives


@pytest.mark.parametrize("who", [3, 4], ids=["who is online", "who is away"])
async def test_who_leaves_a_room_while_it_is_read_who_is_in_it_is_not_shown(live_house, held_answer, who):
    has_read, arrives = held_answer
    await live_house.people(1, 2, 3, 4, 5)
    room = await live_house.conversation(1, 2, 3, 4, 5)
    async with open_sockets() as nursery:
        asker = await open_as(nursery, live_house, 2, room)
        await open_as(nursery, live_house, 3, room)
        await becomes(live_house, 3, "online")
        asked = await asker.command("presence", room)
        await has_read.wait()
        assert (await live_house.delete(f"/api/conversations/{room}/participants/{who}", 1)).status == 200
        arrives.set()
        answer = await asker.expect("ack", id=asked)
        assert {one["user"] for one in answer["data"]["users"]} == {1, 2, 3, 4, 5} - {who}


async def test_who_is_removed_from_a_room_while_it_is_read_who_is_in_it_is_shown_nobody(live_house, held_answer):
    has_read, arrives = held_answer
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        asker = await open_as(nursery, live_house, 2, room)
        asked = await asker.command("presence", room)
        await has_read.wait()
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        await asker.expect("member", room=room)
        arrives.set()
        await wait_until(lambda: not [one for one in asker.of("ack", "error") if one.get("id") == asked] and "answer")
        (answer,) = [one for one in asker.of("ack", "error") if one.get("id") == asked]
        assert (answer["type"], answer["data"].get("error")) == ("error", "NOT_MEMBER")


# -- idle devices -----------------------------------------------------------------------------------------------------


async def test_a_user_is_away_when_every_device_says_that_nobody_sits_there(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 2)
        await watcher.ask("watch", users=[1])
        desk, phone = [await Socket.open(nursery, live_house, 1) for _ in range(2)]
        await desk.start(room, device="desk")
        await phone.start(device="phone")
        await hears(watcher, 1, "online")
        answer = await desk.ask("presence", idle=True)
        assert (answer["data"]["status"], answer["data"]["shown"]) == ("online", "online")
        assert {one["device"]: one["idle"] for one in answer["data"]["devices"]} == {"desk": True, "phone": False}
        assert (await phone.ask("presence", idle=True))["data"]["shown"] == "away"
        await hears(watcher, 1, "away")
        await phone.ask("presence", idle=False)
        await hears(watcher, 1, "online")
        phone.cut()
        await hears(watcher, 1, "away")
        await desk.ask("send", room, body="back", clientId="b")
        await hears(watcher, 1, "online")
        await desk.ask("presence", idle=True)
        assert (await desk.ask("presence", status="dnd"))["data"]["shown"] == "dnd"
        assert (await desk.ask("presence", idle="yes"))["data"]["code"] == 1002


@pytest.mark.wrong_frames  # one frame serves both protocols
@pytest.mark.parametrize("house_settings", [{"presence_idle_seconds": 1.0}])
@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_without_input_for_long_a_user_is_away_until_they_do_something(
    live_house, house_settings, quick_rounds, protocol
):
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        sock = await open_as(nursery, live_house, 1, protocol=protocol)
        await becomes(live_house, 1, "online")
        (connection,) = live_house.house.engine.connections_of(1)
        await becomes(live_house, 1, "away")
        assert trio.current_time() - connection.session.input_at >= 1.0
        await sock.send({"type": "ping", "id": "p"})
        await sock.send({"type": "pong"})
        await sock.settle()
        assert shown(live_house, 1) == "away"
        await sock.send({"type": "typing" if protocol else "typing_start", "room": room, "data": {"on": False}})
        await becomes(live_house, 1, "online")


# -- nobody sees them -------------------------------------------------------------------------------------------------


async def test_the_invisible_are_offline_to_everybody_on_every_road_until_they_say_otherwise(live_house):
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3)
    last_seen = live_house.house.storage.last_seen
    async with open_sockets() as nursery:
        v1, page = await open_as(nursery, live_house, 2, room), await open_as(nursery, live_house, 3, protocol=None)
        await v1.ask("watch", users=[1])
        user = await open_as(nursery, live_house, 1, room)
        await hears(v1, 1, "online")
        await page.expect("user_online", userId=1)
        own = (await user.ask("presence", status="invisible", note="x"))["data"]
        assert (own["status"], own["shown"]) == ("invisible", "offline")
        await hears(v1, 1, "offline")
        gone = await page.expect("presence_update", userId=1, status="offline")
        await page.expect("user_offline", userId=1)
        since = (await last_seen.of([1]))[1].at_ms
        before = len(v1.events), len(page.events)
        # Every way of coming, going and doing something.
        other = await open_as(nursery, live_house, 1, protocol=None)
        await other.send({"type": "mark_read", "messageId": 1})
        await user.ask("presence", idle=True)
        user.cut()
        other.cut()
        await wait_until(lambda: live_house.house.engine.of_user(1) and "the end of both")
        again = await open_as(nursery, live_house, 1, room)
        await again.ask("send", room, body="I write, and am not shown", clientId="c")
        await trio.sleep(2.3)
        assert not about(v1, 1, before[0])
        assert not [one for one in page.events[before[1] :] if one["type"][:4] in ("pres", "user")]
        # Every way of asking.
        in_room = (await v1.ask("presence", room))["data"]["users"]
        assert [one["status"] for one in in_room if one["user"] == 1] == ["offline"]
        assert [one["lastSeen"] for one in in_room if one["user"] == 1] == [since]
        await page.send({"type": "request_initial_data"})
        initial = await page.expect("initial_data", after=before[1])
        assert 1 not in [one["userId"] for one in initial["data"]["presence"]["users"]]
        assert [one["userId"] for one in await live_house.house.presence.online_for(2)] == [3]
        await v1.ask("watch", users=[1])
        assert v1.of("presence_state")[-1]["data"]["users"][0]["status"] == "offline"
        await v1.ask("join", room)
        state = await v1.expect("presence_state", after=len(v1.events) - 3, room=room)
        assert 1 not in [one["user"] for one in state["data"]["users"]]
        await last_seen.flush()
        assert (await last_seen.of([1]))[1].at_ms == since
        await again.ask("presence", status="online")
        await page.expect("user_online", after=page.position(gone), userId=1)
        await hears(v1, 1, "online")


async def test_that_somebody_is_invisible_is_stored_before_it_is_acknowledged(live_house, monkeypatch):
    await live_house.people(1)
    visibility = live_house.house.storage.visibility
    async with open_sockets() as nursery:
        sock = await open_as(nursery, live_house, 1)
        await sock.ask("presence", status="invisible")
        visibility.invisible.clear()
        await visibility.load()
        assert visibility.invisible == {1}
        await sock.ask("presence", status="away")
        await visibility.load()
        assert visibility.invisible == set()

        async def put(user_id, *, is_invisible):
            raise StorageUnavailable("a test says so")

        monkeypatch.setattr(visibility, "put", put)
        refused = await sock.ask("presence", status="invisible")
        assert (refused["type"], refused["data"]["code"]) == ("error", 5002)
        assert shown(live_house, 1) == "away"
        assert (await sock.ask("presence", status="busy"))["type"] == "ack"


# -- without a socket, and what was lost ------------------------------------------------------------------------------


async def beat(house, user, status="online", session=WITHOUT_SESSION):
    ref = house.house.system.ref("presence", user)
    return await ref.ask(Heartbeat(session, f"user-{user}", status, "polling"), deadline=trio.current_time() + 5)


async def test_a_client_that_polls_is_online_until_it_has_not_been_heard_of_for_long(
    live_house, quick_rounds, monkeypatch
):
    monkeypatch.setattr("greenroom.actors.presence.actor.HEARTBEAT_SECONDS", 3.0)
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        page = await open_as(nursery, live_house, 2, protocol=None)
        assert (await beat(live_house, 1)).shown == "online"
        heard = await page.expect("presence_update", userId=1)
        assert (heard["username"], heard["status"], heard["activity"]) == ("user-1", "online", "polling")
        await beat(live_house, 1)
        (row,) = await live_house.house.presence.online_for(2)
        assert (row["userId"], row["username"], row["status"], row["activity"]) == (1, "user-1", "online", "polling")
        assert not await live_house.house.presence.online_for(1) or row["userId"] == 1
        for _ in range(3):
            await trio.sleep(1.1)
            await beat(live_house, 1)
        assert shown(live_house, 1) == "online"
        await becomes(live_house, 1, "offline", 8)
        await page.expect("user_offline", userId=1)
        assert not live_house.house.presence.leases.users()


async def test_a_client_that_says_offline_is_so_at_once_and_many_devices_are_bounded(live_house):
    await live_house.people(1)
    made = [(await live_house.house.storage.sessions.create(1))[0] for _ in range(30)]  # one that is none would end
    for session in made:
        view = await beat(live_house, 1, session=session)
    assert view.devices == (Device("rest", False),)
    for session in made[22:]:
        assert view.devices, "those of the last eight sessions count"
        view = await beat(live_house, 1, "offline", session)
        assert view.shown == "offline"
    assert view.devices == ()
    assert not live_house.house.presence.leases.users()
    assert (await beat(live_house, 1)).shown == "online", "who comes back comes back online"


async def test_an_end_that_nobody_was_told_of_is_found_by_who_goes_round(live_house, quick_rounds):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        watcher = await open_as(nursery, live_house, 2, room)
        await open_as(nursery, live_house, 1, room)
        await becomes(live_house, 1, "online")
        await trio.sleep(1.2)  # it is told
        (connection,) = live_house.house.engine.connections_of(1)
        connection.session.is_present = False  # as an engine that forgets to tell
        connection.abort()
        await becomes(live_house, 1, "offline", 3)

        def has_left():
            return [one for event in watcher.of("presence_diff") for one in event["data"]["leaves"] if one["user"] == 1]

        await wait_until(lambda: not has_left() and "the diff", 4)
