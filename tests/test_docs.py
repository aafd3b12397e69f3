"""The documents stay true: what they list is what there is."""

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from greenroom import runtime
from greenroom.runtime import testing
from greenroom.runtime.context import Context
from greenroom.settings import Settings
from greenroom.settings_table import as_markdown, table

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
# In a code mark, with a capital in the middle, and not of the runtime.
THEIRS = {"ReadableStream"}
OTHERS = {"MockClock", "RoomActor"}


def test_the_table_of_settings_is_the_one_that_the_command_prints() -> None:
    written = (DOCS / "operating.md").read_text().partition("<!-- settings -->")[2].strip()
    assert written == as_markdown(table(Settings(), {})).strip(), "run: greenroom config --markdown"


def test_no_page_links_to_a_file_that_is_not_there() -> None:
    for page in (ROOT / "README.md", *DOCS.glob("**/*.md")):
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_test_that_the_guarantees_name_exists() -> None:
    for target in re.findall(r"`(tests/[^`]+)`", (DOCS / "guarantees.md").read_text()):
        path, _, name = target.partition("::")
        assert (ROOT / path).exists(), target
        assert not name or f"def {name}(" in (ROOT / path).read_text(), target


def test_every_scenario_that_a_page_asks_for_exists() -> None:
    known = {"runtime", *re.findall(r'^        name="([a-z0-9-]+)"', (ROOT / "bench/scenarios.py").read_text(), re.M)}
    for page in (ROOT / "README.md", *DOCS.glob("**/*.md")):
        for names in re.findall(r"bench ONLY=([a-z0-9,-]+)", page.read_text()):
            assert set(names.split(",")) <= known, f"{page.name}: {names}"


@pytest.mark.parametrize("page", ["durable-objects-map.md", "writing-an-actor.md", "architecture.md", "guarantees.md"])
def test_every_name_of_the_runtime_in_a_page_is_there(page: str) -> None:
    """`ctx.write(...)`, `ref.tell`, `Meter`, `@reads`, `idle_seconds_max`: as they stand in code marks."""
    owners = {"ctx": Context, "ref": runtime.Ref, "system": runtime.ActorSystem}
    fields = {
        field.name
        for owner in (runtime.Kind, runtime.Meter, runtime.RestartPolicy, runtime.Supervisor)
        for field in dataclasses.fields(owner)
    }
    options = set(inspect.signature(runtime.open_system).parameters)
    marked = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", (DOCS / page).read_text(), flags=re.M | re.S))
    for text in marked:
        if text.startswith(("ctx.id", "ctx.abort")):  # of Durable Objects
            continue
        for owner, name in re.findall(r"\b(ctx|ref|system)\.([a-z_]+)", text):
            assert hasattr(owners[owner], name) or name in _set_by(owners[owner]), f"{page}: {owner}.{name}"
        for name in re.findall(r"^@([a-z]+)", text):
            assert hasattr(runtime, name), f"{page}: @{name}"
        for name in re.findall(r"^([a-z]+(?:_[a-z]+)*_(?:max|min))$", text):
            assert name in fields | options, f"{page}: {name}"
        for name in re.findall(r"^([A-Z][a-z]+(?:[A-Z][a-z]+)+)\b", text):
            if page == "durable-objects-map.md" and name in THEIRS:
                continue
            assert hasattr(runtime, name) or hasattr(testing, name) or name in OTHERS, f"{page}: {name}"


def _set_by(cls: type) -> set[str]:
    """Attributes that its methods set."""
    return set(re.findall(r"self\.([a-z_]+)\b.* = ", inspect.getsource(cls)))


def test_the_architecture_names_every_file_of_the_runtime_once() -> None:
    table = (DOCS / "architecture.md").read_text().partition("### Its files")[2].partition("\n## ")[0]
    _, _, *lines = [line for line in table.splitlines() if line.startswith("|")]
    named = [name for line in lines for name in re.findall(r"`([a-z_]+)/?`", line.partition(" | ")[0])]
    files = {path.stem for path in (ROOT / "runtime").glob("*.py")} - {"__init__"}
    folders = {path.parent.name for path in (ROOT / "runtime").glob("*/__init__.py")}
    assert sorted(named) == sorted(files | folders), "files that are not named there, or named and not there"
