"""The sliding window: never more than the limit in any minute."""

from hypothesis import given
from hypothesis import strategies as st

from greenroom.http.rate_limit import WINDOW_SECONDS, SlidingWindow


@given(st.lists(st.floats(0, 10), max_size=200), st.integers(1, 20))
def test_no_minute_holds_more_than_the_limit_and_the_wait_is_true(gaps: list[float], limit: int) -> None:
    window, now, taken = SlidingWindow(limit), 0.0, []
    for gap in gaps:
        now += gap
        wait = window.take(1, now)
        if wait is None:
            taken.append(now)
        else:
            assert isinstance(wait, int)
            assert 1 <= wait <= WINDOW_SECONDS + 1
            assert sum(1 for time in taken if time > now + wait - WINDOW_SECONDS + 1e-6) < limit
        assert sum(1 for time in taken if time > now - WINDOW_SECONDS) <= limit


def test_users_do_not_share_a_window_and_zero_is_no_limit() -> None:
    window = SlidingWindow(1)
    assert window.take(1, 0) is None
    assert window.take(2, 0) is None
    assert window.take(1, 0) == 60
    assert all(SlidingWindow(0).take(1, 0) is None for _ in range(1000))


def test_what_is_given_back_may_be_taken_again() -> None:
    window = SlidingWindow(1)
    assert window.take(1, 0) is None
    window.give_back(1)
    assert window.take(1, 0) is None
    assert window.take(1, 0) is not None


def test_users_who_are_gone_are_forgotten() -> None:
    window = SlidingWindow(1)
    for user in range(5000):
        window.take(user, user * 1.0)
    assert len(window._taken) < 3000
