"""A real PostgreSQL of our own: one child process, on a socket that only we can use.

    async with open_embedded(directory) as server:
        asyncpg.connect(**server.address.connect_arguments())

While the block runs there is a server on `server.address`, or it is being brought back:

                    ready in postmaster.pid
    STARTING ─────────────────────────────▶ READY ──the process ended──▶ RESTARTING
        │                                    ▲ ▲                           │    ▲ │
        │ it ended, or showed no progress    │ └──ready in postmaster.pid──┘    └─┘ again, after full-jitter backoff
        ▼                                    │                                    of at most RESTART_SECONDS_MAX
    raises PostgresStartFailed               └── the block was left ──▶ STOPPING ──▶ STOPPED

- Start waits as long as recovery moves: the log grows at least once a second while PostgreSQL reads its log or syncs
  its files. Quiet for `start_stall_seconds`, it is stopped and the tail of the log goes into the error.
- The data directory is held alone, and so is the place of PostgreSQL when that is another, because its user cannot
  enter the data directory (data_directory.py; the event `postgres.placed` names it).
- What kill -9 left running is stopped first (left_behind.py).
- A server that dies is started again, on the same socket, for as long as it takes; connections made before are lost.
- Stop is SIGINT (connections are ended, a checkpoint is written), bounded, then SIGQUIT, then SIGKILL. It is shielded.
- A CPU pin (taskset) is ours, not PostgreSQL's: it gets every CPU, or it would fight us for the one we are pinned to.

Nothing here speaks SQL, so it needs no driver and no asyncio. The database `greenroom` exists from the first start.
"""

import enum
import math
import os
import random
import shlex
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog
import trio

from greenroom.runtime.ports import sleep_to_tick
from greenroom.storage.errors import PostgresStartFailed, StorageError
from greenroom.storage.postgres.account import ensure_account
from greenroom.storage.postgres.cluster import DATABASE, PORT, SUPERUSER, Cluster, initialise, lay_out
from greenroom.storage.postgres.data_directory import (
    SYSTEM_HOME,
    find_abandoned_places,
    hold_data_directory,
    hold_postgres_place,
)
from greenroom.storage.postgres.left_behind import clear_left_behind, postmaster_file

START_STALL_SECONDS = 60.0  # longer than a checkpoint at the end of recovery, which logs nothing, takes on a slow disk
RESTART_SECONDS_MIN = 0.1
RESTART_SECONDS_MAX = 5.0
LOG_CHECK_SECONDS = 5.0
ABANDONED_NAMED_MAX = 20  # in one event; the others are counted
_READY_POLL_SECONDS = 0.01
_EXPECTED = ("postgres.placed", "postgres.started", "postgres.stopped")
# What it is told, one after the other: for how long at most, and in a hurry. It loses nothing that was committed by
# being killed: the next start recovers it.
_STOP_SECONDS = ((signal.SIGINT, 20.0, 0.3), (signal.SIGQUIT, 6.0, 0.2), (signal.SIGKILL, 5.0, 1.0))


class ServerState(enum.Enum):
    """Where the server is in its life; the module draws it."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPING = "stopping"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """What a client needs to connect. There is no password: the socket knows our user (peer authentication)."""

    host: str  # the folder of the socket
    port: int = PORT
    user: str = SUPERUSER
    database: str = DATABASE

    def connect_arguments(self) -> dict[str, str | int]:
        """The keyword arguments for asyncpg.connect and asyncpg.create_pool."""
        return {"host": self.host, "port": self.port, "user": self.user, "database": self.database}


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """What happened to the server.

    `postgres.started`, `.died`, `.restart_failed`, `.taken_over`, `.stopped`; when it stands outside the data directory
    also `.placed`, and `.abandoned_found` for databases of data directories that are gone.
    """

    name: str
    pid: int | None
    exit_code: int | None = None  # negative: the signal that ended it
    restarts: int = 0
    detail: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddedStatistics:
    """The server at this moment. `restarts` counts those that came up again, `start_seconds` is of the latest start."""

    state: ServerState
    pid: int | None
    version: str
    restarts: int
    restarts_failed: int
    exit_code_last: int | None
    start_seconds: float


def log_event(event: ServerEvent) -> None:
    """Log an event, with its own name."""
    keys = {"pid": event.pid, "exit_code": event.exit_code, "restarts": event.restarts, "detail": event.detail or None}
    logger = structlog.get_logger("greenroom.storage.postgres")
    level = logger.info if event.name in _EXPECTED else logger.warning
    level(event.name, **{key: value for key, value in keys.items() if value is not None})


class EmbeddedServer:
    """A running embedded PostgreSQL. Made by open_embedded."""

    def __init__(
        self,
        cluster: Cluster,
        settings: Mapping[str, str],
        start_stall_seconds: float,
        on_event: Callable[[ServerEvent], None],
    ) -> None:
        self.address = ServerAddress(host=str(cluster.socket_folder))
        self.version = ""
        self._cluster = cluster
        self._settings = dict(settings)
        self._start_stall_seconds = start_stall_seconds
        self._on_event = on_event
        self._process: trio.Process | None = None
        self._state = ServerState.STARTING
        self._ready = trio.Event()
        self._restarts = 0
        self._restarts_failed = 0
        self._exit_code_last: int | None = None
        self.stop_by = math.inf  # trio time from which on its stop is in a hurry
        self._start_seconds = 0.0

    @property
    def pid(self) -> int | None:
        """The process id of the postmaster; another one after a restart; None when none runs."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    def statistics(self) -> EmbeddedStatistics:
        """Read the state; costs nothing and waits for nothing."""
        return EmbeddedStatistics(
            state=self._state,
            pid=self.pid,
            version=self.version,
            restarts=self._restarts,
            restarts_failed=self._restarts_failed,
            exit_code_last=self._exit_code_last,
            start_seconds=self._start_seconds,
        )

    async def wait_ready(self) -> None:
        """Wait until the server is READY, as far as we know; returns at once when it is."""
        await self._ready.wait()

    def log_tail(self) -> str:
        """The last lines of the server's log."""
        return self._cluster.log_tail()

    async def _start(self) -> None:
        """Start the process and wait until it takes connections. Raises PostgresStartFailed."""
        began = time.monotonic()
        left = await clear_left_behind(self._cluster.data, self._cluster.socket_folder)
        if left and self._state is ServerState.STARTING:  # later they are what our own dead server leaves
            self._tell("postgres.taken_over", detail=f"stopped pid {', '.join(map(str, left))} of an earlier run")
        await initialise(self._cluster)
        since = self._cluster.log.stat().st_size
        self._process = await self._spawn()
        _unpin(self._process.pid)
        await self._wait_started(self._process, since)
        self._start_seconds = time.monotonic() - began
        self._state = ServerState.READY
        self._ready.set()
        self._tell("postgres.started")

    async def _spawn(self) -> trio.Process:
        command = self._cluster.command(self._settings)
        try:
            with self._cluster.log.open("ab") as log:
                return await trio.lowlevel.open_process(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._cluster.child_options()
                )
        except OSError as error:
            raise PostgresStartFailed(
                f"{command[0]} cannot be run ({error.strerror}): is {self._cluster.home} on a noexec mount? Choose "
                "another GREENROOM_DATA_DIR, or set DATABASE_URL"
            ) from error

    async def _wait_started(self, process: trio.Process, since: int) -> None:
        seen, moved = since, trio.current_time()
        while not _is_ready(self._cluster.data, process.pid):
            if process.poll() is not None:
                raise self._failed(f"PostgreSQL ended with {process.returncode} while it started", since)
            size = self._cluster.log.stat().st_size
            if size != seen:
                seen, moved = size, trio.current_time()
            elif trio.current_time() - moved > self._start_stall_seconds:
                await _stop(process, self.stop_by)
                raise self._failed(f"PostgreSQL showed no progress for {self._start_stall_seconds:g} s", since)
            await trio.sleep(_READY_POLL_SECONDS)

    def _failed(self, what: str, since: int) -> PostgresStartFailed:
        return PostgresStartFailed(
            f"{what} on {self._cluster.data}. Look at the end of {self._cluster.log}:\n{self._cluster.log_tail(since)}"
        )

    async def _supervise(self) -> None:
        while True:
            assert self._process is not None
            self._exit_code_last = await self._process.wait()
            self._state, self._ready = ServerState.RESTARTING, trio.Event()
            self._tell("postgres.died", detail="\n".join(self._cluster.log_tail().splitlines()[-3:]))
            await self._restart()

    async def _restart(self) -> None:
        ceiling = RESTART_SECONDS_MIN
        while True:
            await trio.sleep(random.uniform(0, ceiling))
            try:
                await self._start()
            except (StorageError, OSError) as error:
                self._restarts_failed += 1
                self._tell("postgres.restart_failed", detail=str(error))
                ceiling = min(ceiling * 2, RESTART_SECONDS_MAX)
            else:
                self._restarts += 1
                return

    async def _keep_log_bounded(self) -> None:
        while True:
            await sleep_to_tick(LOG_CHECK_SECONDS)
            with suppress(OSError):  # a full disk: the next round may find room
                await trio.to_thread.run_sync(self._cluster.bound_log)

    async def _shut(self) -> None:
        self._state, self._ready = ServerState.STOPPING, trio.Event()
        with trio.CancelScope(shield=True):
            if self._process is not None:
                self._exit_code_last = await _stop(self._process, self.stop_by)
                self._tell("postgres.stopped", pid=self._process.pid)
            await trio.to_thread.run_sync(self._cluster.forget_socket_folder)
        self._state = ServerState.STOPPED

    def _tell(self, name: str, *, pid: int | None = None, detail: str = "") -> None:
        self._on_event(ServerEvent(name, pid or self.pid, self._exit_code_last, self._restarts, detail))


@asynccontextmanager
async def open_embedded(
    data_directory: Path,
    *,
    settings: Mapping[str, str] | None = None,
    start_stall_seconds: float = START_STALL_SECONDS,
    on_event: Callable[[ServerEvent], None] = log_event,
    system_home: Path = SYSTEM_HOME,
) -> AsyncIterator[EmbeddedServer]:
    """Hold the data directory, start PostgreSQL on it, and keep it running until the block is left.

    `settings` are PostgreSQL's own, on top of ours. `on_event` must not block nor raise. Raises a StorageError whose
    message names the next step. Cancelled while it starts or runs, it stops the server before it lets go.

    When the user who runs PostgreSQL cannot enter the data directory, PostgreSQL alone stands below `system_home`.
    """
    account = await trio.to_thread.run_sync(ensure_account)
    with (
        hold_data_directory(data_directory) as directory,
        hold_postgres_place(directory, account, system_home) as place,
    ):
        cluster = await trio.to_thread.run_sync(lay_out, directory, place, account)
        server = EmbeddedServer(cluster, settings or {}, start_stall_seconds, on_event)
        try:
            if place != directory:
                await _tell_places(server, directory, place)
            server.version = await _read_version(cluster)
            await server._start()
            async with _running(server):
                yield server
        finally:
            await server._shut()


async def _tell_places(server: EmbeddedServer, directory: Path, place: Path) -> None:
    server._tell("postgres.placed", detail=f"the database of {directory} stands in {place}: back up both")
    abandoned = await trio.to_thread.run_sync(find_abandoned_places, place.parent)
    if abandoned:
        named = abandoned[:ABANDONED_NAMED_MAX]
        gone = ", ".join(str(one.data_directory) for one in named)
        command = shlex.join(["rm", "-rf", *(str(one.place) for one in named)])
        what = f"{len(abandoned)} databases whose data directory is gone or has another"
        server._tell("postgres.abandoned_found", detail=f"{what} ({gone}); to remove them: {command}")


@asynccontextmanager
async def _running(server: EmbeddedServer) -> AsyncIterator[None]:
    """Supervise the server while the block runs; an error of the block leaves it as it is, not wrapped in a group."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server._supervise)
        nursery.start_soon(server._keep_log_bounded)
        try:
            yield
        except Exception as error:
            failure = error
        finally:
            nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _read_version(cluster: Cluster) -> str:
    done = await trio.run_process(
        [str(cluster.program / "postgres"), "--version"], capture_stdout=True, check=False, **cluster.child_options()
    )
    return done.stdout.decode().strip().rpartition(" ")[2]


def _is_ready(data: Path, pid: int) -> bool:
    # What pg_ctl reads too. A connection would tell the same, but each refused one writes to the log, and the log is
    # what shows progress.
    lines = postmaster_file(data)
    return len(lines) >= 8 and lines[0] == str(pid) and lines[7].strip() == "ready"


def _unpin(pid: int) -> None:
    # From outside, right after exec and before the first worker is forked. Where the kernel says no, the pin stays.
    with suppress(OSError):
        os.sched_setaffinity(pid, range(os.sysconf("SC_NPROCESSORS_CONF")))


async def _stop(process: trio.Process, by: float) -> int:
    """Stop it in order; what hangs is made to end. by: trio time; from then on in a hurry."""
    for number, seconds, hurried_seconds in _STOP_SECONDS:
        process.send_signal(number)
        now = trio.current_time()
        with trio.move_on_at(max(now + hurried_seconds, min(now + seconds, by))):
            return await process.wait()
    return await process.wait()
