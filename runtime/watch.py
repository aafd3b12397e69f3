"""Watching: one actor is told when another's activation ends.

`ctx.watch(ref)` brings one `Down(address, reason, why)` to the watcher, through its system lane: at the end of the
activation that runs or is about to, or at once when none is. A watcher that ends watches nobody any more.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from greenroom.runtime.actor import Command
from greenroom.runtime.address import Address
from greenroom.runtime.lifecycle import Phase, StopReason

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


@dataclass(frozen=True, slots=True)
class Down(Command[None]):
    """The activation of *address* has ended. reason: None when there was none to end. why: the error of a crash."""

    address: Address
    reason: StopReason | None
    why: str | None = None


def runs(cell: "Activation") -> bool:
    """Whether there is an activation to watch: one that is awake, that loads, or that a command is about to wake."""
    is_called = cell.phase is Phase.COLD and len(cell.mailbox) > 0
    return cell.actor is not None or cell.phase is Phase.LOADING or is_called
