"""`greenroom chat`, as two people use it: real processes, a real server, and its death in the middle."""

import json
import re
import signal
import subprocess
import sys
import time
from http.client import HTTPConnection
from urllib.parse import quote

import pytest

from greenroom.commands.chat import RECENT_PLACES

PATIENCE_SECONDS = 20.0
PATIENCE = f"""
from greenroom.client import connection
from greenroom.commands import chat
chat.LEAVE_SECONDS_MAX = connection.CLOSE_SECONDS_MAX = {PATIENCE_SECONDS}
"""
TELLS = """
from greenroom.client import Client
from greenroom.commands.chat import Chat
send, part = Client.send, Chat._part
def tell(text):
    print(text, flush=True)
Client.send = lambda *given, **more: (send(*given, **more), tell("a line is taken"))[0]
Chat._part = lambda chat: (tell("it leaves"), part(chat))[1]
"""


def chat_lines(text: str) -> list[str]:
    """What was said, without the times and without what the chat tells by itself."""
    return [match[1] for match in re.finditer(r"^\d\d:\d\d (.+)$", text, re.MULTILINE)]


def open_chats(greenroom, first: str, second: str):
    """Two people in one new room."""
    one = greenroom.start_typed("chat", "--user", first, "--new", "Lobby")
    one.wait_for("in Lobby; /help")
    two = greenroom.start_typed("chat", "--user", second, "Lobby")
    two.wait_for("in Lobby")
    return one, two


def test_two_people_talk_and_see_each_other_come_and_go(served):
    alice, bob = open_chats(served, "alice", "bob")
    alice.wait_for("-- bob is here")
    alice.type("hello")
    bob.wait_for(r"^\d\d:\d\d alice: hello$")
    bob.type("//etc is a folder")
    alice.wait_for(r"^\d\d:\d\d bob: /etc is a folder$")
    bob.type("/who")
    bob.wait_for(r"-- Lobby: .*alice \(here\)")
    bob.type("/history 1")
    bob.wait_for("bob: /etc is a folder", count=2)
    bob.type("/quit")
    assert bob.ended() == 0
    alice.wait_for("-- bob is gone")
    alice.end_input()
    assert alice.ended() == 0
    assert chat_lines(alice.text) == ["alice: hello", "bob: /etc is a folder"]


def test_that_somebody_left_the_room_is_said_once(served):
    alice, bob = open_chats(served, "alice", "bob")
    alice.wait_for("-- bob is here")
    token = served.token("bob")
    (room,) = ask(served, token, "GET", "/api/conversations")["conversations"]
    own = ask(served, token, "GET", "/api/auth/session")["user"]["id"]
    ask(served, token, "DELETE", f"/api/conversations/{room['id']}/participants/{own}")
    alice.wait_for("-- bob is no member any more")
    bob.wait_for("out of the room")
    alice.type("/who")
    alice.wait_for(r"-- Lobby: ")
    alice.end_input()
    assert alice.ended() == 0
    assert "bob is gone" not in alice.text


def test_what_comes_through_a_pipe_is_said_as_it_is(served):
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    alice.wait_for("in Lobby$")
    alice.write(b"first\n\x04")
    alice.wait_for("alice: first$")  # it was read, and what follows is read after it
    lines = ["second", "keep \x15gone", "ab\bc", "word1 word2\x17", "\x1b[31mred", "/quit", "//etc", "/etc", "  "]
    lines += ["👨‍👩 می‌خ a\u00a0b\tc\u2028d", "x\ry", "last"]
    alice.write("\n\r\n".join(lines).encode())
    alice.end_input()
    assert alice.ended() == 0, alice.text
    assert said_in(served, "alice") == ["first", "\x04second", *lines[1:]]
    assert "👨‍👩 می‌خ a\u00a0b c" in alice.text


@pytest.mark.parametrize(
    ("data", "said", "words"),
    [
        (b"one\ncaf\xe9\nthree\n", ["one", "three"], "1 line was not delivered: line 2: it is not valid UTF-8"),
        (b"one\n" + b"x" * 200_000 + b"\nthree\n", ["one", "three"], "line 2: it is longer than 131,072 bytes"),
        (
            b"one\nnu\0l\n" + b"x" * 10_001 + b"\n",
            ["one"],
            "2 lines were not delivered: a string holds the character NUL",
        ),
    ],
)
def test_a_line_of_a_pipe_that_cannot_be_said_is_told_and_the_others_are_said(served, data, said, words):
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    alice.write(data)
    alice.end_input()
    assert alice.ended() == 1, alice.text
    assert words in alice.text
    assert said_in(served, "alice") == said


def said_in(greenroom, user: str) -> list[str]:
    """What is stored in the one room there is."""
    token = greenroom.token(user)
    (room,) = ask(greenroom, token, "GET", "/api/conversations")["conversations"]
    answer = ask(greenroom, token, "GET", f"/api/conversations/{room['id']}/messages?after_seq=0")
    return [message["content"] for message in answer["messages"]]


@pytest.mark.parametrize(
    ("line", "code", "words"),
    [
        ("seq 3000 | $CHAT Lobby | head -1", 1, "not all of what came in was said"),
        ("echo said | $CHAT Lobby >/dev/full", 1, "cannot be written: No space left on device"),
        ("echo said | $CHAT Lobby >&-", 1, "cannot be written: Bad file descriptor"),
        ("$CHAT Lobby <&-", 2, "standard input is closed"),
    ],
)
def test_an_output_or_an_input_that_is_none_ends_with_a_sentence(served, line, code, words):
    made = served.start("chat", "--user", "alice", "--new", "Lobby")
    made.end_input()
    assert made.ended() == 0
    environment = {**served.environment, "CHAT": f"{sys.executable} -m greenroom chat --user alice"}
    script = f"set -o pipefail; {line}"
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == code
    assert words in done.stderr
    assert done.stderr.count("\n") == 1, done.stderr


def test_what_joins_characters_is_kept_where_somebody_types(served):
    with served.terminal("chat", "--user", "alice", "--new", "Lobby") as alice:
        alice.wait_for("in Lobby; /help")
        alice.type("👨‍👩 می‌خ a\u00a0b\u2028\n")
        alice.wait_for("alice: 👨‍👩 می‌خ a\u00a0b")
        alice.type("\x04")
        assert alice.ended() == 0
    assert said_in(served, "alice") == ["👨‍👩 می‌خ a\u00a0b\u2028"]


def test_ctrl_c_leaves_in_order(served):
    alice, bob = open_chats(served, "alice", "bob")
    bob.type("last word")
    bob.wait_for("bob: last word")
    bob.signal(signal.SIGINT)
    assert bob.ended() == 0
    assert "Traceback" not in bob.text
    alice.wait_for("bob: last word")


@pytest.mark.parametrize("is_unsent", [True, False], ids=["with a line to say", "with nothing to say"])
def test_the_second_ctrl_c_does_not_wait_for_a_server_that_is_stopped(greenroom, is_unsent):
    server = greenroom.serve()
    alice = greenroom.start_typed("chat", "--user", "alice", "--new", "Lobby", first=PATIENCE + TELLS)
    alice.wait_for("in Lobby")
    server.signal(signal.SIGSTOP)
    try:
        if is_unsent:
            alice.type("to nobody")
            alice.wait_for("a line is taken")
        alice.signal(signal.SIGINT)
        alice.wait_for("it leaves")
        time.sleep(0.3)  # in order, and waits
        assert alice.popen.poll() is None
        alice.signal(signal.SIGINT)
        seconds = alice.seconds_to_end()
        print(f"it ended {seconds:.2f} s after the second Ctrl-C")  # 0.1 s on a machine that has time
        assert seconds < PATIENCE_SECONDS / 2
        assert alice.ended() == (1 if is_unsent else 130), alice.text
        assert "Traceback" not in alice.text
    finally:
        server.signal(signal.SIGCONT)


def test_who_comes_later_is_shown_what_was_said_before(served):
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    for number in range(30):
        alice.type(f"line {number}")
    alice.wait_for("alice: line 29")
    bob = served.start("chat", "--user", "bob", "Lobby")
    bob.wait_for("alice: line 29")
    assert chat_lines(bob.text) == [f"alice: line {number}" for number in range(10, 30)]


def test_who_comes_later_is_shown_what_was_said_before_many_came_and_went(served):
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    for number in range(30):
        alice.type(f"line {number}")
    alice.wait_for("alice: line 29")
    token = served.token("bob")
    (room,) = ask(served, token, "GET", "/api/conversations/open")["conversations"]
    bob = ask(served, token, "GET", "/api/auth/session")["user"]["id"]
    for _ in range(RECENT_PLACES // 2 + 10):
        ask(served, token, "POST", f"/api/conversations/{room['id']}/join", b"{}")
        ask(served, token, "DELETE", f"/api/conversations/{room['id']}/participants/{bob}")
    alice.type("and on")
    alice.wait_for("alice: and on")
    carol = served.start("chat", "--user", "carol", "Lobby")
    carol.end_input()
    assert carol.ended() == 0, carol.text
    assert chat_lines(carol.text) == [*(f"alice: line {number}" for number in range(11, 30)), "alice: and on"]


def test_who_becomes_an_admin_is_said_to_be_one(served):
    alice, bob = open_chats(served, "alice", "bob")
    bob.type("hello")
    alice.wait_for("bob: hello")
    carol = served.start_typed("chat", "--user", "carol", "Lobby")
    carol.wait_for("bob: hello")
    token = served.token("alice")
    (room,) = ask(served, token, "GET", "/api/conversations")["conversations"]
    own = ask(served, token, "GET", "/api/auth/session")["user"]["id"]
    ask(served, token, "DELETE", f"/api/conversations/{room['id']}/participants/{own}")
    carol.wait_for("-- bob is an admin now$")
    assert "a member again" not in carol.text


def test_a_restart_in_the_middle_loses_and_doubles_nothing(greenroom):
    talk_through_kills(greenroom, kills=1)


@pytest.mark.slow(seconds=90)
def test_many_restarts_lose_and_double_nothing(greenroom):
    talk_through_kills(greenroom, kills=8)


def talk_through_kills(greenroom, kills: int) -> None:
    """Two people say numbered lines all the time, while the server is killed and started again."""
    server = greenroom.serve()
    alice, bob = open_chats(greenroom, "alice", "bob")
    said = 0
    for _ in range(kills):
        for _ in range(40):  # some are stored, one is under way, some wait when the server dies
            alice.type(f"a{said}")
            bob.type(f"b{said}")
            said += 1
        server.kill()
        for _ in range(5):
            alice.type(f"a{said}")
            bob.type(f"b{said}")
            said += 1
        server = greenroom.serve()
        for person in (alice, bob):
            person.wait_for(f"alice: a{said - 1}$")
            person.wait_for(f"bob: b{said - 1}$")
    for person in (alice, bob):
        person.type("/quit")
        assert person.ended() == 0, person.text
        lines = chat_lines(person.text)
        assert [line for line in lines if line.startswith("alice")] == [f"alice: a{n}" for n in range(said)]
        assert [line for line in lines if line.startswith("bob")] == [f"bob: b{n}" for n in range(said)]
    assert chat_lines(alice.text) == chat_lines(bob.text)


def test_lines_that_cannot_be_delivered_end_with_1(greenroom):
    server = greenroom.serve()
    alice = greenroom.start("chat", "--user", "alice", "--new", "Lobby")
    alice.wait_for("in Lobby")
    server.kill()
    alice.wait_for("trying again")
    alice.type("to nobody")
    alice.wait_for(r"kept until the server is back \(1\)")
    alice.signal(signal.SIGINT)
    assert alice.ended() == 1
    assert "1 line was not delivered" in alice.text


def test_a_pipe_is_all_said_and_shown_behind_what_was_there_before_it_leaves(served):
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    alice.wait_for("in Lobby")
    alice.type("was here")
    alice.wait_for("alice: was here")
    bob = served.start("chat", "--user", "bob", "Lobby")
    for number in range(30):
        bob.type(f"line {number}")
    bob.end_input()
    assert bob.ended() == 0, bob.text
    assert chat_lines(bob.text) == ["alice: was here", *(f"bob: line {number}" for number in range(30))]
    reader = served.start("chat", "--user", "carol", "Lobby")
    reader.end_input()
    assert reader.ended() == 0, reader.text
    assert chat_lines(reader.text) == [f"bob: line {number}" for number in range(10, 30)]


def test_a_pipe_waits_for_a_server_that_comes_back(greenroom):
    server = greenroom.serve()
    alice = greenroom.start("chat", "--user", "alice", "--new", "Lobby")
    alice.wait_for("in Lobby")
    server.kill()
    alice.wait_for("trying again")
    for number in range(3):
        alice.type(f"line {number}")
    alice.end_input()
    greenroom.serve()
    assert alice.ended(60) == 0, alice.text
    assert chat_lines(alice.text) == [f"alice: line {number}" for number in range(3)]


def test_a_pipe_to_a_server_that_is_gone_ends_with_1_and_says_why(greenroom):
    server = greenroom.serve()
    alice = greenroom.start("chat", "--user", "alice", "--new", "Lobby")
    alice.wait_for("in Lobby")
    server.kill()
    alice.wait_for("trying again")
    alice.type("to nobody")
    alice.end_input()
    assert alice.ended(40) == 1
    assert "1 line was not delivered: the server did not take them in time" in alice.text


def test_the_files_of_a_message_are_shown(served):
    alice, bob = open_chats(served, "alice", "bob")
    key = say_with_a_file(served, "alice", "look")
    shown = rf"^\d\d:\d\d alice: look\n    \[a\.pdf, 12 bytes\] {served.url}/\S*{quote(key, safe='')}$"
    for person in (alice, bob):
        person.wait_for(shown)
    bob.type("/history 1")
    bob.wait_for(shown, count=2)
    later = served.start("chat", "--user", "bob", "Lobby")
    later.end_input()
    assert later.ended() == 0
    assert re.search(shown, later.text, re.MULTILINE)


def say_with_a_file(greenroom, user: str, content: str) -> str:
    """Over HTTP, in the one room there is; the key of the file."""
    token = greenroom.token(user)
    (room,) = ask(greenroom, token, "GET", "/api/conversations")["conversations"]
    head = '--b\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    form = f"{head}%PDF-1.7\nabc\r\n--b--\r\n".encode()
    file = ask(greenroom, token, "POST", "/api/messages/attachments", form, "multipart/form-data; boundary=b")
    body = json.dumps({"content": content, "attachments": [{"key": file["key"]}]}).encode()
    ask(greenroom, token, "POST", f"/api/conversations/{room['id']}/messages", body)
    return str(file["key"])


def ask(greenroom, token: str, method: str, path: str, body: bytes | None = None, kind: str = "application/json"):
    """`data` of the answer."""
    connection = HTTPConnection("127.0.0.1", greenroom.port, timeout=10)
    connection.request(method, path, body, {"Authorization": f"Bearer {token}", "Content-Type": kind})
    response = connection.getresponse()
    answer = json.load(response)
    assert response.status in (200, 201), answer
    return answer["data"]


def test_a_line_that_the_server_refuses_is_told(served):
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    alice.type("x" * 10_001)
    alice.wait_for("not sent: x+ ")
    alice.type("and on")
    alice.wait_for("alice: and on")


def test_without_a_room_rooms_are_listed(served):
    nothing = served.start("chat", "--user", "alice")
    assert nothing.ended() == 0
    assert "greenroom chat --new" in nothing.text
    alice = served.start("chat", "--user", "alice", "--new", "Lobby")
    alice.wait_for("in Lobby")
    for user, heading in (("alice", "Your rooms"), ("bob", "Open rooms")):
        listed = served.start("chat", "--user", user)
        assert listed.ended() == 0
        assert re.search(rf"{heading}:\n  \d+  Lobby  \(1 member\)", listed.text), listed.text


def test_a_token_with_spaces_and_line_breaks_at_its_ends_is_that_token(served):
    made = served.start("token", "alice")
    assert made.ended() == 0
    token = made.text.split()[-1]
    for arguments, environment in ((["--token", f" {token}\n"], {}), ([], {"GREENROOM_TOKEN": f"{token}\r\n"})):
        listed = served.start("chat", *arguments, **environment)
        assert listed.ended() == 0, listed.text
    broken = served.start("chat", "--token", f"{token[:9]}\n{token[9:]}")
    assert broken.ended() == 2
    assert "--token is not one" in broken.text
    assert "Traceback" not in broken.text


def test_a_proxy_of_the_environment_is_not_asked_for_the_server_of_this_machine(served):
    listed = served.start("chat", "--user", "alice", http_proxy="http://127.0.0.1:9", all_proxy="http://127.0.0.1:9")
    assert listed.ended() == 0, listed.text


def test_what_cannot_be_done_is_one_sentence_and_an_exit_code(served):
    port, served.port = served.port, 9
    away = served.start("chat", "--user", "alice")
    assert away.ended() == 1
    assert "greenroom serve" in away.text
    served.port = port
    for arguments, code, words in (
        (["--token", "nonsense"], 1, "the server refuses us"),
        (["--token", "two words"], 2, "--token is not one"),
        (["--user", "alice", "Nowhere"], 1, "there is no room 'Nowhere'"),
        (["--user", "alice", "4611"], 1, "there is no room '4611'"),
        (["--user", "alice", "²"], 1, "there is no room '²'"),
        (["--user", "0"], 2, "cannot be a user"),
        (["--url", "ftp://x"], 2, "an address such as"),
        (["Lobby", "--new", "Lobby"], 2, "--new"),
    ):
        done = served.start("chat", *arguments)
        assert done.ended() == code, (arguments, done.text)
        assert words in done.text
        assert "Traceback" not in done.text


def test_nobody_can_send_what_would_steer_the_terminal_of_others(served):
    alice, bob = open_chats(served, "alice", "bob")
    bob.type("x\x9b31mred")
    alice.wait_for("bob: x")
    assert "\x9b" not in alice.text
