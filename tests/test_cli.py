"""The command line, as a user has it: the installed program, its output and its exit codes."""

import asyncio
import json
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from urllib.parse import urlencode

import asyncpg
import jwt
import pytest
import trio
from forked_process import ForkedProcess
from prepared_cluster import lay_cluster

from greenroom.settings import environment_names
from greenroom.storage.postgres.api_keys import split_key
from greenroom.storage.postgres.embedded import ServerAddress, open_embedded

SECRET = "a secret of at least thirty-two bytes"
FAST = {"fsync": "off"}
TEXT_BYTES_MAX = 1024**2


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str


Run = Callable[..., Done]


@pytest.fixture
def data(open_folder: Path) -> Path:
    return open_folder / "data"


@pytest.fixture
def prepared(data: Path) -> Path:
    """It has a database already."""
    lay_cluster(data)
    return data


@pytest.fixture
def shell(data: Path, tmp_path: Path) -> Run:
    """Run a line of bash, where `$PYTHON -m greenroom` has a data directory of this test, in a folder that is no
    checkout."""

    def bash(line: str, *arguments: str, **environment: str) -> Done:
        done = subprocess.run(
            ["bash", "-c", line, "bash", *arguments],
            env={**kept(data), "PYTHON": sys.executable, **environment},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Done(done.returncode, done.stdout.strip(), done.stderr.strip())

    return bash


def kept(data: Path) -> dict[str, str]:
    found = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    return found | {"GREENROOM_DATA_DIR": str(data), "COLUMNS": "200"}


@pytest.fixture
def run(data: Path, tmp_path: Path) -> Run:
    """Run `greenroom` in that folder, with that data directory, without reading it anew each time."""

    def greenroom(*arguments: str, **environment: str) -> Done:
        with TemporaryFile() as output, TemporaryFile() as errors:
            given = {**kept(data), **environment}
            process = ForkedProcess(arguments, given, tmp_path, output=output.fileno(), errors=errors.fileno())
            try:
                code = process.wait(60)
            finally:
                process.kill()  # one that hangs
            said = [os.pread(file.fileno(), TEXT_BYTES_MAX, 0).decode() for file in (output, errors)]
        assert "Traceback" not in said[1], said[1]
        return Done(code, said[0].strip(), said[1].strip())

    return greenroom


@pytest.mark.parametrize(
    "command", [[], ["config"], ["token"], ["migrate"], ["key"], ["key", "create"], ["key", "list"], ["key", "revoke"]]
)
def test_every_command_explains_itself(run: Run, command: list[str]):
    done = run(*command, "--help")
    assert done.code == 0
    assert "Usage" in done.out


CTRL_C_AT_A_MODULE = """
import os, signal, sys


class Callback:
    def __del__(self):
        os.kill(os.getpid(), signal.SIGINT)


class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == os.environ["MODULE"]:
            sys.meta_path.remove(self)
            print("reached", flush=True)
            Callback() if os.environ["WHERE"] == "in a callback" else os.kill(os.getpid(), signal.SIGINT)


sys.meta_path.insert(0, Finder())
sys.argv[1:] = ["config"]
from greenroom.cli import main
main()
"""


@pytest.mark.parametrize("where", ["in the code", "in a callback"])
@pytest.mark.parametrize("module", ["greenroom.commands.outlet", "trio._core", "greenroom.commands.app"])
def test_ctrl_c_while_python_still_reads_modules_ends_with_130_and_no_traceback(shell: Run, module: str, where: str):
    done = shell('exec "$PYTHON" -c "$1"', CTRL_C_AT_A_MODULE, MODULE=module, WHERE=where)
    assert done == Done(130, "reached", "")


def test_what_is_to_ignore_ctrl_c_ignores_it_from_the_start(shell: Run):
    done = shell('trap \'\' INT; exec "$PYTHON" -c "$1"', CTRL_C_AT_A_MODULE, MODULE="trio._core", WHERE="in the code")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("reached\nENVIRONMENT = ")


def test_ctrl_c_is_python_s_again_when_the_modules_are_read(shell: Run):
    asks = "import signal, sys; sys.argv[1:] = ['--version']; from greenroom.cli import main\n"
    asks += "try: main()\nexcept SystemExit: print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)"
    assert shell('exec "$PYTHON" -c "$1"', asks).out.split("\n")[-1] == "True"


def test_garbage_is_collected_again_when_the_modules_are_read(shell: Run):
    asks = "import gc, sys; sys.argv[1:] = ['--version']; from greenroom.cli import main\n"
    asks += "try: main()\nexcept SystemExit: print(gc.isenabled(), gc.get_freeze_count() > 0, flush=True)"
    assert shell('exec "$PYTHON" -c "$1"', asks).out.split("\n")[-1] == "True True"


def test_the_version_is_told(run: Run):
    assert run("--version").out == "greenroom 0.1.0"


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["config", "--nonsense"],
        ["token"],
        ["key", "revoke"],
        ["key", "create", "--name", "x" * 101],
        ["serve", "--port", "99999"],
        ["serve", "--port", "-1"],
        ["chat", "--url", "http://127.0.0.1:99999"],
        ["chat", "--url", "http://[::1"],
        ["chat", "--url", "http://☃..a:18800"],
        ["chat", "--url", "http://a b:18800"],
        ["chat", "--url", "http://127.0.0.1:18800/☃"],
        ["chat", "--url", "http://127.0.0.1:18800?room=1"],
    ],
)
def test_what_cannot_be_understood_ends_with_2(run: Run, arguments: list[str]):
    assert run(*arguments).code == 2


@pytest.mark.parametrize(
    ("redirection", "words"),
    [
        (">/dev/full", "greenroom: standard output cannot be written: No space left on device"),
        (">&-", "greenroom: standard output cannot be written: Bad file descriptor"),
        ("| true", ""),  # who reads leaves before anything is said
    ],
)
@pytest.mark.parametrize("command", ["config", "token 17", "--help", "key list", "asyncapi"])
def test_an_answer_that_cannot_be_written_ends_with_1_and_at_most_one_sentence(
    shell: Run, command: str, redirection: str, words: str
):
    slowly = "sleep 0.3; " if redirection.startswith("|") else ""
    done = shell(f"set -o pipefail; ({slowly}exec $PYTHON -m greenroom {command}) {redirection}")
    assert (done.code, done.out, done.err) == (1, "", words)


def test_without_standard_input_or_error_what_needs_neither_works(shell: Run):
    assert shell("exec $PYTHON -m greenroom --version <&- 2>&-").out == "greenroom 0.1.0"
    assert shell("exec $PYTHON -m greenroom chat --url nonsense 2>&-").code == 2
    assert shell("exec $PYTHON -m greenroom chat --url nonsense 2>/dev/full").code == 2
    assert shell("exec $PYTHON -m greenroom key list <&- 2>&-").code == 0
    attached = shell("exec $PYTHON -m greenroom attach <&-")
    assert (attached.code, attached.err[:35]) == (2, "greenroom: standard input is closed")


def test_bytes_that_are_no_text_are_refused_wherever_they_stand(run: Run):
    done = run("key", "create", "--name", "caf\udce9")
    assert (done.code, done.err) == (2, "greenroom: an argument is not valid UTF-8: give it in UTF-8")
    done = run("key", "list", JWT_SECRET="\udce9" * 32)
    assert done.code == 2
    assert "JWT_SECRET has a value that cannot be used: it is not valid UTF-8" in done.err


def test_config_shows_every_setting_with_its_origin_and_hides_secrets(run: Run):
    done = run("config", PORT="9000", JWT_SECRET="hunter2" * 8)
    assert done.code == 0
    assert "PORT = 9000   [environment]" in done.out
    assert "HOST = 127.0.0.1   [default]" in done.out
    assert all(f"{name} = " in done.out for name in environment_names().values())
    assert "hunter2" not in done.out


def test_config_is_also_there_for_programs_and_for_the_manual(run: Run):
    rows = json.loads(run("config", "--json").out)
    assert {row["name"] for row in rows} == set(environment_names().values())
    assert run("config", "--markdown").out.startswith("| Name | Default |")


def test_a_bad_setting_ends_with_2_its_name_and_an_example(run: Run):
    done = run("config", PORT="http")
    assert done.code == 2
    assert "PORT is 'http'" in done.err
    assert "Example: PORT=8787" in done.err


def test_a_token_is_signed_with_the_secret_of_the_settings(run: Run):
    done = run("token", "17", "--name", "Alice", "--role", "creator", "--hours", "1", JWT_SECRET=SECRET)
    claims = jwt.decode(done.out, SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["name"], claims["role"]) == ("17", "Alice", "creator")
    assert claims["exp"] - claims["iat"] == 3600


def test_without_a_secret_one_is_made_once_in_the_data_directory(run: Run, data: Path):
    first, second = run("token", "17").out, run("token", "18").out
    secret = data / "jwt_secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    for token, sub in ((first, "17"), (second, "18")):
        assert jwt.decode(token, secret.read_bytes(), algorithms=["HS256"])["sub"] == sub


@pytest.mark.parametrize("arguments", [["0"], [""], ["x" * 300], ["17", "--hours", "0"], ["17", "--hours", "nan"]])
def test_a_token_for_nobody_or_for_no_time_is_refused(run: Run, arguments: list[str]):
    assert run("token", *arguments).code == 2


def test_keys_are_made_listed_and_revoked_with_no_server_running(run: Run, prepared: Path):
    made = run("key", "create", "--scope", "act_as", "--scope", "users:write", "--name", "backend")
    assert made.code == 0, made.err
    parts = split_key(made.out)
    assert parts is not None
    key_id, secret = parts
    listed = run("key", "list")
    assert key_id in listed.out
    assert "act_as,users:write" in listed.out
    assert "backend" in listed.out
    assert secret not in listed.out
    assert run("key", "revoke", key_id).code == 0
    assert "revoked" in run("key", "list").out
    again = run("key", "revoke", key_id)
    assert again.code == 1
    assert key_id in again.err


def test_a_key_that_may_do_nothing_is_made_with_a_word_on_what_there_is(run: Run, prepared: Path):
    made = run("key", "create")
    assert made.code == 0
    assert split_key(made.out) is not None
    assert "may do nothing yet" in made.err
    assert all(scope in made.err for scope in ("act_as", "users:write", "email:send"))
    assert "may do nothing" not in run("key", "create", "--scope", "act_as").err
    assert "may do nothing" not in run("key", "create", "--role", "admin").err


@pytest.mark.parametrize("arguments", [["--scope", "everything"], ["--role", "king"]])
def test_a_key_with_an_unknown_scope_or_role_is_refused(run: Run, arguments: list[str]):
    done = run("key", "create", *arguments)
    assert done.code == 2
    assert "there is no" in done.err


def test_sessions_are_made_for_users_who_are_made_on_the_way(run: Run, prepared: Path):
    plain = run("token", "17", "--session", "--name", "Alice")
    assert plain.code == 0, plain.err
    assert "." not in plain.out
    signed = run("token", "alice", "--session", BETTER_AUTH_SECRET="secret of the auth service")
    assert len(signed.out.rpartition(".")[2]) == 44


def test_migrate_brings_the_database_up_to_date_and_then_has_nothing_to_do(run: Run):
    assert "would apply 0001_rooms_live.sql" in run("migrate", "--dry-run").out
    assert "applied 0001_rooms_live.sql" in run("migrate").out
    assert run("migrate").out == "the database is up to date"


async def test_a_database_that_is_running_already_is_used_through_its_socket(run: Run, prepared: Path):
    async with open_embedded(prepared, settings=FAST, on_event=lambda _: None) as server:
        made = await trio.to_thread.run_sync(lambda: run("key", "create", "--scope", "act_as"))
        assert made.code == 0, made.err
        session = await trio.to_thread.run_sync(lambda: run("token", "17", "--session"))
        assert session.code == 0, session.err
        assert server.pid is not None
    assert made.out[4:20] in run("key", "list").out


def test_another_database_is_used_when_it_is_named(run: Run, database: ServerAddress):
    url = f"postgresql:///{database.database}?host={database.host}&user={database.user}&port={database.port}"
    made = run("key", "create", DATABASE_URL=url)
    assert made.code == 0, made.err

    async def count() -> int:
        connection = await asyncpg.connect(**database.connect_arguments())
        try:
            found: int = await connection.fetchval("select count(*) from api_keys")
            return found
        finally:
            await connection.close()

    assert asyncio.run(count()) == 1


def test_a_database_that_is_away_ends_with_1_and_a_sentence(run: Run):
    done = run("key", "list", DATABASE_URL="postgresql://nobody:hunter2@127.0.0.1:1/none")
    assert done.code == 1
    assert "PostgreSQL cannot be reached" in done.err
    assert "(DATABASE_URL is postgresql://nobody:***@127.0.0.1:1/none)" in done.err


def test_a_database_that_does_not_answer_is_said_to_be_so(run: Run):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        done = run("key", "list", DATABASE_URL=f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/none")
    assert done.code == 1
    assert "PostgreSQL cannot be reached: no answer within 5 s (DATABASE_URL" in done.err


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["migrate"], ["key", "create"]])
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"user": "nobody_of_that_name"}, "name a user whom it lets in"),
        ({"database": "no_such_database"}, "make that database"),
        ({"default_transaction_read_only": "on"}, "name a database that can be written"),
    ],
)
def test_a_database_that_does_not_let_us_in_ends_with_1_and_what_to_do(
    run: Run, database: ServerAddress, command: list[str], change: dict[str, str], words: str
):
    url = f"postgresql://?{urlencode({**database.connect_arguments(), **change})}"
    done = run(*command, DATABASE_URL=url)
    assert done.code == 1
    assert "PostgreSQL refuses: " in done.err
    assert words in done.err


def test_a_server_that_may_not_migrate_says_who_should(run: Run):
    done = run("serve", "--port", "0", "--no-migrate")
    assert done.code == 1
    assert "run `greenroom migrate`" in done.err
