"""`greenroom attach`: Python inside the running server, for development alone; the server says whether it may be."""

import ast
import code
import sys
from contextlib import suppress

import typer

from greenroom.commands.failure import TOLD_WRONGLY, stop
from greenroom.commands.running import running_or_exit
from greenroom.control.client import Running
from greenroom.control.errors import Refused

BANNER = """\
greenroom {version}, process {pid}: what you type runs there, with top-level await. Ctrl-C cancels it, Ctrl-D leaves.
There are system, house, look (tree, actors, top), ref("room", 1), service("name"), trio."""
LEAVING = ("exit", "quit", "exit()", "quit()")


def attach() -> None:
    """Type Python into the running server, in development. The lines may also come through a pipe."""
    if sys.stdin is None:
        raise stop("standard input is closed: what is to be run comes from there", TOLD_WRONGLY)
    with running_or_exit() as running:
        running.ask("attach", source="")  # whether it may be
        attached = _Attached(running)
        if attached.is_terminal:
            attached.edit_lines()
        banner = BANNER.format(version=running.version, pid=running.pid) if attached.is_terminal else ""
        attached.interact(banner=banner, exitmsg="")


class _Attached(code.InteractiveConsole):
    """The prompt: it finds out here whether a statement is complete, and has it run there."""

    def __init__(self, running: Running) -> None:
        super().__init__()
        self.compile.compiler.flags |= ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        self.is_terminal = sys.stdin.isatty()
        self._running = running
        self._is_leaving = False
        self._found: list[str] = []

    def edit_lines(self) -> None:
        """Have a history, and Tab ask the server what a name may go on to be. Without readline there is neither."""
        with suppress(ImportError):
            import readline

            readline.set_completer(self._complete)
            readline.set_completer_delims(" \t\n`~!@#$%^&*()-=+[{]}\\|;:'\",<>/?")
            readline.parse_and_bind("tab: complete")

    def _complete(self, text: str, state: int) -> str | None:
        """As readline wants it: the first call asks, the next ones go on in what was found."""
        if state == 0:
            self._found = self._running.ask("attach", complete=text) if text.strip() else ["\t"]
        return self._found[state] if state < len(self._found) else None

    def runsource(self, source: str, filename: str = "<attach>", symbol: str = "single") -> bool:
        """True when more lines are needed."""
        if source.strip() in LEAVING:
            self._is_leaving = True
            return False
        try:
            if self.compile(source, filename, symbol) is None:
                return True
        except (OverflowError, SyntaxError, ValueError):
            self.showsyntaxerror(filename)
            return False
        self._run(source)
        return False

    def _run(self, source: str) -> None:
        try:
            typer.echo(self._running.ask("attach", seconds_max=None, source=source), nl=False)
        except KeyboardInterrupt:
            self._running.cancel()
            self.write("cancelled\n")
        except Refused as fault:
            self.write(f"{fault}\n")

    def raw_input(self, prompt: str = "") -> str:
        """Raises: EOFError."""
        if self._is_leaving:
            raise EOFError
        if self.is_terminal:
            return input(prompt)
        try:
            line = sys.stdin.readline()
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        if not line:
            raise EOFError
        return line.rstrip("\n")
