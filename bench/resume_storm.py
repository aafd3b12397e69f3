"""The storm of resumes: a greenroom with thousands of listeners is ended with kill -9 amid what is said, and started.

    python bench/resume_storm.py --rooms 50 --members 100 --server-core 1 --client-core 0

It is a process of its own, as bench/load.c is: its last line on stdout is the result as JSON, and it ends with 1 and a
sentence on stderr when nothing could be measured. The listeners, the rooms and the count of what PostgreSQL is asked
are those of the test that holds the same (tests/faults/stormed_rooms.py): good clients that resume behind the last
message they have, with the jitter that the protocol asks for, through a door as the settings have it.

No peer takes part. Of node's ws and of a Durable Object in memory nothing is left after a kill; the one on SQLite keeps
its messages, but its clients have no word by which to ask for what they missed.
"""

import argparse
import json
import os
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

import processes
import trio

TESTS = Path(__file__).resolve().parent.parent / "tests"
sys.path += [str(TESTS), str(TESTS / "acceptance"), str(TESTS / "faults")]

from server_process import ServerProcess  # noqa: E402
from stormed_rooms import PER_SECOND, QUESTIONS_OF_START, StormedRooms  # noqa: E402
from wire import open_sockets  # noqa: E402

ON_CORE = """
import os, sys
os.sched_setaffinity(0, {int(sys.argv[1])})
os.execv(sys.executable, [sys.executable, "-m", "greenroom", "serve"])
"""


class PinnedServer(ServerProcess):
    """On a core of its own, its PostgreSQL on ours."""

    def __init__(self, core: int) -> None:
        super().__init__(WS_CONNECTS_PER_SECOND=PER_SECOND, LOG_LEVEL="warning", ENVIRONMENT="production")
        self._core = core

    def start(self) -> None:
        super().start()
        processes.pin_postgres(self.postmaster_pid, min(os.sched_getaffinity(0)))

    def _command(self) -> list[str]:
        return [sys.executable, "-c", ON_CORE, str(self._core)]


def main() -> int:
    """One storm."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("rooms", "members", "server-core", "client-core"):
        parser.add_argument(f"--{name}", type=int, required=True)
    asked = parser.parse_args()
    os.sched_setaffinity(0, {asked.client_core})
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    try:
        with PinnedServer(asked.server_core) as server:
            result = trio.run(_measure, server, asked.rooms, asked.members)
    except (AssertionError, OSError) as fault:
        print(f"resume-storm: {str(fault).splitlines()[0]}", file=sys.stderr)
        return 1
    print(json.dumps(result))
    return 0


async def _measure(server: PinnedServer, rooms_count: int, members: int) -> dict[str, object]:
    await trio.to_thread.run_sync(server.start)
    rooms = StormedRooms(server, rooms_count)
    await rooms.prepare(members)
    async with open_sockets() as nursery:
        await rooms.come(nursery, members)
        await rooms.talk()
        machine, began, own = processes.machine_cpu_seconds(), time.monotonic(), time.process_time()
        returned = await rooms.storm()
        # Server and PostgreSQL are both new since the kill.
        after, seconds, own = processes.usage(server.pid), time.monotonic() - began, time.process_time() - own
        aftermath = await rooms.aftermath()
    faults = server.faults()
    return {
        "seconds": seconds,
        "connects": len(rooms.listeners),
        "start_seconds": returned.start_seconds,
        "live_seconds": returned.live_seconds,
        "asked": returned.asked.total(),
        "asked_beyond_start": max(0, returned.asked.total() - QUESTIONS_OF_START),
        "missed": aftermath.lost,
        "doubled": aftermath.doubled,
        "usage": asdict(after) | {"machine_cpu_seconds": after.machine_cpu_seconds - machine},
        "client_cpu_seconds": own,
        "errors": len(faults),
        "others": 0,
        "lost": 0,
        "first_error": faults[0][:200] if faults else "",
    }


if __name__ == "__main__":
    sys.exit(main())
