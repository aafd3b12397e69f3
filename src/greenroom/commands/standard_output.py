"""Standard output of a command that answers: when it cannot be written, the command ends and says so.

What a server prints may be lost (outlet.py); an answer may not, and exit code 0 says that all of it was written. A
reader that has left (`| head`) has what it wanted: then there is no word of it, but 1.
"""

import errno
import io
import os
import sys

from greenroom.commands.outlet import STANDARD_ERROR, STANDARD_OUTPUT


class OutputLost(Exception):
    """Standard output cannot be written. is_left: because its reader has gone."""

    def __init__(self, fault: OSError) -> None:
        super().__init__(f"standard output cannot be written: {fault.strerror}")
        self.is_left = fault.errno == errno.EPIPE


class StandardOutput(io.TextIOWrapper):
    """Text for descriptor 1. What cannot be written raises OutputLost, once."""

    def __init__(self) -> None:
        file = io.BufferedWriter(io.FileIO(STANDARD_OUTPUT, "w", closefd=False))
        encoding = "utf-8" if sys.stdout is None else sys.stdout.encoding
        super().__init__(file, encoding=encoding, errors="backslashreplace", line_buffering=os.isatty(STANDARD_OUTPUT))

    def write(self, text: str) -> int:
        """Write *text*. Raises: OutputLost."""
        try:
            return super().write(text)
        except OSError as fault:
            raise _lost(fault) from None

    def flush(self) -> None:
        """Hand over what was written. Raises: OutputLost."""
        try:
            super().flush()
        except OSError as fault:
            raise _lost(fault) from None


def _lost(fault: OSError) -> OutputLost:
    """It is told once: what is left in buffers, and what comes after it, goes nowhere."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, STANDARD_OUTPUT)
    os.close(nothing)
    return OutputLost(fault)


def hold_descriptors() -> None:
    """See that 0, 1 and 2 are open: of those that were closed (`>&-`) a socket or a file would take the place.

    Reading from them finds the end, and writing an answer fails as it would have.
    """
    for descriptor in range(STANDARD_ERROR + 1):
        try:
            os.fstat(descriptor)
        except OSError:  # EBADF: the lowest that is free is the one that is opened
            os.set_inheritable(os.open(os.devnull, os.O_WRONLY if descriptor == STANDARD_ERROR else os.O_RDONLY), True)


def give_up(lost: OutputLost) -> int:
    """Say what is to be said; the exit code."""
    if not lost.is_left:
        sys.stderr.write(f"greenroom: {lost}\n")
    return 1
