"""Actors under a seeded script of faults: what must hold does, after every step, for every seed.

A seed that fails is shrunk, and the failure says the plan: put it into PLANS_THAT_FAILED when the bug is mended.
"""

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import simulated_script
import simulated_world
from simulated_script import (
    SEEDS,
    Actors,
    Burst,
    CloseBusy,
    Commit,
    Crash,
    Do,
    PassivateAlways,
    Starts,
    Storage,
    TakeOver,
    Wait,
    Wall,
    Yield,
    plan_of,
    simulate,
)
from simulated_world import Bounce, Fail, Pass, Put, PutMany, SetAlarm, SetBeat, Spread

from greenroom.runtime import StopReason, lost_turns
from greenroom.runtime.testing import CommitFault, Plan, shrink

SLOW_SEEDS = 6000
SLOW_CHUNK = 250


def run(plan: Plan[Any]) -> None:
    try:
        simulate(plan)
    except BaseException as error:
        smaller = shrink(plan, simulate)
        error.add_note(f"the smallest plan that fails so:\n{smaller.again()}")
        raise


@pytest.mark.parametrize("seed", range(SEEDS))
def test_all_that_must_hold_holds(seed: int) -> None:
    run(plan_of(seed))


@pytest.mark.parametrize(
    "first",
    [pytest.param(first, marks=pytest.mark.slow(seconds=25)) for first in range(SEEDS, SEEDS + SLOW_SEEDS, SLOW_CHUNK)],
)
def test_all_that_must_hold_holds_for_thousands(first: int) -> None:
    for seed in range(first, first + SLOW_CHUNK):
        run(plan_of(seed))


def test_long_scripts_hold_too() -> None:
    for seed in range(3):
        run(plan_of(seed, steps=400))


# -- what the simulation has found, as it was shrunk ------------------------------------------------------------------

PLANS_THAT_FAILED = {
    "a service is held whose start has not begun": Plan(
        seed=0,
        steps=(
            Do("tell", "relay/main", Fail("q:3")),
            Do("tell", "member/m", PutMany("t1:6")),
            Wait(2),
        ),
    ),
    "a service fails again at the moment its group is up": Plan(
        seed=0, steps=(*(Do("tell", "second/main", Fail(f"q:{number}")) for number in range(4)), Wait(20))
    ),
    "a tell that is dropped for a newer one is settled": Plan(seed=0, steps=(Burst("board/x", "t0", 1, 4, False),)),
    "a gate breaks when the system is over": Plan(
        seed=0,
        steps=(
            CloseBusy(),
            Do("tell", "account/a", Fail("q:0", "Shrug"), 0.0),
            Yield(1),
            Storage(0.0, is_away=True),
            Wait(1),
            Do("ask", "first/main", Put("q:57"), 0.05),
            Do("request", "relay/main", Put("t2:5900"), 0.0),
            Yield(1),
        ),
    ),
    "a turn that is being cancelled when the system ends is told of": Plan(
        seed=0,
        steps=(
            CloseBusy(),
            Do("request", "account/c", Put("t1:0"), 0.05),
            Commit(1, "UNKNOWN_LOST"),
            Yield(2),
            Do("ask", "account/c", Bounce("q:57", via="account/b")),
            Yield(8),
        ),
    ),
    "a service has an alarm that is overdue when its node begins": Plan(
        seed=0,
        steps=(
            Do("ask", "second/main", SetBeat("beat:5", 1.33)),
            Yield(6),
            Wall(2810, 2.0),
            Crash(is_stored=False),
        ),
    ),
    "an alarm was set by a node that was displaced, of an actor that is displaced since": Plan(
        seed=0,
        steps=(
            Storage(0.1),
            Do("tell", "first/main", SetBeat("beat:12", 2.95), 0.0),
            TakeOver(1, is_frozen=False),
            Wait(1),
        ),
    ),
    "actors still start when the system has stopped": Plan(
        seed=0,
        steps=(
            CloseBusy(),
            Do("tell", "member/m", PutMany("t2:0")),
            Do("tell", "first/main", SetAlarm("alarm:1", 8.97), 1.0),
            Commit(3, "UNKNOWN_STORED"),
            Wait(1),
            Starts(0.5),
            Do("tell", "account/a", Put("t1:4900")),
            Do("ask", "index/main", Pass("q:50", ("account/c", "account/b", "account/c"))),
        ),
    ),
    "a beat that has failed is tried again, and the wall clock was set back": Plan(
        seed=0,
        steps=(
            Do("request", "account/b", Put("t1:100"), 0.05),
            Do("ask", "account/a", Spread("q:2", ()), 1.0),
            Do("tell", "member/m", Spread("q:6", ("account/b",)), 1.0),
            Do("ask", "index/main", SetBeat("beat:8", 1.01), 0.05),
            Actors("crash_at_command", 7),
            Storage(0.5),
            Wait(0.3),
            Wait(0.3),
            Wait(0.5),
            Wall(-1008, 0.5),
            Wall(378, 2.0),
            Storage(0.0, is_away=True),
            Wait(2),
            Storage(0.1),
            Wait(1.43),
        ),
    ),
    "a gate breaks of an actor that has written as much as it may, and goes as soon as it is idle": Plan(
        seed=0,
        steps=(PassivateAlways(), Burst("member/m", "t1", 3300, 11, is_batch=True), Commit(1, "REFUSED"), Wait(1)),
    ),
    "a service is started again while the system stops": Plan(
        seed=1,
        steps=(
            CloseBusy(),
            Do("request", "account/c", PutMany("t0:0"), 1.0),
            Do("ask", "relay/main", Fail("q:31", "Bug"), 0.05),
            Yield(6),
            Starts(0.5),
            Yield(2),
            Storage(0.0, is_away=True),
        ),
    ),
}


@pytest.mark.parametrize("name", PLANS_THAT_FAILED)
def test_what_was_found_once_stays_mended(name: str) -> None:
    simulate(PLANS_THAT_FAILED[name])


# -- the simulation itself --------------------------------------------------------------------------------------------


def test_a_plan_has_one_trace() -> None:
    assert len({simulate(plan_of(7)).run.trace for _ in range(5)}) == 1
    assert simulate(plan_of(7)).run.trace != simulate(plan_of(8)).run.trace


def test_a_plan_has_one_trace_in_every_process() -> None:
    traces = "from simulated_script import *; print([simulate(plan_of(seed)).run.trace for seed in range(12)])"
    said = {
        subprocess.run(
            [sys.executable, "-c", traces],
            cwd=Path(__file__).parent,
            env=os.environ | {"PYTHONHASHSEED": str(hash_seed)},
            check=True,
            capture_output=True,
        ).stdout
        for hash_seed in range(3)
    }
    assert len(said) == 1


def test_the_script_reaches_every_kind_of_fault() -> None:
    worlds = [simulate(plan_of(seed)) for seed in range(SEEDS)]
    events: Counter[str] = sum((world.events for world in worlds), start=Counter())
    ends = {f"actor.ended: {reason}" for reason in StopReason if reason is not StopReason.MOVED}
    breaks = {f"gate.broken: {fault.outcome.value}" for fault in CommitFault}
    others = {"actor.crashed", "actor.gave_up", "actor.stopped", "supervisor.failed", "supervisor.restarted"}
    assert ends | breaks | others <= set(events)
    carried: Counter[str] = sum((world.node.network.counts for world in worlds), start=Counter())
    assert set(carried) == {"lost", "doubled", "delayed", "carried", "cut off"}


def test_a_plan_that_fails_is_shrunk_to_what_its_failure_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    redo = lost_turns.redo
    monkeypatch.setattr(lost_turns, "redo", lambda cell, lost, **how: redo(cell, lost[:-1], **how))
    plan = next(plan for plan in map(plan_of, range(100)) if fails(plan))
    smaller = shrink(plan, simulate)
    assert len(smaller.steps) <= 10 < len(plan.steps) / 4
    assert eval(smaller.again(), vars(simulated_script) | vars(simulated_world)) == smaller
    assert fails(smaller)
    monkeypatch.undo()
    assert not fails(smaller)


def fails(plan: Plan[Any]) -> bool:
    try:
        simulate(plan)
    except BaseException:
        return True
    return False
