"""Random sends, joins, leaves, blocks, drops, stalls and restarts: what every client has is what the server has.

model.py says what is played and what must hold. Here are the servers that it is played to: one in this process, whose
memory is made short so that nothing is found where it usually is, and the real one, stopped and killed.
"""

import asyncio
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
import trio
from house_fixture import open_house_under_test
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as hypothesis_seed
from model import play
from plays import Script, Shake, everything, scripts
from postgres_proxy import open_proxy
from server_process import ServerProcess
from tls_files import make_tls_files
from wire import streams_of

SHORT = {
    "greenroom.http.ws.v1_commands.REPLAY_MESSAGES_MAX": 4,
    "greenroom.http.ws.replay.PAGE_MESSAGES": 2,
    "greenroom.http.ws.channel.RECENT_MESSAGES_MAX": 2,
    "greenroom.actors.room.state.CLIENT_IDS_MAX": 3,
    "greenroom.actors.room.state.RING_MESSAGES": 2,
    "greenroom.storage.postgres.conversations.CLIENT_IDS_MAX": 3,
    "greenroom.storage.postgres.conversations.RING_MESSAGES": 2,
}
ALWAYS = {
    "greenroom.http.streams.connection.POLL_SECONDS_MIN": 0.02,
    "greenroom.http.streams.session.AGAIN_SECONDS": 0.1,
    "greenroom.http.ws.presence_run.AGAIN_SECONDS": 0.1,
    "greenroom.http.ws.replay.STORAGE_PAUSE_SECONDS": 0.05,
    "greenroom.actors.room.actor.STORAGE_PAUSE_SECONDS": 0.1,
    "greenroom.actors.notifier.actor.STORAGE_PAUSE_SECONDS": 0.1,
    "greenroom.runtime.storage_watch.PROBE_SECONDS_MAX": 0.1,
    "greenroom.http.ws.connection.OUTBOX_BYTES_MAX": 96 * 1024,
    "greenroom.http.ws.replay.PACK_BYTES_MAX": 16 * 1024,  # or a replay would fill such an outbox by itself
    "greenroom.http.ws.replay.UNSENT_BYTES_MAX": 32 * 1024,
}
# By each run, because its first play is not drawn but has it all (plays.everything).
MET_ANYWHERE = (
    *("over socket", "over stream", "over poll", "over page", "deflated"),
    *("said by socket", "said by page", "refused", "again", "twice at once", "found", "skips", "own events"),
    *("added", "removed", "left", "leaves", "blocks", "blocks over a socket", "refused to one of two", "moves told"),
)
MET = (
    *MET_ANYWHERE,
    *("closed 4201", "closed 1012", "slow and back", "gaps"),
    *("killed rooms", "forgotten", "lost the answer of storage", "lost the question to storage"),
)
MET_IN_HUNDREDS = (
    *MET,
    *(
        "said by page",
        "again",
        "left",
        "skips",
        "gaps",
        "twice at once",
        "lost",
        "found",
        "refused to one of two",
        "blocks over a socket",
        "history",
    ),
    *("socket", "stream", "poll", "page"),
    *("killed rooms", "forgotten", "lost the answer of storage", "lost the question to storage"),
)
MOVES = "select seq, user_id, kind from member_changes where conversation_id = $1 order by seq"
SETTINGS = {"ws_compression": True, "ws_max_per_user": 1000, "ws_max_per_address": 0}
PLAY_SECONDS_MAX = 60
SHRINK_SECONDS_MAX = 60


class HouseStage:
    """The server in this process, its storage behind a proxy.

    Shaken by killing the actors of rooms, by forgetting what was said lately, and by storing a message without anybody
    learning of it, or losing it without that.
    """

    def __init__(self, house, database, proxy, tls=None):
        self.house, self.database, self.proxy, self.port, self.tls = house, database, proxy, house.port, tls
        self.server = self
        self.token = house.token
        self.is_near = self._was_killed = False

    async def people(self, *users):
        self.proxy.lose_nothing()  # of the play before
        await self.house.people(*users)

    async def log_of(self, room):
        return await self._rows(
            "select seq, id, sender_id, client_id, content from messages where conversation_id = $1 order by seq", room
        )

    async def moves_of(self, room):
        return await self._rows(MOVES, room)

    async def stream_of(self, user):
        for _ in range(200):
            if not await self._rows("select from user_notes where user_id = $1", user):
                break
            await trio.sleep(0.05)
        return await self._rows("select useq, kind from user_events where user_id = $1 order by useq", user)

    async def _rows(self, statement, argument):
        async def rows():
            connection = await asyncpg.connect(**self.database.connect_arguments())
            try:
                return await connection.fetch(statement, argument)
            finally:
                await connection.close()

        return await trio.to_thread.run_sync(lambda: asyncio.run(rows()))

    async def shake(self, kind, rooms):
        if kind == 0:
            self._was_killed = True
            for room in rooms:
                self.house.house.system.kill(self.house.house.system.ref("room", room))
        elif kind == 1:
            for room in rooms:
                if room in self.house.house.hub.channels:
                    self.house.house.hub.channels[room].recent.clear()
        else:
            (self.proxy.lose_answer_to if kind == 2 else self.proxy.lose_question)(b" says ")
        return ("killed rooms", "forgotten", "lost the answer of storage", "lost the question to storage")[kind]

    def forgets(self):
        was_killed, self._was_killed = self._was_killed, False
        return was_killed or (self.is_near and self.proxy.is_losing)  # a room tells anew what it remembers


class ProcessStage:
    """The real server, with or without TLS. It is shaken by a restart, in order or not."""

    def __init__(self, server, tls=None):
        self.server = server
        server.tls = tls
        self._was_away = False

    async def people(self, *users):
        await self.server.make_people(*users)

    async def log_of(self, room):
        return await self.server.log_of(room)

    async def moves_of(self, room):
        return await self.server.query(MOVES, room)

    async def stream_of(self, user):
        stored = await streams_of(self.server, [user])
        return [{"useq": useq, "kind": kind} for useq, kind, _, _ in stored[user]]

    async def shake(self, kind, rooms):
        del rooms
        self._was_away = True
        await trio.to_thread.run_sync((self.server.stop, self.server.kill)[kind])
        await trio.to_thread.run_sync(self.server.start)
        return ("restarted", "killed")[kind]

    def forgets(self):
        was_away, self._was_away = self._was_away, False
        return was_away


def drawn(examples, seed, run, *, stalls=True, shakes=2, **options):
    """Run *run* with the script that has everything, and with that many others.

    Where one of these fails, with the shortest that is found to in SHRINK_SECONDS_MAX. After that nothing more is
    played, so that a red run ends: what has failed fails again as it did, and what was not tried yet counts as green.
    """
    numbers = iter(range(10**6))
    failures = {}
    ends_at = float("inf")

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
    @given(script=scripts(stalls=stalls, shakes=shakes, **options))
    def body(script: Script) -> None:
        nonlocal ends_at
        if script in failures:
            raise failures[script]
        seconds = min(PLAY_SECONDS_MAX, ends_at - time.monotonic())
        if seconds <= 0:
            return
        try:
            run(script, 1_000_000 + 10 * next(numbers), seconds)
        except Exception as failure:
            if time.monotonic() > ends_at:  # it may only have been cut short
                return
            failures[script] = failure
            ends_at = min(ends_at, time.monotonic() + SHRINK_SECONDS_MAX)
            raise

    print(f"plays of seed {seed}")
    run(everything(stalls=stalls, shakes=shakes), 1_000_000 - 10, PLAY_SECONDS_MAX)
    body()


@asynccontextmanager
async def open_house_stage(database, folder, tls=None):
    given_settings = SETTINGS | ({"tls_cert": tls.certificate, "tls_key": tls.key} if tls is not None else {})
    async with (
        open_proxy(database.host) as proxy,
        open_house_under_test(
            replace(database, host=str(proxy.folder)), folder, listens=True, **given_settings
        ) as house,
    ):
        yield HouseStage(house, database, proxy, tls.client if tls is not None else None)


async def play_in_house(stage, monkeypatch, examples, seed):
    """Scripts in a thread, which asks this loop to play each."""
    met = Counter()

    async def one(script, first_user, seconds):
        stage.is_near = script.is_near
        with monkeypatch.context() as patched:
            for name, value in (ALWAYS | (SHORT if script.is_near else {})).items():
                patched.setattr(name, value)
            patched.setattr("greenroom.http.ws.hub.WALK_SOCKETS_MIN", 0 if script.walks else 200)
            met.update(await play(stage, script, first_user, first_user, seconds))

    def run(script, first_user, seconds):
        trio.from_thread.run(one, script, first_user, seconds)

    await trio.to_thread.run_sync(lambda: drawn(examples, seed, run, steps_max=25, shakes=4))
    print(dict(met))
    return met


async def test_every_log_is_the_servers_log_as_its_user_may_see_it(database, tmp_path, monkeypatch, seed):
    async with open_house_stage(database, tmp_path) as stage:
        met = await play_in_house(stage, monkeypatch, 5, seed)
    assert not [what for what in MET if not met[what]], met


async def test_every_log_is_the_servers_log_over_tls(database, tmp_path, monkeypatch, seed):
    async with open_house_stage(database, tmp_path, make_tls_files(tmp_path)) as stage:
        met = await play_in_house(stage, monkeypatch, 1, seed)
    assert not [what for what in MET if not met[what]], met


@pytest.mark.slow(seconds=150)
@pytest.mark.parametrize("number", range(3))
async def test_every_log_is_the_servers_log_in_hundreds_of_plays(database, tmp_path, monkeypatch, number):
    async with open_house_stage(database, tmp_path) as stage:
        met = await play_in_house(stage, monkeypatch, 100, number)
    assert not [what for what in MET_IN_HUNDREDS if not met[what]], met


def play_to_process(examples, seed, tls=None, **options):
    environment = {"WS_COMPRESSION": "true"}
    if tls is not None:
        environment |= {"TLS_CERT": tls.certificate, "TLS_KEY": tls.key}
    with ServerProcess(**environment) as server:
        server.start()
        stage = ProcessStage(server, tls.client if tls is not None else None)
        met = Counter()

        def run(script, first_user, seconds):
            if not any(isinstance(step, Shake) for step in script.steps):
                half = len(script.steps) // 2
                shake = Shake(first_user // 10 % 2)
                script = replace(script, steps=(*script.steps[:half], shake, *script.steps[half:]))
            met.update(trio.run(play, stage, script, first_user, first_user, seconds))

        drawn(examples, seed, run, **options)
        print(dict(met))
        assert not server.faults(), server.faults()[0]
    return met


def test_every_log_is_the_servers_log_over_restarts_and_kills(seed):
    met = play_to_process(1, seed, steps_max=12, stalls=False)
    assert not [what for what in (*MET_ANYWHERE, "restarted", "killed") if not met[what]], met


@pytest.mark.slow(seconds=120)
@pytest.mark.parametrize("is_secure", [False, True])
def test_every_log_is_the_servers_log_over_many_restarts_and_kills(tmp_path, is_secure):
    met = play_to_process(25, 7, make_tls_files(tmp_path) if is_secure else None, steps_max=20)
    assert min(met["restarted"], met["killed"]), met
