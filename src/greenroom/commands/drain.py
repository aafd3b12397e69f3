"""`greenroom drain`: move every socket of the running server away, in even slots, and show how far it is."""

import enum
import json
import sys
from typing import Annotated, Any

import typer

from greenroom.commands.running import running_or_exit
from greenroom.commands.table import counted, span

BAR_CHARACTERS = 30
REST_OF_LINE = "\x1b[K"


class Reason(enum.StrEnum):
    """What clients are told."""

    DRAIN = "drain"
    REBALANCE = "rebalance"
    UPGRADE = "upgrade"


def drain(
    window: Annotated[
        float, typer.Option("--window", min=0, max=3600, help="Seconds over which the sockets are moved.")
    ] = 30.0,
    reason: Annotated[Reason, typer.Option("--reason", help="What v1 clients are told it is for.")] = Reason.DRAIN,
    serves_again: Annotated[bool, typer.Option("--undo", help="Serve as before a drain that is over.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print how far it is as lines of JSON.")] = False,
) -> None:
    """Tell every socket to come back elsewhere, evenly over a window, and say so in /api/health. Ctrl-C gives it up.

    The door stays open: where there is nobody else to go to, clients come back here. It stays drained, for a balancer,
    until it is stopped or told --undo. To restart a greenroom that is alone, just stop it: that moves its sockets too.
    """
    with running_or_exit() as running:
        if serves_again:
            _show(running.ask("serve"), as_json=as_json)
            return
        try:
            for state in running.follow("drain", window_seconds=window, reason=reason.value):
                _show(state, as_json=as_json)
        except KeyboardInterrupt:
            running.cancel()
            _show(running.ask("serve"), as_json=as_json)
            raise typer.Exit(130) from None


def _show(state: dict[str, Any], *, as_json: bool) -> None:
    """One line: in a terminal over the one before, through a pipe only the last."""
    is_under_way = state["state"] == "draining"
    if as_json:
        typer.echo(json.dumps(state))
    elif sys.stdout.isatty():
        sys.stdout.write(f"\r{line_of(state)}{REST_OF_LINE}" + ("" if is_under_way else "\n"))
        sys.stdout.flush()
    elif not is_under_way:
        typer.echo(line_of(state))


def line_of(state: dict[str, Any]) -> str:
    """How far it is, as text."""
    open_now = f"{counted(state['sockets'], 'socket')} open"
    if state["state"] == "draining":
        share = state["moved"] / state["total"] if state["total"] else 1.0
        bar = ("#" * int(share * BAR_CHARACTERS)).ljust(BAR_CHARACTERS, ".")
        left = span(max(state["seconds_left"], 0.1))
        return f"[{bar}] {state['moved']} of {state['total']} moved, {left} left, {open_now}"
    moved = f", {state['moved']} of {state['total']} were moved" if state["total"] else ""
    return f"{state['state']}{moved}, {open_now}"
