"""Random sends, joins, leaves, blocks, drops, stalls and restarts: what every client has is what the server has.

model.py says what is played and what must hold. Here are the servers that it is played to: one in this process, whose
memory is made short so that nothing is found where it usually is, and the real one, stopped and killed.
"""

import asyncio
from collections import Counter

import asyncpg
import pytest
import trio
from house_fixture import open_house_under_test
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from model import Script, play, scripts  # type: ignore[import-not-found]
from server_process import ServerProcess
from tls_files import make_tls_files
from wire import http

SHORT = {
    "greenroom.http.ws.v1_commands.REPLAY_MESSAGES_MAX": 4,
    "greenroom.http.ws.replay.PAGE_MESSAGES": 2,
    "greenroom.http.ws.channel.RECENT_MESSAGES_MAX": 2,
}
ALWAYS = {
    "greenroom.http.streams.connection.POLL_SECONDS_MIN": 0.02,
    "greenroom.http.ws.connection.OUTBOX_BYTES_MAX": 96 * 1024,
    "greenroom.http.ws.replay.PACK_BYTES_MAX": 16 * 1024,  # or a replay would fill such an outbox by itself
    "greenroom.http.ws.replay.UNSENT_BYTES_MAX": 32 * 1024,
}
MET = ("said by socket", "said by page", "again", "refused", "left", "socket", "stream", "poll", "gaps", "deflated")


async def _has_blocks(server):
    return (await http(server, "GET", "/api/users/blocked", user=1)).status == 200


class HouseStage:
    """The server in this process. Shaken by killing the actors of rooms, or forgetting what was said lately."""

    def __init__(self, house, database, tls=None):
        self.house, self.database, self.port, self.tls = house, database, house.port, tls
        self.server = self
        self.token = house.token
        self.has_blocks = True

    async def people(self, *users):
        await self.house.people(*users)

    async def log_of(self, room):
        async def rows():
            connection = await asyncpg.connect(**self.database.connect_arguments())
            try:
                return await connection.fetch(
                    "select seq, id, sender_id, client_id, content from messages where conversation_id = $1"
                    " order by seq",
                    room,
                )
            finally:
                await connection.close()

        return await trio.to_thread.run_sync(lambda: asyncio.run(rows()))

    async def shake(self, kind, rooms):
        for room in rooms:
            if kind == 0:
                system = self.house.house.system
                system.kill(system.ref("room", room))
            elif room in self.house.house.hub.channels:
                self.house.house.hub.channels[room].recent.clear()


class ProcessStage:
    """The real server, with or without TLS. It is shaken by a restart, in order or not."""

    def __init__(self, server, tls=None):
        self.server = server
        server.tls = tls
        self.has_blocks = True

    async def people(self, *users):
        await self.server.make_people(*users)

    async def log_of(self, room):
        return await self.server.log_of(room)

    async def shake(self, kind, rooms):
        del rooms
        await trio.to_thread.run_sync((self.server.stop, self.server.kill)[kind])
        await trio.to_thread.run_sync(self.server.start)


def drawn(examples, seed, run, **options):
    """Run *run* with that many scripts; where one fails, with the shortest that does."""
    numbers = iter(range(10**6))

    @hypothesis_seed(seed)
    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=False,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
        report_multiple_bugs=False,
    )
    @given(script=scripts(**options))
    def body(script: Script) -> None:
        run(script, 1_000_000 + 10 * next(numbers))

    body()


async def play_in_house(stage, monkeypatch, examples, seed):
    """Scripts in a thread, which asks this loop to play each."""
    met = Counter()
    stage.has_blocks = await _has_blocks(stage)

    async def one(script, first_user):
        with monkeypatch.context() as patched:
            for name, value in (ALWAYS | (SHORT if script.is_near else {})).items():
                patched.setattr(name, value)
            patched.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", 0 if script.walks else 200)
            met.update((await play(stage, script, first_user, first_user)).counts)

    def run(script, first_user):
        trio.from_thread.run(one, script, first_user)

    await trio.to_thread.run_sync(lambda: drawn(examples, seed, run, steps_max=25))
    print(dict(met))
    return met


@pytest.mark.parametrize("house_settings", [{"ws_compression": True, "ws_max_per_user": 1000, "ws_max_per_address": 0}])
async def test_every_log_is_the_servers_log_as_its_user_may_see_it(live_house, database, monkeypatch, seed):
    met = await play_in_house(HouseStage(live_house, database), monkeypatch, 25, seed)
    assert not [what for what in MET if not met[what]], met


async def test_every_log_is_the_servers_log_over_tls(database, tmp_path, monkeypatch, seed):
    tls = make_tls_files(tmp_path)
    given_settings = {"ws_compression": True, "ws_max_per_user": 1000, "ws_max_per_address": 0}
    given_settings |= {"tls_cert": tls.certificate, "tls_key": tls.key}
    async with open_house_under_test(database, tmp_path, listens=True, **given_settings) as house:
        await play_in_house(HouseStage(house, database, tls.client), monkeypatch, 6, seed)


@pytest.mark.slow(seconds=150)
@pytest.mark.parametrize("house_settings", [{"ws_compression": True, "ws_max_per_user": 1000, "ws_max_per_address": 0}])
@pytest.mark.parametrize("number", range(3))
async def test_every_log_is_the_servers_log_in_hundreds_of_plays(live_house, database, monkeypatch, number):
    met = await play_in_house(HouseStage(live_house, database), monkeypatch, 150, number)
    assert not [what for what in MET if not met[what]], met


def play_to_process(examples, seed, tls=None, **options):
    environment = {"WS_COMPRESSION": "true"}
    if tls is not None:
        environment |= {"TLS_CERT": tls.certificate, "TLS_KEY": tls.key}
    with ServerProcess(**environment) as server:
        server.start()
        stage = ProcessStage(server, tls.client if tls is not None else None)
        stage.has_blocks = trio.run(_has_blocks, server)
        met = Counter()

        def run(script, first_user):
            met.update(trio.run(play, stage, script, first_user, first_user).counts)

        drawn(examples, seed, run, **options)
        print(dict(met))
        assert not server.faults(), server.faults()[0]
    return met


def test_every_log_is_the_servers_log_over_restarts_and_kills(seed):
    met = play_to_process(3, seed, steps_max=12, stalls=False)
    assert met["shake 0"] + met["shake 1"], met


@pytest.mark.slow(seconds=120)
@pytest.mark.parametrize("is_secure", [False, True])
def test_every_log_is_the_servers_log_over_many_restarts_and_kills(tmp_path, is_secure):
    met = play_to_process(25, 7, make_tls_files(tmp_path) if is_secure else None, steps_max=20)
    assert min(met["shake 0"], met["shake 1"]), met
