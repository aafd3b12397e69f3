"""The faults use the harness of the acceptance tests."""

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path[:0] = [str(Path(__file__).parents[1] / "acceptance"), str(Path(__file__).parent)]


@pytest.fixture
def without_collector() -> Iterator[None]:
    """Python looks for no cycles: nothing is given back by that, and nobody's time goes into it."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()
