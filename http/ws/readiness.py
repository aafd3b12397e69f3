"""Readiness of many sockets behind one descriptor that trio can wait for.

Linux has epoll; elsewhere `selectors` finds the best the system offers. Level-triggered: a stale or repeated event
costs one read that finds nothing.
"""

import selectors
from typing import Any, Final, Protocol

READABLE: Final = selectors.EVENT_READ
WRITABLE: Final = selectors.EVENT_WRITE
BROKEN: Final = 4  # epoll alone tells of it, and of whoever is asked for nothing too, until the socket is closed


class Readiness(Protocol):
    """Register, change, and ask who is ready."""

    def fileno(self) -> int:
        """The descriptor that becomes readable when anybody is ready."""
        ...

    def register(self, fd: int, events: int) -> None:
        """Watch *fd*."""
        ...

    def modify(self, fd: int, events: int) -> None:
        """Watch for other *events*; 0 for none."""
        ...

    def unregister(self, fd: int) -> None:
        """Stop watching; always before the descriptor is closed."""
        ...

    def poll(self) -> list[tuple[int, int]]:
        """(fd, events) of everybody ready now. Never waits."""
        ...

    def close(self) -> None:
        """Let go of the descriptor."""
        ...


EVENTS_MAX: Final = 512


class EpollReadiness(Readiness):
    """Linux."""

    def __init__(self) -> None:
        import select

        self._epoll = select.epoll()
        self._flags = {
            0: 0,
            READABLE: select.EPOLLIN,
            WRITABLE: select.EPOLLOUT,
            READABLE | WRITABLE: select.EPOLLIN | select.EPOLLOUT,
        }
        self._in, self._out = select.EPOLLIN, select.EPOLLOUT
        self._broken = select.EPOLLERR | select.EPOLLHUP

    def fileno(self) -> int:
        """The epoll descriptor."""
        return self._epoll.fileno()

    def unregister(self, fd: int) -> None:
        """Stop watching."""
        self._epoll.unregister(fd)

    def close(self) -> None:
        """Let go."""
        self._epoll.close()

    def register(self, fd: int, events: int) -> None:
        """Watch *fd*."""
        self._epoll.register(fd, self._flags[events])

    def modify(self, fd: int, events: int) -> None:
        """Watch for other *events*."""
        self._epoll.modify(fd, self._flags[events])

    def poll(self) -> list[tuple[int, int]]:
        """Who is ready; an error or a hang-up is told as all there is."""
        return [
            (
                fd,
                READABLE | WRITABLE | BROKEN
                if flags & self._broken
                else (READABLE if flags & self._in else 0) | (WRITABLE if flags & self._out else 0),
            )
            for fd, flags in self._epoll.poll(0, EVENTS_MAX)
        ]


class SelectorReadiness(Readiness):
    """Any other system whose selector has a descriptor (kqueue)."""

    def __init__(self) -> None:
        make = getattr(selectors, "KqueueSelector", None)
        if make is None:
            raise OSError("this system has neither epoll nor kqueue: the socket engine cannot watch its sockets")
        self._selector: Any = make()

    def fileno(self) -> int:
        """The kqueue."""
        return int(self._selector.fileno())

    def register(self, fd: int, events: int) -> None:
        """Watch *fd*."""
        if events:
            self._selector.register(fd, events)

    def modify(self, fd: int, events: int) -> None:
        """Watch for other *events*; a selector has no word for none."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)
        self.register(fd, events)

    def unregister(self, fd: int) -> None:
        """Stop watching."""
        if fd in self._selector.get_map():
            self._selector.unregister(fd)

    def poll(self) -> list[tuple[int, int]]:
        """Who is ready."""
        return [(key.fd, events) for key, events in self._selector.select(0)]

    def close(self) -> None:
        """Let go."""
        self._selector.close()


def open_readiness() -> Readiness:
    """The best this system has. Raises: OSError when it has none."""
    return EpollReadiness() if hasattr(selectors, "EpollSelector") else SelectorReadiness()
