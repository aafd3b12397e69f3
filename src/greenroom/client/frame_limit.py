"""How long a frame may be: `hello` says what the server takes; a close with 1009, that who sits between takes less.

Of those that were sent on a connection 1009 is about the longest: if a shorter one was too long, so is it; if it was
answered, no shorter one was.
"""

from typing import Any, Final

from greenroom.client.errors import Refused
from greenroom.client.frames import whole
from greenroom.client.outbox import Line

_BYTES_MAX: Final = 131072  # where the server says nothing
_FRAME_TOO_BIG: Final = 1003


class FrameLimit:
    """longest: the line that the longest frame of this connection carries, None where it carries none."""

    __slots__ = ("_bytes_max", "_longest_bytes", "longest")

    def __init__(self) -> None:
        self.longest: Line | None = None
        self._longest_bytes = 0
        self._bytes_max = _BYTES_MAX

    def begin(self, limits: dict[str, Any], start: str) -> None:
        """A connection begins, with the limits of its `hello`. start: sent whatever its length. Raises: TypeError."""
        self._bytes_max = whole(limits.get("frame", self._bytes_max))
        self.longest, self._longest_bytes = None, len(start.encode())

    def admits(self, text: str, line: Line | None = None) -> bool:
        """Whether the server takes this command, which is sent then. line: what it carries, of `send`."""
        size = len(text.encode())
        if size > self._bytes_max:
            return False
        if size > self._longest_bytes:
            self.longest, self._longest_bytes = line, size
        return True


def too_long() -> Refused:
    """What is said of one that is not taken."""
    return Refused(_FRAME_TOO_BIG, "too long for one frame")
