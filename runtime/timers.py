"""Timers: what an actor tells itself later, in memory, unless its activation ends before it begins that turn.

Nor does it come when the turn that set it fails, or puts its command aside: that will set it again.

    set ──its time──▶ in the system lane ──▶ begun
     └──cancelled, ended──▶ nothing ◀──┘

One that was begun is a command like any other: put aside, or to be decided again, it stays.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from greenroom.runtime.address import Address
from greenroom.runtime.envelope import Envelope

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.command import Command


class TimerEnvelope(Envelope):
    """A command on its way from a timer. set_by: the mark of the turn that set it."""

    __slots__ = ("set_by",)

    def __init__(self, to: Address, command: object, set_by: tuple[int, int] | None) -> None:
        super().__init__(to, command)
        self.set_by = set_by


class Timer:
    """One of them: what `ctx.tell_self_after` gives back."""

    __slots__ = ("_among", "_cell", "_entry", "_envelope")

    def __init__(
        self,
        cell: "Activation",
        delay_seconds: float,
        command: "Command[Any]",
        among: "set[Timer]",
        set_by: tuple[int, int] | None,
    ) -> None:
        self._cell = cell
        self._among = among  # those of the activation that are to come
        self._envelope = TimerEnvelope(cell.address, command, set_by)
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

    @property
    def set_by(self) -> tuple[int, int] | None:
        """The mark of the turn that set it; None of code outside of turns."""
        return self._envelope.set_by

    def _fire(self) -> None:
        self._among.discard(self)
        self._cell.system.deliver_system(self._envelope)


def take_back(cell: "Activation", to_come: Iterable[Timer], mark: tuple[int, int]) -> None:
    """The turn of that *mark* failed: what it has set does not come, nor is it begun if it has come already."""
    for timer in [timer for timer in to_come if timer.set_by == mark]:
        timer.cancel()
    cell.mailbox.take_out_system(lambda envelope: isinstance(envelope, TimerEnvelope) and envelope.set_by == mark)


def take_back_all(cell: "Activation") -> None:
    """The activation is over: what its timers told it, and it has not begun, is not for the next one."""
    cell.mailbox.take_out_system(lambda envelope: isinstance(envelope, TimerEnvelope))
