"""`greenroom migrate`: bring the database up to date. `serve` does so by itself unless told not to."""

from typing import Annotated

import typer

from greenroom.commands.failure import run_or_exit, settings_or_exit
from greenroom.compose_storage import open_database
from greenroom.settings import Settings
from greenroom.storage.postgres.migrate import apply_migrations, pending
from greenroom.this_machine import data_directory


def migrate(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be applied.")] = False,
) -> None:
    """Apply the migrations that the database lacks, in order, each in a transaction of its own."""
    names = run_or_exit(_migrate, settings_or_exit(), dry_run)
    for name in names:
        typer.echo(f"{'would apply' if dry_run else 'applied'} {name}")
    if not names:
        typer.echo("the database is up to date")


async def _migrate(settings: Settings, dry_run: bool) -> list[str]:
    async with open_database(settings, data_directory(settings)) as (postgres, _, _):
        if not dry_run:
            return await apply_migrations(postgres)
        connection = await postgres.connect()
        try:
            return [migration.file_name for migration in await pending(connection)]
        finally:
            connection.terminate()
