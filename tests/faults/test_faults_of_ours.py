"""A session that fails is a fault of ours: the code of its close says so, and nobody else is troubled.

4100 for greenroom.v1: wait, and come back. 1011 for a page (RFC 6455 section 7.4.1: an unexpected condition).
"""

import json
import zlib

import pytest
import trio
from wire import DEFLATE_TAIL, V1, Socket, frame, open_sockets, wait_until

from greenroom.http.ws import session
from greenroom.http.ws.compat import CompatSession
from greenroom.http.ws.overdue import TYPING
from greenroom.http.ws.services import ask_with_backpressure
from greenroom.http.ws.v1 import V1Session
from greenroom.runtime import Ref

CODES = pytest.mark.parametrize(("protocol", "code"), [(V1, 4100), (None, 1011)], ids=["v1", "compat"])


async def come(nursery, house, user, protocol):
    sock = await Socket.open(nursery, house, user, protocol=protocol)
    await (sock.expect("connected") if protocol is None else sock.start())
    return sock


def break_session(monkeypatch, house, user, what):
    """From now on it raises where the one session of *user* is asked; others do as ever. Returns its connection."""
    (connection,) = house.house.engine.connections_of(user)
    kind = type(connection.session)
    whole = getattr(kind, what)

    def broken(self, *args):
        if self is connection.session:
            raise RuntimeError("a fault of ours")
        return whole(self, *args)

    monkeypatch.setattr(kind, what, broken)
    return connection


@CODES
@pytest.mark.parametrize("where", ["in what it was told", "by itself"])
async def test_a_session_that_fails_is_closed_with_its_code(live_house, monkeypatch, protocol, code, where):
    await live_house.people(1, 2)
    engine = live_house.house.engine
    async with open_sockets() as nursery:
        victim, other = [await come(nursery, live_house, user, protocol) for user in (1, 2)]
        if where == "by itself":
            engine.beat_within(break_session(monkeypatch, live_house, 1, "beat"), 1)
        else:
            break_session(monkeypatch, live_house, 1, "refuse_binary")
            await victim.send_bytes(frame(b"x", 2))
        assert await victim.wait_closed() == code
        assert victim.close_reason == "internal error"
        counted = engine.statistics()
        assert (counted.faults, counted.closed) == (1, {code: 1})
        await other.settle()
        assert other.close_code is None
        again = await come(nursery, live_house, 1, protocol)
        await wait_until(lambda: engine.total != 2 and "the end of the one")
        assert again.close_code is None


@CODES
async def test_one_whose_end_fails_too_is_cut_and_forgotten(live_house, monkeypatch, protocol, code):
    """What it would have said of itself is lost with it; nothing of it stays behind."""
    await live_house.people(1, 2)
    engine = live_house.house.engine
    async with open_sockets() as nursery:
        victim, other = [await come(nursery, live_house, user, protocol) for user in (1, 2)]
        break_session(monkeypatch, live_house, 1, "refuse_binary")
        break_session(monkeypatch, live_house, 1, "closed")
        await victim.send_bytes(frame(b"x", 2))
        assert await victim.wait_closed() in (1006, code)
        await wait_until(lambda: engine.total != 1 and engine.connections_of(1))
        await other.settle()
        assert other.close_code is None


@pytest.mark.wrong_frames  # of a size, which a field makes that nobody knows
@CODES
async def test_of_a_command_that_fails_behind_others_of_one_read_is_told_by_the_close_and_nothing_after_it(
    live_house, monkeypatch, protocol, code
):
    """What came before it in the same read is answered; nobody waits for an answer that never comes."""
    await live_house.people(1)
    async with open_sockets() as nursery:
        victim = await come(nursery, live_house, 1, protocol)
        handled = fail_at(monkeypatch, live_house, 1, "fail")
        await victim.send_bytes(b"".join(frame(named(word)) for word in ("before", "fail", "after")))
        assert await victim.wait_closed() == code
        assert handled == ["before", "fail"]
        assert victim.of("pong")


@pytest.mark.wrong_frames
@CODES
@pytest.mark.parametrize("house_settings", [{"ws_compression": True}])
async def test_the_rest_of_a_read_that_inflates_far_fails_as_its_beginning_does(
    live_house, monkeypatch, protocol, code
):
    """It is acted on later, by a timer: the fault ends the session all the same, and the timer ends nobody else."""
    house = live_house
    await house.people(1, 2)
    async with open_sockets() as nursery:
        other = await come(nursery, house, 2, protocol)
        victim = await Socket.open(nursery, house, 1, protocol=protocol, deflate=True)
        await (victim.expect("connected") if protocol is None else victim.start())
        handled = fail_at(monkeypatch, house, 1, "fail")
        words = ["before", *["much"] * 3, "between", "fail", "after"]
        await victim.send_bytes(b"".join(deflated(named(word, 100_000 * (word == "much"))) for word in words))
        assert await victim.wait_closed() == code
        assert handled == words[:-1]
        await other.settle()
        assert (other.close_code, house.house.engine.statistics().faults) == (None, 1)
        await wait_until(lambda: house.house.engine.total != 1 and "the end of the one")


@CODES
async def test_what_was_said_with_the_upgrade_and_fails_is_told_by_the_close_and_leaves_nothing(
    live_house, monkeypatch, protocol, code
):
    """The first frames may come in one piece with the request: it is answered with 101, and the code follows."""
    await live_house.people(1, 2)
    engine = live_house.house.engine
    fail_at(monkeypatch, live_house, 1, "fail")
    async with open_sockets() as nursery:
        victim = await Socket.open(nursery, live_house, 1, protocol=protocol, early=frame(named("fail")))
        assert await victim.wait_closed() == code
        await wait_until(lambda: engine.total and "the end of it")
        assert engine.statistics().faults == 1
        assert engine.connections_of(1) == []


@CODES
async def test_what_waited_for_a_full_room_and_fails_is_told_by_the_close(live_house, monkeypatch, protocol, code):
    """It is acted on when the room has room again, by a task; the session was paused, and must not stay so for ever."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    ref = live_house.house.system.ref("room", room)
    has_room, wait = trio.Event(), Ref.wait_room
    is_full = True

    def ask(services, to, command, reply_to):
        return not is_full and whole(services, to, command, reply_to)

    async def wait_room(self):
        await (has_room.wait() if self == ref else wait(self))

    whole = ask_with_backpressure
    async with open_sockets() as nursery:
        victim, other = [await come(nursery, live_house, user, protocol) for user in (1, 2)]
        monkeypatch.setattr(session, "ask_with_backpressure", ask)
        monkeypatch.setattr(Ref, "wait_room", wait_room)
        handled = fail_at(monkeypatch, live_house, 1, "fail")
        send = (
            {"type": "send", "id": "s", "room": room, "data": {"body": "waits"}}
            if protocol
            else {"type": "send_message", "conversationId": room, "content": "waits", "requestId": "s"}
        )
        frames = [json.dumps(send), *(named(word, kind="nothing") for word in ("before", "fail", "after"))]
        await victim.send_bytes(b"".join(frame(text) for text in frames))
        (connection,) = live_house.house.engine.connections_of(1)
        await wait_until(lambda: not connection.session._aside and "something put aside")
        is_full = False
        has_room.set()
        assert await victim.wait_closed() == code
        assert handled[-2:] == ["before", "fail"]
        await other.settle()
        assert other.close_code is None


def named(word, size=0, kind="ping"):
    """A frame of either protocol that says *word*; a ping is answered, and is never put aside."""
    return json.dumps({"type": kind, "id": word, "fill": "x" * size})


def deflated(text):
    stream = zlib.compressobj(9, zlib.DEFLATED, -12)
    data = stream.compress(text.encode()) + stream.flush(zlib.Z_SYNC_FLUSH)
    first, *rest = frame(data.removesuffix(DEFLATE_TAIL))
    return bytes([first | 0x40, *rest])


def fail_at(monkeypatch, house, user, word):
    """What sessions of *user* are told to act on raises where it says *word*. Returns the words that they acted on."""
    handled = []
    for kind in (V1Session, CompatSession):

        def handle(self, text, whole=kind.handle):
            said = json.loads(text).get("id")
            if self.user_id == user:
                handled.append(said)
                if said == word:
                    raise RuntimeError("a fault of ours")
            whole(self, text)

        monkeypatch.setattr(kind, "handle", handle)
    return handled


async def test_a_page_that_fails_as_it_arrives_holds_up_nobody_who_came_with_it(live_house, monkeypatch):
    await live_house.people(1, 2, 3, 4)
    await live_house.conversation(1, 2, 3, 4)
    last_seen, arrived, may_read = live_house.house.storage.last_seen, CompatSession.arrived, trio.Event()
    whole = last_seen.small_rooms_of

    async def held_up(users):
        await may_read.wait()
        return await whole(users)

    def broken(self):
        if self.user_id == 3:
            raise RuntimeError("a fault of ours")
        arrived(self)

    monkeypatch.setattr(last_seen, "small_rooms_of", held_up)
    monkeypatch.setattr(CompatSession, "arrived", broken)
    async with open_sockets() as nursery:
        pages = {user: await Socket.open(nursery, live_house, user, protocol=None) for user in (1, 2, 3, 4)}
        for page in pages.values():
            await page.expect("connected")
        may_read.set()
        assert await pages[3].wait_closed() == 1011
        await pages[4].expect("user_online", userId=2)
        await pages[2].expect("user_online", userId=4)
        assert live_house.house.engine.statistics().faults == 1


@pytest.mark.parametrize("whose", ["summaries", "receipts", "overdue"])
async def test_a_fault_in_what_is_told_once_a_second_ends_no_task_and_others_hear_on(live_house, monkeypatch, whose):
    """It comes up for one room, or for one socket that was behind: that one is closed."""
    await live_house.people(1, 2, 3)
    rooms = [await live_house.conversation(1, user) for user in (2, 3)]
    hub, engine = live_house.house.hub, live_house.house.engine
    part, fails_at = {
        "summaries": (hub.summaries, 1),
        "receipts": (hub.receipts, 2),  # what moves first is told at once, by the room
        "overdue": (hub.overdue, 1),
    }[whose]
    whole, calls = part._tell, []

    def broken(*asked):
        calls.append(asked)
        if len(calls) == fails_at:
            raise RuntimeError("a fault of ours")
        return whole(*asked)

    async with open_sockets() as nursery:
        behind, author, reader, follower = [await come(nursery, live_house, user, V1) for user in (2, 3, 1, 1)]
        for sock, mode in ((author, "full"), (reader, "full"), (follower, "summary")):
            for room in rooms if sock is not author else rooms[1:]:
                assert (await sock.ask("join", room, mode=mode))["type"] == "ack"
        assert (await behind.ask("join", rooms[0]))["type"] == "ack"
        monkeypatch.setattr(part, "_tell", broken)
        if whose == "overdue":
            (connection,) = engine.connections_of(2)
            with monkeypatch.context() as full:
                full.setattr(type(connection), "takes_ephemeral", False)
                hub.overdue._note(connection, rooms[0], TYPING)
        for number in range(1, 5):
            await author.ask("send", rooms[1], body=str(number))
            await reader.ask("read", rooms[1], seq=number)
            if number == 2:
                await wait_until(lambda: len(calls) < fails_at and "the fault")
        await wait_until(lambda: marks(author) != {"1": 4} and marks(author))
        await wait_until(lambda: [top for top in tops(follower) if top[0] == rooms[1]][-1:] != [(rooms[1], 4)])
        if whose == "overdue":
            assert await behind.wait_closed() == 4100
            await wait_until(lambda: hub.overdue and "somebody is still owed something")
        assert {sock.close_code for sock in (author, reader, follower)} == {None}


def marks(sock):
    """How far others have read, as it was told."""
    return {user: seq for event in sock.of("receipts") for user, seq in event["data"]["marks"].items()}


def tops(sock):
    return [(event["room"], event["data"]["top"]) for event in sock.of("room_summary")]
