"""The harness's end of bench/load.c: compile it when needed, run it, read the server at its two marks.
And of bench/resume_storm.py, which has a server of its own to kill, and reads it itself.

The client stops at each mark until it is told to go on, so the server is quiet while its CPU and memory are read.
A run that cannot be measured raises `RunFailed` with the client's own sentence.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Any

from processes import Usage, usage
from scenarios import Scenario
from servers import BENCH, BUILD, RunFailed, Server

SOURCE = BENCH / "load.c"
BINARY = BUILD / "load"
STORM = BENCH / "resume_storm.py"
STORM_SECONDS_MAX = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the client counted, and the server's processes before and after."""

    counted: dict[str, Any]
    before: Usage
    after: Usage


def compile_client() -> None:
    """Compile load.c unless the binary is newer than the source."""
    if BINARY.exists() and BINARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return
    compiler = next(filter(None, map(shutil.which, (os.environ.get("CC", "cc"), "gcc", "clang"))), None)
    if compiler is None:
        raise SystemExit("bench: no C compiler found. Install one (Debian: apt install gcc libc6-dev) or set CC.")
    BUILD.mkdir(exist_ok=True)
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", "-o", str(BINARY), str(SOURCE)]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit(f"bench: the load client did not compile. The command was: {' '.join(command)}")


def run_client(scenario: Scenario, server: Server, core: int) -> Outcome:
    """Put a running server under the scenario's load, with the client on `core`."""
    seats = server.seats(scenario)
    with tempfile.NamedTemporaryFile("w", prefix="greenroom-bench-", suffix=".sockets") as sockets:
        sockets.writelines(f"{seat.room} {seat.token} {'s' if seat.sends else '-'}\n" for seat in seats)
        sockets.flush()
        command = [str(BINARY), scenario.mode, "--port", str(server.port), "--sockets", sockets.name]
        command += ["--path", server.path, "--dialect", server.dialect]
        for name, value in scenario.options.items():
            command += [f"--{name}", f"{value:g}"]
        return _converse(command, server.pid, core)


def run_storm(scenario: Scenario, server_core: int, core: int) -> Outcome:
    """Kill and start a server under the scenario's listeners."""
    command = [sys.executable, str(STORM), "--rooms", str(scenario.rooms), "--members", str(scenario.members)]
    command += ["--server-core", str(server_core), "--client-core", str(core)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as storm:
        try:
            output, fault = storm.communicate(timeout=STORM_SECONDS_MAX)
        except BaseException as error:
            if not isinstance(error, KeyboardInterrupt):  # which it has had too
                storm.send_signal(signal.SIGINT)  # so that it ends its server
            storm.wait()
            if isinstance(error, subprocess.TimeoutExpired):
                raise RunFailed(f"it took longer than {STORM_SECONDS_MAX} s") from error
            raise
    if storm.returncode != 0:
        raise RunFailed((fault.strip().splitlines() or [f"it ended with {storm.returncode}"])[-1])
    counted = json.loads(output.splitlines()[-1])
    return Outcome(counted, Usage(0, 0, 0, 0), Usage(**counted["usage"]))


def _converse(command: list[str], pid: int, core: int) -> Outcome:
    client = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, {core}),  # safe: the harness has one thread
    )
    try:
        before = _read_at_mark(client, "begin", pid)
        after = _read_at_mark(client, "end", pid)
        output, fault = client.communicate(timeout=30)
    finally:
        client.kill()
        client.wait()
    if client.returncode != 0:
        raise RunFailed(fault.strip() or f"the load client ended with {client.returncode}")
    return Outcome(json.loads(output), before, after)


def _read_at_mark(client: subprocess.Popen[str], name: str, pid: int) -> Usage:
    assert client.stdin
    assert client.stdout
    assert client.stderr
    line = client.stdout.readline()
    if not line:
        raise RunFailed(client.stderr.read().strip() or "the load client ended before it measured")
    assert json.loads(line) == {"mark": name}, line
    reading = usage(pid)
    client.stdin.write("\n")
    client.stdin.flush()
    return reading
