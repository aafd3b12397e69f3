"""How a command says that it could not do what it was told: one sentence, and an exit code.

0 done · 1 it failed (the world's fault: storage, disk, another process) · 2 told wrongly (an option, a setting)
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import typer

from greenroom.runtime import StorageUnavailable
from greenroom.secret_file import SecretUnusable
from greenroom.settings import Settings, SettingsError, load_settings
from greenroom.storage.errors import StorageError

FAILED = 1
TOLD_WRONGLY = 2
T = TypeVar("T")


class CommandFailed(Exception):
    """What the user should read; no traceback."""

    def __init__(self, message: str, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def settings_or_exit() -> Settings:
    """The settings of the environment; a bad one ends the program with its text."""
    try:
        return load_settings()
    except SettingsError as fault:
        raise stop(str(fault), TOLD_WRONGLY) from None


def run_or_exit(fn: Callable[..., Awaitable[T]], *args: object) -> T:
    """Run *fn* under trio; faults that have a sentence for the user end the program with it."""
    try:
        return trio.run(fn, *args)
    except BaseException as fault:
        known = _only(fault)
        if isinstance(known, CommandFailed):
            raise stop(str(known), known.code) from None
        if isinstance(known, StorageError | StorageUnavailable | SecretUnusable):
            raise stop(str(known), FAILED) from None
        if isinstance(known, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise


def stop(message: str, code: int) -> typer.Exit:
    """Print *message* to standard error; raise what is returned."""
    typer.echo(f"greenroom: {message}", err=True)
    return typer.Exit(code)


def _only(fault: BaseException) -> BaseException:
    while isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
        fault = fault.exceptions[0]
    return fault
