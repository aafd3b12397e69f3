"""The client's side of the control socket. It blocks: a command that looks into a server has nothing else to do.

with connect(directory) as running:
    answer = running.ask("top", by="depth")
    for entry in running.follow("trace", address="room/42"): ...
"""

import json
import math
import select
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from greenroom.control.errors import NoAnswer, NotAllowed, NothingRuns, OtherProtocol, Refused
from greenroom.control.place import find_socket
from greenroom.control.protocol import ANSWER_BYTES_MAX, PROTOCOL, BadLine, Lines, encode

ANSWER_SECONDS_MAX: Final = 10.0
NAP_SECONDS: Final = 0.2  # a Ctrl-C that comes in the instant before the kernel waits is noticed when it next looks
READ_BYTES: Final = 64 * 1024


def connect(directory: Path) -> "Running":
    """Reach the greenroom that runs with that data directory. Raises: ControlError."""
    nothing = NothingRuns(
        f"no greenroom runs with the data in {directory}: start it with `greenroom serve`, or name the folder of one "
        "that runs with GREENROOM_DATA_DIR"
    )
    door = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        door.settimeout(ANSWER_SECONDS_MAX)
        door.connect(str(find_socket(directory)))
        return Running(door)
    except (FileNotFoundError, NotADirectoryError, ConnectionRefusedError):
        door.close()
        raise nothing from None
    except PermissionError:
        door.close()
        raise NotAllowed(
            f"what runs with the data in {directory} runs as another user: become that user, or root"
        ) from None
    except (TimeoutError, BlockingIOError):
        door.close()
        raise _silent() from None
    except BaseException:
        door.close()
        raise


class Running:
    """A running greenroom."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door
        self._readable = select.poll()
        self._readable.register(door, select.POLLIN)
        self._lines = Lines(ANSWER_BYTES_MAX)
        self._heard: list[bytes] = []
        self._number = 0
        self._until = time.monotonic() + ANSWER_SECONDS_MAX
        hello = self._hear()
        self.version, self.pid = str(hello.get("greenroom")), int(hello.get("pid", 0))
        theirs = hello.get("protocol")
        if theirs != PROTOCOL:
            raise OtherProtocol(
                f"greenroom {self.version} runs there, with control protocol {theirs}, and this one speaks "
                f"protocol {PROTOCOL}: use the greenroom that it was started with"
            )

    def __enter__(self) -> "Running":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._door.close()

    def ask(self, do: str, *, seconds_max: float | None = ANSWER_SECONDS_MAX, **arguments: object) -> Any:
        """The answer. seconds_max: to wait for it; None for ever. Raises: ControlError."""
        self._begin(do, arguments, math.inf if seconds_max is None else seconds_max)
        while "ok" not in (message := self._next()):
            pass
        return message["ok"]

    def follow(self, do: str, **arguments: object) -> Iterator[Any]:
        """Ask at once, and get each item as it comes. Raises: ControlError."""
        self._begin(do, arguments)
        return self._items()

    def cancel(self) -> None:
        """End what was asked last, and wait until it has ended. Raises: ControlError."""
        self._until = time.monotonic() + ANSWER_SECONDS_MAX
        self._write({"id": self._number, "do": "cancel"})
        try:
            while "ok" not in self._next():
                pass
        except Refused:
            return

    def _begin(self, do: str, arguments: dict[str, object], seconds_max: float = math.inf) -> None:
        self._number += 1
        self._until = time.monotonic() + seconds_max
        self._write(
            {"id": self._number, "do": do, "with": {name: it for name, it in arguments.items() if it is not None}}
        )

    def _items(self) -> Iterator[Any]:
        while "ok" not in (message := self._next()):
            yield message["item"]

    def _next(self) -> dict[str, Any]:
        while True:
            message = self._hear()
            if message.get("id") not in (0, self._number):
                continue  # of a request that was given up
            if "error" in message:
                raise Refused(str(message["error"]))
            return message

    def _write(self, message: dict[str, Any]) -> None:
        try:
            self._door.sendall(encode(message))
        except OSError:
            # Why the server has hung up may still be there to be read.
            if not self._heard:
                self._until = min(self._until, time.monotonic() + ANSWER_SECONDS_MAX)
                try:
                    self._read()
                except OSError:
                    raise _gone() from None

    def _hear(self) -> dict[str, Any]:
        while not self._heard:
            self._read()
        try:
            message = json.loads(self._heard.pop(0))
        except ValueError:
            raise OtherProtocol("what answers there is no greenroom") from None
        if not isinstance(message, dict):
            raise OtherProtocol("what answers there is no greenroom")
        return message

    def _read(self) -> None:
        while not self._readable.poll(max(0.0, min(NAP_SECONDS, self._until - time.monotonic())) * 1000):
            if time.monotonic() >= self._until:
                raise _silent()
        try:
            data = self._door.recv(READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            raise _gone()
        try:
            self._heard += self._lines.feed(data)
        except BadLine as fault:
            raise OtherProtocol(f"what answers there is no greenroom: {fault}") from None


def _gone() -> NoAnswer:
    return NoAnswer("the greenroom that was asked has gone")


def _silent() -> NoAnswer:
    return NoAnswer(
        "the greenroom that runs there does not answer: if its log says `loop.held`, it names who holds it up"
    )
