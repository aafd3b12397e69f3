"""A lag counts in every limit that it did not go beyond."""

import pytest

from greenroom.http.ws import delivery as delivery_module
from greenroom.http.ws.delivery import LAG_MILLISECONDS, Delivery


def test_a_lag_counts_in_every_limit_that_it_did_not_go_beyond(monkeypatch):
    monkeypatch.setattr(delivery_module, "perf_counter", lambda: 100.0)
    delivery = Delivery()
    delivery.told(None)
    assert (delivery.statistics().told, delivery.statistics().lag_seconds_mean) == (0, 0.0)
    for seconds in (0.0, 0.03, 2.0):
        delivery.told(100.0 - seconds)
    found = delivery.statistics()
    assert found.told == 3
    assert list(found.lag_within) == [str(limit) for limit in LAG_MILLISECONDS]
    assert [found.lag_within[limit] for limit in ("1", "25", "50", "1000")] == [1, 1, 2, 2]
    assert found.lag_seconds_max == 2.0
    assert found.lag_seconds_mean == pytest.approx(2.03 / 3)
