"""Standard input and output of a chat: a terminal, where what is typed stays below what is shown, or plain pipes.

In a terminal the characters are taken one by one (no echo, no line buffer), drawn by us after each line that is shown,
and the terminal is put back at the end. Through pipes lines come in as they are (piped_lines.py) and lines go out; also
where only one of the two is a terminal.
"""

import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final
from unicodedata import east_asian_width

import trio

from greenroom.commands.failure import TOLD_WRONGLY, CommandFailed
from greenroom.commands.harmless import harmless
from greenroom.commands.line_editor import LineEditor
from greenroom.commands.piped_lines import BadLine, PipedLines

READ_BYTES: Final = 65_536
PROMPT: Final = "> "
INDENT: Final = "    "
ROWS_MAX: Final = 100  # shown of one message in a terminal


class Screen:
    """Made by `open_screen`. on_typing: told whether something is typed, at each key in a terminal.

    is_terminal: both are one. is_typed: somebody types what comes in, whatever becomes of what goes out.
    """

    def __init__(self, is_terminal: bool, is_typed: bool) -> None:
        self.is_terminal = is_terminal
        self.is_typed = is_typed
        self.on_typing: Callable[[bool], None] = lambda _: None
        self._editor = LineEditor()

    def show(self, text: str) -> None:
        """Show a line, above what is being typed."""
        if self.is_terminal:
            self._write("\r\x1b[K" + "".join(f"{row}\r\n" for row in rows_of(harmless(text), _columns())))
            self._draw()
        else:
            self._write(harmless(text).replace("\n", f"\n{INDENT}") + "\n")

    async def lines(self) -> AsyncIterator[str | BadLine]:
        """Every line that comes in, until the end of the input. Raises: CommandFailed."""
        async for line in self._typed_lines() if self.is_terminal else _piped_lines():
            yield line

    async def _typed_lines(self) -> AsyncIterator[str]:
        self._draw()
        while not self._editor.is_at_end:
            data = await _read()
            finished = self._editor.feed(data)
            if not data:
                finished += [self._editor.text] if self._editor.text else []
                self._editor.is_at_end = True
            self._draw()
            self.on_typing(bool(self._editor.text))
            for line in finished:
                yield line

    def _draw(self) -> None:
        self._write(f"\r\x1b[K{PROMPT}{end_of(harmless(self._editor.text), _columns() - len(PROMPT))}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def open_screen() -> Iterator[Screen]:
    """The screen; a terminal is put back as it was."""
    if sys.stdin is None:
        raise CommandFailed("standard input is closed: what is to be said comes from there", TOLD_WRONGLY)
    is_typed = sys.stdin.isatty()
    if not (is_typed and sys.stdout.isatty()):
        yield Screen(is_terminal=False, is_typed=is_typed)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)  # no echo, no line buffer; Ctrl-C still is one
        yield Screen(is_terminal=True, is_typed=True)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write("\r\x1b[K")
        sys.stdout.flush()


def end_of(text: str, columns: int) -> str:
    """As much of the end of *text* as stands in so many columns."""
    begin = len(text)
    while begin and (columns := columns - _width(text[begin - 1])) >= 0:
        begin -= 1
    return text[begin:]


def rows_of(text: str, columns: int) -> list[str]:
    """*text* as rows of so many columns. All but the first are indented: a row of what somebody says is never taken for
    the beginning of what another one does, as it would be if the terminal broke the line.
    """
    rows: list[str] = []
    for line in text.split("\n"):
        row = INDENT if rows else ""
        left = columns - len(row)
        for character in line:
            if _width(character) > left:
                rows.append(row)
                row, left = INDENT, columns - len(INDENT)
            row += character
            left -= _width(character)
        rows.append(row)
    if len(rows) > ROWS_MAX:
        rows[ROWS_MAX - 1 :] = [f"{INDENT}\u2026 and {len(rows) - ROWS_MAX + 1} lines more"]
    return rows


def _width(character: str) -> int:
    """Columns that it takes, or more. Wide ones take two: Unicode Annex 11."""
    return 2 if east_asian_width(character) in "WF" else 1


def _columns() -> int:
    """That may be written to: in the last one some terminals break the line. 80 of one that does not say."""
    return max(20, os.get_terminal_size(sys.stdout.fileno()).columns or 80) - 1


async def _piped_lines() -> AsyncIterator[str | BadLine]:
    lines = PipedLines()
    while data := await _read():
        for line in lines.feed(data):
            yield line
    for line in lines.end():
        yield line


async def _read() -> bytes:
    """Some of standard input; nothing at its end. Raises: CommandFailed."""
    while True:
        try:
            await trio.lowlevel.wait_readable(0)
        except OSError:  # a plain file or /dev/null, which is always readable and cannot be waited for
            await trio.lowlevel.checkpoint()
        try:
            return os.read(0, READ_BYTES)
        except BlockingIOError:  # somebody else has read it
            continue
        except OSError as fault:
            raise CommandFailed(f"standard input cannot be read: {fault.strerror}") from None
