"""Quiet hours in any zone, on any day: the nights on which the clocks change are the ones that matter."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from greenroom.actors.notifier.quiet_hours import DAY, MINUTE, QuietHours, zone_of

# Each with a day on which its clocks change, forward or back: also at midnight, by half an hour, and never.
CHANGES = [
    ("America/New_York", date(2026, 3, 8)),
    ("America/New_York", date(2026, 11, 1)),
    ("Europe/London", date(2027, 3, 28)),
    ("Europe/Dublin", date(2026, 10, 25)),
    ("America/Havana", date(2027, 3, 14)),
    ("America/Havana", date(2026, 11, 1)),
    ("Australia/Lord_Howe", date(2026, 4, 5)),
    ("Australia/Lord_Howe", date(2026, 10, 4)),
    ("Asia/Kathmandu", date(2026, 6, 1)),
    ("Pacific/Apia", date(2011, 12, 30)),  # a day that never was
]
times = st.builds(time, st.integers(0, 23), st.integers(0, 59))


def clock_says(hours, moment):
    """The plain rule of the system before: what the clock shows lies between, both ends included."""
    shown = moment.astimezone(hours.zone).strftime("%H:%M")
    start, end = hours.start.strftime("%H:%M"), hours.end.strftime("%H:%M")
    return start <= shown <= end if start <= end else shown >= start or shown <= end


def spans(hours, first, last):
    """The quiet intervals within [first, last), minute by minute."""
    minutes = [first + number * MINUTE for number in range(int((last - first) / MINUTE))]
    return [list(group) for is_quiet, group in groupby(minutes, hours.hold_at) if is_quiet]


@given(st.sampled_from(CHANGES), times, times, st.integers(-10, 10), st.integers(0, 86_399))
def test_where_no_clock_changes_it_is_as_the_clock_says(change, start, end, days, seconds):
    name, day = change
    zone = ZoneInfo(name)
    moment = datetime.combine(day + days * DAY, time(), UTC) + timedelta(seconds=seconds)
    offsets = {(moment + step * timedelta(hours=1)).astimezone(zone).utcoffset() for step in range(-50, 51)}
    if len(offsets) == 1:
        hours = QuietHours(start, end, zone)
        assert hours.hold_at(moment) == clock_says(hours, moment)


@settings(deadline=None, max_examples=10)
@given(st.sampled_from(CHANGES), times, times)
def test_around_a_change_there_is_one_quiet_time_for_each_night_and_it_does_not_flicker(change, start, end):
    name, day = change
    hours = QuietHours(start, end, ZoneInfo(name))
    first = datetime.combine(day - 2 * DAY, time(12), UTC)
    last = first + 4 * DAY
    found = spans(hours, first, last)
    assert len(found) <= 6
    for span in found:
        if span[0] > first:
            shown = span[0].astimezone(hours.zone).time()
            assert shown == start or skips(hours.zone, span[0]), (shown, start)
        if span[-1] < last - MINUTE:
            shown = span[-1].astimezone(hours.zone).time()
            assert shown == end or skips(hours.zone, span[-1] + MINUTE), (shown, end)


def skips(zone, moment):
    """The clock jumps forward to *moment*."""
    return moment.astimezone(zone).utcoffset() > (moment - MINUTE).astimezone(zone).utcoffset()


@pytest.mark.parametrize(
    ("zone", "evening", "hours_long", "ends"),
    [
        ("America/New_York", date(2026, 3, 7), 9, "2026-03-08T12:00Z"),
        ("America/New_York", date(2026, 10, 31), 11, "2026-11-01T13:00Z"),
        ("Europe/London", date(2026, 10, 24), 11, "2026-10-25T08:00Z"),
        ("Europe/London", date(2027, 3, 27), 9, "2027-03-28T07:00Z"),
        ("Asia/Kathmandu", date(2026, 5, 5), 10, "2026-05-06T02:15Z"),
    ],
)
def test_a_night_is_as_long_as_it_is_there(zone, evening, hours_long, ends):
    hours = QuietHours.between("22:00", "08:00", zone)
    noon = datetime.combine(evening, time(12), ZoneInfo(zone)).astimezone(UTC)
    (span,) = spans(hours, noon, noon + timedelta(hours=30))
    assert span[-1] == datetime.fromisoformat(ends.replace("Z", "+00:00")), "the minute 08:00 is the last one"
    assert len(span) == hours_long * 60 + 1


@pytest.mark.parametrize(
    ("zone", "start", "end", "first", "last"),
    [
        # 02:00 to 03:00 is skipped: what would begin in it begins after it, what would end in it ends with it.
        ("America/New_York", "02:30", "05:00", "2026-03-08T07:00Z", "2026-03-08T09:00Z"),
        ("America/New_York", "00:30", "02:30", "2026-03-08T05:30Z", "2026-03-08T06:59Z"),
        # 01:00 to 02:00 comes twice: from the first 01:30, up to the second.
        ("America/New_York", "01:30", "05:00", "2026-11-01T05:30Z", "2026-11-01T10:00Z"),
        ("America/New_York", "00:30", "01:30", "2026-11-01T04:30Z", "2026-11-01T06:30Z"),
        ("America/Havana", "00:30", "02:00", "2027-03-14T05:00Z", "2027-03-14T06:00Z"),
    ],
)
def test_an_end_that_is_skipped_or_comes_twice(zone, start, end, first, last):
    hours = QuietHours.between(start, end, zone)
    begin = datetime.fromisoformat(first.replace("Z", "+00:00"))
    (span,) = spans(hours, begin - timedelta(hours=4), begin + timedelta(hours=12))
    assert (span[0], span[-1]) == (begin, datetime.fromisoformat(last.replace("Z", "+00:00")))


def test_the_ends_are_included_to_their_minute():
    hours = QuietHours.between("22:00", "08:00", "UTC")
    for text, is_quiet in (
        ("2026-01-01T21:59:59.999999", False), ("2026-01-01T22:00:00", True), ("2026-01-02T00:00:00", True),
        ("2026-01-02T08:00:59.999999", True), ("2026-01-02T08:01:00", False),
    ):  # fmt: skip
        assert hours.hold_at(datetime.fromisoformat(text).replace(tzinfo=UTC)) is is_quiet, text
    by_day = QuietHours.between("12:00", "13:30", "UTC")
    assert by_day.hold_at(datetime(2026, 1, 1, 13, 30, tzinfo=UTC))
    assert not by_day.hold_at(datetime(2026, 1, 1, 11, 59, tzinfo=UTC))
    one_minute = QuietHours.between("12:00", "12:00", "UTC")
    assert [one_minute.hold_at(datetime(2026, 1, 1, 12, minute, tzinfo=UTC)) for minute in (0, 1)] == [True, False]


@pytest.mark.parametrize(
    "name",
    ["", "Mars/Olympus", "../../etc/passwd", "/etc/localtime", "localtime", "posix/UTC", "right/UTC", "Factory",
     "Europe", "europe/berlin ", "Europe/Berlin\0", "posixrules", "a" * 10_000, "UTC\n", "Европа/Москва"],
)  # fmt: skip
def test_what_is_no_zone_is_none_and_never_quiet(name):
    assert zone_of(name) is None
    assert not QuietHours.between("00:00", "23:59", name).hold_at(datetime(2026, 1, 1, 12, tzinfo=UTC))


@pytest.mark.parametrize(
    "name", ["UTC", "Europe/Berlin", "America/Argentina/Buenos_Aires", "Etc/GMT+5", "Asia/Kathmandu"]
)
def test_zones_are_known(name):
    assert zone_of(name) is not None
