"""Both clients, moved by a real server while they talk: by `greenroom drain`, and by a stop whose socket the next
process has. They come back once, in their slot; nothing is lost, nothing comes twice, and nobody sees 1006."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from conformance import World, run  # type: ignore[import-not-found]
from page_client import listening_socket  # type: ignore[import-not-found]
from person import Person  # type: ignore[import-not-found]
from server_process import ServerProcess  # type: ignore[import-not-found]

HERE = Path(__file__).parent
PYTHON = [sys.executable, str(HERE / "python_driver.py")]
DRIVER_JS = str(HERE.parent.parent / "clients" / "js" / "test" / "driver.js")
PEOPLE = 4
WINDOW_SECONDS = 6.0
LATE_SECONDS_MAX = 1.0 + 1.5  # what a client adds by chance, and what a busy machine does


async def talk(people: list[Person], room: int, lines: int, pause_seconds: float = 0.05) -> None:
    """Everybody says one line after the other, for a while."""
    for line in range(lines):
        for person in people:
            await person.send(room, [f"{person.user_id} {line}"])
        await trio.sleep(pause_seconds)


async def note_return(world: World, person: Person, began: float, came_back: list[float]) -> None:
    await world.wait_report(person, lambda report: report["connects"] == 2)
    came_back.append(trio.current_time() - began)


async def moved_once(people: list[Person]) -> None:
    for person in people:
        report: dict[str, Any] = await person.report()
        assert (report["connects"], report["closes"], report["expected"]) == (2, [4200], [True]), person.name


def drivers(node: str) -> list[list[str]]:
    return [PYTHON, [node, DRIVER_JS]]


async def test_a_drain_moves_both_clients_in_slots_and_they_notice_nothing_else(server: ServerProcess, node: str):
    async def scenario(world: World) -> None:
        people = await world.people(PEOPLE, direct=True)
        room = await world.room(*people)
        await talk(people, room, 3)
        began, came_back = trio.current_time(), list[float]()
        async with trio.open_nursery() as nursery:
            command = server.command("drain", "--window", str(WINDOW_SECONDS), "--json")
            for person in people:
                nursery.start_soon(note_return, world, person, began, came_back)
            nursery.start_soon(talk, people, room, 80)
            said, _ = await trio.to_thread.run_sync(command.communicate)
        assert command.returncode == 0, said
        last = json.loads(said.splitlines()[-1])
        assert (last["state"], last["moved"], last["total"]) == ("drained", PEOPLE, PEOPLE)
        spacing = WINDOW_SECONDS / PEOPLE
        for slot, seconds in enumerate(sorted(came_back)):
            assert seconds >= slot * spacing, f"before its slot: {came_back}"
        assert max(came_back) - min(came_back) >= (PEOPLE - 1) * spacing - LATE_SECONDS_MAX, came_back
        await world.settled(room, *people)
        await moved_once(people)
        undo, _ = await trio.to_thread.run_sync(server.command("drain", "--undo").communicate)
        assert "serving" in undo

    await run(scenario, server, drivers(node))


async def test_a_stop_moves_both_clients_to_the_next_process_and_they_notice_nothing_else(node: str):
    async def scenario(world: World) -> None:
        people = await world.people(PEOPLE, direct=True)
        room = await world.room(*people)
        await talk(people, room, 3)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, people, room, 60)
            assert await trio.to_thread.run_sync(world.server.stop) == 0
            await trio.to_thread.run_sync(world.server.start)
        await world.settled(room, *people)
        await world.wait_here(room, *people)
        await moved_once(people)
        assert not world.server.faults(), world.server.faults()[0]

    with listening_socket() as listener, ServerProcess(listener=listener) as server:
        await trio.to_thread.run_sync(server.start)
        await run(scenario, server, drivers(node))


@pytest.mark.slow(seconds=150)
async def test_drain_after_drain_while_everybody_talks_loses_and_doubles_nothing(server: ServerProcess, node: str):
    async def scenario(world: World) -> None:
        people = await world.people(PEOPLE, direct=True)
        room = await world.room(*people)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(talk, people, room, 700)
            for _ in range(8):
                command = server.command("drain", "--window", "2", "--json")
                await trio.to_thread.run_sync(command.communicate)
                assert command.returncode == 0
        await world.settled(room, *people)
        for person in people:
            report = await person.report(room)
            assert set(report["closes"]) == {4200}, person.name
            assert len(report["closes"]) == 8, person.name
        await trio.to_thread.run_sync(server.command("drain", "--undo").communicate)

    await run(scenario, server, drivers(node))
