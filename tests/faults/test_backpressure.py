"""A room whose mailbox is full: commands of one connection keep their order, whoever else floods it.

Pings are answered meanwhile, for as long as what is said behind the command that waits can be put aside.
"""

import json
import zlib
from contextlib import asynccontextmanager

import pytest
import trio
from wire import Socket, frame, open_sockets, wait_until

from greenroom.http.ws import put_aside, session
from greenroom.http.ws.engine import READ_BYTES
from greenroom.http.ws.put_aside import ASIDE_BYTES_MAX
from greenroom.http.ws.services import ask_with_backpressure
from greenroom.http.ws.v1 import V1Session
from greenroom.runtime import Ref
from greenroom.runtime.passivation import passivate_if_idle

SENDERS = 8
FRAMES, COMMANDS = 14, 16  # 224 commands each, below the 256 that may wait; together more than the mailbox's 1,024


async def test_arrays_of_commands_keep_their_order_when_the_mailbox_is_full(live_house, database):
    users = list(range(1, SENDERS + 1))
    await live_house.people(*users)
    room = await live_house.conversation(*users)
    async with open_sockets() as nursery:
        socks = [await Socket.open(nursery, live_house, user) for user in users]
        for sock in socks:
            await sock.start()
        system = live_house.house.system
        held = trio.Event()
        nursery.start_soon(hold_storage, system, held)

        async def flood(user, sock):
            for turn in range(FRAMES):
                commands = [
                    {"type": "send", "id": f"{number}", "room": room, "data": {"body": f"{user}:{number}"}}
                    for number in range(turn * COMMANDS, (turn + 1) * COMMANDS)
                ]
                await sock.send_bytes(frame(json.dumps(commands)))

        await wait_until(lambda: not system.storage.is_away and "the pause")
        async with trio.open_nursery() as floods:
            for user, sock in zip(users, socks, strict=True):
                floods.start_soon(flood, user, sock)
        await wait_until(lambda: system.statistics().kinds["room"].depth < 1024 and "a full mailbox")
        await trio.sleep(0.2)
        held.set()
        await wait_until(lambda: [len(sock.replies) for sock in socks if len(sock.replies) <= FRAMES * COMMANDS], 60)
        assert {reply["type"] for sock in socks for reply in sock.replies.values()} == {"ready", "ack"}
        stored = []
        while page := await live_house.house.storage.conversations.messages_after(room, 1, len(stored), 500):
            stored += page
        for user in users:
            numbers = [int(m.content.split(":")[1]) for m in stored if m.sender_id == user]
            assert numbers == list(range(FRAMES * COMMANDS)), f"user {user}: {numbers[:40]}"


async def test_pings_are_answered_while_a_command_waits_for_its_room(live_house):
    async with full_mailbox(live_house) as (socks, sessions, room, held):
        waiting = [sock for sock, session in zip(socks, sessions, strict=True) if session._held is not None]
        assert waiting, "somebody waits for the room"
        reads = []
        for sock in waiting:
            reads.append((sock, await sock.command("read", room, seq=0)))
            assert (await sock.ask("ping"))["type"] == "pong"
            at = len(sock.events)
            await sock.send({"type": "ping"})
            await sock.expect("pong", after=at)
            await sock.send_bytes(frame(b"are you there", 9))
            await sock.expect("(pong frame)")
        assert all(session._held is not None for sock, session in zip(socks, sessions, strict=True) if sock in waiting)
        assert live_house.house.engine.aside.bytes > 0
        held.set()
        await wait_until(lambda: [sock for sock, read in reads if read not in sock.replies], 60)
    await wait_until(lambda: live_house.house.engine.aside.bytes)


async def test_a_page_is_answered_its_pings_too(live_house):
    async with full_mailbox(live_house) as (socks, _, room, held):
        async with open_sockets() as nursery:
            page = await Socket.open(nursery, live_house, 1, protocol=None)
            await page.expect("connected")
            for content in ("one", "two"):
                await page.send({"type": "send_message", "conversationId": room, "content": content})
            await page.send({"type": "ping"})
            await page.expect("pong")
            assert not page.of("message_sent")
            held.set()
            await wait_until(lambda: 2 - len(page.of("message_sent")), 60)
            told = [event["seq"] for event in page.of("message_sent")]
            assert told == sorted(told)
        assert all(sock.close_code is None for sock in socks)


async def test_more_than_fits_aside_waits_in_tcp_and_the_heartbeat_ends_nobody_for_it(live_house):
    async with full_mailbox(live_house) as (socks, sessions, room, held):
        sock, session = next(
            (sock, session) for sock, session in zip(socks, sessions, strict=True) if session._held is not None
        )
        connection = connection_of(live_house, sock)
        for _ in range(6):
            await sock.command("send", room, body="x" * 4_000)
        budget = live_house.house.engine.aside
        await wait_until(lambda: budget.bytes < ASIDE_BYTES_MAX and f"{budget.bytes} bytes aside")
        assert budget.bytes < 2 * ASIDE_BYTES_MAX + 100_000
        assert connection.is_paused
        sent = frame(json.dumps({"type": "ping", "id": "unread"}))
        await sock.send_bytes(sent)
        for hour in range(1, 4):
            assert session.beat(connection.heard_at + 3600 * hour) is not None, "it is we who do not listen"
        assert "unread" not in sock.replies
        held.set()
        await wait_until(lambda: None if "unread" in sock.replies else "the pong", 60)
        await wait_until(lambda: connection.is_paused and "its reading", 60)
        assert sock.close_code is None


async def test_all_share_what_may_be_put_aside(live_house, monkeypatch):
    monkeypatch.setattr(put_aside, "ASIDE_TOGETHER_BYTES_MAX", 1)
    async with full_mailbox(live_house) as (socks, sessions, room, held):
        waiting = [sock for sock, session in zip(socks, sessions, strict=True) if session._held is not None]
        for sock in waiting:
            await sock.command("typing", room, on=True)
        await wait_until(lambda: [sock for sock in waiting if not connection_of(live_house, sock).is_paused])
        held.set()
        await wait_until(lambda: [sock for sock in waiting if last_of(sock) not in sock.replies], 60)


async def test_what_was_put_aside_is_forgotten_with_its_connection(live_house):
    async with full_mailbox(live_house) as (socks, _, room, held):
        for sock in socks:
            await sock.command("read", room, seq=0)
        await wait_until(lambda: not live_house.house.engine.aside.bytes and "what is put aside")
        for sock in socks:
            sock.cut()
        await wait_until(lambda: live_house.house.engine.aside.bytes)
        held.set()


async def test_who_was_paused_is_read_again_when_there_is_space_though_another_room_is_full_by_then(
    live_house, monkeypatch
):
    async with waits_for_one_of_two(live_house, monkeypatch) as (sock, connection, one, other, full):
        for behind in ([(one, "x" * 9_000)], [(one, "x" * 9_000), (other, "it waits for the second")]):
            budget, said = live_house.house.engine.aside.bytes, []
            for room, body in behind:
                said.append(frame(json.dumps({"type": "send", "id": body[:9], "room": room, "data": {"body": body}})))
            await sock.send_bytes(b"".join(said))
            await wait_until(lambda budget=budget: live_house.house.engine.aside.bytes == budget and "what is aside")
        assert connection.is_paused
        assert len(connection.session._aside._texts) == 3
        full[one].set()
        assert (await sock.ask("ping", seconds=3))["type"] == "pong"
        assert connection.session._held[0][0].address.key == other, "the second room is waited for now"
        assert "it waits " not in sock.replies
        full[other].set()
        await wait_until(lambda: None if "it waits " in sock.replies else "the second room's answer")


@pytest.mark.parametrize("house_settings", [{"ws_compression": True, "messages_per_minute": 0}])
async def test_nothing_of_a_read_that_inflates_to_too_much_is_lost_while_one_room_after_the_other_is_full(
    live_house, monkeypatch
):
    async with waits_for_one_of_two(live_house, monkeypatch, deflate=True) as (sock, connection, one, other, full):
        names, said = [f"m{number}" for number in range(60)], []
        for name in names:
            command = {"type": "send", "id": name, "room": other, "data": {"body": name + " " * 9_000 + "."}}
            deflater = zlib.compressobj(wbits=-12)
            packed = deflater.compress(json.dumps(command).encode()) + deflater.flush(zlib.Z_SYNC_FLUSH)
            said.append(frame(packed[:-4], 0x41))
        data = b"".join(said)
        assert len(data) < READ_BYTES, "one read has it all"
        await sock.send_bytes(data)
        await wait_until(lambda: not connection.reader.is_sated and "that it has enough")
        full[one].set()
        await wait_until(lambda: connection.session._held[0][0].address.key != other and "the wait for the second room")
        full[other].set()
        await wait_until(lambda: [name for name in names if name not in sock.replies], 30)
        seqs = [sock.replies[name]["data"]["seq"] for name in names]
        assert seqs == sorted(seqs)
        await wait_until(lambda: live_house.house.engine.aside.bytes)


async def test_others_have_their_turn_while_what_was_put_aside_is_done(live_house, monkeypatch):
    """And whoever put it aside is not read meanwhile, or might keep it up for ever."""
    monkeypatch.setattr(session, "SLICE_SECONDS_MAX", 0.0)
    passes, done = 0, []

    async def count_passes():
        nonlocal passes
        while True:
            passes += 1
            await trio.lowlevel.checkpoint()

    async with waits_for_one_of_two(live_house, monkeypatch) as (sock, connection, one, _, full):
        handle = V1Session.handle

        def handle_and_note(itself, text):
            done.append((passes, connection.is_paused))
            handle(itself, text)

        names = [f"r{number}" for number in range(100)]
        commands = [{"type": "read", "id": name, "room": one, "data": {"seq": 0}} for name in names]
        await sock.send_bytes(b"".join(frame(json.dumps(command)) for command in commands))
        await wait_until(lambda: len(names) - len(connection.session._aside._texts))
        assert not connection.is_paused
        monkeypatch.setattr(V1Session, "handle", handle_and_note)
        async with trio.open_nursery() as others:
            others.start_soon(count_passes)
            full[one].set()
            await wait_until(lambda: [name for name in names if name not in sock.replies])
            others.cancel_scope.cancel()
        assert len(done) == len(names)
        assert done[-1][0] - done[0][0] >= len(names) - 2
        assert all(is_paused for _, is_paused in done[1:])
        assert not connection.is_paused
        assert list(sock.replies)[-len(names) :] == names


async def test_a_rest_that_was_imposed_is_not_over_because_a_room_takes_what_waits(live_house, monkeypatch):
    async with waits_for_one_of_two(live_house, monkeypatch) as (sock, connection, one, _, full):
        await sock.command("send", one, body="x" * 9_000)
        await sock.command("send", one, body="x" * 9_000)
        await wait_until(lambda: not connection.is_paused and "that it has enough aside")
        connection.session.pause_for(4.0)
        full[one].set()
        await wait_until(lambda: None if last_of(sock) in sock.replies else "the answers")
        assert connection.is_paused
        await wait_until(lambda: connection.is_paused and "its reading")


async def test_the_rest_of_a_long_frame_is_not_read_when_all_have_put_too_much_aside(live_house, monkeypatch):
    async with waits_for_one_of_two(live_house, monkeypatch) as (sock, connection, one, _, full):
        await sock.command("send", one, body="small")
        long = {"type": "send", "id": "long", "room": one, "data": {"body": "é" * 10_000}}
        data = frame(json.dumps(long))
        await sock.send_bytes(data[:4_000])
        await wait_until(lambda: not connection.reader.rest_bytes and "the frame's beginning")
        monkeypatch.setattr(put_aside, "ASIDE_TOGETHER_BYTES_MAX", 1)
        await sock.send_bytes(data[4_000:])
        await wait_until(lambda: not connection.is_paused and "the pause")
        assert live_house.house.engine.aside.bytes < 1_000
        full[one].set()
        await wait_until(lambda: None if "long" in sock.replies else "the answer")
        assert sock.replies["long"]["type"] == "ack"


@asynccontextmanager
async def waits_for_one_of_two(live_house, monkeypatch, **opened):
    """(A socket that said something in a room that is full, its connection, the room, another full one, events that
    let them take commands).
    """
    await live_house.people(1, 2)
    rooms = one, other = [await live_house.conversation(1, 2) for _ in range(2)]
    full = {room: trio.Event() for room in rooms}
    wait_room = Ref.wait_room

    async def wait_until_let(ref):
        if ref.address.kind == "room":
            await full[ref.address.key].wait()
        await wait_room(ref)

    def ask_if_let(services, ref, command, reply_to):
        if ref.address.kind == "room" and not full[ref.address.key].is_set():
            return False
        return ask_with_backpressure(services, ref, command, reply_to)

    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1, **opened)
        await sock.start(*rooms)
        (connection,) = live_house.house.engine.connections_of(1)
        monkeypatch.setattr(Ref, "wait_room", wait_until_let)
        monkeypatch.setattr(session, "ask_with_backpressure", ask_if_let)
        await sock.command("send", one, body="it waits for the first room")
        await wait_until(lambda: connection.session._held is None and "somebody who waits")
        yield sock, connection, one, other, full


def connection_of(live_house, sock):
    (connection,) = [one for one in live_house.house.engine.open_connections() if one.session.device == sock.device]
    return connection


def last_of(sock):
    """The id of its last command."""
    return f"c{sock._serial}"


@asynccontextmanager
async def full_mailbox(live_house):
    """Sockets of which some wait for a room that is full: (they, their sessions, the room, set: it goes on)."""
    users = list(range(1, SENDERS + 1))
    await live_house.people(*users)
    room = await live_house.conversation(*users)
    async with open_sockets() as nursery:
        socks = []
        for user in users:
            sock = await Socket.open(nursery, live_house, user)
            sock.device = str(user)
            await sock.start(device=sock.device)
            socks.append(sock)
        sessions = [connection_of(live_house, sock).session for sock in socks]
        assert all(isinstance(session, V1Session) for session in sessions)
        held = trio.Event()
        system = live_house.house.system
        nursery.start_soon(hold_storage, system, held)
        await wait_until(lambda: not system.storage.is_away and "the pause")
        for turn in range(FRAMES):
            for sock in socks:
                if all(session._held is None for session in sessions):
                    commands = [
                        {"type": "send", "id": f"{turn}-{number}", "room": room, "data": {"body": "x"}}
                        for number in range(COMMANDS)
                    ]
                    await sock.send_bytes(frame(json.dumps(commands)))
                    await sock.ask("ping")
        yield socks, sessions, room, held


async def hold_storage(system, until):
    """As if storage were away: the room sleeps, and what it is told waits in its mailbox."""
    for cell in list(system.activations.values()):
        passivate_if_idle(cell)
    system.storage._back = back = trio.Event()
    await until.wait()
    system.storage._back = None
    back.set()
