"""The commands of `greenroom` and their names. Each is a module beside this one."""

from typing import Annotated

import typer

from greenroom import __version__
from greenroom.commands import asyncapi, attach, chat, config, drain, key, migrate, serve, token, top, tracing, tree
from greenroom.log import set_up_logging

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


app.command()(config.config)
app.command()(token.token)
app.command()(migrate.migrate)
app.add_typer(key.app, name="key")
app.command()(serve.serve)
app.command()(chat.chat)
app.command()(drain.drain)
app.command()(top.top)
app.command()(tree.tree)
app.command()(tracing.trace)
app.command()(attach.attach)
app.command()(asyncapi.asyncapi)
