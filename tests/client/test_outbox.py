"""What was said and is not stored yet: one under way, the same client id at every try."""

import pytest

from greenroom.client.errors import OutboxFull
from greenroom.client.outbox import LINES_MAX, Line, Outbox


def test_one_line_is_under_way_at_a_time_in_the_order_they_were_said():
    outbox = Outbox()
    first, second = Line(1, "first"), Line(1, "second")
    outbox.put(first)
    outbox.put(second)
    assert outbox.start() is first
    assert outbox.start() is None
    assert outbox.finish() is first
    assert outbox.start() is second
    outbox.finish()
    assert (outbox.start(), len(outbox)) == (None, 0)


def test_what_was_under_way_when_the_connection_was_lost_is_sent_again_as_the_same_line():
    outbox = Outbox()
    line = Line(1, "once")
    outbox.put(line)
    outbox.start()
    outbox.again()
    assert outbox.start() is line
    assert outbox.is_under_way(line.client_id)


def test_an_answer_to_another_line_is_not_taken_for_one_to_this():
    outbox = Outbox()
    outbox.put(Line(1, "said"))
    assert not outbox.is_under_way("")
    outbox.start()
    assert not outbox.is_under_way(Line(1, "said").client_id)


def test_it_is_bounded():
    outbox = Outbox()
    for _ in range(LINES_MAX):
        outbox.put(Line(1, "said"))
    with pytest.raises(OutboxFull, match="1000 lines wait"):
        outbox.put(Line(1, "one more"))
