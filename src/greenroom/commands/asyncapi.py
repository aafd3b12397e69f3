"""`greenroom asyncapi`: the WebSocket protocol as a document that programs read."""

import json
from pathlib import Path
from typing import Annotated

import typer

from greenroom.commands.failure import FAILED, stop

DOCUMENT = "asyncapi.json"
PAGE = "wire-protocol.md"


def asyncapi(
    write: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help=f"Write it and the tables of {PAGE} there."),
    ] = None,
) -> None:
    """Print the WebSocket protocol as AsyncAPI 3.0: every frame of both sides."""
    from greenroom.http.asyncapi import document  # it takes a while to be read
    from greenroom.http.frame_tables import in_page

    text = json.dumps(document(), indent=1, ensure_ascii=False) + "\n"
    if write is None:
        typer.echo(text, nl=False)
        return
    page = write / PAGE
    try:
        made = in_page(page.read_text("utf-8"))
        (write / DOCUMENT).write_text(text, "utf-8")
        page.write_text(made, "utf-8")
    except OSError as error:
        raise stop(f"{error.filename}: {error.strerror}", FAILED) from None
