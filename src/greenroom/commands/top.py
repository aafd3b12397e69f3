"""`greenroom top`: which actors of the running server do the most, or have the most to do."""

import enum
import json
import shutil
import sys
from typing import Annotated, Any

import typer

from greenroom.commands.drain import line_of as line_of_drain
from greenroom.commands.harmless import harmless
from greenroom.commands.running import running_or_exit
from greenroom.commands.table import counted, size, span, table
from greenroom.control.client import ANSWER_SECONDS_MAX, Running

OPEN_SCREEN = "\x1b[?1049h\x1b[?25l"  # another page of the terminal, without a cursor
CLOSE_SCREEN = "\x1b[?25h\x1b[?1049l"
FROM_THE_TOP = "\x1b[H"
REST_OF_LINE, REST_OF_SCREEN = "\x1b[K", "\x1b[J"
HEADER = ("ACTOR", "PHASE", "BUSY", "TURNS/S", "WAIT", "DEPTH", "PEAK", "TURNS", "RESTARTS", "REFUSED", "LONGEST")
LINES_ABOVE = 12
BEHIND_MAX = 3  # shown as text


class By(enum.StrEnum):
    """What they are ranked by."""

    BUSY = "busy"
    TURNS = "turns"
    DEPTH = "depth"
    WAIT = "wait"
    RESTARTS = "restarts"


def top(
    by: Annotated[By, typer.Option("--by", help="What to rank by.")] = By.BUSY,
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many actors.")] = 20,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=60, help="How long to look at a time.")] = 1.0,
    once: Annotated[bool, typer.Option("--once", help="Look once, and print it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Look once, and print it as JSON.")] = False,
) -> None:
    """Show the actors that stand out, until Ctrl-C. Without a terminal it looks once.

    BUSY is the share of the loop's time that plain handlers took; WAIT how long an actor stood in the queue of those
    that have something to do, on the average; LONGEST its longest time at work without a break.
    """
    with running_or_exit() as running:
        if as_json:
            typer.echo(json.dumps(_look(running, by, limit, seconds)))
        elif once or not sys.stdout.isatty():
            typer.echo("\n".join(lines_of(_look(running, by, limit, seconds))))
        else:
            _show(running, by, limit, seconds)


def _look(running: Running, by: By, limit: int, seconds: float) -> dict[str, Any]:
    found: dict[str, Any] = running.ask(
        "top", by=by.value, limit=limit, seconds=seconds, seconds_max=seconds + ANSWER_SECONDS_MAX
    )
    return found


def _show(running: Running, by: By, limit: int, seconds: float) -> None:
    """Refresh in place. Ctrl-C is how one leaves, so it is no failure."""
    sys.stdout.write(OPEN_SCREEN + FROM_THE_TOP + f"greenroom {running.version}, process {running.pid}")
    sys.stdout.flush()
    try:
        while True:
            size = shutil.get_terminal_size()
            found = _look(running, by, min(limit, max(1, size.lines - LINES_ABOVE)), seconds)
            lines = [line[: size.columns - 1] for line in lines_of(found)]
            drawn = "".join(f"{line}{REST_OF_LINE}\r\n" for line in lines[: size.lines - 1])
            sys.stdout.write(FROM_THE_TOP + drawn + REST_OF_SCREEN)
            sys.stdout.flush()
    except KeyboardInterrupt:
        return
    finally:
        sys.stdout.write(CLOSE_SCREEN)
        sys.stdout.flush()


def lines_of(found: dict[str, Any]) -> list[str]:
    """What was found, as text."""
    system = found["system"]
    away = "  STORAGE IS AWAY" if system["storage_is_away"] else ""
    alarms, sockets, outboxes = system["alarms"], found.get("sockets"), found.get("outboxes")
    delivery = found.get("delivery")
    head = [
        f"{counted(found['cells'], 'actor')}, "
        f"{counted(system['asks_pending'], 'deadline')} and timers, "
        f"{system['crashes']} {'crash' if system['crashes'] == 1 else 'crashes'}, "
        f"{counted(system['dead_letters'], 'dead letter')}{away}",
        *([] if alarms is None else [_line_of_alarms(alarms)]),
        *([] if sockets is None else [line_of_drain(sockets)]),
        *([] if outboxes is None else _lines_of_outboxes(outboxes)),
        *([] if delivery is None else _lines_of_delivery(delivery)),
        f"by {found['by']}, over {span(found['seconds'])}",
        "",
    ]
    if not found["lines"]:
        return [*head, "nobody did anything"]
    return [*head, *table(HEADER, [_row(line) for line in found["lines"]])]


def _line_of_alarms(alarms: dict[str, Any]) -> str:
    now = f"{alarms['armed']} alarms within a minute, {alarms['due']} due, {alarms['asked']} at work"
    return f"{now}, {alarms['postponed']} postponed; {alarms['fired']} have fired, {alarms['failed']} tries failed"


def _lines_of_outboxes(outboxes: dict[str, Any]) -> list[str]:
    behind = f"{counted(outboxes['sockets'], 'socket')} behind, {size(outboxes['bytes'])} waiting"
    return [
        f"{behind} of at most {size(outboxes['limit'])}, {outboxes['closed']} closed as slow",
        *map(_line_of_one_behind, outboxes["worst"][:BEHIND_MAX]),
    ]


def _lines_of_delivery(delivery: dict[str, Any]) -> list[str]:
    """Of resumes there is a line when there were any."""
    ways = [
        f"{harmless(way)} {', '.join(f'{count} {harmless(outcome)}' for outcome, count in outcomes.items())}"
        for way, outcomes in delivery["resumes"].items()
    ]
    lag = f"on average {span(delivery['lag_seconds_mean'])}, at most {span(delivery['lag_seconds_max'])}"
    return [
        f"told {delivery['told']} times, {lag} after the commit",
        *([f"resumes: {'; '.join(ways)}"] if ways else []),
    ]


def _line_of_one_behind(one: dict[str, Any]) -> str:
    who = "nobody yet" if one["user"] is None else f"user {one['user']}"
    where = f"connection {one['connection']} of {harmless(one['address'])}, {one['protocol']}"
    return f"  {who}, {where}: {size(one['bytes'])}, none taken for {span(one['seconds'])}"


def _row(line: dict[str, Any]) -> tuple[str, ...]:
    actor = line["actor"]
    phase = actor["phase"] if actor["turn_seconds"] is None else f"{actor['phase']} {span(actor['turn_seconds'])}"
    return (
        harmless(actor["address"]),
        phase,
        f"{line['busy_share']:.1%}",
        f"{line['turns_per_second']:.1f}",
        span(line["wait_seconds"]),
        str(actor["depth"]),
        str(actor["depth_peak"]),
        str(actor["turns"]),
        str(actor["restarts"]),
        str(actor["refused"]),
        span(actor["drain_seconds_max"]),
    )
