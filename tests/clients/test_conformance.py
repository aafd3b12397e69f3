"""Both clients keep the contract of docs/clients.md, each with its like and both with each other; conformance.py."""

import subprocess
import sys
from pathlib import Path

import pytest
from conformance import LONG, QUICK, Scenario, World, cuts_of_sends, killed, run  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]

HERE = Path(__file__).parent
PYTHON = [sys.executable, str(HERE / "python_driver.py")]
DRIVER_JS = str(HERE.parent.parent / "clients" / "js" / "test" / "driver.js")


def name_of(scenario: Scenario) -> str:
    return scenario.__name__


@pytest.mark.parametrize("scenario", QUICK, ids=name_of)
async def test_the_python_client_loses_and_doubles_nothing(server: ServerProcess, scenario: Scenario):
    await run(scenario, server, [PYTHON])


@pytest.mark.parametrize("scenario", QUICK, ids=name_of)
async def test_the_javascript_client_loses_and_doubles_nothing(server: ServerProcess, node: str, scenario: Scenario):
    await run(scenario, server, [[node, DRIVER_JS]])


@pytest.mark.parametrize("scenario", [cuts_of_sends, killed], ids=name_of)
async def test_both_clients_in_one_room_have_the_same_log(server: ServerProcess, node: str, scenario: Scenario):
    await run(scenario, server, [PYTHON, [node, DRIVER_JS]])


@pytest.mark.slow(seconds=120)
@pytest.mark.parametrize("scenario", LONG, ids=name_of)
async def test_both_clients_hold_out_longer(server: ServerProcess, node: str, seed: int, scenario: Scenario):
    await run(scenario, server, [PYTHON, [node, DRIVER_JS]], seed=seed)


def test_the_script_runs_by_itself_as_the_page_says():
    command = [sys.executable, str(HERE / "conformance.py"), "--list"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for scenario in QUICK + LONG:
        assert f"{name_of(scenario)}: " in done.stdout, done.stderr


async def test_a_client_that_loses_and_doubles_is_found_out(server: ServerProcess, tmp_path: Path):
    """The script can fail: a driver that tells a message twice, and one that leaves one out, do not pass."""

    async def talk(world: World) -> None:
        world.settle_seconds_max = 3.0
        people = await world.people(2)
        room = await world.room(*people)
        for person in people:
            await person.send(room, ["one", "two"])
        await world.settled(room, *people)

    source = (HERE / "python_driver.py").read_text()
    told = "self.logs.setdefault(event.room_id, []).append(entry)"
    assert told in source
    await run(talk, server, [PYTHON])
    for fault in (f"{told}\n                {told}", f"{told} if event.seq != 2 else None"):
        faulty = tmp_path / "faulty_driver.py"
        faulty.write_text(source.replace(told, fault))
        with pytest.raises(ExceptionGroup) as caught:
            await run(talk, server, [[sys.executable, str(faulty)]])
        assert caught.group_contains(AssertionError, match="entry 1 is|after 3 s")
