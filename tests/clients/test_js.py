"""The JavaScript client by itself: its own tests under node's runner, and its types under tsc.

What the scripted server of these tests says, and what the client says to it, is held to the AsyncAPI document.
"""

import json
import os
import re
import subprocess
from pathlib import Path

from frames_seen import Told, strictly  # type: ignore[import-not-found]

JS = Path(__file__).parent.parent.parent / "clients" / "js"

# Says what is right, what is marked as wrong, and three things that are wrong: one the client, two the server.
SAYING = """
import WebSocket from "ws";
import { ScriptedServer } from "./test/scripted_server.js";
const server = new ScriptedServer();
const socket = new WebSocket(`${await server.address()}/ws`.replace("http", "ws"), "greenroom.v1");
socket.onopen = () => {
  socket.send(JSON.stringify({ type: "start", id: "s", data: {}, extra: 1 }));
  socket.send(JSON.stringify({ type: "members", id: "m", room: 42 }));
};
const line = await server.ready([42, 0]);
const asked = await line.heard("members");
line.ack(asked);
line.sayWrong({ type: "of_tomorrow" });
line.say({ type: "of_yesterday" });
line.say({ type: "ack", id: asked.id, room: 42, data: {} });
socket.close();
server.close();
"""


def run(*command: str, seen_in: Path | None = None) -> subprocess.CompletedProcess[str]:
    """seen_in: the file for what scripted servers say and hear."""
    env = os.environ | ({} if seen_in is None else {"FRAMES_SEEN_IN": str(seen_in)})
    return subprocess.run(command, cwd=JS, env=env, capture_output=True, text=True, check=False, timeout=120)


def faults_in(seen: Path) -> list[str]:
    with strictly() as found:
        Told(seen).look()
    return found


def test_its_own_tests_pass(node: str, tmp_path: Path):
    seen = tmp_path / "seen"
    tests = (str(path) for path in sorted(JS.glob("test/*.test.js")))
    # Four files at a time: they wait, for what a real client waits for, and take a tenth of their time to compute.
    done = run(node, "--test", "--test-concurrency=4", "--test-reporter=tap", *tests, seen_in=seen)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr
    counted = re.search(r"^# pass (\d+)$", done.stdout, re.MULTILINE)
    assert counted is not None
    assert int(counted[1]) >= 20, done.stdout
    told = [json.loads(line) for line in seen.read_text().splitlines()]
    kinds = {(side, frame["type"]) for _, side, frame, _ in told}
    assert kinds >= {("server", "hello"), ("client", "start"), ("server", "message"), ("client", "send")}
    found = faults_in(seen)
    assert not found, f"{len(found)} frames that are not in docs/asyncapi.json:\n" + "\n".join(found[:5])
    print(f"{counted[1]} tests passed under node, with {len(told)} frames")


def test_what_is_wrong_and_not_marked_is_found(node: str, tmp_path: Path):
    seen = tmp_path / "seen"
    done = run(node, "--input-type=module", "-e", SAYING, seen_in=seen)
    assert done.returncode == 0, done.stderr
    of_client, of_type, of_answer = faults_in(seen)
    assert "taken by the server: start: " in of_client
    assert "there is no frame 'of_yesterday'" in of_type
    assert "made by the server: ack_members: " in of_answer


def test_its_types_are_right_and_refuse_what_is_wrong(node: str):
    done = run(node, "node_modules/typescript/bin/tsc", "-p", ".")
    assert done.returncode == 0, done.stdout


def test_it_needs_nothing_but_itself():
    for path in (JS / "index.js", *JS.glob("src/*.js")):
        for target in re.findall(r"\bfrom \"([^\"]+)\"", path.read_text()):
            assert target.startswith("./"), f"{path.name} imports {target}"


def test_its_package_has_the_licence():
    assert (JS / "LICENSE").read_text() == (JS.parent.parent / "LICENSE").read_text()
