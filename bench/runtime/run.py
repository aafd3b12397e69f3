"""The benchmarks of the actor runtime: fixed scenarios, beside pykka and Erlang on the same machine in the same run.

    make bench ONLY=runtime                        everything, best of three, about 10 minutes
    python bench/runtime/run.py --only ask,spawn   some scenarios
    python bench/runtime/run.py --quick            one short run: does it work, are we near
    python bench/runtime/run.py --write-docs       also rewrites its part of docs/benchmarks.md

actor_scenarios.py says what each does and what must be held. Erlang takes part where `erl` is (Debian: apt-get install
erlang-base). Rows are printed with PASS or FAIL, and everything is written as JSON to bench/results/. The exit code is
1 when a row was measured and not held. Needs Linux and two cores; run it on an otherwise idle machine.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
BENCH = HERE.parent
sys.path.append(str(BENCH))

import actor_scenarios  # noqa: E402 (its folder is put on the path above)
from actor_scenarios import (  # noqa: E402
    ALL,
    COLUMNS,
    ERLANG,
    GREENROOM,
    PYKKA,
    ROWS,
    SCENARIOS,
    Best,
    Numbers,
    Row,
    Scenario,
    best_of,
)
from document import write_runtime  # noqa: E402 (its folder is put on the path above)
from report import RESULTS, aligned, commit, machine, markdown, output  # noqa: E402

SECONDS_MAX = 180
COMMANDS = {
    GREENROOM: [sys.executable, str(HERE / "greenroom_actors.py")],
    PYKKA: [sys.executable, str(HERE / "pykka_actors.py")],
    ERLANG: ["escript", str(HERE / "erlang_actors.escript")],
}
NOTES = {
    GREENROOM: "mailboxes bounded, deadlines, cycle check and supervision on; CPython and trio",
    PYKKA: "an actor is a thread: 2,000 of them where greenroom has 100,000; mailboxes have no bound, nothing restarts",
    ERLANG: "processes of the virtual machine, one scheduler; mailboxes have no bound; a crash begins a new process",
}

Runs = dict[str, dict[str, list[Numbers]]]
"""By scenario and contestant, the numbers of each run."""


def main() -> int:
    """Run what the command line asks for."""
    asked = _arguments()
    contestants = _present(asked.peers)
    core = _core()
    runs: Runs = {scenario.name: {} for scenario in asked.only}
    faults: list[str] = []
    began = datetime.now().astimezone()
    for number in range(asked.runs):
        for scenario in asked.only:
            for name in contestants:
                if name in scenario.contestants:
                    _run_one(runs, faults, scenario, name, number, asked, core)
    best: dict[str, Best] = {
        name: {contestant: best_of(numbers) for contestant, numbers in each.items()} for name, each in runs.items()
    }
    rows = [row for row in ROWS if row.scenario in best]
    _print(asked.only, best, rows, faults)
    print(f"\nwritten to {_write_json(began, runs, best, rows, faults)}")
    if asked.write_docs:
        print(f"written to {write_runtime(_document(began, asked, best, rows, faults, contestants))}")
    return 1 if any("FAIL" in _verdict(row, best[row.scenario]) for row in rows) else 0


def _run_one(
    runs: Runs, faults: list[str], scenario: Scenario, name: str, number: int, asked: argparse.Namespace, core: int
) -> None:
    print(f"run {number + 1}/{asked.runs}  {scenario.name:<13} {name:<10}", end=" ", flush=True)
    began = time.monotonic()
    command = [*COMMANDS[name], scenario.name, *(["--quick"] if asked.quick else [])]
    try:
        ran = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=True,
            timeout=SECONDS_MAX,
            env=os.environ | {"ERL_FLAGS": "+S 1", "LOG_LEVEL": "warning"},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )
        numbers: Numbers = json.loads(ran.stdout.splitlines()[-1])
    except (subprocess.SubprocessError, ValueError, IndexError) as fault:
        said = (getattr(fault, "stderr", None) or str(fault)).strip().splitlines()
        faults.append(f"{name} in {scenario.name}, run {number + 1}: {said[-1] if said else fault}")
        print(f"FAILED: {faults[-1]}")
        return
    runs[scenario.name].setdefault(name, []).append(numbers)
    told = "  ".join(f"{COLUMNS[column][0]} {numbers[column]:{COLUMNS[column][1]}}" for column in scenario.columns)
    print(f"{told}   ({time.monotonic() - began:.0f} s)")


def _verdict(row: Row, best: Best) -> str:
    missing = [name for name in (GREENROOM, row.peer) if name is not None and name not in best]
    if missing:
        return f"- (no {', '.join(missing)} to measure)"
    return "PASS" if row.holds(row.value(best)) else "FAIL"


def _row_lines(best: dict[str, Best], rows: list[Row]) -> list[list[str]]:
    lines = [["scenario", "what", "measured", "must be", ""]]
    for row in rows:
        verdict = _verdict(row, best[row.scenario])
        value = "-" if verdict.startswith("-") else f"{row.value(best[row.scenario]):.2f} {row.unit}"
        limit = f"{'≥' if row.at_least else '≤'} {row.limit:g} {row.unit}"
        lines.append([row.scenario, row.what, value, limit, verdict])
    return lines


def _scenario_lines(scenario: Scenario, best: Best) -> list[list[str]]:
    first = scenario.columns[0]
    lines = [["", COLUMNS[first][0], "to greenroom", *(COLUMNS[column][0] for column in scenario.columns[1:])]]
    for name in scenario.contestants:
        if name in best:
            cells = [format(best[name][column], COLUMNS[column][1]) for column in scenario.columns]
            own = best.get(GREENROOM, {}).get(first)
            lines.append([name, cells[0], f"{best[name][first] / own:.2f} x" if own else "-", *cells[1:]])
    return lines


def _print(those: tuple[Scenario, ...], best: dict[str, Best], rows: list[Row], faults: list[str]) -> None:
    for scenario in those:
        if best[scenario.name]:
            print(f"\n{scenario.title}")
            print(aligned(_scenario_lines(scenario, best[scenario.name])))
    print("\nRows of the actor runtime, best of the runs")
    print(aligned(_row_lines(best, rows)))
    for fault in faults:
        print(f"  {fault}")


def _write_json(began: datetime, runs: Runs, best: dict[str, Best], rows: list[Row], faults: list[str]) -> Path:
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"runtime-{began:%Y%m%dT%H%M%S}.json"
    heading, *lines = _row_lines(best, rows)
    content = {
        "began": began.isoformat(),
        "commit": commit(),
        "machine": machine(),
        "runs": runs,
        "best": best,
        "rows": [dict(zip([*heading[:-1], "verdict"], line, strict=True)) for line in lines],
        "faults": faults,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def _document(
    began: datetime,
    asked: argparse.Namespace,
    best: dict[str, Best],
    rows: list[Row],
    faults: list[str],
    contestants: tuple[str, ...],
) -> str:
    notes = [f"- **{name}** {_version(name)}: {NOTES[name]}" for name in contestants]
    notes += [f"- **{name}**: not there, so not measured" for name in ALL if name not in contestants]
    parts = [
        "## The actor runtime",
        "Written by `make bench ONLY=runtime` (`bench/runtime/run.py --write-docs`); do not edit by hand.",
        f"{began:%Y-%m-%d}, commit `{commit()}`. A cell is the best of {asked.runs} runs, each contestant on one core.",
        "\n".join(f"- {name}: {value}" for name, value in machine().items() if name != "peers"),
        "\n".join(notes),
        "```\n" + _what_each_does() + "\n```",
        "### Rows held by the runtime",
        markdown(_row_lines(best, rows)),
        *(
            part
            for scenario in asked.only
            if best[scenario.name]
            for part in (f"### {scenario.title}", markdown(_scenario_lines(scenario, best[scenario.name])))
        ),
        *(f"Not as it should be: {fault}" for fault in faults),
    ]
    return "\n\n".join(parts)


def _what_each_does() -> str:
    """The list in the docstring of actor_scenarios.py, without its indent."""
    listed = (actor_scenarios.__doc__ or "").split("\n\n")[2]
    return "\n".join(line.removeprefix("    ") for line in listed.splitlines())


def _version(name: str) -> str:
    if name == ERLANG:
        return "OTP " + output("erl", "-noshell", "-eval", "io:put_chars(erlang:system_info(otp_release)), halt().")
    from importlib.metadata import version

    return version(name)


def _present(peers: tuple[str, ...]) -> tuple[str, ...]:
    present = [GREENROOM, *(name for name in (PYKKA, ERLANG) if name in peers)]
    if ERLANG in present and not (shutil.which("erl") and shutil.which("escript")):
        present.remove(ERLANG)
        print("Erlang is skipped: there is no `erl` here (Debian: apt-get install erlang-base)")
    return tuple(present)


def _core() -> int:
    if not sys.platform.startswith("linux"):
        raise SystemExit("bench: Linux is needed: memory is read from /proc, and each contestant gets a core.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("bench: two cores are needed, one for the actors and one for PostgreSQL.")
    return cores[1]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--only", type=_scenarios, default=SCENARIOS, metavar="NAMES", help=f"of these: {names}")
    parser.add_argument("--peers", type=lambda names: tuple(names.split(",")), default=(PYKKA, ERLANG), metavar="NAMES")
    parser.add_argument("--servers", help=argparse.SUPPRESS)  # of bench/run.py, when both are called with the same
    parser.add_argument("--runs", type=int, help="runs, of which the best counts (3; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="one run, a tenth of the work: indicative only")
    parser.add_argument("--write-docs", action="store_true", help="rewrite the runtime's part of docs/benchmarks.md")
    asked = parser.parse_args()
    asked.runs = asked.runs or (1 if asked.quick else 3)
    return asked


def _scenarios(names: str) -> tuple[Scenario, ...]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in names.split(",") if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there is {', '.join(known)}")
    return tuple(known[name] for name in names.split(","))


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
