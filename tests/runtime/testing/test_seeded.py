"""Seeded runs: one seed is one trace, here and in every process; no thread; a failure says how it is run again.

The first test is the canary of the private names of trio that this stands on.
"""

import os
import random
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from seeded_scenario import broken, race

from greenroom.runtime.testing import CannotSeed, NeverEnds, SeededRun, ThreadRefused, run_seeded

HERE = Path(__file__).parent


async def traced(run: SeededRun) -> tuple[list[int], str]:
    seen = await race(run)
    return seen, run.trace


def test_twenty_runs_of_a_seed_have_one_trace() -> None:
    assert len({str(run_seeded(traced, 17)) for _ in range(20)}) == 1


def test_other_seeds_are_other_interleavings() -> None:
    assert len({str(run_seeded(race, seed)) for seed in range(20)}) > 15


def test_a_seed_has_one_trace_in_every_process_and_under_every_hash_seed() -> None:
    said = {replayed("race", 17, hash_seed) for hash_seed in ("0", "1", "random")}
    assert len(said) == 1
    assert said != {replayed("race", 18, "0")}


def replayed(name: str, seed: int, hash_seed: str = "0") -> str:
    command = [sys.executable, "-m", "greenroom.runtime.testing", str(HERE / f"seeded_scenario.py:{name}"), str(seed)]
    ran = subprocess.run(
        command, env=os.environ | {"PYTHONHASHSEED": hash_seed}, capture_output=True, text=True, check=False
    )
    return ran.stdout or ran.stderr


def test_a_failure_says_its_seed_and_the_command_that_replays_it() -> None:
    with pytest.raises(ValueError, match="on purpose") as caught:
        run_seeded(broken, 23)
    (note,) = caught.value.__notes__
    assert note.startswith("seed 23; again: python -m greenroom.runtime.testing ")
    assert note.endswith("seeded_scenario.py:broken 23")
    assert "ValueError: on purpose" in replayed("broken", 23)


class Broken:
    async def run(self, _: SeededRun) -> None:
        raise ValueError("on purpose")


def test_of_a_method_there_is_no_command_and_none_is_said() -> None:
    with pytest.raises(ValueError, match="on purpose") as caught:
        run_seeded(Broken().run, 23)
    assert caught.value.__notes__ == ["seed 23; again: run_seeded with the same function and this seed"]


def test_a_command_of_ones_own_can_be_said() -> None:
    with pytest.raises(ValueError, match="on purpose") as caught:
        run_seeded(broken, 3, replay="make again SEED={seed}")
    assert caught.value.__notes__ == ["seed 3; again: make again SEED=3"]


@pytest.mark.parametrize("arguments", [[], ["no/such/file.py:race", "1"], [f"{HERE}/seeded_scenario.py:race", "one"]])
def test_what_names_nothing_is_told_the_usage(arguments: list[str]) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "greenroom.runtime.testing", *arguments], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, "usage" in ran.stderr) == (1, True)


def test_threads_are_refused() -> None:
    async def by_trio(_: SeededRun) -> None:
        await trio.to_thread.run_sync(int)

    async def by_hand(_: SeededRun) -> None:
        threading.Thread(target=int).start()

    trio.run(trio.to_thread.run_sync, int)  # so that trio has an idle one, which it need not start
    for fn in (by_trio, by_hand):
        with pytest.raises(ThreadRefused, match="behind a port"):
            run_seeded(fn, 1)
    trio.run(trio.to_thread.run_sync, int)
    threading.Thread(target=int).start()


def test_a_run_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("greenroom.runtime.testing.seeded.STEPS_MAX", 1000)

    async def busy(_: SeededRun) -> None:
        while True:
            await trio.lowlevel.checkpoint()

    with pytest.raises(NeverEnds, match="not over after 1000 steps"):
        run_seeded(busy, 1)


def test_time_is_virtual() -> None:
    async def hour(run: SeededRun) -> tuple[float, int]:
        began, wall = trio.current_time(), run.clock.wall_milliseconds()
        await trio.sleep(3600)
        return trio.current_time() - began, run.clock.wall_milliseconds() - wall

    assert run_seeded(hour, 1) == (3600, 3_600_000)


def test_what_the_test_draws_does_not_change_what_the_runtime_draws() -> None:
    async def draws(run: SeededRun) -> tuple[float, float]:
        return run.choices.random(), run.randomness.random()

    async def draws_more(run: SeededRun) -> tuple[float, float]:
        return (run.choices.random(), run.choices.random())[0], run.randomness.random()

    assert run_seeded(draws, 5) == run_seeded(draws_more, 5) != run_seeded(draws, 6)


def test_trio_is_left_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = trio._core._run._r
    monkeypatch.setattr(trio._core._run, "_ALLOW_DETERMINISTIC_SCHEDULING", False)
    before = generator.getstate()
    with pytest.raises(ValueError, match="on purpose"):
        run_seeded(broken, 1)
    assert generator.getstate() == before
    assert not trio._core._run._ALLOW_DETERMINISTIC_SCHEDULING


@pytest.mark.parametrize(
    "other",
    [
        SimpleNamespace(_r=random.Random()),
        SimpleNamespace(_r=None, _ALLOW_DETERMINISTIC_SCHEDULING=False),
        SimpleNamespace(_ALLOW_DETERMINISTIC_SCHEDULING=False),
    ],
)
def test_a_trio_that_schedules_otherwise_is_refused(other: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio._core, "_run", other)
    with pytest.raises(CannotSeed, match=r"mend seeded\.py"):
        run_seeded(race, 1)


def test_a_trio_that_is_too_old_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio, "__version__", "0.29.1")
    with pytest.raises(CannotSeed, match=r"0\.29\.1"):
        run_seeded(race, 1)
