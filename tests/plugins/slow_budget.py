"""Ends a run of slow tests at BUDGET_SECONDS, cleanly: what did not run is listed, and is no failure.

One is started only while the budget has room for what it says it takes: `@pytest.mark.slow(seconds=90)`, 60 where
nothing is said. A test that is left out does not hold up a shorter one behind it. A test under way is never stopped:
red is a failed test, never the clock.

The order is fixed: of each file its shortest test, then of each its next one. By their names a small budget would end
in the first files, and no change of the others would ever meet a slow test.

A run in which there was nothing to run ends with 0, not with pytest's 5.
"""

import math
import os
import time

import pytest

SECONDS_DEFAULT = 60.0


class SlowBudget:
    """Which tests may still start."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.began_at = time.monotonic()
        self.not_run: list[str] = []

    @property
    def left(self) -> float:
        """Seconds of the budget that are left."""
        return self.began_at + self.seconds - time.monotonic()

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Put them in order; the budget counts from here."""
        items[:] = in_rounds(items)
        self.began_at = time.monotonic()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        """Leave out what the budget has no room for."""
        if seconds_of(item) > max(self.left, 0.0):
            self.not_run.append(item.nodeid)
            pytest.skip("the budget was too small")

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Say what did not run."""
        if self.not_run:
            terminalreporter.section(f"not run: BUDGET_SECONDS was {self.seconds:g}")
            for name in self.not_run:
                terminalreporter.line(name)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Nothing to run is no failure."""
        if exitstatus == pytest.ExitCode.NO_TESTS_COLLECTED:
            session.exitstatus = pytest.ExitCode.OK


def in_rounds(items: list[pytest.Item]) -> list[pytest.Item]:
    """One of each file, then one more of each, and so on; in a file and in a round the shorter ones first."""
    files: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=lambda item: (seconds_of(item), item.nodeid)):
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    rounds = [(number, item) for tests in files.values() for number, item in enumerate(tests)]
    rounds.sort(key=lambda place: (place[0], seconds_of(place[1]), place[1].nodeid))
    return [item for _, item in rounds]


def seconds_of(item: pytest.Item) -> float:
    """How long the test says it takes; what is not slow always has room."""
    marker = item.get_closest_marker("slow")
    return float(marker.kwargs.get("seconds", SECONDS_DEFAULT)) if marker else 0.0


def pytest_configure(config: pytest.Config) -> None:
    """Take part when `make test-slow` runs; an empty BUDGET_SECONDS is no budget."""
    given = os.environ.get("BUDGET_SECONDS")
    if given is None:
        return
    try:
        seconds = float(given) if given else math.inf
    except ValueError:
        raise pytest.UsageError(f"BUDGET_SECONDS is {given!r}: a number of seconds is needed, as 360") from None
    config.pluginmanager.register(SlowBudget(seconds), "slow_budget_of_this_run")
