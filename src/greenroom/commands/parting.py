"""What a chat waits for before it leaves: that the room was shown, and every line of ours in it.

A server that is at work is waited for as long as it takes, with many lines and a limit as well. One that says nothing
for SILENCE_SECONDS_MAX is given up, and one that settles nothing for VAIN_SECONDS_MAX, whatever else it says.
"""

from collections.abc import Callable
from typing import Final

import trio

from greenroom.client import CaughtUp, Confirmed, Connected, Delayed, Event, RoomRefused, Said, Undelivered

SILENCE_SECONDS_MAX: Final = 15.0
VAIN_SECONDS_MAX: Final = 120.0  # a minute's allowance has to come back


class Parting:
    """unsent: how many lines are neither confirmed nor undelivered. `heard` is told each event when it was shown."""

    def __init__(self, unsent: Callable[[], int]) -> None:
        self._unsent = unsent
        self._unshown: set[str] = set()  # client ids
        self._news_at = float("-inf")  # or in the future: the server has asked to wait until then
        self._settled_at = float("-inf")
        self._news = trio.Event()
        self.is_room_shown = False

    @property
    def is_done(self) -> bool:
        """Nothing of what was there, or was said, has yet to be shown."""
        return self.is_room_shown and not self._unshown and self._unsent() == 0

    def said(self, client_id: str) -> None:
        """A line of ours is on its way."""
        self._unshown.add(client_id)

    def heard(self, event: Event) -> None:
        """Something was shown, or is not to be expected any more."""
        match event:
            case Said():
                self._unshown.discard(event.client_id or "")
            case Undelivered():
                self._unshown.discard(event.client_id)
            case CaughtUp():
                self.is_room_shown = True
            case RoomRefused():
                self._unshown.clear()
                self.is_room_shown = True
            case Connected() | Confirmed() | Delayed():
                pass
            case _:
                return
        now = trio.current_time()
        self._news_at = max(self._news_at, now + (event.retry_seconds if isinstance(event, Delayed) else 0.0))
        if isinstance(event, Confirmed | Undelivered | CaughtUp):
            self._settled_at = now
        self._news.set()
        self._news = trio.Event()

    async def wait(self, is_enough: Callable[[], bool]) -> bool:
        """Wait for it: whether it has come, before the server was given up."""
        began = trio.current_time()
        while not is_enough():
            silence_ends = max(began, self._news_at) + SILENCE_SECONDS_MAX
            vain_ends = max(began, self._settled_at) + VAIN_SECONDS_MAX
            with trio.move_on_at(min(silence_ends, vain_ends)) as scope:
                await self._news.wait()
            if scope.cancelled_caught:
                return is_enough()
        return True
