"""Log lines: what is in them, and what never is."""

import io
import json
import logging
import time
from collections.abc import Iterator

import pytest
import structlog

from greenroom.log import HIDDEN, PATH_CHARACTERS_MAX, set_up_logging, without_query


@pytest.fixture(autouse=True)
def leave_logging_as_it_was() -> Iterator[None]:
    handlers, level, configuration = logging.root.handlers[:], logging.root.level, structlog.get_config()
    yield
    logging.root.handlers[:] = handlers
    logging.root.setLevel(level)
    structlog.configure(**configuration)


def lines_of(level: str, *, is_development: bool = False) -> io.StringIO:
    stream = io.StringIO()
    set_up_logging(level, is_development=is_development, stream=stream)
    return stream


def test_in_production_a_line_is_one_json_object():
    stream = lines_of("info")
    structlog.get_logger().info("room.joined", room=42)
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["room"]) == ("room.joined", "info", 42)
    assert line["timestamp"].endswith("Z")


def test_in_development_a_line_can_be_read():
    stream = lines_of("info", is_development=True)
    structlog.get_logger().info("room.joined", room=42)
    assert "room.joined" in stream.getvalue()
    assert "room=42" in stream.getvalue()


def test_below_the_level_nothing_is_written():
    stream = lines_of("warning")
    structlog.get_logger().info("room.joined")
    assert stream.getvalue() == ""


@pytest.mark.parametrize(
    "name", ["password", "jwt_secret", "token", "Authorization", "cookie", "api_key", "email", "content"]
)
def test_the_value_of_a_key_that_names_a_secret_or_personal_data_is_hidden(name: str):
    stream = lines_of("info")
    structlog.get_logger().info("something.happened", **{name: "hunter2"})
    assert "hunter2" not in stream.getvalue()
    assert json.loads(stream.getvalue())[name] == HIDDEN


def test_query_strings_and_passwords_in_addresses_are_cut():
    stream = lines_of("info")
    structlog.get_logger().info("http.answered", path="/ws?token=hunter2", url="https://user:hunter2@example.org/x")
    assert "hunter2" not in stream.getvalue()
    assert without_query("/ws?token=1") == "/ws"


@pytest.mark.parametrize("piece", ["a", "a://a", "a://a:", "a:", "a:a", "://", "/", "a?", "é"])
def test_hiding_takes_time_that_grows_with_the_text_and_no_faster(piece: str):
    began = time.process_time()
    without_query(piece * 60_000)
    assert time.process_time() - began < 2  # some milliseconds; with its square, a minute


def test_a_password_is_hidden_whatever_stands_before_its_address():
    for before in ("", "a", "a:", "at ", "a://", "a://b:c", "postgresql+"):
        assert without_query(f"{before}x://ann:hunter2@host") == f"{before}x://ann:{HIDDEN}@host"


def test_a_long_path_is_cut_behind_what_is_hidden_in_it():
    stream = lines_of("info")
    structlog.get_logger().info("http.answered", path="/" + "a" * 16_000)
    assert len(json.loads(stream.getvalue())["path"]) == PATH_CHARACTERS_MAX
    structlog.get_logger().info(
        "http.answered", path="/".ljust(PATH_CHARACTERS_MAX - 16, "a") + " x://ann:hunter2@host"
    )
    assert "hunt" not in stream.getvalue()


@pytest.mark.parametrize("is_development", [True, False])
def test_a_traceback_shows_no_local_variables(is_development: bool):
    stream = lines_of("info", is_development=is_development)
    password = "hunter" + "2"
    try:
        _ = 1 / len(password[:0])
    except ZeroDivisionError as fault:
        structlog.get_logger().error("something.failed", exc_info=fault)
    assert "Traceback" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_what_libraries_log_comes_in_the_same_form():
    stream = lines_of("info")
    logging.getLogger("hypercorn").warning("said by %s", "a library")
    assert json.loads(stream.getvalue())["event"] == "said by a library"


def test_the_driver_tells_in_one_line_that_the_database_is_away():
    stream = lines_of("info")
    try:
        raise ConnectionRefusedError("nobody listens at postgresql://ann:hunter2@host/db?x=y")
    except ConnectionRefusedError:
        logging.getLogger("asyncpg.pool").warning("Failed to restore", exc_info=True)
    driver = json.loads(stream.getvalue())
    assert "exception" not in driver
    assert driver["why"].startswith("nobody listens")
    assert "hunter2" not in stream.getvalue()


def test_what_other_libraries_tell_of_a_bug_keeps_its_traceback():
    stream = lines_of("info")
    try:
        raise RuntimeError("a bug")
    except RuntimeError:
        logging.getLogger("hypercorn.error").exception("failed")
    assert "Traceback" in json.loads(stream.getvalue())["exception"]
