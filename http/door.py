"""The door for new sockets: so many a second, and a burst of one second's worth.

A client of greenroom.v1 that comes too fast is answered 503 before anything is asked about it, with a `Retry-After`
that spreads those who were refused over the time it takes to let them in. One for which there is room takes its place
then: to look at its credential may take a while, in which a thousand others would find the same room. Who is not let in
after all gives it back.

The existing client would be stuck by any refusal (existing-system.md section 2.7), so it is made to wait in line,
WAIT_SECONDS_MAX at most, and is then let in whatever the rate: for it the caps are the only limit. At most WAITING_MAX
wait, as each holds its handshake; beyond that the line costs more than those in it, and they come in at once. When the
process stops nobody is left in line: what was taken from the listener is upgraded, and moved like every other socket.
Who is in line is counted by user: nobody has more there than they may have sockets, or one would be the line of all.
Who has gone meanwhile leaves it within LOOK_SECONDS: whoever loads their page again and again is not refused for it.

`Bucket` is the arithmetic, a generic cell rate algorithm (ITU-T I.371); time is its argument.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import trio

from greenroom.http.errors import ApiError

WAIT_SECONDS_MAX: Final = 20.0
WAITING_MAX: Final = 4096
LOOK_SECONDS: Final = 1.0
RETRY_SECONDS_MAX: Final = 30
BURST_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class DoorStatistics:
    """Now waiting; since the start: let in, told to wait, refused with 503."""

    waiting: int
    let_in: int
    waited: int
    refused: int


NOISE_SECONDS: Final = 1e-6  # of sums of fractions: they must not cost the last of a burst its place


class Bucket:
    """*per_second* in the long run, at once as many as BURST_SECONDS hold. now: any clock that never goes back."""

    def __init__(self, per_second: float) -> None:
        self._spacing = 1 / per_second
        self._slack = BURST_SECONDS - self._spacing if per_second > 1 else 0.0
        self._empty_at = -math.inf  # when all that was taken is paid for
        self._promised_at = -math.inf

    def wait_seconds(self, now: float) -> float:
        """How long one who came now would wait; 0 when there is room."""
        return max(0.0, self._empty_at - self._slack - now)

    def take(self, now: float) -> float:
        """Take one place; how long to wait for it."""
        wait = self.wait_seconds(now)
        self._empty_at = max(self._empty_at, now) + self._spacing
        return wait

    @property
    def paid_at(self) -> float:
        """When all that was taken is paid for by the time that passed."""
        return self._empty_at

    def give_back(self, paid_at: float, now: float) -> None:
        """One who took a place does not come in. paid_at: when time has paid for it: then there is nothing to give."""
        if now < paid_at:
            self._empty_at -= self._spacing

    def promise(self, now: float) -> int:
        """When one who is refused may come back, in whole seconds: each a little later than the one before.

        What nobody is told is not promised: who comes after a crowd that was told the last moment need not wait for it.
        """
        promised_at = max(self._promised_at, now + self.wait_seconds(now)) + self._spacing
        self._promised_at = min(promised_at, now + RETRY_SECONDS_MAX)
        return max(1, math.ceil(self._promised_at - now))


class Door:
    """Asked twice for each upgrade: `check` before its credential is looked at, then `enter` or `turn_away`."""

    def __init__(self, per_second: int, is_closing: trio.Event) -> None:
        """per_second: 0 for no limit. is_closing: set when the process stops."""
        self._bucket = Bucket(per_second) if per_second else None
        self._is_closing = is_closing
        self._waiting = self._let_in = self._waited = self._refused = 0
        self._in_line = Counter[int]()

    def in_line_of(self, user_id: int) -> int:
        """How many of one user wait."""
        return self._in_line[user_id]

    def statistics(self) -> DoorStatistics:
        """Counts of this moment."""
        return DoorStatistics(self._waiting, self._let_in, self._waited, self._refused)

    def check(self, *, is_v1: bool) -> float | None:
        """Have a v1 client take its place, or refuse it when there is no room now; its place. Raises: ApiError 503."""
        bucket, now = self._bucket, trio.current_time()
        if bucket is None or not is_v1:
            return None
        if bucket.wait_seconds(now) > NOISE_SECONDS:
            self._refused += 1
            seconds = bucket.promise(now)
            raise ApiError("SERVICE_UNAVAILABLE", "too many sockets come at once: come back later", retry_after=seconds)
        bucket.take(now)
        return bucket.paid_at

    def turn_away(self, place: float | None) -> None:
        """Who was checked is not let in, for whatever reason. place: what `check` has said."""
        if self._bucket is not None and place is not None:
            self._bucket.give_back(place, trio.current_time())

    async def enter(
        self, *, is_v1: bool, user_id: int | None = None, is_gone: Callable[[], bool] = lambda: False
    ) -> bool:
        """Take a place and wait for it; v1 has its own. True when it waited: what was true before may not be now.

        is_gone: whether nobody waits any more. Raises: ApiError 503 then, which nobody hears.
        """
        bucket, now = self._bucket, trio.current_time()
        self._let_in += 1
        if is_v1:  # it has its place
            return False
        if bucket is None or bucket.wait_seconds(now) >= WAIT_SECONDS_MAX:
            wait_seconds = 0.0 if bucket is None else WAIT_SECONDS_MAX  # takes no place: the line stays finite
        else:
            wait_seconds = bucket.take(now)
        if wait_seconds <= 0 or self._waiting >= WAITING_MAX or self._is_closing.is_set():
            return False
        self._waiting += 1
        self._waited += 1
        self._count_in_line(user_id, 1)
        place = None if bucket is None else bucket.paid_at
        try:
            with trio.move_on_after(wait_seconds):
                await self._wait_here(is_gone)
        except ApiError:
            self._let_in -= 1
            if wait_seconds < WAIT_SECONDS_MAX:  # else it took none
                self.turn_away(place)
            raise
        finally:
            self._waiting -= 1
            self._count_in_line(user_id, -1)
        return True

    async def _wait_here(self, is_gone: Callable[[], bool]) -> None:
        while not self._is_closing.is_set():
            with trio.move_on_after(LOOK_SECONDS):
                await self._is_closing.wait()
            if is_gone():
                raise ApiError("SERVICE_UNAVAILABLE", "whoever asked has gone")

    def _count_in_line(self, user_id: int | None, more: int) -> None:
        if user_id is not None:
            self._in_line[user_id] += more
            if not self._in_line[user_id]:
                del self._in_line[user_id]
