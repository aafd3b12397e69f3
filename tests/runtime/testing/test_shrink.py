"""Shrinking: fewer steps, simpler steps and a smaller seed that fail in the same way."""

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from greenroom.runtime.testing import DoesNotFail, Plan, shrink


@dataclass(frozen=True, slots=True)
class Wait:
    seconds: int

    def simpler(self) -> Sequence[object]:
        return [Wait(self.seconds // 2), Wait(self.seconds - 1)] if self.seconds else []


def test_only_the_steps_that_a_failure_needs_are_left() -> None:
    def run(plan: Plan[str]) -> None:
        if "a" in plan.steps and "b" in plan.steps[plan.steps.index("a") :]:
            raise ValueError("a before b")

    plan = Plan(5, (*"xyzxyz", "a", *"xyzzy", "b", *"xyz" * 20))
    assert shrink(plan, run) == Plan(0, ("a", "b"))


def test_a_failure_without_any_step_is_one_of_none() -> None:
    def run(_: Plan[str]) -> None:
        raise ValueError

    assert shrink(Plan(0, tuple("abc")), run) == Plan(0, ())


def test_steps_become_simpler_where_they_know_how() -> None:
    def run(plan: Plan[object]) -> None:
        if sum(step.seconds for step in plan.steps if isinstance(step, Wait)) >= 7:
            raise ValueError("late")

    assert shrink(Plan(0, (Wait(100), "x", Wait(3))), run) == Plan(0, (Wait(7),))


def test_a_smaller_seed_is_found_and_one_that_does_not_fail_is_not() -> None:
    def run(plan: Plan[str]) -> None:
        if plan.seed % 5 == 3:
            raise ValueError

    assert shrink(Plan(93, ("a",)), run).seed == 3


def test_another_failure_is_not_taken_for_the_same() -> None:
    def run(plan: Plan[str]) -> None:
        if "a" in plan.steps and "b" in plan.steps:
            raise ValueError("order: of 17 things")
        if "a" in plan.steps:
            raise ValueError("memory: of 3 things")
        if "b" in plan.steps:
            raise KeyError("order: of 17 things")

    assert shrink(Plan(0, tuple("xaxbx")), run) == Plan(0, ("a", "b"))


def test_a_failure_in_a_group_is_the_failure() -> None:
    def run(plan: Plan[str]) -> None:
        raise ExceptionGroup("tasks", [ExceptionGroup("more", [ValueError(f"order: {len(plan.steps)}")])])

    assert shrink(Plan(0, tuple("abc")), run) == Plan(0, ())


def test_no_more_runs_are_made_than_allowed() -> None:
    runs = []

    def run(plan: Plan[int]) -> None:
        runs.append(plan)
        if 77 in plan.steps:
            raise ValueError

    smaller = shrink(Plan(0, tuple(range(100))), run, runs_max=5)
    assert (len(runs), 77 in smaller.steps, len(smaller.steps) < 100) == (5, True, True)


def test_a_plan_that_runs_well_is_refused() -> None:
    with pytest.raises(DoesNotFail, match="seed 9 with 2 steps runs well"):
        shrink(Plan(9, tuple("ab")), lambda _: None)


def test_a_plan_says_how_it_is_made_again() -> None:
    plan = Plan(3, (Wait(1), "x"))
    assert plan.again() == "Plan(seed=3, steps=(\n    Wait(seconds=1),\n    'x',\n))"
    assert eval(plan.again()) == plan


def test_a_step_need_not_be_hashable() -> None:
    def run(plan: Plan[dict[str, int]]) -> None:
        if {"a": 2} in plan.steps:
            raise ValueError("found")

    steps = tuple({"a": number} for number in range(5))
    assert shrink(Plan(3, steps), run).steps == ({"a": 2},)
