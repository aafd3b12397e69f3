"""What a run says: an outcome turned into named numbers. Names end in their unit; `cores` is CPU time over wall time.

CPU is the server's own. PostgreSQL's stands beside it and is never added: the peers have theirs in the process, which
is why workerd on SQLite pays for its disk here and greenroom on a core of PostgreSQL's.

`stranger_cores` is what ran besides: other programs, a busy hypervisor. A run with much of it says little.
"""

from client import Outcome
from scenarios import Scenario

Metrics = dict[str, float]

STRANGER_CORES_MAX = 0.15
"""The kernel's own disk and network threads stay below this; more is somebody else's work."""


def metrics_of(scenario: Scenario, outcome: Outcome) -> Metrics:
    """All that can be said of one run. `missing` counts frames, acks and connections that did not come."""
    counted = outcome.counted
    server = outcome.after.server_cpu_seconds - outcome.before.server_cpu_seconds
    postgres = outcome.after.postgres_cpu_seconds - outcome.before.postgres_cpu_seconds
    machine = outcome.after.machine_cpu_seconds - outcome.before.machine_cpu_seconds
    memory = outcome.after.server_memory_kb - outcome.before.server_memory_kb
    seconds = counted["seconds"]
    metrics = {
        "seconds": seconds,
        "server_cpu_seconds": server,
        "postgres_cpu_seconds": postgres,
        "client_cpu_seconds": counted["client_cpu_seconds"],
        "server_cores": server / seconds,
        "postgres_cores": postgres / seconds,
        "client_cores": counted["client_cpu_seconds"] / seconds,
        "stranger_cores": max(0.0, machine - server - postgres - counted["client_cpu_seconds"]) / seconds,
        "errors": counted["errors"],
        "missing": counted["lost"],
        "other_frames": counted["others"],
    }
    if scenario.mode in ("fanout", "durable"):
        metrics["missing"] += counted["sent"] * scenario.members - counted["delivered"] + counted["unacknowledged"]
        metrics["messages_per_second"] = counted["per_second"]
        metrics["cpu_us_per_frame"] = 1e6 * server / max(1, counted["delivered"])
        metrics["frames_per_second"] = counted["delivered"] / seconds
        metrics["p50_ms"], metrics["p99_ms"] = counted["delivery_ms"]["p50"], counted["delivery_ms"]["p99"]
        metrics["connected_percent"] = 100 * counted["connects"] / counted["sockets"]
    if scenario.mode == "durable":
        metrics["cpu_us_per_message"] = 1e6 * server / max(1, counted["acks"])
        metrics["ack_p50_ms"], metrics["ack_p99_ms"] = counted["ack_ms"]["p50"], counted["ack_ms"]["p99"]
    if scenario.mode == "storm":
        metrics["live_seconds"], metrics["start_seconds"] = counted["live_seconds"], counted["start_seconds"]
        metrics["lost_or_doubled"] = counted["missed"] + counted["doubled"]
        metrics["questions"] = counted["asked"]
        metrics["questions_per_room"] = counted["asked_beyond_start"] / scenario.rooms
    if scenario.mode == "idle":
        metrics["kb_per_connection"] = memory / counted["connects"]
        metrics["memory_mb"] = outcome.after.server_memory_kb / 1024
    if scenario.mode == "hold":
        metrics["connections"] = counted["connects"]
        # Of as many as the machine allowed: twice the connections are twice the pings.
        metrics["cpu_percent_of_20000"] = 100 * server / seconds * 20_000 / counted["connects"]
    if scenario.mode == "connect":
        metrics["cpu_us_per_connect"] = 1e6 * server / counted["connects"]
        metrics["postgres_cpu_us_per_connect"] = 1e6 * postgres / counted["connects"]
        metrics["connects_per_second"] = counted["per_second"]
        metrics["connect_p50_ms"] = counted["connect_ms"]["p50"]
        metrics["connect_p99_ms"] = counted["connect_ms"]["p99"]
    if scenario.mode == "presence":
        metrics["changes_per_second"] = counted["changes"] / seconds
        metrics["told_per_second"] = counted["told"] / seconds
        metrics["told_share"] = counted["told"] / max(1, counted["to_tell"])
        metrics["frames_per_second"] = counted["news"] / seconds
    return metrics
