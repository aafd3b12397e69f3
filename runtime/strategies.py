"""Strategies: whom a supervisor stops and starts when one of its children ends. A pure decision, by the rules of OTP.

    one_for_one    the child that ended
    rest_for_one   it, and all that were started after it
    one_for_all    all

    mode        ended normally   crashed
    permanent   start again      start again
    transient   stays ended      start again
    temporary   is forgotten     is forgotten, also when a sibling had it stopped

What a group has to stop is stopped in the reverse of the start order, and what it starts is started in that order: also
a transient child that had ended long before.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass

from greenroom.runtime.restarts import RestartMode


class Strategy(enum.Enum):
    """The module's docstring says what each means."""

    ONE_FOR_ONE = "one_for_one"
    REST_FOR_ONE = "rest_for_one"
    ONE_FOR_ALL = "one_for_all"


@dataclass(frozen=True, slots=True)
class Plan:
    """Children by their place in the start order. stop and start are to be done in the order given.

    stop: the child that ended is among them, because of a supervisor some children may still run.
    forget: they are over for good.
    """

    stop: tuple[int, ...] = ()
    start: tuple[int, ...] = ()
    forget: tuple[int, ...] = ()


def plan_exit(strategy: Strategy, modes: Sequence[RestartMode], child: int, *, is_normal: bool) -> Plan:
    """What follows when *child* ended. *modes* are those of all children, in start order."""
    mode = modes[child]
    if mode == "temporary":
        return Plan(forget=(child,))
    if mode == "transient" and is_normal:
        return Plan()
    if strategy is Strategy.ONE_FOR_ONE:
        group = [child]
    elif strategy is Strategy.REST_FOR_ONE:
        group = list(range(child, len(modes)))
    else:
        group = list(range(len(modes)))
    return Plan(
        stop=tuple(reversed(group)),
        start=tuple(index for index in group if modes[index] != "temporary"),
        forget=tuple(index for index in group if modes[index] == "temporary"),
    )
