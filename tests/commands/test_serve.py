"""`greenroom serve`, as whoever runs it sees it: what it says, how it ends, and what it refuses."""

import json
import os
import signal
import socket
import time
import urllib.request
from pathlib import Path

import jwt
import pytest


@pytest.fixture
def is_forked() -> bool:
    return False


def get(url: str) -> tuple[int, dict]:
    with urllib.request.urlopen(url, timeout=10) as response:
        return response.status, json.load(response)


def post(url: str, token: str, body: dict) -> dict:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["data"]


def token_of(greenroom, user: str) -> str:
    secret = (greenroom.data / "jwt_secret").read_bytes()
    return jwt.encode({"sub": user, "exp": int(time.time()) + 600}, secret, algorithm="HS256")


def test_it_answers_says_where_and_stops_in_order_at_the_first_ctrl_c(greenroom):
    server = greenroom.serve(makes_database=True)
    status, health = get(greenroom.url + "/api/health")
    assert (status, health["status"]) == (200, "healthy")
    assert f"docs    {greenroom.url}/docs" in server.text
    assert str(greenroom.data) in server.text
    postmaster = greenroom.postmaster()
    began_at = time.monotonic()
    server.signal(signal.SIGINT)
    assert server.ended() == 0
    assert time.monotonic() - began_at < 10
    assert "greenroom stops" in server.text
    assert "Traceback" not in server.text
    assert not Path(f"/proc/{postmaster}").exists()


def test_sigterm_stops_it_in_order_too(greenroom):
    server = greenroom.serve()
    server.signal(signal.SIGTERM)
    assert server.ended() == 0
    assert "greenroom stops" in server.text


def test_it_goes_on_and_ends_well_when_nobody_reads_any_more_what_it_says(greenroom):
    server = greenroom.serve(LOG_LEVEL="debug")
    server.stop_reading()
    for _ in range(20):
        assert get(greenroom.url + "/api/health")[1]["status"] == "healthy"
    server.signal(signal.SIGINT)
    assert server.ended() == 0


@pytest.mark.parametrize("times", [1, 3])
def test_a_terminal_that_is_closed_stops_it_in_order_however_often_it_says_so(greenroom, times: int):
    server = greenroom.serve()
    with socket.create_connection(("127.0.0.1", greenroom.port)) as busy:
        busy.sendall(b"POST /api/email/send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        for _ in range(times):
            server.signal(signal.SIGHUP)
            server.wait_for("greenroom stops")
        assert server.ended() == 0


def test_a_start_that_takes_long_is_given_up_when_it_is_told_to_stop(greenroom):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = greenroom.start("serve", DATABASE_URL=f"postgresql://127.0.0.1:{silent.getsockname()[1]}/db")
        connection, _ = silent.accept()  # held: dropped, it is closed, and the start fails by itself
        server.signal(signal.SIGINT)
        assert server.seconds_to_end() < 3
        assert server.ended() == 0
        connection.close()
    assert server.text.startswith("greenroom stops before it has started (Ctrl-C again: now)\n")
    assert "Traceback" not in server.text


def test_our_own_postgresql_is_stopped_when_its_first_start_is_given_up(greenroom):
    server = greenroom.start("serve")
    cluster = greenroom.data / "postgres" / "cluster"
    deadline = time.monotonic() + 20
    while not list(cluster.glob("data*")):
        assert time.monotonic() < deadline, server.text
        time.sleep(0.002)
    server.signal(signal.SIGINT)
    assert server.ended() == 0
    assert "Traceback" not in server.text
    greenroom.serve()


def test_a_client_that_holds_its_connection_does_not_hold_up_the_end(greenroom):
    server = greenroom.serve()
    with socket.create_connection(("127.0.0.1", greenroom.port)) as idle:
        idle.sendall(b"GET /api/health HTTP/1.1\r\nHost: localhost\r\n")
        server.signal(signal.SIGINT)
        assert server.ended(10) == 0


def test_the_second_ctrl_c_does_not_wait_for_what_is_under_way(greenroom):
    server = greenroom.serve()
    with socket.create_connection(("127.0.0.1", greenroom.port)) as busy:
        busy.sendall(b"POST /api/email/send HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{")
        server.signal(signal.SIGINT)
        server.wait_for("greenroom stops")
        server.wait_until_heard()
        server.signal(signal.SIGINT)
        assert server.seconds_to_end() < 1.5
        assert server.ended() == 130
    assert "Traceback" not in server.text


def test_a_port_in_use_ends_with_1_and_a_sentence(greenroom):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        server = greenroom.start("serve", PORT=port)
        assert server.ended() == 1
    assert f"greenroom: 127.0.0.1:{port}" in server.text or port in server.text
    assert "Traceback" not in server.text
    assert server.text.count("\n") == 1, server.text


def test_a_bad_setting_ends_with_2_its_name_and_an_example(greenroom):
    server = greenroom.start("serve", MAX_FILE_SIZE="big")
    assert server.ended() == 2
    assert "MAX_FILE_SIZE is 'big'" in server.text
    assert "Example: MAX_FILE_SIZE=" in server.text


def test_a_second_process_on_the_same_data_directory_is_refused_with_the_pid_of_the_first(greenroom):
    first = greenroom.serve()
    second = greenroom.start("serve", PORT="0")
    assert second.ended() == 1
    assert str(first.popen.pid) in second.text
    assert "Traceback" not in second.text
    assert get(greenroom.url + "/api/health")[0] == 200


def test_a_database_that_is_away_ends_with_1_and_a_sentence(greenroom):
    server = greenroom.start("serve", DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/none")
    assert server.ended() == 1
    assert "PostgreSQL cannot be reached" in server.text
    assert "hunter2" not in server.text
    assert "Traceback" not in server.text


def test_what_kill_9_leaves_behind_is_taken_over_and_all_data_is_there(greenroom):
    server = greenroom.serve()
    token = token_of(greenroom, "17")
    room = post(greenroom.url + "/api/conversations", token, {"title": "Lobby", "open": True})["conversation"]["id"]
    post(greenroom.url + f"/api/conversations/{room}/messages", token, {"content": "said before"})
    left_behind = greenroom.postmaster()
    server.kill()
    os.kill(left_behind, 0)
    greenroom.serve()
    assert greenroom.postmaster() != left_behind
    request = urllib.request.Request(
        greenroom.url + f"/api/conversations/{room}", headers={"Authorization": f"Bearer {token}"}
    )
    with urllib.request.urlopen(request, timeout=10) as response:
        messages = json.load(response)["data"]["messages"]
    assert [message["content"] for message in messages] == ["said before"]
