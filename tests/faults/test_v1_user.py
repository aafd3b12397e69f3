"""Commands of greenroom.v1 about the session: refresh, sync, members, summaries, and what is said at a limit."""

import json
import time
from contextlib import suppress

import pytest
import trio
from wire import V1, Gone, Socket, frame, open_in, open_sockets, wait_until


async def ready(nursery, house, user, *rooms, token=None, **data):
    sock = await Socket.open(nursery, house, user, token=token)
    await sock.start(*rooms, **data)
    return sock


async def test_ids_of_users_may_be_digits_in_a_string_as_all_ids_may(live_house):
    await live_house.people(1, 2)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1)
        for kind, data, answer in (
            ("block", {"user": "2"}, {"user": 2, "blocked": True}),
            ("unblock", {"user": "2"}, {"user": 2, "blocked": False}),
            ("watch", {"users": ["2", 2]}, {"watching": [], "refused": [2]}),
        ):
            assert (await sock.ask(kind, **data))["data"] == answer
        own = await sock.ask("block", user="1")
        assert own["data"]["message"] == "data.user: the id of another user is needed"
        for wrong in ("", "0", "-2", "2.0", " 2", "２", "9" * 17, 0, -1, 2.5, True, None, [2]):
            for told in (await sock.ask("block", user=wrong), await sock.ask("watch", users=[wrong])):
                assert told["data"]["error"] == "BAD_FRAME"
                assert told["data"]["message"].endswith("the id of a user is needed, as a number or its digits")


# -- refresh ----------------------------------------------------------------------------------------------------------


async def test_a_token_that_ends_is_told_of_and_another_one_keeps_the_connection(live_house, monkeypatch):
    await live_house.people(1)
    now = int(time.time())
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, None, token=live_house.token(1, exp=now + 50))
        told = await sock.expect("token_expiring")
        assert told["data"] == {"at": (now + 50) * 1000}
        reply = await sock.ask("refresh", token=live_house.token(1, exp=now + 55, jti="another"))
        assert reply["data"] == {"expires": (now + 55) * 1000}
        await sock.expect("token_expiring", data={"at": (now + 55) * 1000})
        reply = await sock.ask("refresh", token=live_house.token(1, exp=now + 5000))
        assert reply["data"] == {"expires": (now + 5000) * 1000}
        await trio.sleep(1.5)
        assert len(sock.of("token_expiring")) == 2
        assert (await sock.ask("presence", status="busy"))["type"] == "ack"


@pytest.mark.parametrize("end", [2**53 - 1, 1e18, 1e300, 1.7e308])
async def test_a_token_that_ends_when_no_number_says_it_is_taken_like_one_without_an_end(live_house, end):
    """Its milliseconds are no integer of JSON, or infinite: then nothing was answered."""
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1)
        reply = await sock.ask("refresh", token=live_house.token(1, exp=end))
        assert reply["data"] == {"expires": None}
        assert live_house.house.engine.statistics().faults == 0


async def test_after_its_end_a_token_has_its_grace_and_then_the_connection_is_closed(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.v1.V1Session.grace_seconds", 5.0)
    await live_house.people(1)
    async with open_sockets() as nursery:
        end = int(time.time()) + 4
        ended, mended = [await ready(nursery, live_house, None, token=live_house.token(1, exp=end)) for _ in "ab"]
        await trio.sleep(max(0, end + 0.2 - time.time()))
        assert (await ended.ask("presence", status="busy"))["type"] == "ack"
        assert (await mended.ask("refresh", token=live_house.token(1)))["type"] == "ack"
        assert await ended.wait_closed(15) == 4002
        assert time.time() >= end + 5
        await mended.settle()
        assert mended.close_code is None


@pytest.mark.parametrize(
    ("token", "error"),
    [("of another", "TOKEN_INVALID"), ("expired", "TOKEN_EXPIRED"), ("nonsense", "TOKEN_INVALID"), (7, "BAD_FRAME")],
)
async def test_a_wrong_token_changes_nothing(live_house, token, error):
    await live_house.people(1, 2)
    tokens = {"of another": live_house.token(2), "expired": live_house.token(1, exp=int(time.time()) - 1)}
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1)
        reply = await sock.ask("refresh", token=tokens.get(token, token))
        assert reply["data"]["error"] == error
        assert (await sock.ask("presence", status="busy"))["type"] == "ack"


# -- sync and members -------------------------------------------------------------------------------------------------


async def test_sync_tells_again_what_follows_the_cursors(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, room)
        for body in "abc":
            await sock.ask("send", room, body=body)
        await sock.ask("read", room, seq=3)
        await sock.expect("read_sync")
        position = await sock.settle()
        reply = await sock.ask("sync", rooms={str(room): 1}, user=1)
        assert [item["top"] for item in reply["data"]["rooms"]] == [3]
        await sock.expect("live", after=position)
        await sock.expect("read_sync", after=position)
        again = [event for event in sock.events[position:] if event["type"] in ("message", "read_sync")]
        assert sorted(event.get("seq", event.get("useq")) for event in again) == [2, 2, 3]
        assert (await sock.ask("send", room, body="d"))["data"]["seq"] == 4
        await sock.expect("message", seq=4)
        for wrong in ({}, {"rooms": {"7": 1}}, {"rooms": {str(room): None}}, {"user": "x"}):
            assert (await sock.ask("sync", **wrong))["data"]["error"] == "BAD_FRAME", wrong


async def test_a_sync_for_which_there_is_no_place_among_what_waits_is_refused_whole(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.v1.INFLIGHT_MAX", 4)
    await live_house.people(1, 2)
    rooms = [await live_house.conversation(1, 2) for _ in range(3)]
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, *rooms)
        for room in rooms:
            await sock.ask("send", room, body="a")
        await sock.ask("read", rooms[0], seq=1)
        await sock.expect("read_sync")
        position = await sock.settle()
        whole = {"rooms": {str(room): 0 for room in rooms}}
        asked = {"whole": whole, "again": {**whole, "user": 0}, "one": {"rooms": {str(rooms[0]): 1}}}
        await sock.send([{"type": "sync", "id": name, "data": data} for name, data in asked.items()])
        await wait_until(lambda: [name for name in asked if name not in sock.replies])
        assert {name: sock.replies[name]["type"] for name in asked} == {"whole": "ack", "again": "error", "one": "ack"}
        assert sock.replies["again"]["data"]["error"] == "TOO_MANY_INFLIGHT"
        await trio.sleep(0.2)
        await sock.settle()
        told = [event["room"] for event in sock.events[position:] if event["type"] == "message"]
        assert sorted(told) == sorted(rooms), "once each"
        assert not [event for event in sock.events[position:] if event["type"] == "read_sync"]
        (connection,) = live_house.house.engine.connections_of(1)
        assert connection.session.inflight == 0
        assert (await sock.ask("sync", rooms=whole["rooms"], user=0))["type"] == "ack"


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 4}])  # to make the room is one
async def test_a_send_for_which_there_is_no_place_among_what_waits_is_no_message_of_the_minute(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.v1.INFLIGHT_MAX", 1)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, room)
        names = [f"s{number}" for number in range(4)]
        await sock.send([{"type": "send", "id": name, "room": room, "data": {"body": "a"}} for name in names])
        await wait_until(lambda: [name for name in names if name not in sock.replies])
        assert [sock.replies[name]["data"].get("code") for name in names] == [None, 4292, 4292, 4292]
        assert [(await sock.ask("send", room, body="b"))["type"] for _ in range(3)] == ["ack", "ack", "error"]


@pytest.mark.parametrize("mode", ["full", "summary"])
async def test_joins_of_one_frame_go_no_farther_than_the_limit_of_rooms(live_house, monkeypatch, mode):
    monkeypatch.setattr("greenroom.http.ws.v1.ROOMS_MAX", 2)
    monkeypatch.setattr("greenroom.http.ws.v1_summary.SUMMARIES_MAX", 2)
    await live_house.people(1, 2)
    rooms = [await live_house.conversation(1, 2) for _ in range(4)]
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1)
        await sock.send([{"type": "join", "id": str(room), "room": room, "data": {"mode": mode}} for room in rooms])
        await wait_until(lambda: [room for room in rooms if str(room) not in sock.replies])
        replies = [sock.replies[str(room)] for room in rooms]
        assert sorted(reply["type"] for reply in replies) == ["ack", "ack", "error", "error"]
        assert {reply["data"]["error"] for reply in replies if reply["type"] == "error"} == {"TOO_MANY_ROOMS"}
        joined = next(reply["room"] for reply in replies if reply["type"] == "ack")
        assert (await sock.ask("join", joined, mode=mode))["type"] == "ack", "again is harmless"


async def test_members_come_in_pages_and_to_members_only(live_house):
    await live_house.people(1, 2, 3, 4)
    room = await live_house.conversation(1, 2, 3)
    async with open_sockets() as nursery:
        sock, stranger = await ready(nursery, live_house, 1), await ready(nursery, live_house, 4)
        page = (await sock.ask("members", room, limit=2))["data"]
        assert [(one["user"], one["name"], one["role"]) for one in page["members"]] == [
            (1, "user-1", "admin"),
            (2, "user-2", "member"),
        ]
        assert page["more"]
        page = (await sock.ask("members", room, after=2, limit=2))["data"]
        assert ([one["user"] for one in page["members"]], "more" in page) == ([3], False)
        for after, found in (("2", [3]), (0, [1, 2, 3]), (None, [1, 2, 3])):
            page = (await sock.ask("members", room, after=after))["data"]
            assert [one["user"] for one in page["members"]] == found
        assert (await stranger.ask("members", room))["data"]["error"] == "NOT_MEMBER"
        assert (await sock.ask("members", room, limit=0))["data"]["error"] == "BAD_FRAME"


# -- summaries --------------------------------------------------------------------------------------------------------


async def test_a_room_in_summary_is_told_once_a_second_as_it_stands(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        author = await ready(nursery, live_house, 1, room)
        follower = await Socket.open(nursery, live_house, 2)
        came = await follower.start(rooms=[{"r": room, "mode": "summary"}])
        assert came["data"]["rooms"][0]["mode"] == "summary"
        assert (await follower.expect("room_summary"))["data"] == {"top": 0, "unread": 0, "mention": 0, "last": None}
        started = trio.current_time()
        for number in range(40):
            await author.ask("send", room, body=f"{number} " + "x" * 200)
            await trio.sleep(0.05)
        await wait_until(lambda: [s["data"] for s in follower.of("room_summary")[-1:] if s["data"]["top"] < 40])
        seconds = trio.current_time() - started
        assert 3 <= len(follower.of("room_summary")) <= seconds + 2
        told = follower.of("room_summary")[-1]["data"]
        assert (told["unread"], told["last"]["sender"], told["last"]["body"][:3]) == (40, 1, "39 ")
        assert len(told["last"]["body"]) == 100
        assert not follower.of("message", "receipts", "typing")


async def test_a_summary_counts_what_others_said_and_follows_the_marker(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        author = await ready(nursery, live_house, 1, room)
        phone, laptop = await ready(nursery, live_house, 2, room), await ready(nursery, live_house, 2)
        assert (await laptop.ask("join", room, mode="summary"))["data"]["mode"] == "summary"
        for sock in (author, phone, author, author):
            await sock.ask("send", room, body="x")
        await wait_until(lambda: summary(laptop)[:2] != (4, 3) and summary(laptop))
        await phone.ask("read", room, seq=3)
        await wait_until(lambda: summary(laptop)[:2] != (4, 1) and summary(laptop))
        await laptop.ask("join", room, after=2)
        await laptop.expect("message", seq=4)
        count = len(laptop.of("room_summary"))
        await author.ask("send", room, body="y")
        await laptop.expect("message", seq=5)
        await trio.sleep(1.2)
        assert len(laptop.of("room_summary")) == count


async def test_who_is_removed_gets_no_summary_any_more_and_a_stranger_none_at_all(live_house):
    await live_house.people(1, 2, 3)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        author, gone = await ready(nursery, live_house, 1, room), await ready(nursery, live_house, 2)
        stranger = await ready(nursery, live_house, 3)
        assert (await stranger.ask("join", room, mode="summary"))["data"]["error"] == "NOT_MEMBER"
        await gone.ask("join", room, mode="summary")
        await gone.expect("room_summary")
        await author.ask("send", room, body="before")
        await live_house.delete(f"/api/conversations/{room}/participants/2", 1)
        position = await gone.settle()
        await author.ask("send", room, body="not for strangers")
        await trio.sleep(1.3)
        assert not [event for event in gone.events[position:] if event["type"] == "room_summary"]
        assert live_house.house.hub.summaries.rooms == {}


async def test_a_mode_that_is_none_and_too_many_summaries_are_refused(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.v1_summary.SUMMARIES_MAX", 1)
    await live_house.people(1)
    rooms = [await live_house.conversation(1) for _ in "ab"]
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1)
        assert (await sock.ask("join", rooms[0], mode="loud"))["data"]["error"] == "BAD_FRAME"
        for _ in "ab":
            assert (await sock.ask("join", rooms[0], mode="summary"))["type"] == "ack"
        assert (await sock.ask("join", rooms[1], mode="summary"))["data"]["error"] == "TOO_MANY_ROOMS"
        await sock.ask("leave", rooms[0])
        assert (await sock.ask("join", rooms[1], mode="summary"))["type"] == "ack"
        sock.cut()
        await wait_until(lambda: live_house.house.hub.summaries.rooms)


def summary(sock):
    told = sock.of("room_summary")
    return (told[-1]["data"]["top"], told[-1]["data"]["unread"]) if told else (None, None)


# -- limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 20, "messages_per_minute": 3}])  # a room, too
async def test_each_class_of_commands_has_its_limit_and_slow_down_names_it(live_house, monkeypatch):
    await live_house.people(1)
    room = await live_house.conversation(1)
    live_house.house.sockets.limits.typing.per_minute = 3
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, room)
        for _ in range(4):
            await sock.send({"type": "typing", "room": room, "data": {"on": True}})
        told = (await sock.expect("slow_down"))["data"]
        assert told["class"] == "typing"
        assert 1 <= told["retryAfter"] <= 60
        assert not sock.of("error")
        await trio.sleep(1)
        errors = [await sock.ask("send", room, body="x") for _ in range(3)][2]
        assert errors["data"]["error"] == "RATE_LIMITED"
        await sock.expect("slow_down", data={"class": "send", "retryAfter": errors["data"]["retryAfter"]})
        await trio.sleep(1)
        for _ in range(20):
            await sock.command("presence", status="busy")
        await wait_until(lambda: "cmds" not in [event["data"]["class"] for event in sock.of("slow_down")] and "cmds")
        assert sock.close_code is None


@pytest.mark.wrong_frames
@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 7}])
async def test_a_command_that_is_refused_counts_once(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, room)
        for kind, data in (("join", {"after": "x"}), ("join", {"after": -1}), ("history", {"before": 1, "after": 1})):
            assert (await sock.ask(kind, room, **data))["data"]["code"] == 1002
        (connection,) = live_house.house.engine.connections_of(1)
        connection.session.inflight, before = 10_000, connection.session.inflight
        for kind, data in (("send", {"body": "x"}), ("read", {"seq": 0})):
            assert (await sock.ask(kind, room, **data))["data"]["code"] == 4292
        await sock.send({"type": "send", "room": room, "data": {"body": "x", "clientId": "named"}})
        assert (await sock.expect("error", id="named"))["data"]["code"] == 4292
        connection.session.inflight = before
        assert (await sock.ask("read", room, seq=0))["type"] == "ack"
        assert (await sock.ask("read", room, seq=0))["data"]["code"] == 4291


@pytest.mark.parametrize("house_settings", [{"messages_per_minute": 9}])
@pytest.mark.parametrize("protocol", [V1, None], ids=["v1", "compat"])
async def test_a_duplicate_whose_answer_nobody_hears_is_free_too(live_house, protocol):
    await live_house.people(1)
    room = await live_house.conversation(1)
    limits = live_house.house.sockets.limits.messages
    message = {"body": "x", "clientId": "one"} if protocol else {"content": "x", "requestId": "one"}
    said = {"type": "send", "room": room, "data": message}
    if protocol is None:
        said = {"type": "send_message", "conversationId": room, **message}
    async with open_sockets() as nursery:
        sock = await open_in(nursery, live_house, 1, room, protocol)
        await sock.send(said)
        await sock.expect("ack" if protocol else "message_sent")
        counted = len(limits._taken[1])
        for _ in range(3):
            sock = await open_in(nursery, live_house, 1, room, protocol)
            (*_, connection) = live_house.house.engine.connections_of(1)
            connection.session.receive(json.dumps(said))
            connection.abort()
        await wait_until(lambda: len(limits._taken[1]) - counted)


@pytest.mark.wrong_frames
@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 5}])
@pytest.mark.parametrize("body", [r'"\u0000"', "[]"], ids=["no JSON that is taken", "no text"])
async def test_over_the_limit_what_cannot_be_read_is_answered_too_and_then_it_is_a_flood(live_house, body):
    """Else whoever waits for the answer waits for ever."""
    await live_house.people(1)
    room = await live_house.conversation(1)
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, room)

        async def say(number):
            text = f'{{"type":"send","id":"m{number}","room":{room},"data":{{"body":{body}}}}}'
            await sock.send_bytes(frame(text))

        for number in range(8):
            await say(number)
        errors = [(await sock.expect("error", id=f"m{number}"))["data"] for number in range(8)]
        assert {error["code"] for error in errors[:3]} == {1001 if "u0000" in body else 1002}
        assert {error["code"] for error in errors[5:]} == {4291}
        assert all(1 <= error["retryAfter"] <= 60 for error in errors[5:])
        assert (await sock.expect("slow_down"))["data"]["class"] == "cmds"
        with suppress(Gone):
            for number in range(8, 30):
                await say(number)
        assert await sock.wait_closed() == 4102


@pytest.mark.parametrize("house_settings", [{"ws_commands_per_minute": 5}])
async def test_typing_that_goes_on_for_three_times_what_a_minute_allows_is_flooding(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1)
    live_house.house.sockets.limits.typing.per_minute = 3
    async with open_sockets() as nursery:
        sock = await ready(nursery, live_house, 1, room)
        with suppress(Gone):
            for _ in range(25):
                await sock.send({"type": "typing", "room": room, "data": {"on": True}})
        assert await sock.wait_closed() == 4102


async def test_a_room_in_no_mode_is_not_heard_of_and_may_be_spoken_to(live_house):
    await live_house.people(1, 2)
    room, other = [await live_house.conversation(1, 2) for _ in range(2)]
    async with open_sockets() as nursery:
        quiet, phone, friend = [await Socket.open(nursery, live_house, user) for user in (1, 1, 2)]
        came = await quiet.ask("start", rooms=[{"r": room, "mode": "none"}, {"r": other}])
        assert {item["r"]: item["mode"] for item in came["data"]["rooms"]} == {room: "none", other: "full"}
        assert (await quiet.expect("live"))["data"]["rooms"] == [other]
        await phone.start(room, other)
        await friend.start(room, other)
        await friend.ask("send", room, body="one")
        await friend.ask("send", other, body="two")
        await quiet.expect("message", room=other)
        assert (await quiet.ask("send", room, body="three"))["data"]["seq"] == 2
        assert (await quiet.ask("read", room, seq=1))["data"]["seq"] == 1
        assert (await quiet.expect("read_sync"))["room"] == room
        page = await quiet.ask("history", room)
        assert [message["body"] for message in page["data"]["messages"]] == ["one", "three"]
        assert (await quiet.ask("sync", rooms={str(room): 0}))["type"] == "error"
        whole = (await quiet.ask("join", other, mode="none"))["data"]
        assert (whole["r"], whole["mode"], whole["top"]) == (other, "none", 1)
        await phone.ask("join", room, mode="summary")
        await phone.expect("room_summary", room=room)
        assert (await phone.ask("join", room, mode="none"))["data"]["unread"] == 0
        at = await quiet.settle(), await phone.settle()
        await friend.ask("typing", other, on=True)
        await friend.ask("send", other, body="four")
        await friend.ask("send", room, body="five")
        await phone.expect("message", room=other, seq=2)
        await trio.sleep(1.2)  # a summary would have come
        await quiet.settle()
        await phone.settle()
        heard = [e for e in quiet.events[at[0] :] + phone.events[at[1] :] if e.get("room") == room]
        assert not heard
        assert not [event for event in quiet.events[at[0] :] if event.get("room") == other]
        assert (await quiet.ask("join", other, after=1))["data"]["mode"] == "full"
        await quiet.expect("message", room=other, seq=2)


async def test_rooms_in_no_mode_have_no_part_in_the_limits(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.v1_commands.ROOMS_MAX", 1)
    monkeypatch.setattr("greenroom.http.ws.v1.ROOMS_MAX", 1)
    await live_house.people(1, 2)
    rooms = [await live_house.conversation(1) for _ in range(3)]
    strange = await live_house.conversation(2)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        none = [{"r": room, "mode": "none"} for room in [*rooms, strange]]
        ready = await sock.ask("start", rooms=[*none, {"r": rooms[0], "mode": "full"}])
        modes = {item["r"]: item["mode"] for item in ready["data"]["rooms"]}
        assert modes == {rooms[0]: "full", rooms[1]: "none", rooms[2]: "none"}
        assert ready["data"]["refused"][0] == {"r": strange, "code": 3004, "error": "NOT_MEMBER"}
        assert (await sock.ask("join", rooms[1]))["data"]["error"] == "TOO_MANY_ROOMS"
        assert (await sock.ask("join", rooms[0], mode="none"))["data"]["mode"] == "none"
        assert (await sock.ask("join", rooms[1]))["data"]["mode"] == "full"
        assert (await sock.ask("join", strange, mode="none"))["data"]["error"] == "NOT_MEMBER"
