"""What the kernel knows of a server's processes: CPU, memory, and the cores they may use. Linux only.

CPU comes from the CPU clock of each process (clock_getcpuclockid(3)): nanoseconds, all threads, those that ended too.
The user and system ticks of /proc/<pid>/stat are 10 ms, which is 6 % of what a fan-out at 4 messages a second uses.
Only for children that ended and were waited for is there nothing finer than the ticks.

Memory is the proportional set size: pages shared with other processes count for their share.

PostgreSQL is told apart by the name of the process, so that its CPU is never counted as the server's.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds since the processes began (the machine's: since boot, of all cores), and memory now."""

    server_cpu_seconds: float
    postgres_cpu_seconds: float
    server_memory_kb: float
    machine_cpu_seconds: float


def usage(root: int) -> Usage:
    """Read the process `root` and all its descendants."""
    family = descendants(root)
    postgres = [pid for pid in family if name_of(pid) == "postgres"]
    server = [pid for pid in family if pid not in postgres]
    return Usage(
        server_cpu_seconds=sum(map(cpu_seconds, server)),
        postgres_cpu_seconds=sum(map(cpu_seconds, postgres)) + sum(map(waited_for_cpu_seconds, postgres)),
        server_memory_kb=sum(map(memory_kb, server)),
        machine_cpu_seconds=machine_cpu_seconds(),
    )


def machine_cpu_seconds() -> float:
    """CPU of everything that ran on this machine, and what the hypervisor took, in whole ticks."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    idle, waits_for_disk = ticks[3], ticks[4]
    return (sum(ticks) - idle - waits_for_disk) / TICKS_PER_SECOND


def descendants(root: int) -> list[int]:
    """`root` and every process below it that is alive, parents first."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    family = [root]
    for pid in family:
        family += children.get(pid, [])
    return family


def name_of(pid: int) -> str:
    """The kernel's name of the program; empty when the process is gone."""
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def started_at(pid: int) -> str:
    """When it began, in ticks since boot: with the pid, the name of a process for good. Empty when it is gone."""
    fields = _stat(pid)
    return fields[19] if fields else ""


def cpu_seconds(pid: int) -> float:
    """CPU of one process, its children not included; 0 when it is gone."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # how clock_getcpuclockid(3) makes the clock of another process
    except OSError:
        return 0.0


def waited_for_cpu_seconds(pid: int) -> float:
    """CPU of the children that ended, in whole ticks."""
    fields = _stat(pid)
    return sum(int(ticks) for ticks in fields[13:15]) / TICKS_PER_SECOND if fields else 0.0


def memory_kb(pid: int) -> float:
    """Proportional set size of one process; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) for line in lines if line.startswith("Pss:")), 0.0)


def pin_postgres(root: int, core: int) -> None:
    """Move the PostgreSQL below `root` to `core`. Parents come first: what they start later inherits it."""
    for pid in descendants(root):
        if name_of(pid) == "postgres":
            os.sched_setaffinity(pid, {core})


def _stat(pid: int) -> list[str]:
    """The fields of /proc/<pid>/stat after the name, from `state` on."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
