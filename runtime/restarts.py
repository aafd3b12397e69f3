"""Restarts: whether an actor that crashed starts again, and when. A pure decision.

Intensity and period as in OTP: more than `intensity` crashes within `period_seconds` and the supervisor gives up.
The wait before each restart is full jitter over an exponential ceiling, so that actors which died of one cause
do not come back in step. A start that fails counts like any crash and always waits: it can never loop. Nor can an actor
that starts well and whose turns storage refuses again and again: from the VAIN_MAXth time on that is a crash too.
"""

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, get_args

from greenroom.runtime.limits import need_member, need_number, need_whole, need_word

VAIN_MAX: Final = 5  # a command may be decided again as often (lost_turns.py), and that is nobody's fault

RestartMode = Literal["permanent", "transient", "temporary"]
WhenExhausted = Literal["rest", "escalate"]


class Directive(enum.Enum):
    """What follows when a handler raised, the mildest first; `faults.py` says what each does."""

    RESUME = "resume"
    RESTART = "restart"
    STOP = "stop"
    ESCALATE = "escalate"


@dataclass(frozen=True, slots=True)
class RestartPolicy:
    """How one kind is restarted.

    mode: permanent restarts after every exit, transient only after a crash, temporary never: what waits for an actor is
    told, and the next command makes a new one at once, whose intensity nobody counts; a service is over.
    on_error: what a handler that raises such an error leads to; the most derived class that is named counts. Of what a
    nursery raises each error in the group is looked at, and the most severe of what they lead to is done; a rule for
    ExceptionGroup itself goes before.
    when_exhausted: rest fails what waits, and lets the next command try again after period_seconds; escalate ends the
    system. Nothing of a temporary actor is ever exhausted.
    intensity: crashes allowed within period_seconds.
    backoff_seconds_min, backoff_seconds_max: the ceiling of the jitter after the first crash, and at most.
    """

    mode: RestartMode = "transient"
    intensity: int = 5
    period_seconds: float = 30.0
    backoff_seconds_min: float = 0.05
    backoff_seconds_max: float = 5.0
    on_error: Mapping[type[Exception], Directive] = field(default_factory=dict)
    when_exhausted: WhenExhausted = "rest"

    def __post_init__(self) -> None:
        this = "a restart policy:"
        need_word(f"{this} mode", self.mode, get_args(RestartMode))
        need_word(f"{this} when_exhausted", self.when_exhausted, get_args(WhenExhausted))
        need_whole(f"{this} intensity", self.intensity, least=0)
        need_number(f"{this} period_seconds", self.period_seconds)
        need_number(f"{this} backoff_seconds_min", self.backoff_seconds_min)
        need_number(f"{this} backoff_seconds_max", self.backoff_seconds_max)
        if not isinstance(self.on_error, Mapping):
            raise TypeError(
                f"{this} on_error maps errors to what follows, as in {{ValueError: Directive.STOP}}, and is not "
                f"{self.on_error!r}"
            )
        for error, directive in self.on_error.items():
            if not (isinstance(error, type) and issubclass(error, Exception)):
                raise TypeError(f"{this} on_error is by class of Exception, such as ValueError, not {error!r}")
            need_member(f"{this} on_error for {error.__name__}", directive, Directive)
        if self.backoff_seconds_min > self.backoff_seconds_max:
            raise ValueError(
                f"{this} backoff_seconds_min is at most backoff_seconds_max, not "
                f"{self.backoff_seconds_min} and {self.backoff_seconds_max}"
            )


@dataclass(slots=True)
class CrashHistory:
    """Trio times of the crashes that still count. Grows to `intensity` + 1 at most.

    vain: trio times of the ends that stored nothing since the start. Grows to VAIN_MAX + 1 at most.
    """

    times: list[float] = field(default_factory=list)
    vain: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Restart:
    """Start again after *delay_seconds*."""

    delay_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """Do not start again; *reason* is for the log."""

    reason: str


def was_in_vain(policy: RestartPolicy, history: CrashHistory, now: float) -> bool:
    """Record at *now* that an activation ended of what storage refused, with nothing stored. Whether it is a crash."""
    history.vain[:] = [time for time in history.vain if now - time < policy.period_seconds][-VAIN_MAX:]
    history.vain.append(now)
    return len(history.vain) > VAIN_MAX


def directive_of(policy: RestartPolicy, error: Exception, *, is_ask: bool) -> Directive:
    """What *error* leads to. Whoever asked is told in any case, so that alone is no reason to restart."""
    default = Directive.RESUME if is_ask else Directive.RESTART
    return max((_rule_for(policy, one) or default for one in _leaves(policy, error)), key=_SEVERITY.index)


_SEVERITY = list(Directive)


def _leaves(policy: RestartPolicy, error: BaseException) -> Iterator[BaseException]:
    """What the rules are to be asked of: *error*, or all that is in it."""
    if not isinstance(error, BaseExceptionGroup) or any(
        issubclass(rule, BaseExceptionGroup) and isinstance(error, rule) for rule in policy.on_error
    ):
        yield error
        return
    for inner in error.exceptions:
        yield from _leaves(policy, inner)


def _rule_for(policy: RestartPolicy, error: BaseException) -> Directive | None:
    return next((policy.on_error[cls] for cls in type(error).__mro__ if cls in policy.on_error), None)


def decide(policy: RestartPolicy, history: CrashHistory, now: float, jitter: float) -> Restart | GiveUp:
    """Record a crash at *now* and say what to do. *jitter* is a random number in [0, 1]."""
    if policy.mode == "temporary":
        return GiveUp("temporary actors are not restarted")
    history.times[:] = [time for time in history.times if now - time < policy.period_seconds][-policy.intensity :]
    history.times.append(now)
    crashes = len(history.times)
    if crashes > policy.intensity:
        many = "1 crash" if crashes == 1 else f"{crashes} crashes"
        return GiveUp(f"{many} within {policy.period_seconds:g} s (intensity {policy.intensity})")
    exponent = min(crashes - 1, 32)  # 2**32 passes any ceiling; larger powers would overflow a float one day
    ceiling = min(policy.backoff_seconds_min * 2**exponent, policy.backoff_seconds_max)
    return Restart(ceiling * jitter)
