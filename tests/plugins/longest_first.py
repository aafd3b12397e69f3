"""Begins with the files that take longest, so that no worker is left alone with one of them at the end.

pytest-xdist gives out whole files in the order of their number of tests, and the long ones have few. Here they go in
the order of the seconds that they are expected to take, which `--no-loadscope-reorder` has xdist keep. Within a file
nothing moves.
"""

from collections import defaultdict
from pathlib import Path

import pytest

# Seconds a test takes on average on two busy cores, by the folder of tests/ that it is in.
SECONDS_BY_FOLDER = {"acceptance": 5.0, "clients": 8.0, "commands": 3.0, "faults": 1.5}
SECONDS_DEFAULT = 0.3
SECONDS_BROWSER = 8.0


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sort the files, the longest first."""
    seconds: defaultdict[Path, float] = defaultdict(float)
    for item in items:
        if not item.get_closest_marker("slow"):
            seconds[item.path] += seconds_of(item)
    items.sort(key=lambda item: (-seconds[item.path], item.path))


def seconds_of(item: pytest.Item) -> float:
    """How long the test is expected to take."""
    if item.get_closest_marker("browser"):
        return SECONDS_BROWSER
    folder = item.nodeid.partition("/")[2].partition("/")[0]  # tests/faults/test_kill.py::…
    return SECONDS_BY_FOLDER.get(folder, SECONDS_DEFAULT)
