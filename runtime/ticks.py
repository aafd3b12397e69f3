"""Ticks: what recurs happens at whole multiples of its period, all of it in one pass of the loop, with one timer.

A process that is woken for each such task by itself pays every time for caches that are cold, 0.15 ms and more; and a
timer of trio's (a cancel scope, its deadline, an exception that ends it) costs five times what it takes to be woken by
somebody else.
"""

from typing import Final

import trio

_Sleepers = dict[float, trio.lowlevel.ParkingLot]
_sleepers: Final = trio.lowlevel.RunVar[_Sleepers]("greenroom ticks")


async def sleep_to_tick(period_seconds: float) -> None:
    """Until trio's clock is next at a whole multiple of *period_seconds*."""
    now = trio.current_time()
    tick_at = (now // period_seconds + 1) * period_seconds
    await sleep_together(tick_at if tick_at > now else tick_at + period_seconds)


async def sleep_together(until: float) -> None:
    """Until trio's clock is at *until*: the first who comes has a timer, and wakes all who sleep to the same moment."""
    sleepers = _sleepers_here()
    while until in sleepers:
        await sleepers[until].park()
        if trio.current_time() >= until:
            return
        # the first was cancelled: somebody else takes its place
    lot = sleepers[until] = trio.lowlevel.ParkingLot()
    try:
        await trio.sleep_until(until)
    finally:
        del sleepers[until]
        lot.unpark_all()


def _sleepers_here() -> _Sleepers:
    try:
        return _sleepers.get()
    except LookupError:
        sleepers: _Sleepers = {}
        _sleepers.set(sleepers)
        return sleepers
