"""Standard input and output of a chat: a terminal, where what is typed stays below what is shown, or plain pipes.

In a terminal the characters are taken one by one (no echo, no line buffer), drawn by us after each line that is shown,
and the terminal is put back at the end. Through pipes lines come in and lines go out.
"""

import os
import sys
import termios
import tty
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Final

import trio

from greenroom.commands.line_editor import LineEditor

READ_BYTES: Final = 65_536
PROMPT: Final = "> "


class Screen:
    """Made by `open_screen`. on_typing: told whether something is typed, at each key in a terminal."""

    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal = is_terminal
        self.on_typing: Callable[[bool], None] = lambda _: None
        self._editor = LineEditor()

    def show(self, text: str) -> None:
        """Show a line, above what is being typed."""
        lines = harmless(text).replace("\n", "\n    ")
        if self.is_terminal:
            self._write(f"\r\x1b[K{lines}\r\n".replace("\n    ", "\r\n    "))
            self._draw()
        else:
            self._write(f"{lines}\n")

    async def lines(self) -> AsyncIterator[str]:
        """Every line that is typed, until the end of the input."""
        if self.is_terminal:
            self._draw()
        while not self._editor.is_at_end:
            data = await _read()
            finished = self._editor.feed(data or b"")
            if not data:
                finished += [self._editor.text] if self._editor.text else []
                self._editor.is_at_end = True
            if self.is_terminal:
                self._draw()
                self.on_typing(bool(self._editor.text))
            for line in finished:
                yield line

    def _draw(self) -> None:
        columns = max(20, os.get_terminal_size(sys.stdout.fileno()).columns) - len(PROMPT) - 1
        self._write(f"\r\x1b[K{PROMPT}{self._editor.text[-columns:]}")

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()


@contextmanager
def open_screen() -> Iterator[Screen]:
    """The screen; a terminal is put back as it was."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        yield Screen(is_terminal=False)
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    try:
        tty.setcbreak(descriptor)  # no echo, no line buffer; Ctrl-C still is one
        yield Screen(is_terminal=True)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
        sys.stdout.write("\r\x1b[K")
        sys.stdout.flush()


def harmless(text: str) -> str:
    """Without what would make a terminal do more than show it. Line breaks stay."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in text.replace("\t", " "))


async def _read() -> bytes:
    try:
        await trio.lowlevel.wait_readable(0)
    except OSError:  # a plain file or /dev/null, which is always readable and cannot be waited for
        await trio.lowlevel.checkpoint()
    return os.read(0, READ_BYTES)
