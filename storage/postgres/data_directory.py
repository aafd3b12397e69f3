"""Where greenroom keeps what it keeps on this machine, and who may use it at a time.

The choice: `GREENROOM_DATA_DIR`; else `./.greenroom/` in a checkout of greenroom; else the user's data directory. When
the user that runs PostgreSQL could not enter the chosen place (as root, a parent without x for the system user), it is
`/var/lib/greenroom/<hash of the place>` instead, but never against an explicit `GREENROOM_DATA_DIR`.

The directory is 0700. For root it is 0711: PostgreSQL then runs as another user, who must pass through to the part that
belongs to it, and nothing can be listed; everything inside is 0600 or 0700. **We change the mode of no directory that
we did not make**: one that was there before is used as it is, or refused.

One process at a time: `flock` on the file `lock`, which holds the pid. The kernel drops it when the process dies.
"""

import fcntl
import hashlib
import os
import stat
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from greenroom.storage.errors import DataDirectoryHeld, DataDirectoryUnusable
from greenroom.storage.postgres.account import Account, expected_account

SYSTEM_HOME = Path("/var/lib/greenroom")
LOCK_NAME = "lock"


def choose_data_directory(
    configured: str | None,
    cwd: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    database_user: Account | None = None,
    system_home: Path = SYSTEM_HOME,
) -> Path:
    """Choose the directory, as the module says; makes nothing. `configured` is the value of GREENROOM_DATA_DIR."""
    if configured:
        return (cwd / Path(configured).expanduser()).resolve()
    checkout = is_checkout(cwd) and _is_writable(cwd)
    candidate = (cwd / ".greenroom" if checkout else user_data_directory(environment)).resolve()
    if (database_user or expected_account()).can_enter(candidate):
        return candidate
    place = cwd.resolve() if checkout else candidate
    return system_home / hashlib.sha256(os.fsencode(place)).hexdigest()[:16]


def is_checkout(directory: Path) -> bool:
    """Say whether the directory holds a pyproject.toml of greenroom itself."""
    try:
        project = tomllib.loads((directory / "pyproject.toml").read_text("utf-8"))
    except (OSError, ValueError):
        return False
    return bool(project.get("project", {}).get("name") == "greenroom")


def user_data_directory(environment: Mapping[str, str]) -> Path:
    """`$XDG_DATA_HOME/greenroom`; a relative or missing value means `~/.local/share` (XDG base directories, §3)."""
    home = Path(environment.get("XDG_DATA_HOME", ""))
    return (home if home.is_absolute() else Path.home() / ".local" / "share") / "greenroom"


@contextmanager
def hold_data_directory(directory: Path) -> Iterator[Path]:
    """Make the directory when it is missing, and hold it alone. Yields its resolved path.

    Raises DataDirectoryHeld with the pid of the holder (also when that is ourselves), DataDirectoryUnusable when the
    directory cannot be made, written or trusted. Does not wait.
    """
    resolved = make_data_directory(directory)
    descriptor = _open_lock(resolved)
    try:
        _lock(descriptor, resolved)
        yield resolved
    finally:
        os.close(descriptor)


def make_data_directory(directory: Path) -> Path:
    """Make the directory when it is missing, check it when it is there, and return its resolved path."""
    resolved = directory.expanduser().resolve()
    try:
        for parent in reversed([part for part in resolved.parents if not part.exists()]):
            _make_directory(parent)
        _make_directory(resolved)
    except FileExistsError:
        _check_existing(resolved)
    except OSError as error:
        raise _unusable(resolved, f"cannot be made: {error.strerror}") from error
    return resolved


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700)
    if os.geteuid() == 0:
        directory.chmod(0o711)


def _check_existing(directory: Path) -> None:
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(directory, "is not a directory")
    if status.st_uid not in (os.geteuid(), expected_account().uid):
        raise _unusable(directory, f"belongs to the user {_name_of(directory)}: run greenroom as that user, or")
    if status.st_mode & stat.S_IWOTH:
        raise _unusable(directory, "can be written by everyone, so nothing in it can be trusted:")
    if not _is_writable(directory):
        raise _unusable(directory, "cannot be written: make it writable, or")


def _open_lock(directory: Path) -> int:
    try:
        return os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(directory, f"cannot be locked: {error.strerror}:") from error


def _lock(descriptor: int, directory: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise DataDirectoryHeld(str(directory), _holder(descriptor)) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)


def _holder(descriptor: int) -> int | None:
    written = os.pread(descriptor, 32, 0).strip()
    return int(written) if written.isdigit() else None


def _is_writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)


def _name_of(directory: Path) -> str:
    try:
        return directory.owner()
    except KeyError:
        return str(directory.stat().st_uid)


def _unusable(directory: Path, what: str) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(f"the data directory {directory} {what} choose another with GREENROOM_DATA_DIR")
