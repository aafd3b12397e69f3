"""A secret that is made once and kept in the data directory.

The file appears whole or not at all: it is written under another name, synced, and linked into place, so that two who
start at once agree on one secret, and nobody ever reads an empty one (which would be a known key). 0600, no symbolic
link followed; one that others may read is refused, because it is no secret any more.
"""

import os
import secrets
import stat
from contextlib import suppress
from pathlib import Path
from typing import Final

SECRET_BYTES: Final = 32
NAME: Final = "jwt_secret"


class SecretUnusable(Exception):
    """The file is there, but what is in it cannot be a secret; the message says what to do."""


def jwt_secret(directory: Path) -> bytes:
    """The secret of this data directory for signing JWTs; made when it is missing. Raises SecretUnusable, OSError."""
    path = directory / NAME
    if not path.exists():
        _make(path)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        if stat.S_IMODE(os.fstat(descriptor).st_mode) & 0o077:
            raise SecretUnusable(f"{path} may be read by others: chmod 600 it, or remove it to get a new one")
        text = file.read(1024).strip()
    if len(text) < SECRET_BYTES:
        raise SecretUnusable(f"{path} holds no secret: remove it to get a new one")
    return text


def _make(path: Path) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_hex(SECRET_BYTES).encode())
            file.flush()
            os.fsync(descriptor)
        with suppress(FileExistsError):  # somebody was faster: theirs is the secret
            os.link(temporary, path)
    finally:
        temporary.unlink()
