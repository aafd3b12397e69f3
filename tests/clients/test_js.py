"""The JavaScript client by itself: its own tests under node's runner, and its types under tsc."""

import re
import subprocess
from pathlib import Path

JS = Path(__file__).parent.parent.parent / "clients" / "js"


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=JS, capture_output=True, text=True, check=False, timeout=120)


def test_its_own_tests_pass(node: str):
    done = run(node, "--test", "--test-reporter=tap", *(str(path) for path in sorted(JS.glob("test/*.test.js"))))
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    counted = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert counted is not None
    assert int(counted[1]) >= 20, done.stdout
    print(f"{counted[1]} tests passed under node")


def test_its_types_are_right_and_refuse_what_is_wrong(node: str):
    done = run(node, "node_modules/typescript/bin/tsc", "-p", ".")
    assert done.returncode == 0, done.stdout


def test_it_needs_nothing_but_itself():
    for path in (JS / "index.js", *JS.glob("src/*.js")):
        for target in re.findall(r"\bfrom \"([^\"]+)\"", path.read_text()):
            assert target.startswith("./"), f"{path.name} imports {target}"


def test_its_package_has_the_licence():
    assert (JS / "LICENSE").read_text() == (JS.parent.parent / "LICENSE").read_text()
