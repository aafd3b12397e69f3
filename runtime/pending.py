"""What is on its way to storage, in bytes: bounded for each actor and for the system.

An actor that has written as much as it may takes no further turn until storage has taken some of it: so its mailbox
fills and who tells it is told, instead of a queue that grows without end. Actors that write nothing never wait here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation

TAKEN_UP_AGAIN_AT = 0.75  # of the bound: many actors that wait are not woken for one small unit each


class PendingBytes:
    """Of one system. bytes_max: with more, whoever has something pending waits."""

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.bytes = 0
        self._waiting: dict[Activation, None] = {}

    def submitted(self, size_bytes: int) -> None:
        """A unit of that size is on its way."""
        self.bytes += size_bytes

    def settled(self, size_bytes: int) -> None:
        """It is stored, or lost."""
        self.bytes -= size_bytes
        if self._waiting and self.bytes <= self.bytes_max * TAKEN_UP_AGAIN_AT:
            waiting, self._waiting = self._waiting, {}
            for cell in waiting:
                cell.unit_settled()

    def is_too_much(self, cell: "Activation") -> bool:
        """Whether the next turn of *cell* must wait. If it is for the whole system's bound, it is taken up again."""
        own_bytes = cell.gate.pending_bytes if cell.gate is not None else 0
        if own_bytes and self.bytes >= self.bytes_max:
            self._waiting[cell] = None
            return True
        return own_bytes >= cell.kind.pending_bytes_max
