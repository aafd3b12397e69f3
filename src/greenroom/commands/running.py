"""The way from a command to the greenroom that runs with the same data directory."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from greenroom.commands.failure import FAILED, settings_or_exit, stop
from greenroom.control.client import Running, connect
from greenroom.control.errors import ControlError
from greenroom.storage.errors import StorageError
from greenroom.storage.postgres.data_directory import choose_data_directory


@contextmanager
def running_or_exit() -> Iterator[Running]:
    """Reach it. What it refuses, that it has gone or that none runs ends the command with a sentence; Ctrl-C with 130.

    It makes no data directory: where there is none, nothing runs.
    """
    settings = settings_or_exit()
    try:
        with connect(choose_data_directory(settings.greenroom_data_dir, Path.cwd())) as running:
            yield running
    except (ControlError, StorageError) as fault:
        raise stop(str(fault), FAILED) from None
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
