"""Watching: one actor is told when another's activation ends.

`ctx.watch(ref)` brings one `Down(address, reason)` to the watcher, through its system lane: at the end of the
activation that runs, or at once when none does. A watcher that ends watches nobody any more.
"""

from dataclasses import dataclass

from greenroom.runtime.actor import Command
from greenroom.runtime.address import Address
from greenroom.runtime.lifecycle import StopReason


@dataclass(frozen=True, slots=True)
class Down(Command[None]):
    """The activation of *address* has ended. reason: None when there was none to end."""

    address: Address
    reason: StopReason | None
