"""Whom a supervisor stops and starts: the rules of OTP as a table."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime import Strategy
from greenroom.runtime.restarts import RestartMode
from greenroom.runtime.strategies import Plan, plan_exit

ONE, REST, ALL = Strategy.ONE_FOR_ONE, Strategy.REST_FOR_ONE, Strategy.ONE_FOR_ALL
P: RestartMode = "permanent"
X: RestartMode = "transient"
T: RestartMode = "temporary"
NOTHING: tuple[int, ...] = ()

# strategy, modes in start order, who ended, normally?, then: stop, start, forget
TABLE = [
    (ONE, [P, P, P], 1, True, (1,), (1,), NOTHING),
    (ONE, [P, P, P], 1, False, (1,), (1,), NOTHING),
    (ONE, [P, X, P], 1, True, NOTHING, NOTHING, NOTHING),
    (ONE, [P, X, P], 1, False, (1,), (1,), NOTHING),
    (ONE, [P, T, P], 1, True, NOTHING, NOTHING, (1,)),
    (ONE, [P, T, P], 1, False, NOTHING, NOTHING, (1,)),
    (REST, [P, P, P], 0, False, (2, 1, 0), (0, 1, 2), NOTHING),
    (REST, [P, P, P], 1, False, (2, 1), (1, 2), NOTHING),
    (REST, [P, P, P], 2, False, (2,), (2,), NOTHING),
    (REST, [P, X, P], 1, True, NOTHING, NOTHING, NOTHING),
    (REST, [P, X, P], 1, False, (2, 1), (1, 2), NOTHING),
    (REST, [P, T, P], 1, False, NOTHING, NOTHING, (1,)),
    (REST, [P, P, T], 1, False, (2, 1), (1,), (2,)),
    (REST, [T, P, P], 1, False, (2, 1), (1, 2), NOTHING),
    (ALL, [P, P, P], 1, False, (2, 1, 0), (0, 1, 2), NOTHING),
    (ALL, [P, P, P], 2, True, (2, 1, 0), (0, 1, 2), NOTHING),
    (ALL, [P, X, P], 1, True, NOTHING, NOTHING, NOTHING),
    (ALL, [X, P, X], 1, False, (2, 1, 0), (0, 1, 2), NOTHING),
    (ALL, [T, P, P], 2, False, (2, 1, 0), (1, 2), (0,)),
    (ALL, [T, P, P], 0, False, NOTHING, NOTHING, (0,)),
    (ALL, [P], 0, False, (0,), (0,), NOTHING),
]


@pytest.mark.parametrize(("strategy", "modes", "child", "is_normal", "stop", "start", "forget"), TABLE)
def test_the_table_of_otp(
    strategy: Strategy,
    modes: list[RestartMode],
    child: int,
    is_normal: bool,
    stop: tuple[int, ...],
    start: tuple[int, ...],
    forget: tuple[int, ...],
) -> None:
    assert plan_exit(strategy, modes, child, is_normal=is_normal) == Plan(stop, start, forget)


@given(
    strategy=st.sampled_from(Strategy),
    modes=st.lists(st.sampled_from([P, X, T]), min_size=1, max_size=8),
    data=st.data(),
)
def test_what_is_stopped_is_stopped_in_reverse_and_starts_again_or_is_forgotten(
    strategy: Strategy, modes: list[RestartMode], data: st.DataObject
) -> None:
    child = data.draw(st.integers(0, len(modes) - 1))
    plan = plan_exit(strategy, modes, child, is_normal=data.draw(st.booleans()))
    assert list(plan.stop) == sorted(plan.stop, reverse=True)
    assert list(plan.start) == sorted(plan.start)
    assert not set(plan.start) & set(plan.forget)
    if plan.start:
        assert set(plan.stop) == {*plan.start, *plan.forget}
        assert child in plan.start
