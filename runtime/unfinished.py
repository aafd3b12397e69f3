"""What an activation leaves unfinished: until that is over, its address begins no other.

    it ends ──▶ its turns are cancelled ──▶ the last of them has ended ──▶ in front of the mailbox again: what is to be
                                            (one may clean up, shielded)   decided again. The next activation may begin

Commands are decided again in the order in which their turns began, whatever became of each: lost on its way to storage,
cancelled while it waited, put aside. So what one sender has sent keeps its order. And the code of two activations never
runs at the same time, however long a turn of the first cleans up.
"""

from typing import TYPE_CHECKING

import trio

from greenroom.runtime.lifecycle import Phase

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.envelope import Envelope
    from greenroom.runtime.turn import Turn


class Unfinished:
    """Of one cell, while there is something. over: set when the next activation may begin."""

    __slots__ = ("_again", "has_ended", "over", "turns")

    def __init__(self) -> None:
        self.turns: list[Turn] = []  # those whose code has not ended, once the activation has
        self.has_ended = False  # the activation
        self.over = trio.Event()
        self._again: list[tuple[int, Envelope]] = []

    @property
    def envelopes(self) -> "list[Envelope]":
        """What is to be decided again, in the order in which it began; what nobody waits for any more is left out."""
        in_order = sorted(self._again, key=lambda numbered: numbered[0])
        return [envelope for _, envelope in in_order if envelope.state != "settled"]

    def take(self) -> "list[Envelope]":
        """As `envelopes`, and they are no longer here."""
        taken, self._again = self.envelopes, []
        return taken

    def add(self, number: int, envelope: "Envelope") -> None:
        """Have *envelope* decided again. *number* is that of its turn."""
        self._again.append((number, envelope))


def unfinished_of(cell: "Activation") -> Unfinished:
    """What *cell* leaves unfinished, made if there is nothing yet."""
    if cell.unfinished is None:
        cell.unfinished = Unfinished()
    return cell.unfinished


def activation_ended(cell: "Activation") -> None:
    """Of `Activation.forget`, which has cancelled the turns: what was put aside is to be decided again too."""
    stash, cell.stash = cell.stash, None
    turns = cell.waiting.turns if cell.waiting is not None else []
    if not stash and not turns and cell.unfinished is None:
        return
    unfinished = unfinished_of(cell)
    unfinished.has_ended = True
    unfinished.turns = turns or unfinished.turns
    for envelope, number in (stash or {}).items():
        unfinished.add(number, envelope)
    finish_if_over(cell)


def finish_if_over(cell: "Activation") -> None:
    """Let the next activation begin, if the last turn of the one before has ended."""
    unfinished = cell.unfinished
    if unfinished is None or not unfinished.has_ended or (unfinished.turns and not cell.system.is_stopped):
        return
    put_back(cell)
    unfinished.over.set()


def put_back(cell: "Activation") -> None:
    """Put what is to be decided again in front of all others."""
    if cell.unfinished is None:
        return
    again, cell.unfinished = cell.unfinished.take(), None
    if again:
        cell.mailbox.put_back(again)
    if cell.phase is Phase.ENDED:  # a service that was ended while its turns cleaned up
        cell.fail_mailbox("it is a service that has ended")
    cell.reschedule()


def turns_under_way(cell: "Activation") -> "list[Turn]":
    """For who looks: the turns that wait, of its activation or still of the one before; oldest first."""
    if cell.waiting is not None:
        return cell.waiting.turns
    return [] if cell.unfinished is None else cell.unfinished.turns
