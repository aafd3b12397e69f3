"""Listeners by the thousand that come back by themselves: one thread, one epoll, a good v1 client each.

Each keeps the `seq` and the id of every message of its room, resumes behind the last of them, and after an end waits a
random time up to JITTER_SECONDS, as the protocol asks, and what a refusal tells it besides. `holes` and `repeats` count
what should not be.
"""

import errno
import heapq
import json
import random
import re
import select
import socket
import threading
import time

from wire import V1, frame, upgrade_request  # type: ignore[import-not-found]

JITTER_SECONDS = 1.0
READ_BYTES = 256 * 1024


class Listener:
    """One client in one room."""

    def __init__(self, token: str, room: int) -> None:
        self.token = token
        self.room = room
        self.ids: list[int] = []  # of the messages 1, 2, 3 …
        self.is_live = False
        self.lives = self.holes = self.repeats = self.gaps = 0
        self.sock: socket.socket | None = None
        self.buffer = b""
        self.is_open = False
        self.retry_after = 0

    def hello(self, port: int) -> bytes:
        """What it says first: the upgrade and, in the same segment, where it left off."""
        headers = [("Authorization", f"Bearer {self.token}"), ("Sec-WebSocket-Protocol", V1)]
        resume = {"rooms": {str(self.room): {"seq": len(self.ids)}}}
        start = {"type": "start", "id": "s", "data": {"device": "storm", "resume": resume}}
        return upgrade_request("/ws", headers, port) + frame(json.dumps(start))

    def hear(self, event: dict) -> bytes | None:
        """Take an event in; what to answer."""
        match event["type"]:
            case "message":
                if event["seq"] <= len(self.ids):
                    self.repeats += 1
                elif event["seq"] > len(self.ids) + 1:
                    self.holes += 1
                else:
                    self.ids.append(event["data"]["id"])
            case "live":
                self.is_live = True
                self.lives += 1
            case "gap":
                self.gaps += 1
            case "ping":
                return frame('{"type":"pong"}')
        return None


class Storm:
    """All of them. `run` in a thread until `stop`."""

    def __init__(self, port: int, listeners: list[Listener], seed: int = 0) -> None:
        self.port = port
        self.listeners = listeners
        self._random = random.Random(seed)
        self._is_over = threading.Event()
        self._by_fd: dict[int, Listener] = {}
        self._due = [
            (time.monotonic() + self._random.uniform(0, 2 * JITTER_SECONDS), at) for at in range(len(listeners))
        ]
        self._place = {id(listener): at for at, listener in enumerate(listeners)}
        heapq.heapify(self._due)

    def stop(self) -> None:
        """End `run`."""
        self._is_over.set()

    def run(self) -> None:
        """Keep everybody connected."""
        with select.epoll() as poller:
            while not self._is_over.is_set():
                now = time.monotonic()
                while self._due and self._due[0][0] <= now:
                    self._connect(self.listeners[heapq.heappop(self._due)[1]], poller)
                for fd, events in poller.poll(0.02, 512):
                    self._ready(self._by_fd[fd], events, poller)
        for listener in list(self._by_fd.values()):
            assert listener.sock is not None
            listener.sock.close()

    def _connect(self, listener: Listener, poller: select.epoll) -> None:
        sock = socket.socket()
        sock.setblocking(False)
        listener.sock, listener.buffer, listener.is_open = sock, b"", False
        self._by_fd[sock.fileno()] = listener
        poller.register(sock, select.EPOLLOUT)
        if sock.connect_ex(("127.0.0.1", self.port)) not in (0, errno.EINPROGRESS):
            self._lost(listener, poller)

    def _lost(self, listener: Listener, poller: select.epoll) -> None:
        assert listener.sock is not None
        poller.unregister(listener.sock)  # by close alone not, while a child that was forked has it too
        del self._by_fd[listener.sock.fileno()]
        listener.sock.close()
        listener.sock, listener.is_live = None, False
        wait = self._random.uniform(0, JITTER_SECONDS) + listener.retry_after
        heapq.heappush(self._due, (time.monotonic() + wait, self._place[id(listener)]))

    def _ready(self, listener: Listener, events: int, poller: select.epoll) -> None:
        sock = listener.sock
        assert sock is not None
        try:
            if events & (select.EPOLLERR | select.EPOLLHUP):
                raise ConnectionResetError
            if events & select.EPOLLOUT:
                sock.send(listener.hello(self.port))
                poller.modify(sock, select.EPOLLIN)
                return
            data = sock.recv(READ_BYTES)
            if not data or not self._take(listener, data):
                raise ConnectionResetError
        except BlockingIOError:
            return
        except OSError:
            self._lost(listener, poller)

    @staticmethod
    def _take(listener: Listener, data: bytes) -> bool:
        """False when the server ends it, or refuses."""
        data = listener.buffer + data
        if not listener.is_open:
            head, end, rest = data.partition(b"\r\n\r\n")
            if not end:
                listener.buffer = data
                return True
            if not head.startswith(b"HTTP/1.1 101"):
                found = re.search(rb"(?i)\r\nretry-after: (\d+)", head)
                listener.retry_after = int(found[1]) if found else 0
                return False
            listener.retry_after = 0
            listener.is_open, data = True, rest
        at = 0
        while len(data) - at >= 2:
            size, start = data[at + 1], at + 2
            if size == 126:
                size, start = int.from_bytes(data[at + 2 : at + 4]), at + 4
            elif size == 127:
                size, start = int.from_bytes(data[at + 2 : at + 10]), at + 10
            if len(data) < start + size:
                break
            if data[at] == 0x88:
                return False
            answer = listener.hear(json.loads(data[start : start + size]))
            if answer is not None and listener.sock is not None:
                listener.sock.send(answer)
            at = start + size
        listener.buffer = data[at:]
        return True
