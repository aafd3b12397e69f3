"""Watching: one actor is told when another's activation ends.

`ctx.watch(ref)` brings one `Down(address, reason, why)` to the watcher, through its system lane: at the end of the
activation that runs or is about to, or at once when none is. A watcher that is passivated or loaded again watches on,
and is woken by the `Down`; one that ends otherwise watches nobody any more, and says again in its `start` whom it does.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenroom.runtime.actor import Command
from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import words_of
from greenroom.runtime.lifecycle import Phase, StopReason

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.system import ActorSystem


@dataclass(frozen=True, slots=True)
class Down(Command[None]):
    """The activation of *address* has ended. reason: None when there was none to end. why: the error of a crash."""

    address: Address
    reason: StopReason | None
    why: str | None = None


class Watches:
    """Who watches whom. One goes with its `Down`, with `unwatch`, and with an end of the watcher that is no pause."""

    def __init__(self, system: "ActorSystem") -> None:
        self._system = system
        self._of: dict[Address, set[Address]] = {}  # by watcher; by whom each cell is watched stands in the cell

    def of(self, watcher: Address) -> Collection[Address]:
        """Whom *watcher* watches."""
        return self._of.get(watcher, ())

    def add(self, address: Address, watcher: Address) -> None:
        """Have *watcher* told when the activation of *address* ends; at once, when there is none."""
        cell = self._system.activation(address)
        if not runs(cell):
            self._system.deliver_system(Envelope(watcher, Down(address, None)))
            return
        cell.watchers = cell.watchers or {}
        cell.watchers[watcher] = None
        self._of.setdefault(watcher, set()).add(address)

    def remove(self, address: Address, watcher: Address) -> None:
        """Have *watcher* told nothing of *address*."""
        cell = self._system.activations.get(address)
        if cell is not None and cell.watchers is not None:
            cell.watchers.pop(watcher, None)
        self._forget(address, watcher)

    def remove_all(self, watcher: Address) -> None:
        """The watcher has ended."""
        for address in list(self._of.get(watcher, ())):
            self.remove(address, watcher)

    def tell_end(self, cell: "Activation", reason: StopReason, cause: Exception | None) -> None:
        """The activation of *cell* has ended."""
        watchers, cell.watchers = cell.watchers, None
        why = None if cause is None else f"{type(cause).__name__}: {words_of(cause)}"
        for watcher in watchers or ():
            self._forget(cell.address, watcher)
            self._system.deliver_system(Envelope(watcher, Down(cell.address, reason, why)))

    def _forget(self, address: Address, watcher: Address) -> None:
        watched = self._of.get(watcher)
        if watched is not None:
            watched.discard(address)
            if not watched:
                del self._of[watcher]


def runs(cell: "Activation") -> bool:
    """Whether there is an activation to watch: one that is awake, that loads, or that a command is about to wake."""
    is_called = cell.phase is Phase.COLD and len(cell.mailbox) > 0
    return cell.actor is not None or cell.phase is Phase.LOADING or is_called
