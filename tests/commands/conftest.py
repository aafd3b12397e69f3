"""Real processes of the command line, and one way to wait for what they print."""

import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import jwt
import pytest
import trio
from forked_process import ForkedProcess
from frames_seen import environment
from house_fixture import house_in_thread
from kept_port import keep_a_port
from prepared_cluster import lay_cluster

from greenroom.secret_file import jwt_secret
from greenroom.storage.postgres.embedded import ServerAddress
from greenroom.storage.postgres.left_behind import clear_left_behind

WAIT_SECONDS_MAX = 30.0
STOP_SECONDS_MAX = 12.0
NAP_SECONDS = 0.02
_FOLDER_PREFIX = "greenroom-commands-"


def _heed_hangup() -> None:
    """Whoever runs the tests may ignore it (nohup), and what they start would too."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Process:
    """One `greenroom …`, with what it has printed so far. Both outputs go into one text.

    is_typed: what comes in is a terminal, else a pipe. first: Python that it runs before. is_forked: from one that has
    read greenroom.
    """

    def __init__(
        self,
        arguments: list[str],
        environment: dict[str, str],
        cwd: Path,
        *,
        is_typed: bool = False,
        first: str = "",
        is_forked: bool,
    ) -> None:
        self._is_typed = is_typed
        input_, output = pty.openpty() if is_typed else os.pipe()[::-1], os.pipe()
        start = _fork if is_forked else _start
        self.popen = start(arguments, environment, cwd, input_[1], output[1], first)
        os.close(input_[1])
        os.close(output[1])
        self._input = os.fdopen(input_[0], "wb", buffering=0 if is_typed else -1)
        self._output = os.fdopen(output[0], "rb")
        self.text = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._output:
            with self._changed:
                self.text += line.decode()
                self._changed.notify_all()
        with self._changed:
            self._changed.notify_all()

    def wait_for(self, pattern: str, count: int = 1) -> re.Match[str]:
        """Wait until it has printed the pattern so often; the last of them."""
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with self._changed:
            while len(found := list(re.finditer(pattern, self.text, re.MULTILINE))) < count:
                is_over = time.monotonic() > deadline or not self._reader.is_alive()
                assert not is_over, f"{pattern!r} not {count} times in:\n{self.text}"
                self._changed.wait(0.2)
        return found[count - 1]

    def stop_reading(self) -> None:
        """Leave its output without a reader, from the next line on: a pipe that is closed, as far as it can tell."""
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, self._output.fileno())
        os.close(nothing)

    def type(self, line: str) -> None:
        self.write(line.encode() + b"\n")

    def write(self, data: bytes) -> None:
        self._input.write(data)
        self._input.flush()

    def end_input(self) -> None:
        if self._is_typed:
            self.write(b"\x04")
        else:
            self._input.close()

    def signal(self, number: signal.Signals) -> None:
        self.popen.send_signal(number)

    def wait_until_heard(self) -> None:
        """Wait until no signal waits for it any more: of two that wait at once it hears one."""
        status, deadline = Path(f"/proc/{self.popen.pid}/status"), time.monotonic() + WAIT_SECONDS_MAX
        while re.search(r"^(SigPnd|ShdPnd):\s*0*[1-9a-f]", status.read_text(), re.MULTILINE):
            assert time.monotonic() < deadline, "it hears no signals"
            time.sleep(0.01)

    def seconds_to_end(self) -> float:
        """Wait until it is over; how long that took, without the time in which nobody here woke either, nor that in
        which it waited for a CPU."""
        began, late, deadline = time.monotonic(), 0.0, time.monotonic() + WAIT_SECONDS_MAX
        before = waited = self._waited_seconds() or 0.0
        while self.popen.poll() is None:
            due = time.monotonic() + NAP_SECONDS
            assert due < deadline, "it does not end"
            waited = self._waited_seconds() or waited
            time.sleep(NAP_SECONDS)
            late += time.monotonic() - due
        return time.monotonic() - began - late - (waited - before)

    def _waited_seconds(self) -> float | None:
        """How long its main thread has waited for a CPU; None when it is over, or the kernel does not count."""
        try:
            return int(Path(f"/proc/{self.popen.pid}/schedstat").read_text().split()[1]) / 1e9
        except (FileNotFoundError, ProcessLookupError):
            return None

    def ended(self, seconds: float = STOP_SECONDS_MAX) -> int:
        """Its exit code, once it and all it printed is here."""
        code = self.popen.wait(seconds)
        self._reader.join(seconds)
        return code

    def kill(self) -> None:
        """kill -9."""
        self.popen.kill()
        self.popen.wait()


def _start(arguments: list[str], environment: dict[str, str], cwd: Path, input_: int, output: int, first: str):
    how = ["-c", f"{first}\nfrom greenroom.cli import main\nmain()"] if first else ["-m", "greenroom"]
    return subprocess.Popen(
        [sys.executable, *how, *arguments],
        env=environment,
        cwd=cwd,
        stdin=input_,
        stdout=output,
        stderr=subprocess.STDOUT,
        start_new_session=True,  # Ctrl-C of who runs the tests is not theirs
        preexec_fn=_heed_hangup,
    )


def _fork(arguments: list[str], environment: dict[str, str], cwd: Path, input_: int, output: int, first: str):
    return ForkedProcess(arguments, environment, cwd, input=input_, output=output, first=first)


class Terminal:
    """A command in a terminal of 24 lines of 100 columns. text: all that it has shown."""

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**environment, "TERM": "xterm", "LINES": "24", "COLUMNS": "100"}
        self.popen = ForkedProcess(arguments, environment, Path.cwd(), input=theirs, output=theirs)
        os.close(theirs)
        self.text = ""
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with suppress(OSError):  # how a terminal tells that nobody is at the other end
            while data := os.read(self._ours, 4096):
                with self._changed:
                    self.text += data.decode(errors="replace")
                    self._changed.notify_all()

    def wait_for(self, pattern: str, count: int = 1) -> None:
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        with self._changed:
            while len(re.findall(pattern, self.text)) < count:
                left = deadline - time.monotonic()
                assert left > 0, f"{pattern!r} not {count} times in:\n{self.text}"
                self._changed.wait(left)

    def type(self, text: str) -> None:
        os.write(self._ours, text.encode())

    def ended(self) -> int:
        code = self.popen.wait(WAIT_SECONDS_MAX)
        self._reader.join(WAIT_SECONDS_MAX)
        return code


class Greenroom:
    """The command line of one test, with one data directory. is_forked: see Process."""

    def __init__(self, data: Path, cwd: Path, *, is_forked: bool) -> None:
        self.data = data
        self._kept_port = keep_a_port()
        self.port: int = self._kept_port.getsockname()[1]
        self._cwd = cwd
        self._is_forked = is_forked
        self._processes: list[Process] = []

    def start(self, *arguments: str, **settings: str) -> Process:
        given = {**self.environment, **settings}
        return self._keep(Process([*arguments], given, self._cwd, is_forked=self._is_forked))

    def start_typed(self, *arguments: str, first: str = "") -> Process:
        """What comes in is a terminal; what it prints goes through a pipe."""
        is_forked = self._is_forked
        return self._keep(
            Process([*arguments], self.environment, self._cwd, is_typed=True, first=first, is_forked=is_forked)
        )

    def _keep(self, process: Process) -> Process:
        self._processes.append(process)
        return process

    @contextmanager
    def terminal(self, *arguments: str) -> Iterator[Terminal]:
        shown = Terminal([*arguments], self.environment)
        try:
            yield shown
        finally:
            if shown.popen.poll() is None:
                shown.popen.kill()
                shown.popen.wait()
            os.close(shown._ours)

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        kept |= {"GREENROOM_DATA_DIR": str(self.data), "PORT": str(self.port), "LOG_LEVEL": "warning"}
        return {**kept, **environment(), "PYTHONUNBUFFERED": "1", "MESSAGES_PER_MINUTE": "0"}

    def serve(self, *, makes_database: bool = False, **settings: str) -> Process:
        """A server that answers, each on the same port. makes_database: else the first one finds a migrated one
        in its data directory."""
        if not makes_database and not self.data.exists():
            lay_cluster(self.data)
        process = self.start("serve", **settings)
        self.port = int(process.wait_for(r"runs at http://127\.0\.0\.1:(\d+)")[1])
        process.wait_for("Ctrl-C stops it")
        return process

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def token(self, user: str) -> str:
        """What `greenroom token` prints, without a process; the name is that which `chat` gives."""
        claims = {"sub": user, "exp": int(time.time()) + 600, **({} if user.isdecimal() else {"name": user})}
        return jwt.encode(claims, jwt_secret(self.data), "HS256")

    def postmaster(self) -> int:
        """The pid of the PostgreSQL of this data directory."""
        return int((self.data / "postgres" / "cluster" / "data" / "postmaster.pid").read_text().split()[0])

    def end_all(self) -> None:
        for process in reversed(self._processes):
            if process.popen.poll() is None:
                process.signal(signal.SIGTERM)
                try:
                    process.ended()
                except subprocess.TimeoutExpired:
                    process.kill()
        self._kept_port.close()
        self._end_left_behind()

    def _end_left_behind(self) -> None:
        with suppress(OSError, ValueError, IndexError):
            pid = self.postmaster()
            if os.path.samefile(f"/proc/{pid}/cwd", self.data / "postgres" / "cluster" / "data"):
                os.kill(pid, signal.SIGINT)
                while Path(f"/proc/{pid}").exists():
                    time.sleep(0.01)


@pytest.fixture
def is_forked() -> bool:
    """A file whose tests are about how a command starts says no."""
    return True


@pytest.fixture
def greenroom(tmp_path: Path, is_forked: bool) -> Iterator[Greenroom]:
    """The command line, in a folder that is no checkout; everything is ended afterwards.

    Its data is not in `open_folder`: another test session takes a folder whose server was killed for an abandoned one.
    """
    _sweep_abandoned()
    folder = Path(tempfile.mkdtemp(prefix=f"{_FOLDER_PREFIX}{os.getpid()}-", dir="/var/tmp"))
    folder.chmod(0o755)
    command_line = Greenroom(folder / "data", tmp_path, is_forked=is_forked)
    yield command_line
    command_line.end_all()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def served(greenroom: Greenroom, database: ServerAddress) -> Iterator[Greenroom]:
    """The same with a server that answers. It is in this process, where it costs a tenth: for tests of what talks to a
    server, not of the server's own process."""
    with house_in_thread(database, greenroom.data, jwt_secret=None) as house:
        greenroom.port = house.port
        yield greenroom


def _sweep_abandoned() -> None:
    """Stop and remove what test sessions that were killed have left behind."""
    for folder in Path("/var/tmp").glob(_FOLDER_PREFIX + "*"):
        if not Path(f"/proc/{folder.name.split('-')[2]}").exists():
            trio.run(clear_left_behind, folder / "data" / "postgres" / "cluster" / "data")
            shutil.rmtree(folder, ignore_errors=True)
