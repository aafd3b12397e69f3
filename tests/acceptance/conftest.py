"""What the acceptance tests share: one real server for all tests that do not end it.

Tests take people and rooms of their own (`fresh`), so that one server serves them all; the tests that kill, stop or
starve it start theirs.
"""

import itertools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from server_process import ServerProcess, sweep_abandoned  # type: ignore[import-not-found]

_people = itertools.count(1000, 1000)


@pytest.fixture(scope="session")
def shared_server() -> Iterator[ServerProcess]:
    """The server of the whole session."""
    sweep_abandoned()
    with ServerProcess() as server:
        server.start()
        yield server


@pytest.fixture
def server(shared_server: ServerProcess) -> Iterator[ServerProcess]:
    """A running server; afterwards it must still be the same process, and have met nothing unforeseen."""
    before, pid = len(shared_server.faults()), shared_server.pid
    yield shared_server
    assert shared_server.is_running, shared_server.log_tail()
    assert shared_server.pid == pid
    faults = shared_server.faults()[before:]
    assert not faults, f"{len(faults)} faults in the server's log, the first: {faults[0]}"


@pytest.fixture
def fresh() -> int:
    """The first of a thousand ids of users, and of rooms, that nobody else has."""
    return next(_people)
