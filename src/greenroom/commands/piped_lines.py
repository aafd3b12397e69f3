"""Lines that come through a pipe or from a file: bytes in, lines out, each as it is. Pure.

A line ends with LF, with CR LF, or with the input; there are no keys, no commands and no end but that of the input. A
line without any byte says nothing and is passed over. What is no UTF-8, or longer than LINE_BYTES_MAX, is told by its
number, and nothing of it is a line.
"""

from dataclasses import dataclass
from typing import Final

LINE_BYTES_MAX: Final = 131_072  # as much as one frame holds; the server takes 10,000 characters


@dataclass(frozen=True, slots=True)
class BadLine:
    """One that cannot be said. number: from 1."""

    number: int
    why: str


class PipedLines:
    """Holds at most one line that has not ended."""

    __slots__ = ("_is_too_long", "_number", "_rest")

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 0  # how many have ended
        self._is_too_long = False  # and what is left of it is passed over

    def feed(self, data: bytes) -> list[str | BadLine]:
        """Take what was read; the lines that it ends."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._take(part)
            if self._rest.endswith(b"\r"):
                self._rest.pop()
            lines += self._end()
        self._take(rest)
        return lines

    def end(self) -> list[str | BadLine]:
        """The input has ended: the line that it ends, if there is one."""
        return self._end()

    def _take(self, part: bytes) -> None:
        if len(self._rest) + len(part) > LINE_BYTES_MAX:
            self._is_too_long = True
        if self._is_too_long:
            self._rest.clear()
        else:
            self._rest += part

    def _end(self) -> list[str | BadLine]:
        content, is_too_long = bytes(self._rest), self._is_too_long
        self._rest.clear()
        self._is_too_long = False
        self._number += 1
        if is_too_long:
            return [BadLine(self._number, f"it is longer than {LINE_BYTES_MAX:,} bytes")]
        try:
            return [content.decode()] if content else []
        except UnicodeDecodeError as error:
            return [BadLine(self._number, f"it is not valid UTF-8 (byte {error.start + 1})")]
