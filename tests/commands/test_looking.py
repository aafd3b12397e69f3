"""`greenroom tree, top, trace, attach`: real processes, a real server, pipes and a real terminal."""

import json
import signal
import time

import pytest

SECONDS_MAX = 30.0
SAY = "import structlog; structlog.get_logger().warning('attached', by="


def said(greenroom, *arguments: str) -> str:
    process = greenroom.start(*arguments)
    assert process.ended() == 0, process.text
    return process.text


def said_when(greenroom, words: str, *arguments: str) -> str:
    """The first answer with these words: what a server does when it has started is under way."""
    deadline = time.monotonic() + SECONDS_MAX
    while words not in (text := said(greenroom, *arguments)):
        assert time.monotonic() < deadline, f"{words!r} not in:\n{text}"
    return text


@pytest.mark.parametrize("command", ["top --once", "tree", "trace room/1", "attach"])
def test_when_nothing_runs_it_says_what_to_do(greenroom, command: str):
    process = greenroom.start(*command.split())
    assert process.ended() == 1
    assert process.text == (
        f"greenroom: no greenroom runs with the data in {greenroom.data}: start it with `greenroom serve`, or name the "
        "folder of one that runs with GREENROOM_DATA_DIR\n"
    )
    assert not greenroom.data.exists(), "looking makes no data directory"


def test_each_explains_itself_and_refuses_what_it_does_not_know(greenroom):
    for command in ("top", "tree", "trace", "attach"):
        assert "Usage" in said(greenroom, command, "--help")
    for wrong in (["top", "--by", "size"], ["trace"]):
        assert greenroom.start(*wrong).ended() == 2


def test_a_server_can_be_looked_into_and_outside_development_not_attached_to(greenroom):
    server = greenroom.serve()
    text = said_when(greenroom, "provider_queue/folder  ready", "tree")
    assert text.splitlines()[0] == "system  one_for_one, 0 restarts"
    assert "├─ provider_queue  1 in memory" in text
    assert "│  └─ provider_queue/folder  ready" in text
    tree = json.loads(said(greenroom, "tree", "--json", "--kind", "room"))["tree"]
    assert [child["name"] for child in tree["children"]][-1] == "room"
    assert all(child["actors"] == [] for child in tree["children"])
    assert "by depth, over" in said(greenroom, "top", "--once", "--by", "depth", "--seconds", "0.1")
    assert json.loads(said(greenroom, "top", "--json", "--seconds", "0.1"))["cells"] >= 1
    assert said(greenroom, "trace", "room/1", "--seconds", "0.1") == "room/1 was told nothing for 100 ms\n"
    assert said(greenroom, "trace", "room/1", "--seconds", "0.1", "--json") == ""
    for wrong, why in (("nobody/1", "no kind named 'nobody'"), ("room", "an address is a kind and a key")):
        process = greenroom.start("trace", wrong)
        assert process.ended() == 1
        assert process.text.startswith(f"greenroom: {why}")
    attach = greenroom.start("attach")
    assert attach.ended() == 1
    assert attach.text == (
        "greenroom: attach is for development alone, and this greenroom runs with ENVIRONMENT=production\n"
    )
    server.signal(signal.SIGINT)
    assert server.ended() == 0
    assert greenroom.start("tree").ended() == 1
    assert "Traceback" not in server.text


def test_python_can_be_typed_into_a_server_in_development_and_harms_it_not(greenroom):
    server = greenroom.serve(ENVIRONMENT="development")
    attach = greenroom.start("attach")
    for line in (
        "import os",
        f"os.getpid() == {server.popen.pid}",
        "for n in range(2):",
        "    await trio.sleep(0.01)",
        "    print('n is', n)",
        "",
        "(await look.tree()).name",
        "house.system is system",
        "1 / 0",
        "x = = 1",
        "raise SystemExit(3)",
        "exit()",
    ):
        attach.type(line)
    assert attach.ended() == 0
    assert "True\nn is 0\nn is 1\n'system'\nTrue\nTraceback" in attach.text
    assert "ZeroDivisionError: division by zero" in attach.text
    assert "SyntaxError" in attach.text
    assert "SystemExit: 3" in attach.text

    with greenroom.terminal("attach") as shown:  # with a prompt, a history, and Ctrl-C for what takes too long
        shown.wait_for(r">>> ")
        shown.type(f"{SAY} 'first'); await trio.sleep_forever()\n")
        server.wait_for(r"attached.*first")
        shown.popen.send_signal(signal.SIGINT)
        shown.wait_for(r"cancelled\r?\n[^\n]*>>> ")
        shown.type("6 * 7\n")
        shown.wait_for(r"42\r?\n[^\n]*>>> ")
        shown.type("system.is_stop\t\n")
        shown.wait_for(r"system\.is_stopped\r?\n[^\n]*False\r?\n[^\n]*>>> ")
        shown.type("\x04")
        assert shown.ended() == 0

    with greenroom.terminal("attach") as shown:  # one that is killed in the middle
        shown.wait_for(r">>> ")
        shown.type(f"{SAY} 'second'); await trio.sleep_forever()\n")
        server.wait_for(r"attached.*second")
        shown.popen.kill()
        assert shown.ended() == -signal.SIGKILL

    attach = greenroom.start("attach")  # what holds the server up is named while it does
    attach.type("import time; time.sleep(1.8)")
    attach.end_input()
    assert attach.ended() == 0
    server.wait_for(r"loop\.held")
    server.wait_for(r"<attach>")
    assert said(greenroom, "tree").startswith("system")
    server.signal(signal.SIGINT)
    assert server.ended() == 0


def test_top_refreshes_in_place_and_ctrl_c_gives_the_terminal_back(greenroom):
    server = greenroom.serve()
    with greenroom.terminal("top", "--seconds", "0.1") as shown:
        shown.wait_for(r"by busy, over", count=3)
        shown.popen.send_signal(signal.SIGINT)
        assert shown.ended() == 0
        assert shown.text.startswith("\x1b[?1049h\x1b[?25l")
        assert shown.text.endswith("\x1b[?25h\x1b[?1049l")
    with greenroom.terminal("top", "--seconds", "0.1") as shown:
        shown.wait_for(r"by busy, over")
        server.kill()
        assert shown.ended() == 1
        assert "greenroom: the greenroom that was asked has gone" in shown.text

    process = greenroom.start("top", "--once")  # its socket is still there, and nobody behind it
    assert (greenroom.data / "control" / "socket").exists()
    assert process.ended() == 1
    assert process.text.startswith("greenroom: no greenroom runs with the data in")
    greenroom.serve()
    assert " actor" in said(greenroom, "top", "--once", "--seconds", "0.1")
