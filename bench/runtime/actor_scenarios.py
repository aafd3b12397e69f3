"""The fixed scenarios of the actor runtime and the limits that it must hold, as data.

Every contestant has one core to itself, in a process of its own for each scenario and run; PostgreSQL has the other
core. A number is the best of the runs: what disturbs a run only makes it worse. What changes here makes old results
incomparable: say so in docs/benchmarks.md.

    tell          bursts of 64 to one actor with a plain `def` handler, one shared command; each burst is handled before
                  the next one
    tell-bounded  the same with a fresh command each, to a kind that is bounded in count, in bytes and in age
    tell-traced   the same, and the actor is traced: of each message the time it waited and that of its turn are taken,
                  and the newest 256 kept. pykka and Erlang take no times: they do what they do for tell-bounded
    ask           one caller, one ask after the other; each has a deadline
    ask-100       100 callers at once. From a turn (ask-in-turn) each ask also walks the chain of its callers
    spawn         the first command of an address: a new actor, awake, and the command handled
    memory        100,000 actors that have handled one command each: awake and idle; cold, which is the cell with its
                  key, mailbox and counters. The growth of the process's proportional set size
    bystander     an ask every 2 ms to an idle actor while 50 others always have commands that take 20 µs each
    drain         100,000 actors and a block that is cancelled: half of them have a command queued, which is handled,
                  half a turn that waits for ever, which is cancelled after 1 s
    crash         a handler raises on a tell; the actor waits as its policy says (up to 50 ms), starts anew and answers
    commit        200 actors, one message to store under way in each, through greenroom's own committer with its fence;
                  the embedded PostgreSQL with fsync. The reply comes when the message is stored
"""

from collections.abc import Callable
from dataclasses import dataclass

Numbers = dict[str, float]
Best = dict[str, Numbers]
"""By contestant, the best of each number over the runs."""

GREENROOM, PYKKA, ERLANG = "greenroom", "pykka", "erlang"
ALL = (GREENROOM, PYKKA, ERLANG)

SMALLER_IS_BETTER = {"kb_each", "p50_ms", "p99_ms", "seconds"}
COLUMNS = {
    "per_second": ("a second", ",.0f"),
    "kb_each": ("KB each", ".2f"),
    "p50_ms": ("p50 ms", ".2f"),
    "p99_ms": ("p99 ms", ".2f"),
    "seconds": ("seconds", ".1f"),
}


@dataclass(frozen=True, slots=True)
class Scenario:
    """One thing to do, who does it, and what is told of it. The first column is compared with the others'."""

    name: str
    title: str
    contestants: tuple[str, ...]
    columns: tuple[str, ...] = ("per_second",)


@dataclass(frozen=True, slots=True)
class Row:
    """`value` must be at least, or at most, `limit`. peer: whom it is a ratio to."""

    scenario: str
    what: str
    value: Callable[[Best], float]
    limit: float
    unit: str
    at_least: bool = True
    peer: str | None = None

    def holds(self, value: float) -> bool:
        """Whether a value keeps the row."""
        return value >= self.limit if self.at_least else value <= self.limit


def _own(number: str, scale: float = 1.0) -> Callable[[Best], float]:
    return lambda best: best[GREENROOM][number] * scale


def _ratio(peer: str) -> Callable[[Best], float]:
    return lambda best: best[GREENROOM]["per_second"] / best[peer]["per_second"]


SCENARIOS = (
    Scenario("tell", "Tell: bursts of 64, one shared command", ALL),
    Scenario("tell-bounded", "Tell: bursts of 64, a fresh command each, all bounds", ALL),
    Scenario("tell-traced", "Tell: bursts of 64, a fresh command each, all bounds, the times of each message", ALL),
    Scenario("ask", "Ask: one caller", ALL),
    Scenario("ask-100", "Ask: 100 callers", ALL),
    Scenario("ask-in-turn", "Ask: one actor asks another, in one turn", (GREENROOM,)),
    Scenario("spawn", "Spawn: a new actor handles its first command", ALL),
    Scenario("memory-warm", "Memory of an idle actor, awake", ALL, ("kb_each",)),
    Scenario("memory-cold", "Memory of an idle actor, cold", (GREENROOM,), ("kb_each",)),
    Scenario("bystander", "A bystander, while 50 actors are saturated", ALL, ("p99_ms", "p50_ms")),
    Scenario("drain", "Cancel and drain actors", ALL, ("per_second",)),
    Scenario("crash", "Crash and restart", (GREENROOM, ERLANG)),
    Scenario("commit", "Group commit: 200 actors on PostgreSQL", (GREENROOM,), ("per_second", "p50_ms", "p99_ms")),
)

ROWS = (
    Row("tell", "tells", _own("per_second", 1e-6), 1.0, "M/s"),
    Row("tell-traced", "tells with all bounds and times, to pykka", _ratio(PYKKA), 2.0, "x", peer=PYKKA),
    Row("ask", "asks, alone", _own("per_second", 1e-3), 60, "k/s"),
    Row("ask-100", "asks, 100 callers", _own("per_second", 1e-3), 120, "k/s"),
    Row("spawn", "first commands", _own("per_second", 1e-3), 30, "k/s"),
    Row("memory-warm", "memory, awake", _own("kb_each"), 3.0, "KB", at_least=False),
    Row("memory-cold", "memory, cold", _own("kb_each"), 0.8, "KB", at_least=False),
    Row("bystander", "p99", _own("p99_ms"), 10, "ms", at_least=False),
    Row("drain", "100,000 actors", _own("seconds"), 10, "s", at_least=False),
    Row("crash", "crashes", _own("per_second", 1e-3), 10, "k/s"),
    Row("commit", "stored writes", _own("per_second", 1e-3), 30, "k/s"),
    Row("commit", "p50", _own("p50_ms"), 6, "ms", at_least=False),
)


def best_of(runs: list[Numbers]) -> Numbers:
    """The best of each number."""
    return {
        name: (min if name in SMALLER_IS_BETTER else max)(run[name] for run in runs)
        for name in COLUMNS
        if all(name in run for run in runs)
    }
