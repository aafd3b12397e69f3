"""What commands are answered with at their edges: the id of what was refused, epochs, pages of history, presence."""

import time

import asyncpg
import pytest
import trio
import trio_asyncio
from wire import Socket, frame, open_sockets, wait_until

from greenroom.runtime import StorageUnavailable
from greenroom.runtime.passivation import passivate_if_idle
from greenroom.storage.postgres.notifications import Notifications


async def execute(database, sql, *arguments):
    async with trio_asyncio.open_loop():
        run = trio_asyncio.aio_as_trio
        connection = await run(asyncpg.connect)(**database.connect_arguments())
        await run(connection.execute)(sql, *arguments)
        await run(connection.close)()


@pytest.mark.parametrize("body", [r"\u0000", r"\ud800", "1e999", "9" * 30])
async def test_what_the_decoder_refuses_is_answered_under_its_id(live_house, body):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        number = 1 if body.startswith("\\") else body
        text = f'{{"type":"send","id":"m1","room":1,"data":{{"body":"{body}","n":{number}}}}}'
        await sock.send_bytes(frame(text))
        error = await sock.expect("error", id="m1")
        assert error["data"]["code"] == 1001
        await sock.send_bytes(frame(f"[{text},{text.replace('m1', 'm2')}]"))
        await sock.expect("error", id="m2")


async def test_an_array_that_is_too_long_is_refused_as_a_whole_whatever_is_in_it(live_house):
    """By one error, as the page says: else the commands behind the sixteenth would have no answer."""
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        texts = [rf'{{"type":"ping","id":"p{number}","x":"\u0000"}}' for number in range(17)]
        await sock.send_bytes(frame(f"[{','.join(texts)}]"))
        await sock.send({"type": "ping", "id": "last"})
        await sock.expect("pong", id="last")
        (error,) = sock.of("error")
        assert ("id" in error, error["data"]["code"]) == (False, 1001)


async def test_an_id_that_cannot_be_sent_back_is_left_out(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send_bytes(frame(r'{"type":"ping","id":"\ud800"}'))
        error = await sock.expect("error")
        assert "id" not in error


async def test_a_send_without_an_id_is_answered_with_its_client_id(live_house):
    await live_house.people(1, 2, 3)
    room, elsewhere = await live_house.conversation(1, 2), await live_house.conversation(2, 3)
    client_id = "x" * 255
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        for where in (room, elsewhere):
            await sock.send({"type": "send", "room": where, "data": {"body": "said", "clientId": client_id}})
        ack, error = await sock.expect("ack"), await sock.expect("error")
        assert (ack["id"], ack["data"]["seq"]) == (client_id, 1)
        assert (error["id"], error["data"]["error"]) == (client_id, "NOT_MEMBER")


async def test_the_17th_bad_command_of_who_has_shown_no_credential_is_the_end(live_house):
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house)
        await sock.expect("hello")
        for _ in range(17):
            await sock.send({"type": "join", "room": 1})  # before `start`
        assert await sock.wait_closed() == 4004
        assert len(sock.of("error")) == 16


async def test_the_existing_client_learns_which_message_was_refused(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        text = r'{"type":"send_message","conversationId":1,"content":"\u0000","requestId":"msg_1"}'
        await page.send_bytes(frame(text))
        assert (await page.expect("error"))["requestId"] == "msg_1"


async def test_json_that_is_no_object_is_met_with_silence_by_compat(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.expect("connected")
        for text in ("[1]", '"x"', "null", "7"):
            await page.send_bytes(frame(text))
        await page.send({"type": "ping"})
        await page.expect("pong")
        assert page.of("error") == []


async def test_no_message_speaks_of_the_inside(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start()
        await sock.send({"id": "a"})
        assert (await sock.expect("error", id="a"))["data"]["message"] == "a command has a type, which is a text"
        await sock.send({"id": "b", "type": 5})
        assert (await sock.expect("error", id="b"))["data"]["code"] == 1004


async def test_each_room_has_its_own_epoch_also_when_it_is_joined(live_house, database):
    await live_house.people(1)
    old, new = await live_house.conversation(1, isGroup=True), await live_house.conversation(1, isGroup=True)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(old, new)
        for room in (old, new):
            for body in ("one", "two"):
                await sock.ask("send", room, body=body)
        sock.cut()
        await wait_until(lambda: live_house.house.engine.total)
        await execute(database, "update conversations set epoch = 2 where id = $1", old)
        rooms = [cell for cell in live_house.house.system.activations.values() if cell.address.kind == "room"]
        await wait_until(lambda: [cell for cell in rooms if cell.actor is not None and not passivate_if_idle(cell)])
        back = await Socket.open(nursery, live_house, 1)
        at = {str(old): {"seq": 1, "epoch": 1}, str(new): {"seq": 1, "epoch": 1}}
        ready = await back.start(resume={"rooms": at})
        assert ready["data"]["resumed"] is False
        assert [(gap["room"], gap["data"]["reset"]) for gap in back.of("gap")] == [(old, True)]
        assert [(event["room"], event["seq"]) for event in back.of("message")] == [(new, 2)]
        third = await Socket.open(nursery, live_house, 1)
        await third.start()
        await third.ask("join", old, after=1, epoch=1)
        assert (await third.expect("gap", room=old))["data"]["reset"] is True
        await third.ask("join", new, after=1, epoch=1)
        await third.expect("message", room=new, seq=2)
        assert [event["room"] for event in third.of("message")] == [new]


async def test_a_page_around_a_message_is_full_also_near_the_ends(live_house):
    await live_house.people(1)
    room = await live_house.conversation(1, isGroup=True)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(room)
        for number in range(10):
            await sock.ask("send", room, body=str(number))

        async def around(seq, limit):
            page = await sock.ask("history", room, around=seq, limit=limit)
            return [message["seq"] for message in page["data"]["messages"]]

        assert await around(5, 4) == [3, 4, 5, 6]
        assert await around(10, 4) == [7, 8, 9, 10]
        assert await around(1, 4) == [1, 2, 3, 4]
        assert await around(9, 1) == [9]
        assert await around(5, 50) == list(range(1, 11))


async def test_a_page_around_a_moment_has_its_first_message_in_the_middle(live_house):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, isGroup=True)
    async with open_sockets() as nursery:
        sock, stranger = [await Socket.open(nursery, live_house, user) for user in (1, 2)]
        await sock.start(room)
        await stranger.start()

        async def at(moment, limit):
            page = await sock.ask("history", room, at=moment, limit=limit)
            return [message["seq"] for message in page["data"]["messages"]]

        assert await at(0, 4) == await at(2**53 - 1, 4) == []
        times = []
        for number in range(10):
            times.append((await sock.ask("send", room, body=str(number)))["data"]["ts"])
            if number == 4:
                changed = await sock.ask(
                    "edit", room, message=sock.replies[f"c{sock._serial}"]["data"]["messageId"], body="x"
                )
                assert changed["data"]["seq"] == 6
            await trio.sleep(0.002)
        seqs = [1, 2, 3, 4, 5, 7, 8, 9, 10, 11]
        assert times == sorted(set(times))
        for seq, moment in zip(seqs, times, strict=True):
            assert await at(moment, 1) == [seq]
            assert await at(moment - 1, 1) == [seq]
        assert await at(times[3] + 1, 1) == [5]
        assert await at(times[4], 4) == [3, 4, 5, 7]
        assert await at(0, 4) == [1, 2, 3, 4]
        assert await at(times[-1] + 1, 4) == await at(2**53 - 1, 4) == [8, 9, 10, 11]
        assert (await sock.ask("history", room, at=1, around=1))["data"]["error"] == "BAD_FRAME"
        first = (await sock.ask("history", room, after=0, limit=1))["data"]["messages"][0]["id"]
        assert (await sock.ask("history", room, at=1, thread=first))["data"]["error"] == "BAD_FRAME"
        assert (await stranger.ask("history", room, at=1))["data"]["error"] == "NOT_MEMBER"


async def test_a_page_of_history_is_not_for_who_was_removed_while_it_was_read(live_house, monkeypatch):
    await live_house.people(1, 2)
    room = await live_house.conversation(1, 2)
    conversations, has_read, arrives = live_house.house.sockets.conversations, trio.Event(), trio.Event()
    read = conversations.messages_before

    async def read_and_wait(*about):
        page = await read(*about)
        has_read.set()
        await arrives.wait()
        return page

    monkeypatch.setattr(conversations, "messages_before", read_and_wait)
    async with open_sockets() as nursery:
        one, two = await Socket.open(nursery, live_house, 1), await Socket.open(nursery, live_house, 2)
        await one.start(room)
        await two.start(room)
        assert (await one.ask("send", room, body="said"))["type"] == "ack"
        asked = await two.command("history", room)
        await has_read.wait()
        assert (await live_house.delete(f"/api/conversations/{room}/participants/2", 1)).status == 200
        await two.expect("member", room=room)
        arrives.set()
        await wait_until(lambda: not [one for one in two.of("ack", "error") if one.get("id") == asked] and "answer")
        (answer,) = [one for one in two.of("ack", "error") if one.get("id") == asked]
        assert (answer["type"], answer["data"].get("error")) == ("error", "NOT_MEMBER")


async def test_presence_comes_once_a_second_however_many_rooms_are_shared(live_house):
    await live_house.people(1, 2)
    rooms = [await live_house.conversation(1, 2, isGroup=True) for _ in range(12)]
    alone = await live_house.conversation(1, isGroup=True)
    async with open_sockets() as nursery:
        watcher = await Socket.open(nursery, live_house, 1)
        await watcher.start(*rooms, alone)
        await trio.sleep(1.5)  # its own coming is told too
        seen = await watcher.settle()
        friend = await Socket.open(nursery, live_house, 2)
        await friend.start(rooms[0])
        diff = await watcher.expect("presence_diff", after=seen)
        assert sorted(diff["rooms"]) == sorted(rooms)
        assert [person["user"] for person in diff["data"]["joins"]] == [2]
        assert len([event for event in watcher.of("presence_diff") if watcher.position(event) >= seen]) == 1
        friend.cut()
        left = await watcher.expect("presence_diff", after=watcher.position(diff) + 1)
        (gone,) = left["data"]["leaves"]
        answer = await watcher.ask("presence", rooms[0])
        (away,) = [user for user in answer["data"]["users"] if user["status"] == "offline"]
        assert (away["user"], away["lastSeen"]) == (2, gone["lastSeen"])
        assert away["name"] == gone["name"] != ""


@pytest.mark.parametrize("house_settings", [{"ws_heartbeat_interval": 2000, "ws_connection_timeout": 6000}])
async def test_a_quiet_page_is_pinged_before_it_is_given_up(live_house):
    await live_house.people(1)
    async with open_sockets() as nursery:
        pages = [await Socket.open(nursery, live_house, 1, protocol=None) for _ in range(3)]
        for page in pages:
            page.answers_ping = False
        for page in pages:
            assert await page.wait_closed(20) == 1012
        assert [len(page.of("ping")) for page in pages] == [1, 1, 1]


async def test_a_token_that_runs_out_ends_its_socket_on_both_dialects(live_house, monkeypatch):
    monkeypatch.setattr("greenroom.http.ws.v1.V1Session.grace_seconds", 0)  # else v1 has half a minute to refresh it
    await live_house.people(1)
    async with open_sockets() as nursery:
        end = int(time.time()) + 4
        token = live_house.token(1, exp=end)
        opened = [
            await Socket.open(nursery, live_house, token=token, protocol=protocol)
            for protocol in ("greenroom.v1", None)
        ]
        await opened[0].start()
        late = await Socket.open(nursery, live_house)
        await late.start(token=token)
        assert [await sock.wait_closed(8) for sock in (*opened, late)] == [4002, 1008, 4002]
        assert end <= time.time() < end + 4


async def test_typing_that_is_refused_is_not_remembered(live_house):
    await live_house.people(1, 2)
    mine, other = await live_house.conversation(1, isGroup=True), await live_house.conversation(2, isGroup=True)
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, live_house, 1)
        await sock.start(mine)
        for room in (mine, other, 7, 8, 9):
            await sock.ask("typing", room, on=True)
        (connection,) = live_house.house.engine.connections_of(1)
        assert set(connection.session._types_in) == {mine}
        await sock.ask("typing", mine, on=False)
        assert connection.session._types_in is None


@pytest.mark.parametrize(
    ("asked", "broken"),
    [
        ({"type": "join_conversation", "conversationId": 77}, None),
        ({"type": "mark_read", "messageIds": [77]}, None),
        ({"type": "read", "messageId": 77}, None),
        ({"type": "get_unread_count"}, "counts"),
        ({"type": "notification_read", "notificationId": 77}, "unread"),
        ({"type": "notifications_clear_all"}, "kept"),
    ],
    ids=lambda value: value["type"] if isinstance(value, dict) else "",
)
async def test_an_error_says_which_request_of_a_page_it_answers(live_house, monkeypatch, asked, broken):
    await live_house.people(1)

    async def away(*arguments, **options):
        raise StorageUnavailable("away")

    if broken is not None:
        monkeypatch.setattr(Notifications, broken, away)
    async with open_sockets() as nursery:
        page = await Socket.open(nursery, live_house, 1, protocol=None)
        await page.send({**asked, "requestId": "r"})
        assert (await page.expect("error"))["requestId"] == "r"
