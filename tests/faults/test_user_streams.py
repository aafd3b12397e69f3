"""The stream of a user: gapless, told to every device, resumed by cursor, and neither lost nor told twice."""

import asyncpg
import pytest
import trio
import trio_asyncio
from held import holding_table
from wire import Socket, open_sockets, wait_until

from greenroom.actors.notifier.commands import Notify
from greenroom.http.ws import user_streams
from greenroom.runtime import Address, MailboxFull, StorageUnavailable
from greenroom.runtime.passivation import passivate_if_idle

STREAM = ("read_sync", "membership", "notification", "notification_read", "block")


async def execute(database, sql, *arguments):
    async with trio_asyncio.open_loop():
        run = trio_asyncio.aio_as_trio
        connection = await run(asyncpg.connect)(**database.connect_arguments())
        rows = await run(connection.fetch)(sql, *arguments)
        await run(connection.close)()
        return rows


def heard(sock):
    return [(event["useq"], event["type"], event.get("room"), event["data"]) for event in sock.of(*STREAM)]


async def hear(sock, *useqs):
    await wait_until(lambda: [useq for useq in useqs if useq not in [event[0] for event in heard(sock)]])
    return heard(sock)


async def ready(nursery, house, user, *rooms, **data):
    sock = await Socket.open(nursery, house, user)
    return sock, (await sock.start(*rooms, **data))["data"]


async def test_a_marker_moved_on_one_device_is_told_to_the_others_and_counted_for_all(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        phone, _ = await ready(nursery, live_house, 2, room)
        laptop, _ = await ready(nursery, live_house, 2, resume={"user": 0})  # whether the phone has had 1 told or not
        other, _ = await ready(nursery, live_house, 1, room)
        await hear(laptop, 1)
        for body in "abc":
            await other.ask("send", room, body=body)
        await phone.ask("read", room, seq=1)
        await hear(laptop, 2)
        await phone.ask("read", room, seq=3)
        expected = [
            (1, "membership", room, {"change": "joined", "role": "member"}),
            (2, "read_sync", room, {"seq": 1}),
            (3, "read_sync", room, {"seq": 3}),
        ]
        assert await hear(laptop, 3) == await hear(phone, 3) == expected
        assert all(event["ts"] > 1_700_000_000_000 for event in laptop.of(*STREAM))
        _, came = await ready(nursery, live_house, 2)
        assert (came["useq"], came["userEpoch"]) == (3, 1)
        assert len(heard(other)) == 1  # of their own: that they are in the room


async def test_who_was_away_is_told_what_happened_once_and_resumes_with_both_cursors(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    other_room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        sock, _ = await ready(nursery, live_house, 2, room)
        assert [event[2] for event in await hear(sock, 1, 2)] == [room, other_room]
        sock.cut()
        admin, _ = await ready(nursery, live_house, 1, room)
        await admin.ask("send", room, body="while you were away")
        await live_house.delete(f"/api/conversations/{other_room}/participants/2", 1)
        back, came = await ready(nursery, live_house, 2, resume={"user": 1, "rooms": {str(room): {"seq": 0}}})
        assert (await back.expect("message"))["seq"] == 1
        assert came["resumed"]
        left = (3, "membership", other_room, {"change": "left", "role": "member"})
        assert (await hear(back, 2, 3))[1:] == [left]
        again, came = await ready(nursery, live_house, 2, resume={"user": {"useq": 3, "epoch": 1}})
        await again.settle()
        assert (heard(again), came["useq"]) == ([], 3)


async def test_a_note_whose_notifier_never_heard_of_it_is_folded_in_when_the_user_comes(live_house, database):
    """As after kill -9 between the room's commit and what it tells."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    streams = live_house.house.sockets.streams
    fold, streams.on_notes = streams.on_notes, lambda user, is_coming: True
    async with open_sockets() as nursery:
        sock, _ = await ready(nursery, live_house, 2, room)
        await sock.ask("send", room, body="x")
        await sock.ask("read", room, seq=1)
        await sock.settle()
        assert heard(sock) == []
        sock.cut()
        streams.on_notes = fold
        streams.forget(2)  # nothing of it survives the process
        for _ in range(2):
            back, came = await ready(nursery, live_house, 2, resume={"user": 0})
            assert [event[:3] for event in await hear(back, 1, 2)] == [(1, "membership", room), (2, "read_sync", room)]
            await back.settle()
            assert len(heard(back)) == 2
        assert came["useq"] == 2
    assert await execute(database, "select * from user_notes where user_id = 2") == []


async def test_the_notifier_goes_when_who_came_is_told_and_stays_for_who_is_here(live_house):
    """Thousands may come at once, each with a note of the room that they were brought into."""
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    notifier = Address("notifier", 2)
    activations = live_house.house.system.activations
    async with open_sockets() as nursery:
        sock, _ = await ready(nursery, live_house, 2, room)
        await hear(sock, 1, 1)
        await wait_until(lambda: notifier in activations and "it is still there")
        await sock.ask("send", room, body="x")
        await sock.ask("read", room, seq=1)
        await hear(sock, 2, 2)
        await sock.settle()
        assert notifier in activations


async def test_of_the_moves_of_a_marker_that_nobody_heard_of_only_the_last_is_told(live_house, database):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    async with open_sockets() as nursery:
        author, _ = await ready(nursery, live_house, 1, room)
        for body in "abcde":
            await author.ask("send", room, body=body)
        for path in [item["id"] for item in (await author.ask("history", room))["data"]["messages"]]:
            assert (await live_house.post(f"/api/messages/{path}/read", 2)).status == 200
        sock, came = await ready(nursery, live_house, 2)
        assert came["useq"] == 0
        assert [event[1:] for event in await hear(sock, 1, 2)][1] == ("read_sync", room, {"seq": 5})


async def test_a_client_that_is_too_far_behind_is_told_of_the_gap(live_house, database):
    await live_house.people(1)
    await execute(
        database,
        "with stream as (insert into user_streams (user_id, useq) values (1, 1600)) insert into user_events "
        "select 1, n, 'read_sync', 7, '{\"seq\":' || n || '}', now() from generate_series(601, 1600) as n",
    )
    async with open_sockets() as nursery:
        sock, came = await ready(nursery, live_house, 1, resume={"user": 10})
        gap = await sock.expect("gap")
        assert (gap["data"], came["resumed"]) == ({"user": True, "from": 11, "to": 1600, "top": 1600}, False)
        sock, came = await ready(nursery, live_house, 1, resume={"user": 1100})
        assert [event[0] for event in await hear(sock, 1600)] == list(range(1101, 1601))
        assert came["resumed"]
        for cursor in (1601, {"useq": 1600, "epoch": 2}):
            sock, came = await ready(nursery, live_house, 1, resume={"user": cursor})
            assert (await sock.expect("gap"))["data"]["reset"], cursor
            assert not came["resumed"]


@pytest.mark.parametrize("cursor", ["x", -1, True, {}, {"useq": 1, "epoch": "a"}, [1]])
async def test_a_cursor_that_is_none_is_a_bad_frame(live_house, cursor):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        reply = await sock.ask("start", resume={"user": cursor})
        assert reply["data"]["error"] == "BAD_FRAME"
        await sock.start()


async def test_a_stream_goes_on_where_it_was_when_its_notifier_slept_and_when_storage_went_away(
    live_house, monkeypatch
):
    await live_house.people(1, 2)
    rooms = []
    async with open_sockets() as nursery:
        sock, _ = await ready(nursery, live_house, 2)
        for number in range(1, 4):
            rooms.append(await live_house.conversation(1, 2))
            await hear(sock, number)
            system = live_house.house.system
            cell = system.activations[system.ref("notifier", 2).address]
            await wait_until(lambda cell=cell: not passivate_if_idle(cell))
        assert heard(sock) == [
            (n, "membership", room, {"change": "joined", "role": "member"}) for n, room in enumerate(rooms, start=1)
        ]


@pytest.mark.parametrize("protocol", ["greenroom.v1", None])
async def test_while_it_cannot_be_known_whom_a_user_blocks_nothing_is_told_and_then_all(
    live_house, monkeypatch, protocol
):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    streams = live_house.house.sockets.streams
    monkeypatch.setattr(user_streams, "STORAGE_PAUSE_SECONDS", 0.05)
    right = streams._streams._postgres.fetch

    async def away(name, *arguments):
        if name == "select_stream_standings":
            raise StorageUnavailable("away")
        return await right(name, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(streams._streams._postgres, "fetch", away)
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, live_house, 2, protocol=protocol)
            if protocol is not None:
                await sock.command("start", resume={"user": 0, "rooms": {str(room): {"seq": 0}}})
            assert (await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "x"})).status == 201
            await trio.sleep(0.3)
            assert not sock.of("ready", "connected", "message", "new_message", *STREAM)
            patch.undo()
            if protocol is None:
                await sock.expect("connected")
                await live_house.post(f"/api/conversations/{room}/messages", 1, {"content": "y"})
                await sock.expect("new_message", content="y")
                assert [event["content"] for event in sock.of("new_message")] == ["x", "y"]
            else:
                assert (await sock.expect("ready"))["data"]["resumed"]
                await sock.expect("message", seq=1)
                assert len(await hear(sock, 1)) == 1


def fill(notifier):
    while True:
        notifier.tell(Notify("system", "system", "t", "m", "normal"))


@pytest.mark.parametrize("stays", [True, False])
async def test_a_note_that_finds_the_mailbox_of_the_notifier_full_is_folded_in_all_the_same(
    live_house, database, monkeypatch, stays
):
    monkeypatch.setattr(user_streams, "STORAGE_PAUSE_SECONDS", 0.05)
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    notifier = live_house.house.system.ref("notifier", 2)
    async with open_sockets() as nursery:
        author, _ = await ready(nursery, live_house, 1, room)
        await author.ask("send", room, body="x")
        sock, _ = await ready(nursery, live_house, 2, room, resume={"user": 0})
        await hear(sock, 1)
        async with holding_table(database, "notifications"):
            notifier.tell(Notify("system", "system", "t", "m", "normal"))  # it counts what is unread
            await wait_until(lambda: live_house.house.system.statistics().kinds["notifier"].depth and "its turn")
            with pytest.raises(MailboxFull):
                fill(notifier)
            await sock.ask("read", room, seq=1)
            if not stays:
                sock.cut()
                await wait_until(lambda: live_house.house.engine.of_user(2) and "the end of the socket")
                await wait_until(lambda: 2 in live_house.house.sockets.streams._known and "that it is noticed")
        if not stays:
            sock, _ = await ready(nursery, live_house, 2, room, resume={"user": 0})
        await sock.expect("read_sync", data={"seq": 1})
