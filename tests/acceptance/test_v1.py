"""greenroom.v1 from the outside: each sentence of the protocol's page, asked of the real process."""

import json
from contextlib import suppress

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import (  # type: ignore[import-not-found]
    V1,
    Gone,
    Member,
    Refused,
    Socket,
    check_rooms,
    fellow_holes,
    frame,
    http,
    open_sockets,
    wait_until,
)

from greenroom.control.client import connect

PATIENCE = """
from greenroom.http.ws import v1
v1.START_SECONDS_MAX = 60.0
"""


@pytest.fixture
def patient_server():
    """It waits a minute for each `start`."""
    with ServerProcess(ENVIRONMENT="development") as server:
        server.start()
        with connect(server.data) as running:
            running.ask("attach", source=PATIENCE)
        yield server
        assert not server.faults(), server.faults()[0]


async def two_in_a_room(server, nursery, fresh, count=2):
    users = [fresh + number for number in range(count)]
    room = await server.make_room(fresh, users)
    socks = []
    for user in users:
        sock = await Socket.open(nursery, server, user)
        await sock.start(room)
        socks.append(sock)
    return room, socks


async def test_hello_then_ready_then_replay_then_live(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        assert b"sec-websocket-protocol: greenroom.v1" in sock.head.lower()
        await sock.start(room)
        for number in range(5):
            await sock.ask("send", room, body=str(number))
        back = await Socket.open(nursery, server, fresh)
        hello = await back.expect("hello")
        assert hello["data"]["v"] == 1
        assert (hello["data"]["hb"], hello["data"]["hbGrace"], hello["data"]["authWithin"]) == (25000, 10000, 10000)
        assert hello["data"]["limits"]["frame"] == 128 * 1024
        ready = await back.start(resume={"rooms": {str(room): {"seq": 2, "epoch": 1}}})
        assert ready["data"]["user"] == fresh
        assert ready["data"]["resumed"] is True
        (item,) = ready["data"]["rooms"]
        assert (item["r"], item["top"], item["epoch"]) == (room, 5, 1)
        kinds = [event["type"] for event in back.events if not event["type"].startswith("presence")]
        assert kinds == ["hello", "ready", "message", "message", "message", "live"]
        assert [event["seq"] for event in back.of("message")] == [3, 4, 5]


async def test_who_does_not_start_is_closed_with_4103_after_ten_seconds_and_not_before(server, fresh):
    async with open_sockets() as nursery:
        began = trio.current_time()
        silent = await Socket.open(nursery, server)
        busy = await Socket.open(nursery, server)
        while silent.close_code is None and trio.current_time() - began < 14:
            if busy.close_code is None:
                await busy.command("ping")
            await trio.sleep(0.2)
        waited = trio.current_time() - began
        assert 9.9 <= waited <= 13, waited
        assert silent.close_code == 4103
        assert await busy.wait_closed(2) == 4103


async def enters(nursery, server, source):
    """A socket without a credential, of that address; or the status that it was refused with."""
    try:
        return await Socket.open(nursery, server, source=source)
    except Refused as error:
        refused = error
    assert int(refused.headers["retry-after"]) > 0
    return refused.status


async def fill_the_hall(nursery, server):
    """256 sockets that wait for their start, 8 of each of 32 addresses: on Linux all of 127.0.0.0/8 are ours."""
    waiting = {}
    for source in (f"127.0.0.{10 + number}" for number in range(32)):
        waiting[source] = [await enters(nursery, server, source) for _ in range(8)]
        assert await enters(nursery, server, source) == (429 if len(waiting) < 32 else 503)
    assert await enters(nursery, server, "127.0.0.99") == 503
    assert all(isinstance(sock, Socket) for socks in waiting.values() for sock in socks)
    return waiting


async def test_256_sockets_may_wait_for_their_start_and_8_of_one_address(patient_server, fresh):
    server = patient_server
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        waiting = await fill_the_hall(nursery, server)
        known = await Socket.open(nursery, server, fresh, source="127.0.0.10")
        await known.start()  # who has said who they are at the door does not wait in the hall
        await waiting["127.0.0.11"][0].command("start", token=server.token(fresh))
        await waiting["127.0.0.11"][0].expect("ready")
        await waiting["127.0.0.12"][0].close()
        for source in ("127.0.0.11", "127.0.0.12"):  # a place is free again, and it is one
            with trio.fail_after(3):
                while not isinstance(await enters(nursery, server, source), Socket):  # noqa: ASYNC110
                    await trio.sleep(0.02)
        assert [await enters(nursery, server, source) for source in ("127.0.0.11", "127.0.0.99")] == [503, 503]
        for socks in waiting.values():
            for sock in socks:
                sock.cut()
        with trio.fail_after(5):
            while not isinstance(await enters(nursery, server, "127.0.0.99"), Socket):  # noqa: ASYNC110
                await trio.sleep(0.02)


@pytest.mark.slow(seconds=30)
async def test_all_256_end_with_4103_after_ten_seconds_and_make_room(server, fresh):
    async with open_sockets() as nursery:
        waiting = [sock for socks in (await fill_the_hall(nursery, server)).values() for sock in socks]
        await wait_until(lambda: [sock.close_code for sock in waiting if sock.close_code is None], 14)
        assert {sock.close_code for sock in waiting} == {4103}
        for sock in (s for socks in (await fill_the_hall(nursery, server)).values() for s in socks):
            sock.cut()


async def test_a_token_in_start_and_one_that_is_wrong_or_of_another(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server)
        ready = await sock.start(room, token=server.token(fresh))
        assert ready["data"]["user"] == fresh
        assert (await sock.ask("send", room, body="hello"))["type"] == "ack"
        for token, code in (("nonsense", 4001), (server.token(fresh, exp=1), 4002)):
            wrong = await Socket.open(nursery, server)
            reply = await wrong.ask("start", token=token)
            assert reply["data"]["code"] in (2001, 2002), reply
            assert await wrong.wait_closed() == code
        none = await Socket.open(nursery, server)
        await none.ask("start")
        assert await none.wait_closed() == 4001
        other = await Socket.open(nursery, server, fresh)
        await other.ask("start", token=server.token(fresh + 1))
        assert await other.wait_closed() == 4001
        for protocol in (V1, None):
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, server, token="nonsense", protocol=protocol)
            assert refused.value.status == 401
        with pytest.raises(Refused) as refused:
            await Socket.open(nursery, server, protocol=None)
        assert refused.value.status == 401
        body = refused.value.json()
        assert body["fallback"] is True
        assert set(body["endpoints"]) == {"notifications", "messages", "dashboard", "all"}


@pytest.mark.parametrize("protocol", [V1, None])
async def test_a_ticket_opens_one_socket_and_nothing_else_does_in_the_query(server, fresh, protocol):
    await server.make_people(fresh)
    answer = await http(server, "GET", "/api/ws/token", user=fresh)
    ticket = answer.json()["token"]
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, path=f"/ws?token={ticket}", protocol=protocol)
        await sock.settle()
        for token in (ticket, server.token(fresh), "x"):
            with pytest.raises(Refused) as refused:
                await Socket.open(nursery, server, path=f"/ws?token={token}", protocol=protocol)
            assert refused.value.status == 401
    assert ticket not in server.log.read_text()


async def test_over_the_cap_of_a_user_the_upgrade_is_429():
    with ServerProcess(WS_MAX_PER_USER=3) as server:
        await trio.to_thread.run_sync(server.start)
        async with open_sockets() as nursery:
            mine = [await Socket.open(nursery, server, 1, protocol=p) for p in (V1, None, V1)]
            for protocol in (V1, None):
                with pytest.raises(Refused) as refused:
                    await Socket.open(nursery, server, 1, protocol=protocol)
                assert refused.value.status == 429
                assert int(refused.value.headers["retry-after"]) > 0
            await Socket.open(nursery, server, 2)
            late = await Socket.open(nursery, server)
            await late.command("start", token=server.token(1))
            assert await late.wait_closed() == 4007
            await mine[0].close()

            async def opens():
                try:
                    return await Socket.open(nursery, server, 1)
                except Refused:
                    return None

            with trio.fail_after(5):
                while await opens() is None:  # noqa: ASYNC110
                    await trio.sleep(0.05)


async def test_the_ack_comes_not_later_than_the_broadcast_copy_and_the_echo_names_the_client_id_to_its_own(
    server, fresh
):
    async with open_sockets() as nursery:
        room, (sender, other) = await two_in_a_room(server, nursery, fresh)
        second = await Socket.open(nursery, server, fresh)
        await second.start(room)
        for number in range(50):
            await sender.command("send", room, body=str(number), clientId=f"mine-{number}")
        await wait_until(
            lambda: len(sender.of("message")) < 50 or len(other.of("message")) < 50 or len(second.of("message")) < 50
        )
        for number in range(50):
            ack = next(
                at for at, e in enumerate(sender.events) if e["type"] == "ack" and e["data"].get("seq") == number + 1
            )
            copy = next(at for at, e in enumerate(sender.events) if e["type"] == "message" and e["seq"] == number + 1)
            assert ack < copy
        wanted = [f"mine-{number}" for number in range(50)]
        assert [event["data"].get("clientId") for event in sender.of("message")] == wanted
        assert [event["data"].get("clientId") for event in second.of("message")] == wanted
        assert {event["data"].get("clientId") for event in other.of("message")} == {None}
        again = await sender.ask("send", room, body="7", clientId="mine-7")
        assert again["data"]["duplicate"] is True
        assert again["data"]["seq"] == 8
        conflict = await sender.ask("send", room, body="changed", clientId="mine-7")
        assert conflict["data"]["code"] == 3010
        assert len(await server.log_of(room)) == 50


async def test_further_behind_than_500_is_a_gap_and_history_fills_it(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        await sock.start()
        for number in range(600):
            await sock.command("send", room, body=str(number))
            await wait_until(lambda n=number: len(sock.replies) < n - 200 and "answers")
        await wait_until(lambda: len(sock.replies) < 601 and f"only {len(sock.replies)}")
        for seq, is_gap in ((99, True), (100, False), (600, False), (601, True)):
            back = await Socket.open(nursery, server, fresh)
            ready = await back.start(resume={"rooms": {str(room): seq}})
            gaps = back.of("gap")
            assert bool(gaps) is is_gap, (seq, gaps)
            assert ready["data"]["resumed"] is not is_gap
            if seq == 99:
                assert (gaps[0]["data"]["from"], gaps[0]["data"]["to"], gaps[0]["data"]["top"]) == (100, 600, 600)
                assert not back.of("message")
                filled = []
                while len(filled) < 501:
                    page = await back.ask("history", room, after=99 + len(filled), limit=200)
                    filled += page["data"]["messages"]
                assert [item["seq"] for item in filled] == list(range(100, 601))
            elif seq == 601:
                assert gaps[0]["data"]["reset"] is True
            else:
                assert [event["seq"] for event in back.of("message")] == list(range(seq + 1, 601))
        other = await Socket.open(nursery, server, fresh)
        await other.start(resume={"rooms": {str(room): {"seq": 590, "epoch": 7}}})
        assert other.of("gap")[0]["data"]["reset"] is True


async def test_who_comes_600_messages_late_while_others_talk_has_the_whole_log(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    talker, late = (Member(server, user, [room], window=32) for user in (fresh, fresh + 1))
    async with trio.open_nursery() as clients:
        clients.start_soon(talker.run)
        for _ in range(600):
            talker.say(room)
        await wait_until(lambda: talker.unacked and f"{talker.unacked} acks", 20)
        for _ in range(300):
            talker.say(room)
        clients.start_soon(late.run)
        await wait_until(lambda: late.logs[room].top < 900 and f"the end, has {late.logs[room].top}", 20)
        clients.cancel_scope.cancel()
    assert late.gaps == 1
    assert fellow_holes([late]) == []
    assert await check_rooms(server, [talker, late]) == 900


async def test_read_markers_only_move_forward_and_are_told(server, fresh):
    async with open_sockets() as nursery:
        room, (one, two) = await two_in_a_room(server, nursery, fresh)
        for number in range(5):
            await one.ask("send", room, body=str(number))
        assert (await two.ask("read", room, seq=3))["data"]["seq"] == 3
        receipt = await one.expect("receipts")
        assert receipt["data"]["marks"] == {str(fresh + 1): 3}
        assert (await two.ask("read", room, seq=1))["data"]["seq"] == 3
        assert (await two.ask("read", room, seq=99))["data"]["seq"] == 5
        again = await Socket.open(nursery, server, fresh + 1)
        (item,) = (await again.start(room))["data"]["rooms"]
        assert (item["read"], item["unread"]) == (5, 0)
        await one.expect("receipts", marks={str(fresh + 1): 5})
        assert len(one.of("receipts")) == 2


async def test_typing_is_a_list_that_replaces_and_ends_by_itself_after_six_seconds(server, fresh):
    async with open_sockets() as nursery:
        room, (one, two, three) = await two_in_a_room(server, nursery, fresh, 3)
        began = trio.current_time()
        await one.ask("typing", room, on=True)
        first = await three.expect("typing")
        assert first["data"]["users"] == [fresh]
        await two.ask("typing", room, on=True)
        both = await three.expect("typing", after=three.position(first) + 1, seconds=3)
        assert set(both["data"]["users"]) == {fresh, fresh + 1}
        await two.ask("typing", room, on=False)
        at = three.position(both) + 1
        left = await three.expect("typing", after=at, seconds=3)
        assert left["data"]["users"] == [fresh]
        nobody = await three.expect("typing", after=three.position(left) + 1, seconds=9)
        assert nobody["data"]["users"] == []
        assert 5.5 < trio.current_time() - began < 8


async def test_over_the_limit_says_in_whole_seconds_when_and_duplicates_are_free():
    with ServerProcess(MESSAGES_PER_MINUTE=5) as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1, 2])
        async with open_sockets() as nursery:
            sock = await Socket.open(nursery, server, 1)
            await sock.start(room)
            for number in range(5):
                assert (await sock.ask("send", room, body=str(number), clientId=str(number)))["type"] == "ack"
            refused = (await sock.ask("send", room, body="6", clientId="6"))["data"]
            assert (refused["code"], refused["error"], refused["recoverable"]) == (4291, "RATE_LIMITED", True)
            assert isinstance(refused["retryAfter"], int)
            assert 0 < refused["retryAfter"] <= 60
            again = await sock.ask("send", room, body="3", clientId="3")
            assert again["data"]["duplicate"] is True
            rest = await http(server, "POST", f"/api/conversations/{room}/messages", {"content": "x"}, user=1)
            assert rest.status == 429, "the limit is one, on every road"
            assert int(rest.headers["retry-after"]) > 0
            other = await Socket.open(nursery, server, 2)
            await other.start(room)
            assert (await other.ask("send", room, body="mine"))["type"] == "ack"
        assert len(await server.log_of(room)) == 6


async def test_who_goes_on_however_often_it_is_refused_is_closed_and_its_neighbour_is_not():
    with ServerProcess(WS_COMMANDS_PER_MINUTE=20) as server:
        await trio.to_thread.run_sync(server.start)
        room = await server.make_room(1, [1, 2])
        async with open_sockets() as nursery:
            flood, other = await Socket.open(nursery, server, 1), await Socket.open(nursery, server, 2)
            await flood.start(room)
            await other.start(room)
            for number in range(90):
                if flood.close_code is not None:
                    break
                with suppress(Gone):  # closed since we looked
                    await flood.send({"type": "typing", "id": str(number), "room": room, "data": {"on": False}})
            await wait_until(lambda: flood.close_code is None and "open", 10)
            assert flood.close_code == 4102
            refused = [event for event in flood.of("error") if event["data"]["code"] == 4291]
            assert 50 < len(refused) <= 60
            assert (await other.ask("send", room, body="still here"))["type"] == "ack"


async def test_what_is_replayed_says_who_wrote_it_as_what_was_heard_live(server, fresh):
    room = await server.make_room(fresh, [fresh, fresh + 1])
    async with open_sockets() as nursery:
        ann, ben = await Socket.open(nursery, server, fresh), await Socket.open(nursery, server, fresh + 1)
        await ann.start(room)
        await ben.start(room)
        await ann.ask("send", room, body="hello Ben")
        heard = await ben.expect("message")
        again = await Socket.open(nursery, server, fresh + 1)
        await again.start(resume={"rooms": {str(room): {"seq": 0}}})
        replayed = await again.expect("message")
        joins = await Socket.open(nursery, server, fresh + 1)
        await joins.start()
        await joins.ask("join", room, after=0)
        joined = await joins.expect("message")
        assert heard["data"]["senderName"] == f"user {fresh}"
        assert replayed["data"] == heard["data"]
        assert joined["data"] == heard["data"]


async def test_what_a_connection_is_called_is_no_address_and_another_one_each_time(server, fresh):
    async with open_sockets() as nursery:
        numbers = []
        for _ in range(3):
            sock = await Socket.open(nursery, server, fresh)
            hello = await sock.expect("hello")
            ready = await sock.start()
            assert ready["data"]["session"] == hello["data"]["conn"]
            numbers.append(int(hello["data"]["conn"], 16))
            await sock.close()
        assert len(set(numbers)) == 3
        assert numbers == sorted(numbers)


async def test_several_commands_in_one_frame_and_their_order(server, fresh):
    room = await server.make_room(fresh, [fresh])
    async with open_sockets() as nursery:
        sock = await Socket.open(nursery, server, fresh)
        await sock.start(room)
        for turn in range(12):
            commands = [
                {"type": "send", "id": f"{turn}.{n}", "room": str(room), "data": {"body": f"{turn * 16 + n}"}}
                for n in range(16)
            ]
            await sock.send_bytes(frame(json.dumps(commands)))
        await wait_until(lambda: len(sock.of("message")) < 192 and f"only {len(sock.of('message'))}")
    stored = [int(row["content"]) for row in await server.log_of(room)]
    assert stored == list(range(192)), next((at, stored[at - 3 : at + 5]) for at in range(192) if stored[at] != at)


async def test_content_is_1_to_10000_code_points_of_any_language(server, fresh):
    async with open_sockets() as nursery:
        room, (one, two) = await two_in_a_room(server, nursery, fresh)
        for body in ("\U0001f600" * 10_000, "\u202e<script>\u0007\r\n\t", "e\u0301", '"\\', "\u2028\uffff"):
            assert (await one.ask("send", room, body=body))["type"] == "ack"
            await two.expect("message", body=body)
        assert (await one.ask("send", room, body="\U0001f600" * 10_001))["data"]["code"] == 1005


@pytest.mark.slow
async def test_the_server_pings_within_25_s_and_closes_with_4202_after_35_s_of_silence(server, fresh):
    await server.make_people(fresh)
    async with open_sockets() as nursery:
        silent = await Socket.open(nursery, server, fresh)
        silent._answer_ping = lambda: None
        alive = await Socket.open(nursery, server, fresh)
        await silent.start()
        await alive.start()
        began = trio.current_time()
        await silent.expect("ping", seconds=27)
        assert await silent.wait_closed(45) == 4202
        assert 34 <= trio.current_time() - began <= 39
        await trio.sleep(max(0, began + 62 - trio.current_time()))
        assert alive.close_code is None
        assert len(alive.of("ping")) >= 2


async def test_a_room_of_ten_thousand_members_works(server, fresh):
    crowd = [fresh * 1000 + number for number in range(10_000)]
    room = await server.make_room(fresh, crowd)
    async with open_sockets() as nursery:
        socks = []

        async def enter(user):
            sock = await Socket.open(nursery, server, user)
            await sock.start(room, seconds=30)
            socks.append(sock)

        for start in range(0, 300, 50):
            async with trio.open_nursery() as entering:
                for user in crowd[start : start + 50]:
                    entering.start_soon(enter, user)
        sender = socks[0]
        began = trio.current_time()
        for number in range(20):
            assert (await sender.ask("send", room, body=str(number)))["type"] == "ack"
        await wait_until(lambda: [len(sock.of("message")) for sock in socks if len(sock.of("message")) < 20], 10)
        print(f"20 messages to 300 sockets of 10,000 members in {trio.current_time() - began:.2f} s")
        for sock in socks:
            assert [event["seq"] for event in sock.of("message")] == list(range(1, 21))
        page = await socks[-1].ask("history", room, limit=10)
        assert [item["seq"] for item in page["data"]["messages"]] == list(range(11, 21))
        assert (await socks[5].ask("read", room, seq=20))["data"]["seq"] == 20
        answer = await http(server, "GET", f"/api/conversations/{room}", user=crowd[9_999])
        assert answer.status == 200
        assert (await sender.ask("typing", room, on=True))["type"] == "ack"
        online = await socks[1].ask("presence", room)
        assert len(online["data"]["users"]) == 300


async def test_a_room_of_ten_thousand_is_made_over_rest_in_portions(server, fresh):
    crowd = [fresh * 1000 + number for number in range(10_000)]
    await server.make_people(*crowd)
    body = {"participantIds": crowd[1:1000], "isGroup": True}
    made = await http(server, "POST", "/api/conversations", body, user=crowd[0])
    assert made.status == 200, made
    room = made.json()["data"]["conversation"]["id"]
    for start in range(1000, 10_000, 1000):
        path = f"/api/conversations/{room}/participants"
        added = await http(server, "POST", path, {"userIds": crowd[start : start + 1000]}, user=crowd[0])
        assert added.status in (200, 201), added
    async with open_sockets() as nursery:
        one, last = [await Socket.open(nursery, server, user) for user in (crowd[0], crowd[-1])]
        assert (await one.start(room))["data"]["rooms"][0]["members"] == 10_000
        await last.start(room)
        await one.ask("send", room, body="to all")
        await last.expect("message", body="to all")
