"""`greenroom token`: a JWT or a session for a user, without an auth service. For development, tests and operators."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import jwt
import typer

from greenroom.commands.failure import TOLD_WRONGLY, run_or_exit, settings_or_exit, stop
from greenroom.http.claims import subject_of
from greenroom.http.errors import ApiError
from greenroom.secret_file import SecretUnusable
from greenroom.settings import Settings
from greenroom.storage.errors import StorageError
from greenroom.this_machine import data_directory, signing_secret

HOURS_DEFAULT = 12.0
HOURS_MAX = 24.0 * 365


@dataclass(frozen=True, slots=True)
class _Wish:
    sub: str
    claims: dict[str, str]
    seconds: int


def token(
    user: Annotated[
        str, typer.Argument(help="The subject: a number below 2^40 is the user's id, else an external id.")
    ],
    name: Annotated[str, typer.Option("--name", help="What to call the user.")] = "",
    email: Annotated[str, typer.Option("--email", help="The user's address.")] = "",
    role: Annotated[str, typer.Option("--role", help="Such as creator, investor, production or admin.")] = "",
    hours: Annotated[float, typer.Option("--hours", help="How long it is good.")] = HOURS_DEFAULT,
    session: Annotated[
        bool, typer.Option("--session", help="Make a session, and print the value of the cookie pitchey-session.")
    ] = False,
) -> None:
    """Print a JWT for a user, or with --session the value of a session cookie.

    The JWT is signed with JWT_SECRET, or with the secret of the data directory. The user is made at its first use.
    """
    if not 0 < hours <= HOURS_MAX:
        raise stop(f"--hours is {hours:g}: between 0 and {HOURS_MAX:g} is possible", TOLD_WRONGLY)
    try:
        subject_of(user)
    except ApiError as fault:
        raise stop(f"{user!r} cannot be a user: {fault.message}", TOLD_WRONGLY) from None
    given = {"name": name, "email": email, "role": role}
    wish = _Wish(user, {key: value for key, value in given.items() if value}, int(hours * 3600))
    settings = settings_or_exit()
    if session:
        from greenroom.commands.session_cookie import make_session  # not above: it takes long to be read

        typer.echo(run_or_exit(make_session, settings, wish.sub, wish.claims, wish.seconds))
    else:
        typer.echo(_make_jwt(settings, wish))


def _make_jwt(settings: Settings, wish: _Wish) -> str:
    try:
        directory = data_directory(settings) if settings.jwt_secret is None else Path()
        secret = signing_secret(settings, directory)
    except (StorageError, SecretUnusable, OSError) as fault:
        raise stop(str(fault), 1) from None
    now = int(time.time())
    claims = {"sub": wish.sub, "iat": now, "exp": now + wish.seconds, **wish.claims}
    return jwt.encode(claims, secret, algorithm="HS256")
