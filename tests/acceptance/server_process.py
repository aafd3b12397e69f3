"""The real thing: `greenroom serve` as a process of its own, started, stopped, killed and looked into.

    with ServerProcess(MESSAGES_PER_MINUTE=0) as server:
        server.start()            # returns when the port answers and storage is there
        server.kill()             # kill -9: PostgreSQL stays behind, as it would
        server.start()            # takes it over

It ends only what it started: the server by its process, PostgreSQL by the pid in its own data folder, and only while
that pid still works in that folder. An error inside the block prints the end of the server's log.
"""

import asyncio
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import asyncpg
import jwt
import trio
from forked_process import ForkedProcess  # type: ignore[import-not-found]
from frames_seen import environment  # type: ignore[import-not-found]
from kept_port import keep_a_port
from prepared_cluster import lay_cluster

from greenroom.control.client import connect
from greenroom.settings import Settings
from greenroom.storage.postgres.cluster import DATABASE, SUPERUSER

SECRET = "the acceptance tests sign their tokens with these bytes, of which there are enough"
START_SECONDS_MAX = 60.0
STOP_SECONDS_MAX = 15.0
LOG_TAIL_CHARACTERS = 6000
PREFIX = "greenroom-acceptance-"
POOL_MAX = Settings.model_fields["database_connections_max"].default

# Nothing limits a load test but what is tested.
UNLIMITED = {
    "MESSAGES_PER_MINUTE": "0",
    "WS_COMMANDS_PER_MINUTE": "0",
    "WS_MAX_PER_USER": "10000",
    "WS_CONNECTS_PER_SECOND": "0",
    "LOG_LEVEL": "info",
}

COUNT_TASKS = """
count, waiting = 0, [trio.lowlevel.current_root_task()]
while waiting:
    count, task = count + 1, waiting.pop()
    waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
count
"""

# These tests end processes and not the machine: what PostgreSQL has given to the kernel stays. Waiting for a disk that
# others use as well would be in every time that is measured.
WITHOUT_FSYNC = """
from greenroom.storage.postgres.cluster import Cluster
command = Cluster.command
Cluster.command = lambda cluster, settings: command(cluster, {"fsync": "off"} | settings)
"""

# Moves the listener to descriptor 3, where LISTEN_FDS wants it, and becomes the server.
WITH_LISTENER = """
import os, sys
descriptor = int(sys.argv[1])
os.dup2(descriptor, 3, True)
if descriptor != 3:
    os.close(descriptor)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-m", "greenroom", "serve"])
"""


@dataclass(frozen=True)
class Usage:
    """What a process holds now."""

    memory_bytes: int
    descriptors: int
    connections: int  # of those, over TCP
    local: int  # and sockets that are not: to PostgreSQL, and few others
    threads: int

    def is_more_than(self, before: "Usage", spare: int = 0) -> bool:
        """More is open than before, but for connections to PostgreSQL: they come when they are wanted, and stay."""
        others = (self.descriptors - self.local) - (before.descriptors - before.local)
        return self.connections > before.connections + spare or others > spare or self.local > before.local + POOL_MAX


class ServerProcess:
    """One greenroom with a data folder of its own. Settings are given as the environment has them."""

    def __init__(self, *, listener: socket.socket | None = None, **settings: object) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir="/var/tmp"))
        self.folder.chmod(0o711)
        (self.folder / "owner").write_text(str(os.getpid()))
        self.data = self.folder / "data"
        self._paused: tuple[int, ...] = ()
        self.data.mkdir(mode=0o711)
        self.data.chmod(0o711)
        self._kept_port = keep_a_port() if listener is None else None
        self.port = 0 if self._kept_port is None else self._kept_port.getsockname()[1]
        self.starts = 0
        self._listener = listener
        self._settings = {**UNLIMITED, **{name: str(value) for name, value in settings.items()}}
        self._process: subprocess.Popen[bytes] | ForkedProcess | None = None

    # -- the life of the process ----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and wait until it answers. The first start finds a database that is migrated."""
        assert not self.is_running, "it runs already"
        if self.starts == 0 and "DATABASE_URL" not in self._settings:
            lay_cluster(self.data)
        self.starts += 1
        with self.log.open("ab") as log:
            log.write(f"---- start {self.starts}\n".encode())
            log.flush()
            since = log.tell()
            self._process = self._process_that_logs_to(log.fileno())
        deadline = time.monotonic() + START_SECONDS_MAX
        while (found := re.search(rb"runs at https?://[^:]+:(\d+)", self._log_since(since))) is None:
            assert self._process.poll() is None, f"the server ended with {self._process.returncode}:\n{self.log_tail()}"
            assert time.monotonic() < deadline, f"not up after {START_SECONDS_MAX:g} s:\n{self.log_tail()}"
            time.sleep(0.01)
        self.port = int(found[1])

    def command(self, *arguments: str) -> "subprocess.Popen[str]":
        """`greenroom …` as an operator of this server gives it, under way."""
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        return subprocess.Popen(
            [sys.executable, "-m", "greenroom", *arguments],
            env={**kept, "GREENROOM_DATA_DIR": str(self.data)},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def stop(self) -> int:
        """Stop it in order; its exit code."""
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(STOP_SECONDS_MAX)

    def kill(self) -> None:
        """End it with SIGKILL and wait until the kernel has let go of it."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(STOP_SECONDS_MAX)

    def signal(self, number: int) -> None:
        """Send the server a signal."""
        os.kill(self.pid, number)

    @property
    def is_running(self) -> bool:
        """The process has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """Of the server itself."""
        assert self._process is not None
        return self._process.pid

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        try:
            if error is not None:
                print(f"--- the end of the server's log\n{self.log_tail()}\n--- (port {self.port}, {self.data})")
            if self.is_running:
                with suppress(OSError):
                    self.signal(signal.SIGCONT)
                self.continue_postgres()
                try:
                    self.stop()
                except subprocess.TimeoutExpired:
                    self.kill()
                    if error is None:
                        raise
        finally:
            if self._kept_port is not None:
                self._kept_port.close()
            self._end_postgres()
            shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def token(user_id: int, **claims: object) -> str:
        """A token for the user, signed as the application would."""
        return jwt.encode({"sub": str(user_id), "name": f"user {user_id}", **claims}, SECRET, algorithm="HS256")

    def processes(self) -> list[int]:
        """The pids of all that an answer may wait for: of the server and of its PostgreSQL."""
        postmaster = self.postmaster_pid
        return [self.pid, *([] if postmaster is None else [postmaster, *_children(postmaster)])]

    # -- its PostgreSQL -------------------------------------------------------------------------------------------

    @property
    def postmaster_pid(self) -> int | None:
        """Of the PostgreSQL of this data folder; None when none runs."""
        data = self.data / "postgres" / "cluster" / "data"
        with suppress(OSError, ValueError, IndexError):
            pid = int((data / "postmaster.pid").read_text().splitlines()[0])
            if Path(f"/proc/{pid}/cwd").resolve() == data.resolve() and _state(pid) != "Z":
                return pid
        return None

    def kill_postgres(self) -> int:
        """SIGKILL the postmaster. The workers that it leaves end by themselves. Returns the pid that was killed."""
        pid = self.postmaster_pid
        assert pid is not None, "PostgreSQL does not run"
        os.kill(pid, signal.SIGKILL)
        return pid

    def pause_postgres(self) -> None:
        """SIGSTOP the postmaster and every worker: a server that hangs."""
        assert self.postmaster_pid is not None
        self._paused = (self.postmaster_pid, *_children(self.postmaster_pid))
        self._signal_postgres(signal.SIGSTOP)

    def continue_postgres(self) -> None:
        """Let it go on."""
        self._signal_postgres(signal.SIGCONT)

    def _signal_postgres(self, number: int) -> None:
        pid = self.postmaster_pid
        if pid is not None:
            for one in (pid, *_children(pid)):
                with suppress(ProcessLookupError):
                    os.kill(one, number)

    def _end_postgres(self) -> None:
        for paused in self._paused:  # of a postmaster that is gone: they end as soon as they may look
            with suppress(ProcessLookupError):
                os.kill(paused, signal.SIGCONT)
        pid = self.postmaster_pid
        if pid is None:
            return
        self.continue_postgres()
        os.kill(pid, signal.SIGQUIT)
        deadline = time.monotonic() + 5
        while self.postmaster_pid == pid and time.monotonic() < deadline:
            time.sleep(0.02)
        if self.postmaster_pid == pid:
            os.kill(pid, signal.SIGKILL)

    # -- looking and preparing, past the server: straight in PostgreSQL ---------------------------------------------

    def rows(self, statement: str, *arguments: object) -> list[Any]:
        """What PostgreSQL answers. Blocks; inside trio use `query`."""
        found: list[list[Any]] = []
        failure: list[BaseException] = []

        async def run() -> None:
            connection = await asyncpg.connect(
                host=str(self.data / "postgres" / "socket"), port=5432, user=SUPERUSER, database=DATABASE, timeout=10
            )
            try:
                found.append(await connection.fetch(statement, *arguments))
            finally:
                await connection.close()

        def thread() -> None:  # asyncio wants a thread without another loop
            try:
                asyncio.run(run())
            except BaseException as error:
                failure.append(error)

        worker = threading.Thread(target=thread)
        worker.start()
        worker.join()
        if failure:
            raise failure[0]
        return found[0]

    async def query(self, statement: str, *arguments: object) -> list[Any]:
        """The same from trio."""
        return await trio.to_thread.run_sync(lambda: self.rows(statement, *arguments))

    async def make_people(self, *user_ids: int) -> None:
        """Users of these ids, called `user <id>`."""
        await self.query(
            "insert into users (id, name, created_at, updated_at) select id, 'user ' || id, now(), now()"
            " from unnest($1::bigint[]) as id on conflict do nothing",
            list(user_ids),
        )

    async def make_room(self, room_id: int, members: list[int], *, is_open: bool = False) -> int:
        """A group whose first member is its admin, and its members as users, without the server knowing."""
        await self.make_people(*members)
        await self.query(
            "with room as (insert into conversations (id, is_group, is_open, title, created_by_id, created_at,"
            " updated_at) values ($1, true, $3, 'room', ($2::bigint[])[1], now(), now()) returning id),"
            " owner as (insert into ownership (kind, key) select 'room', id::text from room)"
            " insert into participants (conversation_id, user_id, role, is_active, joined_at)"
            " select room.id, m.user_id, case m.n when 1 then 'admin' else 'member' end, true, now()"
            " from room, unnest($2::bigint[]) with ordinality as m (user_id, n)",
            room_id,
            members,
            is_open,
        )
        return room_id

    async def log_of(self, room_id: int) -> list[Any]:
        """The messages of a room as stored, by seq."""
        return await self.query(
            "select seq, id, sender_id, client_id, content from messages where conversation_id = $1 order by seq",
            room_id,
        )

    def usage(self) -> Usage:
        """What the server process holds now. Not to be asked all the time: all connections of the machine are read."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        descriptors = self._descriptors()
        over_tcp, local = _sockets("/proc/net/tcp", 9), _sockets("/proc/net/unix", 6)
        return Usage(
            memory_bytes=self.memory_bytes(),
            descriptors=len(descriptors),
            connections=sum(target in over_tcp for target in descriptors),
            local=sum(target in local for target in descriptors),
            threads=int(re.search(r"Threads:\s+(\d+)", status)[1]),  # type: ignore[index]
        )

    def memory_bytes(self) -> int:
        """Of `usage`, for who asks often."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * resource.getpagesize()

    def _descriptors(self) -> list[str]:
        """What each descriptor of the server process leads to."""
        targets = []
        for descriptor in Path(f"/proc/{self.pid}/fd").iterdir():
            with suppress(FileNotFoundError):  # closed meanwhile
                targets.append(str(descriptor.readlink()))
        return targets

    def tasks(self) -> int:
        """How many trio tasks the server process has now."""
        with connect(self.data) as running:
            return int(running.ask("attach", source=COUNT_TASKS))

    @property
    def log(self) -> Path:
        """What the server printed, over all its starts."""
        return self.folder / "server.log"

    def log_tail(self) -> str:
        """The end of it."""
        return self.log.read_text(errors="replace")[-LOG_TAIL_CHARACTERS:] if self.log.exists() else "(no log)"

    def faults(self) -> list[str]:
        """Lines of the log that tell of something nobody foresaw."""
        lines = self.log.read_text(errors="replace").splitlines()
        signs = ('"level": "error"', '"level": "critical"', '"event": "actor.', '"event": "session.')
        return [line[:1500] for line in lines if line.startswith("Traceback") or any(sign in line for sign in signs)]

    def _log_since(self, position: int) -> bytes:
        with self.log.open("rb") as log:
            log.seek(position)
            return log.read()

    def _process_that_logs_to(self, log: int) -> "subprocess.Popen[bytes] | ForkedProcess":
        command = self._command()
        if command is None:
            return ForkedProcess(["serve"], self._environment(), self.folder, output=log, first=WITHOUT_FSYNC)
        return subprocess.Popen(
            command,
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=[self._listener.fileno()] if self._listener is not None else (),
            start_new_session=True,
        )

    def _command(self) -> list[str] | None:
        """What starts it with a Python of its own; None when nothing has to be done before it is greenroom."""
        return None if self._listener is None else [sys.executable, "-c", WITH_LISTENER, str(self._listener.fileno())]

    def _environment(self) -> dict[str, str]:
        given = {
            "JWT_SECRET": SECRET,
            "GREENROOM_DATA_DIR": str(self.data),
            "PORT": str(self.port),
            "HOST": "127.0.0.1",
        }
        if self._listener is not None:
            given |= {"LISTEN_FDS": "1"}
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        return kept | environment() | {"PYTHONUNBUFFERED": "1"} | given | self._settings


def sweep_abandoned() -> None:
    """End and remove what test sessions that were killed have left; those of other sessions that live stay."""
    for folder in Path("/var/tmp").glob(PREFIX + "*"):
        with suppress(OSError, ValueError):
            if not Path(f"/proc/{int((folder / 'owner').read_text())}").exists():
                left = ServerProcess.__new__(ServerProcess)
                left.folder, left.data, left._paused = folder, folder / "data", ()
                left._end_postgres()
                shutil.rmtree(folder, ignore_errors=True)


def _sockets(table: str, column: int) -> set[str]:
    """Those of this table of the kernel's, as descriptors lead to them."""
    return {f"socket:[{line.split()[column]}]" for line in Path(table).read_text().splitlines()[1:]}


def _children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
