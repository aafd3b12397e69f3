"""Both ends of a TLS connection in one thread, neither of which waits."""

import socket
import ssl
from contextlib import suppress

from tls_files import TlsFiles

from greenroom.http.tls import TlsTransport, tls_context


def connected(files: TlsFiles, *, buffer: int = 0) -> tuple[TlsTransport, ssl.SSLSocket]:
    """The server's end and the client's after their handshake. buffer: bytes of the kernel's for what is sent."""
    near, far = socket.socketpair()
    for end in (near, far):
        end.setblocking(False)
        if buffer:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer)
    context = tls_context(files.certificate, files.key)
    assert context is not None
    server = TlsTransport(near, context)
    client: ssl.SSLSocket = files.client.wrap_socket(far, server_hostname="127.0.0.1", do_handshake_on_connect=False)
    waiting = 2
    while waiting:
        waiting = 2
        for step in (client.do_handshake, server.shake_hands):
            with suppress(BlockingIOError, ssl.SSLWantReadError):
                waiting -= step() is not False
    return server, client


def read_some(client: ssl.SSLSocket, size: int) -> bytes:
    """What is here of what the server sent, at most so many bytes; nothing when that is nothing."""
    try:
        return client.recv(size)
    except ssl.SSLWantReadError:
        return b""
