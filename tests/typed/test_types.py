"""What type checkers see of the runtime: mypy --strict and pyright --strict, over files that are never run.

right.py must be taken, with the types that it asserts; of wrong.py exactly the lines must be refused that say so.
"""

import json
import re
import subprocess
import sys
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
FILES = ("right.py", "wrong.py")
CACHE = ROOT / ".mypy_cache" / "typed"
MARK = re.compile(r"# error: (\S+) (\S+)$")

Refused = dict[int, set[str]]
"""By line, what a checker complains of there."""


@cache
def mypy_says() -> dict[str, Refused]:
    """Of every file, with the settings of nobody but this test."""
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--strict", "--no-error-summary", "--no-pretty"]
    command += ["--explicit-package-bases", "--cache-dir", str(CACHE), *(str(HERE / name) for name in FILES)]
    ran = subprocess.run(
        command, cwd=ROOT, env={"MYPYPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False
    )
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    said: dict[str, Refused] = {name: defaultdict(set) for name in FILES}
    for path, line, code in re.findall(r"^(.+?):(\d+): error: .*\[([a-z-]+)\]$", ran.stdout, re.MULTILINE):
        said[Path(path).name][int(line)].add(code)  # a file that is not ours is a KeyError: the runtime itself is wrong
    assert sum(len(codes) for lines in said.values() for codes in lines.values()), ran.stdout + ran.stderr
    return said


@cache
def pyright_says() -> dict[str, Refused]:
    """Of every file, with the settings beside them."""
    command = [sys.executable, "-m", "pyright", "--outputjson", "--project", str(HERE), "--pythonpath", sys.executable]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode in (0, 1), ran.stdout + ran.stderr
    said: dict[str, Refused] = {name: defaultdict(set) for name in FILES}
    for found in json.loads(ran.stdout)["generalDiagnostics"]:
        if found["severity"] == "error":
            said[Path(found["file"]).name][found["range"]["start"]["line"] + 1].add(found.get("rule", "syntax"))
    return said


def expected() -> dict[int, tuple[str, str]]:
    """Of wrong.py, by line: mypy's code, of which one must come, and pyright's rule."""
    lines = (HERE / "wrong.py").read_text("utf-8").splitlines()
    marks = {number: MARK.search(line) for number, line in enumerate(lines, 1)}
    return {number: (mark[1], mark[2]) for number, mark in marks.items() if mark is not None}


@pytest.mark.parametrize("says", [mypy_says, pyright_says])
def test_right_uses_are_taken_with_the_types_that_they_assert(says):
    assert dict(says()["right.py"]) == {}


@pytest.mark.parametrize(("says", "column"), [(mypy_says, 0), (pyright_says, 1)])
def test_wrong_uses_are_refused_and_nothing_else_is(says, column):
    refused, wanted = says()["wrong.py"], expected()
    assert len(wanted) > 40
    assert sorted(refused) == sorted(wanted), "lines that are refused, and those that say so"
    other = {line: refused[line] for line in wanted if not refused[line] & set(wanted[line][column].split(","))}
    assert other == {}, "refused for another reason"
