"""What users of such systems complain of elsewhere (realtime.md section 6), where no other file is the place for it."""

import json
import os
import statistics
from collections import Counter
from pathlib import Path

import trio
from wire import Socket, http, open_sockets, wait_until

PEOPLE = ("users", "joins", "leaves")
PER_SECOND = 100  # messages: twice what was a ceiling elsewhere
CORES_MAX = 0.5  # that they may take: measured 0.15


async def rows_of_all_tables(server):
    named = await server.query("select table_name from information_schema.tables where table_schema = 'public'")
    tables = [row["table_name"] for row in named]
    counts = " union all ".join(f"select '{table}' as name, count(*) as count from {table}" for table in tables)
    return Counter({row["name"]: row["count"] for row in await server.query(counts)})


async def test_reading_moves_one_marker_for_each_member_and_stores_no_row_for_each_message(server, fresh):
    """6.9: ten readers of sixty messages would be six hundred rows."""
    users, count = [fresh + number for number in range(11)], 60
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        author, *readers = [await Socket.open(nursery, server, user) for user in users]
        for sock in (author, *readers):
            await sock.start(room)
        for number in range(count):
            await author.ask("send", room, body=str(number))
        for sock in readers:
            await sock.expect("message", seq=count)
        before = await rows_of_all_tables(server)
        for sock in readers:
            for seq in range(1, count + 1):
                await sock.command("read", room, seq=seq)
        for sock in readers:
            await sock.settle()
            await wait_until(lambda sock=sock: len(sock.of("ack")) < count and "acks of read")
        markers = await server.query("select user_id, read_seq from participants where conversation_id = $1", room)
        assert {row["read_seq"] for row in markers if row["user_id"] != fresh} == {count}
        grown = await rows_of_all_tables(server) - before
        assert sum(grown.values()) < 10 * len(users), grown


async def test_one_user_can_be_asked_for_where_presence_is_told_to_nobody(server, fresh):
    """6.4: in a room of over 200 members nobody is told who is there; by name one is, now and as it changes."""
    crowd = [fresh + number for number in range(250)]
    room = await server.make_room(fresh, crowd)
    await server.make_people(fresh + 300)
    async with open_sockets() as nursery:
        asker, friend, gone = [await Socket.open(nursery, server, user) for user in crowd[:3]]
        for sock in (asker, friend, gone):
            await sock.start(room)
        await friend.ask("presence", status="busy", note="in a call")
        gone.cut()
        answer = await asker.ask("watch", users=[*crowd[1:4], fresh + 300])
        assert answer["data"] == {"watching": crowd[1:4], "refused": [fresh + 300]}
        state = await asker.expect("presence_state", after=asker.position(answer))
        assert "room" not in state
        shown = {user["user"]: user for user in state["data"]["users"]}
        assert (shown[crowd[1]]["status"], shown[crowd[1]]["activity"]) == ("busy", "in a call")
        assert shown[crowd[3]]["status"] == "offline"
        await wait_until(lambda: last_known(asker, crowd[2]) != "offline" and "the end of who went")
        await friend.ask("presence", status="away")
        await wait_until(lambda: last_known(asker, crowd[1]) != "away" and "the new status")
        told = [event for event in asker.of("presence_state", "presence_diff") if event.get("room") == room]
        assert not [user for event in told for user in event["data"].get("users", event["data"].get("joins", ()))]


def last_known(sock, user_id):
    """The status of somebody who is watched by name, as it was last told."""
    status = None
    for event in sock.of("presence_state", "presence_diff"):
        if "room" not in event and "rooms" not in event:
            for kind in ("users", "joins", "leaves"):
                for user in event["data"].get(kind, ()):
                    if user["user"] == user_id:
                        status = user["status"]
    return status


async def enter_and_see(nursery, server, room, user):
    """Come into the room on a socket of one's own. The socket, and the bytes and seconds of its `join`."""
    sock = await Socket.open(nursery, server, user)
    await sock.start()
    before, began = sock.bytes_received, trio.current_time()
    assert (await sock.ask("join", room))["type"] == "ack"
    took = trio.current_time() - began
    await sock.settle()
    return sock, sock.bytes_received - before, took


async def test_a_room_of_thousands_tells_no_list_of_who_is_there_and_is_entered_and_resumed_like_a_small_one(
    server, fresh
):
    """6.19: rooms of 2,000 to 20,000 die of their lists, and who comes back late is thrown out of them."""
    crowd = [fresh * 1000 + number for number in range(5000)]
    large = await server.make_room(fresh, crowd)
    small = await server.make_room(fresh + 1, crowd[:20])
    async with open_sockets() as nursery:
        author, watcher = [await Socket.open(nursery, server, user) for user in crowd[:2]]
        await author.start(small, large)
        await watcher.start(large)
        await watcher.settle()
        heard, seen = watcher.bytes_received, ([], [])
        for guests in zip(crowd[2:20], crowd[1000:1018], strict=True):  # in turns: both meet the same machine
            for room, user, found in zip((small, large), guests, seen, strict=True):
                found.append(await enter_and_see(nursery, server, room, user))
        (_, small_bytes, small_seconds), (socks, large_bytes, large_seconds) = (
            tuple(zip(*found, strict=True)) for found in seen
        )
        await trio.sleep(1.5)  # presence is told once a second
        await watcher.settle()
        heard = watcher.bytes_received - heard
        medians = [statistics.median(seconds) * 1000 for seconds in (small_seconds, large_seconds)]
        print(
            f"joins of {max(large_bytes)} bytes beside {max(small_bytes)}; median {medians[1]:.1f} ms, {medians[0]:.1f}"
        )
        assert max(large_bytes) <= min(small_bytes) + 200
        assert medians[1] <= 3 * medians[0] + 10
        assert heard < 1000, "18 have come, of whom nobody is told"
        for sock in socks:  # away for a while: nobody is thrown out, and nothing is missed
            sock.cut()
        for number in range(18):
            await author.ask("send", large, body=f"{number}")
        back = []
        for sock, user in zip(socks, crowd[1000:1018], strict=True):
            assert sock.close_code is not None or await sock.wait_closed()
            again = await Socket.open(nursery, server, user)
            ready = await again.start(resume={"rooms": {str(large): {"seq": 0}}})
            assert ready["data"]["resumed"] is True
            assert [room["members"] for room in ready["data"]["rooms"]] == [5000]
            assert [event["seq"] for event in again.of("message")] == list(range(1, 19))
            back.append(again)
        await author.ask("send", large, body="to all who are back")
        for sock in (watcher, *back):
            await sock.expect("message", seq=19)
        await trio.sleep(1.5)
        for sock in (watcher, *socks, *back):
            assert sock.of("member") == []
            told = [event for event in sock.of("presence_state", "presence_diff") if str(large) in json.dumps(event)]
            assert [user for event in told for kind in PEOPLE for user in event["data"].get(kind, ())] == []
        inside = await server.query("select count(*) from participants where conversation_id = $1 and is_active", large)
        assert inside[0]["count"] == 5000
        answer = await http(server, "GET", f"/api/conversations/{large}", user=crowd[1017])
        assert answer.status == 200


async def top(server):
    """What `greenroom top --json` says to an operator."""
    process = server.command("top", "--json", "--seconds", "0.1")
    text, _ = await trio.to_thread.run_sync(process.communicate)
    assert process.returncode == 0, text
    return json.loads(text)["outboxes"]


async def test_an_operator_sees_how_much_waits_for_whom_and_how_many_were_closed_as_slow(server, fresh):
    """6.11: a slow client that is cut off is a surprise where its queue cannot be seen."""
    users = [fresh, fresh + 1]
    room = await server.make_room(fresh, users)
    async with open_sockets() as nursery:
        author = await Socket.open(nursery, server, users[0])
        await author.start(room)
        before = await top(server)
        slow = await Socket.open(nursery, server, users[1], receive_buffer=4096)
        await slow.start(room)
        slow.stop_reading()
        for number in range(40):  # more than the kernel takes, and less than an outbox
            await author.ask("send", room, body=f"{number} ".ljust(9_900, "x"))
        found = await top(server)
        assert found["sockets"] == before["sockets"] + 1
        assert before["bytes"] + 100_000 < found["bytes"] < found["limit"]
        (mine,) = [one for one in found["worst"] if one["user"] == users[1]]
        assert mine["connection"] == slow.of("hello")[0]["data"]["conn"]
        assert (mine["protocol"], mine["address"]) == ("greenroom.v1", "127.0.0.1")
        assert 100_000 < mine["bytes"] < 1024 * 1024
        assert 0 <= mine["seconds"] < 10
        assert found["closed"] == before["closed"]
        for number in range(100):
            await author.ask("send", room, body=f"{number} ".ljust(9_900, "x"))
        slow.read_again()
        assert await slow.wait_closed() == 4201
        after = await top(server)
        assert after["closed"] == before["closed"] + 1
        assert [one for one in after["worst"] if one["user"] == users[1]] == []


async def test_twice_the_messages_that_were_a_ceiling_elsewhere_take_a_part_of_one_core(server, fresh):
    """6.3: 50 messages a second, however large the machine. Here 100, stored, for 20 members of each of ten rooms."""
    members, count = 20, 3 * PER_SECOND
    rooms = [fresh + number for number in range(10)]
    async with open_sockets() as nursery:
        people = {}
        for number, room in enumerate(rooms):
            users = [fresh + number * members + at for at in range(members)]
            await server.make_room(room, users)
            people[room] = [await Socket.open(nursery, server, user) for user in users]
            for sock in people[room]:
                await sock.start(room)
        began, spent = trio.current_time(), cpu_seconds(server)
        for number in range(count):
            room = rooms[number % len(rooms)]
            author = people[room][number // len(rooms) % members]
            await author.command("send", room, body=f"message {number}", clientId=str(number))
            await trio.sleep_until(began + number / PER_SECOND)
        each = count // len(rooms)
        for room in rooms:
            for sock in people[room]:
                await wait_until(lambda sock=sock: len(sock.of("message")) < each and f"{each} messages")
        late = trio.current_time() - began - count / PER_SECOND
        cores = (cpu_seconds(server) - spent) / (count / PER_SECOND)
        print(f"all were everywhere {late:.2f} s after the last was said; {cores:.2f} of a core")
        for room in rooms:
            stored = [(row["seq"], row["content"]) for row in await server.log_of(room)]
            assert len(stored) == each
            for sock in people[room]:
                assert [(told["seq"], told["data"]["body"]) for told in sock.of("message")] == stored
            acked = Counter(told["data"]["seq"] for sock in people[room] for told in sock.of("ack"))
            assert acked == Counter(range(1, each + 1))
        assert late < 2
        assert cores < CORES_MAX


def cpu_seconds(server):
    """What the server process has used up."""
    user, system = Path(f"/proc/{server.pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")
