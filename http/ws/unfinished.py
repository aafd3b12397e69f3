"""The beginnings of messages that have come so far: one budget of bytes for all connections of the process.

A connection may hold one message of 128 KiB that is not whole, and as much of a fragment that is too much for it. Of
thousands that begin one and never end it that would be gigabytes; here they share UNFINISHED_BYTES_MAX. When it is
spent, whoever began theirs longest ago is closed, and may come back and say it again. A message that is really being
sent is whole within moments, and among the youngest.
"""

from typing import TYPE_CHECKING, Final

from greenroom.http.ws.codes import UNFINISHED

if TYPE_CHECKING:
    from greenroom.http.ws.connection import Connection

UNFINISHED_BYTES_MAX: Final = 16 * 1024 * 1024  # of the process it costs up to twice as much: they grow as they come


class Unfinished:
    """Of the engine. Costs a connection whose messages come whole nothing."""

    def __init__(self) -> None:
        self.bytes = 0
        self._begun: dict[Connection, None] = {}  # oldest first

    def __len__(self) -> int:
        """Connections that hold something."""
        return len(self._begun)

    def note(self, connection: "Connection") -> None:
        """The connection holds more, or less, than at the last note."""
        reader = connection.reader
        self.bytes += reader.unfinished_bytes - reader.noted_bytes
        reader.noted_bytes = reader.unfinished_bytes
        if reader.is_new or not reader.unfinished_bytes:
            self._begun.pop(connection, None)
            reader.is_new = False
        if reader.unfinished_bytes:
            self._begun.setdefault(connection)
        while self.bytes > UNFINISHED_BYTES_MAX:
            oldest = next(iter(self._begun))
            oldest.end(UNFINISHED)
            self.forget(oldest)

    def forget(self, connection: "Connection") -> None:
        """The connection reads no more. What it held is free at once, and not at some collection of cycles."""
        connection.reader.drop()
        self.bytes -= connection.reader.noted_bytes
        connection.reader.noted_bytes = 0
        self._begun.pop(connection, None)
