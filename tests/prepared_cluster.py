"""A data directory whose PostgreSQL is made and migrated already: a copy, for tests of what runs on it.

Making one is 0.9 s of CPU, most of it initdb's; a copy is 0.15. How a server starts in an empty directory is for the
tests that are about it: those of storage/test_embedded.py, test_cli.py, test_wheel.py and commands/test_serve.py.
"""

import asyncio
import atexit
import os
import shutil
import subprocess
import tempfile
import threading
from functools import cache
from pathlib import Path

import asyncpg
import trio

from greenroom.storage.postgres.embedded import ServerAddress, open_embedded
from greenroom.storage.postgres.migrate import migrate

_PREFIX = "greenroom-cluster-"
_WHERE = Path("/var/tmp")  # where the tests have their data too: a program is linked, and no link leaves its disk
_making = threading.Lock()


def lay_cluster(data: Path) -> None:
    """Put a migrated database into a data directory that has none, or is not there yet."""
    with _making:
        prepared, home = _prepared() / "postgres", data / "postgres"
    for folder in (data, home):
        if not folder.exists():
            folder.mkdir(0o700)
            folder.chmod(prepared.stat().st_mode & 0o777)
    subprocess.run(["cp", "-a", "--sparse=always", prepared / "cluster", home], check=True)
    if (prepared / "program").exists():  # root's
        subprocess.run(["cp", "-al", prepared / "program", home], check=True)


@cache
def _prepared() -> Path:
    """Make the data directory that is copied: once in this process, which removes it when it ends."""
    for folder in _WHERE.glob(f"{_PREFIX}*"):
        if not Path(f"/proc/{folder.name.split('-')[2]}").exists():  # of tests that were killed
            shutil.rmtree(folder, ignore_errors=True)
    made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=_WHERE))
    made.chmod(0o755)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    thread = threading.Thread(target=trio.run, args=(_make, made / "data"))  # our caller may be in a trio of its own
    thread.start()
    thread.join()
    assert (made / "data" / "postgres" / "cluster" / "data" / "PG_VERSION").exists(), "the thread says above why"
    return made / "data"


async def _make(data: Path) -> None:
    async with open_embedded(data, settings={"fsync": "off"}, on_event=lambda _: None) as server:
        await trio.to_thread.run_sync(asyncio.run, _fill(server.address))


async def _fill(address: ServerAddress) -> None:
    connection = await asyncpg.connect(**address.connect_arguments())
    try:
        await migrate(connection)
        for unused in ("template0", "template1", "postgres"):  # three quarters of what would be copied
            await connection.execute(f"ALTER DATABASE {unused} IS_TEMPLATE false")
            await connection.execute(f"DROP DATABASE {unused}")
    finally:
        await connection.close()
