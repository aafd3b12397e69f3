"""`greenroom key`: API keys for programs."""

from collections.abc import Sequence
from typing import Annotated

import typer

from greenroom.commands.database import open_for_command
from greenroom.commands.failure import FAILED, TOLD_WRONGLY, run_or_exit, settings_or_exit, stop
from greenroom.settings import Settings
from greenroom.storage.postgres.api_keys import KEY_ROLES, KNOWN_SCOPES, ApiKey, ApiKeys

NAME_CHARACTERS_MAX = 100

app = typer.Typer(no_args_is_help=True, help="API keys for programs: create, list, revoke.")


@app.command()
def create(
    scope: Annotated[
        list[str] | None,
        typer.Option("--scope", help=f"What it may do; give it several times. Known: {', '.join(KNOWN_SCOPES)}."),
    ] = None,
    name: Annotated[str, typer.Option("--name", help="What it is for, as shown by `greenroom key list`.")] = "",
    role: Annotated[str, typer.Option("--role", help=f"One of: {', '.join(KEY_ROLES)}.")] = "service",
) -> None:
    """Make a key and print it. It is shown this once: only its hash is kept."""
    scopes = [part for given in scope or [] for part in given.replace(",", " ").split()]
    unknown = [part for part in scopes if part not in KNOWN_SCOPES]
    if unknown:
        raise stop(f"there is no scope {unknown[0]!r}; known are {', '.join(KNOWN_SCOPES)}", TOLD_WRONGLY)
    if len(name) > NAME_CHARACTERS_MAX or not name.isprintable():
        raise stop(f"--name has to be one line of at most {NAME_CHARACTERS_MAX} characters", TOLD_WRONGLY)
    if role not in KEY_ROLES:
        raise stop(f"there is no role {role!r} for keys; there are {', '.join(KEY_ROLES)}", TOLD_WRONGLY)
    typer.echo(run_or_exit(_create, settings_or_exit(), name, role, scopes))
    if not scopes and role != "admin":
        typer.echo(f"this key may do nothing yet: make one with --scope, of {', '.join(KNOWN_SCOPES)}", err=True)


@app.command("list")
def list_keys() -> None:
    """List all keys, the newest first. Secrets are not kept, so they cannot be shown."""
    keys: Sequence[ApiKey] = run_or_exit(_list, settings_or_exit())
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else "good"
        made = f"{key.created_at:%Y-%m-%d %H:%M}"
        typer.echo(f"{key.id}  {made}  {key.role}  {','.join(sorted(key.scopes)) or '-'}  {state}  {key.name}")
    if not keys:
        typer.echo("there are no keys: make one with `greenroom key create --scope act_as`")


@app.command()
def revoke(key: Annotated[str, typer.Argument(help="The id of the key, as `greenroom key list` shows it.")]) -> None:
    """End a key. Running servers refuse it within a second, and close the sockets that were opened with it."""
    key_id = key.removeprefix("grk_").partition("_")[0]
    if not run_or_exit(_revoke, settings_or_exit(), key_id):
        raise stop(f"there is no key {key_id} that is still good", FAILED)
    typer.echo(f"{key_id} is revoked")


async def _create(settings: Settings, name: str, role: str, scopes: list[str]) -> str:
    async with open_for_command(settings) as (postgres, _):
        _, token = await ApiKeys(postgres).create(name=name, role=role, scopes=scopes)
        return token


async def _list(settings: Settings) -> Sequence[ApiKey]:
    async with open_for_command(settings) as (postgres, _):
        return await ApiKeys(postgres).all()


async def _revoke(settings: Settings, key_id: str) -> bool:
    async with open_for_command(settings) as (postgres, _):
        return await ApiKeys(postgres).revoke(key_id)
