"""The servers under load: how each is made ready once, started on its core, and ended.

`Server` is the life that all share: prepare (once), start, stop (as often as wanted), close (once). A subclass says
what its command is, who sits where, and which dialect it speaks. Each starts as its own process group and is ended by
its process id; nothing is ended that was not started here.
"""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

import processes
from scenarios import Scenario

BENCH = Path(__file__).resolve().parent
BUILD = BENCH / ".build"
PEERS = BENCH / "peers"
READY_SECONDS_MAX = 30
STOP_SECONDS_MAX = 15


class RunFailed(Exception):
    """This server could not be measured in this scenario."""


@dataclass(frozen=True, slots=True)
class Seat:
    """One socket of the client: the room it enters, its bearer token (`-` for none), and whether it sends."""

    room: str
    token: str = "-"
    sends: bool = False


class Server(ABC):
    """One contestant. `start` returns when it accepts connections."""

    name: str
    dialect = "plain"
    path = "/room/%r"
    note = ""

    def __init__(self, core: int) -> None:
        self.core = core
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None
        self.log = BUILD / "logs" / f"{self.name}.log"

    @property
    def pid(self) -> int:
        """The process that was started; its descendants belong to the server too."""
        assert self.process is not None
        return self.process.pid

    def prepare(self) -> None:
        """Fetch what it needs. Once, before the first start. Most need nothing."""
        return

    @abstractmethod
    def command(self) -> list[str]:
        """What to run. The port is in `self.port`, and in the environment as PORT."""

    def environment(self) -> dict[str, str]:
        """What its environment has beyond PATH, HOME and PORT."""
        return {}

    def seats(self, scenario: Scenario) -> list[Seat]:
        """Who connects, in what room, with what token. The server is running."""
        return [
            Seat(room=str(room + 1), sends=member < scenario.senders)
            for room in range(scenario.rooms)
            for member in range(scenario.members)
        ]

    def start(self) -> None:
        """Start on its core, wait until it accepts connections."""
        self.port = _free_port()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                self.command(),
                env=kept | {"PORT": str(self.port)} | self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, {self.core}),  # safe: the harness has one thread
            )
        self._wait_ready()

    def stop(self) -> None:
        """End the process; kill it, or those of its descendants that it left behind, if it does not end by itself."""
        if self.process is None:
            return
        family = [(pid, processes.started_at(pid)) for pid in processes.descendants(self.process.pid)]
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for pid, started in family[1:]:
            if started and processes.started_at(pid) == started:  # not a stranger that was given the number since
                _kill(pid)
        self.process = None

    def close(self) -> None:
        """Stop, and remove what it kept."""
        self.stop()

    def _wait_ready(self) -> None:
        assert self.process is not None
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            if (code := self.process.poll()) is not None:
                raise RunFailed(f"{self.name} ended with {code} while starting: {self._last_words()}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise RunFailed(f"{self.name} did not accept connections within {READY_SECONDS_MAX} s: {self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-3:]) + f" (all of it in {self.log})"


class QuartTrioRoom(Server):
    """A naive room on Quart-Trio under Hypercorn."""

    name = "quart-trio"
    note = "in memory, no authentication; a memory channel and a writer task per connection"

    def command(self) -> list[str]:
        return [sys.executable, str(PEERS / "quart_trio_room.py")]


class BareQuartTrio(Server):
    """Accept, one receive, one send."""

    name = "bare-quart-trio"
    note = "accept, one receive, one send; no room, no authentication"

    def command(self) -> list[str]:
        return [sys.executable, str(PEERS / "bare_quart_trio.py")]


class NodeWs(Server):
    """A room on node's ws."""

    name = "node-ws"
    note = "in memory, no authentication, compression for who offers it"

    def prepare(self) -> None:
        _node()
        _npm_install(PEERS / "node_ws", self.name)

    def command(self) -> list[str]:
        return [_node(), str(PEERS / "node_ws" / "server.mjs")]


class WorkerdMemory(Server):
    """A Durable Object per room with the hibernation API, nothing kept."""

    name = "workerd-memory"
    note = "Durable Object per room, hibernation API, in memory, no authentication"
    config = "memory"

    def prepare(self) -> None:
        _npm_install(PEERS / "workerd", self.name)

    def command(self) -> list[str]:
        folder = PEERS / "workerd"
        # The package's own bin/workerd is a node script that starts this binary; the pid wanted is the binary's.
        binary = next((folder / "node_modules" / "@cloudflare").glob("workerd-*/bin/workerd"))
        address = f"--socket-addr=http=127.0.0.1:{self.port}"
        return [str(binary), "serve", str(folder / "config.capnp"), self.config, address]


class WorkerdSqlite(WorkerdMemory):
    """The same, and each message is written to SQLite on disk before it is acknowledged."""

    name = "workerd-sqlite"
    note = "Durable Object per room, hibernation API, SQLite on disk (one fsync a message), no authentication"
    config = "sqlite"

    def __init__(self, core: int) -> None:
        super().__init__(core)
        self.disk: Path | None = None

    def start(self) -> None:
        self.close()
        self.disk = disk_folder("workerd")
        super().start()

    def command(self) -> list[str]:
        return [*super().command(), f"--directory-path=disk={self.disk}"]

    def close(self) -> None:
        super().close()
        if self.disk is not None:
            shutil.rmtree(self.disk, ignore_errors=True)


def disk_folder(name: str) -> Path:
    """A new folder on a real disk: /tmp is memory on many machines, and an fsync there costs nothing.

    Others may enter it: when root runs the bench, PostgreSQL runs as a user of its own.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"greenroom-bench-{name}-", dir="/var/tmp"))
    folder.chmod(0o755)
    return folder


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise SystemExit("bench: node is not installed. Install it (20 or later), or leave node-ws out with --servers.")
    return node


def _npm_install(folder: Path, name: str) -> None:
    """Install the exact versions that package.json names, unless they are there."""
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    if all(_installed(folder, package) == version for package, version in wanted.items()):
        return
    npm = shutil.which("npm")
    if npm is None:
        raise SystemExit(f"bench: {name} needs npm (it comes with node), or leave it out with --servers.")
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        reason = " / ".join(line for line in done.stderr.splitlines() if line.startswith("npm error"))
        raise SystemExit(
            f"bench: npm could not install {wanted} in {folder}: {reason[:300]}\n"
            f"This is done once and needs a network; or leave {name} out with --servers."
        )


def _installed(folder: Path, package: str) -> str:
    try:
        return str(json.loads((folder / "node_modules" / package / "package.json").read_text())["version"])
    except OSError:
        return ""
