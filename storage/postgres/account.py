"""Who runs the embedded PostgreSQL.

PostgreSQL refuses to run as root. An ordinary user runs it as itself; root runs it as the system user `greenroom`,
which is made when it is missing: no password, no shell, no home. Nothing here changes the mode of a directory.
"""

import os
import pwd
import shutil
import stat
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from greenroom.storage.errors import DatabaseUserMissing

SYSTEM_USER = "greenroom"
_USERADD_ATTEMPTS = 5  # useradd fails at once while another process holds the lock of /etc/passwd
_USERADD_PAUSE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Account:
    """A user of the operating system."""

    name: str
    uid: int
    gid: int

    def child_options(self) -> dict[str, object]:
        """What subprocess needs to run a child as this user; nothing when we are that user."""
        if self.uid == os.geteuid():
            return {}
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    def can_enter(self, directory: Path) -> bool:
        """Say whether this user has x on the directory and its parents; parts that do not exist yet count as open."""
        return all(self._has_x(part) for part in (directory, *directory.parents) if part.exists())

    def closed_part(self, directory: Path) -> Path | None:
        """The outermost existing part of the path that this user cannot enter."""
        parts = [directory, *directory.parents]
        return next((part for part in reversed(parts) if part.exists() and not self._has_x(part)), None)

    def _has_x(self, part: Path) -> bool:
        # Mode bits only: an access list that opens more than they say sends us to another directory, which is safe.
        status = part.stat()
        if self.uid == 0:
            return True
        if status.st_uid == self.uid:
            return bool(status.st_mode & stat.S_IXUSR)
        if status.st_gid == self.gid:
            return bool(status.st_mode & stat.S_IXGRP)
        return bool(status.st_mode & stat.S_IXOTH)


def ourselves() -> Account:
    """The user that this process runs as. Raises DatabaseUserMissing when the uid has no name."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise DatabaseUserMissing(
            f"uid {uid} has no name in /etc/passwd, and PostgreSQL's peer authentication needs one: "
            "add an entry for it, run greenroom as a named user, or set DATABASE_URL"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def expected_account() -> Account:
    """Who would run PostgreSQL, without making anything: for root, a stranger while the system user is missing."""
    if os.geteuid() != 0:
        return ourselves()
    return _system_account() or Account(SYSTEM_USER, uid=-1, gid=-1)


def ensure_account() -> Account:
    """The user that runs PostgreSQL; as root, make it when it is missing. Blocks: call it in a thread."""
    if os.geteuid() != 0:
        return ourselves()
    return _system_account() or _make_system_account()


def _system_account() -> Account | None:
    try:
        entry = pwd.getpwnam(SYSTEM_USER)
    except KeyError:
        return None
    if entry.pw_uid == 0:
        raise DatabaseUserMissing(
            f"the user {SYSTEM_USER} is root by another name (uid 0): PostgreSQL refuses to run so"
        )
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid)


def _make_system_account() -> Account:
    useradd = shutil.which("useradd", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if useradd is None:
        raise DatabaseUserMissing(
            f"PostgreSQL does not run as root, there is no user {SYSTEM_USER}, and no useradd to make it: make it "
            f"yourself (adduser -S -D -H {SYSTEM_USER}), run greenroom as an ordinary user, or set DATABASE_URL"
        )
    # fmt: off
    command = [useradd, "--system", "--user-group", "--no-create-home", "--home-dir", "/nonexistent",
               "--shell", "/usr/sbin/nologin", SYSTEM_USER]
    # fmt: on
    complaint = ""
    for _ in range(_USERADD_ATTEMPTS):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if (account := _system_account()) is not None:
            return account
        complaint = done.stderr.strip()
        time.sleep(_USERADD_PAUSE_SECONDS)
    raise DatabaseUserMissing(
        f"PostgreSQL does not run as root, and the user {SYSTEM_USER} could not be made ({complaint}): "
        "make it yourself, run greenroom as an ordinary user, or set DATABASE_URL"
    )
