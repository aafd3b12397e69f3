"""A Python that has read greenroom and waits: each `greenroom …` that it is asked for is a fork of it.

forked_process.py beside this folder starts one, as `python forking.py DESCRIPTOR`, and says there what is the same as
with a Python of its own. It ends when nobody is left who could ask.
"""

import gc
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

REQUEST_BYTES_MAX = 64 * 1024


def main() -> None:
    """Read greenroom, then become what is asked for, in a child each."""
    _read_greenroom()
    _become(*_next_request(socket.socket(fileno=int(sys.argv[1]))))


def _read_greenroom() -> None:
    gc.disable()
    from greenroom.commands.app import _unused_unread

    with _unused_unread():
        import greenroom.commands.chat
        import greenroom.commands.serve  # noqa: F401
    gc.freeze()  # a collector that writes into all of this would have the kernel copy it for each child
    gc.enable()


def _next_request(asked: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Returns in a child; here there are only requests and the end."""
    while True:
        message, descriptors, _, _ = socket.recv_fds(asked, REQUEST_BYTES_MAX, 3)
        if not message:
            sys.exit()
        request = json.loads(message)
        if "wait" in request:
            answer = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        elif (answer := os.fork()) == 0:
            asked.close()
            return request, descriptors
        for descriptor in descriptors:
            os.close(descriptor)
        asked.send(str(answer).encode())


def _become(request: dict[str, Any], descriptors: list[int]) -> None:
    from trio._core import _run

    import greenroom.cli

    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may ignore it (nohup)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.stdin = open(0, encoding=sys.stdin.encoding, errors=sys.stdin.errors, closefd=False)  # noqa: SIM115
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    _run._r.seed()  # in which order tasks run, else the same in every child
    sys.modules["__main__"].__package__ = "greenroom"  # what help calls it: python -m greenroom
    sys.argv = [str(Path(greenroom.__file__).with_name("__main__.py")), *request["arguments"]]
    exec(request["first"], {})
    greenroom.cli.main()


if __name__ == "__main__":
    main()
