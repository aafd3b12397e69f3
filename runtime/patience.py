"""Patience: how long things may take before somebody is told of it. Nothing is ended for being slow."""

from dataclasses import dataclass

from greenroom.runtime.limits import need_number, need_whole


@dataclass(frozen=True, slots=True)
class Patience:
    """Of one system.

    plain_turn_seconds_max: the turn of a plain `def` handler, or what another does between two waits. Nothing else of
    the process runs meanwhile.
    waiting_turn_seconds_max: a turn that waits; `Kind.waiting_turn_seconds_max` goes before it.
    head_seconds_max: what waits longest in a mailbox; seen once a second.
    loop_seconds_max: code that does not let the loop go on, of an actor or of anything else.
    tellings_max: events of each sort within a minute; more are summed up in one.
    """

    plain_turn_seconds_max: float = 0.1
    waiting_turn_seconds_max: float = 30.0
    head_seconds_max: float = 1.0
    loop_seconds_max: float = 1.0
    tellings_max: int = 10

    def __post_init__(self) -> None:
        for name in ("plain_turn_seconds_max", "waiting_turn_seconds_max", "head_seconds_max", "loop_seconds_max"):
            need_number(f"patience: {name}", getattr(self, name))
        need_whole("patience: tellings_max", self.tellings_max)
