"""What users of such systems complain of elsewhere (realtime.md section 6), where no other file is the place for it."""

from collections import Counter

from wire import Socket, open_sockets, wait_until


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
