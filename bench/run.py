"""The benchmarks: fixed scenarios, greenroom beside its peers on the same machine in the same run.

    make bench                          everything, five interleaved runs, about 25 minutes
    make bench ONLY=fanout              one scenario (or several, with commas)
    python bench/run.py --quick         one short run of everything: does it work, are we near
    python bench/run.py --servers greenroom,node-ws --only fanout,fanout-full
    python bench/run.py --write-docs    also rewrites docs/benchmarks.md

The server runs on one core; the load client (bench/load.c, compiled at its first use) and PostgreSQL on another, and
the CPU of each is counted apart. In every run each server is started anew for each scenario, and who comes first
changes from run to run. Node's ws and workerd are fetched with npm once. The tables are printed, and written as JSON
to bench/results/. The exit code is 1 when a row of DESIGN §9 was measured and not held.

Needs Linux, two cores, a C compiler, node with npm; run it on an otherwise idle machine. idle-20000 takes as many
connections as the hard limit of open files allows (20,000 of them with `ulimit -Hn 20600` or more); with fewer than
19,000 its row is not held.
"""

import argparse
import os
import resource
import signal
import sys
import time
from datetime import datetime

import report
from client import Outcome, compile_client, run_client, run_storm
from greenroom_server import Greenroom
from metrics import STRANGER_CORES_MAX, Metrics, metrics_of
from report import Results
from rows import Run
from scenarios import SCENARIOS, Scenario
from servers import BareQuartTrio, NodeWs, QuartTrioRoom, RunFailed, Server, WorkerdMemory, WorkerdSqlite

FILES_BESIDES = 600  # what greenroom keeps for HTTP and its database, and the client for itself
SERVER_NAMES = ("greenroom", "node-ws", "workerd-memory", "workerd-sqlite", "quart-trio", "bare-quart-trio")


def main() -> int:
    """Run what the command line asks for."""
    asked = _arguments()
    client_core, server_core = _two_cores()
    files = _raise_open_files()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the servers are ended as after Ctrl-C
    compile_client()
    scenarios = tuple(
        (scenario.quickened() if asked.quick else scenario).fitted(files - FILES_BESIDES) for scenario in asked.only
    )
    wanted = {name for scenario in scenarios for name in scenario.servers} & set(asked.servers)
    os.sched_setaffinity(0, {client_core})
    servers = tuple(_server(name, server_core, client_core) for name in SERVER_NAMES if name in wanted)
    results = Results(scenarios, servers, " ".join(["python", *sys.argv]), datetime.now().astimezone())
    try:
        for server in servers:
            server.prepare()
        for number in range(asked.runs):
            _run_once(results, number, asked.runs, client_core)
    except KeyboardInterrupt:
        print("\nstopped; what was measured so far:")
        _conclude(results, write_docs=False)
        return 130
    finally:
        for server in servers:
            server.close()
    return _conclude(results, asked.write_docs)


def _run_once(results: Results, number: int, runs: int, core: int) -> None:
    for scenario in results.scenarios:
        run: Run = {}
        results.runs.setdefault(scenario.name, []).append(run)
        contestants = [server for server in results.servers if server.name in scenario.servers]
        turn = number % max(1, len(contestants))
        for server in contestants[turn:] + contestants[:turn]:
            began = time.monotonic()
            print(f"run {number + 1}/{runs}  {scenario.name:<14} {server.name:<16}", end=" ", flush=True)
            try:
                outcome = _measure(scenario, server, core)
            except RunFailed as fault:
                results.faults.append(f"{server.name} in {scenario.name}, run {number + 1}: {fault}")
                print(f"FAILED: {fault}")
                continue
            run[server.name] = metrics_of(scenario, outcome)
            print(f"{_headline(scenario, run[server.name])}   ({time.monotonic() - began:.0f} s)")
            where = f"{server.name} in {scenario.name}, run {number + 1}"
            if complaint := outcome.counted["first_error"]:
                results.faults.append(f"{where}, complained: {complaint}")
            if (strangers := run[server.name]["stranger_cores"]) > STRANGER_CORES_MAX:
                results.faults.append(f"{where}, was disturbed: other programs used {strangers:.0%} of a core")


def _measure(scenario: Scenario, server: Server, core: int) -> Outcome:
    if scenario.mode == "storm":
        return run_storm(scenario, server.core, core)
    try:
        server.start()
        return run_client(scenario, server, core)
    finally:
        server.stop()


def _headline(scenario: Scenario, metrics: Metrics) -> str:
    return "  ".join(
        f"{report.COLUMNS[name][0]} {metrics[name]:{report.COLUMNS[name][1]}}" for name in scenario.columns[:4]
    )


def _conclude(results: Results, write_docs: bool) -> int:
    if not any(run for runs in results.runs.values() for run in runs):
        print("bench: nothing was measured")
        return 1
    report.print_results(results)
    print(f"\nwritten to {report.write_json(results)}")
    if write_docs:
        print(f"written to {report.write_document(results)}")
    return 1 if any(verdict.value is not None and not verdict.passed for verdict in results.verdicts()) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--only", type=_scenarios, default=SCENARIOS, metavar="NAMES", help=f"of these: {names}")
    names = ", ".join(SERVER_NAMES)
    parser.add_argument("--servers", type=_servers, default=SERVER_NAMES, metavar="NAMES", help=f"of these: {names}")
    parser.add_argument("--runs", type=int, help="interleaved runs (5; 1 with --quick)")
    parser.add_argument("--quick", action="store_true", help="one run, shorter scenarios: indicative only")
    parser.add_argument("--write-docs", action="store_true", help="rewrite docs/benchmarks.md")
    asked = parser.parse_args()
    asked.runs = asked.runs or (1 if asked.quick else 5)
    return asked


def _scenarios(names: str) -> tuple[Scenario, ...]:
    known = {scenario.name: scenario for scenario in SCENARIOS}
    return tuple(known[name] for name in _known(names, tuple(known)))


def _servers(names: str) -> tuple[str, ...]:
    return _known(names, SERVER_NAMES)


def _known(names: str, known: tuple[str, ...]) -> tuple[str, ...]:
    asked = tuple(filter(None, names.split(",")))
    if unknown := [name for name in asked if name not in known]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: there is {', '.join(known)}")
    return asked or known


def _server(name: str, core: int, postgres_core: int) -> Server:
    if name == Greenroom.name:
        return Greenroom(core, postgres_core)
    kinds = (NodeWs, WorkerdMemory, WorkerdSqlite, QuartTrioRoom, BareQuartTrio)
    return next(kind for kind in kinds if kind.name == name)(core)


def _two_cores() -> tuple[int, int]:
    if not sys.platform.startswith("linux"):
        raise SystemExit("bench: Linux is needed: the load client uses epoll, the harness /proc and CPU affinity.")
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise SystemExit("bench: two cores are needed, one for the server and one for the client.")
    return cores[0], cores[1]


def _raise_open_files() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < 6000:
        raise SystemExit(f"bench: {hard} open files are allowed, 6,000 are needed: raise the hard limit (ulimit -Hn).")
    return hard


if __name__ == "__main__":
    sys.exit(main())
