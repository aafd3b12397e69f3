"""Folders for Unix sockets: they belong to one user, and the path of a socket in them is never too long.

The address of a Unix socket holds about a hundred bytes. A socket whose own folder has a longer path stands in a folder
of a runtime directory, whose name follows from the long one, so that a later start finds the same folder again. A
folder that a stranger made under that name is refused.
"""

import hashlib
import os
import stat
import tempfile
from pathlib import Path

from greenroom.storage.errors import DataDirectoryUnusable
from greenroom.storage.postgres.account import Account

SOCKET_PATH_BYTES_MAX = 100  # sun_path holds 107 on Linux, 103 on macOS


def short_folder(folder: Path, socket_name: str, account: Account) -> Path:
    """Make the folder in which the socket is to stand: *folder* if the path fits, else a short one. 0700.

    Raises: DataDirectoryUnusable.
    """
    if len(os.fsencode(folder / socket_name)) <= SOCKET_PATH_BYTES_MAX:
        return make_folder(folder, 0o700, account.uid, account.gid)
    home = folder.parent
    name = f"greenroom-{account.uid}-{hashlib.sha256(os.fsencode(home)).hexdigest()[:12]}"
    for parent in _runtime_folders(account):
        if len(os.fsencode(parent / name / socket_name)) <= SOCKET_PATH_BYTES_MAX:
            return make_folder(parent / name, 0o700, account.uid, account.gid)
    raise DataDirectoryUnusable(
        f"the socket in {home} would have a path over {SOCKET_PATH_BYTES_MAX} bytes, and no runtime directory can "
        "hold it: choose a shorter GREENROOM_DATA_DIR"
    )


def make_folder(path: Path, mode: int, uid: int, gid: int) -> Path:
    """Make a folder with that mode and owner; one that is there must be a real folder of that owner.

    Raises: DataDirectoryUnusable.
    """
    try:
        path.mkdir(mode=0o700)
        path.chmod(mode)
    except FileExistsError:
        pass
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid not in (uid, os.geteuid()):
        raise DataDirectoryUnusable(f"{path} is not a folder of uid {uid}: somebody else made it; remove it")
    if status.st_uid != uid:
        os.chown(path, uid, gid)
    return path


def _runtime_folders(account: Account) -> list[Path]:
    found = []
    if configured := os.environ.get("XDG_RUNTIME_DIR"):
        status = Path(configured).stat() if Path(configured).is_dir() else None
        if status and status.st_uid == os.geteuid() and stat.S_IMODE(status.st_mode) == 0o700:
            found.append(Path(configured))
    if os.geteuid() == 0:
        found.append(Path("/run"))
    found += [Path(tempfile.gettempdir()), Path("/tmp")]  # noqa: S108 — the folder below it is ours, or refused
    return [parent for parent in found if parent.is_dir() and account.can_enter(parent)]
