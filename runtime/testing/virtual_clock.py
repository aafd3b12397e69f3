"""Time that a test makes: trio's mock clock for deadlines, and the runtime's `Clock` on top of it.

    trio time   ──────────────▶  monotonic, jumps from deadline to deadline: ten minutes of timers take milliseconds
    wall time   ─ set · skewed · stepped ─▶  moves with it, and may be wrong as machines are: fast, slow, set back
    busy time   ──────────────▶  what a drain measures itself by: moves by a fixed step with each look

Nothing here reads the clock of the machine, so a run that is seeded sees the same times each time.
"""

import math

from trio.testing import MockClock

from greenroom.runtime.ports import Clock

WALL_SECONDS_AT_START = 1_767_225_600.0  # 2026-01-01 UTC: a date that is plainly none of today
BUSY_SECONDS_STEP = 5e-6  # about one turn of a plain handler


class VirtualClock(Clock):
    """The `Clock` port for `open_system(clock=...)`; `trio_clock` is for `trio.run(clock=...)`.

    trio_clock: one that runs already, as pytest-trio's `autojump_clock`; without it one is made that jumps to the next
    deadline whenever every task waits.
    wall_seconds: what the wall shows when trio's clock shows 0, seconds since 1970.
    busy_seconds_step: by how much a look at `busy_seconds` moves it. A drain of the dispatcher ends after 50 µs, so
    this says how many turns fit into one.
    """

    def __init__(
        self,
        trio_clock: MockClock | None = None,
        *,
        wall_seconds: float = WALL_SECONDS_AT_START,
        busy_seconds_step: float = BUSY_SECONDS_STEP,
    ) -> None:
        if not (busy_seconds_step > 0 and math.isfinite(busy_seconds_step)):
            raise ValueError(f"busy_seconds_step is above 0, not {busy_seconds_step}: a drain would never end")
        self.trio_clock = trio_clock or MockClock(autojump_threshold=0)
        self.busy_seconds_step = busy_seconds_step
        self._wall_seconds = wall_seconds
        self._seen_at = self.trio_clock.current_time()
        self._rate = 1.0
        self._busy = 0.0

    def wall_milliseconds(self) -> int:
        """Milliseconds since 1970-01-01 UTC, as the wall shows them."""
        return round(self._wall_now() * 1000)

    def busy_seconds(self) -> float:
        """The counter of the drains, one step further."""
        self._busy += self.busy_seconds_step
        return self._busy

    def jump(self, seconds: float) -> None:
        """Let *seconds* pass at once, for trio and on the wall. Raises: ValueError below 0: `step_wall` goes back."""
        if seconds < 0:
            raise ValueError(f"time that passed is 0 or more, not {seconds}: to set the wall back, use step_wall")
        self.trio_clock.jump(seconds)

    def set_wall(self, seconds: float) -> None:
        """Have the wall show *seconds* since 1970 now, as after somebody has set the clock of the machine."""
        self._wall_seconds, self._seen_at = seconds, self.trio_clock.current_time()

    def step_wall(self, seconds: float) -> None:
        """Move the wall alone by *seconds*, backwards when negative. No deadline moves with it."""
        self.set_wall(self._wall_now() + seconds)

    def skew_wall(self, rate: float) -> None:
        """From now on the wall moves *rate* seconds with each second that passes; 1 is right, 0 stands still."""
        if rate < 0:
            raise ValueError(f"a wall clock that runs backwards is none ({rate}): use step_wall to set it back")
        self.set_wall(self._wall_now())
        self._rate = rate

    def _wall_now(self) -> float:
        return self._wall_seconds + (self.trio_clock.current_time() - self._seen_at) * self._rate
