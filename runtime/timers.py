"""Timers: what an actor tells itself later, in memory, unless its activation ends before it begins that turn.

    set ──its time──▶ in the system lane ──▶ begun
     └──cancelled, ended──▶ nothing ◀──┘

One that was begun is a command like any other: put aside, or to be decided again, it stays.
"""

from typing import TYPE_CHECKING, Any

from greenroom.runtime.envelope import Envelope

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.command import Command


class TimerEnvelope(Envelope):
    """A command on its way from a timer."""

    __slots__ = ()


class Timer:
    """One of them: what `ctx.tell_self_after` gives back."""

    __slots__ = ("_among", "_cell", "_entry", "_envelope")

    def __init__(self, cell: "Activation", delay_seconds: float, command: "Command[Any]", among: "set[Timer]") -> None:
        self._cell = cell
        self._among = among  # those of the activation that are to come
        self._envelope = TimerEnvelope(cell.address, command)
        self._entry = cell.system.deadlines.after(delay_seconds, self._fire)

    def cancel(self) -> None:
        """Forget it, and take its command back if that has come and was not begun. Doing it twice is nothing."""
        if self.is_to_come:
            self._entry.cancel()
        elif self._envelope.state == "queued":
            self._cell.mailbox.take_out_system(lambda envelope: envelope is self._envelope)

    @property
    def is_to_come(self) -> bool:
        """Its time has not come, and it was not cancelled."""
        return self._entry.action is not None

    def _fire(self) -> None:
        self._among.discard(self)
        self._cell.system.deliver_system(self._envelope)


def take_back_all(cell: "Activation") -> None:
    """The activation is over: what its timers told it, and it has not begun, is not for the next one."""
    cell.mailbox.take_out_system(lambda envelope: isinstance(envelope, TimerEnvelope))
