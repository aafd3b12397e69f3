"""The faults use the harness of the acceptance tests."""

import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1] / "acceptance"), str(Path(__file__).parent)]
