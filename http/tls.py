"""TLS in process: a transport that encrypts, over the same descriptor that everybody else waits for.

    plain text ──send──▶ one record at a time ──▶ the kernel      what it does not take is kept, as ciphertext
    plain text ◀──recv── SSLObject ◀── at most one read of the kernel's bytes

Why a transport under one engine, and not trio's SSLStream with a task per connection: the engine, its outbox, its
wheel and HTTP stay as they are, and whoever reads them has one new concept to learn, a socket whose `send` and `recv`
cost more (9 µs for a delivered frame instead of 4, measured). The memory of a connection is that of OpenSSL and its
buffers: 17 KB, and 40 KB after long frames. Why MemoryBIO and not SSLSocket: a call of OpenSSL reads on as long as the
kernel has bytes that are no data (a flood of KeyUpdate, say), and would hold the loop as long; here it has at most what
one `recv` took.

`send` says taken of a byte when the kernel has its ciphertext, so the outbox counts, times and bounds as over a plain
socket. Of a record that the kernel took in part that many bytes are said to be taken, all but the last: progress is
seen, and the caller comes back with the rest.
"""

import os
import socket
import ssl
from contextlib import suppress
from pathlib import Path
from typing import Final

from greenroom.http.transport import Transport

RECORD_BYTES_MAX: Final = 16 * 1024  # RFC 8446 section 5.1: what one record holds
UNREAD_BYTES_MAX: Final = 4 * RECORD_BYTES_MAX  # of what TLS itself has to say; data is one record at most


class TlsUnusable(Exception):
    """TLS_CERT and TLS_KEY cannot be used; the message says why and what to do."""


def tls_context(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """What the listeners speak with these two files; None for neither. Raises TlsUnusable.

    TLS 1.2 and later, and HTTP/1.1 alone is agreed to: a WebSocket over HTTP/2 has no socket of its own.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        missing, other = ("TLS_KEY", "TLS_CERT") if key is None else ("TLS_CERT", "TLS_KEY")
        raise TlsUnusable(f"{missing} is not set, and {other} is: set both for https, or neither for http")
    for name, path in (("TLS_CERT", certificate), ("TLS_KEY", key)):
        _check_readable(name, path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate, key, password=_refuse_password)
    except (OSError, ValueError) as fault:  # ssl.SSLError is an OSError
        raise TlsUnusable(_why_not(certificate, key, fault)) from fault
    return context


class TlsTransport(Transport):
    """The server's side of one TLS connection over a non-blocking socket."""

    __slots__ = ("_ciphertext", "_incoming", "_is_ended", "_is_shut", "_outgoing", "_owed", "_settled", "_sock", "_tls")

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._ciphertext = b""  # what the kernel would not take yet
        self._owed = 0  # bytes of plain text in it that the caller still holds, and gives first next time
        self._settled = 0  # bytes before those, which the next `send` says are taken
        self._is_ended = self._is_shut = False

    def shake_hands(self) -> bool:
        """Take the next step of the handshake: call until True. Raises BlockingIOError until more is here, OSError."""
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._push()
            data = self._sock.recv(RECORD_BYTES_MAX)
            if not data:
                raise ConnectionResetError("the peer left during the handshake") from None
            self._incoming.write(data)
            return False
        except ssl.SSLError:
            self._push()  # the alert says why
            raise
        self._push()
        return True

    def fileno(self) -> int:
        """Of the socket below."""
        return self._sock.fileno()

    def recv(self, bytes_max: int, /) -> bytes:
        """As the port says; at most *bytes_max* and what a record lacked.

        After `shutdown` nobody wants to know what the peer says, only how much: it is not decrypted any more.
        """
        if self._is_ended:
            return b""
        if self._is_shut or not self._incoming.pending:  # else it came with the end of the handshake
            data = self._sock.recv(min(bytes_max, RECORD_BYTES_MAX))
            if not data or self._is_shut:
                return data
            self._incoming.write(data)
        try:
            plain = self._decrypted()
        finally:
            self._push()  # an alert, or the answer to a KeyUpdate
        if len(self._ciphertext) > UNREAD_BYTES_MAX:
            raise ConnectionAbortedError("the peer goes on asking for new keys and reads none of them")
        if not plain and not self._is_ended:
            raise BlockingIOError
        return plain

    def send(self, data: bytes | bytearray | memoryview, /) -> int:
        """As the port says."""
        view = memoryview(data)
        self._push()
        while not self._ciphertext and self._settled < len(view):
            record = view[self._settled : self._settled + RECORD_BYTES_MAX]
            self._tls.write(record)
            self._owed = len(record)
            self._push()
        taken, self._settled = self._settled, 0
        if not taken:
            raise BlockingIOError
        return taken

    def shutdown(self, how: int, /) -> None:
        """As the port says; the peer is told in TLS too (close_notify), as far as the kernel takes it."""
        if not self._is_shut:
            self._is_shut = True
            with suppress(ssl.SSLError):  # always: it wants the peer's word in turn, which nobody waits for
                self._tls.unwrap()
            with suppress(OSError):
                self._push()
        self._sock.shutdown(how)

    @property
    def begun_bytes(self) -> int:
        """As the port says: a record covers many frames, and the peer gets all of it or nothing."""
        return self._settled + self._owed

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """Of the socket below."""
        self._sock.setsockopt(level, option, value)

    def close(self) -> None:
        """Let go."""
        self._sock.close()

    def _decrypted(self) -> bytes:
        parts = []
        with suppress(ssl.SSLWantReadError):
            while self._incoming.pending:
                part = self._tls.read(RECORD_BYTES_MAX)
                if not part:
                    self._is_ended = True
                    break
                parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def _push(self) -> None:
        """Give the kernel what there is, and count what of the caller's is settled by that. Raises OSError."""
        if self._outgoing.pending:
            self._ciphertext += self._outgoing.read()
        before = len(self._ciphertext)
        with suppress(BlockingIOError):
            while self._ciphertext:
                self._ciphertext = self._ciphertext[self._sock.send(self._ciphertext) :]
        out = before - len(self._ciphertext)
        settled = max(min(out, self._owed - 1), 0) if self._ciphertext else self._owed
        self._owed -= settled
        self._settled += settled


def _check_readable(name: str, path: Path) -> None:
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as fault:
        why = os.strerror(fault.errno) if fault.errno else str(fault)
        raise TlsUnusable(
            f"{name} is {str(path)!r}, which cannot be read ({why}): give a PEM file that this user may read"
        ) from fault


def _refuse_password() -> str:
    """Otherwise OpenSSL would ask at the terminal."""
    raise ValueError("it is encrypted")


def _why_not(certificate: Path, key: Path, fault: Exception) -> str:
    reason = getattr(fault, "reason", None) or ""
    if "KEY_VALUES_MISMATCH" in reason:
        return f"TLS_KEY {str(key)!r} is not the key of TLS_CERT {str(certificate)!r}: give two that belong together"
    if isinstance(fault, ValueError):
        plain = f"openssl pkey -in {key} -out plain.pem"
        return f"TLS_KEY {str(key)!r} is encrypted: give one without a password, readable by this user alone ({plain})"
    if b"-----BEGIN CERTIFICATE-----" not in certificate.read_bytes():
        return f"TLS_CERT {str(certificate)!r} holds no certificate in PEM: give the chain, the server's own first"
    if b"PRIVATE KEY-----" not in key.read_bytes():
        return f"TLS_KEY {str(key)!r} holds no private key in PEM: give the one that the certificate was made with"
    return f"TLS_CERT {str(certificate)!r} and TLS_KEY {str(key)!r} cannot be used together ({reason or fault})"
