"""The stream of the user as a client has it: every event once, in the order of its useq. Pure.

    take(event) ──▶ it is the next one: told, with those that waited for it
                ──▶ it was told before: nothing
                ──▶ something is missing: it waits, and `is_missing` says that `sync` must be asked for the rest

What the server does not tell any more (`gap`) is passed over, and told as `Missed`.
"""

from typing import Any, Final

from greenroom.client.events import Missed, Personal

EVENTS_AHEAD_MAX: Final = 1000  # that wait for earlier ones; more are told again after `sync`

Told = Personal | Missed


class UserLog:
    """useq: of the newest told; None while the server has not said where the stream is."""

    __slots__ = ("_ahead", "_epoch_there", "epoch", "useq")

    def __init__(self) -> None:
        self.useq: int | None = None
        self.epoch: int | None = None
        self._epoch_there: int | None = None
        self._ahead: dict[int, Personal] = {}

    @property
    def is_missing(self) -> bool:
        """Events have come that others should have come before."""
        return bool(self._ahead)

    @property
    def cursor(self) -> dict[str, Any] | None:
        """Where to go on, as `start` and `sync` say it; None: there is nothing to go on from."""
        return None if self.useq is None else {"useq": self.useq, "epoch": self.epoch}

    def entered(self, useq: int | None, epoch: int | None) -> None:
        """The server has said `ready`; None of a server that has no such stream.

        A stream that we know keeps its epoch until the server has said that it was replaced.
        """
        if useq is None:
            return
        self._epoch_there = epoch
        if self.useq is None:
            self.useq, self.epoch = useq, epoch

    def take(self, event: Personal) -> list[Told]:
        """What is to be told now that this has come."""
        if self.useq is None or event.useq <= self.useq:
            return []
        if event.useq == self.useq + 1:
            self._ahead.pop(event.useq, None)
            self.useq = event.useq
            return [event, *self._follow()]
        if len(self._ahead) < EVENTS_AHEAD_MAX:
            self._ahead[event.useq] = event
        return []

    def pass_over(self, first: int, last: int, *, is_reset: bool) -> list[Told]:
        """What is to be told now that nothing from *first* to *last* is: what was missed, and what waited behind it.

        is_reset: the stream is another one, which is at *last*.
        """
        if self.useq is None or (last <= self.useq and not is_reset):
            return []
        if is_reset:
            self._ahead.clear()
            self.epoch = self._epoch_there
        else:
            first = max(first, self.useq + 1)
        self._ahead = {useq: event for useq, event in self._ahead.items() if useq > last}
        self.useq = last
        return [Missed(first, last, is_reset), *self._follow()]

    def _follow(self) -> list[Told]:
        """Those that waited and are next now."""
        assert self.useq is not None
        told: list[Told] = []
        while (event := self._ahead.pop(self.useq + 1, None)) is not None:
            self.useq = event.useq
            told.append(event)
        return told
