"""Where activations stand, and why they end: a closed set, told to `stopping` and in an event each time.

normal         the actor stopped itself, or was told to stop
passivated     it was idle, or memory was needed; the next command wakes it again
reloaded       its memory was ahead of storage (a draft was dropped, a commit failed): it loads again at once; or its
               `start` found storage away: it loads again when that is back
moved          another node owns the address now; reserved: nothing places actors on nodes yet, so nobody is told it,
               and who was displaced learns it as fenced
fenced         another activation wrote with a newer token
crashed        a handler raised on a tell, or storage refused again and again what it was told; the restart policy
               decides what follows
killed         `system.kill`, or its supervisor that restarts it with others: it was not let finish
start_failed   the factory or `start` raised, or storage refused what `start` wrote
deadline       `start` took longer than it may, or this actor longer than the orderly end of the system

`reloaded` is none of the others: nobody failed or was idle, the address lives on at once, and what the actor knows may
not be so. One that is told `passivated` or `normal` may pass on what it knows in `stopping`; here that would be wrong.
"""

import enum


class StopReason(enum.Enum):
    """The module's docstring says what each means."""

    NORMAL = "normal"
    PASSIVATED = "passivated"
    RELOADED = "reloaded"
    MOVED = "moved"
    FENCED = "fenced"
    CRASHED = "crashed"
    KILLED = "killed"
    START_FAILED = "start_failed"
    DEADLINE = "deadline"

    def __str__(self) -> str:
        return self.value


CONTINUES = frozenset((StopReason.PASSIVATED, StopReason.RELOADED))
"""Ends after which the next activation goes on as the same actor: what watches for it stays."""


class Phase(enum.Enum):
    """Where an activation stands; activation.py draws the moves."""

    COLD = "cold"
    LOADING = "loading"
    READY = "ready"
    FULL = "full"  # too much of it is on its way to storage
    TURNING = "turning"
    READING = "reading"
    SETTLING = "settling"
    WAITING = "waiting"
    HELD = "held"  # its supervisor has ended it and will release it
    ENDED = "ended"  # a service that is not restarted


AWAKE = frozenset((Phase.READY, Phase.FULL, Phase.TURNING, Phase.READING))
DRAINED = frozenset((Phase.COLD, Phase.READY, Phase.READING))  # a command that comes may begin a turn at once
