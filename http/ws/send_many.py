"""The same bytes to many sockets: in one call of the system where it has io_uring, else in one for each.

    send(data, [fd, …]) ──▶ who did not take all of it, and what they took

Between two calls Python lets go of its lock, takes it again, and finds its own code gone from the nearest cache: for
each socket that is a tenth of what the kernel does. With io_uring(7) (Linux 5.18) the kernel goes through a list of
descriptors by itself. It does all of it within the call, as send(2) would: nobody is waited for, and nothing is left
under way. Where it is refused (an older kernel, the rules of a container, another system) each is sent to for itself,
and what comes of it is the same.
"""

import ctypes
import errno
import mmap
import os
import socket
import struct
import sys
from array import array
from itertools import repeat
from operator import length_hint
from typing import Final, Protocol

AT_ONCE: Final = 256  # sockets in one call: a millisecond and a half when they are cold

TookLess = list[tuple[int, int]]
"""(place among the descriptors, bytes that it took, or the number of its error, negative), by place."""


class Sender(Protocol):
    """Of one thread."""

    def send(self, data: bytes, fds: "array[int]") -> TookLess:
        """Send *data* to sockets that do not block, AT_ONCE at most; -1 is nobody. Never raises, never waits."""
        ...


def open_sender() -> Sender:
    """The best that the system allows."""
    if sys.platform == "linux":
        try:
            return RingSender()
        except (OSError, AttributeError):  # refused; a kernel that has none; a C library without `syscall`
            pass
    return LoopSender()


class LoopSender:
    """One call for each socket."""

    def send(self, data: bytes, fds: "array[int]") -> TookLess:
        """As the protocol says."""
        took_less: TookLess = []
        left, size = iter(fds.tolist()), len(data)  # of a list: an array's iterator does not say what is left
        sends = map(os.write, filter((-1).__lt__, left), repeat(data))  # no bytecode, hence no memory of it, in between
        is_over = False
        while not is_over:
            try:
                for sent in sends:
                    if sent != size:
                        took_less.append((len(fds) - length_hint(left) - 1, sent))
                is_over = True
            except OSError as error:
                took_less.append((len(fds) - length_hint(left) - 1, -(error.errno or errno.EIO)))
        return took_less


# From linux/io_uring.h. The numbers of the calls are the same wherever Python is at home.
_SETUP: Final = 425
_ENTER: Final = 426
_SETUP_SUBMIT_ALL: Final = 1 << 7  # go on behind an entry that is refused
_FEATURE_SINGLE_MMAP: Final = 1 << 0
_ENTER_GETEVENTS: Final = 1 << 0
_SQES_OFFSET: Final = 0x10000000
_OP_SEND: Final = 26
_SQE: Final = struct.Struct("=BxxxiQQIIQ24x")  # opcode, fd, offset, address, length, flags of send(2), user data
_CQE_BYTES: Final = 16  # user data u64, result s32, flags u32
_PARAMETERS_BYTES: Final = 120
_U32: Final = 0xFFFFFFFF
_MAP_POPULATE: Final = 0x8000
_NO_SIGNALS: Final = ctypes.c_size_t(0)


class RingSender:
    """One call for all. The entries stand ready: only descriptors change, and, for another message, what is sent.

    The kernel looks at the rings, and writes to them, within calls of this thread alone, so there is no order to keep
    but the program's. Raises: OSError when there is no ring to be had.
    """

    def __init__(self) -> None:
        self._fd = -1
        self._system = ctypes.CDLL(None, use_errno=True).syscall
        self._system.restype = ctypes.c_long
        parameters = bytearray(_PARAMETERS_BYTES)
        struct.pack_into("I", parameters, 8, _SETUP_SUBMIT_ALL)
        self._fd = self._call(_SETUP, AT_ONCE, (ctypes.c_char * _PARAMETERS_BYTES).from_buffer(parameters))
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "io_uring is refused")
        self._map(parameters)
        self._try_out()

    def __del__(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def _map(self, parameters: bytearray) -> None:
        entries, results, _, _, _, features = struct.unpack_from("6I", parameters)
        head, tail, _, _, _, _, order = struct.unpack_from("7I", parameters, 40)
        done_head, done_tail, _, _, _, done = struct.unpack_from("6I", parameters, 80)
        if not features & _FEATURE_SINGLE_MMAP or entries < AT_ONCE:
            raise OSError(errno.ENOSYS, "this io_uring is too old")
        flags = mmap.MAP_SHARED | _MAP_POPULATE
        size = max(order + 4 * entries, done + _CQE_BYTES * results)
        words = memoryview(mmap.mmap(self._fd, size, flags)).cast("B")[: size // 4 * 4].cast("I")
        table = mmap.mmap(self._fd, _SQE.size * entries, flags, offset=_SQES_OFFSET)
        flags_of_send = socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
        for number in range(entries):
            words[order // 4 + number] = number
            _SQE.pack_into(table, _SQE.size * number, _OP_SEND, -1, 0, 0, 0, flags_of_send, number)
        self._entries, self._results, self._words = entries, results, words
        self._head, self._tail, self._done_head, self._done_tail = head // 4, tail // 4, done_head // 4, done_tail // 4
        self._fds, self._sizes = memoryview(table).cast("i")[1::16], memoryview(table).cast("I")[6::16]
        self._addresses = memoryview(table).cast("Q")[2::8]
        answers = words[done // 4 : done // 4 + _CQE_BYTES // 4 * results]
        self._numbers, self._took = answers.cast("B").cast("Q")[0::2], answers.cast("B").cast("i")[2::4]
        self._load(b"")

    def _try_out(self) -> None:
        ours, peer = socket.socketpair()
        with ours, peer:
            peer.setblocking(False)
            if self.send(b"?", array("i", (-1, ours.fileno()))) or peer.recv(2) != b"?":
                raise OSError(errno.ENOSYS, "this io_uring sends nothing")

    def _load(self, data: bytes) -> None:
        address = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p).value or 0
        self._addresses[:] = memoryview(array("Q", (address,)) * self._entries)
        self._sizes[:] = memoryview(array("I", (len(data),)) * self._entries)
        self._data = data  # kept: the kernel reads it where it is

    def send(self, data: bytes, fds: "array[int]") -> TookLess:
        """As the protocol says."""
        if data is not self._data:
            self._load(data)
        count, size, words, last = len(fds), len(data), self._words, self._entries - 1
        words[self._tail], words[self._done_head] = words[self._head], words[self._done_tail]  # if we failed before
        first, done_first = words[self._tail] & last, words[self._done_head] & (self._results - 1)
        until_end = self._entries - first
        given = memoryview(fds)
        self._fds[first : first + count] = given[:until_end]
        if count > until_end:
            self._fds[: count - until_end] = given[until_end:]
        words[self._tail] = (words[self._tail] + count) & _U32
        done = self._have_done(count)
        took = _around(self._took, done_first, done)
        if took.count(size) + fds.count(-1) == count:
            return []
        places = [(number - first) & last for number in _around(self._numbers, done_first, done)]
        by_place = dict(zip(places, took, strict=True))
        found = [(place, by_place.get(place, -errno.EAGAIN)) for place, fd in enumerate(fds) if fd >= 0]
        return [(place, sent) for place, sent in found if sent != size]

    def _have_done(self, count: int) -> int:
        """Of so many entries, how many were done: fewer, when the kernel is short of memory. The others are no more."""
        words, done = self._words, 0
        while done < count:
            taken = self._call(_ENTER, self._fd, count - done, 0, 0, None, _NO_SIGNALS)
            if taken > 0:
                done += taken
            elif ctypes.get_errno() != errno.EINTR:
                words[self._tail] = words[self._head]
                break
        while (words[self._done_tail] - words[self._done_head]) & _U32 < done:  # as far as is known, never
            self._call(_ENTER, self._fd, 0, done, _ENTER_GETEVENTS, None, _NO_SIGNALS)
        return done

    def _call(self, number: int, *arguments: object) -> int:
        return int(self._system(number, *arguments))


def _around(ring: "memoryview[int]", first: int, count: int) -> list[int]:
    """*count* entries from *first* on, behind the last of which comes the first."""
    found = ring[first : first + count].tolist()
    return found if len(found) == count else found + ring[: count - len(found)].tolist()
