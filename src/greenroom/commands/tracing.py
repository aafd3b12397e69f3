"""`greenroom trace`: what one actor of the running server is told, command by command, and what becomes of it."""

import json
from typing import Annotated, Any

import typer

from greenroom.commands.harmless import harmless
from greenroom.commands.running import running_or_exit
from greenroom.commands.table import span


def trace(
    address: Annotated[str, typer.Argument(help="Of the actor, such as room/42.")],
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=3600, help="For how long.")] = 30.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print each as a line of JSON.")] = False,
) -> None:
    """Follow one actor for a while: the names of its commands, never what they hold. It is not woken by that.

    For each: how long it waited, how long its turn took, how long its outputs waited for storage, and the outcome.
    """
    with running_or_exit() as running:
        has_heard = False
        for entry in running.follow("trace", address=address, seconds=seconds):
            has_heard = True
            typer.echo(json.dumps(entry) if as_json else line_of(entry))
        if not has_heard and not as_json:
            typer.echo(f"{harmless(address)} was told nothing for {span(seconds)}")


def line_of(entry: dict[str, Any]) -> str:
    """One command."""
    senders = f"  from {' > '.join(entry['senders'])}" if entry["senders"] else ""
    again = f"  redone {entry['attempts']} times" if entry["attempts"] else ""
    wait, turn, commit = (span(entry[f"{part}_seconds"]) for part in ("wait", "turn", "commit"))
    return harmless(
        f"{entry['number']:>6}  {entry['command']:<24}  waited {wait:>8}  turn {turn:>8}  commit {commit:>8}  "
        f"{entry['outcome']}{again}{senders}"
    )
