"""Commands of one connection are applied in order for each room, also while the room has not answered a join yet."""

import json
import time

import pytest
import trio
from wire import V1, Socket, frame, open_sockets

PAGES_ROOMS_MAX = 64


def joins(room, **data):
    return {"type": "join", "id": f"join {data}", "room": room, "data": data}


def leave(room):
    return {"type": "leave", "id": "leave", "room": room}


def sync(room):
    return {"type": "sync", "id": "sync", "data": {"rooms": {str(room): 0}}}


async def room_of_two(house, count=1):
    await house.people(1, 2)
    return [await house.conversation(1, 2) for _ in range(count)]


async def say(house, room, text):
    assert (await house.post("/api/messages/send", 2, {"conversationId": room, "content": text})).status == 200


@pytest.mark.parametrize("mode", ["full", "summary"])
async def test_who_joins_a_room_and_leaves_it_hears_nothing_of_it(live_house, mode):
    (room,) = await room_of_two(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send([joins(room, mode=mode), joins(room, mode=mode), leave(room)])
        await sock.expect("ack", id="leave")
        acks = [event["id"] for event in sock.of("ack")]
        assert acks[-1] == "leave"
        position = await sock.settle()
        await say(live_house, room, "not for them")
        await trio.sleep(1.2)  # a summary is told within a second
        assert not [event for event in sock.events[position:] if event["type"] in ("message", "live", "room_summary")]
        assert (await sock.ask("join", room))["data"]["top"] == 1, "whoever left may come again"
        await say(live_house, room, "for them")
        await sock.expect("message", seq=2)


async def test_who_leaves_while_joining_and_joins_again_hears_the_room(live_house):
    (room,) = await room_of_two(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send([joins(room), leave(room), joins(room, after=0)])
        await sock.expect("ack", id="join {'after': 0}")
        await sock.settle()
        assert [event["id"] for event in sock.of("ack")] == ["join {}", "leave", "join {'after': 0}"]
        await say(live_house, room, "for them")
        await sock.expect("message", seq=1)


async def test_a_room_that_is_being_joined_is_told_again_when_it_is(live_house):
    (room,) = await room_of_two(live_house)
    await say(live_house, room, "before")
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send([joins(room), sync(room)])
        assert [item["r"] for item in (await sock.expect("ack", id="sync"))["data"]["rooms"]] == [room]
        await sock.expect("message", seq=1)


async def test_who_leaves_a_room_that_does_not_let_them_in_has_left_it(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(2, 3)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send([joins(room), leave(room)])
        await sock.expect("ack", id="leave")
        assert [event["data"]["error"] for event in sock.of("error")] == ["NOT_MEMBER"]


async def test_a_page_that_opens_a_conversation_and_closes_it_hears_no_typing_there(live_house):
    (room,) = await room_of_two(live_house)
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        kinds = ("join_conversation", "leave_conversation")
        said = [frame(json.dumps({"type": kind, "conversationId": room})) for kind in kinds]
        await page.send_bytes(b"".join(said))
        await page.expect("conversation_left")
        assert page.of("conversation_joined")
        other = await Socket.open(nursery, live_house, 2)
        await other.start(room)
        await other.ask("typing", room, on=True)
        await trio.sleep(0.2)
        await page.settle()
        assert not page.of("user_typing")


async def test_a_page_that_opens_many_conversations_at_once_hears_typing_in_no_more_than_it_may(live_house):
    rooms = await room_of_two(live_house, PAGES_ROOMS_MAX + 8)
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        said = [frame(json.dumps({"type": "join_conversation", "conversationId": room})) for room in rooms]
        await page.send_bytes(b"".join(said))
        await page.settle()
        for room in rooms:  # which answers this after the page
            path = f"/api/conversations/{room}/typing"
            assert (await live_house.post(path, 1, {"isTyping": False})).status == 200
        await page.settle()
        joined = [event["conversationId"] for event in page.of("conversation_joined")]  # as the rooms answered
        assert sorted(joined) == sorted(rooms)
        assert [event["conversationId"] for event in page.of("conversation_left")] == joined[:8]
        (connection,) = live_house.house.engine.connections_of(1)
        hears = {room for room in rooms if live_house.house.hub.is_listening_to_typing(connection, room)}
        assert hears == set(joined[8:])


async def test_who_blocks_somebody_and_unblocks_them_hears_of_them(live_house):
    (room,) = await room_of_two(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        blocks = [{"type": kind, "id": kind, "data": {"user": 2}} for kind in ("block", "unblock")]
        await sock.send(blocks)
        for kind in ("block", "unblock"):
            await sock.expect("ack", id=kind)
        assert [event["data"]["blocked"] for event in sock.of("ack") if "blocked" in event["data"]] == [True, False]
        await say(live_house, room, "heard")
        await sock.expect("message", seq=1)


async def test_of_two_tokens_that_are_shown_at_once_the_last_holds(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        now = int(time.time())
        tokens = [live_house.token(1, exp=now + seconds) for seconds in (600, 1200) * 8]
        shown = [{"type": "refresh", "id": f"{at}", "data": {"token": token}} for at, token in enumerate(tokens)]
        await sock.send(shown)
        for at in range(len(tokens)):
            await sock.expect("ack", id=f"{at}")
        assert [event["id"] for event in sock.of("ack")] == [f"{at}" for at in range(len(tokens))]
        (connection,) = live_house.house.engine.connections_of(1)
        assert connection.session.good_seconds() > 1000


@pytest.mark.parametrize(("protocol", "word"), [(V1, "invisible"), (None, "invisible"), (None, "offline")])
async def test_who_hides_and_types_in_one_breath_is_not_told_of(live_house, protocol, word):
    (room,) = await room_of_two(live_house)
    async with open_sockets() as nursery:
        other = await Socket.open(nursery, live_house, 2)
        await other.start(room)
        sock = await Socket.open(nursery, live_house, 1, protocol=protocol)
        if protocol is None:
            await sock.expect("connected")
            said = [{"type": "presence_update", "status": word}, {"type": "typing_start", "conversationId": room}]
        else:
            await sock.start(room)
            typing = {"type": "typing", "id": "types", "room": room, "data": {"on": True}}
            said = [{"type": "presence", "id": "hides", "data": {"status": word}}, typing]
        await other.settle()
        await sock.send_bytes(b"".join(frame(json.dumps(one)) for one in said))
        await sock.settle()
        path = f"/api/conversations/{room}/typing"  # the room tells at most once a second of who types
        await trio.sleep(1.2)
        assert (await live_house.post(path, 2, {"isTyping": True})).status == 200
        await other.expect("typing")
        assert not [event for event in other.of("typing") if 1 in event["data"]["users"]]


async def test_a_sync_names_every_room_also_one_that_a_join_with_it_did_not_let_in(live_house):
    (room,) = await room_of_two(live_house)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send([joins(room, mode="summary"), sync(room)])
        answer = await sock.expect("ack", id="sync")
        assert (answer["data"]["rooms"], [one["r"] for one in answer["data"]["refused"]]) == ([], [room])


async def test_what_waits_for_its_turn_is_asked_as_things_are_then(live_house):
    """Pages and people are read when the peer has taken what came before: `top` is of then, and so is membership."""
    (room,) = await room_of_two(live_house)
    for _ in range(13):
        await say(live_house, room, "x" * 9_900)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1, receive_buffer=4096)
        await sock.start()
        sock.stop_reading()
        pages = [{"type": "history", "id": f"page {at}", "room": room, "data": {"limit": 13}} for at in range(64)]
        for start in range(0, len(pages), 16):
            await sock.send(pages[start : start + 16])
        await sock.send({"type": "presence", "id": "people", "room": room})
        await trio.sleep(0.5)
        await say(live_house, room, "later")
        sock.read_again()
        last = (await sock.expect("ack", 60, id="page 63"))["data"]
        assert (last["messages"][-1]["seq"], last["top"]) == (14, 14)
        assert (await sock.expect("ack", id="people"))["data"]["users"]
        sock.stop_reading()
        for start in range(0, len(pages), 16):
            await sock.send([{**page, "id": f"again {page['id']}"} for page in pages[start : start + 16]])
        await sock.send({"type": "presence", "id": "people later", "room": room})
        await trio.sleep(0.5)
        assert (await live_house.delete(f"/api/conversations/{room}/participants/1", 1)).status == 200
        sock.read_again()
        assert (await sock.expect("error", 60, id="people later"))["data"]["error"] == "NOT_MEMBER"
