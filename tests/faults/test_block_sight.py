"""Blocks and presence: with a block each of the two leaves the sight of the other, and with its end comes back."""

import pytest
import trio
from wire import V1, Socket, open_sockets, wait_until

from greenroom.http.ws.v1_commands import INFLIGHT_MAX
from greenroom.storage.postgres.user_streams import Standing

SIGHT = frozenset(
    ("presence_state", "presence_diff", "typing", "presence_update", "user_typing", "user_online", "user_offline")
)


async def open_as(nursery, house, user, *rooms, protocol=V1):
    sock = await Socket.open(nursery, house, user, protocol=protocol)
    if protocol is None:
        await sock.expect("connected")
        await wait_until(lambda: not house.house.engine.connections_of(user)[-1].session.is_present and "its rooms")
        for room in rooms:
            await sock.send({"type": "join_conversation", "conversationId": room})
            await sock.expect("conversation_joined", conversationId=room)
    else:
        await sock.start(*rooms)
    return sock


async def all_quiet(*socks):
    """Until what changed has been told. Answers where each socket is in what it heard."""
    await trio.sleep(2.2)
    return [await sock.settle() for sock in socks]


def believed(sock, user, after=0):
    """What a socket was told of a user since *after*: a status for each time."""
    told = []
    for event in sock.events[after:]:
        data = event.get("data") or {}
        if event["type"] == "presence_diff":
            people = [*data["joins"], *data["leaves"]]
            told += [one["status"] for one in people if one["user"] == user]
            told += ["gone" for one in data.get("gone", ()) if one == user]
        elif event["type"] == "presence_update" and data["userId"] == user:
            told.append(data["status"])
    return told


async def hears(sock, user, statuses, after):
    await wait_until(
        lambda: believed(sock, user, after) != statuses and f"{statuses} of {user}, heard {believed(sock, user, after)}"
    )


def sight_of(sock, user, after):
    """Events since *after* that tell of a user's presence or typing."""
    names = (f'"user-{user}"', f"'user-{user}'")
    told = [event for event in sock.events[after:] if event["type"] in SIGHT]
    return [event for event in told if any(name in str(event) for name in names)]


@pytest.mark.parametrize("blocker", [1, 2])
async def test_a_watch_rests_while_there_is_a_block_and_goes_on_when_the_last_one_ends(live_house, blocker):
    await live_house.people(1, 2)
    await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        socks = {user: await open_as(nursery, live_house, user) for user in (1, 2)}
        await socks[1].ask("watch", users=[2])
        (position,) = await all_quiet(socks[1])
        other = 3 - blocker
        await socks[blocker].ask("block", user=other)
        await hears(socks[1], 2, ["gone"], position)
        await socks[other].ask("block", user=blocker)
        await socks[2].ask("presence", status="busy")
        await socks[blocker].ask("unblock", user=other)
        await all_quiet(socks[1])
        assert believed(socks[1], 2, position) == ["gone"]
        assert (await socks[2].ask("watch", users=[1]))["data"] == {"watching": [], "refused": [1]}
        await socks[other].ask("unblock", user=blocker)
        await hears(socks[1], 2, ["gone", "busy"], position)
        await socks[2].ask("presence", status="dnd")
        await hears(socks[1], 2, ["gone", "busy", "dnd"], position)


async def test_a_watch_that_was_read_before_a_block_and_set_after_it_shows_nobody(live_house, monkeypatch):
    await live_house.people(1, 2, 3)
    await live_house.conversation(1, 2, 3)
    watches = live_house.house.sockets.watches
    seen_by, is_asked, go_on = watches._last_seen.seen_by, trio.Event(), trio.Event()

    async def slowly(*about):
        found = await seen_by(*about)
        is_asked.set()
        await go_on.wait()
        return found

    async with open_sockets() as nursery:
        one, two = [await open_as(nursery, live_house, user) for user in (1, 2)]
        monkeypatch.setattr(watches._last_seen, "seen_by", slowly)
        await one.send({"type": "watch", "id": "w", "data": {"users": [2, 3]}})
        await is_asked.wait()
        await two.ask("block", user=1)
        go_on.set()
        answer = await one.expect("ack", id="w")
        assert answer["data"] == {"watching": [3], "refused": [2]}
        state = await one.expect("presence_state")
        assert [item["user"] for item in state["data"]["users"]] == [3]
        await two.ask("presence", status="busy")
        await all_quiet(one)
        assert not believed(one, 2)


async def test_when_the_last_block_between_two_ends_each_is_shown_the_other_at_once_in_rooms_and_on_pages(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        socks = [await open_as(nursery, live_house, user, room) for user in (1, 2)]
        pages = [await open_as(nursery, live_house, user, room, protocol=None) for user in (1, 2)]
        watched = [(sock, other) for pair in (socks, pages) for sock, other in zip(pair, (2, 1), strict=True)]
        starts = await all_quiet(*socks, *pages)
        await socks[0].ask("block", user=2)
        for (sock, other), start in zip(watched, starts, strict=True):
            await hears(sock, other, ["offline"], start)
        await socks[1].ask("block", user=1)
        await socks[0].ask("unblock", user=2)
        await all_quiet(*socks, *pages)
        for (sock, other), start in zip(watched, starts, strict=True):
            assert believed(sock, other, start) == ["offline"], other
        await socks[1].ask("unblock", user=1)
        for (sock, other), start in zip(watched, starts, strict=True):
            await hears(sock, other, ["offline", "online"], start)


async def test_who_types_when_a_block_begins_stops_for_the_other_alone_and_types_again_when_it_ends(
    live_house, monkeypatch
):
    monkeypatch.setattr("greenroom.actors.room.actor.TYPING_SECONDS", 600.0)  # it is told four times, a second apart
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        one, two, three = [await open_as(nursery, live_house, user, room) for user in (1, 2, 3)]
        page, other_page = [await open_as(nursery, live_house, user, room, protocol=None) for user in (1, 3)]
        for typist in (two, three):
            await typist.ask("typing", room, on=True)
        await wait_until(lambda: one.of("typing")[-1:] and one.of("typing")[-1]["data"]["users"] != [2, 3] and "both")
        await page.expect("user_typing", userId=2, isTyping=True)
        starts = [await sock.settle() for sock in (one, three, page, other_page)]
        await one.ask("block", user=2)
        told = await one.expect("typing", after=starts[0])
        assert (told["data"]["users"], told["data"]["names"]) == ([3], {"3": "user-3"})
        assert (await page.expect("user_typing", after=starts[2]))["isTyping"] is False
        await one.ask("unblock", user=2)
        told = await one.expect("typing", after=one.position(told) + 1)
        assert told["data"]["users"] == [2, 3]
        await page.expect("user_typing", userId=2, isTyping=True, after=starts[2])
        for sock, start in ((three, starts[1]), (other_page, starts[3])):
            await sock.settle()
            assert not [event for event in sock.events[start:] if event["type"] in ("typing", "user_typing")]


async def test_typing_of_who_is_hidden_alone_sends_no_frame_at_all(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        one, two, three = [await open_as(nursery, live_house, user, room) for user in (1, 2, 3)]
        await two.ask("block", user=1)
        (start,) = await all_quiet(one)
        await two.ask("typing", room, on=True)
        await three.expect("typing")
        await one.settle()
        assert not one.of("typing")
        await three.ask("typing", room, on=True)
        assert (await one.expect("typing", after=start))["data"]["users"] == [3]


async def test_of_who_is_hidden_a_page_hears_nothing_when_they_come_go_leave_or_the_page_asks_for_all(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(3, 1, 2)
    answer = await live_house.post("/api/users/1/block", 2)
    assert answer.status == 200
    async with open_sockets() as nursery:
        page, sock = [await open_as(nursery, live_house, 1, room, protocol=protocol) for protocol in (None, V1)]
        two = await open_as(nursery, live_house, 2, room)
        three = await open_as(nursery, live_house, 3, room)
        await two.ask("presence", status="busy")
        await all_quiet(page, sock)
        await page.send({"type": "request_initial_data"})
        shown = (await page.expect("initial_data"))["data"]["presence"]["users"]
        assert {item["userId"] for item in shown} == {1, 3}
        back = await open_as(nursery, live_house, 1, room)
        state = await back.expect("presence_state")
        assert {item["user"] for item in state["data"]["users"]} == {1, 3}
        assert {item["user"] for item in (await sock.ask("presence", room))["data"]["users"]} == {1, 3}
        assert {item["userId"] for item in await live_house.house.presence.online_for(1)} == {3}
        assert {item["userId"] for item in await live_house.house.presence.online_for(3)} == {1, 2}
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 3)).status == 200
        await three.expect("member", room=room)
        two.cut()
        await all_quiet(page, sock)
        for one in (page, sock, back):
            assert not sight_of(one, 2, 0)
        assert believed(page, 3)  # it hears, at all


@pytest.mark.parametrize("maker", [1, 2, 3])
async def test_a_group_may_hold_two_with_a_block_between_them_whoever_makes_it_and_hides_them_from_each_other(
    live_house, maker
):
    await live_house.people(1, 2, 3)
    assert (await live_house.post("/api/users/2/block", 1)).status == 200
    others = sorted({1, 2, 3} - {maker})
    made = await live_house.post(
        "/api/conversations", maker, {"participantIds": others, "title": "all", "isGroup": True}
    )
    assert made.status == 200, made.json
    room = made.data["conversation"]["id"]
    async with open_sockets() as nursery:
        one, two = [await open_as(nursery, live_house, user, room) for user in (1, 2)]
        assert (await two.ask("send", room, body="hidden"))["type"] == "ack"
        await one.expect("skip", room=room, seq=1)
        await all_quiet(one, two)
        assert not sight_of(one, 2, 0)
        assert not sight_of(two, 1, 0)


async def test_a_block_whose_commit_was_lost_sight_of_is_made_good_for_both_when_storage_says_so(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        one, two = [await open_as(nursery, live_house, user, room) for user in (1, 2)]
        await two.ask("watch", users=[1])
        starts = await all_quiet(one, two)
        streams = live_house.house.sockets.streams
        assert streams.stands_at(1, Standing(0, 1, hides=(2,)), streams.version())
        await hears(one, 2, ["offline"], starts[0])
        await wait_until(lambda: sorted(believed(two, 1, starts[1])) != ["gone", "offline"] and "both")
        starts = [await sock.settle() for sock in (one, two)]
        assert streams.stands_at(1, Standing(0, 1), streams.version())
        await hears(one, 2, ["online"], starts[0])
        await wait_until(lambda: believed(two, 1, starts[1]) != ["online", "online"] and "in the room and by name")


@pytest.mark.parametrize("is_here", [True, False])
async def test_who_is_blocked_while_their_notifier_starts_does_not_see_the_blocker(live_house, monkeypatch, is_here):
    """What it has asked of storage is older than the block when it is answered."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    streams, asked, goes_on = live_house.house.sockets.streams._streams, trio.Event(), trio.Event()
    find = streams.standing

    async def slow(user_id):
        found = await find(user_id)
        if user_id == 1 and not asked.is_set():
            asked.set()
            await goes_on.wait()
        return found

    async with open_sockets() as nursery:
        two = await open_as(nursery, live_house, 2, room)
        one = await open_as(nursery, live_house, 1, room) if is_here else None
        await all_quiet(two)
        monkeypatch.setattr(streams, "standing", slow)
        nursery.start_soon(live_house.post, "/api/notifications/send", 1, {"title": "t", "message": "m"})
        with trio.fail_after(5):
            await asked.wait()
        assert (await live_house.post("/api/users/1/block", 2)).status == 200
        goes_on.set()
        one = one or await open_as(nursery, live_house, 1, room)
        start = await one.settle()
        for is_typing in (True, False):
            await two.ask("typing", room, on=is_typing)
        await all_quiet(one, two)
        assert not sight_of(one, 2, start)


async def test_blocks_that_are_refused_do_not_count_as_under_way_for_ever(live_house):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        sock = await open_as(nursery, live_house, 1)
        for kind in ("block", "unblock"):
            for _ in range(INFLIGHT_MAX // 2 + 1):
                assert (await sock.ask(kind, user=1))["data"]["error"] == "BAD_FRAME"
        assert (await sock.ask("block", user=2))["data"] == {"user": 2, "blocked": True}
