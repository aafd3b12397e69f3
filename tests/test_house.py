"""The house rules that a machine can check: what stands where, and who may import whom.

    cli, commands ─▶ compose ─▶ http, control ─▶ actors ─▶ storage ─▶ runtime.ports
    runtime knows trio, the standard library and itself; its public names may be imported by all above storage

What departs from a rule today is listed beside it, with the reason. An entry that is not needed any more fails too, so
the lists only get shorter.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

import greenroom.runtime

ROOT = Path(__file__).parent.parent
FOLDERS = ("runtime", "actors", "http", "storage")
PACKAGE = ROOT / "src" / "greenroom"
LINES_MAX = 450

# Whom a part may import, beside itself and what needs nobody (LEAVES). Parts of greenroom, by their dotted beginnings.
LEAVES = (
    "greenroom.setting_kinds",
    "greenroom.settings",
    "greenroom.log",
    "greenroom.secret_file",
    "greenroom.settings_table",
    "greenroom.client",
)
MAY_IMPORT = {
    "runtime": (),
    "storage": ("greenroom.runtime.ports",),
    "actors": ("greenroom.runtime", "greenroom.storage"),
    "http": ("greenroom.runtime", "greenroom.storage", "greenroom.actors", "greenroom.settings"),
    "control": ("greenroom.runtime", "greenroom.storage"),
    "compose": ("greenroom",),
    "compose_storage": ("greenroom.storage", "greenroom.settings", "greenroom.attachments", "greenroom.this_machine"),
    "this_machine": ("greenroom.storage", "greenroom.settings", "greenroom.secret_file"),
    "commands": ("greenroom",),
    "cli": ("greenroom",),
    "__main__": ("greenroom.cli",),
    "settings": ("greenroom.setting_kinds",),
    "settings_table": ("greenroom.settings",),
    "attachments": ("greenroom.settings", "greenroom.storage"),
    "mail": ("greenroom.settings", "greenroom.actors"),
    "client": (),
}
KNOWN_DIRECTIONS: dict[tuple[str, str], str] = {}
# Only the name `greenroom.runtime` itself is public; these reach below it.
KNOWN_BELOW_RUNTIME: dict[tuple[str, str], str] = {}  # and why
KNOWN_LONG: dict[str, int] = {}  # and how long they may get
KNOWN_NAMES = {
    "http/rest/email.py": "named after its resource, as its neighbours are",
    "runtime/mailbox.py": "the field's word for it",
    "src/greenroom/commands/token.py": "named after its command, as its neighbours are",
}
# Where each library may be met.
ONLY_IN = {
    "asyncio": ("storage/asyncio_bridge.py",),
    "trio_asyncio": ("storage/asyncio_bridge.py",),
    "asyncpg": ("storage/postgres/",),
    "quart": ("http/",),
    "quart_trio": ("http/", "src/greenroom/compose.py"),  # compose names the type of the application
    "quart_schema": ("http/",),
    "hypercorn": ("http/",),
    "httpx": ("actors/providers/transport.py",),
    "trio_websocket": ("src/greenroom/client/connection.py",),
    "typer": ("src/greenroom/cli.py", "src/greenroom/commands/"),
}
# Settings are read once. What else is asked of the environment are facts of the machine: PATH, XDG folders.
ENVIRONMENT_IN = {
    "src/greenroom/settings.py",
    "src/greenroom/commands/config.py",
    "src/greenroom/commands/serve.py",  # LISTEN_FDS counts for one process
    "storage/postgres/account.py",
    "storage/postgres/cluster.py",
    "storage/postgres/data_directory.py",
    "storage/postgres/socket_folder.py",
}


def test_http_has_no_init_file():
    """With one, `import http.client` from this folder finds it first, and pip, venv and urllib die."""
    assert not (ROOT / "http" / "__init__.py").exists()


def test_tests_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_package_reaches_each_folder_through_a_link(folder: str):
    link = PACKAGE / folder
    assert link.is_symlink()
    assert str(link.readlink()) == f"../../{folder}"


def test_no_file_is_named_as_a_module_of_the_standard_library():
    names = {name for name in sys.stdlib_module_names if not name.startswith("_")}
    found = {path for path in sources() if Path(path).stem in names}
    assert found == set(KNOWN_NAMES)
    folders = {part for path in sources() for part in Path(path).parent.parts}
    assert folders & names == {"http"}


def test_imports_go_one_way():
    found = set()
    for path, module in imports("greenroom"):
        part = part_of(path)
        allowed = MAY_IMPORT.get(part, ())
        itself = f"greenroom.{part}"
        if not any(is_within(module, name) for name in (*allowed, itself)) and module != "greenroom.__version__":
            found.add((path, below(module)))
    assert found == set(KNOWN_DIRECTIONS), "imports against the direction, or a known one that is gone"


def test_only_compose_and_the_commands_import_http():
    importers = {path for path, module in imports("greenroom.http") if not path.startswith("http/")}
    assert {part_of(path) for path in importers} <= {"compose", "commands"}


def test_what_needs_nobody_imports_nobody():
    leaves = {name.removeprefix("greenroom.") for name in LEAVES}
    found = {(part_of(path), module) for path, module in imports("greenroom") if part_of(path) in leaves}
    outside = {(part, module) for part, module in found if not is_within(module, f"greenroom.{part}")}
    assert {part for part, _ in outside} == {"settings", "settings_table"}
    assert all(any(is_within(module, name) for name in MAY_IMPORT[part]) for part, module in outside)


def test_only_public_names_of_the_runtime_are_used_outside_it():
    public = {f"greenroom.runtime.{name}" for name in greenroom.runtime.__all__}
    found = {
        (path, below(module))
        for path, module in imports("greenroom.runtime")
        if part_of(path) in ("actors", "http", "control", "compose", "commands", "cli") and module not in public
    }
    assert found == set(KNOWN_BELOW_RUNTIME)


def test_the_runtime_knows_trio_and_the_standard_library_alone():
    known = {*sys.stdlib_module_names, "trio", "greenroom"}
    found = {(path, module) for path, module in imports("") if path.startswith("runtime/")}
    assert {(path, module) for path, module in found if module.partition(".")[0] not in known} == set()


@pytest.mark.parametrize("library", ONLY_IN)
def test_a_library_is_met_in_its_own_place(library: str):
    found = {path for path, _ in imports(library)}
    assert {path for path in found if not path.startswith(ONLY_IN[library])} == set()


def test_the_environment_is_read_where_settings_are_made():
    pattern = re.compile(r"\bos\.(environ|getenv)\b")
    assert {path for path, text in sources().items() if not is_test(path) and pattern.search(text)} == ENVIRONMENT_IN


def test_every_module_says_what_it_is_for():
    assert [path for path in sources() if not ast.get_docstring(tree(path))] == []


def test_files_stay_short():
    long = {path: text.count("\n") for path, text in sources().items() if not is_test(path)}
    long = {path: lines for path, lines in long.items() if lines > LINES_MAX}
    assert sorted(long) == sorted(KNOWN_LONG), (
        f"files of more than {LINES_MAX} lines, or a known one that is short again"
    )
    assert {path: lines for path, lines in long.items() if lines > KNOWN_LONG[path]} == {}


def test_nothing_is_left_to_be_done_later_in_the_code():
    marks = re.compile("|".join(("FIX" + "ME", "XX" + "X\\b", "TO" + "DO")))
    assert [path for path, text in sources().items() if marks.search(text)] == []


def test_the_program_speaks_through_its_log_or_the_command_line():
    def prints(path: str) -> bool:
        return any(isinstance(node, ast.Name) and node.id == "print" for node in ast.walk(tree(path)))

    assert [path for path in sources() if not is_test(path) and prints(path)] == []


def test_nothing_speaks_of_the_machine_it_was_written_on():
    # Spelled so that this file does not speak of it either. The last three are hosts of package registries.
    names = ("/wo" + "rk/", r"\.py" + "env", "pypi" + r"\.org", "npmjs" + r"\.", "deb" + r"\.debian\.org")
    places = re.compile("|".join(names))
    assert [path for path, text in texts() if places.search(text)] == []


# -- what is looked at -------------------------------------------------------------------------------------------------


@cache
def sources() -> dict[str, str]:
    """Every Python file of the project by its path from the root, without the links."""
    found = [*PACKAGE.glob("*.py"), *(ROOT / "tests").rglob("*.py")]
    for folder in ("client", "commands", "control"):
        found += (PACKAGE / folder).rglob("*.py")
    for folder in FOLDERS:
        found += (ROOT / folder).rglob("*.py")
    return {str(path.relative_to(ROOT)): path.read_text("utf-8") for path in sorted(found)}


def texts() -> Iterator[tuple[str, str]]:
    """Every file that people read."""
    yield from sources().items()
    others = [ROOT / "Makefile", ROOT / ".ci" / "run", ROOT / "pyproject.toml"]
    others += [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
    for folder in (*FOLDERS, "bench", "clients"):
        for ending in ("sql", "html", "js", "ts", "css", "j2"):
            others += (path for path in (ROOT / folder).rglob(f"*.{ending}") if "node_modules" not in path.parts)
    for path in others:
        yield str(path.relative_to(ROOT)), path.read_text("utf-8")


def is_test(path: str) -> bool:
    return path.startswith("tests/")


@cache
def tree(path: str) -> ast.Module:
    return ast.parse(sources()[path], path)


def imports(beginning: str) -> Iterator[tuple[str, str]]:
    """(file, dotted name) of what the sources import, each imported name with its module; tests are left out."""
    return ((path, module) for path, module in _imports() if not beginning or is_within(module, beginning))


@cache
def _imports() -> list[tuple[str, str]]:
    return [(path, module) for path in sources() if not is_test(path) for module in names_imported(tree(path))]


def names_imported(module: ast.Module) -> Iterable[str]:
    for node in ast.walk(module):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def part_of(path: str) -> str:
    """runtime, storage, actors, http; of src/greenroom the file or folder."""
    parts = Path(path).parts
    return Path(parts[2]).stem if parts[0] == "src" else parts[0]


def is_within(module: str, beginning: str) -> bool:
    return module == beginning or module.startswith(beginning + ".")


def below(module: str) -> str:
    """greenroom.runtime.deadlines.Deadline: greenroom.runtime.deadlines."""
    return ".".join(module.split(".")[:3])
