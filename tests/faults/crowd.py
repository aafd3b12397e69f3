"""Thousands of sockets at once, in one thread with one epoll: cheap enough that the server is what is measured.

crowd = Crowd(port, [request, …])
await crowd.arrive(30)          # connects them all at once and takes each one's first answer
crowd.statuses                  # Counter({101: 9_800, 503: 200})
crowd.leave()                   # with a reset each
"""

import errno
import re
import select
import socket
import ssl
import struct
import time
from collections import Counter

import trio

_all: list["Crowd"] = []


def leave_all() -> None:
    """Cut all that any crowd still holds: for the end of a test that failed."""
    while _all:
        _all.pop().leave()


class Crowd:
    """Sockets that say one thing each and keep quiet. receive_buffer: of each, in bytes, when it matters.

    tls: they speak it, and trust what it trusts; None: they are plain.
    """

    def __init__(
        self,
        port: int,
        requests: list[bytes],
        *,
        receive_buffer: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.port = port
        self.requests = requests
        self.statuses: Counter[int | str] = Counter()
        self.seconds: list[float] = []  # from the beginning to the answer of each
        self.retry_after: list[int | None] = []  # of each that was refused with 503: what it was told, if anything
        self.refusal = b""  # the first of them
        self.sockets: dict[int, socket.socket] = {}
        self._receive_buffer = receive_buffer
        self._tls = tls
        _all.append(self)

    async def arrive(self, seconds_max: float) -> None:
        """Connect all at once; returns when each has its answer, or is refused, or the time is over."""
        await trio.to_thread.run_sync(self._arrive, time.monotonic() + seconds_max)

    def leave(self) -> None:
        """Cut all that are here."""
        for sock in self.sockets.values():
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.close()
        self.sockets.clear()

    def send(self, data: bytes) -> None:
        """The same to the server from each: as much as the kernel takes."""
        for sock in self.sockets.values():
            try:
                sock.send(data)
            except OSError:
                continue

    def ended(self) -> int:
        """How many the server has ended, as far as can be seen without reading: behind what is not read nothing is."""
        poll = select.poll()
        for fd in self.sockets:
            poll.register(fd, select.POLLRDHUP)
        return len(poll.poll(0))

    def read_to_the_end(self, seconds_max: float) -> Counter[int | str]:
        """Read all that there is of each, which the server has ended: how many ended with which code, or how else."""
        codes: Counter[int | str] = Counter()
        deadline = time.monotonic() + seconds_max
        for sock in self.sockets.values():
            sock.settimeout(max(0.1, deadline - time.monotonic()))
            data = b""
            try:
                while more := sock.recv(1 << 20):
                    data = (data + more)[-200:]
            except OSError as error:
                codes[errno.errorcode.get(error.errno or 0, repr(error))] += 1
                continue
            at = data.rfind(b"\x88")  # the last frame: its head, its length, its code
            is_last = at >= 0 and data[at + 1] == len(data) - at - 2
            codes[int.from_bytes(data[at + 2 : at + 4]) if is_last else "no code"] += 1
        return codes

    def _arrive(self, deadline: float) -> None:
        began = time.monotonic()
        waiting = {}
        with select.epoll() as epoll:
            for request in self.requests:
                sock = self._connect()
                self.sockets[sock.fileno()] = sock
                waiting[sock.fileno()] = request
                epoll.register(sock, select.EPOLLOUT)
            while waiting and time.monotonic() < deadline:
                for fd, events in epoll.poll(0.1):
                    sock, is_whole = self.sockets[fd], not events & (select.EPOLLERR | select.EPOLLHUP)
                    if is_whole and waiting[fd]:
                        if self._is_secure(sock):
                            sock.send(waiting[fd])
                            waiting[fd] = b""
                        epoll.modify(fd, select.EPOLLIN)
                        continue
                    try:
                        self._answered(sock, time.monotonic() - began)
                    except ssl.SSLWantReadError:  # what came is TLS's own
                        continue
                    epoll.unregister(fd)
                    del waiting[fd]
        if waiting:
            self.statuses["no answer"] = len(waiting)

    def _is_secure(self, sock: socket.socket) -> bool:
        """The handshake is done, if there is one; else it has made a step, and waits for the server's."""
        if isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                return False
        return True

    def _connect(self) -> socket.socket:
        sock = socket.socket()
        sock.setblocking(False)
        if self._receive_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_buffer)
        code = sock.connect_ex(("127.0.0.1", self.port))
        if code not in (0, errno.EINPROGRESS):
            sock.close()
            raise OSError(code, "the crowd cannot connect")
        if self._tls is None:
            return sock
        return self._tls.wrap_socket(sock, server_hostname="127.0.0.1", do_handshake_on_connect=False)

    def _answered(self, sock: socket.socket, seconds: float) -> None:
        try:
            head = sock.recv(12)
            status = int(head[9:12]) if head else "closed"
            if status == 503:
                rest = sock.recv(4096)
                self.refusal = self.refusal or head + rest
                found = re.search(rb"(?i)\r\nretry-after: (\d+)\r\n", rest)
                self.retry_after.append(int(found[1]) if found else None)
        except ssl.SSLWantReadError:
            raise
        except OSError as error:
            self.statuses[errno.errorcode.get(error.errno or 0, "?")] += 1
            return
        self.statuses[status] += 1
        self.seconds.append(seconds)
