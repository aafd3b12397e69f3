"""What was said and is not stored yet: one of each room under way, the same client id at every try."""

from itertools import count

import pytest

from greenroom.client.errors import OutboxFull, Refused
from greenroom.client.outbox import LINES_MAX, Line, Outbox


def outbox_with(*lines: Line) -> Outbox:
    outbox = Outbox(map("c{}".format, count(1)))
    for line in lines:
        outbox.put(line)
    return outbox


def started(outbox: Outbox) -> list[Line]:
    return [line for _, line in outbox.start()]


def test_one_line_of_a_room_is_under_way_at_a_time_in_the_order_they_were_said():
    first, second = Line(1, "first"), Line(1, "second")
    outbox = outbox_with(first, second)
    assert started(outbox) == [first]
    assert started(outbox) == []
    outbox.finish(first)
    assert started(outbox) == [second]
    outbox.finish(second)
    assert (started(outbox), len(outbox)) == ([], 0)


def test_rooms_do_not_wait_for_each_other():
    one, other, later = Line(1, "here"), Line(2, "there"), Line(1, "here again")
    outbox = outbox_with(one, later, other)
    assert started(outbox) == [one, other]
    assert outbox.under_way == [one, other]
    outbox.finish(other)
    assert started(outbox) == []
    assert (outbox.of(1), outbox.of(2)) == ([one, later], [])


def test_what_was_under_way_when_the_connection_was_lost_is_sent_again_as_the_same_line():
    line = Line(1, "once")
    outbox = outbox_with(line)
    outbox.start()
    outbox.again()
    assert outbox.under_way == []
    assert started(outbox) == [line]


def test_a_line_that_the_server_asks_to_wait_with_holds_up_its_room_alone_also_across_a_loss():
    held, behind, other = Line(1, "held"), Line(1, "behind"), Line(2, "other")
    outbox = outbox_with(held, behind, other)
    outbox.start()
    outbox.hold(held)
    outbox.again()
    assert started(outbox) == [other]
    outbox.release(1)
    assert started(outbox) == [held]


def test_a_line_that_is_known_to_be_stored_before_its_answer_is_done():
    line, behind = Line(1, "its own copy came first"), Line(1, "behind")
    outbox = outbox_with(line, behind)
    outbox.start()
    assert outbox.find(1, line.client_id) is line
    outbox.finish(line)
    assert (outbox.find(1, line.client_id), outbox.find(1, None)) == (None, None)
    assert started(outbox) == [behind]


def test_an_answer_is_known_by_the_id_of_its_command_which_no_other_try_has():
    line, other = Line(1, "here", "c2"), Line(2, "there", "c1")
    outbox = outbox_with(line, other)
    assert outbox.start() == [("c1", line), ("c2", other)]
    assert (outbox.sent("c1"), outbox.sent("c2"), outbox.sent("c3")) == (line, other, None)
    outbox.again()
    assert outbox.sent("c1") is None
    assert outbox.start() == [("c3", line), ("c4", other)]
    outbox.finish(line)
    assert (outbox.sent("c3"), outbox.sent("c4"), outbox.under_way) == (None, other, [other])
    outbox.hold(other)
    assert (outbox.sent("c4"), outbox.under_way, len(outbox)) == (None, [], 1)


def test_one_client_id_in_two_rooms_is_two_lines():
    here, there = Line(1, "here", "k"), Line(2, "there", "k")
    outbox = outbox_with(here, there)
    assert (len(outbox), started(outbox)) == (2, [here, there])
    outbox.finish(here)
    assert (outbox.find(1, "k"), outbox.find(2, "k"), outbox.of(2)) == (None, there, [there])


def test_a_client_id_that_is_pending_is_the_same_line_or_refused():
    line = Line(1, "once", "k", ("a file",))
    outbox = outbox_with(line, Line(1, "once", "k", ("a file",)))
    assert outbox.of(1) == [line]
    for wrong in (Line(1, "else", "k", ("a file",)), Line(1, "once", "k"), Line(1, "once", "k", ("another",))):
        with pytest.raises(Refused, match="another line waits for room 1 under the client id 'k'") as caught:
            outbox.put(wrong)
        assert caught.value.code == 3010
    assert (outbox.of(1), started(outbox)) == ([line], [line])
    outbox.put(Line(1, "once", "k", ("a file",)))  # also when it is under way
    assert (len(outbox), started(outbox)) == (1, [])
    outbox.finish(line)
    outbox.put(Line(1, "else", "k"))
    assert len(outbox) == 1


def test_details_are_the_same_whatever_the_order_of_their_keys_and_of_the_keys_inside():
    poll = {"kind": "poll", "format": "md", "mentions": [{"user": 8, "at": 0}, {"user": 9, "at": 4}]}
    line = Line(1, "said", "k", details=poll)
    outbox = outbox_with(line)
    mentions = [{"at": 0, "user": 8}, {"at": 4, "user": 9}]
    outbox.put(Line(1, "said", "k", details={"mentions": mentions, "format": "md", "kind": "poll"}))
    assert outbox.of(1) == [line]
    for details in (
        poll | {"kind": "md", "format": "poll"},
        poll | {"mentions": mentions[::-1]},  # a list has an order
        poll | {"mentions": dict(enumerate(mentions))},
        {"kind": "poll", "format": "md"},
    ):
        with pytest.raises(Refused):
            outbox.put(Line(1, "said", "k", details=details))


def test_it_is_bounded():
    lines = [Line(1, "said") for _ in range(LINES_MAX)]
    outbox = outbox_with(*lines)
    with pytest.raises(OutboxFull, match="1000 lines wait"):
        outbox.put(Line(1, "one more"))
    outbox.put(Line(1, "said", lines[3].client_id))  # it waits already
    assert outbox.of(1) == lines
