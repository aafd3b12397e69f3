"""`greenroom …` as a process of its own, forked from one that has read greenroom: that is most of what a start costs.

    process = ForkedProcess(["serve"], environment, folder, output=log.fileno())

It is a process like that of a Popen, whose names it has: killed, waited for, a zombie until then, in a session of its
own. It has only what it is given: environment, folder, descriptors. What it does not do is to read greenroom anew, and
in the list of processes it is called forking.py. So tests of how commands start give each a Python of its own.

The one that it is forked from, in_servers/forking.py, starts when it is first wanted and ends with this process.
"""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from frames_seen import IN_SERVERS, environment  # type: ignore[import-not-found]

ANSWER_BYTES_MAX = 64


class ForkedProcess:
    """One `greenroom …`. output: of both kinds, but where errors has its own. first: Python that it runs before."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        cwd: Path,
        *,
        output: int,
        errors: int | None = None,
        input: int | None = None,  # noqa: A002 - as for Popen; None is as empty as /dev/null
        first: str = "",
    ) -> None:
        request = {"arguments": arguments, "environment": dict(environment), "cwd": str(cwd), "first": first}
        self.args = arguments
        self.returncode: int | None = None
        nothing = os.open(os.devnull, os.O_RDONLY)
        self.pid = _parent().ask(
            request, [nothing if input is None else input, output, output if errors is None else errors]
        )
        os.close(nothing)
        self._pidfd = os.pidfd_open(self.pid)
        self._reaping = threading.Lock()

    def poll(self) -> int | None:
        """Its exit code, None while it runs."""
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        """Its exit code. Raises: subprocess.TimeoutExpired."""
        code = self._look(timeout)
        if code is None:
            assert timeout is not None
            raise subprocess.TimeoutExpired(self.args, timeout)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, seconds: float | None) -> int | None:
        with self._reaping:
            if self.returncode is None:
                ended = select.poll()
                ended.register(self._pidfd, select.POLLIN)
                if ended.poll(None if seconds is None else seconds * 1000):
                    self.returncode = _parent().ask({"wait": self.pid})
                    os.close(self._pidfd)
            return self.returncode


class _Parent:
    """The process that they are forked from."""

    def __init__(self) -> None:
        self._asking = threading.Lock()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, str(IN_SERVERS / "forking.py"), str(theirs.fileno())],
                env=kept | environment() | {"PYTHONUNBUFFERED": "1"},
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    def ask(self, request: Mapping[str, Any], descriptors: Sequence[int] = ()) -> int:
        with self._asking:
            socket.send_fds(self._socket, [json.dumps(request).encode()], descriptors)
            answer = self._socket.recv(ANSWER_BYTES_MAX)
        assert answer, "the process that servers are forked from has ended; it says above why"
        return int(answer)

    def end(self) -> None:
        self._socket.close()
        self._process.wait()


_making = threading.Lock()  # servers are started by several threads at once


def _parent() -> _Parent:
    with _making:
        return _the_parent()


@cache
def _the_parent() -> _Parent:
    parent = _Parent()
    atexit.register(parent.end)
    return parent
