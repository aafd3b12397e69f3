"""Stop a PostgreSQL that an earlier greenroom left behind (kill -9), so that ours can start on its data.

Nothing is believed but the processes themselves: postmaster.pid may be stale and its pid reused, a zombie still answers
kill(pid, 0), and backends may outlive their postmaster. A process counts when its executable is a postgres and its
working directory is this very data directory; PostgreSQL changes into it at start and stays. Only such a process is
signalled, through a pidfd taken before the check, so a reused pid is never hit.

postmaster.pid is removed when its pid is now a zombie or a stranger, for which PostgreSQL would refuse to start. In
every other case it stays: PostgreSQL's own check of it, which also looks at shared memory, is the second lock. Without
/proc (not Linux) all of this is left to that check.
"""

import os
import signal
from pathlib import Path

import trio

from greenroom.storage.errors import PostgresStartFailed

_ORPHANS_SECONDS = 2.0  # a backend whose postmaster is gone ends at its next wait; a busy one has to be told
_STOP_SECONDS = (
    (signal.SIGINT, 20.0),  # fast shutdown: a checkpoint may have to be written
    (signal.SIGQUIT, 6.0),  # immediate: the postmaster kills its children after 5 s
    (signal.SIGKILL, 5.0),
)
_POLL_SECONDS = 0.02


async def clear_left_behind(data: Path, socket_folder: Path | None = None) -> list[int]:
    """Stop every postgres on this data directory, and return their pids. Raises PostgresStartFailed if one remains.

    `socket_folder` must belong to this data directory alone: what is left in it is removed.
    """
    found = await trio.to_thread.run_sync(postgres_on, data)
    remaining = found
    for number, seconds in _STOP_SECONDS:
        if not remaining:
            break
        has_postmaster = _signal(data, remaining, number)
        remaining = await _wait_gone(data, seconds if has_postmaster else _ORPHANS_SECONDS)
    if remaining:
        raise PostgresStartFailed(
            f"PostgreSQL of an earlier run (pid {', '.join(map(str, remaining))}) holds {data} and does not end: "
            "it may wait for a disk that does not answer; look at it, kill it, and start again"
        )
    _forget_postmaster_file(data)
    if socket_folder is not None:
        _empty(socket_folder)
    return found


def postgres_on(data: Path) -> list[int]:
    """The pids of all live postgres processes whose working directory is `data`."""
    pids = (int(entry) for entry in os.listdir("/proc") if entry.isdigit()) if Path("/proc").is_dir() else iter(())
    return [pid for pid in pids if _is_postgres_on(pid, data)]


def postmaster_file(data: Path) -> list[str]:
    """The lines of postmaster.pid: pid, data directory, start time, port, socket folder, address, memory, status."""
    try:
        return (data / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []


def _forget_postmaster_file(data: Path) -> None:
    pid = (postmaster_file(data) or ["none"])[0]
    if os.path.isdir(f"/proc/{pid}"):
        (data / "postmaster.pid").unlink(missing_ok=True)


def _empty(socket_folder: Path) -> None:
    # The lock file beside the socket has the same trouble with reused pids, and guards nothing that postmaster.pid does
    # not guard: no other server uses this folder.
    for name in socket_folder.glob(".s.PGSQL.*"):
        name.unlink(missing_ok=True)


def _signal(data: Path, pids: list[int], number: signal.Signals) -> bool:
    """Signal them, and say whether the postmaster was among those signalled, so that waiting for it makes sense."""
    # SIGINT is a fast shutdown only to the postmaster; the checkpointer, for one, means something else by it. Orphans
    # notice by themselves that their postmaster is gone.
    if number is signal.SIGINT:
        pids = [pid for pid in pids if postmaster_file(data)[:1] == [str(pid)]]
    for pid in pids:
        _signal_one(data, pid, number)
    return bool(pids)


def _signal_one(data: Path, pid: int, number: signal.Signals) -> None:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if _is_postgres_on(pid, data):
            signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        pass
    finally:
        os.close(handle)


async def _wait_gone(data: Path, seconds: float) -> list[int]:
    deadline = trio.current_time() + seconds
    while True:  # they are not our children, so nobody tells us
        remaining = await trio.to_thread.run_sync(postgres_on, data)
        if not remaining or trio.current_time() > deadline:
            return remaining
        await trio.sleep(_POLL_SECONDS)


def _is_postgres_on(pid: int, data: Path) -> bool:
    try:
        program = os.path.basename(os.readlink(f"/proc/{pid}/exe")).removesuffix(" (deleted)")
        return program == "postgres" and os.path.samefile(f"/proc/{pid}/cwd", data)
    except OSError:  # gone, a zombie, or not ours to see: then not the user's that owns this data either
        return False
