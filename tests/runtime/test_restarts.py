"""The restart decision: OTP's intensity and period, full jitter, and bad policies refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.restarts import CrashHistory, Directive, GiveUp, Restart, RestartPolicy, decide, directive_of


def test_more_than_intensity_within_the_period_gives_up() -> None:
    policy, history = RestartPolicy(intensity=2, period_seconds=10), CrashHistory()
    assert isinstance(decide(policy, history, 0, 1), Restart)
    assert isinstance(decide(policy, history, 1, 1), Restart)
    assert decide(policy, history, 2, 1) == GiveUp("3 crashes within 10 s (intensity 2)")


def test_crashes_older_than_the_period_do_not_count() -> None:
    policy, history = RestartPolicy(intensity=1, period_seconds=10), CrashHistory()
    for now in (0, 10, 20, 30):
        assert isinstance(decide(policy, history, now, 1), Restart)


def test_intensity_zero_never_restarts() -> None:
    assert isinstance(decide(RestartPolicy(intensity=0), CrashHistory(), 0, 1), GiveUp)


def test_a_temporary_actor_is_never_restarted() -> None:
    assert isinstance(decide(RestartPolicy(mode="temporary"), CrashHistory(), 0, 1), GiveUp)


def group(*errors: Exception) -> ExceptionGroup[Exception]:
    return ExceptionGroup("of a nursery", list(errors))


@pytest.mark.parametrize(
    ("error", "on_a_tell", "on_an_ask"),
    [
        (KeyError(), Directive.RESUME, Directive.RESUME),
        (IndexError(), Directive.STOP, Directive.STOP),
        (ValueError(), Directive.RESTART, Directive.RESUME),
        (group(KeyError()), Directive.RESUME, Directive.RESUME),
        (group(group(KeyError())), Directive.RESUME, Directive.RESUME),
        (group(KeyError(), IndexError()), Directive.STOP, Directive.STOP),
        (group(OSError(), group(IndexError())), Directive.ESCALATE, Directive.ESCALATE),
        (group(KeyError(), ValueError()), Directive.RESTART, Directive.RESUME),
    ],
    ids=repr,
)
def test_each_error_in_a_group_is_looked_at_and_the_most_severe_is_done(
    error: Exception, on_a_tell: Directive, on_an_ask: Directive
) -> None:
    rules = {KeyError: Directive.RESUME, LookupError: Directive.STOP, OSError: Directive.ESCALATE}
    policy = RestartPolicy(on_error=rules)
    assert directive_of(policy, error, is_ask=False) is on_a_tell
    assert directive_of(policy, error, is_ask=True) is on_an_ask


def test_a_rule_for_groups_goes_before() -> None:
    policy = RestartPolicy(on_error={ExceptionGroup: Directive.STOP, KeyError: Directive.RESUME})
    assert directive_of(policy, group(KeyError()), is_ask=False) is Directive.STOP
    assert directive_of(policy, KeyError(), is_ask=False) is Directive.RESUME
    for_all = RestartPolicy(on_error={Exception: Directive.STOP, KeyError: Directive.RESUME})
    assert directive_of(for_all, group(KeyError()), is_ask=False) is Directive.RESUME


@given(st.lists(st.floats(0, 0.2), max_size=60), st.floats(0, 1))
def test_the_wait_is_full_jitter_under_a_ceiling_that_doubles(steps: list[float], jitter: float) -> None:
    policy = RestartPolicy(intensity=100, period_seconds=1000, backoff_seconds_min=0.1, backoff_seconds_max=2)
    history, now = CrashHistory(), 0.0
    for number, step in enumerate(steps):
        now += step
        plan = decide(policy, history, now, jitter)
        assert isinstance(plan, Restart)
        assert plan.delay_seconds == min(0.1 * 2**number, 2) * jitter


@given(st.lists(st.floats(0, 5), max_size=100))
def test_the_history_stays_small(steps: list[float]) -> None:
    policy, history, now = RestartPolicy(intensity=3), CrashHistory(), 0.0
    for step in steps:
        now += step
        decide(policy, history, now, 0.5)
        assert len(history.times) <= 4


@pytest.mark.parametrize(
    "bad",
    [
        {"intensity": -1},
        {"period_seconds": 0},
        {"backoff_seconds_min": 0},
        {"backoff_seconds_min": 2, "backoff_seconds_max": 1},
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="a restart policy: "):
        RestartPolicy(**bad)  # type: ignore[arg-type]
