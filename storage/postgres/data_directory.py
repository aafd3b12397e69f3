"""Where greenroom keeps what it keeps on this machine, and who may use it at a time.

The choice: `GREENROOM_DATA_DIR`; else `./.greenroom/` in a checkout of greenroom; else the user's data directory. When
the user that runs PostgreSQL could not enter the chosen place (as root, a parent without x for the system user), it is
`/var/lib/greenroom/<hash of the place>` instead. An explicit `GREENROOM_DATA_DIR` is always taken at its word.

The directory is 0700. For root it is 0711: PostgreSQL then runs as another user, who must pass through to the part that
belongs to it, and nothing can be listed; everything inside is 0600 or 0700. **We change the mode of no directory that
we did not make**: one that was there before is used as it is, or refused.

One process at a time: `flock` on the file `lock`, which holds the pid. The kernel drops it when the process dies.

PostgreSQL stands in the data directory too, unless its user cannot enter it (root, and a folder as mktemp -d makes it).
Then PostgreSQL alone stands in a folder below /var/lib/greenroom, and each names the other:

    <data directory>/                           /var/lib/greenroom/<random id>/
        lock, secrets, mail, server.log             lock
        postgres.location  ───────────────▶         data.location  ───▶ the data directory
                                                    postgres/           see cluster.py

Both are locked while it runs, and a data directory that is a copy is refused, so two never share one database. One that
was moved takes its database along. Nothing here removes a database: those that nobody names any more are told.
"""

import fcntl
import hashlib
import os
import stat
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from greenroom.storage.errors import DataDirectoryHeld, DataDirectoryUnusable
from greenroom.storage.postgres.account import Account, expected_account

SYSTEM_HOME = Path("/var/lib/greenroom")
LOCK_NAME = "lock"
LOCATION_NAME = "postgres.location"  # in the data directory: where its PostgreSQL stands, when that is elsewhere
OWNER_NAME = "data.location"  # in that place: the data directory that it belongs to
ABANDONED_SECONDS_MIN = 24 * 3600  # since the latest start; younger ones may belong to a folder that is being moved


@dataclass(frozen=True, slots=True)
class AbandonedPlace:
    """A place of PostgreSQL that its data directory does not name any more, mostly because that one is gone."""

    place: Path
    data_directory: Path


def choose_data_directory(
    configured: str | None,
    cwd: Path,
    *,
    environment: Mapping[str, str] = os.environ,
    database_user: Account | None = None,
    system_home: Path = SYSTEM_HOME,
) -> Path:
    """Choose the directory, as the module says; makes nothing. `configured` is the value of GREENROOM_DATA_DIR.

    Raises DataDirectoryUnusable when it would be in the home of a user who has none.
    """
    try:
        return _choose(configured, cwd, environment, database_user, system_home)
    except RuntimeError as error:  # of Path.home and expanduser
        raise DataDirectoryUnusable(
            f"there is no home directory to keep data in ({error}) say where, with GREENROOM_DATA_DIR"
        ) from None


def _choose(
    configured: str | None,
    cwd: Path,
    environment: Mapping[str, str],
    database_user: Account | None,
    system_home: Path,
) -> Path:
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


@contextmanager
def hold_postgres_place(directory: Path, account: Account, system_home: Path = SYSTEM_HOME) -> Iterator[Path]:
    """Hold the folder in which PostgreSQL of a held data directory stands: that directory, or a place of its own.

    A place is made when `account` cannot enter the directory, and is found again from then on. Raises DataDirectoryHeld
    with the pid of who holds the place, DataDirectoryUnusable when the directory is a copy, its place is gone, its
    database stands in a directory that was closed afterwards, or no place can be made. Does not wait.
    """
    if account.can_enter(directory) and not os.path.lexists(directory / LOCATION_NAME):
        yield directory
        return
    place = _find_place(directory, system_home) or _make_place(directory, account, system_home)
    _refuse_closed(account, place)
    _refuse_copy(directory, place)  # before the lock for the better message, below it because only there it stays true
    with hold_data_directory(place):
        _refuse_copy(directory, place)
        _name_each_other(directory, place)
        yield place


def find_abandoned_places(system_home: Path = SYSTEM_HOME) -> list[AbandonedPlace]:
    """Find the places that no data directory names, nobody holds, and nobody started for a day. Changes nothing."""
    found = []
    for owner_file in sorted(system_home.glob(f"*/{OWNER_NAME}")):
        place = owner_file.parent
        with suppress(OSError, DataDirectoryUnusable):  # what cannot be read is not called abandoned
            owner = _read_location(owner_file)
            old = time.time() - (place / LOCK_NAME).stat().st_mtime > ABANDONED_SECONDS_MIN
            if owner is not None and old and _read_location(owner / LOCATION_NAME) != place and not _is_held(place):
                found.append(AbandonedPlace(place, owner))
    return found


def make_data_directory(directory: Path) -> Path:
    """Make the directory when it is missing, check it when it is there, and return its resolved path."""
    resolved = directory.expanduser().resolve()
    try:
        for parent in reversed([part for part in resolved.parents if not part.exists()]):
            with suppress(FileExistsError):  # another greenroom starts at the same moment
                _make_directory(parent)
        _make_directory(resolved)
    except FileExistsError:
        _check_existing(resolved)
    except OSError as error:
        raise _unusable(resolved, f"cannot be made ({error.strerror}):") from error
    return resolved


def _make_directory(directory: Path) -> None:
    mode = 0o711 if os.geteuid() == 0 else 0o700
    directory.mkdir(mode)
    directory.chmod(mode)  # whatever the umask is


def _check_existing(directory: Path) -> None:
    status = directory.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise _unusable(directory, "is not a directory:")
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
        raise _unusable(directory, f"cannot be locked ({error.strerror}):") from error


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


def _is_held(directory: Path) -> bool:
    descriptor = os.open(directory / LOCK_NAME, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def postgres_place(directory: Path, system_home: Path = SYSTEM_HOME) -> Path:
    """Where the PostgreSQL of a data directory stands: in it, or elsewhere. Makes and holds nothing."""
    return _find_place(directory, system_home) or directory


def _find_place(directory: Path, system_home: Path) -> Path | None:
    place = _read_location(directory / LOCATION_NAME)
    if place is None:
        return None
    # Only what we made is believed: whoever can write the data directory must not send root to a folder of theirs.
    if place.parent != system_home.resolve() or not (place / OWNER_NAME).is_file():
        raise DataDirectoryUnusable(
            f"the database of {directory} stood in {place}, and is not there any more: bring that folder back, or "
            f"remove {directory / LOCATION_NAME} to begin with an empty one"
        )
    return place


def _make_place(directory: Path, account: Account, system_home: Path) -> Path:
    if account.uid == os.geteuid() or (directory / "postgres" / "cluster" / "data").exists():
        _refuse_closed(account, directory)  # an empty database elsewhere would hide the one that is here
    _refuse_closed(account, system_home.resolve())
    home = make_data_directory(system_home)
    status = home.stat()
    if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise _unusable(home, "can be written by others, so nothing in it can be trusted: remove it, or")
    place = make_data_directory(home / os.urandom(8).hex())
    _write_location(place / OWNER_NAME, directory)
    return place


def _refuse_closed(account: Account, directory: Path) -> None:
    if (closed := account.closed_part(directory)) is not None:
        raise DataDirectoryUnusable(
            f"the user {account.name}, who runs PostgreSQL, cannot enter {closed} (it has no x for that user), so the "
            f"database cannot stand in {directory}: chmod o+x {closed}, or choose another GREENROOM_DATA_DIR"
        )


def _refuse_copy(directory: Path, place: Path) -> None:
    owner = _read_location(place / OWNER_NAME)
    if owner in (None, directory) or _read_location(owner / LOCATION_NAME) != place or owner.samefile(directory):
        return
    raise DataDirectoryUnusable(
        f"{directory} is a copy of {owner}, whose database stands in {place}, and two cannot share it: remove "
        f"{directory / LOCATION_NAME} to begin with an empty database, or choose another GREENROOM_DATA_DIR"
    )


def _name_each_other(directory: Path, place: Path) -> None:
    # The place's side first: a power cut in between leaves a place that nobody names, never a name without a place.
    for file, target in ((place / OWNER_NAME, directory), (directory / LOCATION_NAME, place)):
        if _read_location(file) != target:
            _write_location(file, target)


def _read_location(file: Path) -> Path | None:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        what = f"has a {file.name} that cannot be read ({error.strerror}): remove it, or"
        raise _unusable(file.parent, what) from error
    with os.fdopen(descriptor, "rb") as content:
        return Path(os.fsdecode(content.read().removesuffix(b"\n")))


def _write_location(file: Path, target: Path) -> None:
    fresh = file.with_name(f"{file.name}.new")
    try:
        fresh.unlink(missing_ok=True)
        descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as content:
            content.write(os.fsencode(target) + b"\n")
            content.flush()
            os.fsync(descriptor)
        fresh.replace(file)
        _sync_folder(file.parent)
    except OSError as error:
        raise _unusable(file.parent, f"cannot be written ({error.strerror}): make room, or") from error


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_writable(directory: Path) -> bool:
    return os.access(directory, os.W_OK | os.X_OK)


def _name_of(directory: Path) -> str:
    try:
        return directory.owner()
    except KeyError:
        return str(directory.stat().st_uid)


def _unusable(directory: Path, what: str) -> DataDirectoryUnusable:
    return DataDirectoryUnusable(f"the data directory {directory} {what} choose another with GREENROOM_DATA_DIR")
