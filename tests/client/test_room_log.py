"""The log of a room at a client: every message once, in the order of its seq, whatever comes when."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from greenroom.client.events import Said
from greenroom.client.room_log import AHEAD_MAX, RoomLog, Told


def said(seq: int) -> tuple[int, Said]:
    return seq, Said(1, seq, 7, "alice", f"m{seq}", 0, None, is_own=False)


def seqs(told: list[Told]) -> list[int]:
    return [message.seq for message in told]


@pytest.fixture
def log() -> RoomLog:
    log = RoomLog()
    log.entered(top=10, epoch=1)
    return log


def test_the_next_one_is_told_and_one_that_was_told_is_not(log: RoomLog):
    assert seqs(log.take(*said(11))) == [11]
    assert log.take(*said(11)) == []
    assert log.take(*said(3)) == []


def test_before_a_hole_everything_waits_for_what_is_missing(log: RoomLog):
    assert log.take(*said(13)) == []
    assert log.is_missing
    assert log.take(*said(14)) == []
    assert log.goal == 13
    assert seqs(log.take_page([said(11), said(12)], goal=12)) == [11, 12, 13, 14]
    assert not log.is_missing


def test_what_the_server_does_not_show_is_passed_over(log: RoomLog):
    assert log.take(*said(14)) == []
    assert seqs(log.take_page([said(12)], goal=13)) == [12]
    assert seqs(log.take_page([], goal=13)) == [14]


def test_a_skip_takes_its_place_and_tells_nothing(log: RoomLog):
    assert log.take(11, None) == []
    assert (log.seq, log.is_missing) == (11, False)
    assert log.take(13, None) == []
    assert seqs(log.take(*said(12))) == [12]
    assert log.seq == 13


def test_a_log_that_was_replaced_keeps_its_old_epoch_until_the_server_has_said_so(log: RoomLog):
    log.entered(top=4, epoch=2)  # and the connection is lost: the next one must ask with what we have
    assert (log.seq, log.epoch, log.lives) == (10, 1, 0)
    log.entered(top=4, epoch=2)
    log.replaced(top=4)
    assert (log.seq, log.epoch, log.lives) == (4, 2, 1)


def test_what_waited_within_what_a_page_passes_over_is_told(log: RoomLog):
    assert log.take(*said(13)) == []
    assert seqs(log.take_page([said(11), said(14)], goal=14)) == [11, 13, 14]


def test_the_newest_of_the_old_are_missing_from_the_start_when_they_are_wanted():
    log = RoomLog(recent=3)
    log.entered(top=10, epoch=1)
    assert (log.seq, log.goal, log.is_missing) == (7, 10, True)
    log.entered(top=12, epoch=1)  # again, on a new connection: the place is kept
    assert log.seq == 7


def test_a_gap_that_the_server_tells_is_fetched(log: RoomLog):
    log.skipped(600)
    assert log.is_missing
    assert seqs(log.take_page([said(seq) for seq in range(11, 211)], goal=600)) == list(range(11, 211))
    assert log.is_missing


def test_a_log_that_was_replaced_begins_anew(log: RoomLog):
    log.take(*said(13))
    log.replaced(top=2)
    assert (log.seq, log.is_missing) == (2, False)
    assert seqs(log.take(*said(3))) == [3]


def test_who_is_far_behind_keeps_a_bounded_number_and_fetches_the_rest(log: RoomLog):
    top = 12 + AHEAD_MAX + 50
    for seq in range(12, top + 1):
        assert log.take(*said(seq)) == []
    told = log.take_page([said(seq) for seq in range(11, 212)], goal=log.goal)
    while log.is_missing:
        assert log.seq is not None
        told += log.take_page([said(seq) for seq in range(log.seq + 1, min(top, log.seq + 200) + 1)], goal=log.goal)
    assert seqs(told) == list(range(11, top + 1))


@given(st.lists(st.integers(1, 30), max_size=80), st.integers(0, 10))
def test_in_whatever_order_they_come_each_is_told_once_and_in_order(order: list[int], recent: int):
    log = RoomLog(recent)
    log.entered(top=10, epoch=1)
    first, told = log.seq, []
    assert first is not None
    for seq in order:
        told += log.take(*said(seq))
        if log.is_missing:
            assert log.seq is not None
            page = [said(number) for number in range(log.seq + 1, log.goal + 1)][:5]
            told += log.take_page(page, log.goal)
    assert seqs(told) == list(range(first + 1, first + 1 + len(told)))
