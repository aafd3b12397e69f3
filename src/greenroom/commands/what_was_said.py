"""What was said in a room before we came: the end of its log is fetched, its newest messages are shown. Pure.

    Entered ──▶ what stands up to its top is kept ──▶ CaughtUp, or what comes after it ──▶ the newest messages of it

The places of a log are not messages alone, so that the newest of these begin nobody knows where.
"""

from greenroom.client import CaughtUp, Changed, Entered, Event, Member, Replaced, Said


class WhatWasSaid:
    """Of one room, and of the first time that the server lets us in. messages: how many are shown."""

    def __init__(self, messages: int) -> None:
        self._messages = messages
        self._top: int | None = None  # of the log when we came; None before
        self._kept: list[Said | Changed] = []
        self._is_over = False

    def keeps(self, event: Event) -> bool:
        """Whether *event* is not to be shown yet, or not at all; else what was kept so far comes before it."""
        if self._is_over or (isinstance(event, Member) and event.seq is None):
            return False
        if isinstance(event, Entered):
            self._top = event.top if self._top is None else self._top
        elif isinstance(event, Replaced):
            self._kept, self._is_over = [], True
        elif isinstance(event, CaughtUp) or (isinstance(event, Said | Changed | Member) and not self._is_before(event)):
            self._is_over = True
        elif isinstance(event, Said | Changed):
            self._kept.append(event)
            return True
        elif isinstance(event, Member):
            return True
        return False

    def _is_before(self, event: Said | Changed | Member) -> bool:
        return self._top is not None and event.seq is not None and event.seq <= self._top

    def taken(self) -> list[Said | Changed]:
        """Once it is over: the newest messages, and changes of them."""
        if not self._is_over or not self._kept:
            return []
        kept, self._kept = self._kept, []
        first = [event.seq for event in kept if isinstance(event, Said)][-self._messages :][:1]
        return [event for event in kept if first and (event.seq if isinstance(event, Said) else event.of) >= first[0]]
