"""Standard output and error of a server, whose reader may go away before it does.

A closed terminal, a `| head`, a log collector that was restarted, a full disk: then every write fails, and a log line
that raises would fail the request or the actor that wrote it. What cannot be written is lost, and nothing else is.
"""

import io
from contextlib import suppress

STANDARD_OUTPUT = 1
STANDARD_ERROR = 2


class Outlet(io.TextIOWrapper):
    """Text for a descriptor, which stays open. Writing never raises OSError."""

    def __init__(self, descriptor: int) -> None:
        file = io.BufferedWriter(io.FileIO(descriptor, "w", closefd=False))
        super().__init__(file, encoding="utf-8", errors="backslashreplace")

    def write(self, text: str) -> int:
        """Write *text* when that is possible."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Hand over what was written when that is possible; what a full disk did not take is tried again."""
        with suppress(OSError):
            super().flush()
