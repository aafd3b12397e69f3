"""The turnstile: so many connections in a pass of the loop have the head of a request read and its view begun.

trio runs everything that can run in one pass of its loop. Of a thousand requests that came together each would take the
same step in the same pass, and a pass would take a third of a second, or two when they are handshakes, which are one
step: who sends a message meanwhile waits for it, and for more (measured: 1.9 s with 10,000 upgrades at once, 0.2 s with
few at a time; and 110 MiB were held for 4,000, now 8 MiB). A place is held while a head is parsed, never while a peer
or a view is waited for; and it serves one in each pass.
"""

from typing import Final

import trio

PLACES: Final = 8


class Turnstile:
    """First come, first served."""

    def __init__(self, places: int = PLACES) -> None:
        self._free = places
        self._left = 0  # in this pass, or since somebody last asked for one
        self._is_renewing = False
        self._queue = trio.lowlevel.ParkingLot()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._queue)

    async def enter(self) -> None:
        """Take a place, waiting for one if need be. No checkpoint when there is one: for those who just had theirs."""
        if self._free:
            self._free -= 1
            return
        if self._left and not self._is_renewing:
            self._is_renewing = True
            trio.lowlevel.current_trio_token().run_sync_soon(self._renew)
        await self._queue.park()

    def leave(self) -> None:
        """Give it to who has waited longest, whose turn is in the next pass; or keep it for one that is to come."""
        if self._queue:
            self._queue.unpark()
        else:
            self._left += 1

    def _renew(self) -> None:
        """In a pass after that in which they were left."""
        self._is_renewing = False
        self._free, self._left = self._free + self._left, 0
        count = min(self._free, len(self._queue))
        self._free -= count
        self._queue.unpark(count=count)
