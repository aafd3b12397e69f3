"""`start`: what a client says of itself, which only the log is told; and what happens while rooms are asked."""

import pytest
import structlog
import trio
from held import holding_room, holding_table
from wire import Socket, open_sockets, wait_until


async def test_a_client_may_say_what_it_is_and_the_log_has_it(live_house):
    await live_house.people(1)
    with structlog.testing.capture_logs() as logs:
        async with open_sockets() as nursery:
            for given in (
                {"client": {"name": "page", "ver": "1.2"}, "caps": ["unknown", "x" * 64]},
                {"client": {"name": "é p"}, "caps": []},
                {},
            ):
                sock = await Socket.open(nursery, live_house, 1)
                ready = await sock.start(**given)
                assert not {"client", "caps"} & set(ready["data"])
    told = [(log["user"], log["client"], log["version"]) for log in logs if log["event"] == "session.started"]
    assert told == [(1, "page", "1.2"), (1, "é p", None)]


@pytest.mark.parametrize(
    "given",
    [
        {"client": {"ver": "1"}},
        {"client": {"name": ""}},
        {"client": {"name": "x" * 65}},
        {"client": {"name": "a\nb"}},
        {"client": {"name": "a", "ver": 1}},
        {"client": "page"},
        {"caps": ["x"] * 33},
        {"caps": ["\x1b[2J"]},
        {"caps": "x"},
    ],
    ids=str,
)
async def test_what_no_client_can_be_is_an_error_and_start_may_be_said_again(live_house, given):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        refused = await sock.ask("start", **given)
        assert (refused["type"], refused["data"]["error"]) == ("error", "BAD_FRAME")
        await sock.start()


# -- while rooms are asked ---------------------------------------------------------------------------------------------


async def awake_and_asleep(house):
    """(A room of 1 and 2 that is awake, one of theirs that nobody has woken yet)."""
    await house.people(1, 2, 3)
    awake = await house.conversation(1, 2)
    assert (await house.post(f"/api/conversations/{awake}/messages", 1, {"content": "first"})).status == 201
    return awake, await house.conversation(1, 2)


def rooms_of(ready):
    return [item["r"] for item in ready["data"]["rooms"]], [
        (item["r"], item["error"]) for item in ready["data"].get("refused", ())
    ]


async def has_answered(house, user, room):
    """Wait until the room has answered to the `start` that is under way."""
    (connection,) = house.house.engine.connections_of(user)

    def missing():
        start = connection.session.starting
        return start is None or (room not in {*start._views, *start._refused} and "the answer")

    await wait_until(missing)


@pytest.mark.parametrize("mode", ["full", "summary", "none"])
@pytest.mark.parametrize("comes_back", [False, True], ids=["out", "out and in"])
async def test_a_room_that_is_lost_after_it_has_answered_is_refused(live_house, database, mode, comes_back):
    """That they are out was told, and `ready` does not say anything else."""
    room, other = await awake_and_asleep(live_house)
    path = f"/api/conversations/{room}/participants"
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 2)
        async with holding_room(database, other):
            start = await sock.command("start", rooms=[{"r": room, "mode": mode}, {"r": other}])
            await has_answered(live_house, 2, room)
            assert (await live_house.delete(f"{path}/2", 1)).status == 200
            left = await sock.expect("member", change="left", room=room)
            if comes_back:
                assert (await live_house.post(path, 1, {"userIds": [2]})).status == 200
                await sock.expect("member", change="joined", room=room)
        ready = await sock.expect("ready", id=start)
        inside, refused = rooms_of(ready)
        assert (sorted(inside), refused) == (
            (sorted([room, other]), []) if comes_back else ([other], [(room, "NOT_MEMBER")])
        )
        assert sock.position(left) < sock.position(ready)
        await sock.settle()
        assert len(sock.of("member")) == 1 + comes_back, "told once"
        hub, (connection,) = live_house.house.hub, live_house.house.engine.connections_of(2)
        assert hub.is_attached(connection, room) == (comes_back and mode == "full")
        assert hub.summaries.watches(connection, room) == (comes_back and mode == "summary")


@pytest.mark.parametrize("is_resumed", [False, True])
async def test_a_room_that_the_user_comes_into_after_it_has_refused_is_asked_again(live_house, database, is_resumed):
    """That they are in was told, and a client that is refused the room would hear nothing of it any more."""
    room, other = await awake_and_asleep(live_house)
    path = f"/api/conversations/{room}/participants"
    named = [other] if is_resumed else [room, other]
    resume = {"resume": {"rooms": {str(room): {"seq": 1}}}} if is_resumed else {}
    assert (await live_house.delete(f"{path}/2", 1)).status == 200
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 2)
        async with holding_room(database, other):
            start = await sock.command("start", rooms=[{"r": one} for one in named], **resume)
            await has_answered(live_house, 2, room)
            assert (await live_house.post(path, 1, {"userIds": [2]})).status == 200
            await sock.expect("member", change="joined", room=room)
        inside, refused = rooms_of(await sock.expect("ready", id=start))
        assert (sorted(inside), refused) == (sorted([room, other]), [])
        await sock.expect("live")
        assert (await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "heard"})).status == 201
        await sock.expect("message", body="heard")
        assert [event["data"]["change"] for event in sock.of("member")] == ["joined"] * (1 + is_resumed)


async def test_how_a_room_stands_is_told_after_ready_and_counts_what_was_said_before_it(live_house, database):
    room, other = await awake_and_asleep(live_house)
    wanted = [{"r": room, "mode": "summary"}]
    async with open_sockets() as nursery:
        earlier, sock = [await Socket.open(nursery, live_house, 2) for _ in range(2)]
        await earlier.start(rooms=wanted)
        async with holding_room(database, other):
            start = await sock.command("start", rooms=[*wanted, {"r": other}])
            await wait_until(lambda: len(live_house.house.hub.summaries.rooms[room].followers) < 2 and "the answer")
            said = await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "meanwhile"})
            assert said.status == 201
            await wait_until(lambda: 2 not in tops(earlier) and "the summary")  # all are told in one pass
        ready = await sock.expect("ready", id=start)
        summary = await sock.expect("room_summary")
        assert sock.position(ready) < sock.position(summary)
        assert (summary["data"]["top"], summary["data"]["unread"]) == (2, 2)


def tops(sock):
    return [summary["data"]["top"] for summary in sock.of("room_summary")]


@pytest.mark.parametrize("mode", ["summary", "none"])
@pytest.mark.parametrize("says", ["rooms", "cursor"])
async def test_a_room_in_which_the_client_has_a_place_is_heard_whole_whatever_mode_it_names(live_house, mode, says):
    """Else it would be told of a gap in a room of which it is told nothing."""
    room, _ = await awake_and_asleep(live_house)
    place = {"rooms": {str(room): {"seq": 0, "epoch": 1}}} if says == "rooms" else {"cursor": f"1~{room}.0.1"}
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 2)
        ready = await sock.ask("start", rooms=[{"r": room, "mode": mode}], resume=place)
        assert [item["mode"] for item in ready["data"]["rooms"]] == ["full"]
        await sock.expect("live")
        assert [message["seq"] for message in sock.of("message")] == [1]


async def test_that_a_lost_room_is_looked_for_holds_up_nobody_for_longer_than_two_seconds(live_house, database):
    """All others have answered, and `start` has ten seconds."""
    await live_house.people(1, 2)
    lost, room = await live_house.conversation(1, 2), await live_house.conversation(1, 2)
    for one in (lost, room):
        assert (await live_house.post(f"/api/conversations/{one}/messages", 1, {"content": "x"})).status == 201
    assert (await live_house.delete(f"/api/conversations/{lost}/participants/2", 1)).status == 200
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 2)
        async with holding_table(database, "member_changes"):
            ready = await sock.ask("start", resume={"rooms": {str(one): {"seq": 0} for one in (lost, room)}}, seconds=8)
        assert rooms_of(ready) == ([room], [(lost, "NOT_MEMBER")])
        await sock.expect("message", room=room)


# -- a room that could not be asked then, and is joined later ----------------------------------------------------------


class Looks:
    """Storage is asked when a user left a room: what it says is told when the test says so."""

    def __init__(self, ask):
        self._ask = ask
        self.has_answered, self.may_tell = trio.Event(), trio.Event()

    async def ends_of(self, *arguments):
        ends = await self._ask(*arguments)
        self.has_answered.set()
        await self.may_tell.wait()
        return ends


async def test_a_start_that_came_in_time_is_answered_however_long_one_of_its_rooms_takes(
    live_house, database, monkeypatch
):
    monkeypatch.setattr("greenroom.http.ws.v1.START_SECONDS_MAX", 0.5)
    monkeypatch.setattr("greenroom.http.ws.services.COMMAND_SECONDS_MAX", 3.0)
    await live_house.people(1, 2, 3)
    room, other = await live_house.conversation(1, 2), await live_house.conversation(1, 2, 3)
    assert (await live_house.post(f"/api/conversations/{other}/messages", 1, {"content": "awake"})).status == 201
    async with open_sockets() as nursery:
        async with holding_room(database, room):  # which takes its time before the socket has any to lose
            sock = await Socket.open(nursery, live_house, 2)
            ready = await sock.ask("start", rooms=[{"r": room}, {"r": other}])
        assert rooms_of(ready) == ([other], [(room, "TIMEOUT")])
        assert sock.close_code is None
        silent = await Socket.open(nursery, live_house, 2)
        assert await silent.wait_closed() == 4103


@pytest.mark.parametrize("comes_back", [False, True], ids=["out", "back"])
async def test_who_joins_a_room_that_was_lost_while_away_is_told_that_they_left(
    live_house, database, monkeypatch, comes_back
):
    """`start` could not ask it. What is told to who came back meanwhile does not end with that they left."""
    monkeypatch.setattr("greenroom.http.ws.services.COMMAND_SECONDS_MAX", 0.5)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    path = f"/api/conversations/{room}"
    assert (await live_house.post(f"{path}/messages", 1, {"content": "heard"})).status == 201
    assert (await live_house.delete(f"{path}/participants/2", 1)).status == 200
    assert (await live_house.post(f"{path}/messages", 1, {"content": "not for them"})).status == 201
    live_house.house.system.kill(live_house.house.system.ref("room", room))
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 2)
        async with holding_room(database, room):
            ready = await sock.ask("start", resume={"rooms": {str(room): {"seq": 1}}})
        monkeypatch.setattr("greenroom.http.ws.services.COMMAND_SECONDS_MAX", 10.0)  # who joins has to load it first
        assert rooms_of(ready) == ([], [(room, "TIMEOUT")])
        if comes_back:
            conversations = live_house.house.storage.conversations
            looks = Looks(conversations.ends_of)
            monkeypatch.setattr(conversations, "ends_of", looks.ends_of)
            command = await sock.command("join", room, after=1)
            await looks.has_answered.wait()
            assert (await live_house.post(f"{path}/participants", 1, {"userIds": [2]})).status == 200
            looks.may_tell.set()
            joined = await sock.expect("ack", id=command)
            assert joined["type"] == "ack"
            await sock.expect("live")
            await sock.settle()
            assert sock.of("member")[-1]["data"]["change"] == "joined"
            assert (await live_house.post(f"{path}/messages", 1, {"content": "heard again"})).status == 201
            await sock.expect("message", body="heard again")
            return
        refused = await sock.ask("join", room, after=1)
        assert (refused["type"], refused["data"]["error"]) == ("error", "NOT_MEMBER")
        (left,) = sock.of("member")
        assert (left["room"], left["seq"], left["data"]["change"], left["data"]["user"]) == (room, 2, "left", 2)
        assert sock.position(left) < sock.position(refused)
        for given in ({"after": 1}, {}):
            assert (await sock.ask("join", room, **given))["data"]["error"] == "NOT_MEMBER"
        assert sock.of("member") == [left], "told once"
        assert not sock.of("message")
