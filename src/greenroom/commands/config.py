"""`greenroom config`: every setting, what it is, where that comes from, and why."""

import json
import os
from dataclasses import asdict
from typing import Annotated

import typer

from greenroom.commands.failure import settings_or_exit
from greenroom.settings_table import as_lines, as_markdown, table


def config(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for programs.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="As the table of docs/operating.md.")] = False,
) -> None:
    """Show every setting: value, origin, unit, default, limit, reason. Secrets are hidden.

    Ends with 2 when a setting cannot be used, and says which.
    """
    rows = table(settings_or_exit(), os.environ)
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=2, ensure_ascii=False))
    elif markdown:
        typer.echo(as_markdown(rows), nl=False)
    else:
        typer.echo("\n".join(as_lines(rows)))
