"""What one actor costs: taken by the dispatcher once per drain, never per command.

    told ──▶ stands in the queue (waited) ──▶ drain (busy) ──▶ the queue, or rest

A drain runs many turns or one, so the mean turn is busy_seconds / turns, and the longest drain is at most 50 µs longer
than its longest turn. Turns that wait are not in it: they hold up nobody but their own actor.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from greenroom.runtime.tracing import Trace


class Gauges:
    """Of one cell, for as long as there is one. Seconds of `Clock.busy_seconds`.

    scheduled_at: when it last got into the queue. last_begun: the type of the command whose turn used up the drain.
    trace: of who looks at this actor more closely, while somebody does.
    """

    __slots__ = ("busy_seconds", "drain_seconds_max", "drains", "last_begun", "scheduled_at", "trace", "waited_seconds")

    def __init__(self) -> None:
        self.drains = 0
        self.scheduled_at = 0.0
        self.waited_seconds = 0.0
        self.busy_seconds = 0.0
        self.drain_seconds_max = 0.0
        self.last_begun: type | None = None
        self.trace: Trace | None = None
