"""What is printed and kept: one table for each scenario, the rows with PASS or FAIL, the JSON, docs/benchmarks.md.

A cell is the median of the runs. A star marks a server that did not deliver everything in some run; it was saturated.
"""

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from document import write_servers
from metrics import Metrics
from rows import ROWS, Run, Verdict, judge
from scenarios import Scenario
from servers import BENCH, Server

RESULTS = BENCH / "results"

# metric: heading, format
COLUMNS = {
    "cpu_us_per_frame": ("CPU µs/frame", ".2f"),
    "frames_per_second": ("frames/s", ",.0f"),
    "p50_ms": ("p50 ms", ".1f"),
    "p99_ms": ("p99 ms", ".1f"),
    "server_cores": ("server CPU", ".0%"),
    "postgres_cores": ("PostgreSQL CPU", ".0%"),
    "client_cores": ("client CPU", ".0%"),
    "messages_per_second": ("messages/s", ",.0f"),
    "cpu_us_per_message": ("CPU µs/message", ".0f"),
    "ack_p50_ms": ("ack p50 ms", ".1f"),
    "ack_p99_ms": ("ack p99 ms", ".1f"),
    "kb_per_connection": ("KB/connection", ".2f"),
    "memory_mb": ("process MB", ".0f"),
    "cpu_percent_of_20000": ("% of a core", ".2f"),
    "connections": ("connections", ",.0f"),
    "server_cpu_seconds": ("server CPU s", ".2f"),
    "postgres_cpu_seconds": ("PostgreSQL CPU s", ".2f"),
    "client_cpu_seconds": ("client CPU s", ".2f"),
    "cpu_us_per_connect": ("CPU µs/connect", ".0f"),
    "postgres_cpu_us_per_connect": ("PostgreSQL µs/connect", ".0f"),
    "connects_per_second": ("connects/s", ",.0f"),
    "connect_p50_ms": ("p50 ms", ".1f"),
    "connect_p99_ms": ("p99 ms", ".1f"),
    "changes_per_second": ("come or go/s", ".0f"),
    "told_per_second": ("told/s", ",.0f"),
    "told_share": ("of those to tell", ".0%"),
    "live_seconds": ("all live again s", ".1f"),
    "start_seconds": ("server s", ".1f"),
    "questions": ("questions", ",.0f"),
    "questions_per_room": ("a room", ".1f"),
    "lost_or_doubled": ("lost or doubled", ".0f"),
}


@dataclass
class Results:
    """All runs of a bench. `runs[scenario]` has one entry a run, `faults` what could not be measured."""

    scenarios: tuple[Scenario, ...]
    servers: tuple[Server, ...]
    command: str
    began: datetime
    runs: dict[str, list[Run]] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def of(self, scenario: Scenario, server: str) -> list[Metrics]:
        """The runs of one server in one scenario."""
        return [run[server] for run in self.runs.get(scenario.name, []) if server in run]

    def verdicts(self) -> list[Verdict]:
        """The rows whose scenario was asked for."""
        names = {scenario.name for scenario in self.scenarios}
        return [judge(row, self.runs.get(row.scenario, [])) for row in ROWS if row.scenario in names]


def scenario_lines(results: Results, scenario: Scenario) -> list[list[str]]:
    """The table of one scenario: a heading and a line for each server."""
    first, *others = scenario.columns
    lines = [["", COLUMNS[first][0], "to greenroom", *(COLUMNS[name][0] for name in others)]]
    own = results.of(scenario, "greenroom")
    for server in scenario.servers:
        runs = results.of(scenario, server)
        if not runs:
            continue
        star = "*" if any(run["missing"] > 0 for run in runs) else ""
        value, *cells = [format(_median(runs, name), COLUMNS[name][1]) for name in scenario.columns]
        ratio = f"{_median(runs, first) / _median(own, first):.2f} x" if own and _median(own, first) else "-"
        lines.append([server + star, value, ratio, *cells])
    return lines


def _median(runs: list[Metrics], name: str) -> float:
    return median(run[name] for run in runs)


def verdict_lines(verdicts: Iterable[Verdict]) -> list[list[str]]:
    """The table of the rows of DESIGN §9."""
    lines = [["row", "scenario", "what", "measured", "must be", ""]]
    for verdict in verdicts:
        row = verdict.row
        value = "-" if verdict.value is None else f"{verdict.value:.2f} {row.unit}"
        limit = f"{'≥' if row.at_least else '≤'} {row.limit:g} {row.unit}"
        word = "PASS" if verdict.passed else "FAIL" if verdict.value is not None else "-"
        note = f"{word} ({verdict.fault})" if verdict.fault else word
        lines.append([row.number, row.scenario, row.what, value, limit, note])
    return lines


def print_results(results: Results) -> None:
    """The tables for people at a terminal."""
    for scenario in results.scenarios:
        if len(lines := scenario_lines(results, scenario)) > 1:
            print(f"\n{scenario.title}")
            print(aligned(lines))
    print("\nRows of DESIGN §9, median of the runs (memory: the most of them)")
    print(aligned(verdict_lines(results.verdicts())))
    for fault in results.faults:
        print(f"  {fault}")


def write_json(results: Results) -> Path:
    """Everything, for programs: bench/results/<time>.json."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{results.began:%Y%m%dT%H%M%S}.json"
    content = {
        "began": results.began.isoformat(),
        "command": results.command,
        "commit": commit(),
        "machine": machine(),
        "scenarios": [asdict(scenario) for scenario in results.scenarios],
        "servers": {server.name: server.note for server in results.servers},
        "runs": results.runs,
        "rows": [
            {
                "row": verdict.row.number,
                "scenario": verdict.row.scenario,
                "what": verdict.row.what,
                "value": verdict.value,
                "limit": verdict.row.limit,
                "at_least": verdict.row.at_least,
                "passed": verdict.passed,
                "fault": verdict.fault,
            }
            for verdict in results.verdicts()
        ],
        "faults": results.faults,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def write_document(results: Results) -> Path:
    """docs/benchmarks.md from this bench alone, but for the part of the runtime's."""
    runs = max((len(each) for each in results.runs.values()), default=0)
    parts = [
        "# Benchmarks",
        "Written by `make bench` (`bench/run.py --write-docs`); do not edit by hand. The scenarios are in "
        "`bench/scenarios.py`, the peers in `bench/peers/`, the limits in `bench/rows.py`.",
        f"{results.began:%Y-%m-%d}, commit `{commit()}`, `{results.command}`. "
        f"A cell is the median of {runs} interleaved runs.",
        "\n".join(f"- {name}: {value}" for name, value in machine().items()),
        "The server has one core to itself. The load client and greenroom's PostgreSQL share the other; the CPU of "
        "each stands apart. A star marks a server that was saturated: it did not deliver everything in time.",
        "\n".join(f"- **{server.name}**: {server.note}" for server in results.servers),
        "## Rows held",
        markdown(verdict_lines(results.verdicts())),
        *(
            part
            for scenario in results.scenarios
            for part in (f"## {scenario.title}", markdown(scenario_lines(results, scenario)))
        ),
    ]
    parts += [f"Not as it should be: {fault}" for fault in results.faults]
    return write_servers("\n\n".join(parts))


def machine() -> dict[str, str]:
    """What the numbers depend on besides the code."""
    return {
        "processor": f"{_line_value('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores",
        "memory": f"{int(_line_value('/proc/meminfo', 'MemTotal').split()[0]) / 1024 / 1024:.0f} GB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
        "libraries": ", ".join(f"{name} {version(name)}" for name in ("trio", "quart-trio", "hypercorn", "asyncpg")),
        "peers": f"node {output('node', '--version')}, " + ", ".join(_peer_versions()),
    }


def _peer_versions() -> Iterable[str]:
    for package in sorted((BENCH / "peers").glob("*/package.json")):
        for name, exact in json.loads(package.read_text())["dependencies"].items():
            yield f"{name} {exact}"


def commit() -> str:
    """What is measured. The page that a run before this one wrote is no part of it."""
    git = ("git", "-C", str(BENCH))
    changed = output(*git, "status", "--porcelain", "--untracked-files=no", ":(exclude)../docs/benchmarks.md")
    return output(*git, "rev-parse", "--short", "HEAD") + (" and uncommitted changes" if changed else "")


def output(*command: str) -> str:
    if shutil.which(command[0]) is None:
        return "absent"
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def _line_value(path: str, key: str) -> str:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return line.partition(":")[2].strip()
    return "0 unknown"


def aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numeric = [all(cell[:1].isdigit() or cell == "-" for cell in column[1:]) for column in zip(*lines, strict=True)]
    return "\n".join(
        "  " + "  ".join(cell.rjust(width) if right else cell.ljust(width)
                         for cell, width, right in zip(line, widths, numeric, strict=True)).rstrip()
        for line in lines
    )  # fmt: skip


def markdown(lines: list[list[str]]) -> str:
    heading, *body = lines
    rows = [heading, ["---"] * len(heading), *body]
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)
