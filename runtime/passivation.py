"""Passivation: what is idle goes down a tier, from memory to a cell, from the cell to what is stored.

    warm   actor and cell         ──idle_seconds_max, warm_max, memory is short──▶  cold
             └──`ctx.stop()`: it is through ─────────────────────────────────────▶  stored
    cold   the cell: key, counts  ──cold_seconds_max, memory is short────────────▶  stored
    stored nothing here           ◀──the next command wakes it, from any tier

A command that comes in between wins: the last check and the drop share one step of the loop. Services, actors with a
timer or a `keep_awake`, and those that have something pending stay; so does one whose `may_passivate` raises, which is
an event, and as long as `used_bytes` does nobody is shed. What comes by every cell here also shows those in
which something waits to the watchdog.
"""

import heapq
import math
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import trio

from greenroom.runtime.lifecycle import Phase, StopReason
from greenroom.runtime.limits import need_whole
from greenroom.runtime.misuse import refuse_coroutine
from greenroom.runtime.ports import sleep_to_tick

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.actor import Actor
    from greenroom.runtime.system import ActorSystem

SWEEP_SECONDS = 1.0
SWEEP_CELLS_MAX = 1000  # cells looked at between two checkpoints
SHED_ABOVE = 0.8  # of the memory that may be used
SHED_PART = 0.1  # of the idle actors at a time: what they held is free only after they are gone


def resident_bytes() -> int:
    """The memory of this process that is in RAM; 0 where the system does not say."""
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class MemoryLimit:
    """What the process may use: above four fifths of *bytes_max*, actors that are idle are passivated early."""

    bytes_max: int
    used_bytes: Callable[[], int] = resident_bytes

    def __post_init__(self) -> None:
        need_whole("a memory limit: bytes_max", self.bytes_max)
        refuse_coroutine("the used_bytes of a memory limit", self.used_bytes)

    @property
    def is_short(self) -> bool:
        """Whether to shed. Raises as *used_bytes*."""
        return self.used_bytes() > self.bytes_max * SHED_ABOVE


def passivate_if_idle(cell: "Activation") -> bool:
    """Drop the memory of an actor if nothing of it is under way."""
    if cell.phase is not Phase.READY or len(cell.mailbox) or cell.is_scheduled or cell.service is not None:
        return False  # a command that came meanwhile wins
    assert cell.gate is not None
    assert cell.context is not None
    assert cell.actor is not None
    if cell.gate.pending or cell.stash or cell.context.is_needed or not may_be_passivated(cell, cell.actor):
        return False
    cell.forget(StopReason.PASSIVATED)
    cell.phase = Phase.COLD
    cell.system.passivated += 1
    return True


def drop_if_cold(cell: "Activation") -> None:
    """Drop the cell of an actor that is in no memory, if nothing waits for it and nothing of it is still needed.

    One that the sweep looks at may be dropped already, and its address have another by now.
    """
    if cell.phase is not Phase.COLD or len(cell.mailbox) or cell.is_scheduled or _is_remembered(cell):
        return
    if cell.system.activations.get(cell.address) is cell:
        cell.system.forget(cell)


async def sweep(system: "ActorSystem") -> None:
    """Serve for ever."""
    is_known = True
    while True:
        await sleep_to_tick(SWEEP_SECONDS)
        system.watchdog.begin_round()
        is_short, is_known = _look_at_memory(system, was_known=is_known)
        warm: dict[str, list[Activation]] = {name: [] for name in system.kinds}
        cells = list(system.activations.values())
        for start in range(0, len(cells), SWEEP_CELLS_MAX):
            if start:
                await trio.lowlevel.checkpoint()
            now = trio.current_time()
            for cell in cells[start : start + SWEEP_CELLS_MAX]:
                kind, is_cold = cell.kind, cell.phase is Phase.COLD
                if len(cell.mailbox):
                    system.watchdog.look_at(cell)
                elif now - cell.active_at >= kind.idle_seconds_max + (kind.cold_seconds_max if is_cold else 0) or (
                    is_short and is_cold
                ):
                    _go_down(cell, now, is_short=is_short)
                if (is_short or kind.warm_max is not None) and cell.phase is Phase.READY:
                    warm[kind.name].append(cell)
        for cells in warm.values():
            limit = cells[0].kind.warm_max if cells else None
            if limit is not None and len(cells) > limit:
                _shed(cells, len(cells) - limit)
        if is_short:
            everyone = [cell for cells in warm.values() for cell in cells]
            count = _shed(everyone, max(1, int(len(everyone) * SHED_PART)))
            system.event("memory.shed", passivated=count, warm=len(everyone))


def _look_at_memory(system: "ActorSystem", *, was_known: bool) -> tuple[bool, bool]:
    """Whether to shed, and whether that is known: an event when it no longer is."""
    try:
        return system.memory is not None and system.memory.is_short, True
    except Exception as error:
        if was_known:
            system.event("memory.unknown", error=error)
        return False, False


def may_be_passivated(cell: "Activation", actor: "Actor") -> bool:
    """What the actor itself says. One that raises stays, and is asked again as if it had just had something to do."""
    try:
        return actor.may_passivate
    except Exception as error:
        cell.active_at = trio.current_time()
        cell.system.event("passivation.failed", error=error, address=str(cell.address))
        return False


def _go_down(cell: "Activation", now: float, *, is_short: bool) -> None:
    """Of a cell in which nothing waits, and has not for long."""
    idle_seconds, kind = now - cell.active_at, cell.kind
    if idle_seconds >= kind.idle_seconds_max:
        passivate_if_idle(cell)
    if is_short or idle_seconds >= kind.idle_seconds_max + kind.cold_seconds_max:
        drop_if_cold(cell)


def _shed(cells: "Iterable[Activation]", count: int) -> int:
    """Passivate *count* of them, those idle for longest first and past all that must stay; how many it became."""
    oldest_first = [(cell.active_at, place, cell) for place, cell in enumerate(cells)]
    heapq.heapify(oldest_first)
    passivated = 0
    while oldest_first and passivated < count:
        passivated += passivate_if_idle(heapq.heappop(oldest_first)[2])
    return passivated


def _is_remembered(cell: "Activation") -> bool:
    """The cell must stay: its crashes still count, somebody traces it, or a turn of it still cleans up."""
    history = cell.history
    latest = -math.inf if history is None else max((*history.times[-1:], *history.vain[-1:]))
    crashed_lately = trio.current_time() - latest < cell.kind.restart.period_seconds
    return crashed_lately or cell.gauges.trace is not None or cell.unfinished is not None
