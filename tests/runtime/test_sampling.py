"""Sampling: what is told and what is summed up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.runtime.sampling import Sampling


def test_the_first_of_a_window_are_told_and_the_rest_is_counted():
    sampling = Sampling(2, 1.0)
    assert [sampling.is_told("a", 0.1 * step) for step in range(5)] == [True, True, False, False, False]
    assert sampling.has_untold("a")
    assert sampling.close("a") == 3
    assert not sampling.has_untold("a")
    assert sampling.is_told("a", 0.6), "the next window has begun"


def test_a_window_that_is_over_with_nothing_untold_ends_by_itself():
    sampling = Sampling(2, 1.0)
    assert [sampling.is_told("a", at) for at in (0.0, 0.5, 1.0, 1.9)] == [True] * 4
    assert not sampling.is_told("a", 1.95)


def test_keys_do_not_share_a_window():
    sampling = Sampling(1, 1.0)
    assert [sampling.is_told(key, 0.0) for key in "abab"] == [True, True, False, False]
    assert sorted(sampling.untold_keys()) == ["a", "b"]
    assert sampling.close("nobody") == 0


@given(st.integers(1, 5), st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 0.7), st.booleans())))
def test_nothing_is_lost_whatever_comes_when(tellings_max: int, steps: list[tuple[str, float, bool]]):
    sampling, now, told, summed = Sampling(tellings_max, 1.0), 0.0, 0, 0
    for key, pause, closes in steps:
        now += pause
        told += sampling.is_told(key, now)
        summed += sampling.close(key) if closes else 0
    summed += sum(sampling.close(key) for key in sampling.untold_keys())
    assert told + summed == len(steps)


@pytest.mark.parametrize(("tellings_max", "seconds"), [(0, 1.0), (-1, 1.0), (1, 0.0)])
def test_limits_that_are_none_are_refused(tellings_max: int, seconds: float):
    with pytest.raises(ValueError, match="tellings_max >= 1"):
        Sampling(tellings_max, seconds)
