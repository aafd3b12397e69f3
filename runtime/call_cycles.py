"""Call cycles: asks whose answers wait for each other, told to one of those who ask.

    one request     room/1.Post ──▶ user/7.Notify ──▶ room/1.Kick      seen when it is asked, along the chain of callers
    two requests    room/1.Post ──▶ user/7 · user/7.Move ──▶ room/1    seen at the next look over the turns that wait

The looks are a second apart, and each is O(turns that wait). A turn with several asks under way is known by the last of
them; one that follows a stream asks while it waits for the next item. A batch waits for what each of its askers does.
A read begins beside others, unless a command that does not read is in front of it or `reads_at_once_max` is reached.
Of several reads that fill that bound any one may make room: who waits for it is in a cycle when all of them are.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from greenroom.runtime.errors import CallCycle
from greenroom.runtime.replies import command_of

if TYPE_CHECKING:
    from greenroom.runtime.activation import Activation
    from greenroom.runtime.address import Address
    from greenroom.runtime.envelope import Envelope
    from greenroom.runtime.handlers import Handler
    from greenroom.runtime.turn import Turn


def waits_for_itself(caller: "Turn", envelope: "Envelope") -> "Activation | None":
    """The activation inside of whose waiting turn *envelope* must run, or None. Raises: CallCycle."""
    waits_for: dict[Turn, Turn | None] = {caller: None}
    ahead, nests_in = deque(waits_for), None
    while ahead:
        turn = ahead.popleft()
        actor = turn.activation.actor
        if turn.envelope.to != envelope.to or actor is None:
            further = [asker for asker in turn.envelope.callers if asker not in waits_for]
            waits_for |= dict.fromkeys(further, turn)
            ahead += further
        elif _takes_inside(turn, actor.handlers.get(type(envelope.command))):  # type: ignore[arg-type]
            nests_in = turn.activation
        else:
            raise CallCycle([*_hops(turn, waits_for), _hop(envelope)])
    return nests_in


def _takes_inside(turn: "Turn", handler: "Handler | None") -> bool:
    """Whether a turn of *handler* may run while *turn*, of the same actor, waits for it."""
    if handler is None or turn.is_start:
        return False
    return handler.is_reentrant or (handler.is_reads and turn.handler.is_reads)


def _hops(first: "Turn", waits_for: "dict[Turn, Turn | None]") -> "Iterator[tuple[Address, str]]":
    turn: Turn | None = first
    while turn is not None:
        yield _hop(turn.envelope)
        turn = waits_for[turn]


def _hop(envelope: "Envelope") -> "tuple[Address, str]":
    return envelope.to, type(command_of(envelope)).__name__


def refuse_late_ask(caller: "Turn", envelope: "Envelope") -> None:
    """A start that has written waits for nobody: what it wrote leaves at its end alone. Raises: RuntimeError."""
    if caller.is_start and (caller.writes or caller.effects):
        raise RuntimeError(
            f"{caller.activation.address} asks {envelope.to} in its `start` after it wrote or told something, which"
            " leaves at its end: ask first"
        )


def end_cycles(turns: "Iterable[Turn]") -> None:
    """Of *turns*, those that wait, oldest first: answer one ask of each cycle with `CallCycle`.

    It is that of the youngest turn whose command has not begun: nothing of it has taken effect.
    """
    asking = {turn: place for place, turn in enumerate(turns) if _is_asking(turn)}
    at_work: dict[Address, Turn] = {}
    for one in asking:
        at_work.setdefault(one.envelope.to, one)  # when that one is not part of a cycle, it ends; then the next
    stuck = _stuck({turn: _waits_for(turn, at_work) for turn in asking})
    seen: dict[Turn, Turn] = {}
    for first in stuck:
        path: list[Turn] = []
        turn = first
        while turn not in seen:
            seen[turn] = first
            path.append(turn)
            turn = stuck[turn]
        if seen[turn] is first:
            _tell_one(path[path.index(turn) :], asking)


def _stuck(ways: "dict[Turn, Sequence[Turn]]") -> "dict[Turn, Turn]":
    """Of turns, each with those of which one must end before its ask is answered: who waits for itself, and by whom.

    A turn goes on when nothing is in its way, or when one of its ways goes on. The others wait for each other.
    """
    waited_for_by: dict[Turn, list[Turn]] = {}
    for turn, some in ways.items():
        for way in some:
            waited_for_by.setdefault(way, []).append(turn)
    stuck = dict(ways)
    going_on = deque(turn for turn, some in ways.items() if not some)
    going_on += [way for way in waited_for_by if way not in ways]
    while going_on:
        turn = going_on.popleft()
        stuck.pop(turn, None)
        going_on += [waiting for waiting in waited_for_by.pop(turn, ()) if waiting in stuck]
    return {turn: some[0] for turn, some in stuck.items()}


def _is_asking(turn: "Turn") -> bool:
    return turn.asks is not None and turn.asks.state != "settled" and turn.activation.actor is not None


def _waits_for(turn: "Turn", at_work: "dict[Address, Turn]") -> "Sequence[Turn]":
    """The turns of which one must end before the ask of *turn* is answered, oldest first."""
    asked = turn.asks
    assert asked is not None
    if asked.state != "queued":
        return () if asked.turn is None else (asked.turn,)
    other = at_work.get(asked.to)
    if other is None:
        return ()
    waiting = other.activation.waiting
    if waiting is not None and any(nested is asked for nested in waiting.nested):  # it runs inside, presently
        return ()
    if not other.handler.is_reads:
        return (other,)
    assert other.activation.actor is not None
    handler = other.activation.actor.handlers.get(type(asked.command))  # type: ignore[arg-type]
    if handler is None:
        return ()
    return _in_the_way_of_reads(other) if handler.is_reads else (other,)


def _in_the_way_of_reads(read: "Turn") -> "Sequence[Turn]":
    """Of which turns one must end before another read of the same actor may begin, while *read* waits."""
    cell = read.activation
    assert cell.actor is not None
    if cell.waiting is None or (head := cell.mailbox.peek()) is None:
        return ()
    handler = cell.actor.handlers.get(type(head.command))  # type: ignore[arg-type]
    if head.state != "settled" and handler is not None and not handler.is_reads:
        return (read,)  # it begins when all reads have ended, and what is behind it after it
    return () if cell.waiting.takes_reads else tuple(cell.waiting.turns)


def _tell_one(cycle: "list[Turn]", places: "dict[Turn, int]") -> None:
    told = max((turn for turn in cycle if _not_begun(turn)), key=places.__getitem__)
    asked, start = told.asks, cycle.index(told) + 1
    assert asked is not None
    hops = [turn.envelope for turn in cycle[start:] + cycle[:start]]
    asked.fail(CallCycle([_hop(hop) for hop in (*hops, asked)]))


def _not_begun(turn: "Turn") -> bool:
    return turn.asks is not None and turn.asks.state == "queued"
