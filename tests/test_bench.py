"""The benches as far as they can be wrong without being run: who takes part in what, and who writes which part."""

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

BENCH = Path(__file__).parent.parent / "bench"


def module(path: str) -> ModuleType:
    """A file of bench/, which is no package."""
    name = f"bench_{Path(path).stem}"
    if str(folder := (BENCH / path).parent) not in sys.path:  # where it finds its neighbours when it is run
        sys.path.append(str(folder))
    spec = importlib.util.spec_from_file_location(name, BENCH / path)
    assert spec is not None
    assert spec.loader is not None
    made = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.fixture
def document():
    return module("document.py")


def test_each_bench_leaves_the_part_of_the_other_as_it_stands(document, tmp_path):
    page = tmp_path / "benchmarks.md"
    document.write_servers("# Benchmarks\n\nfanout 1", page)
    document.write_runtime("## The actor runtime\n\ntell 1", page)
    document.write_servers("# Benchmarks\n\nfanout 2", page)
    document.write_runtime("## The actor runtime\n\ntell 2", page)
    mark = document.RUNTIME_MARK
    assert page.read_text() == f"# Benchmarks\n\nfanout 2\n\n{mark}\n\n## The actor runtime\n\ntell 2\n"


def test_the_page_has_its_heading_when_the_runtime_is_written_first(document, tmp_path):
    page = tmp_path / "benchmarks.md"
    document.write_runtime("## The actor runtime", page)
    assert page.read_text().startswith("# Benchmarks\n")


def test_every_contestant_has_what_the_scenarios_ask_of_it():
    scenarios = module("runtime/actor_scenarios.py")
    can = {
        "greenroom": set(module("runtime/greenroom_actors.py").SCENARIOS),
        "pykka": set(module("runtime/pykka_actors.py").SCENARIOS),
        "erlang": set(
            re.findall(r'^scenario\("([a-z0-9-]+)"', (BENCH / "runtime/erlang_actors.escript").read_text(), re.M)
        ),
    }
    for scenario in scenarios.SCENARIOS:
        for contestant in scenario.contestants:
            assert scenario.name in can[contestant], (scenario.name, contestant)
    for row in scenarios.ROWS:
        assert row.scenario in can["greenroom"]
        assert row.peer is None or row.peer in can


def test_a_row_is_judged_on_the_best_run_and_in_its_own_direction():
    scenarios = module("runtime/actor_scenarios.py")
    assert scenarios.best_of([{"p50_ms": 2, "per_second": 10}, {"p50_ms": 1, "per_second": 9}]) == {
        "p50_ms": 1,
        "per_second": 10,
    }
    rows = {(row.scenario, row.unit): row for row in scenarios.ROWS}
    slow = {"greenroom": {"per_second": 29_000.0, "p50_ms": 6.1}}
    fast = {"greenroom": {"per_second": 31_000.0, "p50_ms": 5.9}}
    for unit in ("k/s", "ms"):
        row = rows["commit", unit]
        assert not row.holds(row.value(slow))
        assert row.holds(row.value(fast))


def test_a_scenario_takes_as_many_rooms_as_the_machine_allows():
    scenario = next(one for one in module("scenarios.py").SCENARIOS if one.name == "idle-20000")
    assert scenario.fitted(50_000) == scenario
    assert (scenario.fitted(19_400).rooms, scenario.fitted(19_400).members) == (19, 1000)
    assert scenario.fitted(10).rooms == 1


def test_a_machine_that_allows_too_few_sockets_for_20_000_does_not_hold_the_row():
    scenario = next(one for one in module("scenarios.py").SCENARIOS if one.name == "idle-20000")
    assert scenario.rooms * scenario.members == 20_000
    rows = module("rows.py")
    (row,) = (one for one in rows.ROWS if one.scenario == scenario.name and one.what == "connections held at once")

    def verdict(files, lost=0):
        fitted = scenario.fitted(files - module("run.py").FILES_BESIDES)
        counted = {"connections": fitted.rooms * fitted.members, "missing": lost, "errors": 0}
        return rows.judge(row, [{"greenroom": counted}])

    assert verdict(20_000).passed
    assert verdict(65_536).passed
    assert not verdict(19_000).passed
    assert not verdict(4096).passed
    assert not verdict(65_536, lost=1).passed


def counted(**more):
    """What a client counts, with nothing amiss."""
    return {"client_cpu_seconds": 1.0, "seconds": 10.0, "errors": 0, "others": 0, "lost": 0, **more}


def verdicts(scenario, outcome):
    """Of the rows that need no peer, by what they say."""
    rows, client, usage = module("rows.py"), module("client.py"), module("processes.py").Usage
    now = usage(server_cpu_seconds=5.0, postgres_cpu_seconds=2.0, server_memory_kb=90_000.0, machine_cpu_seconds=9.0)
    metrics = module("metrics.py").metrics_of(scenario, client.Outcome(outcome, usage(0, 0, 0, 0), now))
    metrics = {name: metrics.get(name, 0.0) for name in (*metrics, *scenario.columns)}
    own = [row for row in rows.ROWS if row.scenario == scenario.name and row.peer is None]
    return {row.what: rows.judge(row, [{"greenroom": metrics}]).passed for row in own}


def rooms_at(rate, **more):
    """500 a second for 10 seconds, of which so many a second were done by then."""
    late = {"p50": 9.0, "p99": 40.0}
    every = counted(sent=5000, delivered=125_000, unacknowledged=0, connects=5000, sockets=5000, delivery_ms=late)
    scenario = next(one for one in module("scenarios.py").SCENARIOS if one.name == "fanout-rooms")
    return verdicts(scenario, every | {"per_second": rate} | more)


def test_a_rate_that_is_not_reached_a_lost_message_and_a_lost_ack_are_told_each():
    assert set(rooms_at(498.0).values()) == {True}
    told = rooms_at(494.0)
    assert [what for what, passed in told.items() if not passed] == ["messages, acknowledged and told to all"]
    assert set(rooms_at(498.0, delivered=124_999).values()) == {False}
    assert set(rooms_at(498.0, unacknowledged=1).values()) == {False}


@pytest.mark.parametrize(
    ("more", "missed"),
    [
        ({}, []),
        ({"live_seconds": 15.2}, ["from the kill to all live again"]),
        ({"missed": 1}, ["lost or doubled"]),
        ({"doubled": 1}, ["lost or doubled"]),
        ({"asked_beyond_start": 401}, ["database questions, beyond a start's, for each room"]),
    ],
)
def test_a_storm_is_judged_by_its_time_by_what_was_lost_and_by_questions_for_each_room(more, missed):
    scenario = next(one for one in module("scenarios.py").SCENARIOS if one.name == "resume-storm")
    assert (scenario.rooms, scenario.members) == (50, 100)
    storm = counted(start_seconds=2.0, live_seconds=13.0, asked=500, asked_beyond_start=400, missed=0, doubled=0)
    told = verdicts(scenario, storm | more)
    assert [what for what, passed in told.items() if not passed] == missed
    assert len(told) == 3


def test_every_column_and_row_of_the_scenarios_is_known():
    scenarios, report, rows = module("scenarios.py"), module("report.py"), module("rows.py")
    names = {one.name for one in scenarios.SCENARIOS}
    assert {name for one in scenarios.SCENARIOS for name in one.columns} <= set(report.COLUMNS)
    assert {row.scenario for row in rows.ROWS} <= names
