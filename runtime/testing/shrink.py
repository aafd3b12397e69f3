"""Shrinking: from a failing run of many steps to a few that still fail, and the line that runs them again.

    plan = Plan(seed=17, steps=(Tell("a", 1), Crash(), ..., Tell("b", 9)))
    print(shrink(plan, run).again())        # Plan(seed=3, steps=(Crash(), Tell('a', 1)))

*run* takes a plan and raises when it fails. A smaller plan counts only if it fails in the same way, so that the search
does not wander off to another bug. First steps are left out, in halves, quarters and so on (Zeller and Hildebrandt,
"Simplifying and isolating failure-inducing input", 2002), then each step is made simpler where it knows how, then a
small seed is tried: the order of tasks that a seed stands for changes with the steps, so every candidate is run.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Protocol, TypeVar, runtime_checkable

S = TypeVar("S")

RUNS_MAX = 2000
SMALL_SEEDS = 20


@runtime_checkable
class Simplifiable(Protocol):
    """A step that knows simpler ones of its kind."""

    def simpler(self) -> Sequence[object]:
        """Steps to try in its place, the simplest first; none of them may lead back to it."""
        ...


@dataclass(frozen=True, slots=True)
class Plan(Generic[S]):
    """A run: what is decided by chance, and what is done, in order. Steps have a `repr` that makes them again."""

    seed: int
    steps: tuple[S, ...]

    def again(self) -> str:
        """The source text of this plan."""
        listing = "".join(f"\n    {step!r}," for step in self.steps)
        return f"Plan(seed={self.seed}, steps=({listing}\n))"


class DoesNotFail(Exception):
    """The plan that was to be shrunk runs well: what it does depends on something that the seed does not decide."""


def kind_of_failure(error: BaseException) -> object:
    """What two failures must share to be the same: the type, and the first line up to a colon."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    return type(error), str(error).partition("\n")[0].partition(":")[0]


def shrink(
    plan: Plan[S],
    run: Callable[[Plan[S]], object],
    *,
    same: Callable[[BaseException], object] = kind_of_failure,
    runs_max: int = RUNS_MAX,
) -> Plan[S]:
    """A plan, as small as *runs_max* runs can find, that fails in the same way as *plan*.

    same(error): failures for which this is equal are one. Raises: DoesNotFail when *plan* does not.
    """
    shrinker = _Shrinker(run, same, runs_max)
    shrinker.wanted = shrinker.failure_of(plan)
    if shrinker.wanted is None:
        raise DoesNotFail(f"seed {plan.seed} with {len(plan.steps)} steps runs well now")
    smaller = shrinker.fewer(plan)
    smaller = shrinker.fewer(shrinker.simpler(smaller))
    return shrinker.small_seed(smaller)


class _Shrinker(Generic[S]):
    def __init__(
        self, run: Callable[[Plan[S]], object], same: Callable[[BaseException], object], runs_max: int
    ) -> None:
        self._run = run
        self._same = same
        self._runs_left = runs_max
        self._known: dict[str, bool] = {}  # by what a plan says: a step need not be hashable
        self.wanted: object = None

    def failure_of(self, plan: Plan[S]) -> object:
        """What *plan* fails with, or None."""
        self._runs_left -= 1
        try:
            self._run(plan)
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return self._same(error)
        return None

    def fails(self, plan: Plan[S]) -> bool:
        """Whether *plan* fails as the first one did; no when the runs are used up."""
        name = plan.again()
        if name not in self._known:
            if self._runs_left <= 0:
                return False
            self._known[name] = self.failure_of(plan) == self.wanted
        return self._known[name]

    def fewer(self, plan: Plan[S]) -> Plan[S]:
        """Leave out as many steps as possible: the result fails no more without any single one of them."""
        size = max(len(plan.steps) // 2, 1)
        while plan.steps:
            smaller = next(filter(self.fails, _without_each(plan, size)), None)
            if smaller is not None:
                plan = smaller
                size = min(size, max(len(plan.steps) // 2, 1))
            elif size == 1:
                break
            else:
                size //= 2
        return plan

    def simpler(self, plan: Plan[S]) -> Plan[S]:
        """Put simpler steps in the place of those that know some."""
        for place in range(len(plan.steps)):
            found = next(filter(self.fails, _with_simpler(plan, place)), None)
            while found is not None:
                plan = found
                found = next(filter(self.fails, _with_simpler(plan, place)), None)
        return plan

    def small_seed(self, plan: Plan[S]) -> Plan[S]:
        """The same steps under the smallest of the first seeds that fails."""
        candidates = (replace(plan, seed=seed) for seed in range(min(SMALL_SEEDS, plan.seed)))
        return next(filter(self.fails, candidates), plan)


def _without_each(plan: Plan[S], size: int) -> Iterator[Plan[S]]:
    """*plan* without each run of *size* steps, the last one first: what comes after a failure is not needed."""
    for start in reversed(range(0, len(plan.steps), size)):
        yield replace(plan, steps=plan.steps[:start] + plan.steps[start + size :])


def _with_simpler(plan: Plan[S], place: int) -> Iterator[Plan[S]]:
    step = plan.steps[place]
    if isinstance(step, Simplifiable):
        for other in step.simpler():
            yield replace(plan, steps=(*plan.steps[:place], other, *plan.steps[place + 1 :]))  # type: ignore[arg-type]
