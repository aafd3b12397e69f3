"""A server that is full: who comes is told so and when to come back, on every transport, and comes in when one left.

How many sockets there may be is WS_MAX_CONNECTIONS, and no more than the system has descriptors for: what is left over
serves HTTP and the database.
"""

import sys

import pytest
import trio
from crowd import Crowd, leave_all  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]
from streams import Stream  # type: ignore[import-not-found]
from wire import (  # type: ignore[import-not-found]
    V1,
    Refused,
    Socket,
    connect_tcp,
    http,
    open_sockets,
    upgrade_request,
    wait_until,
)

DESCRIPTORS = 600
POSSIBLE = DESCRIPTORS // 2
KEPT = POSSIBLE // 2  # of what is left over: for all but HTTP
LIMITED = f"""
import os, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({DESCRIPTORS}, {DESCRIPTORS}))
os.execv(sys.executable, [sys.executable, "-m", "greenroom", "serve"])
"""
FULL = {"ws_max_connections": 3}


async def refusal(nursery, house, protocol):
    with pytest.raises(Refused) as refused:
        await Socket.open(nursery, house, 1, protocol=protocol)
    assert refused.value.status == 503
    assert int(refused.value.headers["retry-after"]) >= 1
    return refused.value.json()


async def fill(nursery, house):
    """Three of three: one of each kind."""
    first = await Socket.open(nursery, house, 1)
    await Socket.open(nursery, house, 2, protocol=None)
    await Stream.open(nursery, house, 3)
    return first


@pytest.mark.parametrize("house_settings", [FULL])
async def test_who_comes_to_a_full_server_is_told_when_to_come_back_and_comes_in_when_one_has_left(live_house):
    house, engine = live_house, live_house.house.engine
    await house.people(1, 2, 3)
    async with open_sockets() as nursery:
        first = await fill(nursery, house)
        assert (await refusal(nursery, house, V1))["error"]["code"] == "SERVICE_UNAVAILABLE"
        assert (await refusal(nursery, house, None))["pollInterval"] > 0, "as the existing client reads it"
        answer = await http(house, "GET", "/events", user=1)
        assert (answer.status, int(answer.headers["retry-after"]) >= 1) == (503, True)
        assert engine.total == 3
        await first.close()
        await wait_until(lambda: engine.total - 2)
        await Socket.open(nursery, house, 1)


@pytest.mark.parametrize("house_settings", [{**FULL, "ws_connects_per_second": 1}])
async def test_of_pages_that_wait_at_the_door_no_more_come_in_than_there_is_room_for_when_their_turn_comes(live_house):
    """There was room for one when both came."""
    house, statuses = live_house, []
    await house.people(1, 2, 3, 4)

    async def come(nursery, user):
        try:
            await Socket.open(nursery, house, user, protocol=None)
        except Refused as refused:
            statuses.append(refused.status)
        else:
            statuses.append(101)

    async with open_sockets() as nursery:
        for user in (1, 2):
            await come(nursery, user)
        async with trio.open_nursery() as coming:
            for user in (3, 4):
                coming.start_soon(come, nursery, user)
        assert sorted(statuses) == [101, 101, 101, 503]
        assert house.house.engine.total == 3


class LimitedServer(ServerProcess):
    """It may have DESCRIPTORS open, and not more."""

    def _command(self):
        return [sys.executable, "-c", LIMITED]


async def test_no_more_come_in_than_there_are_descriptors_for_and_http_has_some_left():
    with LimitedServer() as server:
        await trio.to_thread.run_sync(server.start)
        assert f'"possible": {POSSIBLE}' in server.log.read_text()
        people = range(1, POSSIBLE + 51)
        await server.make_people(*people)

        def crowd(users, protocol):
            named = [("Sec-WebSocket-Protocol", protocol)] if protocol else []
            tokens = [("Authorization", f"Bearer {server.token(user)}") for user in users]
            return Crowd(server.port, [upgrade_request("/ws", [token, *named], server.port) for token in tokens])

        try:
            inside = [crowd(people[:POSSIBLE:2], V1), crowd(people[1:POSSIBLE:2], None)]
            for one in inside:
                await one.arrive(20)
                assert set(one.statuses) == {101}
            for protocol in (V1, None):
                beyond = crowd(people[POSSIBLE:], protocol)
                await beyond.arrive(20)
                assert beyond.statuses == {503: 50}
                assert None not in beyond.retry_after
                beyond.leave()
                assert (await http(server, "GET", "/api/conversations", user=1)).status == 200
            inside[0].leave()
            await wait_until(lambda: server.usage().connections > POSSIBLE // 2 + 10 and server.usage())
            back = crowd(people[POSSIBLE:], V1)
            await back.arrive(20)
            assert back.statuses == {101: 50}
        finally:
            leave_all()
        assert not server.faults(), server.faults()[0]


async def test_who_connects_and_asks_nothing_takes_no_descriptor_that_files_and_the_database_need():
    """They are fewer than HTTP may have connections: all that is left for one is taken, and more of them wait."""
    silent = []
    with LimitedServer() as server:
        await trio.to_thread.run_sync(server.start)
        await server.make_people(1)
        try:
            async with open_sockets() as nursery:
                member = await Socket.open(nursery, server, 1)
                for _ in range(DESCRIPTORS):
                    silent.append(await connect_tcp(server.port))
                await wait_until(lambda: server.usage().descriptors < DESCRIPTORS - KEPT and server.usage(), every=0.3)
                look = server.command("tree")
                said = await trio.to_thread.run_sync(look.communicate)
                assert look.returncode == 0, said
                assert server.usage().descriptors <= DESCRIPTORS - KEPT // 2
                await member.command("ping")
                await member.expect("pong")
        finally:
            for sock in silent:
                sock.close()
        assert (await http(server, "GET", "/api/conversations", user=1)).status == 200
        assert server.log.read_text().count("accept_paused") == 1
