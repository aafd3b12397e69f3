"""A connection that agreed to permessage-deflate: the same outbox, behind what all such connections share.

It stands outside of a large room's ranks: those are told the same bytes by the kernel, and these are others.
"""

from typing import TYPE_CHECKING

from greenroom.http.transport import Transport
from greenroom.http.ws.connection import DURABLE, Connection
from greenroom.http.ws.deflate import Agreement, Inflater, SharedDeflater
from greenroom.http.ws.frames import FrameReader

if TYPE_CHECKING:
    from greenroom.http.ws.engine import SocketEngine


class DeflatingConnection(Connection):
    """One adopted socket whose messages may be compressed."""

    __slots__ = ("_shared",)

    def __init__(
        self, engine: "SocketEngine", sock: Transport, address: str, agreement: Agreement, shared: SharedDeflater
    ) -> None:
        super().__init__(engine, sock, address)
        self._shared = shared
        self.reader = FrameReader(Inflater(agreement))
        self.is_rankable = False

    def write(self, frame: bytes, kind: int = DURABLE) -> None:
        """As for every connection."""
        super().write(self._shared.deflated(frame), kind)

    def write_now(self, frame: bytes) -> None:
        """As for every connection."""
        frame = self._shared.deflated(frame)
        if self.is_clear:
            self._send(frame)
        else:
            super().write(frame)
