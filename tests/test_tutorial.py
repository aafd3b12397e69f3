"""docs/writing-an-actor.md: every chapter is a program that runs, prints what stands below it, and has right types."""

import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "writing-an-actor.md"


def chapters() -> dict[str, tuple[str, str]]:
    """By its heading, the program and what it prints. A chapter without code is none."""
    found = {}
    for chapter in re.split(r"^## ", PAGE.read_text("utf-8"), flags=re.MULTILINE)[1:]:
        blocks = re.findall(r"^```(\w+)\n(.*?)^```$", chapter, re.MULTILINE | re.DOTALL)
        assert {kind for kind, _ in blocks} <= {"python", "text"}, "a block that nothing checks"
        if blocks:
            program = "\n\n".join(text.strip() for kind, text in blocks if kind == "python") + "\n"
            printed = [text for kind, text in blocks if kind == "text"]
            assert len(printed) == 1, chapter
            found[chapter.partition("\n")[0]] = (program, printed[0])
    return found


CHAPTERS = chapters()


def test_there_are_chapters():
    assert {"A counter", "A counter that is kept", "A room", "Supervision"} <= set(CHAPTERS)


@pytest.mark.parametrize("heading", CHAPTERS)
def test_a_chapter_prints_what_stands_below_it(heading, capsys, monkeypatch):
    program, printed = CHAPTERS[heading]
    module = ModuleType("chapter")
    monkeypatch.setitem(sys.modules, "chapter", module)
    exec(compile(program, f"{PAGE.name}: {heading}", "exec"), module.__dict__)
    assert capsys.readouterr().out == printed


def test_every_chapter_has_right_types(tmp_path):
    for number, (program, _) in enumerate(CHAPTERS.values()):
        (tmp_path / f"chapter_{number}.py").write_text(program, "utf-8")
    command = [sys.executable, "-m", "mypy", "--config-file", "", "--strict", "--no-error-summary"]
    command += ["--cache-dir", str(ROOT / ".mypy_cache" / "tutorial"), str(tmp_path)]
    ran = subprocess.run(
        command, cwd=ROOT, env={"MYPYPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False
    )
    assert ran.stdout + ran.stderr == ""
