"""The listening sockets: taken from outside when given, bound here otherwise.

A socket from outside follows systemd's convention (sd_listen_fds(3)): descriptors from 3 upward, their number in
LISTEN_FDS, meant for us only if LISTEN_PID is absent or is our own process id. Such a socket outlives this process, so
the port stays open across a restart: clients that connect meanwhile wait in the backlog.

Every option is set on the *listening* socket, because Linux copies it to each accepted one (measured, and asserted in
the tests): no system call per connection. A send buffer of 64 KiB, because a client that reads nothing otherwise hides
3.9 MB in the kernel before we see EAGAIN; a user timeout of 20 s, because without it a send to a vanished peer is kept
for about 15 minutes; no Nagle delay.

Closing is the caller's: whoever opened the listeners closes them, after the server has stopped accepting.
"""

import errno
import os
import socket
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import structlog
import trio

log = structlog.get_logger()

BACKLOG_CONNECTIONS: Final = 4096
SEND_BUFFER_BYTES: Final = 64 * 1024
USER_TIMEOUT_SECONDS: Final = 20
FIRST_INHERITED_DESCRIPTOR: Final = 3
INHERITED_SOCKETS_MAX: Final = 16
ANY_PORT_TRIES: Final = 5


class ListenError(Exception):
    """No listening socket could be had: the message says why and what to do."""


class _PortTaken(ListenError):
    """Somebody else listens there."""


def inherited_descriptors(environment: Mapping[str, str], process_id: int) -> list[int]:
    """Return the descriptors of the listening sockets that were given to this process; empty if none were.

    Raises ListenError if LISTEN_FDS or LISTEN_PID is not a number, or names more sockets than INHERITED_SOCKETS_MAX.
    """
    if "LISTEN_FDS" not in environment:
        return []
    count = _whole_number(environment, "LISTEN_FDS")
    if count > INHERITED_SOCKETS_MAX:
        raise ListenError(f"LISTEN_FDS is {count}: at most {INHERITED_SOCKETS_MAX} listening sockets are taken")
    if "LISTEN_PID" in environment and _whole_number(environment, "LISTEN_PID") != process_id:
        return []
    return list(range(FIRST_INHERITED_DESCRIPTOR, FIRST_INHERITED_DESCRIPTOR + count))


async def open_listeners(host: str, port: int, *, inherited: Sequence[int] = ()) -> list[trio.SocketListener]:
    """Return at least one listener: over the descriptors in `inherited` if there are any, else bound to host and port.

    An empty host means every interface. Port 0 lets the kernel choose (one port for all families of the host).
    Raises ListenError; then nothing stays open except descriptors that were given from outside.
    """
    if inherited:
        await trio.lowlevel.checkpoint()
        return [_inherit(descriptor) for descriptor in inherited]
    try:
        candidates = await trio.socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP, flags=socket.AI_PASSIVE
        )
    except OSError as fault:
        raise ListenError(f"HOST {host!r} does not resolve ({fault}): use an address such as 127.0.0.1") from fault
    addresses = [(family, address) for family, _, _, _, address in candidates]
    for _ in range(0 if port else ANY_PORT_TRIES - 1):
        with suppress(_PortTaken):  # the kernel chose it for the first address, and somebody has it at the second
            return _bind_all(host, port, addresses)
    return _bind_all(host, port, addresses)


def close_listeners(listeners: Sequence[trio.SocketListener]) -> None:
    """Close the sockets at once; new connections are refused unless a copy of the socket lives outside."""
    for listener in listeners:
        listener.socket.close()


def _whole_number(environment: Mapping[str, str], name: str) -> int:
    text = environment[name]
    if not (text.isascii() and text.isdigit()):
        raise ListenError(f"{name} is {text!r}: a whole number is needed, such as {name}=1")
    return int(text)


def _inherit(descriptor: int) -> trio.SocketListener:
    try:
        sock = socket.socket(fileno=descriptor)
    except OSError as fault:
        raise ListenError(
            f"LISTEN_FDS names descriptor {descriptor}, which is not an open socket ({fault}): "
            "unset LISTEN_FDS, or start us from what holds the socket"
        ) from fault
    if not _is_listening_tcp(sock):
        sock.detach()
        raise ListenError(f"LISTEN_FDS names descriptor {descriptor}, which is not a listening TCP socket")
    # Not for our children: an embedded PostgreSQL that inherited the port would keep it open after us.
    sock.set_inheritable(False)
    _set_options(sock)
    log.info("listener.inherited", descriptor=descriptor, address=sock.getsockname())
    return _as_listener(sock)


def _is_listening_tcp(sock: socket.socket) -> bool:
    return (
        sock.family in {socket.AF_INET, socket.AF_INET6}
        and sock.type == socket.SOCK_STREAM
        and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))
    )


_Address = tuple[str | int | bytes, ...]  # as getaddrinfo gives it


def _bind_all(
    host: str, port: int, candidates: Sequence[tuple[socket.AddressFamily, _Address]]
) -> list[trio.SocketListener]:
    bound: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in candidates:
            wanted = bound[0].getsockname()[1] if bound else port
            try:
                bound.append(_bind(family, (address[0], wanted, *address[2:])))
            except OSError as fault:
                if fault.errno not in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}:
                    raise
                missing = fault  # "localhost" names ::1 on machines that have no IPv6
        if not bound:
            raise missing or OSError(errno.EADDRNOTAVAIL, "no address")
    except OSError as fault:
        for sock in bound:
            sock.close()
        refused = _PortTaken if fault.errno == errno.EADDRINUSE else ListenError
        raise refused(_why_not(host, port, fault)) from fault
    return [_as_listener(sock) for sock in bound]


def _bind(family: socket.AddressFamily, address: _Address) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Without it a restart within a minute fails on connections in TIME_WAIT.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        _set_options(sock)
        sock.bind(address)
        sock.listen(BACKLOG_CONNECTIONS)
    except BaseException:
        sock.close()
        raise
    return sock


def _set_options(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux only
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, USER_TIMEOUT_SECONDS * 1000)


def _as_listener(sock: socket.socket) -> trio.SocketListener:
    sock.setblocking(False)
    return trio.SocketListener(trio.socket.from_stdlib_socket(sock))


def _why_not(host: str, port: int, fault: OSError) -> str:
    where = f"{host or '*'}:{port}"
    if fault.errno == errno.EADDRINUSE:
        holder = _holder_of(port)
        return f"{where} is in use{f' by {holder}' if holder else ''}: stop that program, or choose another PORT"
    if fault.errno == errno.EACCES:
        return f"{where} may not be opened by this user: ports under 1024 need a privilege; choose another PORT"
    if fault.errno == errno.EADDRNOTAVAIL:
        return f"{where} is not an address of this machine: set HOST to 127.0.0.1, or to 0.0.0.0 for every interface"
    return f"{where} cannot be listened on: {fault}"


def _holder_of(port: int) -> str | None:
    """Name the process that listens on the port, where /proc lets us see it; a courtesy, so it never fails."""
    try:
        inodes = {f"socket:[{inode}]" for inode in _listening_inodes(port)}
        for link in Path("/proc").glob("[0-9]*/fd/*"):
            if _points_into(link, inodes):
                process = link.parent.parent
                return f"process {process.name} ({(process / 'comm').read_text().strip()})"
    except OSError:
        pass
    return None


def _listening_inodes(port: int) -> set[str]:
    found: set[str] = set()
    for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")):
        if table.exists():
            for row in table.read_text().splitlines()[1:]:
                fields = row.split()
                if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:  # 0A is TCP_LISTEN
                    found.add(fields[9])
    return found


def _points_into(link: Path, targets: set[str]) -> bool:
    try:
        return os.readlink(link) in targets
    except OSError:
        return False
