"""How a command says that it could not do what it was told: one sentence, and an exit code.

0 done · 1 it failed (the world's fault: storage, disk, another process) · 2 told wrongly (an option, a setting)
"""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
import typer

from greenroom.commands.harmless import harmless
from greenroom.commands.standard_output import OutputLost
from greenroom.secret_file import SecretUnusable
from greenroom.settings import Settings, SettingsError, load_settings
from greenroom.settings_table import shown
from greenroom.storage.errors import StorageError

FAILED = 1
TOLD_WRONGLY = 2
T = TypeVar("T")

# What PostgreSQL refuses and an operator can mend, by the beginning of its SQLSTATE (PostgreSQL manual, appendix A).
# Every other code is a fault of ours, and wants its traceback.
REFUSALS = {
    "28": "name a user whom it lets in, with the right password",
    "3D": "make that database, or name another",
    "42501": "name a user who may create tables, such as the owner of the database",
    "25006": "name a database that can be written, not a standby",
    "42P01": "the database is not up to date, run `greenroom migrate`",
    "42703": "the database is not up to date, run `greenroom migrate`",
}


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
        known = only(fault)
        if isinstance(known, OutputLost):
            raise known from None
        if isinstance(known, CommandFailed):
            raise stop(str(known), known.code) from None
        if isinstance(known, KeyboardInterrupt):
            raise typer.Exit(130) from None
        sentence = _sentence(known, next((given for given in args if isinstance(given, Settings)), None))
        if sentence is None:
            raise
        raise stop(sentence, FAILED) from None


def stop(message: str, code: int) -> typer.Exit:
    """Print *message* to standard error; raise what is returned. Parts of it may be of somebody else."""
    typer.echo(f"greenroom: {harmless(message)}", err=True)
    return typer.Exit(code)


def _sentence(fault: BaseException, settings: Settings | None) -> str | None:
    """What to tell the user. None: nothing that the user can do something about."""
    if isinstance(fault, StorageError | SecretUnusable | SettingsError):
        return str(fault)
    from greenroom.runtime import StorageUnavailable  # not above: most commands read nothing of the runtime

    address = settings.database_url if settings is not None else None
    where = f" (DATABASE_URL is {shown('database_url', address)})" if address is not None else ""
    if isinstance(fault, StorageUnavailable):
        return f"{fault}{where}: does that server run, and may it be reached from here?" if where else str(fault)
    sqlstate = str(getattr(fault, "sqlstate", ""))  # an error of the driver, which is met in storage/ alone
    advice = next((advice for beginning, advice in REFUSALS.items() if sqlstate.startswith(beginning)), None)
    return None if advice is None else f"PostgreSQL refuses: {fault}{where}: {advice}"


def only(fault: BaseException) -> BaseException:
    """What is in groups alone; of a lost output, which every task that writes meets, one."""
    if isinstance(fault, BaseExceptionGroup) and fault.split(OutputLost)[1] is None:
        return only(fault.exceptions[0])
    while isinstance(fault, BaseExceptionGroup) and len(fault.exceptions) == 1:
        fault = fault.exceptions[0]
    return fault
