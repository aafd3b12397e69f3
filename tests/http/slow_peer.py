"""A connection of the engine, and a peer that reads when it is told to."""

import contextlib
import math
import socket

from trio.testing import wait_all_tasks_blocked

from greenroom.http.adoption import Adopted
from greenroom.http.ws.frames import text_frame

FRAME = text_frame(b"x" * 9_996)  # with its head 10,000 bytes


class Silent:
    """A session that says nothing by itself. fails: at its end."""

    user_id = 1
    principal = None
    is_present = False
    device = ""
    first_beat_seconds = math.inf
    fails = False

    def __init__(self, is_v1):
        self.is_v1 = is_v1

    def seconds_left(self):
        return math.inf

    def pause_for(self, seconds):
        pass

    def farewell(self, code):
        return b""

    def closed(self):
        if self.fails:
            raise RuntimeError("a session that fails at its end")


class Peer:
    """A connection, and a peer who reads when it is told to."""

    def __init__(self, engine, *, is_v1=True):
        near, self.sock = socket.socketpair()
        near.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        for sock in (near, self.sock):
            sock.setblocking(False)
        self.session = Silent(is_v1)
        self.connection = engine.adopt(Adopted(near, b"", ("127.0.0.1", 1), None), lambda _: self.session, "127.0.0.1")
        self.heard = bytearray()

    @property
    def is_closed(self):
        return self.connection.is_closing

    def waits(self, size):
        """At least so many bytes wait for it, and for nobody else, unless it is closed."""
        while self.connection.unsent_bytes < size and not self.is_closed:
            self.connection.write_now(FRAME[:1] + FRAME[1:])

    def is_told(self, frame):
        """As others are."""
        self.connection.write_now(frame)

    async def read(self, size=10**7):
        with contextlib.suppress(BlockingIOError):
            while size > 0:
                data = self.sock.recv(min(size, 65536))
                self.heard += data
                size -= len(data)
                await wait_all_tasks_blocked(0.001)
                if not data:
                    return

    async def read_all(self):
        while self.connection.unsent_bytes:
            await self.read()
        await self.read()
