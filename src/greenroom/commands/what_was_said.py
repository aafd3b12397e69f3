"""What was said in a room before we came: the end of its log is fetched, its newest messages are shown. Pure.

    Entered ──▶ what stands up to its top is kept ──▶ CaughtUp, or what comes after it ──▶ the newest messages of it

The places of a log are not messages alone, so that the newest of these begin nobody knows where: perhaps before all
that was fetched.
"""

from greenroom.client import CaughtUp, Changed, Entered, Event, Member, Replaced, RoomRefused, Said


class WhatWasSaid:
    """Of one room, and of the first time that the server lets us in.

    messages: how many are shown. places: how many of the log are told.
    """

    def __init__(self, messages: int, places: int) -> None:
        self._messages = messages
        self._places = places
        self._top: int | None = None  # of the log when we came; None before, and of one that is no more
        self._kept: list[Said | Changed] = []
        self._is_over = False
        self._is_taken = False

    def keeps(self, event: Event) -> bool:
        """Whether *event* is not to be shown yet, or not at all; else what was kept so far comes before it."""
        if self._is_over or (isinstance(event, Member) and event.seq is None):
            return False
        match event:
            case Entered():
                self._top = event.top if self._top is None else self._top
            case Replaced():
                self._kept, self._top, self._is_over = [], None, True
            case RoomRefused():
                self._top, self._is_over = None, True
            case CaughtUp():
                self._is_over = True
            case Said() | Changed() | Member() if not self._is_before(event):
                self._is_over = True
            case Said() | Changed():
                self._kept.append(event)
                return True
            case Member():
                return True
        return False

    def _is_before(self, event: Said | Changed | Member) -> bool:
        return self._top is not None and event.seq is not None and event.seq <= self._top

    def older(self) -> tuple[int, int] | None:
        """Once it is over, until it is taken: how many messages are wanted that stand before those that were told,
        and before which seq. None: none.
        """
        if not self._is_over or self._is_taken or self._top is None or self._top <= self._places:
            return None
        missing = self._messages - sum(isinstance(event, Said) for event in self._kept)
        return (missing, self._top - self._places + 1) if missing > 0 else None

    def taken(self) -> list[Said | Changed]:
        """Once it is over: the newest messages, and changes of them."""
        if not self._is_over:
            return []
        kept, self._kept, self._is_taken = self._kept, [], True
        first = [event.seq for event in kept if isinstance(event, Said)][-self._messages :][:1]
        return [event for event in kept if first and (event.seq if isinstance(event, Said) else event.of) >= first[0]]
