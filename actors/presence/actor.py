"""The presence actor: folds a user's sockets into one status, and tells it when it changes.

The truth about sockets is the engine's, and it is asked for in every turn: a command that was lost, in a crash or for
want of room, is made good by the next one, and a crash brings that next one itself. Who is told, and how often, is the
board's matter; when somebody was last seen is written in batches. There is no durable state here that could be lost:
nothing is fenced, nothing waits.
"""

from collections.abc import Mapping
from typing import Protocol

from greenroom.actors.presence.commands import (
    Describe,
    PresenceView,
    Recall,
    SetStatus,
    SocketClosed,
    SocketOpened,
    Status,
)
from greenroom.actors.presence.state import PresenceState, status_of, view_of
from greenroom.runtime import Actor, StopReason, handles


class PresenceBoard(Protocol):
    """Where presence is shown: the sockets of this process, and storage for last seen."""

    def sockets_of(self, user_id: int) -> Mapping[int, str]:
        """The user's open sockets now: id → device."""
        ...

    def status_of(self, user_id: int) -> tuple[Status, str]:
        """(status, activity) as shown last; offline when never."""
        ...

    def show(self, user_id: int, status: Status, activity: str, at_ms: int) -> None:
        """The user appears so from now on. Must not wait."""
        ...


class PresenceActor(Actor):
    """One user."""

    def __init__(self, user_id: int, board: PresenceBoard) -> None:
        self._user_id = user_id
        self._board = board
        self._state = PresenceState()
        self._is_told = False  # by the user, in this activation, how they are to appear
        status, activity = board.status_of(user_id)
        if status != "offline":
            self._state.chosen, self._state.activity = status, activity

    def stopping(self, reason: StopReason) -> None:
        """After a crash what was being told is lost: look again, or it may stay so for ever."""
        if reason is StopReason.CRASHED:
            self.ctx.tell_next_activation(Recall(self._state.chosen, self._state.activity))

    @property
    def may_passivate(self) -> bool:
        """Whoever is here and wants to appear offline is known so to nobody else."""
        return not self._state.sockets or self._state.chosen != "offline"

    @handles(SocketOpened)
    def socket_opened(self, _: SocketOpened) -> None:
        """One socket more; unless it is gone again already."""
        self._show()

    @handles(SocketClosed)
    def socket_closed(self, _: SocketClosed) -> None:
        """One less. Who comes back comes back online."""
        self._show()
        if not self._state.sockets:
            self._state.chosen, self._state.activity = "online", ""

    @handles(SetStatus)
    def set_status(self, command: SetStatus) -> None:
        """The user's own word."""
        self._is_told = True
        self._state.chosen, self._state.activity = command.status, command.activity
        self._show()

    @handles(Recall)
    def recall(self, command: Recall) -> None:
        """Go on as before the crash."""
        if not self._is_told:
            self._state.chosen, self._state.activity = command.status, command.activity
        self._show()

    @handles(Describe)
    def describe(self, _: Describe) -> PresenceView:
        """For whoever may ask."""
        self._look()
        return view_of(self._state)

    def _look(self) -> None:
        self._state.sockets = dict(self._board.sockets_of(self._user_id))

    def _show(self) -> None:
        self._look()
        shown = self._board.status_of(self._user_id)
        now = status_of(self._state), self._state.activity if self._state.sockets else ""
        if shown != now:
            self._board.show(self._user_id, *now, self.ctx.now_ms())
