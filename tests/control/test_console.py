"""What is typed into a running server, and that it stays bounded and cancellable."""

import sys
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from greenroom.control.console import COMPLETIONS_MAX, OUTPUT_CHARACTERS_MAX, Console, console_operation, why_not_attach
from greenroom.control.server import OperationRefused


async def nothing(_: object) -> None:
    await trio.lowlevel.checkpoint()


async def test_a_value_is_shown_and_kept():
    console = Console({"answer": 42})
    assert await console.run("answer + 1") == "43\n"
    assert await console.run("_ * 2") == "86\n"
    assert await console.run("None") == ""
    assert await console.run("") == ""


async def test_names_stay_from_one_statement_to_the_next():
    console = Console({})
    assert await console.run("def double(n):\n    return 2 * n\n") == ""
    assert await console.run("x = double(4); x") == "8\n"


async def test_it_may_await_anywhere_at_the_top(autojump_clock: MockClock):
    console = Console({})
    assert await console.run("await trio.sleep(10)") == ""
    assert await console.run("for n in range(2):\n    await trio.sleep(n)\n    print(n)\n") == "0\n1\n"
    assert trio.current_time() >= 11
    assert await console.run("async def f():\n    await trio.sleep(0)\n    return 'done'\nawait f()") == "'done'\n"


async def test_what_it_prints_is_the_clients_and_not_the_servers(capsys: pytest.CaptureFixture[str]):
    assert await Console({}).run("print('for you', end='!')") == "for you!"
    assert capsys.readouterr().out == ""


async def test_help_is_the_clients_too_and_waits_for_no_key(capsys: pytest.CaptureFixture[str]):
    console = Console({"look": nothing})
    assert "nothing(_: object) -> None" in await console.run("help(look)")
    assert "split(self, /, sep=None" in await console.run("help(str.split)")
    assert await console.run("help()") == "help(something) tells what that is\n"
    assert await console.run("help('no such thing')") != ""
    assert capsys.readouterr().out == ""


async def test_two_clients_do_not_share_names():
    first, second = Console({}), Console({})
    await first.run("mine = 1")
    assert "NameError" in await second.run("mine")


async def test_an_error_is_told_from_what_was_typed_on():
    told = await Console({}).run("def f():\n    1 / 0\nf()")
    assert told.startswith('Traceback (most recent call last):\n  File "<attach>", line 3')
    assert told.endswith("ZeroDivisionError: division by zero\n")
    assert "console.py" not in told


@pytest.mark.parametrize(
    "source", ["raise SystemExit(3)", "raise KeyboardInterrupt", "exit()", "quit()", "x = (", "\0"]
)
async def test_nothing_that_is_typed_ends_the_server(source: str):
    told = await Console({}).run(source)
    assert "Error" in told or "SystemExit" in told or "KeyboardInterrupt" in told or "leave with Ctrl-D" in told
    assert not sys.stdin.closed


async def test_a_statement_that_waits_is_cancelled(autojump_clock: MockClock):
    console = Console({})
    with trio.move_on_after(5) as scope:
        await console.run("await trio.sleep_forever()")
    assert scope.cancelled_caught
    with trio.move_on_after(5) as scope:
        await console.run("try:\n    await trio.sleep_forever()\nfinally:\n    1 / 0\n")
    assert scope.cancelled_caught, "what it raises instead does not hide the cancellation"
    assert await console.run("1") == "1\n"


async def test_names_are_completed_by_what_there_is():
    console = Console({"system": trio})
    await console.run("systematic = 1")
    assert console.completions("syst") == ["system", "systematic"]
    [found] = console.completions("system.sleep_f")  # with one bracket or two, as the version of Python has it
    assert found.startswith("system.sleep_forever(")
    assert console.completions("nobody.x") == []
    assert len(console.completions("system.")) <= COMPLETIONS_MAX
    attach = console_operation({"system": 1}, "not here")
    with pytest.raises(OperationRefused, match="not here"):
        await attach({"complete": "syst"}, nothing)


async def test_what_is_printed_is_bounded():
    told = await Console({}).run(f"'x' * {10 * OUTPUT_CHARACTERS_MAX}")
    assert len(told) < OUTPUT_CHARACTERS_MAX + 100
    assert told.endswith("more characters\n")


def test_it_is_for_development_on_this_machine_alone():
    open_to_us: dict[str, Any] = {
        "environment": "development",
        "is_development": True,
        "is_loopback": True,
        "host": "127.0.0.1",
    }
    assert why_not_attach(**open_to_us) is None
    production = why_not_attach(**{**open_to_us, "environment": "production", "is_development": False})
    assert production == "attach is for development alone, and this greenroom runs with ENVIRONMENT=production"
    reachable = why_not_attach(**{**open_to_us, "is_loopback": False, "host": "0.0.0.0"})
    assert reachable is not None
    assert "listens on 0.0.0.0" in reachable


async def test_refused_it_runs_nothing():
    ran: list[int] = []
    attach = console_operation({"ran": ran}, "not here")
    with pytest.raises(OperationRefused, match="not here"):
        await attach({"source": "ran.append(1)"}, nothing)
    assert ran == []
