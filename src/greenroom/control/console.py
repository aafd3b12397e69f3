"""`attach`: Python inside the running process, for development alone.

What is typed runs in the loop of the server, with top-level `await`, outside of any turn. It can do anything that the
server can. It is bounded in what it prints, one statement at a time, and is cancelled when its client goes; code that
never waits holds the server up until it ends, as it would anywhere else in it.
"""

import ast
import builtins
import inspect
import io
import itertools
import pydoc
import rlcompleter
import traceback
from functools import partial
from types import CodeType
from typing import Any, Final

import trio

from greenroom.control.server import Operation, OperationRefused, SendItem

OUTPUT_CHARACTERS_MAX: Final = 64 * 1024
COMPLETIONS_MAX: Final = 200
FILE_NAME: Final = "<attach>"
_NO_SUBJECT: Final = object()


class Console:
    """The names of one client, and what it runs with them."""

    def __init__(self, names: dict[str, object]) -> None:
        self._names: dict[str, Any] = {"__name__": "__greenroom__", "trio": trio, **names}

    async def run(self, source: str) -> str:
        """Run *source*; what it prints, the value of its last expression, or the traceback of what it raises."""
        printed = io.StringIO()
        self._names |= {
            "print": partial(builtins.print, file=printed),
            "help": partial(_help, printed),
            "exit": _leave,
            "quit": _leave,
        }
        try:
            value = await self._run(source)
            if value is not None:
                self._names["_"] = value
                printed.write(f"{value!r}\n")
        except BaseException as error:  # SystemExit too: the server goes on
            await trio.lowlevel.checkpoint_if_cancelled()
            printed.write(_story(error))
        return _bounded(printed.getvalue())

    def completions(self, text: str) -> list[str]:
        """What *text*, a name or a dotted name, may go on to be. At most COMPLETIONS_MAX."""
        completer = rlcompleter.Completer(self._names)
        found = itertools.islice(itertools.count(), COMPLETIONS_MAX)
        return list(itertools.takewhile(bool, (completer.complete(text, state) or "" for state in found)))

    async def _run(self, source: str) -> object:
        tree = compile(source, FILE_NAME, "exec", ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        assert isinstance(tree, ast.Module)
        last = tree.body[-1] if tree.body else None
        if not isinstance(last, ast.Expr):
            await self._do(_compiled(tree, "exec"))
            return None
        del tree.body[-1]
        await self._do(_compiled(tree, "exec"))
        return await self._do(_compiled(ast.Expression(last.value), "eval"))

    async def _do(self, code: CodeType) -> object:
        result = eval(code, self._names)
        if code.co_flags & inspect.CO_COROUTINE:
            return await result
        await trio.lowlevel.checkpoint()
        return result


def console_operation(names: dict[str, object], why_not: str | None) -> Operation:
    """The operation `attach`, of one connection. why_not: a sentence when it must not be had here."""
    console = Console(names)

    async def attach(arguments: dict[str, Any], _: SendItem) -> Any:
        source = arguments.get("source", "")
        if why_not is not None:
            raise OperationRefused(why_not)
        begun = arguments.get("complete")
        if not isinstance(source, str) or not isinstance(begun, str | None):
            raise OperationRefused("what is run, or completed, is a text")
        return await console.run(source) if begun is None else console.completions(begun)

    return attach


def why_not_attach(*, environment: str, is_development: bool, is_loopback: bool, host: str) -> str | None:
    """Why nobody may run code in this server, or None. Of the gate of development-only things what applies here.

    The key, the host's name and the proxies are about who stands behind a request: here the kernel says who.
    """
    if not is_development:
        return f"attach is for development alone, and this greenroom runs with ENVIRONMENT={environment}"
    if not is_loopback:
        return f"attach is for a greenroom that only this machine can reach, and this one listens on {host}"
    return None


def _compiled(tree: Any, mode: str) -> CodeType:
    code = compile(tree, FILE_NAME, mode, ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    assert isinstance(code, CodeType)
    return code


def _leave(*_: object) -> None:
    raise OperationRefused("leave with Ctrl-D; the server goes on")


def _help(printed: io.StringIO, subject: object = _NO_SUBJECT) -> None:
    """As the builtin, which would print into the server's log, or wait there for a key."""
    if subject is _NO_SUBJECT:
        printed.write("help(something) tells what that is\n")
    else:
        pydoc.Helper(input=io.StringIO(), output=printed).help(subject)


def _story(error: BaseException) -> str:
    """The traceback, from what was typed on."""
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename != FILE_NAME:
        frame = frame.tb_next
    return "".join(traceback.format_exception(type(error), error, frame))


def _bounded(text: str) -> str:
    if len(text) <= OUTPUT_CHARACTERS_MAX:
        return text
    return f"{text[:OUTPUT_CHARACTERS_MAX]}\n… and {len(text) - OUTPUT_CHARACTERS_MAX} more characters\n"
