"""What a system at rest may not have: tasks, turns, scopes, reasons to stay awake or deadlines of nobody.

    leaks = LeakCheck(system)            # before anything is sent
    ...                                  # the test; all of it has been answered
    leaks.check()

At rest is a system in which nothing was told for longer than any restart waits. What its actors mean to keep is no
leak: timers that are armed, actors that are idle, cells that remember a crash.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from greenroom.runtime.lifecycle import Phase

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem

RESTING = frozenset((Phase.COLD, Phase.READY, Phase.WAITING, Phase.ENDED))


class Leaked(AssertionError):
    """Something is left that belongs to nobody. One line for each."""


class LeakCheck:
    """Of one system. The tasks that it has now are its own."""

    def __init__(self, system: "ActorSystem") -> None:
        self._system = system
        self._tasks = set(system._nursery.child_tasks)

    def check(self) -> None:
        """Raises: Leaked, with all that was found."""
        found = [*self._of_system(), *(line for cell in self._cells() for line in _of_cell(cell))]
        if found:
            raise Leaked("\n".join(found))

    def _cells(self) -> "list[Activation]":
        return list(self._system.activations.values())

    def _of_system(self) -> Iterator[str]:
        system = self._system
        for task in system._nursery.child_tasks - self._tasks:
            yield f"a task still runs: {task.name}"
        if system.acting is not None or system.stopping is not None:
            yield f"{system.acting or system.stopping} is said to act, and nobody does"
        if system.waiting_turns:
            yield f"{len(system.waiting_turns)} turns are said to wait, and none does"
        if system.storage.is_away:
            yield "storage is said to be away"
        if system.pending.bytes:
            yield f"{system.pending.bytes} bytes are said to be on their way to storage"
        if system.alarms is not None and system.alarms.statistics().asked:
            yield f"{system.alarms.statistics().asked} alarms were told to their actors, and none answers"
        owned = sum(_deadlines_of(cell) for cell in self._cells())
        owned += system.dead_letters.sums_to_come + system.watchdog.sums_to_come
        if len(system.deadlines) > owned:
            yield f"{len(system.deadlines)} deadlines are kept, and {owned} of them are of actors or of sums of events"


def _deadlines_of(cell: "Activation") -> int:
    """Timers, and the end of the wait before a restart."""
    timers = sum(timer.is_to_come for timer in (cell.context._timers or ()) if cell.context) if cell.context else 0
    return timers + (cell.phase is Phase.WAITING and cell.service is None)


def _of_cell(cell: "Activation") -> Iterator[str]:
    where = str(cell.address)
    if cell.phase not in RESTING:
        yield f"{where} is {cell.phase.value}"
    if len(cell.mailbox):
        yield f"{where} has {len(cell.mailbox)} commands that nobody handles"
    if cell.is_scheduled:
        yield f"{where} stands in the dispatcher's queue"
    if cell.waiting is not None:
        yield f"{where} has {len(cell.waiting.turns)} turns that wait"
    if cell.gate is not None and cell.gate.pending:
        yield f"{where} has {len(cell.gate.pending)} units that nobody stores"
    if cell.context is not None and cell.context.awake_for:
        yield f"{where} is kept awake: {', '.join(cell.context.awake_for)}"
    if cell.starting is not None or cell.held is not None:
        yield f"{where} has the scope of a start, or is held, and does not start"
    for watcher in cell.watchers or ():
        if cell.address not in cell.system.watches.of(watcher):
            yield f"{where} is watched by {watcher}, which has ended"
