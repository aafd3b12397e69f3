"""Leases: who counts as here without a connection, and until when.

A client that uses REST alone says so itself (`POST /api/presence/update`), and one that polls has no connection between
two polls: without a lease it would come and go with each of them, and everybody would be told. A lease counts as a
socket of its user; when it is over the presence actor is told as of a socket that closed. In memory: after a restart
whoever is here says so again. Nothing runs while there are none.
"""

from collections.abc import Callable
from typing import Final

import trio

LOOK_SECONDS: Final = 2.0
LEASES_MAX: Final = 100_000
LOOKED_AT_ONCE: Final = 5_000


class Leases:
    """Run `run` in a nursery."""

    def __init__(self) -> None:
        self._until: dict[int, float] = {}
        self._wake = trio.Event()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._until)

    def hold(self, user_id: int, seconds: float) -> None:
        """The user is here for so long, or as long as was said before. At LEASES_MAX new ones are not kept."""
        if user_id in self._until or len(self._until) < LEASES_MAX:
            self._until[user_id] = max(self._until.get(user_id, 0.0), trio.current_time() + seconds)
            self._wake.set()

    def is_held(self, user_id: int) -> bool:
        """Whether the user is here without a connection."""
        return self._until.get(user_id, 0.0) > trio.current_time()

    async def run(self, on_end: Callable[[int], None]) -> None:
        """Call *on_end* with each user whose lease is over, at most LOOK_SECONDS late."""
        while True:
            await self._wake.wait()
            await trio.sleep(LOOK_SECONDS)
            users = list(self._until)
            for start in range(0, len(users), LOOKED_AT_ONCE):
                now = trio.current_time()
                for user_id in users[start : start + LOOKED_AT_ONCE]:
                    if self._until[user_id] <= now:
                        del self._until[user_id]
                        on_end(user_id)
                await trio.lowlevel.checkpoint()
            if not self._until:
                self._wake = trio.Event()
