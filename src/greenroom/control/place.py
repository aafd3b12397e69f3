"""Where the control socket stands, and who may come in.

    <data directory>/control/     0700
        lock                      held with flock by the server: who holds it may replace the socket
        socket                    0600; a link when its path would be too long for the address of a socket

A socket that a killed process left behind is replaced by whoever gets the lock, which the kernel took from the dead.
Both sides of the door are guarded: the folder lets nobody in but its user and root, and of each caller the kernel is
asked who it is.
"""

import fcntl
import os
import socket
import stat
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import trio

from greenroom.storage.postgres.account import Account
from greenroom.storage.postgres.socket_folder import SOCKET_PATH_BYTES_MAX, make_folder, short_folder

SOCKET_NAME: Final = "socket"
BACKLOG: Final = 16
_LOCAL_PEERCRED: Final = 1  # of macOS, <sys/un.h>
_XUCRED_BYTES: Final = 76


class SocketTaken(Exception):
    """Another greenroom that lives serves the socket of this data directory."""


@contextmanager
def listening(directory: Path) -> Iterator[socket.socket]:
    """The listening socket of the data directory. It is gone afterwards.

    Raises: SocketTaken, DataDirectoryUnusable, OSError.
    """
    account = Account("", os.geteuid(), os.getegid())
    folder = make_folder(directory / "control", 0o700, account.uid, account.gid)
    folder.chmod(0o700)
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SocketTaken(f"another greenroom serves {folder / SOCKET_NAME}") from None
        named, path = folder / SOCKET_NAME, short_folder(folder, SOCKET_NAME, account) / SOCKET_NAME
        with _bound(path) as listener:
            if path != named:
                named.unlink(missing_ok=True)
                named.symlink_to(path)
            try:
                yield listener
            finally:
                named.unlink(missing_ok=True)
        if path != named:
            with suppress(OSError):
                path.parent.rmdir()
    finally:
        os.close(lock)


@contextmanager
def _bound(path: Path) -> Iterator[socket.socket]:
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(os.fspath(path))
        path.chmod(0o600)
        listener.listen(BACKLOG)
        try:
            yield listener
        finally:
            path.unlink(missing_ok=True)


def find_socket(directory: Path) -> Path:
    """Where the socket of the data directory is, if it is. Raises: PermissionError, FileNotFoundError."""
    path = directory / "control" / SOCKET_NAME
    if stat.S_ISLNK(path.lstat().st_mode):
        return path.readlink()
    if len(os.fsencode(path)) > SOCKET_PATH_BYTES_MAX:
        raise FileNotFoundError(path)
    return path


def may_come_in(connection: socket.socket | trio.socket.SocketType) -> bool:
    """Whether the process at the other end runs as our user or as root."""
    return _peer_uid(connection) in (0, os.geteuid())


def _peer_uid(connection: socket.socket | trio.socket.SocketType) -> int:
    if sys.platform == "darwin":
        credentials = connection.getsockopt(0, _LOCAL_PEERCRED, _XUCRED_BYTES)
        _, uid = struct.unpack_from("II", credentials)
    else:
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        _, uid, _ = struct.unpack("3i", credentials)
    return int(uid)
