"""Seeded runs: one number decides the order of tasks, every random choice and where each drain ends.

    run_seeded(fn, 17)    the same trace each time, in any process, under any hash seed
    run_seeded(fn, 18)    another one

In a run time is virtual, threads are refused and nothing else of the machine is looked at by the runtime; what *fn*
does beside it (files, sockets, `time`, iterating sets of strings) is its own. A run that fails names its seed and the
command that runs it again.

Trio has no public way to seed its scheduler. This is the one file that reaches for the private one, which pytest-trio
and Hypothesis use too: a flag by which each batch of runnable tasks is sorted and shuffled, and the generator that
shuffles. `tests/runtime/testing/test_seeded.py` fails when a new trio has moved them.
"""

import hashlib
import inspect
import random
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from unittest import mock

import trio

from greenroom.runtime.limits import need_whole
from greenroom.runtime.ports import Randomness
from greenroom.runtime.testing.virtual_clock import VirtualClock

T = TypeVar("T")

TRIO_MIN = (0, 30)
STEPS_MAX = 2_000_000  # of tasks: some hundred times what a long test needs
BUSY_STEPS_SECONDS = (1e-6, 60e-6)  # a look costs so much: drains of a single turn and of fifty both occur


class CannotSeed(Exception):
    """This trio keeps its scheduler elsewhere: seeded runs have to be taught where."""


class ThreadRefused(Exception):
    """A thread was to be started in a seeded run: nobody could say when it gets its turn."""


class NeverEnds(Exception):
    """A seeded run took STEPS_MAX steps of tasks: something is told again and again, and no time passes."""


class SeededRandomness(random.Random, Randomness):
    """The `Randomness` port, and the whole of `random.Random` for who writes tests."""


class SeededClock(VirtualClock):
    """A virtual clock on which the time of each turn is drawn, so that drains end at other commands for other seeds."""

    def __init__(self, randomness: random.Random) -> None:
        super().__init__()
        self._randomness = randomness

    def busy_seconds(self) -> float:
        """The counter of the drains, some way further."""
        self.busy_seconds_step = self._randomness.uniform(*BUSY_STEPS_SECONDS)
        return super().busy_seconds()


class SeededRun:
    """What a run is given. seed: its number. randomness, clock: the ports of its system. scope: of the whole run.

    choices: drawn from by the test itself, apart from *randomness*, so that a test that draws more does not change what
    the runtime draws.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.randomness = SeededRandomness(f"{seed} runtime")
        self.choices = SeededRandomness(f"{seed} test")
        self.clock = SeededClock(SeededRandomness(f"{seed} busy"))
        self.scope = trio.CancelScope()  # of the whole run
        self._digest = hashlib.blake2b(digest_size=16)

    def note(self, *facts: object) -> None:
        """Make *facts* part of the trace. Their `repr` counts: no addresses of objects, no sets of strings."""
        self._digest.update(repr(facts).encode())

    @property
    def trace(self) -> str:
        """The digest of every step of every task until now, and of what was noted. Equal runs have equal ones."""
        return self._digest.hexdigest()


def run_seeded(fn: Callable[[SeededRun], Awaitable[T]], seed: int, *, replay: str | None = None) -> T:
    """Run the async function *fn* with everything decided by *seed*, and return what it returns.

    replay: the command that runs it again, `{seed}` stands for the number; it and the seed become a note of whatever is
    raised. Without it: `python -m greenroom.runtime.testing FILE:FUNCTION SEED`.
    seed: 0 or more.
    Raises: CannotSeed, ThreadRefused (where the thread was to be started), NeverEnds, ValueError and TypeError
    for a seed that is none, and what *fn* raises.
    """
    need_whole("a seed", seed, least=0)  # None is another run each time, and -1 the same as 1
    run = SeededRun(seed)

    async def bounded() -> T:
        with run.scope:
            return await fn(run)
        raise NeverEnds(f"it is not over after {STEPS_MAX} steps of its tasks, at {trio.current_time():g} s")

    with _scheduled_by(seed), _no_threads():
        try:
            return trio.run(bounded, clock=run.clock.trio_clock, instruments=[_Tracer(run)])
        except BaseException as error:
            command = (replay or _replay_of(fn)).replace("{seed}", str(seed))
            error.add_note(f"seed {seed}; again: {command}")
            raise


class _Tracer(trio.abc.Instrument):
    """Notes which task runs, by its name and its place among all tasks."""

    def __init__(self, run: SeededRun) -> None:
        self._run = run
        self._numbers: dict[trio.lowlevel.Task, int] = {}
        self._count = 0
        self._steps = 0

    def task_spawned(self, task: trio.lowlevel.Task) -> None:
        self._count += 1
        self._numbers[task] = self._count

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._run.note(self._numbers.get(task, 0), task.name)
        self._steps += 1
        if self._steps == STEPS_MAX:
            self._run.scope.cancel(reason="it never ends")

    def task_exited(self, task: trio.lowlevel.Task) -> None:
        self._numbers.pop(task, None)


@contextmanager
def _scheduled_by(seed: int) -> Iterator[None]:
    """Trio's scheduler, seeded; as it was before, afterwards. Raises: CannotSeed."""
    run = trio._core._run
    generator = getattr(run, "_r", None)
    version = tuple(int(part) for part in trio.__version__.split("+")[0].split(".")[:2])
    if (
        version < TRIO_MIN
        or type(generator) is not random.Random
        or not hasattr(run, "_ALLOW_DETERMINISTIC_SCHEDULING")
    ):
        raise CannotSeed(f"trio {trio.__version__} does not schedule as 0.30 to 0.35 do: mend {Path(__file__).name}")
    before = generator.getstate()
    generator.seed(seed)
    try:
        with mock.patch.object(run, "_ALLOW_DETERMINISTIC_SCHEDULING", True):
            yield
    finally:
        generator.setstate(before)


@contextmanager
def _no_threads() -> Iterator[None]:
    """Refuse every thread that this one would start: new ones, and those that trio keeps for `to_thread`."""
    cache: Any = trio._core._thread_cache.ThreadCache
    with (
        mock.patch.object(cache, "start_thread_soon", _refusing(cache.start_thread_soon)),
        mock.patch.object(threading.Thread, "start", _refusing(threading.Thread.start)),
    ):
        yield


def _refusing(start: Callable[..., None]) -> Callable[..., None]:
    here = threading.get_ident()

    def refuse(*args: Any, **kwargs: Any) -> None:
        if threading.get_ident() == here:
            raise ThreadRefused(
                "a seeded run has no threads: put what needs one behind a port, and its fake in the test"
            )
        start(*args, **kwargs)

    return refuse


def _replay_of(fn: Callable[..., object]) -> str:
    """The command for a function that can be found by its name."""
    name = getattr(fn, "__qualname__", "")
    if "<" in name or "." in name or not name:  # of a method nobody else has the object
        return "run_seeded with the same function and this seed"
    path = Path(inspect.getsourcefile(fn) or "?")
    if path.is_relative_to(Path.cwd()):
        path = path.relative_to(Path.cwd())
    return f"python -m greenroom.runtime.testing {path}:{name} {{seed}}"
