"""The words of the control socket: JSON, one object a line, each at most LINE_BYTES_MAX long. Pure.

    server ▶  {"greenroom": "0.1.0", "protocol": 1, "pid": 4242}                once, at the beginning
    client ▶  {"id": 1, "do": "top", "with": {"by": "depth"}}
    server ▶  {"id": 1, "item": …}                                              of what comes bit by bit
    server ▶  {"id": 1, "ok": …}  or  {"id": 1, "error": "a sentence"}          ends it
    client ▶  {"id": 1, "do": "cancel"}                                         ends it too: the answer is an error

One request at a time. The protocol's number changes when an old client would misunderstand a new server.
"""

import json
from dataclasses import dataclass, field
from typing import Any, Final

PROTOCOL: Final = 1
LINE_BYTES_MAX: Final = 256 * 1024
ANSWER_BYTES_MAX: Final = 16 * 1024 * 1024


class BadLine(ValueError):
    """A line that is no request; the message says why."""


@dataclass(frozen=True, slots=True)
class Request:
    """What a client wants. number: its own, for the answer."""

    number: int
    do: str
    arguments: dict[str, Any] = field(default_factory=dict)


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def decode_request(line: bytes) -> Request:
    """Raises: BadLine."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise BadLine("a request is one line of JSON") from None
    if not isinstance(message, dict):
        raise BadLine("a request is a JSON object")
    number, do, arguments = message.get("id"), message.get("do"), message.get("with", {})
    if type(number) is not int or not isinstance(do, str) or not isinstance(arguments, dict):
        raise BadLine('a request has "id" (a number), "do" (a word) and "with" (an object) at most')
    return Request(number, do, arguments)


class Lines:
    """Bytes as they come, cut into lines. Raises BadLine when one is longer than *bytes_max*."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are whole now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if max(map(len, (*lines, self._rest))) > self._bytes_max:
            raise BadLine(f"a line is at most {self._bytes_max} bytes")
        return [line for line in lines if line.strip()]
