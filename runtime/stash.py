"""The stash: commands that an actor has put aside, until `ctx.unstash` puts them back in front.

A batch is put aside as the commands it is made of, each for its own asker. Who has given up meanwhile needs no place.
What the turn has set to be told later does not come: it will be set when the command is decided.
"""

from typing import TYPE_CHECKING

from greenroom.runtime.actor_alarms import name_of
from greenroom.runtime.envelope import Envelope
from greenroom.runtime.errors import StashFull
from greenroom.runtime.faults import turn_failed
from greenroom.runtime.gate import Effect
from greenroom.runtime.replies import command_of

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation


def refuse_if_full(cell: "Activation") -> None:
    """Of `ctx.stash`, in the turn that would put one more aside. Raises: StashFull."""
    if not has_place(cell, 1):
        raise StashFull(cell.address, len(cell.stash or ()))


def has_place(cell: "Activation", count: int) -> bool:
    """Whether *count* more may be put aside. What nobody waits for any more makes way."""
    limit = cell.kind.stash_envelopes_max
    if cell.stash and len(cell.stash) + count > limit:
        cell.stash = {envelope: number for envelope, number in cell.stash.items() if envelope.state != "settled"}
    return len(cell.stash or ()) + count <= limit


def take_up_again(cell: "Activation") -> None:
    """Put what was put aside back in front, in its old order."""
    stash, cell.stash = cell.stash, None
    if stash:
        cell.mailbox.put_back(stash)
        cell.reschedule()


def put_turn_aside(
    cell: "Activation", envelope: Envelope, writes: list[object] | None, effects: list[Effect], number: int
) -> None:
    """The turn of that *number* is over, and put its command aside."""
    if writes or len(effects) > 1:
        what = f"{cell.address}: a turn that puts {name_of(command_of(envelope))} aside lets nothing else out"
        turn_failed(cell, envelope, RuntimeError(what), number, memory_is_ahead=True)
        return
    aside = [one for one in envelope.parts or (envelope,) if one.state != "settled"]
    if not has_place(cell, len(aside)):
        turn_failed(cell, envelope, StashFull(cell.address, len(cell.stash or ())), number, memory_is_ahead=False)
        return
    assert cell.context is not None
    cell.context.drop_timers((number, 0))  # it sets them when it is decided
    cell.stash = cell.stash or {}
    for one in aside:
        one.state = "queued"
        cell.stash[one] = number
