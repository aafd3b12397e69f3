"""Who is in hundreds of rooms starts quickly, and is told little (realtime.md section 6.14).

At the limit: 200 rooms that are heard and 500 that are followed, each with a history. No message is told, and none is
read but the last ones of a room by itself, when it wakes: only rooms that sleep cost a question.
"""

from collections import Counter

import pytest
import trio
from questions import Questions  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]
from wire import Socket, open_sockets, wait_until  # type: ignore[import-not-found]

HEARD, FOLLOWED = 200, 500
MESSAGES = 30
BYTES_PER_ROOM_MAX = 450  # of which 150 are the last message, of a room that is followed
QUESTIONS_PER_ROOM_MAX = 6  # to wake it: four, in a transaction
QUESTIONS_BESIDES_MAX = 60
FILLS = [
    "insert into conversations (id, is_group, title, created_by_id, top_seq, created_at, updated_at, last_message_at)"
    " select id, true, 'room', 2, $2::int, now(), now(), now() from unnest($1::bigint[]) as id where $2::int > 0",
    "insert into ownership (kind, key) select 'room', id::text from unnest($1::bigint[]) as id where $2::int > 0",
    "insert into participants (conversation_id, user_id, role, is_active, joined_at)"
    " select id, u, 'member', true, now() from unnest($1::bigint[]) as id, unnest(array[1, 2]) as u where $2::int > 0",
    "insert into messages (id, conversation_id, seq, sender_id, client_id, content, content_digest, created_at)"
    " select id * 100 + seq, id, seq, 2, 'c' || seq, repeat('x', 2000), '\\x00'::bytea, now()"
    " from unnest($1::bigint[]) as id, generate_series(1, $2::int) as seq",
]


async def in_rooms(server, count):
    """Users 1 and 2 in so many groups, each with some messages of 2. Returns the ids of the groups."""
    await server.make_people(1, 2)
    rooms = list(range(1_000_000, 1_000_000 + count))
    for fill in FILLS:
        await server.query(fill, rooms, MESSAGES)
    return rooms


async def start(nursery, server, heard, followed):
    """A socket that is live, and was told how each room stands that it follows; the seconds that took."""
    wanted = [{"r": room} for room in heard] + [{"r": room, "mode": "summary"} for room in followed]
    began = trio.current_time()
    sock = await Socket.open(nursery, server, 1)
    await sock.start(seconds=60, rooms=wanted)
    await wait_until(lambda: len(followed) - len(sock.of("room_summary")), 30)
    return sock, trio.current_time() - began


@pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow(seconds=40))])
async def test_who_is_in_hundreds_of_rooms_starts_soon_and_is_told_little(share):
    with ServerProcess() as server:
        await trio.to_thread.run_sync(server.start)
        questions = Questions(server)
        rooms = await in_rooms(server, (HEARD + FOLLOWED) // share)
        heard, followed = rooms[: HEARD // share], rooms[HEARD // share :]
        await questions.begin()
        async with open_sockets() as nursery:
            for how, seconds_max, per_room in (("asleep", 10.0, QUESTIONS_PER_ROOM_MAX), ("awake", 3.0, 0)):
                questions.forget()
                sock, seconds = await start(nursery, server, heard, followed)
                asked, each = questions.asked(), sock.bytes_received / len(rooms)
                print(f"{len(rooms)} rooms {how}: {seconds:.2f} s, {each:.0f} bytes a room, {asked.total()} questions")
                ready = sock.of("ready")[0]["data"]
                modes = Counter(room["mode"] for room in ready["rooms"])
                assert modes == {"full": len(heard), "summary": len(followed)}
                assert "refused" not in ready
                assert sock.of("message", "gap") == []
                assert {event["data"]["unread"] for event in sock.of("room_summary")} == {MESSAGES}
                assert seconds < seconds_max
                assert each < BYTES_PER_ROOM_MAX
                assert asked.total() <= QUESTIONS_BESIDES_MAX + per_room * len(rooms), asked
                await sock.close()
        assert not server.faults(), server.faults()[0]
