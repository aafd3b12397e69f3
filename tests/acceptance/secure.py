"""A TLS socket that behaves as a plain non-blocking one: what wire.py does with sockets works on both.

`recv` takes everything that is decrypted, so that the kernel's readiness is the whole truth: nothing stays inside.
"""

import socket
import ssl

import trio


class SecureSocket:
    """The end of a client, after its handshake."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self._sock = sock

    def fileno(self) -> int:
        """As of any socket; -1 when it is closed."""
        return self._sock.fileno()

    def send(self, data: bytes | memoryview) -> int:
        """What was taken. Raises BlockingIOError, OSError."""
        try:
            return self._sock.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise BlockingIOError from None

    def recv(self, size: int) -> bytes:
        """All that is there, or nothing at the end. Raises BlockingIOError, OSError."""
        parts = []
        try:
            while part := self._sock.recv(size):
                parts.append(part)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            if not parts:
                raise BlockingIOError from None
        except OSError:
            if not parts:
                raise
        return b"".join(parts)

    def setsockopt(self, level: int, option: int, value: int | bytes) -> None:
        """As of any socket."""
        self._sock.setsockopt(level, option, value)

    def shutdown(self, how: int) -> None:
        """Of the TCP connection below."""
        socket.socket.shutdown(self._sock, how)

    def close(self) -> None:
        """Without a word of TLS, as browsers do."""
        self._sock.close()


async def secured(sock: socket.socket, context: ssl.SSLContext) -> SecureSocket:
    """TLS over *sock*, which is non-blocking. Raises OSError; then *sock* is closed."""
    wrapped = context.wrap_socket(sock, server_hostname="127.0.0.1", do_handshake_on_connect=False)
    try:
        while True:
            try:
                wrapped.do_handshake()
            except ssl.SSLWantReadError:
                await trio.lowlevel.wait_readable(wrapped)
            except ssl.SSLWantWriteError:
                await trio.lowlevel.wait_writable(wrapped)
            else:
                return SecureSocket(wrapped)
    except BaseException:
        wrapped.close()
        raise
