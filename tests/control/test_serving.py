"""A system of one's own can be looked into: the socket, the real client, and the real commands."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import trio

from greenroom.control.client import connect
from greenroom.control.errors import Refused
from greenroom.control.serving import serve_control
from greenroom.runtime import Actor, Command, Kind, handles, open_system
from greenroom.runtime.testing import MemoryCommitter


@dataclass(frozen=True, slots=True)
class Note(Command[int]):
    pass


class Room(Actor):
    @handles(Note)
    def note(self, _: Note) -> int:
        return 1


def attach(directory: Path, source: str) -> object:
    with connect(directory) as running:
        return running.ask("attach", source=source)


async def test_the_commands_look_into_any_system(open_folder: Path):
    async with (
        open_system([Kind("mine", lambda _: Room())], committer=MemoryCommitter()) as system,
        serve_control(system, open_folder) as is_served,
    ):
        assert is_served
        await system.ref("mine", 1).ask(Note(), deadline=trio.current_time() + 5)
        kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = await trio.run_process(
            [sys.executable, "-m", "greenroom", "tree"],
            env={**kept, "GREENROOM_DATA_DIR": str(open_folder)},
            capture_stdout=True,
            stderr=subprocess.STDOUT,
        )
        said = done.stdout.decode()
        assert said.startswith("system  one_for_one, 0 restarts\n└─ mine  1 in memory"), said
        assert "mine/1  ready, 0 waiting (most 1), 1 turn\n" in said


async def test_nobody_attaches_unless_the_program_says_so(open_folder: Path):
    async with open_system([Kind("mine", lambda _: Room())], committer=MemoryCommitter()) as system:
        async with serve_control(system, open_folder):
            with pytest.raises(Refused, match="attach=True"):
                await trio.to_thread.run_sync(lambda: attach(open_folder, "1 + 1"))
        async with serve_control(system, open_folder, attach=True, names={"answer": 42}):
            source = "answer + len(system.kinds)"
            assert await trio.to_thread.run_sync(lambda: attach(open_folder, source)) == "43\n"
