"""The commands by name: what is imported for which, and what help says of them."""

import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from greenroom.commands.app import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_a_command_what_it_says_of_itself(name: str):
    module = import_module(f"greenroom.commands.{COMMANDS[name].module}")
    said = module.app.info.help if hasattr(module, "app") else inspect.getdoc(getattr(module, name))
    assert COMMANDS[name].sentence == " ".join(said.split("\n\n")[0].split())


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], [], ["nonsense"], ["--nonsense"]])
def test_what_runs_no_command_imports_none(arguments: list[str]):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "greenroom", *arguments], capture_output=True, text=True, check=False
    )
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "greenroom.commands.app" in imported
    assert not imported & {f"greenroom.commands.{command.module}" for command in COMMANDS.values()}
    assert "greenroom.settings" not in imported


@pytest.mark.parametrize("name", ["serve", "chat"])
def test_what_no_command_uses_is_not_read(name: str):
    """It is installed here, and libraries read it where it is. What does use it, as help does rich, still can."""
    source = f"""
import sys
from greenroom.commands.app import UNUSED, greenroom, load
load(["{name}"])
greenroom()
print({{module.partition(".")[0] for module in sys.modules}} & {{*UNUSED, "structlog", "typer"}})
import cryptography, rich
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    assert done.stdout in ("{'structlog', 'typer'}\n", "{'typer', 'structlog'}\n"), done.stderr
    assert done.returncode == 0, done.stderr


def test_what_is_no_command_is_told_with_the_one_that_is_like_it():
    done = subprocess.run([sys.executable, "-m", "greenroom", "serv"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "'serve'" in done.stderr


def test_a_command_runs_after_the_end_of_options_too():
    done = subprocess.run(
        [sys.executable, "-m", "greenroom", "--", "config", "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert '"PORT"' in done.stdout
