"""The port between a connection and its socket. Two things are one: a plain socket, and `tls.TlsTransport` over one.

A transport never waits. It has a descriptor to be watched for readiness, takes as much as it can, and says
BlockingIOError when that is nothing. So HTTP and the socket engine are the same code over both: the limits, close
codes, heartbeats and half-closes of one are those of the other. A plain socket is the port itself and costs nothing.
"""

from typing import Protocol


class Transport(Protocol):
    """As a non-blocking socket; `socket.socket` is one."""

    def fileno(self) -> int:
        """The descriptor to watch; -1 once it is closed."""
        ...

    def recv(self, bytes_max: int, /) -> bytes:
        """What the peer sent, empty at its end. Raises BlockingIOError when nothing is here, OSError at a reset."""
        ...

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """How many bytes were taken, at least one; of the rest `begun_bytes_of` come first. Raises as `recv` does."""
        ...

    def shutdown(self, how: int, /) -> None:
        """With SHUT_WR: tell the peer that nothing more comes. Raises OSError."""
        ...

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Of the socket below. Raises OSError."""
        ...

    def close(self) -> None:
        """Let go of the descriptor. May be called again."""
        ...


def begun_bytes_of(transport: Transport) -> int:
    """How much of what `send` has not taken must come first in its next call, whatever else there is to say by then.

    The part of a record that the kernel would not take is such. A plain socket has none.
    """
    begun: int = getattr(transport, "begun_bytes", 0)
    return begun
