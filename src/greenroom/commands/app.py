"""The commands of `greenroom` and their names. Each is a module beside this one.

Of them only the one that is asked for is imported: all take 0.7 s, `drain` or `config` alone a fifth of that.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from greenroom import __version__
from greenroom.log import set_up_logging

# By name, in the order of `--help`: the module, with a function of that name, or an `app` with commands of its own.
COMMANDS: Final = {
    "config": "config",
    "token": "token",
    "migrate": "migrate",
    "key": "key",
    "serve": "serve",
    "chat": "chat",
    "drain": "drain",
    "top": "top",
    "tree": "tree",
    "trace": "tracing",
    "attach": "attach",
    "asyncapi": "asyncapi",
}

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
    # Standard output belongs to the answer: `TOKEN=$(greenroom token 17)`. `serve` sets this up again, by its settings.
    set_up_logging("warning", is_development=True)


def load(arguments: Sequence[str]) -> None:
    """Give `app` the command that *arguments* begin with, or all of them when it is none: for help, and for a typo."""
    for name in arguments[:1] if arguments and arguments[0] in COMMANDS else COMMANDS:
        module = import_module(f"greenroom.commands.{COMMANDS[name]}")
        if hasattr(module, "app"):
            app.add_typer(module.app, name=name)
        else:
            app.command(name)(getattr(module, name))
