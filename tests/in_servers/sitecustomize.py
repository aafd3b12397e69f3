"""In every server that a test starts as a process of its own: tells the test of each shape of frame made and taken.

Python imports a module of this name when it starts; `environment()` of frames_seen.py puts this folder on its path and
names the file. A line there is `[protocol, side, frame]`, written at once: the server may be killed.

What most frames cost is the search for their text without its digits, in which they are like many others: 1 µs.
"""

import json
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from typing import Any

from frame_shapes import Shapes

FILE = "FRAMES_SEEN_IN"
WHOLE_MAX = 20
TEXTS_MAX = 4096
_DIGITS = b"0123456789"


class Recorder:
    """Writes them to a file that others write to as well.

    It is opened for each line, of which there are few: a command whose output is closed is to find it so.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._shapes = Shapes(WHOLE_MAX)
        self._texts: set[int] = set()

    def looked_into(self, build: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        """The same, but that what the server says is looked at."""

        def text_frame(payload: bytes) -> bytes:
            text = hash(payload.translate(None, _DIGITS))
            if text not in self._texts:
                if len(self._texts) == TEXTS_MAX:
                    self._texts.clear()
                self._texts.add(text)
                frame = json.loads(payload)
                self._look("compat" if "timestamp" in frame else "v1", "server", frame)
            return build(payload)

        return text_frame

    def listened_to(self, read: Callable[[str, Any], Any]) -> Callable[[str, Any], Any]:
        """The same, but that what a client says, and the server takes, is looked at."""

        def read_command(kind: str, frame: Any) -> Any:
            taken = read(kind, frame)
            self._look("v1", "client", frame)
            return taken

        return read_command

    def _look(self, protocol: str, side: str, frame: Any) -> None:
        if self._shapes.is_new((protocol, side, frame["type"]), frame):
            file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.write(file, json.dumps([protocol, side, frame]).encode() + b"\n")
            os.close(file)


class _Wrapping(MetaPathFinder):
    """Finds nothing: knows when the two that build and read frames are about to be used."""

    def __init__(self, path: str) -> None:
        recorder = Recorder(path)
        self._wraps = {
            "greenroom.http.ws.events": ("greenroom.http.ws.frames", "text_frame", recorder.looked_into),
            "greenroom.http.ws.v1": ("greenroom.http.ws.v1_commands", "read", recorder.listened_to),
        }

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: object = None) -> None:
        if fullname in self._wraps:
            module, name, wrap = self._wraps.pop(fullname)
            found: Any = import_module(module)
            setattr(found, name, wrap(getattr(found, name)))


if FILE in os.environ:
    sys.meta_path.insert(0, _Wrapping(os.environ[FILE]))
