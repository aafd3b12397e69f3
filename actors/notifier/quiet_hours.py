"""Quiet hours: between two times of day, in somebody's zone, nothing is to disturb them. Pure.

    22:00 to 08:00, Europe/Berlin     from the instant at which it is 22:00 there up to the end of the minute 08:00

Each local night is one interval of instants, and it is asked whether a moment lies in one: to compare what clocks show
would be quiet, not quiet and quiet again in the hour that comes twice in autumn. A time of day that a day skips is the
first instant after the gap; of one that comes twice the first is meant where it begins, the second where it ends: the
clocks change at night, and who sleeps then is not to be woken. That these are the rules of the zone at that day, and
not an offset of today, is zoneinfo's doing.
"""

import re
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

MINUTE: Final = timedelta(minutes=1)
DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_ZONE_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2}")
# Files beside the zones that are none: this machine's own, a template, other ways to count seconds.
_NO_ZONES: Final = ("localtime", "Factory", "posixrules", "posix/", "right/")


@lru_cache(maxsize=1024)
def zone_of(name: str) -> ZoneInfo | None:
    """The zone of the IANA database that is called so; None when there is none."""
    if not _ZONE_NAME.fullmatch(name) or name.startswith(_NO_ZONES):
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # the name of a folder is an OSError
        return None


class QuietHours(NamedTuple):
    """From *start* up to the end of the minute *end*, on the next day if it is earlier. zone: None is never."""

    start: time
    end: time
    zone: ZoneInfo | None

    @classmethod
    def between(cls, start: str, end: str, zone_name: str) -> "QuietHours":
        """Of two texts HH:MM."""
        return cls(time.fromisoformat(start), time.fromisoformat(end), zone_of(zone_name))

    def hold_at(self, moment: datetime) -> bool:
        """Whether *moment*, which has a zone, whichever, is in them."""
        if self.zone is None:
            return False
        today = moment.astimezone(self.zone).date()
        return any(begin <= moment < end for begin, end in map(self._of, (today - DAY, today, today + DAY)))

    def _of(self, day: date) -> tuple[datetime, datetime]:
        """Those that begin on *day*: [from, until), in UTC."""
        assert self.zone is not None
        until_day = day + DAY if self.start > self.end else day
        begin, _ = _instant(day, self.start, self.zone, is_end=False)
        end, is_there = _instant(until_day, self.end, self.zone, is_end=True)
        return begin, end + MINUTE if is_there else end


def _instant(day: date, at: time, zone: ZoneInfo, *, is_end: bool) -> tuple[datetime, bool]:
    """When it is *at* on *day*, in UTC; and whether it ever is: else the first instant after the gap."""
    local = datetime.combine(day, at, zone).replace(fold=1 if is_end else 0)
    found = local.astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return found, True
    # PEP 495: in a gap fold=0 counts by the offset before it, and is after it; fold=1 the other way round.
    before, after = local.replace(fold=1).astimezone(UTC), local.replace(fold=0).astimezone(UTC)
    offset = before.astimezone(zone).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0), False
