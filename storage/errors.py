"""What can go wrong in storage, split by whose fault it is.

    StorageError
    ├── the operator's: say so, stop, and name the next step
    │   ├── DataDirectoryHeld       another greenroom runs on this data directory
    │   ├── DataDirectoryUnusable   it cannot be entered, written or trusted
    │   ├── DatabaseUserMissing     there is no system user that may run PostgreSQL
    │   ├── OtherPostgresMajor      the data was written by another major version of PostgreSQL
    │   ├── ServerTooOld            the server behind DATABASE_URL is older than PostgreSQL 14
    │   ├── DatabaseNotUtf8         its text is kept in an encoding that cannot hold everything
    │   ├── NotMigrated             migrations are pending, and it was not asked to apply them
    │   └── DatabaseIsNewer         a newer greenroom has migrated this database
    ├── ours
    │   ├── MigrationsBroken        the files are missing, misnamed, or misnumbered
    │   ├── MigrationChanged        a file that was applied is not the file we have
    │   └── MigrationFailed         PostgreSQL refused one; nothing of it was kept
    └── the world's: may pass by itself
        └── PostgresStartFailed     the embedded server did not start; the tail of its log is in the message

Every message says what happened, where, and what to do next.
"""


class StorageError(Exception):
    """Root of everything that storage raises."""


class DataDirectoryHeld(StorageError):
    """Another process holds the data directory; `pid` is its process id, or None when it is not known."""

    def __init__(self, directory: str, pid: int | None) -> None:
        self.pid = pid
        holder = f"the process {pid}" if pid is not None else "another process"
        super().__init__(
            f"{directory} is in use by {holder}: stop that greenroom first, or give this one its own GREENROOM_DATA_DIR"
        )


class DataDirectoryUnusable(StorageError):
    """The data directory cannot be made, entered, written or trusted."""


class DatabaseUserMissing(StorageError):
    """PostgreSQL refuses to run as root, and the user that should run it cannot be found or made."""


class OtherPostgresMajor(StorageError):
    """The cluster in the data directory belongs to another major version of PostgreSQL."""

    def __init__(self, cluster: str, found: str, ours: int) -> None:
        super().__init__(
            f"{cluster} was written by PostgreSQL {found}, and this greenroom brings {ours}: dump it with the "
            f"greenroom that wrote it and restore it here, or choose a new GREENROOM_DATA_DIR"
        )


class ServerTooOld(StorageError):
    """The server is older than what our SQL needs."""


class DatabaseNotUtf8(StorageError):
    """The database keeps its text in another encoding than UTF-8."""


class NotMigrated(StorageError):
    """The database lacks migrations that this greenroom needs."""


class DatabaseIsNewer(StorageError):
    """The database holds migrations that this greenroom does not know."""


class MigrationsBroken(StorageError):
    """The set of migration files is not a gapless, well-named sequence."""


class MigrationChanged(StorageError):
    """An applied migration differs from the file of its number."""


class MigrationFailed(StorageError):
    """A migration was refused by PostgreSQL and rolled back."""


class PostgresStartFailed(StorageError):
    """The embedded PostgreSQL could not be initialised or started."""
