"""What every test may ask for.

- `postgres_server` (one per session): the address of a real embedded PostgreSQL, started once in a thread with a trio
  of its own, so it outlives the trio of any single test. Its `fsync` is off: the files do not outlive the session.
- `database` (one per test): the address of a fresh, migrated, empty database on that server, copied from a template
  in about 20 ms and dropped afterwards, also when connections are still open. Use it as
  `asyncpg.connect(**database.connect_arguments())`, or give it to whatever takes a ServerAddress.
- `house` and `live_house` (one per test): all of greenroom on such a database; house_fixture.py says how to ask it.
- `seed` (one per test): the number its chances follow from. The same each time, so that a red run is of the code and
  not of the day; GREENROOM_SEED=random (or a number) tries others, hypothesis included. It is printed with a failure.
- Every frame is held to the AsyncAPI document; frames_seen.py says how, and what the mark `wrong_frames` is for.
- `open_folder` (one per test): an empty folder that the user who runs PostgreSQL can enter. As root `tmp_path` is not
  one: pytest makes its parents 0700.
"""

import asyncio
import gc
import os
import queue
import random
import shutil
import signal
import sys
import tempfile
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

gc.disable()  # until all is collected: among modules, and what pytest makes of seven thousand tests, it finds nothing

import asyncpg
import pytest
import structlog
import trio
from hypothesis import settings

from greenroom.storage.postgres.embedded import ServerAddress, open_embedded
from greenroom.storage.postgres.left_behind import clear_left_behind
from greenroom.storage.postgres.migrate import migrate

# As in greenroom itself: of a traceback no local variables, which others change while they are written down.
structlog.configure(
    processors=[
        *structlog.get_config()["processors"][:-1],
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)

sys.path.insert(0, str(Path(__file__).parent))

from frames_seen import pytest_runtest_call, pytest_runtest_teardown  # type: ignore[import-not-found]  # noqa: F401
from house_fixture import house, house_settings, live_house  # type: ignore[import-not-found]  # noqa: F401

TEMPLATE = "greenroom_template"
DISK, MEMORY = Path("/var/tmp"), Path("/dev/shm")
MEMORY_BYTES_MIN = 2 * 1024**3
_FOLDER_PREFIX = "greenroom-tests-"
_SEED = os.environ.get("GREENROOM_SEED", "")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # of whoever runs the tests in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)  # else none of our processes would hear Ctrl-C

# Speed is for bench/. Whoever tries other seeds has time for more examples.
settings.register_profile("greenroom", derandomize=not _SEED, deadline=None, max_examples=100 if _SEED else 40)
settings.load_profile("greenroom")


def pytest_collection_finish() -> None:
    """What the session has loaded stays until it ends: the collector need not look at it again and again.

    It comes more seldom than by itself: a house makes many objects, and nearly all go without it. With what it took
    while modules were read it was a ninth of the time of tests with houses.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 5, 5)
    gc.enable()


@pytest.fixture
def seed(request: pytest.FixtureRequest) -> int:
    """Where the chances of this test begin; see the top of this file."""
    if _SEED.isdecimal():
        value = int(_SEED)
    else:
        value = random.randrange(2**32) if _SEED else zlib.crc32(request.node.name.encode())
    print(f"seed {value}")
    return value


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[ServerAddress]:
    """Start the server of this session; see the top of this file."""
    _sweep_abandoned()
    with _server_thread() as address:
        asyncio.run(_make_template(address))
        yield address


@pytest.fixture(scope="session")
def administer(postgres_server: ServerAddress) -> Iterator[Callable[[str], None]]:
    """Have a statement done, on one connection: two for each test would be a quarter of what its database costs."""
    loop = asyncio.new_event_loop()
    connection = loop.run_until_complete(asyncpg.connect(**postgres_server.connect_arguments()))

    def do(statement: str) -> None:
        loop.run_until_complete(connection.execute(statement))

    yield do
    loop.run_until_complete(connection.close())
    loop.close()


@pytest.fixture
def database(postgres_server: ServerAddress, administer: Callable[[str], None]) -> Iterator[ServerAddress]:
    """Make a migrated database for this test alone; see the top of this file."""
    name = f"test_{os.urandom(6).hex()}"
    administer(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE} STRATEGY FILE_COPY")
    try:
        yield replace(postgres_server, database=name)
    finally:
        administer(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """Make a folder that every user can enter; see the top of this file."""
    folder = _open_folder()
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _open_folder(where: Path = DISK) -> Path:
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir=where))
    folder.chmod(0o755)
    return folder


def _for_databases() -> Path:
    """Memory, where there is some: a database for each test is 15 ms of CPU there, and up to 280 on a disk."""
    with suppress(OSError):
        if shutil.disk_usage(MEMORY).free >= MEMORY_BYTES_MIN and os.access(MEMORY, os.W_OK):
            return MEMORY
    return DISK


@dataclass
class _ServerThread:
    """The thread that keeps the server of the session."""

    answers: queue.Queue[ServerAddress | BaseException]
    token: trio.lowlevel.TrioToken | None = None
    leave: trio.Event | None = None

    def __enter__(self) -> ServerAddress:
        self.folder = _open_folder(_for_databases())
        self.thread = threading.Thread(target=self._run, name="postgres of the test session")
        self.thread.start()
        answer = self.answers.get(timeout=60)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __exit__(self, *_: object) -> None:
        assert self.token is not None
        assert self.leave is not None
        trio.from_thread.run_sync(self.leave.set, trio_token=self.token)
        self.thread.join(timeout=60)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self) -> None:
        try:
            trio.run(self._serve)
        except BaseException as error:
            self.answers.put(error)

    async def _serve(self) -> None:
        self.token, self.leave = trio.lowlevel.current_trio_token(), trio.Event()
        fast = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "100"}
        fast |= {"autovacuum": "off"}  # what a plan is made of changes when a test says so
        fast |= {"max_wal_size": "256MB"}
        async with open_embedded(self.folder / "data", settings=fast, on_event=lambda _: None) as server:
            self.answers.put(server.address)
            await self.leave.wait()


def _server_thread() -> _ServerThread:
    return _ServerThread(queue.Queue())


async def _make_template(address: ServerAddress) -> None:
    await _administer(address, f"CREATE DATABASE {TEMPLATE}")
    connection = await asyncpg.connect(**replace(address, database=TEMPLATE).connect_arguments())
    try:
        await migrate(connection)
    finally:
        await connection.close()


async def _administer(address: ServerAddress, statement: str) -> None:
    connection = await asyncpg.connect(**address.connect_arguments())
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def _sweep_abandoned() -> None:
    """Stop and remove what test sessions that were killed have left. Not what a server has whose test killed it."""
    for folder in (*DISK.glob(_FOLDER_PREFIX + "*"), *MEMORY.glob(_FOLDER_PREFIX + "*")):
        with suppress(OSError, ValueError):
            session = int(folder.name.removeprefix(_FOLDER_PREFIX).partition("-")[0])
            if not Path(f"/proc/{session}").exists():
                trio.run(clear_left_behind, folder / "data" / "postgres" / "cluster" / "data")
                shutil.rmtree(folder, ignore_errors=True)
