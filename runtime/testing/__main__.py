"""Run a seeded function again, by file, name and seed: `python -m greenroom.runtime.testing tests/world.py:busy 17`.

The trace is said when it ends well: two runs of one seed say the same one.
"""

import runpy
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from greenroom.runtime.testing.seeded import SeededRun, run_seeded

USAGE = "usage: python -m greenroom.runtime.testing FILE:FUNCTION SEED"


def main(arguments: list[str]) -> None:
    """Run what the *arguments* name. Raises: SystemExit when they name nothing, and what the function raises."""
    path, _, name = arguments[0].rpartition(":") if arguments else ("", "", "")
    if len(arguments) != 2 or not Path(path).is_file() or not arguments[1].isdecimal():
        raise SystemExit(USAGE)
    sys.path.insert(0, str(Path(path).resolve().parent))  # as for a script: what it imports stands beside it
    fn: Callable[[SeededRun], Awaitable[object]] | None = runpy.run_path(path).get(name)
    if fn is None:
        raise SystemExit(f"{path} has no function {name!r}")
    traces: list[str] = []

    async def traced(run: SeededRun) -> None:
        await fn(run)
        traces.append(run.trace)

    run_seeded(traced, int(arguments[1]), replay=f"python -m greenroom.runtime.testing {arguments[0]} {{seed}}")
    sys.stdout.write(f"seed {arguments[1]}: trace {traces[0]}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
