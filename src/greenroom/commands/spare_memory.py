"""What a crowd has left free in the heap goes back to the system.

glibc gives back what is free at the end of its heap alone: after a crowd of slow readers half a gigabyte that nobody
used was ours for as long as the process lived. `malloc_trim` gives back every page that is free. Other C libraries do
that by themselves, or cannot be asked.

    every LOOK_SECONDS: more is resident than after the last trim, and more is free ──WORTH_BYTES of both──▶ trim
"""

import ctypes
import os
from pathlib import Path
from typing import Final

import structlog
import trio

from greenroom.runtime import sleep_to_tick

log = structlog.get_logger()

LOOK_SECONDS: Final = 15.0
WORTH_BYTES: Final = 64 * 1024 * 1024  # less is not worth the look: 16 ms where 100,000 pieces are free


class _Mallinfo2(ctypes.Structure):
    """mallinfo2(3)."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in [
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "keepcost",
        ]
    ]


class Heap:
    """The heap of this process. Raises: AttributeError where the C library is not glibc 2.33 or later."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._mallinfo, self._trim = library.mallinfo2, library.malloc_trim
        self._mallinfo.restype = _Mallinfo2
        self._floor_bytes = self.resident_bytes()
        self._free_after = self._mallinfo().fordblks

    @staticmethod
    def resident_bytes() -> int:
        """What of this process is in memory."""
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def trim_if_worth(self) -> int:
        """Give back what is free if that is much; the bytes that it was. Holds up whoever allocates meanwhile."""
        resident = self.resident_bytes()
        self._floor_bytes = min(self._floor_bytes, resident)
        if resident - self._floor_bytes < WORTH_BYTES:
            return 0
        free = self._mallinfo().fordblks  # pages that were given back count as free, too
        self._free_after = min(self._free_after, free)
        if free - self._free_after < WORTH_BYTES:
            return 0
        self._trim(0)
        self._floor_bytes, self._free_after = self.resident_bytes(), self._mallinfo().fordblks
        return resident - self._floor_bytes


async def give_back_spare_memory() -> None:
    """Look for ever; nothing where the heap cannot be asked."""
    try:
        heap = Heap()
    except (AttributeError, OSError):
        return
    while True:
        await sleep_to_tick(LOOK_SECONDS)
        try:
            given_back = await trio.to_thread.run_sync(heap.trim_if_worth)
        except (OSError, RuntimeError, MemoryError) as shortage:  # no descriptor or no thread is left: the next look
            log.debug("memory.unknown", why=str(shortage))
            continue
        if given_back:
            log.info("memory.given_back", bytes=given_back)
