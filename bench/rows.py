"""The rows of DESIGN §9 that the benchmarks hold, in one place: what is compared, with whom, and the limit.

A row is judged on the median, over the runs, of a value taken within each run. A ratio therefore compares servers that
ran minutes apart on the same machine, never medians of different moments. Memory is judged on the most that a run took:
only in the first one do users come who have never been there. A row is also failed by a run in which
greenroom lost a frame or an ack or answered with an error: a fast server that drops is not measured here.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from statistics import median

from metrics import Metrics

Run = dict[str, Metrics]
"""One run of one scenario: the metrics of each server that could be measured."""


@dataclass(frozen=True, slots=True)
class Row:
    """`value` of a run must be at most (or at least) `limit`."""

    number: str
    scenario: str
    what: str
    peer: str | None
    value: Callable[[Run], float]
    limit: float
    at_least: bool = False
    unit: str = "x"
    of_runs: Callable[[Iterable[float]], float] = median

    def holds(self, value: float) -> bool:
        """Whether a value keeps the row."""
        return value >= self.limit if self.at_least else value <= self.limit


@dataclass(frozen=True, slots=True)
class Verdict:
    """How a row came out. `value` is None when it could not be judged, and `fault` then says why."""

    row: Row
    value: float | None
    fault: str = ""

    @property
    def passed(self) -> bool:
        """Judged, kept, and nothing was lost."""
        return self.value is not None and not self.fault and self.row.holds(self.value)


def _ratio(metric: str, peer: str) -> Callable[[Run], float]:
    return lambda run: run["greenroom"][metric] / run[peer][metric]


def _own(metric: str) -> Callable[[Run], float]:
    return lambda run: run["greenroom"][metric]


def _p99_over_allowed(run: Run) -> float:
    return run["greenroom"]["p99_ms"] / max(25.0, run["node-ws"]["p99_ms"])


ROWS = (
    Row("1", "fanout", "CPU per delivered frame, to node ws", "node-ws", _ratio("cpu_us_per_frame", "node-ws"), 0.9),
    Row("2", "fanout-full", "CPU per delivered frame, to node ws", "node-ws",
        _ratio("cpu_us_per_frame", "node-ws"), 0.9),
    Row("2", "fanout-full", "p99, to the larger of 25 ms and node ws", "node-ws", _p99_over_allowed, 1.0),
    Row("3", "idle", "memory per idle connection", None, _own("kb_per_connection"), 4.0, unit="KB",
        of_runs=max),
    Row("–", "idle-20000", "idle CPU of those held, scaled to 20,000 connections, of a core", None,
        _own("cpu_percent_of_20000"), 3.0, unit="%"),
    # 20,000 open files, the hard limit of a small machine, leave room for 19 rooms of 1,000.
    Row("–", "idle-20000", "connections held at once", None, _own("connections"), 19_000, at_least=True, unit=""),
    Row("4", "connect", "CPU per connect, to bare Quart-Trio", "bare-quart-trio",
        _ratio("cpu_us_per_connect", "bare-quart-trio"), 0.7),
    Row("4", "connect-8", "the same, 8 at once", "bare-quart-trio",
        _ratio("cpu_us_per_connect", "bare-quart-trio"), 0.7),
    Row("deflate", "fanout-deflate", "CPU per delivery", None, _own("cpu_us_per_frame"), 10.0, unit="µs"),
    Row("guide", "fanout-rooms", "p99, from a sender to all of its room", None, _own("p99_ms"), 60.0, unit="ms"),
    # With a full window the client waits: a server that cannot follow has fewer messages, and its p99 is not of 500.
    Row("guide", "fanout-rooms", "messages, acknowledged and told to all", None, _own("messages_per_second"), 495.0,
        at_least=True, unit="/s"),
    Row("guide", "fanout-rooms", "connections that were made and kept", None, _own("connected_percent"), 99.9,
        at_least=True, unit="%"),
    Row("5", "durable-room", "durable messages, to workerd on SQLite", "workerd-sqlite",
        _ratio("messages_per_second", "workerd-sqlite"), 5.0, at_least=True),
    Row("6", "durable-rooms", "durable messages, to workerd on SQLite", "workerd-sqlite",
        _ratio("messages_per_second", "workerd-sqlite"), 5.0, at_least=True),
    Row("presence", "presence", "cores of the server", None, _own("server_cores"), 0.25, unit="cores"),
    Row("presence", "presence", "who is told, of those to tell", None, _own("told_share"), 0.97, at_least=True,
        unit=""),
    Row("presence", "presence-watch", "cores of the server", None, _own("server_cores"), 0.25, unit="cores"),
    Row("presence", "presence-watch", "who is told, of those to tell", None, _own("told_share"), 0.97, at_least=True,
        unit=""),
    Row("storm", "resume-storm", "from the kill to all live again", None, _own("live_seconds"), 15.0, unit="s"),
    Row("storm", "resume-storm", "lost or doubled", None, _own("lost_or_doubled"), 0.0, unit=""),
    # Whoever listens is not in it: of 100 in each room there would be 100 of these if each were asked for.
    Row("storm", "resume-storm", "database questions, beyond a start's, for each room", None,
        _own("questions_per_room"), 8.0, unit=""),
    Row("6", "durable-rooms", "ack p99", None, _own("ack_p99_ms"), 50.0, unit="ms"),
)  # fmt: skip


def judge(row: Row, runs: list[Run]) -> Verdict:
    """Judge a row on the runs of its scenario."""
    needed = {"greenroom", row.peer} - {None}
    usable = [run for run in runs if needed <= run.keys()]
    if not usable:
        return Verdict(row, None, "not measured")
    faulty = sum(1 for run in usable if run["greenroom"]["missing"] or run["greenroom"]["errors"])
    unmeasured = len(runs) - len(usable)
    faults = [f"greenroom lost or refused something in {faulty} of {len(usable)} runs"] if faulty else []
    faults += [f"{unmeasured} of {len(runs)} runs could not be measured"] if unmeasured else []
    return Verdict(row, row.of_runs(map(row.value, usable)), "; ".join(faults))
