"""The command `greenroom`; what it can be told is in commands/.

Exit codes: 0 done, 1 failed, 2 told wrongly, 130 interrupted. What goes wrong for a reason the user can do something
about is one sentence on standard error, never a traceback.
"""

import gc
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

INTERRUPTED = 130


def main() -> None:
    """Run the command line."""
    try:
        with _ends_at_ctrl_c():
            from greenroom.commands import outlet, standard_output  # not above: Ctrl-C may come while this is read

        standard_output.hold_descriptors()
        sys.stderr = outlet.Outlet(outlet.STANDARD_ERROR)  # where nobody hears a sentence the exit code is left to tell
        sys.stderr.reconfigure(line_buffering=True)
        # Python hands bytes that are no UTF-8 over as lone surrogates, which nothing can store, sign or show.
        if any("\ud800" <= character <= "\udfff" for argument in sys.argv for character in argument):
            sys.exit(_told_wrongly("an argument is not valid UTF-8: give it in UTF-8"))
        sys.stdout = standard_output.StandardOutput()
        try:
            _run()
        except standard_output.OutputLost as lost:
            sys.exit(standard_output.give_up(lost))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


@contextmanager
def _ends_at_ctrl_c() -> Iterator[None]:
    """While modules are read. Of a KeyboardInterrupt in one of the callbacks that this sets off Python says that it is
    ignored, and goes on.
    """
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:  # it is ignored, as behind `&`
        yield
        return
    signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _run() -> None:
    gc.disable()  # while modules are read it finds next to nothing, a fifth of the time that reading them takes
    with _ends_at_ctrl_c():
        from greenroom.commands.app import app, load

        load(sys.argv[1:])
    gc.freeze()  # they stay
    gc.enable()
    try:
        app()
    finally:
        sys.stdout.flush()
        gc.freeze()  # else Python, as it ends, looks for cycles in all that was imported: up to 0.2 s, for nothing


def _told_wrongly(message: str) -> int:
    sys.stderr.write(f"greenroom: {message}\n")
    return 2
