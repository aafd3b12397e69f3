"""Where this machine's data is, and the secret in it: what a command needs that opens no database.

Apart from compose_storage.py, which takes a third of a second to be read.
"""

from pathlib import Path

from greenroom.secret_file import jwt_secret
from greenroom.settings import Settings
from greenroom.storage.postgres.data_directory import choose_data_directory, make_data_directory


def data_directory(settings: Settings) -> Path:
    """Where this machine's data is; made if it is missing. Raises: StorageError."""
    return make_data_directory(choose_data_directory(settings.greenroom_data_dir, Path.cwd()))


def signing_secret(settings: Settings, directory: Path) -> bytes:
    """The secret of JWT_SECRET, or one that was made once for this data directory. Raises: SecretUnusable."""
    if settings.jwt_secret is not None:
        return settings.jwt_secret.get_secret_value().encode()
    return jwt_secret(directory)
