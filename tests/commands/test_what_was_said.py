"""What a chat shows of the log before it came."""

from collections.abc import Iterable

from greenroom.client import CaughtUp, Changed, Connected, Entered, Event, Member, Replaced, RoomRefused, Said
from greenroom.commands.what_was_said import WhatWasSaid

ROOM = 42
CONNECTED = Connected(7, "Ann", is_again=False)


def said(seq: int) -> Said:
    return Said(ROOM, seq, 8, "Ben", f"line {seq}", 0, None, is_own=False)


def changed(seq: int, of: int) -> Changed:
    return Changed(ROOM, seq, of, 0, "x", 0)


def entered(top: int) -> Entered:
    return Entered(ROOM, top, 0, 0, 2)


def member(seq: int | None) -> Member:
    return Member(ROOM, 9, is_active=True, seq=seq)


def shown(*events: Event, messages: int = 2) -> list[int | None]:
    """The seqs of what is shown, in its order."""
    before, found = WhatWasSaid(messages, places=10), list[Event]()
    for event in events:
        if not before.keeps(event):
            found += [*before.taken(), event]
    return _seqs(found)


def _seqs(events: Iterable[Event]) -> list[int | None]:
    return [event.seq for event in events if isinstance(event, Said | Changed | Member)]


def test_the_newest_messages_of_what_was_there_are_shown_whatever_else_stands_between_them():
    log = (said(1), said(2), member(3), said(4), changed(5, 2), member(6), member(7))
    assert shown(CONNECTED, entered(7), *log, CaughtUp(ROOM), said(8), member(9)) == [2, 4, 5, 8, 9]


def test_a_change_of_what_is_not_shown_is_not():
    log = (said(1), said(2), said(3), changed(4, 1))
    assert shown(entered(4), *log, CaughtUp(ROOM)) == [2, 3]


def test_what_is_said_since_is_all_shown_and_behind_it():
    assert shown(entered(3), said(1), said(2), said(3), said(4), said(5), said(6), CaughtUp(ROOM)) == [2, 3, 4, 5, 6]


def test_it_is_kept_over_a_loss_until_it_is_whole():
    assert shown(entered(3), said(1), said(2), CONNECTED, entered(9), said(3), CaughtUp(ROOM), said(4)) == [2, 3, 4]


def test_of_an_empty_room_or_another_log_nothing_is_kept():
    assert shown(member(None), entered(0), CaughtUp(ROOM), said(1), said(2), said(3)) == [None, 1, 2, 3]
    assert shown(entered(3), said(1), Replaced(ROOM), entered(1), said(1), CaughtUp(ROOM)) == [1]
    assert shown(entered(2), member(1), member(2), CaughtUp(ROOM), said(3)) == [3]


def test_what_is_kept_is_shown_when_the_room_ends_before_it_is_whole():
    assert shown(entered(3), said(1), said(2), RoomRefused(ROOM, 3004, "no member any more")) == [1, 2]


def older(*events: Event, messages: int = 3, places: int = 4) -> list[tuple[int, int]]:
    """What is asked for, whenever it might be."""
    before, asked = WhatWasSaid(messages, places), list[tuple[int, int]]()
    for event in events:
        if not before.keeps(event):
            asked += [wanted] if (wanted := before.older()) else []
            before.taken()
    return asked


def test_where_too_few_messages_stand_at_the_end_of_the_log_those_before_it_are_wanted_once():
    comings = [member(seq) for seq in range(7, 10)]
    assert older(CONNECTED, entered(10), *comings, said(10), CaughtUp(ROOM), said(11), CaughtUp(ROOM)) == [(2, 7)]
    assert older(entered(10), *comings, said(11), said(12)) == [(3, 7)], "what is new is none of them"


def test_nothing_older_is_wanted_of_a_log_that_is_shown_or_told_whole_or_is_no_more():
    assert older(entered(10), said(8), said(9), said(10), CaughtUp(ROOM)) == []
    assert older(entered(4), said(4), CaughtUp(ROOM), said(5)) == []
    assert older(entered(10), said(9), RoomRefused(ROOM, 3004, "no member any more")) == []
    assert older(entered(10), said(9), Replaced(ROOM), entered(8), CaughtUp(ROOM)) == []
