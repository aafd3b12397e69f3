"""The commands of `greenroom` and their names. Each is a module beside this one.

Of them only the one that is asked for is imported: all take 0.7 s, `drain` or `config` alone a fifth of that. Help, the
version and a typo need none of them.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Annotated, Final

import typer

from greenroom import __version__


@dataclass(frozen=True, slots=True)
class _Command:
    """A module, with a function of the command's name or an `app` with commands of its own; and how that begins."""

    module: str
    sentence: str


# By name, in the order of `--help`.
COMMANDS: Final = {
    "config": _Command(
        "config", "Show every setting: value, origin, unit, default, limit, reason. Secrets are hidden."
    ),
    "token": _Command("token", "Print a JWT for a user, or with --session the value of a session cookie."),
    "migrate": _Command(
        "migrate", "Apply the migrations that the database lacks, in order, each in a transaction of its own."
    ),
    "key": _Command("key", "API keys for programs: create, list, revoke."),
    "serve": _Command("serve", "Run greenroom until Ctrl-C."),
    "chat": _Command(
        "chat",
        "Join a room and talk. Lines come from the keyboard, or from a pipe, of which every line is said as it is.",
    ),
    "drain": _Command(
        "drain",
        "Tell every socket to come back elsewhere, evenly over a window, and say so in /api/health. "
        "Ctrl-C gives it up.",
    ),
    "top": _Command("top", "Show the actors that stand out, until Ctrl-C. Without a terminal it looks once."),
    "tree": _Command(
        "tree",
        "Print the supervision tree of the running server: supervisors, services, kinds, and some actors of each kind.",
    ),
    "trace": _Command(
        "tracing",
        "Follow one actor for a while: the names of its commands, never what they hold. It is not woken by that.",
    ),
    "attach": _Command(
        "attach", "Type Python into the running server, in development. The lines may also come through a pipe."
    ),
    "asyncapi": _Command("asyncapi", "Print the WebSocket protocol as AsyncAPI 3.0: every frame of both sides."),
}

# What libraries read if it is there, structlog for tracebacks and jwt for algorithms that are refused here anyway: a
# tenth of what a start takes.
UNUSED: Final = ("rich", "cryptography")

app = typer.Typer(
    name="greenroom",
    help="An actor runtime on trio, and the messaging, e-mail and notification system that runs on it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # its tracebacks show local variables, secrets among them
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(f"greenroom {__version__}")
        raise typer.Exit


@app.callback()
def greenroom(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """An actor runtime on trio, and the messaging, e-mail and notification system that runs on it."""
    with _unused_unread():
        from greenroom.log import set_up_logging  # not above: help and the version need none of it
    # Standard output belongs to the answer: `TOKEN=$(greenroom token 17)`. `serve` sets this up again, by its settings.
    set_up_logging("warning", is_development=True)


def load(arguments: Sequence[str]) -> None:
    """Give `app` the command that *arguments* begin with; when it is none, all as help shows them, which cannot run."""
    name = next((argument for argument in arguments if argument != "--"), "")
    if name in COMMANDS:
        _load(name)
    else:
        for other, command in COMMANDS.items():
            app.command(other, help=command.sentence)(_shown)


def _load(name: str) -> None:
    with _unused_unread():
        module = import_module(f"greenroom.commands.{COMMANDS[name].module}")
    if hasattr(module, "app"):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(getattr(module, name))


@contextmanager
def _unused_unread() -> Iterator[None]:
    """What is imported here finds none of UNUSED, which is as if they were not installed."""
    unread = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(unread))  # type: ignore[arg-type]  # None makes an import fail as it should
    try:
        yield
    finally:
        for name in unread:
            del sys.modules[name]


def _shown() -> None:
    """Nothing runs a command that is only shown: what comes before its name ends the program."""
