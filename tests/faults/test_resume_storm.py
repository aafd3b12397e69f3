"""Kill -9 under thousands of listeners: all are live again soon, nothing is lost, nothing comes twice, and the database
is asked for rooms, not for people."""

import resource

import pytest
import trio
from server_process import ServerProcess  # type: ignore[import-not-found]
from storm import Listener, Storm  # type: ignore[import-not-found]
from wire import Member, wait_until  # type: ignore[import-not-found]

# Each user who comes is looked up, many with one question; each room is loaded by some.
QUESTIONS_PER_ROOM_MAX = 12
QUESTIONS_BESIDES_MAX = 300


async def transactions(server):
    """How many PostgreSQL has finished. Those of the last second may be missing."""
    await trio.sleep(1.2)
    rows = await server.query(
        "select xact_commit + xact_rollback as count from pg_stat_database where datname = current_database()"
    )
    return rows[0]["count"]


async def storm(rooms_count, members, seconds_max, connects_per_second=500):
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with ServerProcess(WS_CONNECTS_PER_SECOND=connects_per_second) as server:
        await trio.to_thread.run_sync(server.start)
        listeners, talkers = [], []
        for room in range(1, rooms_count + 1):
            users = [room * 1000 + number for number in range(members + 1)]
            await server.make_room(room, users)
            talkers.append(Member(server, users[0], [room]))
            listeners += [Listener(server.token(user), room) for user in users[1:]]
        crowd = Storm(server.port, listeners)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: trio.to_thread.run_sync(crowd.run, abandon_on_cancel=True))
            for talker in talkers:
                nursery.start_soon(talker.run)
            await wait_until(lambda: sum(not one.is_live for one in listeners), 90)
            for number in range(20):
                for talker in talkers:
                    talker.say(next(iter(talker.logs)), f"{number}")
                await trio.sleep(0.02)
            await trio.to_thread.run_sync(server.kill)
            for talker in talkers:
                talker.say(next(iter(talker.logs)), "while nobody was there")
            await wait_until(lambda: sum(one.is_live for one in listeners), 20)
            before = await transactions(server)
            await trio.to_thread.run_sync(server.start)
            began = trio.current_time()
            await wait_until(lambda: sum(not one.is_live for one in listeners), seconds_max)
            took = trio.current_time() - began
            await wait_until(lambda: [talker.unacked for talker in talkers if talker.unacked], 30)
            asked = await transactions(server) - before
            stored = {room: [row["id"] for row in await server.log_of(room)] for room in range(1, rooms_count + 1)}
            await wait_until(lambda: sum(len(one.ids) < len(stored[one.room]) for one in listeners), 30)
            crowd.stop()
            nursery.cancel_scope.cancel()
        print(f"{len(listeners)} live again {took:.1f} s after the start; {asked} transactions for {rooms_count} rooms")
        assert {len(ids) for ids in stored.values()} == {21}
        assert [one for one in listeners if one.ids != stored[one.room]] == []
        assert sum(one.holes + one.gaps for one in listeners) == 0
        assert sum(one.repeats for one in listeners) == 0
        assert asked < QUESTIONS_BESIDES_MAX + QUESTIONS_PER_ROOM_MAX * rooms_count
        assert not server.faults(), server.faults()[0]


async def test_three_hundred_are_live_again_with_everything_once_after_kill_9():
    await storm(6, 50, 15)


@pytest.mark.slow(seconds=120)
async def test_five_thousand_are_live_again_within_15_seconds_with_everything_once_after_kill_9():
    await storm(50, 100, 15)
