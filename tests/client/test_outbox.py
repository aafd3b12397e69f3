"""What was said and is not stored yet: one of each room under way, the same client id at every try."""

import pytest

from greenroom.client.errors import OutboxFull
from greenroom.client.outbox import LINES_MAX, Line, Outbox


def outbox_with(*lines: Line) -> Outbox:
    outbox = Outbox()
    for line in lines:
        outbox.put(line)
    return outbox


def test_one_line_of_a_room_is_under_way_at_a_time_in_the_order_they_were_said():
    first, second = Line(1, "first"), Line(1, "second")
    outbox = outbox_with(first, second)
    assert outbox.start() == [first]
    assert outbox.start() == []
    outbox.finish(first)
    assert outbox.start() == [second]
    outbox.finish(second)
    assert (outbox.start(), len(outbox)) == ([], 0)


def test_rooms_do_not_wait_for_each_other():
    one, other, later = Line(1, "here"), Line(2, "there"), Line(1, "here again")
    outbox = outbox_with(one, later, other)
    assert outbox.start() == [one, other]
    assert outbox.under_way == [one, other]
    outbox.finish(other)
    assert outbox.start() == []
    assert (outbox.of(1), outbox.of(2)) == ([one, later], [])


def test_what_was_under_way_when_the_connection_was_lost_is_sent_again_as_the_same_line():
    line = Line(1, "once")
    outbox = outbox_with(line)
    outbox.start()
    outbox.again()
    assert outbox.under_way == []
    assert outbox.start() == [line]


def test_a_line_that_the_server_asks_to_wait_with_holds_up_its_room_alone_also_across_a_loss():
    held, behind, other = Line(1, "held"), Line(1, "behind"), Line(2, "other")
    outbox = outbox_with(held, behind, other)
    outbox.start()
    outbox.hold(held)
    outbox.again()
    assert outbox.start() == [other]
    outbox.release(1)
    assert outbox.start() == [held]


def test_a_line_that_is_known_to_be_stored_before_its_answer_is_done():
    line, behind = Line(1, "its own copy came first"), Line(1, "behind")
    outbox = outbox_with(line, behind)
    outbox.start()
    assert outbox.find(line.client_id) is line
    outbox.finish(line)
    assert (outbox.find(line.client_id), outbox.find(None)) == (None, None)
    assert outbox.start() == [behind]


def test_it_is_bounded():
    outbox = outbox_with(*(Line(1, "said") for _ in range(LINES_MAX)))
    with pytest.raises(OutboxFull, match="1000 lines wait"):
        outbox.put(Line(1, "one more"))
