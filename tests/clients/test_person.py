"""The hand that drives a client says what befell it."""

import sys

import pytest
from person import open_person  # type: ignore[import-not-found]


@pytest.mark.parametrize("does", ["pass", "import time; time.sleep(0.3)"])
async def test_a_driver_that_ends_is_not_waited_for(does):
    ended = pytest.RaisesExc(AssertionError, match="the program of Ann ended before it answered to report")
    with pytest.RaisesGroup(ended, flatten_subgroups=True):
        async with open_person([sys.executable, "-c", does], "http://127.0.0.1:1", 1, "Ann", lambda: "") as person:
            await person.ask("report")
